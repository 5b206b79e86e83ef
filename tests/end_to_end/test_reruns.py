"""A miniature production through Snakemake, for real: from Geant4 to tables, and exact reruns."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from checkout import copy_checkout, environment
from workflow.test_dag import jobs, snakemake

from lartpc.run.audit import audit
from lartpc.simulate import steps

CONFIG = ("--configfile", "config/test/config.yaml")
DATA = os.environ.get("LARTPC_TEST_DATA")


def run(folder: Path, *arguments: str) -> str:
    found = snakemake(folder, "--profile", "profiles/local", *CONFIG, *arguments)
    assert found.returncode == 0, found.stdout[-5000:] + found.stderr[-5000:]
    return found.stdout + found.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the miniature production once."""
    folder = copy_checkout(tmp_path_factory.mktemp("production"))
    said = run(folder)
    assert "results/report.html" in said
    return folder


def test_tables_open_in_one_line(folder: Path) -> None:
    events = pd.read_parquet(folder / "results/dataset/events")
    assert len(events) == 6
    assert not events.duplicated(["file_uid", "entry"]).any()
    particles = pd.read_parquet(folder / "results/dataset/particles")
    assert set(particles.file_uid) <= set(events.file_uid)
    schema = pq.ParquetDataset(folder / "results/dataset/particles").schema
    assert schema.field("start_x_cm").metadata[b"unit"] == b"cm"


def test_nothing_is_lost(folder: Path) -> None:
    summary = json.loads((folder / "results/dataset/summary.json").read_text())
    assert summary["num_events"] == summary["rows"]["events"] == 6
    assert summary["num_quarantined"] == 0


def test_the_audit_finds_nothing(folder: Path) -> None:
    said = json.loads((folder / "results/audit.json").read_text())
    assert said["findings"] == []
    assert said["num_events"] == 6 and said["weights"].keys() == {"segment", "cluster", "interact"}
    assert len(audit(folder / "results").findings) == 0


@pytest.mark.parametrize(
    "name",
    [
        "steps/mini_test/0001.h5",
        "events/ingest/mini_train/0000.h5",
        "events/cluster/mini_test/0000.h5",
        "tables/mini_test/0001/particles.parquet",
        "tables/mini_test/0001/manifest.json",
        "metrics/cluster_on_truth/mini_test/0000.parquet",
        "models/interact/weights.pt",
        "config/points.infer.json",
        "dataset/matches/part-00000.parquet",
        "dataset/manifest.json",
    ],
)
def test_one_changed_byte_is_named(folder: Path, name: str) -> None:
    path = folder / "results" / name
    whole = path.read_bytes()
    spoilt = bytearray(whole)
    spoilt[len(whole) // 2] ^= 1
    path.write_bytes(spoilt)
    try:
        found = audit(folder / "results").findings
    finally:
        path.write_bytes(whole)
    assert str(path) in {one.file for one in found}


def test_the_page_needs_no_network(folder: Path) -> None:
    page = (folder / "results/report.html").read_text()
    assert "<html" in page
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)\s*=\s*.https?:", page)


def test_nothing_is_left_to_do(folder: Path) -> None:
    assert "Nothing to be done" in run(folder)


def test_a_changed_threshold_reruns_its_stage_and_what_follows(folder: Path) -> None:
    found = jobs(folder, *CONFIG, "--config", "points={score_threshold: 0.35}")
    for rule in ("points", "cluster", "interact", "evaluate_chain", "summarize"):
        assert found[rule] == 2, rule
    assert found["segment"] == found["train"] == found["ingest"] == found["simulate"] == 0


def test_a_changed_training_reruns_no_upstream(folder: Path) -> None:
    found = jobs(
        folder, *CONFIG, "--config", "interact={train: {num_steps: 7, batch_size: 2, learning_rate: 0.001}}"
    )
    assert found["train"] == 1
    assert found["interact"] == 2
    assert found["cluster"] == 0


def test_a_touched_input_reruns_nothing(folder: Path) -> None:
    for path in ("results/config/points.infer.json", "results/events/points/mini_test/0000.h5"):
        (folder / path).touch()
    (folder / "config/test/samples.tsv").touch()
    assert not jobs(folder, *CONFIG)


def test_a_new_row_adds_only_its_jobs(folder: Path) -> None:
    sheet = folder / "config/test/samples.tsv"
    before = sheet.read_text()
    sheet.write_text(before + "more\ttest\tgeant4\t2\t1\n")
    try:
        found = jobs(folder, *CONFIG)
    finally:
        sheet.write_text(before)
    assert found["simulate"] == found["ingest"] == found["segment"] == found["summarize"] == 1
    assert found["train"] == 0
    assert found["collect_tables"] == found["report"] == 1


def test_a_new_sheet_adds_only_its_jobs(folder: Path) -> None:
    (folder / "more.tsv").write_text(
        "sample\tsplit\tsource\tnum_events\tnum_shards\nmore\ttest\tgeant4\t2\t1\n"
    )
    found = jobs(folder, *CONFIG, "--config", "samples=[config/test/samples.tsv, more.tsv]")
    assert found["simulate"] == found["segment"] == 1
    assert found["train"] == 0


