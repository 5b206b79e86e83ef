"""Training: the same result on any number of ranks, and no work lost when it is cut off."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ALL_PRODUCTS, BOX, ODD_EVENTS, typical

from lartpc.config import Interact, slice_of
from lartpc.run.sample import Sample
from lartpc.run.train import learning_rate
from lartpc.stages import stage
from lartpc.store import EventWriter, provenance

SETTINGS = {
    "graph": {"num_hidden": 16},
    "train": {
        "num_steps": 6,
        "batch_size": 4,
        "learning_rate": 1e-3,
        "validate_every": 3,
        "num_validation_events": 3,
    },
}


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a store of ten events, three of which cannot be trained on."""
    path = tmp_path_factory.mktemp("events") / "ingest.h5"
    attrs = provenance("ingest", 1, config={})
    with EventWriter(path, ALL_PRODUCTS, file_uid="s/0", box=BOX, attrs=attrs) as writer:
        for entry in range(8):
            writer.append(entry, typical(entry).products)
        writer.append(8, ODD_EVENTS["empty"](8).products)
        writer.quarantine(9, "for the test")
    return path


def train(
    folder: Path, events: Path, num_ranks: int, *, extra: dict | None = None, wait: bool = True
) -> subprocess.Popen[str]:
    folder.mkdir(parents=True, exist_ok=True)
    values = {**SETTINGS, "train": {**SETTINGS["train"], **(extra or {})}}
    section = Interact.model_validate(values)
    (folder / "config.json").write_text(json.dumps(slice_of(section, "train")))
    launcher = ["mpiexec", "-n", str(num_ranks)] if num_ranks > 1 else []
    command = [
        *launcher,
        *(sys.executable, "-m", "lartpc", "train", "interact", str(events)),
        *("--validation", str(events), "--config", str(folder / "config.json"), "--ranks", str(num_ranks)),
        *("--log", str(folder / "training.jsonl"), "--out", str(folder / "weights.pt")),
    ]
    process = subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
    )
    if wait:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    return process


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / "weights.pt", weights_only=True)["state"]
    return state


@pytest.mark.mpi
@pytest.mark.skipif(not shutil.which("mpiexec"), reason="no mpiexec in PATH")
@pytest.mark.parametrize(("num_ranks", "backend"), [(2, "mpi"), (2, "gloo"), (4, "mpi")])
def test_ranks_give_the_result_of_one(tmp_path: Path, events: Path, num_ranks: int, backend: str) -> None:
    train(tmp_path / "one", events, 1)
    train(tmp_path / "many", events, num_ranks, extra={"backend": backend})
    one, many = weights(tmp_path / "one"), weights(tmp_path / "many")
    initial = stage("interact").module()
    torch.manual_seed(1)
    start = initial.network(Interact.model_validate(SETTINGS)).state_dict()
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


def test_a_killed_training_goes_on_bit_for_bit(tmp_path: Path, events: Path) -> None:
    train(tmp_path / "whole", events, 1)
    process = train(tmp_path / "cut", events, 1, wait=False)
    checkpoint = tmp_path / "cut" / ".resume" / "state.pt"
    while not checkpoint.is_file():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "cut" / "weights.pt").exists()
    train(tmp_path / "cut", events, 1)
    assert not checkpoint.parent.exists()
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    for name in whole:
        assert torch.equal(whole[name], cut[name]), name


def test_epochs_are_shared_without_repeats(events: Path) -> None:
    section = Interact.model_validate(SETTINGS)
    sample = Sample(stage("interact"), [events], section)
    assert len(sample) == 8
    plain = section.train.model_copy(update={"augment": False})

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


def test_the_learning_rate_rises_and_falls() -> None:
    settings = Interact().train.model_copy(update={"num_steps": 100, "learning_rate": 1.0})
    rates = np.array([learning_rate(step, settings) for step in range(100)])
    assert rates[0] < 0.5
    assert rates.max() == pytest.approx(1.0)
    assert rates[-1] < 0.05
    assert np.all(np.diff(rates[5:]) <= 0)
