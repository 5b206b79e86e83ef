"""What TensorBoard is given: every step once, also after a training was cut off."""

import time
from pathlib import Path

import pytest

from lartpc.run.training.board import Board


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def write(folder: Path, steps: range) -> None:
    with Board(folder, steps.start) as board:
        for step in range(steps.start + 1, steps.stop + 1):
            board.add_step(step, {"loss": 1 / step, "gradient_norm": 2.0}, 1e-3)
            if step % 5 == 0:
                line = {"step": step, "voxels_per_s": 9.0, "validation": {"accuracy": 0.5, "recall": None}}
                board.add_line(line)


def test_a_training_that_goes_on_has_each_step_once(tmp_path: Path) -> None:
    folder = tmp_path / "tensorboard"
    write(folder, range(0, 8))
    # TensorBoard reads files in the order of their names, which begin with the second of their making
    # and end with a number that is not padded.
    time.sleep(1.1)
    write(folder, range(5, 10))
    found = read(folder)
    assert [step for step, _ in found["loss/loss"]] == list(range(1, 11))
    assert [value for _, value in found["loss/loss"]] == pytest.approx([1 / step for step in range(1, 11)])
    assert found["optimizer/gradient_norm"][0] == (1, 2.0)
    assert found["optimizer/learning_rate"][9] == (10, pytest.approx(1e-3))
    assert found["held out/accuracy"] == [(5, 0.5), (10, 0.5)]
    assert found["rank 0/voxels_per_s"] == [(5, 9.0), (10, 9.0)]
    assert "held out/recall" not in found


def test_a_new_training_removes_the_old(tmp_path: Path) -> None:
    write(tmp_path / "tensorboard", range(0, 8))
    write(tmp_path / "tensorboard", range(0, 2))
    assert [step for step, _ in read(tmp_path / "tensorboard")["loss/loss"]] == [1, 2]


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    with Board(None, 0) as board:
        board.add_step(1, {"loss": 1.0}, 1e-3)
        board.add_line({"step": 1})
    assert not list(tmp_path.iterdir())
