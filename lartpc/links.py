"""Links between near voxels, and what follows from them: connected pieces, and labels that spread.

By the compiled kernel where it is built, else by numpy and scipy, which find the same in the same order and are
imported only then.

Shape suffixes: V voxels, E links, L lines of voxels along z.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lartpc.sparse.build import call, is_built
from lartpc.vocab import NONE

if TYPE_CHECKING:
    from lartpc.lean import csr_array

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def links(coord_V3: NDArray[np.integer], eps: float) -> Ints:
    """Return the pairs (E, 2) of voxels whose centres are no farther apart than `eps`, each once.

    Voxels along z have consecutive keys: for each line of cells in reach, one search in the sorted keys
    finds the first neighbour, and the others follow it. Time and memory grow with voxels and links.

    Parameters
    ----------
    coord_V3
        Voxel indices, no two the same; those of an event are sorted, others are sorted here.
    eps
        Longest link [voxel].
    """
    if len(coord_V3) < 2 or eps < 1:
        return np.zeros((0, 2), np.int64)
    if not is_built():
        return _links(coord_V3, eps)
    pair_E2, num = np.empty((len(coord_V3) * _most_links(eps), 2), np.int64), np.empty(1, np.int64)
    call("link_voxels", np.ascontiguousarray(coord_V3, np.int64), pair_E2, num, float(eps), len(coord_V3))
    return pair_E2[: num[0]].copy()


@cache
def _most_links(eps: float) -> int:
    """Return the most links that a voxel can have to voxels after it."""
    step = np.arange(-int(eps), int(eps) + 1)
    square = sum(part**2 for part in np.meshgrid(step, step, step))
    return int(np.count_nonzero(square <= eps**2)) // 2


def _links(coord_V3: NDArray[np.integer], eps: float) -> Ints:
    """Return what `links` does, by numpy."""
    reach = int(eps)
    coord = coord_V3.astype(np.int64) - coord_V3.min(axis=0)
    # Empty cells beyond each end of an axis, so that no neighbour wraps around.
    side_y, side_z = (int(coord[:, axis].max()) + 1 + reach for axis in (1, 2))
    key_V = (coord[:, 0] * side_y + coord[:, 1]) * side_z + coord[:, 2]
    order_V = None
    if (key_V[1:] < key_V[:-1]).any():
        order_V = np.argsort(key_V)
        key_V = key_V[order_V]
    guarded = np.append(key_V, np.iinfo(np.int64).max)
    row_V = np.arange(len(key_V), dtype=np.int64)
    firsts, seconds = [], []
    for step_x in range(reach + 1):
        for step_y in range(-reach if step_x else 0, reach + 1):
            rest = eps**2 - step_x**2 - step_y**2
            if rest < 0:
                continue
            high = int(np.sqrt(rest))
            low = -high if step_x or step_y else 1
            line = (step_x * side_y + step_y) * side_z
            row, last = row_V, key_V + (line + high)
            place = row + 1 if line == 0 else np.searchsorted(key_V, key_V + (line + low))
            for _ in range(high - low + 1):
                near = np.flatnonzero(guarded[place] <= last)
                row, place, last = row[near], place[near], last[near]
                firsts.append(row)
                seconds.append(place)
                place = place + 1
    pair_E2 = np.stack([np.concatenate(firsts), np.concatenate(seconds)], axis=1)
    return pair_E2 if order_V is None else order_V[pair_E2]


def pieces(num_voxels: int, link_E2: Ints) -> Ints:
    """Return the connected piece (V,) of each voxel, numbered in order of their first voxels."""
    if not is_built():
        from lartpc.lean import connected_components

        _, found_V = connected_components(graph_of(num_voxels, link_E2), directed=False)
        return np.asarray(found_V, np.int64)
    piece_V = np.empty(num_voxels, np.int64)
    call("find_pieces", np.ascontiguousarray(link_E2, np.int64), piece_V, len(link_E2), num_voxels)
    return piece_V


def spread(label_V: Ints, link_E2: Ints, length_E: NDArray[np.floating]) -> Ints:
    """Return the labels (V,) where voxels without one (-1) have that of the voxel nearest along the links.

    Of equally near ones the highest. Voxels that no link connects to a label stay without.
    """
    return reach(label_V, link_E2, length_E).label_V


class Reached(NamedTuple):
    """What `reach` finds of each voxel (V,).

    `away_V` is how far the nearest voxel with a label is along the links, infinity where none leads there, `label_V`
    its label, and `before_V` the voxel that the way from it comes from, -1 of voxels that had a label.
    """

    label_V: Ints
    away_V: NDArray[np.float64]
    before_V: Ints


def reach(
    label_V: Ints, link_E2: Ints, length_E: NDArray[np.floating], limit: float = float("inf")
) -> Reached:
    """Return what voxels with a label (V,) reach along the links, no farther than a limit; -1: none.

    Of equally near labels the highest counts, and of equally long ways with it the one through the first voxel.
    """
    if not is_built():
        return _reach(label_V, link_E2, length_E, limit)
    num = len(label_V)
    found = Reached(np.array(label_V, np.int64), np.empty(num), np.empty(num, np.int64))
    links_E2, way_E = np.ascontiguousarray(link_E2, np.int64), np.ascontiguousarray(length_E, np.float64)
    call("reach_along", *found, links_E2, way_E, float(limit), len(links_E2), num)
    return found


def _reach(label_V: Ints, link_E2: Ints, length_E: NDArray[np.floating], limit: float) -> Reached:
    """Return what `reach` does, by scipy."""
    from lartpc.lean import dijkstra

    bare_V, num = label_V < 0, len(label_V)
    found = Reached(label_V.copy(), np.where(bare_V, np.inf, 0.0), np.full(num, NONE, np.int64))
    # Only links with a bare end matter, and only the voxels on them.
    link = np.flatnonzero(bare_V[link_E2[:, 0]] | bare_V[link_E2[:, 1]])
    used, row = np.unique(link_E2[link], return_inverse=True)
    source = np.flatnonzero(~bare_V[used])
    if not len(source):
        return found
    row_E2, length_E = row.reshape(-1, 2), length_E[link]
    graph = graph_of(len(used), row_E2, length_E)
    found.away_V[used] = dijkstra(graph, directed=False, indices=source, min_only=True, limit=limit)
    # the last steps of shortest ways, those to nearer voxels first: what a way comes from has its label before
    from_D, to_D = np.concatenate([link_E2[link], link_E2[link][:, ::-1]]).T
    away_D = found.away_V[to_D]
    is_last = (found.away_V[from_D] + np.tile(length_E, 2) == away_D) & np.isfinite(away_D) & bare_V[to_D]
    step = np.flatnonzero(is_last)
    step = step[np.argsort(away_D[step], kind="stable")]
    label, before = found.label_V, found.before_V
    for one, two in zip(from_D[step].tolist(), to_D[step].tolist(), strict=True):
        if label[one] > label[two] or (label[one] == label[two] and one < before[two]):
            label[two], before[two] = label[one], one
    return found


def renumber(label_V: Ints, min_voxels: int) -> Ints:
    """Return the labels (V,) in order of their first voxels; those of fewer voxels are -1."""
    known = np.flatnonzero(label_V >= 0)
    label = label_V[known]
    count = np.bincount(label)
    # the last to be written is the first voxel
    first = np.zeros(len(count), np.int64)
    first[label[::-1]] = known[::-1]
    kept = np.flatnonzero(count >= max(min_voxels, 1))
    rank = np.full(len(count), NONE, np.int64)
    rank[kept[np.argsort(first[kept])]] = np.arange(len(kept))
    out_V = np.full(len(label_V), NONE, np.int64)
    out_V[known] = rank[label]
    return out_V


def both(is_V: Bools, link_E2: Ints) -> Bools:
    """Tell of which links (E,) both ends are something (V,)."""
    is_both: Bools = is_V[link_E2[:, 0]] & is_V[link_E2[:, 1]]
    return is_both


def lengths(coord_V3: NDArray[np.integer], link_E2: Ints) -> NDArray[np.float64]:
    """Return the lengths (E,) of links [voxel]."""
    delta_3E = np.diff(coord_V3.T.take(link_E2.T, axis=1), axis=1)[:, 0]
    length: NDArray[np.float64] = np.sqrt((delta_3E**2).sum(axis=0, dtype=np.float64))
    return length


def set_apart(coord_V3: NDArray[np.integer], group_V: NDArray[np.integer], reach: float) -> NDArray[np.int64]:
    """Return voxel indices (V, 3) with groups (0, 1, ...) so far apart along x that no link up to `reach` joins two."""
    apart = coord_V3.astype(np.int64)
    if len(apart):
        x_V = apart[:, 0]
        apart[:, 0] += group_V.astype(np.int64) * (int(x_V.max() - x_V.min()) + int(reach) + 1)
    return apart


def graph_of(num_voxels: int, link_E2: Ints, value_E: Any = None) -> "csr_array":
    """Return the links, with their values or ones, as a sparse matrix (V, V)."""
    from lartpc.lean import coo_array

    value = np.ones(len(link_E2)) if value_E is None else value_E
    # Each link comes once: there are no duplicates to look for.
    row, column = link_E2.astype(np.int32).T
    graph = coo_array((value, (row, column)), shape=(num_voxels, num_voxels))
    graph.has_canonical_format = True
    return graph.tocsr()
