"""The voxels of a batch of events, one image after another.

Shape suffixes: V voxels, D dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.event import Event

Image = tuple[NDArray[Any], NDArray[Any]]
"""Indices (V, D) and energies (V,) [MeV] of the voxels of an image."""


@dataclass(frozen=True)
class Images:
    """The voxels of several images, one after another.

    Attributes
    ----------
    coord_VD1
        Number of the image and voxel indices (V, 1 + D).
    energy_V
        Energies [MeV].
    num_images, num_cells
        Images, and voxels per side of their box.
    order_V
        Which voxel of the batch each one is; None: the same.
    """

    coord_VD1: NDArray[np.int64]
    energy_V: NDArray[Any]
    num_images: int
    num_cells: int
    order_V: NDArray[np.int64] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels per axis."""
        return (self.num_cells,) * int(self.coord_VD1.shape[1] - 1)


def stack(batch: Sequence[Event], dimension: int, step: str) -> Images:
    """Put the voxels of a batch one after another.

    Raises
    ------
    ValueError
        The images have another dimension than the stage `step` is set to, or boxes of different sizes.
    """
    num_cells = voxels_per_side(batch, dimension, step)
    return Images(*side_by_side([image_of(event) for event in batch]), len(batch), num_cells)


def voxels_per_side(batch: Sequence[Event], dimension: int, step: str) -> int:
    """Return the voxels per side of the images of a batch; ValueError as of `stack`."""
    if other := {event.box.dimension for event in batch} - {dimension}:
        raise ValueError(
            f"{step}.dimension is {dimension}, and these images have {other.pop()} dimensions; set it to that"
        )
    sizes = {event.box.num_voxels for event in batch}
    if len(sizes) != 1:
        raise ValueError(f"the events of a batch must have one box size, got {sorted(sizes)} voxels per side")
    return sizes.pop()


def image_of(event: Event) -> Image:
    """Return the voxels of an event, with as many axes as its box has."""
    return event["voxel"]["coord"][:, : event.box.dimension], event["voxel"]["energy"]


def side_by_side(images: Sequence[Image]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return number of the image and voxel indices (V, 1 + D), and energies (V,), of images one after another."""
    coord_VD = np.concatenate([coord for coord, _ in images])
    image_V = np.repeat(np.arange(len(images)), [len(energy) for _, energy in images])
    coord_VD1 = np.concatenate([image_V[:, None], coord_VD], axis=1)
    return coord_VD1, np.concatenate([energy for _, energy in images])
