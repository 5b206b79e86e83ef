"""The vertices of interactions, chosen on all the evidence of their particles and points.

Positions and lengths are in voxel units. Shape suffixes: V voxels, P points, F particles, N interactions, C candidates
of one interaction, K kinds of evidence.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lartpc.event import Columns
from lartpc.kinematics.clusters import Floats, Ints, unit
from lartpc.vocab import NONE, Semantic

CAN_BE_PRIMARY = (Semantic.SHOWER, Semantic.TRACK)
"""Classes that can leave a vertex; Michels and deltas come from tracks."""
PRIMARY_THRESHOLD = 0.5
TOUCH = 3.0
"""An end nearer than this to a place is there [voxel]."""
NEAR = 7.0
"""An end nearer than this is perhaps there [voxel]."""
AT_POINT = 2.0
"""A point nearer than this to a place is there [voxel]."""
ALIGNED_RAD, ASTRAY_RAD = 0.1, 0.3
"""Angles between a shower and the way from a place to it: below the first it points back, above the second not."""
SURE = 0.98
"""A track whose direction has at least this score is not turned round by its vertex."""
VERTEX_TRUST = 0.8
"""Score of a direction that the vertex decides: 34 of 42 such tracks of 1,000 events were wrong before."""
EVIDENCE = {
    "track_starts": 0.08,
    "track_ends": 3.72,
    "track_starts_elsewhere": -1.37,
    "tracks_near": 1.06,
    "track_gap": -0.17,
    "secondary_tracks": -1.29,
    "shower_starts": -1.54,
    "showers_near": -0.51,
    "shower_angle": -1.49,
    "shower_aligned": 0.75,
    "shower_astray": -1.00,
    "shower_gap": -0.11,
    "secondary_showers": -6.77,
    "point_score": 2.78,
    "point_end": -2.52,
    "is_point": -0.41,
    "nothing": -0.94,
}
"""What speaks for a place as the vertex, and the weight of each: log odds, fitted by `benchmarks/vertex.py`."""
_BLOCK = 1 << 16
"""Pairs of a candidate and a particle that are looked at together, so that memory does not grow with their product."""


@dataclass(frozen=True)
class Particles:
    """What is known of particles (F,): class, ends, direction at the start, and two scores.

    `primary_F` is the score that a particle leaves the vertex, `start_F` the score that it starts at its `start_F3`.
    """

    semantic_F: NDArray[np.integer]
    start_F3: Floats
    end_F3: Floats
    direction_F3: Floats
    primary_F: Floats
    start_F: Floats

    @classmethod
    def of(cls, particle: Columns, identity: Columns) -> "Particles":
        """Take from columns of particles with their final ends, and of `identity`, in the same rows."""
        turned_F = identity["turned_score"].astype(np.float64)
        return cls(
            particle["semantic"],
            particle["start_point"].astype(np.float64),
            particle["end_point"].astype(np.float64),
            unit(particle["start_direction"].astype(np.float64)),
            identity["primary_score"].astype(np.float64),
            np.maximum(turned_F, 1.0 - turned_F),
        )

    def only(self, row: Ints) -> "Particles":
        """Return those of some rows."""
        return Particles(*(getattr(self, name)[row] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Points:
    """Predicted points (P,) of tracks and showers: place, score that they are real, score of end against start."""

    position_P3: Floats
    score_P: Floats
    end_P: Floats

    @classmethod
    def of(cls, point: Columns) -> "Points":
        """Take those of tracks and showers from columns of `point`."""
        kept = np.isin(point["semantic"], CAN_BE_PRIMARY)
        return cls(*(point[name][kept].astype(np.float64) for name in ("position", "score", "end_score")))

    def only(self, row: NDArray[np.bool_]) -> "Points":
        """Return some of them."""
        return Points(self.position_P3[row], self.score_P[row], self.end_P[row])

    def owners(self, coord_V3: NDArray[np.integer], owner_V: NDArray[np.integer]) -> Ints:
        """Return what the voxel nearest to each point (P,) belongs to; -1: nothing, or no voxel touches it."""
        from lartpc.lean import cKDTree  # here, so that ingestion starts without scipy

        if not len(self.score_P) or not len(coord_V3):
            return np.full(len(self.score_P), NONE, np.int64)
        # built in a third of the time of a balanced one, and asked for few places only
        tree = cKDTree(coord_V3 + 0.5, compact_nodes=False, balanced_tree=False)
        away, nearest = tree.query(self.position_P3, distance_upper_bound=TOUCH)
        owner_P: Ints = np.append(owner_V, NONE)[nearest].astype(np.int64)
        return np.where(np.isfinite(away), owner_P, NONE)


def find_vertices(particles: Particles, interaction_F: Ints, points: Points, interaction_P: Ints) -> Floats:
    """Return the vertex (N, 3) of each interaction [voxel], given that of each particle (F,) and of each point (P,).

    Every interaction from 0 on has a particle; negative numbers are none.
    """
    order = np.argsort(interaction_F, kind="stable")
    order = order[np.count_nonzero(interaction_F < 0) :]
    count = np.bincount(interaction_F[order])
    members = np.split(order, np.cumsum(count)[:-1]) if len(order) else []
    found = [
        find_vertex(particles.only(rows), points.only(interaction_P == number))
        for number, rows in enumerate(members)
    ]
    return np.array(found).reshape(-1, 3)


def find_vertex(particles: Particles, points: Points) -> Floats:
    """Return the vertex (3,) of one interaction [voxel]: the candidate that most speaks for (`EVIDENCE`).

    It is at a point where one is nearer than `AT_POINT`: ends are those of voxels, points right within a fraction of
    one. Of one particle it is the start. Without showers and tracks all particles count as such.
    """
    best: Floats = particles.start_F3[0]
    if len(particles.start_F) == 1:
        return best
    places, evidence = candidates(particles, points)
    best = places[(evidence @ np.array([*EVIDENCE.values()])).argmax()]
    away = _distances(best[None], points.position_P3)[0]
    if away.min(initial=np.inf) < AT_POINT:
        best = points.position_P3[away.argmin()]
    return best


def wrong_way(particles: Particles, vertex_F3: Floats) -> NDArray[np.bool_]:
    """Tell which particles (F,) are primary tracks that end at the vertex of theirs (F, 3), and start elsewhere.

    Not those of which the direction is sure.
    """
    to_start, to_end = (
        np.linalg.norm(ends - vertex_F3, axis=1) for ends in (particles.start_F3, particles.end_F3)
    )
    is_there: NDArray[np.bool_] = (to_end < TOUCH) & (to_start >= TOUCH) & (particles.start_F < SURE)
    is_there &= (particles.semantic_F == Semantic.TRACK) & (particles.primary_F >= PRIMARY_THRESHOLD)
    return is_there


def candidates(particles: Particles, points: Points) -> tuple[Floats, Floats]:
    """Return where the vertex of an interaction can be (C, 3), and the evidence (C, K) in the order of `EVIDENCE`.

    Candidates are both ends of tracks, starts of showers, predicted points, and where the lines of the primary showers
    come closest, if that lies behind all their starts.
    """
    body = np.flatnonzero(np.isin(particles.semantic_F, CAN_BE_PRIMARY))
    if len(body):
        particles = particles.only(body)
    is_track = particles.semantic_F == Semantic.TRACK
    tracks, showers = particles.only(np.flatnonzero(is_track)), particles.only(np.flatnonzero(~is_track))
    found = [particles.start_F3, tracks.end_F3, points.position_P3]
    primary = showers.only(np.flatnonzero(showers.primary_F >= PRIMARY_THRESHOLD))
    if len(primary.start_F) > 1 and (crossing := _closest_approach(primary)) is not None:
        found.append(crossing[None])
    places = np.concatenate(found)
    size = max(_BLOCK // (len(places) + len(points.score_P)), 1)
    blocks = np.split(places, range(size, len(places), size))
    return places, np.concatenate([_evidence(block, tracks, showers, points) for block in blocks])


def _evidence(place_C3: Floats, tracks: Particles, showers: Particles, points: Points) -> Floats:
    """Return the evidence (C, K) of tracks, showers and points for places."""
    to_start, to_end = (_distances(place_C3, ends) for ends in (tracks.start_F3, tracks.end_F3))
    gap, score, starts = np.minimum(to_start, to_end), tracks.primary_F, tracks.start_F
    way = showers.start_F3 - place_C3[:, None]
    away, shower_score = np.linalg.norm(way, axis=2), showers.primary_F
    cosine = np.einsum("csi,si->cs", unit(way), showers.direction_F3)
    # what starts there points nowhere
    angle, apart = np.arccos(np.clip(cosine, -1.0, 1.0)), away >= TOUCH
    at_point = _distances(place_C3, points.position_P3) < AT_POINT
    touching = (gap < TOUCH).sum(axis=1) + (away < TOUCH).sum(axis=1)
    columns = {
        "track_starts": (to_start < TOUCH) @ (score * starts),
        "track_ends": (to_end < TOUCH) @ (score * (1.0 - starts)),
        "track_starts_elsewhere": ((to_end < TOUCH) & (to_start >= TOUCH)) @ (score * starts),
        "tracks_near": (gap < NEAR) @ score,
        "track_gap": np.log1p(gap) @ score,
        "secondary_tracks": (gap < TOUCH) @ (1.0 - score),
        "shower_starts": (away < TOUCH) @ shower_score,
        "showers_near": (away < NEAR) @ shower_score,
        "shower_angle": (apart * np.minimum(angle, 1.0)) @ shower_score,
        "shower_aligned": (apart & (angle < ALIGNED_RAD)) @ shower_score,
        "shower_astray": (apart & (angle > ASTRAY_RAD)) @ shower_score,
        "shower_gap": (apart * np.log1p(away)) @ shower_score,
        "secondary_showers": (away < TOUCH) @ (1.0 - shower_score),
        "point_score": np.where(at_point, points.score_P, 0.0).max(axis=1, initial=0.0),
        "point_end": np.where(at_point, points.end_P, 0.0).max(axis=1, initial=0.0),
        "is_point": at_point.any(axis=1),
        "nothing": touching == 0,
    }
    return np.stack([columns[name].astype(np.float64) for name in EVIDENCE], axis=1)


def _distances(one_A3: Floats, two_B3: Floats) -> Floats:
    """Return the distances (A, B) between two sets of places."""
    found: Floats = np.linalg.norm(one_A3[:, None] - two_B3, axis=2)
    return found


def _closest_approach(showers: Particles) -> Floats | None:
    """Return the point (3,) with the least sum of squared distances to the lines of showers, if all lead away from it.

    None where they are nearly parallel.
    """
    start, direction, weight = showers.start_F3, showers.direction_F3, showers.primary_F
    across = np.eye(3) - direction[:, :, None] * direction[:, None, :]
    matrix = (weight[:, None, None] * across).sum(0)
    if np.linalg.cond(matrix) > 1e4:
        return None
    point: Floats = np.linalg.solve(matrix, np.einsum("s,sij,sj->i", weight, across, start))
    return point if (np.einsum("si,si->s", start - point, direction) > 0).all() else None
