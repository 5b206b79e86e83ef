"""Affinities: for each two voxels that share a corner, a logit that they are of one particle.

A voxel keeps those with its neighbours in 13 of the 26 directions, the others are kept by the neighbours. Directions
(x, y, z) of steps -1, 0 and 1 have the number 9x + 3y + z - 1, where that is not negative: from (0, 0, 1) to (1, 1, 1).

Shape suffixes: V voxels, E pairs of neighbours, N directions.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from lartpc.links import Ints, links
from lartpc.vocab import AFFINITY_STEPS, NO_AFFINITY, NUM_DIRECTIONS

LARGEST = 127
"""Largest affinity that is kept [1/16]."""

_REACH = 1.75
"""Neighbours share a corner: they are no farther apart than the root of 3 [voxel]."""

PLACES = np.array([9, 3, 1])
"""The number of a step is its product with these."""

DIRECTIONS = np.array([step for step in product((-1, 0, 1), repeat=3) if np.dot(step, PLACES) > 0])
"""Steps (13, 3) to the neighbours that a voxel keeps affinities with."""


def neighbours(coord_V3: NDArray[np.integer]) -> tuple[Ints, Ints]:
    """Return the pairs (E, 2) of voxels that share a corner, and the direction (E,) from the first to the second.

    Each pair is there once, from the voxel that comes first in the order of coordinates.
    """
    return _directed(links(coord_V3, _REACH), coord_V3)


def pack(
    num_voxels: int, pair_E2: Ints, direction_E: Ints, logit_E: NDArray[np.floating]
) -> NDArray[np.int8]:
    """Return the column `affinity.logit` (V, 13) of the logits of pairs; nan: not known."""
    packed_VN = np.full((num_voxels, NUM_DIRECTIONS), NO_AFFINITY, np.int8)
    known_E = ~np.isnan(logit_E)
    steps_E = np.rint(logit_E[known_E] * AFFINITY_STEPS).clip(-LARGEST, LARGEST)
    packed_VN[pair_E2[known_E, 0], direction_E[known_E]] = steps_E.astype(np.int8)
    return packed_VN


def unpack(packed_VN: NDArray[np.int8], coord_V3: NDArray[np.integer]) -> tuple[Ints, NDArray[np.float32]]:
    """Return the pairs (E, 2) of voxels that share a corner, and their logits (E,); nan: not known."""
    pair_E2, direction_E = neighbours(coord_V3)
    steps_E = packed_VN[pair_E2[:, 0], direction_E]
    logit_E = np.where(steps_E == NO_AFFINITY, np.float32(np.nan), steps_E / np.float32(AFFINITY_STEPS))
    return pair_E2, logit_E.astype(np.float32)


def reordered(
    packed_VN: NDArray[np.int8], before_V3: NDArray[np.integer], after_V3: NDArray[np.integer]
) -> NDArray[np.int8]:
    """Return the column of voxels that are now at other places (V, 3), in a symmetry of the box, in the same order."""
    pair_E2, logit_E = unpack(packed_VN, before_V3)
    return pack(len(after_V3), *_directed(pair_E2, after_V3), logit_E)


def _directed(pair_E2: Ints, coord_V3: NDArray[np.integer]) -> tuple[Ints, Ints]:
    """Return pairs of neighbours (E, 2) from the voxel that comes first, and their directions (E,)."""
    number_V = coord_V3.astype(np.int64) @ PLACES
    number_E = number_V.take(pair_E2[:, 1]) - number_V.take(pair_E2[:, 0])
    back_E, directed_E2 = number_E < 0, pair_E2.copy()
    directed_E2[back_E] = pair_E2[back_E, ::-1]
    return directed_E2, np.abs(number_E) - 1
