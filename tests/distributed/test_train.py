"""Training: the same result on any number of ranks."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from training import launch, section, train_here, weights, write_events

from lartpc.config import Interact
from lartpc.run.training.optimize import learning_rate
from lartpc.run.training.sample import Sample
from lartpc.stages import stage


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a store of ten events, two of which cannot be trained on."""
    return write_events(tmp_path_factory.mktemp("events") / "ingest.h5")


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for the good end of a training, and return what it said."""
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


@pytest.mark.mpi
@pytest.mark.skipif(not shutil.which("mpiexec"), reason="no mpiexec in PATH")
@pytest.mark.parametrize(("num_ranks", "backend"), [(2, "mpi"), (2, "gloo"), (4, "mpi")])
def test_ranks_give_the_result_of_one(tmp_path: Path, events: Path, num_ranks: int, backend: str) -> None:
    train_here(tmp_path / "one", events)
    with launch(tmp_path / "many", events, num_ranks, backend=backend) as process:
        finish(process)
    one, many = weights(tmp_path / "one"), weights(tmp_path / "many")
    initial = stage("interact").module()
    torch.manual_seed(1)
    start = initial.network(section("interact")).state_dict()
    assert any(not torch.allclose(one[name], start[name], atol=1e-3) for name in one)
    for name in one:
        # AdamW divides by the gradient's own size, so rounding shows where a gradient is all but zero.
        torch.testing.assert_close(one[name], many[name], rtol=0, atol=5e-4)
    curves = [
        [json.loads(line) for line in (tmp_path / name / "training.jsonl").read_text().splitlines()]
        for name in ("one", "many")
    ]
    assert curves[0][0]["loss"] == pytest.approx(curves[1][0]["loss"], rel=1e-4)


@pytest.mark.mpi
@pytest.mark.skipif(not shutil.which("mpiexec"), reason="no mpiexec in PATH")
def test_another_number_of_ranks_than_asked_for_is_an_error(tmp_path: Path) -> None:
    code = "from lartpc import dist; dist.join(3)"
    found = subprocess.run(
        ["mpiexec", "-n", "2", sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert found.returncode != 0
    assert "3 ranks were asked for, but MPI found 2" in found.stderr


@pytest.mark.mpi
@pytest.mark.skipif(not shutil.which("mpiexec"), reason="no mpiexec in PATH")
def test_a_failing_rank_ends_the_job() -> None:
    code = (
        "from lartpc import dist\n"
        "with dist.join(2) as ranks:\n"
        "    if ranks.rank == 1: raise RuntimeError('broken')\n"
        "    ranks.barrier()\n"
    )
    found = subprocess.run(
        ["mpiexec", "-n", "2", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert found.returncode != 0
    assert "rank 1 of 2 failed" in found.stderr


def test_epochs_are_shared_without_repeats(events: Path) -> None:
    settings = section("interact")
    sample = Sample(stage("interact"), [events], settings)
    assert len(sample) == 8
    plain = settings.train.model_copy(update={"augment": False})

    class Ranks:
        size = 2
        rank = 0

    seen: list[int] = []
    for step in range(2):
        shares = []
        for rank in range(2):
            Ranks.rank = rank
            shares.append(sample.batch(step, plain, Ranks()))
        seen += [event.entry for share in shares for event in share]
        sizes = [sum(event.num_voxels for event in share) for share in shares]
        assert max(sizes) - min(sizes) <= max(event.num_voxels for share in shares for event in share)
    assert sorted(seen) == list(range(8))


@pytest.mark.parametrize(("num_steps", "warmup"), [(1000, 0.05), (100, 0.0), (7, 0.4), (2, 0.9), (1, 0.05)])
def test_the_learning_rate_rises_and_falls(num_steps: int, warmup: float) -> None:
    """A linear rise in the first steps, then half a cosine; the rate after the last step is a hundredth."""
    settings = Interact().train.model_copy(
        update={"num_steps": num_steps, "learning_rate": 0.25, "warmup_fraction": warmup}
    )
    rise = max(1, round(warmup * num_steps))
    rates = np.array([learning_rate(step, settings) for step in range(num_steps + 1)])
    np.testing.assert_allclose(rates[:rise], 0.25 * np.arange(1, rise + 1) / rise, rtol=1e-12)
    along = np.linspace(0, 1, num_steps - rise + 1) if rise < num_steps else np.zeros(1)
    cosine = 0.25 * (0.01 + 0.99 * (1 + np.cos(np.pi * along)) / 2)
    np.testing.assert_allclose(rates[rise:], cosine, rtol=1e-12)
