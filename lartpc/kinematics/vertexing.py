"""Particles to interactions by rules: common vertices of tracks and showers, and what points back to them.

Nothing is learned. Positions and lengths are in voxel units. Shape suffixes: V clustered voxels, F particles, P places
(ends of tracks, starts of showers), M vertex candidates, L links between a particle and a candidate, E pairs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.event import Columns
from lartpc.kinematics.clusters import Clusters, Floats, Ints
from lartpc.kinematics.hierarchy import pair_up
from lartpc.lean import breadth_first_order, cKDTree, connected_components, coo_array
from lartpc.vocab import NONE, Semantic

END_WEIGHT = 0.5
"""What the end of a track counts at a vertex, where the start counts 1: points tell start from end, mostly."""
NUM_NEAR = 16
"""Of so many nearest showers, each can be the second photon of a π⁰."""
_BLOCK = 1 << 18


@dataclass(frozen=True)
class Grouping:
    """What the rules say of the particles (F,) of an event.

    `interaction_F` numbers interactions in order of the first particle; `parent_F` is -1 for none; `touches_F`
    tells whether a particle starts at a vertex candidate with others, not merely pointing back to it, and `michel_F`
    whether a Michel starts at it.
    """

    interaction_F: Ints
    parent_F: Ints
    is_primary_F: NDArray[np.bool_]
    is_turned_F: NDArray[np.bool_]
    touches_F: NDArray[np.bool_]
    michel_F: NDArray[np.bool_]


def group_interactions(
    clusters: Clusters, columns: Columns, radius: float, cfg: config.InteractionRules
) -> Grouping:
    """Group particles into interactions, each with its vertex, by where they start and end.

    1. Ends of tracks and starts of showers no farther apart than `radius`, directly or over others, form a vertex
       candidate.
    2. A shower alone at its candidate belongs to the candidate, or the free end, that it points back to: up to
       `angle_rad` and `length`, of several to the one with the least sum of both, each over its limit.
    3. Two showers that point back to none, but to one place (their lines come closer than `radius` behind both
       starts), have one there; each with one other, the closest lines first.
    4. Michels and deltas belong to the track that they touch: their nearest voxels are no farther than `touch`.
    5. The vertex of an interaction is the candidate of most particles (ends count half), of equal ones that of more
       energy. What is there is primary; what is at another one comes from the track that leads there from the vertex.
    6. A track starts at its end towards the vertex; one that shares no candidate, at the end without a Michel.

    Parameters
    ----------
    clusters
        The particles' voxels.
    columns
        Columns of particles: `semantic`, `energy`, `start_point`, `end_point`, `start_direction`.
    radius
        Places nearer than this are one [voxel].
    """
    semantic_F = columns["semantic"]
    num = len(semantic_F)
    is_track_F, is_shower_F = semantic_F == Semantic.TRACK, semantic_F == Semantic.SHOWER
    start_F3, end_F3 = (columns[name].astype(np.float64) for name in ("start_point", "end_point"))
    track, shower = np.flatnonzero(is_track_F), np.flatnonzero(is_shower_F)
    owner_P = np.concatenate([track, shower, track])
    is_end_P = np.arange(len(owner_P)) >= len(track) + len(shower)
    place_P3 = np.where(is_end_P[:, None], end_F3[owner_P], start_F3[owner_P])
    candidate_P = joined(place_P3, radius)
    touched_F, at_end_F = _touched(clusters, columns, cfg.touch)

    # the particles of each candidate; a track with both ends in one is in it once, by its start
    num_candidates = int(candidate_P.max(initial=-1)) + 1
    _, first = np.unique(owner_P * max(num_candidates, 1) + candidate_P, return_index=True)
    is_alone_M = np.bincount(candidate_P[first], minlength=num_candidates) < 2
    touches_F = np.zeros(num, bool)
    touches_F[owner_P[first[~is_alone_M[candidate_P[first]]]]] = True
    size_M = np.maximum(np.bincount(candidate_P, minlength=num_candidates), 1)[:, None]
    centre_M3 = np.stack([np.bincount(candidate_P, x, num_candidates) for x in place_P3.T], axis=1) / size_M
    candidate_F = np.full(num, NONE, np.int64)
    candidate_F[owner_P[~is_end_P]] = candidate_P[~is_end_P]
    lonely = shower[is_alone_M[candidate_F[shower]]]
    direction_F3 = columns["start_direction"].astype(np.float64)
    target = _pointed_at(start_F3[lonely], direction_F3[lonely], candidate_F[lonely], centre_M3, cfg)
    moved, left = lonely[target >= 0], lonely[target < 0]
    pairs = near_pairs(start_F3[left], cfg.length)
    gap = _gaps(start_F3[left[pairs]], direction_F3[left[pairs]])
    number = pair_up(len(left), pairs, -gap, -radius)
    pairs = left[np.argsort(number, kind="stable")[np.count_nonzero(number < 0) :]].reshape(-1, 2)

    # links between particles and candidates; where two showers cross is a further one
    leaves_P = np.isin(owner_P[first], moved)
    owner_L = np.concatenate([owner_P[first][~leaves_P], moved, pairs.ravel()])
    crossing = np.repeat(num_candidates + np.arange(len(pairs)), 2)
    candidate_L = np.concatenate([candidate_P[first][~leaves_P], target[target >= 0], crossing])
    is_end_L = np.zeros(len(owner_L), bool)
    is_end_L[: np.count_nonzero(~leaves_P)] = is_end_P[first][~leaves_P]
    # where a Michel starts, its track does not
    weight_L = np.where(is_end_L == at_end_F[owner_L], END_WEIGHT, 1.0)
    is_michel_F = semantic_F == Semantic.MICHEL
    michel_F = np.zeros(num, bool)
    michel_F[touched_F[is_michel_F & (touched_F >= 0)]] = True
    num_nodes = num + num_candidates + len(pairs)
    attached = np.flatnonzero(touched_F >= 0)
    one = np.concatenate([owner_L, attached])
    two = np.concatenate([num + candidate_L, touched_F[attached]])
    group = connected_components(_graph(one, two, num_nodes), directed=False)[1]
    interaction_F = _renumbered(group[:num])
    vertex = _vertices(group, owner_L, candidate_L, weight_L, columns["energy"], num, num_nodes)

    root = num_nodes
    graph = _graph(
        np.concatenate([owner_L, np.full(len(vertex), root)]),
        np.concatenate([num + candidate_L, num + vertex]),
        num_nodes + 1,
    )
    _, before = breadth_first_order(graph, root, directed=False)
    via_F = np.where(before[:num] >= 0, before[:num], root)
    from_F = np.append(before, NONE)[via_F]
    parent_F = np.where((from_F >= 0) & (from_F < num), from_F, touched_F)
    by_end = (num + candidate_L == via_F[owner_L]) & is_end_L
    is_turned_F = np.zeros(num, bool)
    is_turned_F[owner_L[by_end]] = True
    # both ends in one candidate, where only a Michel distinguishes them
    is_turned_F |= michel_F & ~at_end_F & ~np.isin(np.arange(num), owner_L[is_end_L])
    return Grouping(interaction_F, parent_F, from_F == root, is_turned_F & is_track_F, touches_F, michel_F)


def joined(place_P3: Floats, radius: float) -> Ints:
    """Return the number (P,) of the group of each place: places nearer than a radius are linked.

    Blocks of places are linked one after the other, so that memory is bounded where all are near.
    """
    num = len(place_P3)
    label_P = np.arange(num)
    if not num:
        return label_P
    tree = cKDTree(place_P3)
    size = max(_BLOCK // num, 1)
    for low in range(0, num, size):
        near = cKDTree(place_P3[low : low + size]).sparse_distance_matrix(tree, radius, output_type="ndarray")
        links = _graph(label_P[near["i"] + low], label_P[near["j"]], num)
        label_P = connected_components(links, directed=False)[1][label_P]
    return _renumbered(label_P)


def near_pairs(place_P3: Floats, reach: float) -> Ints:
    """Return pairs (E, 2) of places no farther apart than `reach`, of each at most the `NUM_NEAR` nearest."""
    num = len(place_P3)
    if num < 2:
        return np.zeros((0, 2), np.int64)
    _, near = cKDTree(place_P3).query(place_P3, k=min(num, NUM_NEAR + 1), distance_upper_bound=reach)
    pair = np.stack([np.repeat(np.arange(num), near.shape[1]), near.ravel()], axis=1)
    pair = pair[(pair[:, 1] < num) & (pair[:, 0] != pair[:, 1])]
    return np.unique(np.sort(pair, axis=1), axis=0).reshape(-1, 2)


def _touched(clusters: Clusters, columns: Columns, touch: float) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the track (F,) that each Michel or delta touches, -1 for none.

    Also tell of each track whether it ends at its `end_point`: it does, unless a Michel is nearer to its start.
    """
    semantic_F, num = columns["semantic"], clusters.num_clusters
    touched_F, at_end_F = np.full(num, NONE, np.int64), np.ones(num, bool)
    semantic_V = semantic_F[clusters.label_V]
    track_V = np.flatnonzero(semantic_V == Semantic.TRACK)
    guest_V = np.flatnonzero((semantic_V == Semantic.MICHEL) | (semantic_V == Semantic.DELTA))
    if not len(track_V) or not len(guest_V):
        return touched_F, at_end_F
    tree = cKDTree(clusters.point_V[track_V])
    distance, row = tree.query(clusters.point_V[guest_V], distance_upper_bound=touch)
    guest = clusters.label_V[guest_V]
    order = np.lexsort((distance, guest))
    order = order[np.unique(guest[order], return_index=True)[1]]
    order = order[np.isfinite(distance[order])]
    touched_F[guest[order]] = clusters.label_V[track_V[row[order]]]
    michel = order[semantic_F[guest[order]] == Semantic.MICHEL]
    host, place = touched_F[guest[michel]], clusters.point_V[track_V[row[michel]]]
    to_start, to_end = (
        np.linalg.norm(columns[name].astype(np.float64)[host] - place, axis=1)
        for name in ("start_point", "end_point")
    )
    at_end_F[host[to_start < to_end]] = False
    return touched_F, at_end_F


