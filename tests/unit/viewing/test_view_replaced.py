"""`lartpc view` over results that are made again while it serves: it says so, and never mixes old and new."""

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from handmade import good_event, write_shard
from viewing import UID, served

from lartpc.config import Report
from lartpc.run.collect import collect
from lartpc.run.current import Current
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.report import report
from lartpc.run.report.worst import worst_displays
from lartpc.run.summarize import summarize
from lartpc.stages import CHAIN


def make(root, num_events, *, until="dataset"):
    """Make a production, anew where there is one; `until`: what is made last."""
    paths = write_shard(root, UID, [good_event() for _ in range(num_events)])
    tables = root / "tables" / UID
    if until != "events":
        summarize(paths, tables)
    if until == "dataset":
        evaluate(paths, root / "metrics.parquet")
        collect([tables], [root / "metrics.parquet"], [paths[0]], root / "dataset")
    return root


def ask(server, path, **words):
    """Return the answer to what a page asks; of a refusal what it says."""
    try:
        return json.loads(urlopen(f"{server.address}{path}?{urlencode(words)}", timeout=300).read())
    except HTTPError as error:
        return json.loads(error.read())["error"]


def loaded(server):
    """Load the page; return which edition it is, and its number of events."""
    page = urlopen(server.address, timeout=300).read().decode()
    return tuple(int(re.search(rf'"{name}": ?(\d+)', page)[1]) for name in ("edition", "num_events"))


@pytest.fixture
def results(tmp_path):
    return make(tmp_path, 3)


def test_results_that_are_made_again(results):
    with served(results) as server:
        assert loaded(server) == (0, 3)
        assert len(ask(server, "list", edition=0)["names"]) == 3
        assert ask(server, "event", number=1, edition=0)["entry"] == 1
        make(results, 2)
        for _ in range(2):  # before another page was loaded, and after
            for path in ("list", "event"):
                said = ask(server, path, number=1, edition=0)
                assert "was made again since this page was opened; reload the page" in said
            assert loaded(server) == (1, 2)
        assert len(ask(server, "list", edition=1)["names"]) == 2
        assert ask(server, "event", number=1, edition=1)["entry"] == 1


def test_results_that_are_made_again_while_they_are_read(results, monkeypatch):
    manifest = results / "dataset" / "manifest.json"

    def another(_):
        os.utime(manifest, (1, 1))
        return {}

    with served(results) as server:
        monkeypatch.setattr(server.catalogue, "display", another)
        assert "was made again since this page was opened" in ask(server, "event", number=1, edition=0)


def test_in_the_middle_of_a_production(results):
    with served(results) as server:
        make(results, 2, until="events")
        assert "is not the file that the tables were made of" in ask(server, "event", number=1, edition=0)
        assert len(ask(server, "list", edition=0)["names"]) == 3  # all of them old
        make(results, 2, until="tables")
        assert "dataset was collected" in ask(server, "event", number=1, edition=0)


def test_a_report_in_the_middle_of_a_production(results):
    listed = [SimpleNamespace(file_uid=UID, entry=1)]
    where, current = f"{results}/events/{{step}}/{{shard}}.h5", Current.of(results / "dataset")
    assert len(worst_displays(listed, where, Report(), current)) == 1
    make(results, 2, until="events")
    with pytest.raises(ValueError, match="is not the file that the tables were made of"):
        worst_displays(listed, where, Report(), current)
    files = [Path(where.format(step=step, shard=UID)) for step in ("ingest", *(row.name for row in CHAIN))]
    with pytest.raises(ValueError, match="is not the file that the tables were made of"):
        report(results / "dataset", files, [], results / "a.html", Report())


def test_event_files_that_are_made_again(results):
    file = next(results.rglob("ingest/**/*.h5"))
    with served(file) as server:
        assert loaded(server) == (0, 3)
        make(results, 2, until="events")
        assert "was made again since this page was opened" in ask(server, "event", number=1, edition=0)
        assert loaded(server) == (1, 2)
