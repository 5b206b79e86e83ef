"""Reflections of whole images, under which what a network says of them is averaged.

Tensor suffixes: V voxels, D dimensions.
"""

from itertools import product

import torch
from torch import Tensor


def reflections(num: int, dimension: int) -> list[tuple[bool, ...]]:
    """Return which axes each of 1, 2 or 2^D reflections of a box turns round; the first turns none.

    Axes are not exchanged, as in a detector along the drift is not the same as across it. Two are the image
    itself and its reflection at the middle of the box.
    """
    if num not in (1, 2, 2**dimension):
        raise ValueError(
            f"images of {dimension} dimensions have 1, 2 or {2**dimension} reflections, not {num}"
        )
    every = [*product((False, True), repeat=dimension)]
    return every if num == len(every) else [every[0], every[-1]][:num]


def reflect(coord_VD1: Tensor, axes: tuple[bool, ...], num_cells: int) -> tuple[Tensor, Tensor]:
    """Return the voxels (V, 1 + D) of a batch reflected, sorted again, and which voxel (V,) each of them was."""
    turned_D = torch.tensor(axes, device=coord_VD1.device)
    event_V, coord_VD = coord_VD1[:, 0], coord_VD1[:, 1:]
    coord_VD = torch.where(turned_D, num_cells - 1 - coord_VD, coord_VD)
    key_V = event_V.long()
    for axis in range(len(axes)):
        key_V = key_V * num_cells + coord_VD[:, axis]
    order_V = torch.argsort(key_V)
    return torch.cat([event_V[:, None], coord_VD], 1)[order_V], order_V


def signs(axes: tuple[bool, ...], like: Tensor) -> Tensor:
    """Return -1 (D,) for the axes that are turned round and 1 for the others."""
    return torch.tensor([-1.0 if turned else 1.0 for turned in axes], dtype=like.dtype, device=like.device)