def _pointed_at(
    start_S3: Floats, direction_S3: Floats, own_S: Ints, centre_M3: Floats, cfg: config.InteractionRules
) -> Ints:
    """Return the candidate (S,) that each of some showers points back to, -1 for none; its own does not count."""
    target_S = np.full(len(start_S3), NONE, np.int64)
    size = max(_BLOCK // max(len(centre_M3), 1), 1)
    for low in range(0, len(start_S3), size):
        block = slice(low, low + size)
        way = start_S3[block, None] - centre_M3
        distance = np.linalg.norm(way, axis=2)
        ahead = np.einsum("smi,si->sm", way, direction_S3[block])
        cosine = np.divide(ahead, distance, out=np.zeros(ahead.shape), where=distance > 0)
        angle = np.arccos(np.clip(cosine, -1.0, 1.0))
        cost = angle / cfg.angle_rad + distance / cfg.length
        cost[(angle > cfg.angle_rad) | (distance > cfg.length)] = np.inf
        cost[np.arange(len(cost)), own_S[block]] = np.inf
        best = cost.argmin(axis=1)
        target_S[block] = np.where(np.isfinite(cost[np.arange(len(cost)), best]), best, NONE)
    return target_S


def _gaps(start_E23: Floats, direction_E23: Floats) -> Floats:
    """Return how near the lines (E, 2, 3) of two showers come; infinite unless that is behind both starts."""
    between = start_E23[:, 1] - start_E23[:, 0]
    one, two = direction_E23[:, 0], direction_E23[:, 1]
    cosine = np.einsum("ei,ei->e", one, two)
    along_one, along_two = (np.einsum("ei,ei->e", between, d) for d in (one, two))
    # feet of the common perpendicular, from the two starts; parallel lines have none
    sine_2 = 1.0 - cosine**2
    safe = np.where(sine_2 > 1e-4, sine_2, 1.0)
    foot_one = (along_one - cosine * along_two) / safe
    foot_two = (cosine * along_one - along_two) / safe
    gap = np.linalg.norm(between + foot_two[:, None] * two - foot_one[:, None] * one, axis=1)
    return np.where((sine_2 > 1e-4) & (foot_one < 0) & (foot_two < 0), gap, np.inf)


def _vertices(
    group: Ints,
    owner_L: Ints,
    candidate_L: Ints,
    weight_L: Floats,
    energy_F: NDArray[np.floating],
    num: int,
    num_nodes: int,
) -> Ints:
    """Return the candidate that is the vertex of each interaction that has any."""
    num_candidates = num_nodes - num
    weight_M = np.bincount(candidate_L, weight_L, num_candidates)
    energy_M = np.bincount(candidate_L, energy_F[owner_L] * weight_L, num_candidates)
    used = np.flatnonzero(np.bincount(candidate_L, minlength=num_candidates))
    order = used[np.lexsort((-energy_M[used], -np.round(weight_M[used], 6), group[num + used]))]
    return order[np.unique(group[num + order], return_index=True)[1]]


def _graph(one: Ints, two: Ints, num: int) -> coo_array:
    return coo_array((np.ones(len(one), np.int8), (one, two)), shape=(num, num)).tocsr()


def _renumbered(label: Ints) -> Ints:
    """Return labels numbered in order of the first that has each."""
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]
