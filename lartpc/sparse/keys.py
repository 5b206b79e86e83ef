"""Numbers of voxels, by which their neighbours are found: of arrays as of tensors.

Shape suffixes: V voxels (rows of a lattice), D dimensions.
"""

import itertools
import math
from typing import Any

MAX_RADIUS = 2
"""Largest radius of a kernel; empty cells of this width guard each axis, so no neighbour wraps around."""


def strides(shape: tuple[int, ...]) -> list[int]:
    """Return the step in a voxel's key per step along each axis."""
    padded = [side + 2 * MAX_RADIUS for side in shape]
    return [math.prod(padded[axis + 1 :]) for axis in range(len(padded))]


def keys(coord_VD1: Any, shape: tuple[int, ...]) -> Any:
    """Return the keys (V,) of voxels, given batch index and voxel indices (V, 1 + D)."""
    steps = strides(shape)
    keys_V = coord_VD1[:, 0] * (steps[0] * (shape[0] + 2 * MAX_RADIUS))
    for axis, step in enumerate(steps):
        keys_V = keys_V + (coord_VD1[:, 1 + axis] + MAX_RADIUS) * step
    return keys_V


def line_shifts(shape: tuple[int, ...], radius: int) -> list[int]:
    """Return the steps in the key to the lines, along the last axis, of a kernel's offsets; row-major."""
    every = itertools.product(range(-radius, radius + 1), repeat=len(shape) - 1)
    return [sum(n * step for n, step in zip(one, strides(shape), strict=False)) for one in every]


def check_form(coord_VD1: Any, batch_size: int, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless coordinates are those of a batch of grids that can be numbered."""
    if len(shape) not in (2, 3) or coord_VD1.ndim != 2 or coord_VD1.shape[1] != 1 + len(shape):
        raise ValueError(
            f"coordinates must have the shape (V, 1 + D) with D = {len(shape)} of 2 or 3, "
            f"got {tuple(coord_VD1.shape)}"
        )
    if str(coord_VD1.dtype).removeprefix("torch.") not in ("int16", "int32", "int64"):
        raise ValueError(f"coordinates must be signed integers, got {coord_VD1.dtype}")
    num_cells = batch_size * math.prod(side + 2 * MAX_RADIUS for side in shape)
    if batch_size < 0 or min(shape) < 1 or num_cells >= 2**62:
        raise ValueError(f"a batch of {batch_size} grids of {shape} voxels cannot be numbered")


def check_range(coord_VD1: Any, batch_size: int, shape: tuple[int, ...]) -> None:
    """Raise ValueError if a voxel lies outside its grid."""
    bad_V = coord_VD1[:, 0] < 0
    for column, side in enumerate((batch_size, *shape)):
        bad_V = bad_V | (coord_VD1[:, column] < 0) | (coord_VD1[:, column] >= side)
    if bool(bad_V.any()):
        row = int((bad_V * 1).argmax())
        batch, *voxel = coord_VD1[row].tolist()
        raise ValueError(
            f"row {row}: voxel {voxel} of event {batch} lies outside {batch_size} grids of {shape} voxels"
        )


def check_different(keys_V: Any, rows_V: Any, coord_VD1: Any) -> None:
    """Raise ValueError if two voxels have the same key; keys are sorted, and of the rows `rows_V`."""
    same_V = keys_V[1:] == keys_V[:-1]
    if bool(same_V.any()):
        place = int((same_V * 1).argmax())
        first, second = int(rows_V[place]), int(rows_V[place + 1])
        raise ValueError(
            f"rows {first} and {second} are the same voxel {coord_VD1[first].tolist()}; merge voxels before"
        )
