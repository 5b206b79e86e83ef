"""The same of pictures, of the stages beside the chain and their tables, of planes, and of what goes to a terminal."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import test_detections
import test_image_classes
from test_full_disk import fill, folder  # noqa: F401
from test_project import write_steps
from test_space_points import FLAT, from_truth, with_points
from typer.testing import CliRunner

from lartpc import config
from lartpc.cli import app
from lartpc.faults import EXIT_STATUS
from lartpc.run.ingest import ingest
from lartpc.run.weights import save_weights
from lartpc.stages import stage

TINY = {"filters": 4, "depth": 3, "repetitions": 1}
SETTINGS = {
    "classify": {"unet": TINY, "num_hidden": 16},
    "detect": {"unet": TINY, "level": 1},
    "segment": {"unet": TINY},
}
VERBS = {
    "infer classify results/events/ingest/beam/0000.h5 --weights classify.pt --config classify.json": "out.h5",
    "infer detect boxes/ingest.h5 --weights detect.pt --config detect.json": "out.h5",
    "infer segment results/events/ingest/beam/0000.h5 --weights segment.tiny.pt --config segment.json": "out.h5",
    "detections boxes/ingest.h5 boxes/detect.h5": "detections.md",
    "classes called/s.h5 called/s.classify.h5": "classes.md",
    "backproject points.h5 --images images.h5 --images of_images.h5 --config segment.2d.json": "out.h5",
    "view results/events/ingest/beam/0000.h5 --event beam/0000/0 --png": "event.png",
}


@pytest.fixture(scope="module")
def made(folder):  # noqa: F811
    """What these verbs need, beside the production."""
    for name, settings in SETTINGS.items():
        cfg = config.SECTIONS[name].model_validate(settings)
        path = folder / ("segment.tiny.pt" if name == "segment" else f"{name}.pt")
        save_weights(path, stage(name), cfg, stage(name).module().network(cfg).state_dict(), {"by": "a test"})
        (folder / f"{name}.json").write_text(json.dumps(settings))
    (folder / "segment.2d.json").write_text('{"dimension": 2}')
    for name in ("boxes", "called"):
        (folder / name).mkdir()
    test_detections.written(folder / "boxes")
    test_image_classes.written(folder / "called", [(11, 0), (13, 1)])
    steps = write_steps(folder / "wires.h5")
    ingest(steps, with_points(), out=folder / "points.h5", file_uid="wires/0")
    ingest(steps, FLAT, out=folder / "images.h5", file_uid="wires/0")
    from_truth(folder / "images.h5", folder / "of_images.h5")


@pytest.mark.parametrize("words", VERBS)
def test_a_full_disk_is_told_and_nothing_is_left(folder, made, monkeypatch, words):  # noqa: F811
    verb = words.split()
    if verb[0] == "view" and not shutil.which("chromium"):
        pytest.skip("needs Chromium")
    monkeypatch.chdir(folder)
    out = Path("disk") / VERBS[words]
    # that the verb works is seen where there is room
    word = [] if verb[-1] == "--png" else ["--out"]
    said = CliRunner().invoke(app, [*verb, *word, str(Path("room") / out.name)])
    assert said.exit_code == 0, f"{said.output} {said.exception!r}"
    for room_b in (0, 8192) if out.suffix == ".h5" else (0,):
        filler = fill(folder, room_b)
        said = CliRunner().invoke(app, [*verb, *word, str(out)])
        assert said.exit_code in (2, EXIT_STATUS), f"{said.output} {said.exception!r}"
        assert "No space left on device" in said.output and "Traceback" not in said.output
        assert str(out) in said.output
        assert [path for path in (folder / "disk").rglob("*") if path.is_file()] == [filler]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["--version", "ingest --help", "config schema", "config slice ingest"])
def test_what_is_printed_into_a_file_too(words, unbuffered, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "lartpc", *words.split()]
        said = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=300)
    assert said.returncode == EXIT_STATUS
    assert "No space left on device" in said.stderr and len(said.stderr.splitlines()) == 1
