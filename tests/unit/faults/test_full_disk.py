"""A full disk, at the first byte or half-way, is told in one line by each verb that writes, and no part is left."""

import gc
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from handmade import write_production
from test_ingest import g4_muon, write_geant4
from test_weights import write_weights_file
from typer.testing import CliRunner

from lartpc.cli import app
from lartpc.faults import EXIT_STATUS
from lartpc.run.collect import collect
from lartpc.stages import CHAIN

UID = "beam/0000"
SIZE_B = 2**20

VERBS = {
    "ingest steps.h5": "out.h5",
    "infer points {ingest} {segment}": "out.h5",
    "summarize {ingest} {segment} {points} {cluster} {interact}": "tables",
    "evaluate {ingest} {segment} {points} {cluster} {interact}": "figures.parquet",
    "collect results/tables/beam/0000 --metrics results/metrics/chain/beam/0000.parquet --ingested {ingest}": "dataset",
    "report results/dataset": "report.html",
    "compare results/dataset results/dataset --replicas 2": "compare",
    "export {ingest}": "pilarnet.h5",
    "audit results --no-sources": "audit.json",
    "plan samples.tsv --path {{shard}}.h5 --split test": "list",
    "release segment.pt": "models",
    "view {ingest} --event beam/0000/0 --no-browser --json": "event.json",
}
ROOM_B = (0, 8192)
"""What is left on the disk: nothing, or less than these outputs have."""
SMALL = ("audit", "plan", "release", "view")
"""Verbs that write less than that."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A production, steps, weights and a sample sheet."""
    folder = tmp_path_factory.mktemp("full")
    parts = write_production(folder / "results", [UID])
    collect(*parts, folder / "results/dataset")
    rows = [g4_muon(event) for event in (1, 2)]
    write_geant4(folder / "steps.h5", [row[0] for row in rows], [row[1] for row in rows], events=[1, 2])
    write_weights_file(folder / "segment.pt")
    sheet = "sample\tsplit\tsource\tnum_events\tnum_shards\nbeam\ttest\tgeant4\t4\t2\n"
    (folder / "samples.tsv").write_text(sheet)
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_B}", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(disk)], check=True)


def fill(folder, room_b):
    """Clear the disk, and fill it but for some bytes."""
    gc.collect()  # a file that is removed keeps its room until it is closed
    disk = folder / "disk"
    for path in disk.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - room_b))
    return disk / "filler"


@pytest.mark.parametrize("words", VERBS)
def test_a_full_disk_is_told_and_nothing_is_left(folder, monkeypatch, words):
    monkeypatch.chdir(folder)
    out = Path("disk") / VERBS[words]
    files = {step: f"results/events/{step}/{UID}.h5" for step in ("ingest", *(row.name for row in CHAIN))}
    verb = words.format(**files).split()
    for room_b in ROOM_B[: 1 if verb[0] in SMALL else 2]:
        filler = fill(folder, room_b)
        said = CliRunner().invoke(app, [*verb, *([] if verb[-1] == "--json" else ["--out"]), str(out)])
        assert said.exit_code in (2, EXIT_STATUS), f"{said.output} {said.exception!r}"
        assert "No space left on device" in said.output and "Traceback" not in said.output
        assert str(out) in said.output
        assert [path for path in (folder / "disk").rglob("*") if path.is_file()] == [filler]


@pytest.mark.parametrize("words", VERBS)
def test_a_place_where_nothing_can_be_is_told(folder, monkeypatch, words):
    monkeypatch.chdir(folder)
    files = {step: f"results/events/{step}/{UID}.h5" for step in ("ingest", *(row.name for row in CHAIN))}
    verb = words.format(**files).split()
    for out in (f"/proc/x/{VERBS[words]}", f"segment.pt/{VERBS[words]}"):  # in a file, too
        said = CliRunner().invoke(app, [*verb, *([] if verb[-1] == "--json" else ["--out"]), out])
        assert said.exit_code == 2 and "Traceback" not in said.output, f"{said.output} {said.exception!r}"
        assert out in said.output and "cannot be written" in said.output


def test_simulate_too(folder):
    """In a process of its own, as Geant4 begins only once in each."""
    filler, out = fill(folder, 0), folder / "disk/steps.h5"
    command = [sys.executable, "-m", "lartpc", "simulate", "--num-events", "1", "--out", str(out)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert said.returncode in (2, EXIT_STATUS) and f"No space left on device: '{out}'" in said.stderr
    assert "Traceback" not in said.stderr and list((folder / "disk").iterdir()) == [filler]
