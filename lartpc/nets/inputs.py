"""What networks on images take, as tensors: the voxels of a batch, and their energies (`lartpc.images`).

Tensor suffixes: V voxels, D dimensions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lartpc import images
from lartpc.event import Event
from lartpc.images import Image


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
        As of `lartpc.images.stack`.
    """
    return as_tensors(images.stack(batch, dimension, step), device)


def as_tensors(found: images.Images, device: torch.device) -> tuple[Tensor, Tensor, int, int]:
    """Return the voxels of images as `stack` does."""
    coord_VD1, energy_V = torch.from_numpy(found.coord_VD1), torch.from_numpy(found.energy_V)
    return coord_VD1.to(device), energy_V.to(device), found.num_images, found.num_cells


def side_by_side(several: Sequence[Image], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return number of the image and voxel indices (V, 1 + D), and energies (V,), of images one after another."""
    coord_VD1, energy_V = images.side_by_side(several)
    return torch.from_numpy(coord_VD1).to(device), torch.from_numpy(energy_V).to(device)


def column_of(columns: Sequence[NDArray[Any]], device: torch.device) -> Tensor:
    """Put the columns of several events one after another, as a tensor."""
    return torch.from_numpy(np.concatenate(columns)).to(device)
