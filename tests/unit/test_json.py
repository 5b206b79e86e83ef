"""`--json`: verbs that print what they found print JSON alone on standard output, for programs."""

import json
from pathlib import Path

import pytest
import typer
from handmade import good_event, write_shard
from typer.testing import CliRunner

from lartpc.cli import app
from lartpc.run.collect import collect
from lartpc.run.doctor import doctor, site
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.summarize import summarize

FLAGS = {
    name
    for name, command in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
    for option in command.params
    if "--json" in option.opts and option.is_flag
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("json")
    paths = write_shard(root, "beam/0000", [good_event() for _ in range(3)])
    summarize(paths, root / "tables" / "beam" / "0000")
    evaluate(paths, root / "metrics.parquet")
    collect([root / "tables" / "beam" / "0000"], [root / "metrics.parquet"], [paths[0]], root / "dataset")
    jobs = root / "benchmarks" / "ingest" / "beam"
    jobs.mkdir(parents=True)
    head = (
        "s",
        "h:m:s",
        "max_rss",
        "max_vms",
        "max_uss",
        "max_pss",
        "io_in",
        "io_out",
        "mean_load",
        "cpu_time",
    )
    (jobs / "0000.tsv").write_text("\t".join(head) + "\n2\t0:00:02\t300\t1\t1\t1\t0\t0\t50\t1\n")
    return root


@pytest.mark.parametrize("verb", sorted(FLAGS))
def test_json_stands_alone(verb: str, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "CHECKS", {"disk": lambda: site.Finding("a slow one", advice="buy another")})
    dataset = str(results / "dataset")
    words = {
        "audit": [str(results), "--no-sources"],
        "compare": [dataset, dataset, "--replicas", "2"],
        "doctor": [],
        "resources": [str(results)],
        "show": [str(results)],
    }
    done = CliRunner().invoke(app, [verb, *words[verb], "--json"])
    found = json.loads(done.stdout)
    first = found[0] if isinstance(found, list) else found
    expected = {
        "audit": {"findings"},
        "compare": {"figures", "events", "num_replicas"},
        "doctor": {"name", "found", "problem", "advice"},
        "resources": {"rule", "num_jobs", "mem_mb", "runtime"},
        "show": {"figures", "num_events", "rows"},
    }
    assert expected[verb] <= first.keys()
    # the handmade production has no records of its jobs, which the audit says
    assert done.exit_code == (1 if verb == "audit" else 0), done.stderr


def test_verbs_that_find_something_have_it() -> None:
    assert {"audit", "compare", "doctor", "resources", "show"} == FLAGS
