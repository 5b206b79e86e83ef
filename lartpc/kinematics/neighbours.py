"""Pairs of clusters and the gaps between them, in bounded memory.

Positions and lengths are in voxel units, energies in MeV. Shape suffixes: V clustered voxels, F clusters,
E pairs of clusters, P predicted points, M samples of a cluster.
"""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.kinematics import compiled
from lartpc.kinematics.clusters import Clusters, Floats, Ints, length
from lartpc.sparse.build import is_built

_NUM_SAMPLES = 16
_NEAR = 10.0
_PAIR_BLOCK = 8192
_DISTANCE_BLOCK = 1 << 14
"""Distances that are compared at a time: they stay in the processor's cache."""


def closest_voxels(clusters: Clusters, pair_E2: Ints) -> tuple[Ints, Ints]:
    """Return for pairs (E, 2) of clusters the positions (of V) of their nearest voxels.

    Exact for clusters up to 16 voxels. Larger ones are first seen as 16 voxels along their axis; from the
    nearest of those the search goes to the nearest voxel of the other cluster and back. Pairs that come out
    near are searched again from all 16 of the smaller cluster. On simulated events 99 % are exact.
    By the compiled kernel where it is built, else by numpy, which finds the same.
    """
    if is_built() and len(pair_E2) and clusters.size_F.all():
        found_E2 = compiled.nearest(clusters, pair_E2, np.linspace(0.0, 1.0, _NUM_SAMPLES))
        return found_E2[:, 0], found_E2[:, 1]
    return _closest(clusters, pair_E2)


def _closest(clusters: Clusters, pair_E2: Ints) -> tuple[Ints, Ints]:
    """Return what `closest_voxels` does, by numpy."""
    sample_FM = _samples(clusters)
    # |a - b|² as a product of matrices
    square_FM = clusters.lifted_4V[3].take(sample_FM)[:, :, None]
    point_FM3, one_FM1 = clusters.point_V.take(sample_FM, axis=0), np.ones(square_FM.shape)
    left_FM5 = np.concatenate([-2.0 * point_FM3, square_FM, one_FM1], axis=2)
    right_F5M = np.concatenate([point_FM3, one_FM1, square_FM], axis=2).transpose(0, 2, 1)
    place_E2 = np.zeros(pair_E2.shape, np.int64)
    for low in range(0, len(pair_E2), _PAIR_BLOCK):
        one, two = pair_E2[low : low + _PAIR_BLOCK].T
        square = left_FM5.take(one, axis=0) @ right_F5M.take(two, axis=0)
        first, second = np.divmod(square.reshape(len(one), -1).argmin(1), _NUM_SAMPLES)
        place_E2[low : low + _PAIR_BLOCK] = np.stack([sample_FM[one, first], sample_FM[two, second]], axis=1)
    is_large = (clusters.size_F[pair_E2] > _NUM_SAMPLES).any(axis=1)
    place_E2[is_large] = _approach(clusters, pair_E2[is_large], place_E2[is_large])
    near = np.flatnonzero(is_large & (_length(clusters, place_E2) < _NEAR))
    # The seeds of near pairs can have led to another gap than the narrowest: start from all of the smaller.
    small = clusters.size_F[pair_E2[near]].argmin(1)
    again_E2 = np.stack([pair_E2[near, small], pair_E2[near, 1 - small]], axis=1)
    again_E2 = np.repeat(again_E2, _NUM_SAMPLES, axis=0)
    start_E2 = np.stack([sample_FM[pair_E2[near, small]].ravel()] * 2, axis=1)
    start_E2 = _approach(clusters, again_E2, start_E2)
    length = _length(clusters, start_E2).reshape(-1, _NUM_SAMPLES)
    best_E2 = start_E2[np.arange(len(near)) * _NUM_SAMPLES + length.argmin(1)]
    better = length.min(1, initial=np.inf) < _length(clusters, place_E2[near])
    place_E2[near[better], small[better]] = best_E2[better, 0]
    place_E2[near[better], 1 - small[better]] = best_E2[better, 1]
    return place_E2[:, 0], place_E2[:, 1]


def _approach(clusters: Clusters, pair_E2: Ints, place_E2: Ints) -> Ints:
    """Return places (E, 2): the second nearest to the given first, then the first nearest to it."""
    two_E = _nearest_in(clusters, pair_E2[:, 1], clusters.point_V[place_E2[:, 0]])
    one_E = _nearest_in(clusters, pair_E2[:, 0], clusters.point_V[two_E])
    return np.stack([one_E, two_E], axis=1)


