"""Several files as one source: their events one after another, one file open at a time."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from lartpc.ingest.source import AnySource, PlaneSource, StepSource, Voxels, VoxelSource
from lartpc.ingest.steps import Steps

Open = Callable[[Path], AnySource]

_SHOWN = 10


class _Files:
    """Files of events in a row; the one that was read last stays open."""

    def __init__(self, paths: Sequence[Path], num_events: Sequence[int], open_one: Open) -> None:
        self.paths = tuple(paths)
        self._open_one = open_one
        self._first = [0, *accumulate(num_events)]
        self._index = -1
        self._opened: AnySource | None = None

    def read(self, entry: int) -> Any:
        """Read one event, by its number in the row."""
        index = int(np.searchsorted(self._first, entry, side="right")) - 1
        return self.open(index).read(entry - self._first[index])

    def open(self, index: int) -> AnySource:
        """Open one of the files, in place of the one before."""
        if self._opened is None or index != self._index:
            self.close()
            self._opened, self._index = self._open_one(self.paths[index]), index
        return self._opened

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None


class JoinedSteps(StepSource):
    """Steps of several files."""

    _file: _Files

    def read(self, entry: int) -> Steps:
        """Read one event; ValueError if its rows make no sense."""
        steps: Steps = self._file.read(entry)
        return steps


class JoinedVoxels(VoxelSource):
    """Voxels of several files."""

    _file: _Files

    def read(self, entry: int) -> Voxels:
        """Read one event; ValueError if its rows make no sense."""
        voxels: Voxels = self._file.read(entry)
        return voxels


class JoinedPlanes(PlaneSource):
    """Images of planes of several files."""

    _file: _Files

    def read(self, entry: int) -> list[Voxels]:
        """Read one event; ValueError if its rows make no sense."""
        images: list[Voxels] = self._file.read(entry)
        return images


def join(paths: Sequence[Path], open_one: Open) -> AnySource:
    """Open several files as one source: all are looked at first, then read one at a time.

    Raises
    ------
    ValueError
        Files cannot be read (the message names them all), or differ in what they hold.
    """
    identities, sizes, faults = [], [], []
    first: AnySource | None = None
    for path in paths:
        try:
            source = open_one(path)
        except ValueError as error:
            faults.append(str(error))
            continue
        try:
            first = first or source
            _agree(first, source)
            identities.append(source.identities())
            sizes.append(source.num_events)
        finally:
            source.close()
    if faults:
        more = f"\n  ... and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise ValueError(
            f"{len(faults)} of {len(paths)} files cannot be read; mend them, or take them out of the sample:\n  "
            + "\n  ".join(faults[:_SHOWN])
            + more
        )
    assert first is not None, "no file to join"
    files = _Files(paths, sizes, open_one)
    identity_E3 = np.concatenate(identities)
    joined: JoinedSteps | JoinedVoxels | JoinedPlanes
    if isinstance(first, StepSource):
        joined = JoinedSteps(first.path, files, identity_E3)
    elif isinstance(first, VoxelSource):
        joined = JoinedVoxels(first.path, files, identity_E3)
        joined.voxel_size_cm = first.voxel_size_cm
    else:
        joined = JoinedPlanes(first.path, files, identity_E3)
        joined.num_planes, joined.pixel_cm = first.num_planes, first.pixel_cm
    joined.truth, joined.selection, joined.centre_cm = first.truth, first.selection, first.centre_cm
    joined.generator = first.generator
    joined.parts = tuple(zip(paths, sizes, strict=True))
    return joined


def _agree(first: AnySource, other: AnySource) -> None:
    for what, of in _PROPERTIES.items():
        if of(first) != of(other):
            raise ValueError(
                f"{first.path} and {other.path} differ in their {what}: {of(first)} and {of(other)}; "
                "put them into different samples"
            )


_KINDS = {StepSource: "steps", VoxelSource: "voxels", PlaneSource: "images of planes"}
_PROPERTIES: dict[str, Callable[[AnySource], Any]] = {
    "kind": lambda source: next(name for kind, name in _KINDS.items() if isinstance(source, kind)),
    "planes": lambda source: (
        (source.num_planes, source.pixel_cm) if isinstance(source, PlaneSource) else None
    ),
    "truth": lambda source: ", ".join(source.truth) or "none",
    "centre": lambda source: source.centre_cm,
    "voxel size": lambda source: source.voxel_size_cm if isinstance(source, VoxelSource) else None,
    "selection": lambda source: source.selection,
}
