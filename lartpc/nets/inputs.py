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
    if other := {event.box.dimension for event in batch} - {dimension}:
        raise ValueError(
            f"{step}.dimension is {dimension}, and these images have {other.pop()} dimensions; set it to that"
        )
    sizes = {event.box.num_voxels for event in batch}
    if len(sizes) != 1:
        raise ValueError(f"the events of a batch must have one box size, got {sorted(sizes)} voxels per side")
    coord_VD = np.concatenate([event["voxel"]["coord"][:, :dimension] for event in batch])
    event_V = np.repeat(np.arange(len(batch)), [event.num_voxels for event in batch])
    coord_VD1 = np.concatenate([event_V[:, None], coord_VD], 1)
    energy_V = column_of([event["voxel"]["energy"] for event in batch], device)
    return torch.from_numpy(coord_VD1).to(device), energy_V, len(batch), sizes.pop()


def column_of(columns: Sequence[NDArray[Any]], device: torch.device) -> Tensor:
    """Put the columns of several events one after another, as a tensor."""
    return torch.from_numpy(np.concatenate(columns)).to(device)
