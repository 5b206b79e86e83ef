"""No work is lost when a training is cut off: signals, checkpoints, and what goes on from them."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from training import assert_same_bits, launch, section, train_here, wait_for_step, weights, write_events

from lartpc import dist
from lartpc.config import slice_of
from lartpc.run.training.checkpoint import Checkpoints
from lartpc.run.training.interrupt import GO_ON

LONG = {"num_steps": 40, "validate_every": 7}
"""Epochs of two steps: a signal finds the training in the middle of one, or of a line of the curve."""

needs_mpiexec = pytest.mark.skipif(not shutil.which("mpiexec"), reason="no mpiexec in PATH")
ALONE = dist.Ranks(0, 1, 0, torch.device("cpu"), "none")


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_events(tmp_path_factory.mktemp("events") / "ingest.h5")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, events: Path) -> Path:
    """Train without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    train_here(folder, events, **LONG)
    return folder


@pytest.mark.parametrize(("number", "minutes"), [(signal.SIGTERM, 0), (signal.SIGKILL, 60)])
def test_a_training_that_was_cut_off_goes_on_bit_for_bit(
    tmp_path: Path,
    events: Path,
    whole: Path,
    number: signal.Signals,
    minutes: int,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with launch(tmp_path, events, 1, **LONG, checkpoint_minutes=minutes, num_workers=1) as process:
        wait_for_step(process, tmp_path, 5)
        process.send_signal(number)
        _, errors = process.communicate()
    saved = sorted(int(path.stem[5:]) for path in (tmp_path / ".resume").glob("step-*.pt"))
    assert not (tmp_path / "weights.pt").exists()
    if number == signal.SIGTERM:
        assert len(saved) == 2 and saved[1] == saved[0] + 1
        assert process.returncode == GO_ON
        assert f"asked to end by SIGTERM at step {saved[-1]} of 40" in errors
    else:  # a clock that never runs out leaves those of the validations
        assert all(step % 7 == 0 for step in saved)
    capfd.readouterr()
    train_here(tmp_path, events, **LONG)
    assert f"goes on from the checkpoint of step {saved[-1]}" in capfd.readouterr().err
    assert not (tmp_path / ".resume").exists()
    assert_same_bits(weights(whole), weights(tmp_path))
    assert_same_bits(weights(whole, "weights.best.pt"), weights(tmp_path, "weights.best.pt"))
    curves = [figures(folder / "training.jsonl") for folder in (whole, tmp_path)]
    assert curves[0] == curves[1]


def figures(curve: Path) -> list[dict[str, object]]:
    """Return the lines of a curve without what depends on the clock."""
    lines = [json.loads(line) for line in curve.read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if name not in ("voxels_per_s", "read_share")}
        for line in lines
    ]


@pytest.mark.mpi
@needs_mpiexec
def test_all_ranks_stop_at_one_step_and_any_number_goes_on(tmp_path: Path, events: Path, whole: Path) -> None:
    with launch(tmp_path, events, 2, **LONG, checkpoint_minutes=0) as process:
        wait_for_step(process, tmp_path, 5)
        # mpiexec hands it on to its ranks, as SLURM does to those of a step.
        process.send_signal(signal.SIGUSR1)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == GO_ON, errors
    assert "asked to end by SIGUSR1 at step" in errors
    line = train_here(tmp_path, events, **LONG)
    assert line["step"] == 40
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(tmp_path)[name], value, rtol=0, atol=2e-3)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = Checkpoints(tmp_path / ".resume", {"a": 1}, ALONE)
    for step in (3, 6, 9):
        store.save(step, {"step": step, "net": {"weight": torch.full((100,), float(step))}})
    names = sorted(path.name for path in (tmp_path / ".resume").iterdir())
    assert names == ["step-00000006.pt", "step-00000009.pt"]
    last = tmp_path / ".resume" / "step-00000009.pt"
    whole = last.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for broken in (whole[: len(whole) // 2], bytes(flipped), b"", whole[10:]):
        last.write_bytes(broken)
        found = store.load()
        assert found is not None and found["step"] == 6
        said = capfd.readouterr().err
        assert str(last) in said and "damaged" in said
        assert not last.exists()
    (tmp_path / ".resume" / "step-00000006.pt").write_bytes(b"nothing")
    assert store.load() is None


def test_a_checkpoint_of_another_configuration_is_set_aside(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / ".resume"
    Checkpoints(folder, {"interact.train.seed": 1, "sample": "8 events"}, ALONE).save(3, {"step": 3})
    other = Checkpoints(folder, {"interact.train.seed": 2, "sample": "8 events"}, ALONE)
    assert other.load() is None
    said = capfd.readouterr().err
    assert "(interact.train.seed: 1 there, 2 here)" in said
    assert str(tmp_path / ".resume.old") in said
    assert [path.name for path in (tmp_path / ".resume.old").iterdir()] == ["step-00000003.pt"]
    other.save(1, {"step": 1})
    found = other.load()
    assert found is not None and found["step"] == 1


def test_settings_without_effect_on_the_weights_keep_a_checkpoint(tmp_path: Path) -> None:
    from lartpc.run.training.train import key_of

    def key(**train: object) -> dict[str, object]:
        return key_of("interact", slice_of(section("interact", **train), "train"))

    assert key() == key(checkpoint_minutes=3, output="best", backend="gloo", num_workers=2)
    assert key() != key(seed=2)
