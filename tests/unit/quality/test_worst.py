"""The worst events: which are listed, in which order, and what is drawn of them."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
from handmade import good_event, quiet_event, write_shard

from lartpc import config
from lartpc.event import empty
from lartpc.run.collect import collect
from lartpc.run.display.data import display
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.report import report
from lartpc.run.report.worst import worst_displays, worst_events
from lartpc.run.summarize import summarize
from lartpc.store import open_events
from lartpc.vocab import Semantic

SECTION = config.Report(num_worst=2, worst_min_voxels=10)


def blind_event():
    """The good event, all of it called shower, and no point found."""
    event = good_event()
    event["semantic"] = {**event["semantic"], "label": np.full(47, Semantic.SHOWER)}
    event["point"] = empty("point")
    event["final_point"] = empty("final_point")
    return event


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("worst")
    shards = {
        "b/0000": [good_event(), quiet_event([[3, 3, 3]], Semantic.TRACK), good_event(), blind_event()],
        "a/0000": [quiet_event([]), good_event()],
    }
    folders, metrics, ingested = [], [], []
    for uid, events in shards.items():
        paths = write_shard(root / "results", uid, events)
        folders.append(root / "tables" / uid)
        metrics.append(root / "metrics" / f"{uid}.parquet")
        summarize(paths, folders[-1])
        evaluate(paths, metrics[-1])
        ingested.append(paths[0])
    collect(folders, metrics, ingested, root / "dataset")
    return root


@pytest.fixture(scope="module")
def event_path(root):
    return str(root / "results" / "events" / "{step}" / "{shard}.h5")


def test_the_worst_are_found_by_voxels_and_by_points(root):
    found = worst_events(root / "dataset", SECTION)
    names = [(event.by, event.file_uid, event.entry) for event in found]
    # equally bad ones in the order of their names, not of their files; the set-aside event 2 has no figures
    assert names == [("voxels", "b/0000", 3), ("voxels", "a/0000", 1), ("points", "b/0000", 0)]
    blind, good, _ = found
    assert (blind.num_voxels, blind.num_wrong) == (47, 37)
    assert blind.mistakes == [(1, 0, 30), (2, 0, 5), (4, 0, 2)]
    assert (blind.num_lost_points, blind.num_true_points, blind.num_false_points, blind.num_points) == (
        6,
        6,
        0,
        0,
    )
    assert (good.num_voxels, good.num_wrong, good.mistakes) == (47, 2, [(1, 3, 2)])
    assert (good.num_lost_points, good.num_true_points, good.num_false_points, good.num_points) == (
        4,
        6,
        1,
        3,
    )


def test_small_events_and_right_ones_are_not_among_the_worst(root):
    assert worst_events(root / "dataset", config.Report(num_worst=2, worst_min_voxels=48)) == []
    assert worst_events(root / "dataset", config.Report(num_worst=0, worst_min_voxels=10)) == []
    everything = worst_events(root / "dataset", config.Report(num_worst=50, worst_min_voxels=1))
    assert {(event.file_uid, event.entry) for event in everything} == {
        ("b/0000", 0),
        ("b/0000", 3),
        ("a/0000", 1),
    }


def test_the_order_of_the_files_changes_nothing(root, tmp_path):
    whole = worst_events(root / "dataset", SECTION)
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    for number, uid in enumerate(("a/0000", "b/0000")):
        (metrics / f"part-{number}.parquet").write_bytes((root / "metrics" / f"{uid}.parquet").read_bytes())
    again = worst_events(tmp_path, SECTION)
    assert [(event.by, event.file_uid, event.entry) for event in again] == [
        (event.by, event.file_uid, event.entry) for event in whole
    ]


def test_only_shards_with_worst_events_are_opened(root, event_path, capsys):
    listed = worst_events(root / "dataset", SECTION)
    drawn = worst_displays(listed, event_path, SECTION)
    assert [picture["title"] for picture in drawn] == [
        "b/0000, entry 3",
        "a/0000, entry 1",
        "b/0000, entry 0",
    ]
    sides = drawn[1]["sides"]
    assert sides["truth"]["points"]["alone"] == [False, False, True, True, True, True]
    assert sides["prediction"]["points"]["alone"] == [False, False, True, False], "a delta counts on no side"
    gone = worst_displays(listed, event_path.replace("{step}", "{step}/none"), SECTION)
    assert gone == [None] * 3 and "listed without pictures" in capsys.readouterr().err


def test_thinning_keeps_the_mistakes(event_path):
    files = [event_path.format(step=step, shard="b/0000") for step in ("ingest", "segment", "points")]
    files += [event_path.format(step=step, shard="b/0000") for step in ("cluster", "interact")]
    with open_events(*map(Path, files)) as events:
        drawn = display(events[0], 10, keep_mistakes=True)
    labels = [
        np.frombuffer(base64.b64decode(drawn["sides"][side]["semantic"]), np.int8)
        for side in ("truth", "prediction")
    ]
    assert drawn["num_drawn"] == 10 and (labels[0] != labels[1]).sum() == 2


def test_the_page_lists_and_draws_them(root, event_path):
    out = root / "report.html"
    report(root / "dataset", [], [], out, SECTION, event_path)
    text = out.read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert [event["title"] for event in data["displays"]] == [
        "b/0000, entry 3",
        "a/0000, entry 1",
        "b/0000, entry 0",
    ]
    assert '<button type="button" data-event="1">a/0000, entry 1</button>' in text
    assert "track → shower 30, michel → shower 5, low energy → shower 2" in text
    report(root / "dataset", [], [], out, SECTION)
    assert "<td>a/0000, entry 1</td>" in out.read_text(), "listed without a picture"
