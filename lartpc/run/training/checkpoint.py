"""Checkpoints of a training: whole or not there, the last two kept, never of another configuration."""

import hashlib
import io
import json
import random
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lartpc.atomic import replacing
from lartpc.dist import Ranks

NUM_KEPT = 2
_MAGIC = "lartpc checkpoint 1"


class Checkpoints:
    """The checkpoints of one training, in a folder that rank 0 alone reads and writes.

    A file is one line with the digest of the rest, and what `torch.save` wrote.

    Parameters
    ----------
    folder
        Where they are; made when it is needed.
    key
        Settings by name that a checkpoint must have been made with to be gone on from.
    defaults
        What settings are where a checkpoint of an older version does not have them.
    """

    def __init__(
        self, folder: Path, key: Mapping[str, Any], ranks: Ranks, defaults: Mapping[str, Any] | None = None
    ) -> None:
        self._folder, self._ranks = folder, ranks
        self._key: dict[str, Any] = json.loads(json.dumps(key))
        known: dict[str, Any] = json.loads(json.dumps(defaults or {}))
        self._defaults = {name: value for name, value in known.items() if name in self._key}

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write a checkpoint, with the random generators of all ranks, and remove all but the last two."""
        generators = self._ranks.gather(_generators())
        if self._ranks.is_main:
            payload = io.BytesIO()
            torch.save({**state, "generators": generators, "key": json.dumps(self._key)}, payload)
            digest = hashlib.blake2b(payload.getbuffer(), digest_size=16).hexdigest()
            with replacing(self._folder / f"step-{step:08d}.pt") as part, part.open("wb") as file:
                file.write(f"{_MAGIC} {digest}\n".encode())
                file.write(payload.getbuffer())
                file.flush()
            for path in self._files()[NUM_KEPT:]:
                path.unlink()
        self._ranks.barrier()

    def load(self) -> dict[str, Any] | None:
        """Read the last checkpoint that is sound, on all ranks alike, or None.

        A damaged one is renamed, with a warning. Those of another configuration are set aside in a folder
        beside, with a message that names what differs. The random generators are set.
        """
        payload = self._ranks.from_main(self._find() if self._ranks.is_main else None)
        if payload is None:
            return None
        state = _unpack(payload, self._ranks.device)
        generators = state.pop("generators")
        if self._ranks.rank < len(generators):
            _set_generators(generators[self._ranks.rank])
        return state

    def forget(self) -> None:
        """Remove the checkpoints of a training that is complete."""
        if self._ranks.is_main:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _files(self) -> list[Path]:
        """Return the checkpoints, latest first."""
        return sorted(self._folder.glob("step-*.pt"), reverse=True)

    def _find(self) -> bytes | None:
        for path in self._files():
            try:
                payload = _read(path)
            except ValueError as error:
                _say(f"warning: checkpoint {path} is damaged ({error}); it is passed over")
                path.rename(path.with_suffix(".damaged"))
                continue
            theirs = self._defaults | json.loads(_unpack(payload, torch.device("cpu"))["key"])
            if theirs != self._key:
                self._set_aside(path, theirs)
                return None
            return payload
        return None

    def _set_aside(self, path: Path, theirs: Mapping[str, Any]) -> None:
        aside = self._folder.with_name(f"{self._folder.name}.old")
        shutil.rmtree(aside, ignore_errors=True)
        self._folder.rename(aside)
        _say(
            f"{path} belongs to another configuration ({_difference(theirs, self._key)}); the training starts "
            f"from the beginning. The old checkpoints are in {aside}: with the old settings, and renamed "
            f"to {self._folder}, they can be gone on from"
        )


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        head = re.fullmatch(rf"{_MAGIC} ([0-9a-f]{{32}})\n", file.readline(100).decode(errors="replace"))
        payload = file.read()
    if not head:
        raise ValueError("its first line is not that of a checkpoint")
    if hashlib.blake2b(payload, digest_size=16).hexdigest() != head[1]:
        raise ValueError("its content does not have the digest of its first line")
    return payload


def _unpack(payload: bytes, device: torch.device) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    return state


def _difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{name}: {there.get(name)} there, {here.get(name)} here"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    )


def _generators() -> dict[str, Any]:
    """Return the states of this process's random generators, as torch.load takes them."""
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002, libraries draw from it
    states = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    return states | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def _set_generators(states: Mapping[str, Any]) -> None:
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"].cpu())
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu())


def _say(text: str) -> None:
    sys.stderr.write(f"lartpc: {text}\n")
    sys.stderr.flush()
