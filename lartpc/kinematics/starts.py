"""Where showers, Michels and deltas start, chosen again among candidates when it is known where they come from.

Positions and lengths are in voxel units. Shape suffixes: V voxels, P points, O options (points and candidates),
F fragments, A particles, N interactions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lartpc.event import Columns, Event
from lartpc.kinematics.clusters import Clusters, Floats, Ints
from lartpc.kinematics.describe import POINT_RADIUS, describe
from lartpc.lean import cKDTree
from lartpc.vocab import ELECTROMAGNETIC, NONE, Semantic

ODDS_LENGTH = 1.0
"""A candidate whose odds are e times as high may be this much farther away [voxel]; 0 to 4 do as well for showers."""
SMALLEST_SCORE = 1e-3
"""Scores are held this far from 0 and 1."""
_FROM_VERTEX = (Semantic.SHOWER, Semantic.DELTA)


@dataclass(frozen=True)
class Starts:
    """The second choice: position and score of each point (P,), and start (A, 3) of each particle, NaN: none."""

    position_P: Floats
    score_P: Floats
    start_A3: Floats


@dataclass(frozen=True)
class _Options:
    """Points and their candidates: place, score and point of each (O,), and the fragment that the point is on."""

    position: Floats
    score: Floats
    point: Ints
    fragment: Ints


def choose_again(event: Event, interaction_A: Ints, vertex_N3: NDArray[np.floating]) -> Starts:
    """Choose among each point and its candidates, with the particles and the vertices of their interactions known.

    The first piece of a particle starts at the option nearest to the vertex, each other piece at that nearest to
    the start of its particle; a higher score makes up for a distance. Michels, which start at the far end of a
    track, keep their point as their first piece's.

    Parameters
    ----------
    event
        With `voxel`, `point`, `candidate`, `group`, `fragment` and `particle`.
    interaction_A
        Interaction of each particle; -1: none.
    """
    point, fragment = event["point"], event["fragment"]
    start_A3 = np.full((len(event["particle"]["semantic"]), 3), np.nan)
    position, score = point["position"].astype(np.float64), point["score"].astype(np.float64)
    if not len(event["candidate"]["score"]):
        return Starts(position, score, start_A3)
    options = _options(event)
    particle_F = fragment["particle"].astype(np.int64)
    vertex_A3 = np.append(vertex_N3, np.full((1, 3), np.nan), axis=0)[interaction_A]
    first_F = _is_first(fragment)
    goes_F = first_F & np.isin(fragment["semantic"], _FROM_VERTEX)
    chosen = _nearest(options, np.where(goes_F[:, None], vertex_A3[particle_F], np.nan), first_F)
    # of several points on one piece the best is where its particle starts
    for option in chosen[np.argsort(options.score[chosen], kind="stable")]:
        start_A3[particle_F[options.fragment[option]]] = options.position[option]
    known = np.isfinite(start_A3)
    goal_A3 = np.where(known, start_A3, event["particle"]["start_point"])
    chosen = np.concatenate([chosen, _nearest(options, goal_A3[particle_F], ~first_F)])
    position[options.point[chosen]], score[options.point[chosen]] = (
        options.position[chosen],
        options.score[chosen],
    )
    return Starts(position, score, start_A3)


def started_at(event: Event, start_A3: Floats) -> Columns | None:
    """Return `particle` with showers, Michels and deltas started where stated (A, 3); None if nothing moves."""
    particle = event["particle"]
    moves = np.isfinite(start_A3).all(axis=1) & np.isin(particle["semantic"], ELECTROMAGNETIC)
    moves[moves] = np.abs(start_A3[moves] - particle["start_point"][moves]).max(axis=1) > SMALLEST_SCORE
    if not moves.any():
        return None
    row, voxel = np.flatnonzero(moves), event["voxel"]
    number = np.full(len(moves) + 1, NONE)
    number[row] = np.arange(len(row))
    label_V = number[event["group"]["particle"]]
    clusters = Clusters.group(voxel["coord"], voxel["energy"], label_V, len(row))
    found = describe(clusters, particle["semantic"][row], event["point"], start_F=start_A3[row])
    out = dict(particle)
    for name in ("start_point", "end_point", "start_direction"):
        out[name] = particle[name].copy()
        out[name][row] = found[name]
    return out


def _options(event: Event) -> _Options:
    """Return the points with their candidates, and the fragments that they are on: -1 where there is no choice."""
    point, candidate = event["point"], event["candidate"]
    num = len(point["score"])
    has_choice_P = np.isin(np.arange(num), candidate["point"])
    fragment_P = np.full(num, NONE, np.int64)
    label_V = event["group"]["fragment"].astype(np.int64)
    kind_V = np.append(event["fragment"]["semantic"], NONE)[label_V]
    for kind in ELECTROMAGNETIC:
        of_kind, voxel = (
            np.flatnonzero(has_choice_P & (point["semantic"] == kind)),
            np.flatnonzero(kind_V == kind),
        )
        if len(of_kind) and len(voxel):
            tree = cKDTree(event["voxel"]["coord"][voxel] + 0.5)
            away, nearest = tree.query(point["position"][of_kind], distance_upper_bound=POINT_RADIUS)
            near = np.isfinite(away)
            fragment_P[of_kind[near]] = label_V[voxel[nearest[near]]]
    of_point = np.concatenate([np.arange(num), candidate["point"]])
    return _Options(
        np.concatenate([point["position"], candidate["position"]]).astype(np.float64),
        np.concatenate([point["score"], candidate["score"]]).astype(np.float64),
        of_point,
        fragment_P[of_point],
    )


def _is_first(fragment: Columns) -> NDArray[np.bool_]:
    """Tell which fragments (F,) are the first of their particle: by score, of equal ones that of more energy."""
    order = np.lexsort((-fragment["energy"], -fragment["primary_score"], fragment["particle"]))
    first_F = np.zeros(len(order), bool)
    first_F[order[np.unique(fragment["particle"][order], return_index=True)[1]]] = True
    return first_F


def _nearest(options: _Options, goal_F3: Floats, wanted_F: NDArray[np.bool_]) -> Ints:
    """Return for each point on wanted fragments its option nearest to a goal, without one that of the highest score."""
    row = np.flatnonzero((options.fragment >= 0) & np.append(wanted_F, False)[options.fragment])
    score = np.clip(options.score[row], SMALLEST_SCORE, 1.0 - SMALLEST_SCORE)
    away = np.linalg.norm(options.position[row] - goal_F3[options.fragment[row]], axis=1)
    cost = np.nan_to_num(away, nan=0.0) - ODDS_LENGTH * np.log(score / (1.0 - score))
    order = np.lexsort((cost, options.point[row]))
    chosen: Ints = row[order[np.unique(options.point[row][order], return_index=True)[1]]]
    return chosen
