"""What a reader of a file format is: a source of events, as steps or as voxels.

A step source gives energy-depositing steps, which ingestion splits over the voxels of the box and
labels. A voxel source gives images that were made elsewhere, with the truth that their makers kept.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from lartpc.event import Columns
from lartpc.ingest.steps import FARTHEST_CM, LARGEST_ENERGY_MEV, FloatArray, IntArray, Steps

LARGEST_INDEX = 2**31 - 1
"""Images have no more voxels on a side."""


class Closeable(Protocol):
    """A file that can be closed."""

    def close(self) -> None:
        """Close it."""
        ...


class Source:
    """A file of events. Opening it checks the fields; reading holds a window of rows in memory.

    An event is known by its entry number: event numbers may have gaps or repeat.

    Parameters
    ----------
    file
        The open file; `close` closes it.
    identity_E3
        Run, subrun and event number of each entry (E, 3); see `numbered`.

    Attributes
    ----------
    parts
        The files that the events come from, in order, and the number of events of each.
    """

    truth: tuple[str, ...] = ()
    """Truth products (of `event.TRUTH`) that the events come with."""

    selection: str = ""
    """What is read of a file that has several of a kind, such as images of several producers."""

    generator: str = ""
    """What made the events, where the source states it."""

    centre_cm: tuple[float, float, float] | None = None
    """Centre of the simulated volume or of the image, where the source states it."""

    def __init__(self, path: Path, file: Closeable, identity_E3: IntArray) -> None:
        self.path = path
        self._file = file
        self._identity_E3 = identity_E3
        self.parts: tuple[tuple[Path, int], ...] = ((path, len(identity_E3)),)

    @property
    def has_truth(self) -> bool:
        """Tell whether the events come with any truth."""
        return bool(self.truth)

    @property
    def num_events(self) -> int:
        """Number of events."""
        return len(self._identity_E3)

    def identity(self, entry: int) -> tuple[int, int, int]:
        """Return run, subrun and event number of an entry; 0 for what the source lacks."""
        run, subrun, event = self._identity_E3[entry].tolist()
        return run, subrun, event

    def identities(self) -> IntArray:
        """Return run, subrun and event number of all entries (E, 3)."""
        return self._identity_E3

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class StepSource(Source, ABC):
    """A source of steps. Its truth, where it has trajectories, is made by our labels: all or none."""

    @abstractmethod
    def read(self, entry: int) -> Steps:
        """Read one event; ValueError if its rows make no sense."""


@dataclass(frozen=True)
class Voxels:
    """The image of one event: `coord` (V, 3) on the source's grid and `energy` (V,) [MeV].

    Rows may repeat a voxel and may lie anywhere: ingestion adds up what is in one voxel, and counts
    what lies outside the box.

    Parameters
    ----------
    origin_cm
        Lower corner of voxel (0, 0, 0); None: the source does not state it, its grid lies in the middle
        of the box.
    num_voxels
        Voxels of the grid along x, y, z; needed where there is no origin.
    truth
        For each product of the source's `truth` the columns that it has, or a part of them:
        `truth_voxel` row by row with `coord`, others one row per object, indices as rows of those
        tables, positions in voxel units of the grid. Ingestion completes them: see `given.carry`.
    """

    coord: IntArray
    energy: FloatArray
    origin_cm: tuple[float, float, float] | None = None
    num_voxels: tuple[int, int, int] | None = None
    truth: Mapping[str, Columns] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.energy)

    def check(self) -> None:
        """Raise ValueError if an energy is negative, or a number is not finite or beyond what can be."""
        bad = ~((self.energy >= 0) & (self.energy <= LARGEST_ENERGY_MEV))
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"the energy of voxel row {row} is {self.energy[row]:.6g} MeV; it must be 0 to {LARGEST_ENERGY_MEV:g}"
            )
        if self.coord.size and not -LARGEST_INDEX <= self.coord.min() <= self.coord.max() <= LARGEST_INDEX:
            raise ValueError(f"the voxel {np.abs(self.coord).max()} lies outside of any image")
        if self.origin_cm is not None and not (np.abs(self.origin_cm) <= FARTHEST_CM).all():
            raise ValueError(f"the image has its corner at {self.origin_cm} cm")


class VoxelSource(Source, ABC):
    """A source of voxels. Its `truth` names what the file holds, which may be a part of `event.TRUTH`."""

    voxel_size_cm: float | None = None
    """Pitch of the grid, where the source states it; it must be that of the configuration."""

    @abstractmethod
    def read(self, entry: int) -> Voxels:
        """Read one event; ValueError if its rows make no sense."""


class PlaneSource(Source, ABC):
    """A source of images of planes: each event has one of each, with pixels along the drift and across the wires."""

    num_planes: int = 1

    pixel_cm: tuple[float, float] = (1.0, 1.0)
    """Size of a pixel along the drift and across the wires."""

    @abstractmethod
    def read(self, entry: int) -> list[Voxels]:
        """Read one event, of each plane its pixels, the third index 0; ValueError if its rows make no sense."""


AnySource = StepSource | VoxelSource | PlaneSource
AnyEvent = Steps | Voxels | list[Voxels]


def rows_of_image(event: AnyEvent, number: int) -> Steps | Voxels:
    """Return what an image is made from: the event, or of images of planes the one of that number."""
    return event[number] if isinstance(event, list) else event


def numbered(event_E: IntArray) -> IntArray:
    """Return the identity (E, 3) of events that have a number, but neither run nor subrun."""
    zero_E = np.zeros(len(event_E), np.int64)
    return np.stack([zero_E, zero_E, np.asarray(event_E, np.int64)], axis=-1)
