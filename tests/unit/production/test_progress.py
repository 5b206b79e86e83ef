"""Progress in a log: how much is done, and how long the rest takes."""

import pytest

from lartpc.run import progress
from lartpc.run.progress import Meter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_rest_is_judged_by_what_this_run_did(clock, capsys) -> None:
    with Meter("train segment", 1000, "steps", done=900) as meter:
        clock[0] = 10.0
        meter.advance(1, "loss 0.5")
        clock[0] = 20.0
        meter.advance(1, "loss 0.4, 9,000 voxels/s")
        clock[0] = 10_000.0
        meter.advance(48)
    first, second, last = capsys.readouterr().err.splitlines()
    assert first == "train segment: 902/1000 steps in 20 s, 16 min left loss 0.4, 9,000 voxels/s"
    assert second == "train segment: 950/1000 steps in 2 h 47 min, 2 h 47 min left"
    assert last == second


def test_other_ranks_are_quiet(clock, capsys) -> None:
    with Meter("train segment", 10, "steps", quiet=True) as meter:
        clock[0] = 1000.0
        meter.advance(10)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (90, "90 s"), (600, "10 min"), (7300, "2 h 02 min")]
)
def test_times_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert progress._clock(seconds) == text
