"""The generator's files of a sample: which interactions a shard takes, and reading them in order."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from lartpc.neutrinos import nuhepmc
from lartpc.neutrinos.record import Interaction
from lartpc.paths import named_by


def expand(patterns: Sequence[str]) -> list[Path]:
    """Return the files that patterns name, in order; ValueError if one names none."""
    found: list[Path] = []
    for pattern in patterns:
        paths = named_by(pattern)
        if not paths:
            raise ValueError(f"no file of generated events matches '{pattern}'")
        found += map(Path, paths)
    return found


def read(kind: str, files: Sequence[Path], share: tuple[int, int] = (0, 1)) -> Iterator[Interaction]:
    """Yield the interactions of files, one after another, that belong to one of several shares.

    Share `i` of `n` has the interactions i, i + n, i + 2n and so on of all files together: shares have no
    interaction in common. Each says which file it is of, and its number there.

    Raises
    ------
    ValueError
        A file is missing or damaged.
    """
    index, num = share
    return islice(_all(kind, files), index, None, num)


def _read_one(kind: str, path: Path) -> Iterator[Interaction]:
    if kind == "nuhepmc":
        return nuhepmc.read(path)
    # only now: uproot takes half a second
    from lartpc.neutrinos import genie

    return genie.read(path, kind)


def _all(kind: str, files: Sequence[Path]) -> Iterator[Interaction]:
    for number, path in enumerate(files):
        count = 0
        try:
            for interaction in _read_one(kind, path):
                _check(interaction)
                yield replace(interaction, columns={**interaction.columns, "file": number})
                count += 1
        except ValueError as error:
            if str(path) in str(error):
                raise
            raise ValueError(f"{path}, interaction {count} from 0: {error}") from error


def _check(interaction: Interaction) -> None:
    """Raise ValueError where a number that all that follows needs is not finite."""
    wanted = {name: interaction.columns.get(name, 0.0) for name in ("energy", "momentum", "weight")}
    wanted |= {"position": interaction.position_cm or 0.0, "time": interaction.time_ns or 0.0}
    for name, value in wanted.items():
        if not np.isfinite(value).all():
            of = "neutrino" if name in ("energy", "momentum") else "interaction"
            raise ValueError(f"the {name} of the {of} is {value}, not finite")
