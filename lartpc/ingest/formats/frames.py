"""What the images of a file have in common: size of voxels and place. Most of them decide, never the first.

Shape suffix: N images.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from lartpc.ingest.steps import FloatArray

NUM_PROBED = 64
"""First events that are looked into, where an image has to be read for its frame."""

CUBIC = 5e-3
"""Largest relative difference between the sides of a voxel."""

SAME = 1e-3
"""Largest relative difference between sizes of voxels that are the same, and distance of corners [cm]."""

H = TypeVar("H", bound=Hashable)


class Frames(NamedTuple):
    """Size of the voxels, and centre of the images where most have the same [cm]; None where there is none."""

    size: float | None
    centre: tuple[float, float, float] | None

    def check(self, pitch_3: FloatArray) -> None:
        """Raise ValueError unless an image has voxels of this size."""
        size = _size(pitch_3)
        # so written that it holds for nan, too
        if self.size is None or not abs(size - self.size) <= SAME * self.size:
            most_have = (
                "" if self.size is None else f", and most images of the file have voxels of {self.size:.6g}"
            )
            raise ValueError(f"its image has voxels of {_sides(pitch_3)} cm{most_have}")


def frames_of(path: Path, pitch_N3: FloatArray, corners_N23: FloatArray) -> Frames:
    """Return what most images have in common, of their voxels' sides and their lower and upper corners.

    Raises
    ------
    ValueError
        There are images, and none has cubes as voxels, to half a percent.
    """
    if not len(pitch_N3):
        return Frames(None, None)
    size_N = np.array([_size(pitch_3) for pitch_3 in pitch_N3])
    if not np.isfinite(size_N).any():
        raise ValueError(f"{path}: voxels of {_sides(pitch_N3[0])} are not cubic")
    size = float(_middle(size_N[np.isfinite(size_N)]))
    alike = np.flatnonzero(np.abs(size_N - size) <= SAME * size)
    return Frames(size, _centre(corners_N23[alike]))


def most(values: Iterable[H]) -> H | None:
    """Return the value that comes most often, of several the first; None of none."""
    found = Counter(values).most_common(1)
    return found[0][0] if found else None


def probe(num_events: int, look: Callable[[int], H | None]) -> H | None:
    """Return what most of the first events have, but those that have nothing or cannot be read."""
    found = []
    for entry in range(min(num_events, NUM_PROBED)):
        try:
            found.append(look(entry))
        except ValueError:
            continue  # the event will be set aside
    return most(value for value in found if value is not None)


def _size(pitch_3: FloatArray) -> float:
    """Return the side of voxels that are cubes, else nan."""
    with np.errstate(invalid="ignore", over="ignore"):
        mean = float(np.mean(pitch_3))
        cubic = (pitch_3 > 0).all() and np.ptp(pitch_3) <= CUBIC * mean
    return mean if cubic and np.isfinite(mean) else np.nan


def _centre(corners_N23: FloatArray) -> tuple[float, float, float] | None:
    """Return the centre of the corners that more than half of the images have; None if no more do."""
    corners_N23 = corners_N23[np.isfinite(corners_N23).all(axis=(1, 2))]
    if not len(corners_N23):
        return None
    common_23 = _middle(corners_N23)
    same_N = (np.abs(corners_N23 - common_23) <= SAME).all(axis=(1, 2))
    if 2 * np.count_nonzero(same_N) <= len(corners_N23):
        return None
    x, y, z = common_23.mean(axis=0).tolist()
    return x, y, z


def _middle(value_N: FloatArray) -> FloatArray:
    """Return the middle one of some values, of two in the middle the lower one: a value that there is."""
    middle: FloatArray = np.sort(value_N, axis=0)[(len(value_N) - 1) // 2]
    return middle


def _sides(pitch_3: FloatArray) -> str:
    return " x ".join(f"{side:.6g}" for side in pitch_3)