def test_a_stage_runs_by_hand(folder: Path) -> None:
    out = folder / "by-hand.h5"
    shard = "mini_test/0000.h5"
    files = [f"results/events/{step}/{shard}" for step in ("ingest", "segment")]
    subprocess.run(
        [
            "lartpc",
            "infer",
            "points",
            *files,
            "--config",
            "results/config/points.infer.json",
            "--out",
            str(out),
        ],
        cwd=folder,
        env=environment(),
        check=True,
    )
    from lartpc.store import open_events

    with open_events(out) as mine, open_events(folder / "results/events/points" / shard) as theirs:
        for one, other in zip(mine, theirs, strict=True):
            assert one["point"]["score"].tolist() == other["point"]["score"].tolist()


def odd_steps(path: Path) -> None:
    """Write steps of an event without any, one in a single voxel, one of low-energy deposits, a bad one."""
    event = np.zeros(4, steps.EVENT)
    event["event_id"] = range(4)
    blips = np.random.default_rng(1).uniform(-900, 900, (30, 3))
    places = [np.empty((0, 3)), np.zeros((1, 3)), blips, np.zeros((2, 3))]
    segments = np.zeros(sum(map(len, places)), steps.SEGMENTS)
    segments["event_id"] = np.repeat(range(4), [len(place) for place in places])
    for axis, values in zip("xyz", np.concatenate(places).T, strict=True):
        segments[f"{axis}_start"] = segments[f"{axis}_end"] = values
    segments["traj_id"], segments["pdg_id"], segments["dE"] = 1, 13, 0.3
    segments["pdg_id"][segments["event_id"] == 2] = 11
    segments["dE"][-1] = np.nan
    trajectories = np.zeros(4, steps.TRAJECTORIES)
    trajectories["event_id"], trajectories["traj_id"] = range(4), 1
    trajectories["pdg_id"], trajectories["process"], trajectories["ke"] = 13, b"primary", 100.0
    trajectories[2]["pdg_id"], trajectories[2]["ke"] = 11, 9.0
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["centre_cm"] = steps.FORMAT, (0.0, 0.0, 0.0)
        file["event"], file["segments"], file["trajectories"] = event, segments, trajectories
        file["primaries"] = np.zeros(0, steps.PRIMARIES)


@pytest.fixture(scope="module")
def extended(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Add odd events, and where there is one a file of edep-sim, to a copy of the production."""
    copy = tmp_path_factory.mktemp("extended") / "production"
    shutil.copytree(folder, copy, symlinks=True)
    odd_steps(copy / "odd.h5")
    (copy / "odd.tsv").write_text("sample\tsplit\tsource\tnum_events\tnum_shards\nodd\ttest\todd.h5\t-\t-\n")
    sheets = ["config/test/samples.tsv", "odd.tsv"]
    with pytest.MonkeyPatch.context() as patch:
        if DATA:
            patch.setenv("EDEPSIM_FILES", f"{DATA}/edepsim_hdf5_small_10ev.h5")
            sheets.append("config/samples_edepsim.tsv")
        run(copy, "--config", f"samples=[{', '.join(sheets)}]")
    return copy


def test_odd_events_go_through_and_are_counted(extended: Path) -> None:
    events = pd.read_parquet(extended / "results/dataset/events")
    odd = events[events["sample"] == "odd"].set_index("entry")
    assert odd.status.tolist() == ["ok", "ok", "ok", "quarantined"]
    assert odd.num_voxels.tolist()[:2] == [0, 1]
    assert odd.num_voxels[2] >= 29
    quarantine = pd.read_parquet(extended / "results/dataset/quarantine")
    assert quarantine.entry.tolist() == [3]
    assert quarantine.step.tolist() == ["ingest"]
    summary = json.loads((extended / "results/dataset/summary.json").read_text())
    assert summary["num_events"] == len(events)
    assert summary["num_quarantined"] == 1


@pytest.mark.skipif(not DATA, reason="LARTPC_TEST_DATA names no folder of test data")
def test_files_of_edepsim_are_reconstructed_with_our_weights(folder: Path, extended: Path) -> None:
    events = pd.read_parquet(extended / "results/dataset/events")
    theirs = events[events["sample"] == "edepsim"]
    assert len(theirs) == 10
    assert (theirs.status == "ok").all()
    assert (theirs.num_voxels > 0).all()
    weights = "results/models/segment/weights.pt"
    assert (extended / weights).stat().st_mtime_ns == (folder / weights).stat().st_mtime_ns


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["simulate", "train", "segment", "collect_tables"])
def test_a_killed_run_goes_on_to_the_same_tables(folder: Path, tmp_path: Path, rule: str) -> None:
    cut = copy_checkout(tmp_path)
    command = ["snakemake", "--profile", "profiles/local", *CONFIG]
    process = subprocess.Popen(
        command,
        cwd=cut,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    for line in process.stdout:
        if line.strip() in (f"rule {rule}:", f"localrule {rule}:"):
            break
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = {p: p.stat().st_mtime_ns for p in (cut / "results").rglob("*.h5")}
    snakemake(cut, "--unlock", *CONFIG)
    run(cut)
    finished = [p for p, mtime in done.items() if p.stat().st_mtime_ns == mtime]
    assert len(finished) >= len(done) - 2, "finished work was done again"
    for table in ("events", "particles", "interactions", "points"):
        pd.testing.assert_frame_equal(
            pd.read_parquet(cut / "results/dataset" / table),
            pd.read_parquet(folder / "results/dataset" / table),
        )
    shutil.rmtree(cut)
