"""Connected components of voxels, many groups at once, by look-up in sorted keys.

Shape suffixes: P rows, each a voxel of a group (a voxel may be in several groups), Q queries.
"""

from itertools import product

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from lartpc.ingest.steps import IntArray
from lartpc.vocab import NONE


class Lattice:
    """Rows (P,) of a group and a voxel; rows touch if no coordinate differs by more than `distance`.

    No two rows may be equal.
    """

    def __init__(self, group_P: IntArray, coord_P3: IntArray, distance: int) -> None:
        self._distance = distance
        # a margin around the grid, so that a neighbour beyond one face is not a voxel at the other
        self._side = int(coord_P3.max(initial=0)) + 1 + 2 * distance
        key_P = self._key(group_P, coord_P3)
        self._order_P: IntArray = np.argsort(key_P, kind="stable")
        # a last key that is never found, so that look-ups behind the end need no care
        self._key_P: IntArray = np.append(key_P[self._order_P], np.iinfo(np.int64).max)

    def components(self) -> IntArray:
        """Return the number of the connected component of each row; they lie within one group."""
        num_rows = len(self._order_P)
        if not num_rows:
            return np.zeros(0, np.int64)
        row_P = np.arange(num_rows)
        firsts, seconds = [], []
        for line in self._lines():
            if line < 0:
                continue
            for neighbour_P in self._along(self._key_P[:-1], line):
                hit = np.flatnonzero(neighbour_P > row_P)
                firsts.append(hit)
                seconds.append(neighbour_P[hit])
        first, second = np.concatenate(firsts), np.concatenate(seconds)
        graph = csr_array((np.ones(len(first), np.int8), (first, second)), shape=(num_rows, num_rows))
        labels_P = np.empty(num_rows, np.int64)
        labels_P[self._order_P] = connected_components(graph, directed=False)[1]
        return labels_P

    def touching(self, group_Q: IntArray, coord_Q3: IntArray) -> IntArray:
        """Return for other voxels (Q,) a row of the given group that each touches or shares, or NONE."""
        key_Q = self._key(group_Q, coord_Q3)
        found_Q = np.full(len(key_Q), NONE, np.int64)
        for line in self._lines():
            for neighbour_Q in self._along(key_Q, line):
                found_Q = np.maximum(found_Q, neighbour_Q)
        return np.append(self._order_P, NONE)[found_Q]

    def _key(self, group: IntArray, coord: IntArray) -> IntArray:
        x, y, z = (coord[:, axis] + self._distance for axis in range(3))
        key: IntArray = ((group * self._side + x) * self._side + y) * self._side + z
        return key

    def _lines(self) -> list[int]:
        """Return the offsets in key of the lines along z that have neighbours."""
        steps = range(-self._distance, self._distance + 1)
        return [(dx * self._side + dy) * self._side for dx, dy in product(steps, repeat=2)]

    def _along(self, key: IntArray, line: int) -> list[IntArray]:
        """Return the sorted rows of the neighbours in one line, as many arrays as there can be."""
        start = np.searchsorted(self._key_P, key + (line - self._distance))
        last = key + (line + self._distance)
        candidates = [
            np.minimum(start + step, len(self._key_P) - 1) for step in range(2 * self._distance + 1)
        ]
        return [np.where(self._key_P[row] <= last, row, NONE) for row in candidates]
