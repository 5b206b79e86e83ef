"""Fragments by affinities: the graph of neighbouring voxels is parted where these say that particles meet.

Shape suffixes: V voxels, E pairs of voxels.
"""

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.affinities import unpack
from lartpc.event import Event
from lartpc.fragments import dbscan, tracks
from lartpc.fragments.classes import CLASSES
from lartpc.links import Ints, both, lengths, links, renumber, set_apart
from lartpc.sparse.partition import partition
from lartpc.vocab import NONE, Semantic

UNKNOWN = 2.0
"""Logit of a pair of voxels no farther apart than `eps` whose affinity is not known: linked, as by distance."""


def find(event: Event, cfg: config.Affinity) -> tuple[Ints, Ints]:
    """Return a label (V,) for each voxel, -1 for classes without fragments, and the class (V,) that it counts as.

    Two voxels of one class that share a corner attract or repel each other by their affinity and the bias of their
    class, and the graph of these is parted (`lartpc.sparse.partition`), tracks first. Pieces of tracks that little
    speaks against joining are one, and pieces are bridged over deltas that hide a part of them. Before, small deltas
    grow into the track that they leave. An event without affinities has fragments by distance
    (`lartpc.fragments.dbscan`).
    """
    coord = event["voxel"]["coord"]
    if "affinity" not in event:
        return dbscan.find(event, cfg)
    pair_E2, given_E = unpack(event["affinity"]["logit"], coord)
    if np.isnan(given_E).all():
        return dbscan.find(event, cfg)
    eps_of = dict(zip(CLASSES, cfg.eps, strict=True))
    semantic_V = dbscan.grown(event, cfg, eps_of[Semantic.DELTA])
    point = event["point"]["position"][event["point"]["semantic"] == Semantic.TRACK]
    _, away_V = tracks.nearest(coord, point, max(cfg.break_radius, cfg.point_radius))
    pair_E2, logit_E = _of_one_class(coord, semantic_V, pair_E2, given_E, eps_of)
    is_track_V = semantic_V == Semantic.TRACK
    of_track_E, is_known_E = is_track_V[pair_E2[:, 0]], ~np.isnan(logit_E)
    weight_E = np.where(is_known_E, logit_E, UNKNOWN) + np.where(of_track_E, cfg.track_bias, cfg.other_bias)
    weight_E[is_known_E & of_track_E & both(away_V < cfg.point_radius, pair_E2)] += cfg.point_bias

    track_E2, weight_T = pair_E2[of_track_E], weight_E[of_track_E]
    label_V = renumber(np.where(is_track_V, partition(len(coord), track_E2, weight_T), NONE), 1)
    is_cut_V = away_V < cfg.break_radius
    label_V = _joined(label_V, track_E2, weight_T, is_cut_V, cfg)
    if cfg.bridge_length:
        label_V = _bridged(coord, semantic_V, label_V, is_cut_V, track_E2, cfg)
    class_V = np.where(label_V >= 0, int(Semantic.TRACK), semantic_V)
    bare_V = (label_V < 0) & np.isin(semantic_V, CLASSES)
    of_bare_E = both(bare_V, pair_E2)
    part_V = partition(len(coord), pair_E2[of_bare_E], weight_E[of_bare_E])
    return np.where(bare_V, label_V.max(initial=NONE) + 1 + part_V, label_V), class_V


