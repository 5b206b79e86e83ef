"""Trainings as the tests run them: a small store of events, and `lartpc train` on it, here or by itself."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from conftest import ALL_PRODUCTS, BOX, ODD_EVENTS, typical

from lartpc.config import SECTIONS, slice_of
from lartpc.provenance import provenance
from lartpc.stages import stage as row_of
from lartpc.store import EventWriter

NETWORKS: dict[str, dict[str, Any]] = {
    "interact": {"graph": {"num_hidden": 16}},
    "segment": {"unet": {"filters": 4, "depth": 3, "repetitions": 1}},
}
TRAIN = {
    "num_steps": 6,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "validate_every": 3,
    "num_validation_events": 3,
    "num_workers": 0,
}


def write_events(path: Path, first: int = 0) -> Path:
    """Write a store of ten events, from the typical one of number `first` on, two of which cannot be trained on."""
    attrs = provenance("ingest", 1, config={})
    with EventWriter(path, ALL_PRODUCTS, file_uid="s/0", box=BOX, attrs=attrs) as writer:
        for entry in range(8):
            writer.append(entry, typical(first + entry).products)
        writer.append(8, ODD_EVENTS["empty"](8).products)
        writer.quarantine(9, "for the test")
    return path


def section(stage: str, **train: Any) -> Any:
    """Return the settings of a small training."""
    return SECTIONS[stage].model_validate({**NETWORKS[stage], "train": {**TRAIN, **train}})


def train_here(folder: Path, events: Path, stage: str = "interact", **settings: Any) -> dict[str, Any]:
    """Train in this process, on one rank, and return the last line of the curve."""
    from lartpc.run.training.train import train

    folder.mkdir(parents=True, exist_ok=True)
    out, log = folder / "weights.pt", folder / "training.jsonl"
    return train(row_of(stage), [events], [events], section(stage, **settings), out=out, log=log, num_ranks=1)


@contextmanager
def launch(
    folder: Path,
    events: Path,
    num_ranks: int,
    *,
    stage: str = "interact",
    launcher: Sequence[str] = ("mpiexec",),
    within: Sequence[str] = (),
    **settings: Any,
) -> Iterator[subprocess.Popen[str]]:
    """Start `lartpc train`, under a launcher where there are several ranks; nothing of it outlives the block.

    `within` is a command that each rank is a child of.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(slice_of(section(stage, **settings), "train")))
    command = [
        *([*launcher, "-n", str(num_ranks)] if num_ranks > 1 else []),
        *within,
        *(sys.executable, "-m", "lartpc", "train", stage, str(events), "--validation", str(events)),
        *("--config", str(folder / "config.json"), "--ranks", str(num_ranks)),
        *("--log", str(folder / "training.jsonl"), "--out", str(folder / "weights.pt")),
    ]
    with subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()  # which does nothing where it has ended


def reaches_step(process: subprocess.Popen[str], folder: Path, step: int) -> bool:
    """Wait until a training has written a checkpoint of this step or a later one; tell whether it did."""
    end = time.monotonic() + 200
    while not any(int(path.stem[5:]) >= step for path in (folder / ".resume").glob("step-*.pt")):
        if process.poll() is not None:
            return False
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
    return True


def wait_for_step(process: subprocess.Popen[str], folder: Path, step: int) -> None:
    """Wait until a training has written a checkpoint of this step or a later one."""
    assert reaches_step(process, folder, step), process.communicate()


def weights(folder: Path, name: str = "weights.pt") -> dict[str, torch.Tensor]:
    """Return the tensors of a weights file."""
    state: dict[str, torch.Tensor] = torch.load(folder / name, weights_only=True)["state"]
    return state


def assert_same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Compare two networks bit for bit."""
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name
