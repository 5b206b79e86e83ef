"""The lattices of images from fine to coarse and the kernel maps between them, as arrays.

`lartpc.sparse.Lattice` is the same for tensors. Shape suffixes: V voxels (rows of a lattice), D dimensions.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lartpc.images.batch import Images
from lartpc.sparse.keys import check_different, check_form, check_range, keys, line_shifts
from lartpc.sparse.tiles import Tiles, arrange, find_neighbours

Ints = NDArray[np.int64]


class Level(NamedTuple):
    """A lattice, its map from voxels to their neighbours, and the maps to the next coarser one and back from it.

    `parent_V` is the row of each voxel there; the coarsest level has none of these.
    """

    num_voxels: int
    neighbours: Tiles
    down: Tiles | None
    up: Tiles | None
    parent_V: Ints | None


def sorted_rows(images: Images) -> tuple[Ints, Ints, Ints | None]:
    """Return keys (V,) and coordinates (V, 1 + D) of voxels sorted by keys, and where they were (None: there).

    Raises
    ------
    ValueError
        A voxel lies outside its grid, or two are the same.
    """
    coord_VD1, shape = images.coord_VD1, images.shape
    check_form(coord_VD1, images.num_images, shape)
    check_range(coord_VD1, images.num_images, shape)
    keys_V = keys(coord_VD1, shape)
    if (keys_V[1:] > keys_V[:-1]).all():
        return keys_V, coord_VD1, None
    order_V = np.argsort(keys_V, kind="stable")
    keys_V = keys_V[order_V]
    check_different(keys_V, order_V, coord_VD1)
    return keys_V, coord_VD1[order_V], order_V


def find_levels(
    keys_V: Ints, coord_VD1: Ints, shape: tuple[int, ...], depth: int, kernel: int, rows_per_tile: int
) -> Iterator[Level]:
    """Yield the levels of voxels, finest first; keys and coordinates are those of `sorted_rows`."""
    radius = kernel // 2
    for level in range(depth):
        shifts = [shift - radius for shift in line_shifts(shape, radius)]
        neighbours = find_neighbours(keys_V, None, shifts, kernel, rows_per_tile)
        if level == depth - 1:
            yield Level(len(keys_V), neighbours, None, None, None)
            return
        shape = tuple((side + 1) // 2 for side in shape)
        offset_V, coarse_VD1 = _halved(coord_VD1)
        coarse_keys_V, parent_V = np.unique(keys(coarse_VD1, shape), return_inverse=True)
        num_coarse, num_offsets = len(coarse_keys_V), 2 ** len(shape)
        row_V = np.arange(len(keys_V))
        down = arrange(row_V, parent_V, offset_V, num_offsets, num_coarse, rows_per_tile)
        up = arrange(parent_V, row_V, offset_V, num_offsets, len(keys_V), rows_per_tile)
        yield Level(len(keys_V), neighbours, down, up, parent_V)
        coord_VD1 = np.empty((num_coarse, coarse_VD1.shape[1]), np.int64)
        coord_VD1[parent_V] = coarse_VD1
        keys_V = coarse_keys_V


def _halved(coord_VD1: NDArray[Any]) -> tuple[Ints, Ints]:
    """Return which corner of a 2^D-cube each voxel is, 0 the lowest, and the coordinates of the cubes."""
    coarse_VD1 = coord_VD1.copy()
    coarse_VD1[:, 1:] >>= 1
    offset_V = np.zeros(len(coord_VD1), np.int64)
    for axis in range(1, coord_VD1.shape[1]):
        offset_V = 2 * offset_V + (coord_VD1[:, axis] & 1)
    return offset_V, coarse_VD1