def _of_one_class(
    coord_V3: NDArray[np.integer],
    semantic_V: NDArray[np.integer],
    pair_E2: Ints,
    given_E: NDArray[np.floating],
    eps_of: dict[Semantic, float],
) -> tuple[Ints, NDArray[np.float64]]:
    """Return the pairs of voxels of one class that may be of one fragment, and their logits; nan: not known.

    These are the ones of known affinity, and all others no farther apart than `eps`.
    """
    eps_V = np.zeros(len(coord_V3))
    for kind, eps in eps_of.items():
        eps_V[semantic_V == kind] = eps
    kept_E = (semantic_V.take(pair_E2[:, 0]) == semantic_V.take(pair_E2[:, 1])) & (eps_V[pair_E2[:, 0]] > 0)
    unknown = np.flatnonzero(kept_E & np.isnan(given_E))
    kept_E[unknown] = lengths(coord_V3, pair_E2[unknown]) <= eps_V[pair_E2[unknown, 0]]
    pair_E2, logit_E = pair_E2[kept_E], given_E[kept_E].astype(np.float64)
    if (longest := max(eps_of.values())) < 2:
        return pair_E2, logit_E
    row = np.flatnonzero(eps_V >= 2)
    far_E2 = row[links(set_apart(coord_V3.take(row, axis=0), semantic_V[row], longest), longest)]
    step_E3 = np.abs(coord_V3[far_E2[:, 0]].astype(np.int64) - coord_V3[far_E2[:, 1]])
    has_no_corner_E = step_E3.max(axis=1, initial=0) > 1
    far_E2 = far_E2[has_no_corner_E & (lengths(coord_V3, far_E2) <= eps_V[far_E2[:, 0]])]
    return np.concatenate([pair_E2, far_E2]), np.append(logit_E, np.full(len(far_E2), np.nan))


def _joined(
    label_V: Ints,
    pair_E2: Ints,
    weight_E: NDArray[np.float64],
    is_cut_V: NDArray[np.bool_],
    cfg: config.Affinity,
) -> Ints:
    """Return the labels (V,) of tracks where pieces that little speaks against joining are one.

    A few voxels of a delta that were called track, and went to one of two pieces of a track, repel the other piece.
    Away from points, pieces of at least `bridge_voxels` stay apart only where the sum of the weights between them is
    below -`join_above`.

    Parameters
    ----------
    pair_E2, weight_E
        Pairs of voxels of tracks, and their weights.
    is_cut_V
        Voxels near a point of a track.
    """
    size = np.bincount(label_V[label_V >= 0])
    label_E2 = label_V[pair_E2]
    meets_E = (label_E2[:, 0] != label_E2[:, 1]) & (size[label_E2] >= cfg.bridge_voxels).all(axis=1)
    if not cfg.join_above or not meets_E.any():
        return label_V
    meeting, row_E = np.unique(np.sort(label_E2[meets_E], axis=1), axis=0, return_inverse=True)
    weight = np.bincount(row_E.ravel(), weight_E[meets_E]).astype(np.float64)
    at_point = np.bincount(row_E.ravel(), is_cut_V[pair_E2[meets_E]].any(axis=1)) > 0
    part = partition(len(size), meeting, weight + np.where(at_point, 0.0, cfg.join_above))
    return np.where(label_V >= 0, part[label_V], NONE)


def _bridged(
    coord_V3: NDArray[np.integer],
    semantic_V: NDArray[np.integer],
    label_V: Ints,
    is_cut_V: NDArray[np.bool_],
    pair_E2: Ints,
    cfg: config.Affinity,
) -> Ints:
    """Return the labels (V,) of tracks where pieces that deltas lead from one to another are one, with those deltas.

    Ways do not pass by points of tracks, and pieces that touch were parted by their affinities: they stay apart.

    Parameters
    ----------
    is_cut_V
        Voxels near a point of a track.
    pair_E2
        Pairs of voxels of tracks that might have been of one piece.
    """
    if not (semantic_V == Semantic.DELTA).any():
        return label_V
    row = np.flatnonzero(np.isin(semantic_V, (Semantic.TRACK, Semantic.DELTA)))
    coord, large_V = coord_V3.take(row, axis=0), renumber(label_V, cfg.bridge_voxels)
    link_E2 = links(coord, cfg.eps[CLASSES.index(Semantic.TRACK)])
    link_E2 = link_E2[both(~is_cut_V[row], link_E2)]
    touch_E2 = large_V[pair_E2]
    touch_E2 = touch_E2[(touch_E2 >= 0).all(axis=1) & (touch_E2[:, 0] != touch_E2[:, 1])]
    joined_V = np.full(len(coord_V3), NONE, np.int64)
    joined_V[row] = tracks.bridged(
        large_V[row], link_E2, lengths(coord, link_E2), cfg.bridge_length, np.unique(touch_E2, axis=0)
    )
    small_V = np.where(label_V >= 0, label_V + joined_V.max(initial=NONE) + 1, NONE)
    return np.where(joined_V >= 0, joined_V, small_V)
