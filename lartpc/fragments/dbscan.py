"""Fragments by distance: DBSCAN of each class, tracks cut at points.

Shape suffixes: V voxels.
"""

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.event import Event
from lartpc.fragments import tracks
from lartpc.fragments.classes import CLASSES
from lartpc.links import Ints, links, pieces, set_apart
from lartpc.vocab import NONE, Semantic


def find(event: Event, cfg: config.RuleFragments) -> tuple[Ints, Ints]:
    """Return a label (V,) for each voxel, -1 for classes without fragments, and the class (V,) that it counts as.

    Voxels of one class no farther apart than `eps` are linked, and linked voxels have one label: DBSCAN in
    which one point makes a cluster. Tracks are cut at track points, and bridged over deltas that hide a part of them.
    Before, small deltas grow into the track that they leave.
    """
    coord, eps_of = event["voxel"]["coord"], dict(zip(CLASSES, cfg.eps, strict=True))
    semantic = grown(event, cfg, eps_of[Semantic.DELTA])
    label_V = np.full(len(coord), NONE, np.int64)
    row = np.flatnonzero(np.isin(semantic, (Semantic.TRACK, Semantic.DELTA)))
    point = event["point"]["position"][event["point"]["semantic"] == Semantic.TRACK]
    label_V[row] = tracks.find(
        coord.take(row, axis=0), semantic[row] == Semantic.TRACK, point, cfg, eps_of[Semantic.TRACK]
    )
    class_V = np.where(label_V >= 0, int(Semantic.TRACK), semantic)
    bare_V = label_V < 0
    for eps in sorted(set(cfg.eps)):
        others = [kind for kind in CLASSES if eps_of[kind] == eps and kind != Semantic.TRACK]
        row = np.flatnonzero(np.isin(semantic, others) & bare_V)
        # one class after another, and so far apart that one search links the voxels of all
        row = row[np.argsort(semantic[row], kind="stable")]
        apart = set_apart(coord.take(row, axis=0), semantic[row], eps)
        label_V[row] = int(label_V.max(initial=NONE)) + 1 + pieces(len(row), links(apart, eps))
    return label_V, class_V


def grown(event: Event, cfg: config.RuleFragments, eps: float) -> NDArray[np.integer]:
    """Return the classes (V,) where voxels called track that belong to a small delta are of the delta.

    Links lead to them from a piece of fewer than `grow_below` voxels called delta, through voxels with delta scores of
    at least `grow_score`.
    """
    semantic_V: NDArray[np.integer] = event["semantic"]["label"]
    is_delta_V = semantic_V == Semantic.DELTA
    if not is_delta_V.any() or cfg.grow_below < 2:
        return semantic_V
    coord, score_V = event["voxel"]["coord"], event["semantic"]["score"][:, Semantic.DELTA]
    delta = np.flatnonzero(is_delta_V)
    piece = pieces(len(delta), links(coord.take(delta, axis=0), eps))
    is_small = np.bincount(piece)[piece] < cfg.grow_below
    may_be_V = (semantic_V == Semantic.TRACK) & (score_V >= cfg.grow_score)
    may_be_V[delta[is_small]] = True
    row = np.flatnonzero(may_be_V)
    piece = pieces(len(row), links(coord.take(row, axis=0), eps))
    has_delta = np.bincount(piece, is_delta_V[row]) > 0
    out_V = semantic_V.copy()
    out_V[row[has_delta[piece]]] = Semantic.DELTA
    return out_V