def _length(clusters: Clusters, place_E2: Ints) -> Floats:
    point_E2 = clusters.point_V[place_E2]
    length: Floats = np.linalg.norm(point_E2[:, 0] - point_E2[:, 1], axis=1)
    return length


def _nearest_in(clusters: Clusters, cluster_E: Ints, point_E3: Floats) -> Ints:
    """Return the position (of V) of the voxel of a cluster (E,) that is nearest to a point (E, 3).

    Each cluster is compared with all its points at once, in blocks.
    """
    out = np.zeros(len(cluster_E), np.int64)
    # |a - b|² without |a|², which does not tell one voxel from another, is a product of matrices
    point_E4 = np.concatenate([-2.0 * point_E3, np.ones((len(point_E3), 1))], axis=1)
    order_E = np.argsort(cluster_E, kind="stable")
    found, first = np.unique(cluster_E[order_E], return_index=True)
    for cluster, edges in zip(found.tolist(), pairwise([*first.tolist(), len(order_E)]), strict=True):
        begin, size = int(clusters.offset_F[cluster]), int(clusters.size_F[cluster])
        voxel_4V = clusters.lifted_4V[:, begin : begin + size]
        for low in range(*edges, step := max(_DISTANCE_BLOCK // size, 1)):
            block = order_E[low : min(low + step, edges[1])]
            out[block] = begin + (point_E4[block] @ voxel_4V).argmin(axis=1)
    return out


def _samples(clusters: Clusters) -> Ints:
    """Return up to 16 voxels (F, 16) of each cluster, evenly along its axis, the extremes among them."""
    apart = 2.0 * np.abs(clusters.along_V).max(initial=0.0) + 1.0
    order_V = np.argsort(clusters.along_V + clusters.label_V * apart, kind="stable")
    step = np.linspace(0.0, 1.0, _NUM_SAMPLES)
    place_FM = np.rint(step * np.maximum(clusters.size_F - 1, 0)[:, None]).astype(np.int64)
    sample_FM: Ints = order_V[np.minimum(clusters.offset_F[:, None] + place_FM, len(order_V) - 1)]
    return sample_FM


def connect(
    clusters: Clusters, semantic_F: NDArray[Any], max_length_KK: NDArray[Any], max_edges: int
) -> tuple[Ints, Floats, Floats]:
    """Return the graph of an event: pairs (E, 2) of clusters, and their nearest voxels (E, 3) each.

    Parameters
    ----------
    semantic_F
        Class of each cluster (F,).
    max_length_KK
        Longest edge between two classes [voxel]; 0: none.
    max_edges
        The nearest so many are kept; memory is bounded by it.
    """
    centre_F = clusters.centre_F
    pair_E2 = _candidates(centre_F, max_edges)
    cap_E = max_length_KK[semantic_F[pair_E2[:, 0]], semantic_F[pair_E2[:, 1]]]
    radius_F = np.maximum(clusters.maximum(length(clusters.delta_3V)), 0.0)
    gap_E = np.linalg.norm(centre_F[pair_E2[:, 0]] - centre_F[pair_E2[:, 1]], axis=1)
    gap_E -= radius_F[pair_E2[:, 0]] + radius_F[pair_E2[:, 1]]
    keep = np.flatnonzero((cap_E > 0) & (gap_E <= cap_E))
    keep = keep[np.sort(np.argsort(gap_E[keep], kind="stable")[: 2 * max_edges])]
    pair_E2, cap_E = pair_E2[keep], cap_E[keep]
    one_E, two_E = (clusters.point_V[place] for place in closest_voxels(clusters, pair_E2))
    length_E = np.linalg.norm(one_E - two_E, axis=1)
    keep = np.flatnonzero(length_E <= cap_E)
    keep = keep[np.sort(np.argsort(length_E[keep], kind="stable")[:max_edges])]
    return pair_E2[keep], one_E[keep], two_E[keep]


def _candidates(centre_F: Floats, max_edges: int) -> Ints:
    """Return all pairs (E, 2), or where they are many more than `max_edges` those of near centres."""
    from lartpc.lean import cKDTree  # here, so that ingestion starts without scipy

    num = len(centre_F)
    if num * (num - 1) // 2 <= 4 * max_edges:
        return np.stack(np.triu_indices(num, 1), axis=1)
    _, near = cKDTree(centre_F).query(centre_F, k=min(num, 4 * max_edges // num + 2))
    pair = np.stack([np.repeat(np.arange(num), near.shape[1]), near.ravel()], axis=1)
    return np.unique(np.sort(pair[pair[:, 0] != pair[:, 1]], axis=1), axis=0)
