"""The vertex of an interaction from its particles. Positions and lengths are in voxel units."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.event import Columns
from lartpc.kinematics.clusters import Floats, unit
from lartpc.vocab import Semantic

CAN_BE_PRIMARY = (Semantic.SHOWER, Semantic.TRACK)
"""Classes that can leave a vertex; Michels and deltas come from tracks."""
PRIMARY_THRESHOLD = 0.5
_BLOCK = 1 << 18
"""Pairs of places that are looked at together, so that memory does not grow with their number."""


def find_vertex(particle: Columns, primary_score: NDArray[np.floating], radius: float) -> Floats:
    """Return the vertex (3,) of one interaction from its particles [voxel].

    Counted are its primaries, without any its tracks and showers, without any all of it. In this order
    (cf. SPINE's vertexing):

    1. One particle: its start.
    2. Confluence: the place where most primaries (by score) have an end within `radius`, of equal ones the
       tightest; of tracks both ends count, of showers the start. The vertex is the mean, weighted by score.
    3. Tracks and showers that do not touch: the end of a track that the showers point away from best.
    4. Tracks only: the start of the longest.
    5. Showers only: the point of closest approach of their lines, or where they are parallel or cross
       ahead of a start, the start of the most energetic.
    """
    counted = _counted(particle["semantic"], primary_score)
    start: Floats = particle["start_point"][counted].astype(np.float64)
    end: Floats = particle["end_point"][counted].astype(np.float64)
    direction = particle["start_direction"][counted].astype(np.float64)
    energy, weight = particle["energy"][counted], np.maximum(primary_score[counted], 1e-3)
    is_track = particle["semantic"][counted] == Semantic.TRACK
    longest: Floats = start[np.linalg.norm(end - start, axis=1).argmax()]
    if len(start) == 1:
        return longest
    if (meeting := _confluence(start, end, is_track, weight, radius)) is not None:
        return meeting
    if is_track.all():
        return longest
    if is_track.any():
        ends = np.concatenate([start[is_track], end[is_track]])
        shower, size = start[~is_track], max(_BLOCK // int((~is_track).sum()), 1)
        aligned = [
            np.einsum("esi,si,s->e", unit(shower - part[:, None]), direction[~is_track], weight[~is_track])
            for part in np.split(ends, range(size, len(ends), size))
        ]
        best: Floats = ends[np.concatenate(aligned).argmax()]
        return best
    return _closest_approach(start, direction, weight, start[energy.argmax()])


def at_points(vertex_N3: NDArray[np.floating], point: Columns, radius: float) -> Floats:
    """Return vertices (N, 3) moved to the nearest point of a track or shower within a radius, where there is one.

    The vertex is a mean of ends that scatter by voxels; predicted points are right within a fraction of one.
    """
    from scipy.spatial import cKDTree  # here, so that ingestion starts without scipy

    vertex: Floats = np.array(vertex_N3, np.float64)
    place = point["position"][np.isin(point["semantic"], CAN_BE_PRIMARY)]
    if len(place) and len(vertex):
        away, nearest = cKDTree(place).query(vertex)
        near = away <= radius
        vertex[near] = place[nearest[near]]
    return vertex


def _counted(semantic: NDArray[np.int8], primary_score: NDArray[np.floating]) -> NDArray[np.bool_]:
    for choice in (primary_score >= PRIMARY_THRESHOLD, np.isin(semantic, CAN_BE_PRIMARY)):
        if choice.any():
            return choice
    return np.ones(len(semantic), bool)


def _confluence(
    start: Floats, end: Floats, is_track: NDArray[np.bool_], weight: Floats, radius: float
) -> Floats | None:
    """Return the place where two or more particles meet, or None."""
    from scipy.spatial import cKDTree  # here, so that ingestion starts without scipy

    num = len(start)
    place = np.concatenate([start, end[is_track]])
    owner = np.concatenate([np.arange(num), np.flatnonzero(is_track)])
    tree = cKDTree(place)
    support, spread, count = (np.zeros(len(place)) for _ in range(3))
    for low in range(0, len(place), size := max(_BLOCK // len(place), 1)):
        rows, _, particle, distance = _nearest_of_each(place[low : low + size], tree, owner, radius)
        for total, value in ((support, weight[particle]), (spread, distance), (count, np.ones(len(rows)))):
            total[low : low + size] = np.bincount(rows, value, len(total[low : low + size]))
    best = np.lexsort((spread, -np.round(support, 6)))[0]
    if count[best] < 2:
        return None
    _, members, owners, _ = _nearest_of_each(place[[best]], tree, owner, radius)
    return np.average(place[members], axis=0, weights=weight[owners])


def _nearest_of_each(
    at: Floats, tree: Any, owner: NDArray[np.int64], radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return for places the nearest place of each particle within a radius: row of `at`, place, particle, distance."""
    from scipy.spatial import cKDTree  # here, so that ingestion starts without scipy

    near = cKDTree(at).sparse_distance_matrix(tree, radius, output_type="ndarray")
    row, place, distance = near["i"], near["j"], near["v"]
    order = np.lexsort((place, distance, owner[place], row))
    row, place, distance = row[order], place[order], distance[order]
    new = np.ones(len(row), bool)
    new[1:] = (row[1:] != row[:-1]) | (owner[place[1:]] != owner[place[:-1]])
    return row[new], place[new], owner[place[new]], distance[new]


def _closest_approach(start: Floats, direction: Floats, weight: Floats, otherwise: Floats) -> Floats:
    """Return the point with the least sum of squared distances to lines, if all lead away from it."""
    across = np.eye(3) - direction[:, :, None] * direction[:, None, :]
    matrix = (weight[:, None, None] * across).sum(0)
    if np.linalg.cond(matrix) > 1e4:
        return otherwise
    point = np.linalg.solve(matrix, np.einsum("s,sij,sj->i", weight, across, start))
    return point if (np.einsum("si,si->s", start - point, direction) > 0).all() else otherwise
