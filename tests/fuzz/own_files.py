"""The files that we write ourselves: read as they were written, or refused; a changed one is never taken for good."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from fuzz.digests import digest_of_events
from handmade import write_shard

from lartpc.config import Points
from lartpc.dist import Ranks
from lartpc.run.guard import in_child, within
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.shards import check_shard
from lartpc.run.summarize import summarize
from lartpc.run.training.checkpoint import Checkpoints
from lartpc.run.weights import content_digest, read_weights, save_weights
from lartpc.stages import stage
from lartpc.store import open_events
from lartpc.tables.manifest import NAME as MANIFEST
from lartpc.tables.write import read_figures

UID = "beam/0000"
_GOOD: dict[str, Any] = {}
"""What the good files say, by the kind of file."""


def _read_events(*paths: Path) -> tuple[str, dict[int, tuple[str, str]], str, list[int]]:
    with within(paths[-1]), open_events(*paths) as events:
        said = digest_of_events(events.stream())
        return said, events.quarantined(), str(events.attributes()), events.entries.tolist()


def make_events(path: Path) -> None:
    """Write an event file of `ingest`."""
    path.write_bytes(write_shard(path.parent / "events", UID)[0].read_bytes())
    _GOOD["events"] = _read_events(path)


def use_events(path: Path, folder: Path) -> None:
    """Read an event file through."""
    assert in_child(lambda: _read_events(path), str(path)) == _GOOD["events"], (
        "other events than were written"
    )


def make_stage(path: Path) -> None:
    """Write an event file of `cluster`, one of whose events is set aside, and that of `ingest` under it."""
    before, *_, last, _ = write_shard(path.parent / "stage", UID)
    path.write_bytes(last.read_bytes())
    _GOOD["ingest"], _GOOD["stage"] = before, _read_events(before, path)


def use_stage(path: Path, folder: Path) -> None:
    """Read the events of a stage through, over those of `ingest`."""
    found = in_child(lambda: _read_events(_GOOD["ingest"], path), str(path))
    assert found == _GOOD["stage"], "other products than were written"


def make_weights(path: Path) -> None:
    """Write weights of a few tensors."""
    torch.manual_seed(1)
    state = {f"layer.{number}": torch.randn(4, 3, number + 1) for number in range(5)}
    save_weights(path, stage("segment"), Points(), state, {"step": "train", "seed": 1})
    _GOOD["weights"] = content_digest(read_weights(path, ""))


def use_weights(path: Path, folder: Path) -> None:
    """Read weights, as each stage does that takes them."""
    assert content_digest(read_weights(path, "train them")) == _GOOD["weights"], (
        "other weights than were written"
    )


def _checkpoints(folder: Path) -> Checkpoints:
    return Checkpoints(folder, {"seed": 1}, _GOOD["ranks"])


def make_checkpoint(path: Path) -> None:
    """Write two checkpoints of a training, and take the later one."""
    _GOOD["ranks"] = Ranks(0, 1, 0, torch.device("cpu"), "")
    folder = path.parent / "training" / ".resume"
    for step in (1, 2):
        torch.manual_seed(step)
        state = {"step": step, "net": {"weight": torch.randn(4, 3)}, "best": None}
        _checkpoints(folder).save(step, state)
        _GOOD[f"step {step}"] = str(state)
    _GOOD["earlier"] = (folder / "step-00000001.pt").read_bytes()
    path.write_bytes((folder / "step-00000002.pt").read_bytes())


def use_checkpoint(path: Path, folder: Path) -> None:
    """Go on with a training from its last checkpoint, the changed file, if it is sound, or the one before."""
    resume = path.parent / ".resume"
    resume.mkdir()
    (resume / "step-00000001.pt").write_bytes(_GOOD["earlier"])
    last = resume / "step-00000002.pt"
    last.write_bytes(path.read_bytes())
    with contextlib.redirect_stderr(io.StringIO()):
        state = in_child(lambda: _checkpoints(resume).load(), str(path))
    state.pop("key")
    if last.exists():
        assert str(state) == _GOOD["step 2"], "another state than was written"
        return
    assert str(state) == _GOOD["step 1"] and last.with_suffix(".damaged").exists()
    raise ValueError(f"{path} is damaged, and passed over")


def make_tables(path: Path) -> None:
    """Write the tables of a shard, and take one of them."""
    folder = path.parent / "shard" / "tables" / UID
    summarize(write_shard(path.parent / "shard", UID), folder)
    _GOOD["tables"] = {file.name: file.read_bytes() for file in folder.iterdir()}
    path.write_bytes(_GOOD["tables"]["particles.parquet"])


def make_manifest(path: Path) -> None:
    """Write the tables of a shard, and take their manifest."""
    make_tables(path)
    path.write_bytes(_GOOD["tables"][MANIFEST])


def use_manifest(path: Path, folder: Path) -> None:
    """Check the tables of a shard with a changed manifest."""
    use_tables(path, folder, MANIFEST)


def use_tables(path: Path, folder: Path, which: str = "particles.parquet") -> None:
    """Check the tables of a shard with the changed file among them, as `collect` does."""
    shard = path.parent / "tables"
    shard.mkdir()
    for name, content in _GOOD["tables"].items():
        (shard / name).write_bytes(content)
    changed = shard / which
    changed.write_bytes(path.read_bytes())
    try:
        check_shard(shard)
    except ValueError as error:
        assert str(changed) in str(error)
        raise ValueError(f"{path}: {error}") from error
    now, good = changed.read_bytes(), _GOOD["tables"][which]
    # white space of JSON says nothing
    assert now == good or (which == MANIFEST and json.loads(now) == json.loads(good)), (
        "a changed file is taken for good"
    )


def make_figures(path: Path) -> None:
    """Write the figures of a shard."""
    evaluate(write_shard(path.parent / "judged", UID), path)
    _GOOD["figures"] = pq.read_table(path)


def use_figures(path: Path, folder: Path) -> None:
    """Read figures, as `collect` does."""
    found = in_child(lambda: read_figures(path), str(path))
    assert found.equals(_GOOD["figures"]), "other figures than were written"
