"""Kernel maps in tiles, as the compiled kernels want them, found without torch.

A map says which input row contributes to which output row through which offset of a kernel. It comes in tiles: runs of
output rows, and for each tile and offset the pairs (input row, output row).

Shape suffixes: V voxels (rows of a lattice), K kernel offsets, P pairs, T tiles.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lartpc.sparse.build import call, num_threads

ROWS_PER_TILE = 512
"""So many rows of output, and those of input that they need, stay in the cache of a core."""

Ints = NDArray[np.int64]


class Tiles(NamedTuple):
    """A kernel map in tiles.

    Attributes
    ----------
    pairs_P2
        Input and output row of each pair, int32.
    starts_TK1
        Where the pairs of a tile and offset begin in `pairs_P2`, and after the last offset their end.
    rows_V
        Output rows in the order of the tiles; None: as numbered.
    num_target
        Number of output rows.
    """

    pairs_P2: NDArray[np.int32]
    starts_TK1: Ints
    rows_V: Ints | None
    num_target: int


def find_neighbours(
    keys_V: Any, rows_V: Any | None, shifts: list[int], kernel: int, rows_per_tile: int = ROWS_PER_TILE
) -> Tiles:
    """Find the neighbours of voxels.

    Parameters
    ----------
    keys_V
        Sorted keys, int64.
    rows_V
        Row of each key; None: the same order.
    shifts
        Steps in the key from a voxel to the first of each run of `kernel` neighbours.
    kernel
        Side of the kernel.
    """
    num_voxels, num_offsets = len(keys_V), len(shifts) * kernel
    pairs = np.empty((num_voxels * num_offsets, 2), np.int32)
    starts = np.empty((-(-num_voxels // rows_per_tile), num_offsets + 1), np.int64)
    call(
        "neighbours",
        *(keys_V, rows_V, num_voxels, np.array(shifts), len(shifts), kernel),
        *(rows_per_tile, pairs, starts, np.empty((num_voxels * kernel, 2), np.int32), num_threads()),
    )
    return Tiles(pairs, starts, rows_V, num_voxels)


def arrange(
    source_P: Any,
    target_P: Any,
    offset_P: Any,
    num_offsets: int,
    num_target: int,
    rows_per_tile: int = ROWS_PER_TILE,
) -> Tiles:
    """Bring pairs (contiguous, int64) into tiles; an output row has at most one pair per offset."""
    num_tiles = -(-num_target // rows_per_tile)
    pairs = np.empty((len(source_P), 2), np.int32)
    starts = np.empty((num_tiles, num_offsets + 1), np.int64)
    call(
        "arrange",
        *(source_P, target_P, offset_P, len(source_P), num_target, num_offsets, rows_per_tile),
        *(pairs, starts, np.empty(num_tiles * num_offsets, np.int64)),
    )
    return Tiles(pairs, starts, None, num_target)


def alone(num_rows: int) -> Tiles:
    """Return the map from each row to itself."""
    row_V = np.arange(num_rows, dtype=np.int32)
    first_T = np.arange(0, num_rows, ROWS_PER_TILE)
    starts_TK1 = np.stack([first_T, np.minimum(first_T + ROWS_PER_TILE, num_rows)], axis=1)
    return Tiles(np.stack([row_V, row_V], axis=1), starts_TK1, None, num_rows)
