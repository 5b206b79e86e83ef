"""Connected components of voxels, many groups at once, by look-up in sorted keys.

Shape suffixes: P rows, each a voxel of a group (a voxel may be in several groups), Q queries, R runs
of rows along z, E edges between runs.
"""

from itertools import product

import numpy as np

from lartpc.ingest.keys import number_rows, order_of
from lartpc.ingest.steps import IntArray
from lartpc.vocab import NONE


def pieces(group_V: IntArray, coord_V3: IntArray, distance: int) -> IntArray:
    """Return the connected piece (V,) of each voxel among those of its group, NONE for group NONE.

    Pieces are numbered by group, then by their first voxel; `coord_V3` is sorted with x slowest.
    """
    used = np.flatnonzero(group_V != NONE)
    used = used[order_of(group_V[used])]
    piece_V = np.full(len(group_V), NONE, np.int64)
    piece_V[used] = Lattice(group_V[used], used, coord_V3, distance).components()
    return piece_V


class Lattice:
    """Rows (P,) of a group and a voxel; rows touch if no coordinate differs by more than `distance`.

    Voxels are rows of `coord_V3`, which is sorted with x slowest. The rows (P,) are sorted by group, then
    by voxel, and no two are equal.
    """

    def __init__(self, group_P: IntArray, voxel_P: IntArray, coord_V3: IntArray, distance: int) -> None:
        self._distance = distance
        # a margin around the grid, so that a neighbour beyond one face is not a voxel at the other
        self._side = int(coord_V3.max(initial=0)) + 1 + 2 * distance
        x_V, y_V, z_V = (coord_V3[:, axis] + distance for axis in range(3))
        self._position_V = (x_V * self._side + y_V) * self._side + z_V
        self._key_P = self._key(group_P, voxel_P)

    def components(self) -> IntArray:
        """Return the number of the connected component of each row; they lie within one group.

        Components are numbered by their first row.
        """
        num_rows = len(self._key_P)
        if not num_rows:
            return np.zeros(0, np.int64)
        # Gaps in a run are no longer than the distance. So two runs of near lines touch if and only if
        # one reaches into the other, stretched by the distance: between neighbours of a run is no room.
        new_P = np.ones(num_rows, np.bool_)
        np.greater(self._key_P[1:] - self._key_P[:-1], self._distance, out=new_P[1:])
        begin_R = np.flatnonzero(new_P)
        end_R = np.append(begin_R[1:], num_rows) - 1
        top_R = _first_of_each(*self._contacts(self._key_P[begin_R], self._key_P[end_R]), len(begin_R))
        component_R = number_rows(top_R, len(top_R))[1]
        return np.repeat(component_R, end_R - begin_R + 1)

    def _contacts(self, first_R: IntArray, last_R: IntArray) -> tuple[IntArray, IntArray]:
        """Return the pairs of runs that touch (E,), the later one and the earlier one."""
        line_L = np.array([line for line in self._lines() if line < 0])[:, None]
        low_E = (first_R + (line_L - self._distance)).ravel()
        high_E = (last_R + (line_L + self._distance)).ravel()
        later_E = np.tile(np.arange(len(first_R)), len(line_L))
        earlier_E = np.searchsorted(last_R, low_E)
        laters, earliers = [], []
        while len(later_E):
            near = np.flatnonzero(first_R[earlier_E] <= high_E)
            later_E, earlier_E, high_E = later_E[near], earlier_E[near], high_E[near]
            laters.append(later_E)
            earliers.append(earlier_E)
            earlier_E = earlier_E + 1
        return np.concatenate(laters), np.concatenate(earliers)

    def touching(self, group_Q: IntArray, voxel_Q: IntArray) -> IntArray:
        """Return for voxels (Q,) the last row of the given group that each touches or shares, or NONE."""
        found_Q = np.full(len(group_Q), NONE, np.int64)
        if not len(self._key_P):
            return found_Q
        key_Q = self._key(group_Q, voxel_Q)
        order_Q = np.argsort(key_Q)  # ascending questions are answered many times faster
        key_Q = key_Q[order_Q]
        for line in self._lines():
            row_Q = np.searchsorted(self._key_P, key_Q + (line + self._distance), side="right") - 1
            near_Q = (row_Q != NONE) & (self._key_P[row_Q] >= key_Q + (line - self._distance))
            found_Q = np.where(near_Q, row_Q, found_Q)
        answer_Q = np.empty_like(found_Q)
        answer_Q[order_Q] = found_Q
        return answer_Q

    def _key(self, group: IntArray, voxel: IntArray) -> IntArray:
        key: IntArray = group * self._side**3 + self._position_V[voxel]
        return key

    def _lines(self) -> list[int]:
        """Return the offsets in key of the lines along z that have neighbours, ascending."""
        steps = range(-self._distance, self._distance + 1)
        return [(dx * self._side + dy) * self._side for dx, dy in product(steps, repeat=2)]


def _first_of_each(later_E: IntArray, earlier_E: IntArray, num_runs: int) -> IntArray:
    """Return the first run (R,) of the connected component of each, from the pairs that touch.

    Each tree of runs is hung under the first that it touches, until none touch. scipy's connected
    components take longer to be called than this takes in most events.
    """
    top_R = np.arange(num_runs)
    while len(later_E):
        np.minimum.at(top_R, later_E, earlier_E)
        while not np.array_equal(higher_R := top_R[top_R], top_R):
            top_R = higher_R
        left_E, right_E = top_R[later_E], top_R[earlier_E]
        apart = np.flatnonzero(left_E != right_E)
        left_E, right_E = left_E[apart], right_E[apart]
        later_E, earlier_E = np.maximum(left_E, right_E), np.minimum(left_E, right_E)
    return top_R
