"""What networks on images take: the voxels of a batch, and their energies.

Tensor suffixes: V voxels, D dimensions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lartpc.event import Event

Image = tuple[NDArray[Any], NDArray[Any]]
"""Indices (V, D) and energies (V,) [MeV] of the voxels of an image."""


def stack(
    batch: Sequence[Event], device: torch.device, dimension: int, step: str
) -> tuple[Tensor, Tensor, int, int]:
    """Put the voxels of a batch one after another, with the number of their event in front.

    Returns
    -------
    Event in the batch and voxel indices (V, 1 + D), energies (V,) [MeV], the number of events, and of voxels per side.

    Raises
    ------
    ValueError
        The images have another dimension than the stage `step` is set to, or boxes of different sizes.
    """
    num_cells = voxels_per_side(batch, dimension, step)
    return *side_by_side([image_of(event) for event in batch], device), len(batch), num_cells


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


def side_by_side(images: Sequence[Image], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return number of the image and voxel indices (V, 1 + D), and energies (V,), of images one after another."""
    coord_VD = np.concatenate([coord for coord, _ in images])
    image_V = np.repeat(np.arange(len(images)), [len(energy) for _, energy in images])
    coord_VD1 = torch.from_numpy(np.concatenate([image_V[:, None], coord_VD], 1))
    return coord_VD1.to(device), column_of([energy for _, energy in images], device)


def column_of(columns: Sequence[NDArray[Any]], device: torch.device) -> Tensor:
    """Put the columns of several events one after another, as a tensor."""
    return torch.from_numpy(np.concatenate(columns)).to(device)
