"""Fragments by distance: DBSCAN of each class, tracks cut at points first.

Shape suffixes: V voxels, P points, E links.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lartpc import config
from lartpc.event import Event
from lartpc.fragments.images import CLASSES
from lartpc.links import Ints, lengths, links, pieces, set_apart, spread
from lartpc.vocab import NONE, Semantic


def find(event: Event, cfg: config.Dbscan) -> Ints:
    """Return a label (V,) for each voxel, -1 for classes without fragments.

    Voxels of one class no farther apart than `eps` are linked, and linked voxels have one label: DBSCAN in
    which one point makes a cluster. Tracks are cut at track points first.
    """
    coord, semantic = event["voxel"]["coord"], event["semantic"]["label"]
    label_V = np.full(len(coord), NONE, np.int64)
    num = 0
    for eps in sorted(set(cfg.eps)):
        row = np.flatnonzero(
            np.isin(semantic, [c for c, own in zip(CLASSES, cfg.eps, strict=True) if own == eps])
        )
        # one class after another, and so far apart that one search links the voxels of all
        row = row[np.argsort(semantic[row], kind="stable")]
        apart = set_apart(coord.take(row, axis=0), semantic[row], eps)
        label_V[row] = num + connected(apart, eps, _is_cut(event, row, cfg.break_radius))
        num = int(label_V.max(initial=NONE)) + 1
    return label_V


def _is_cut(event: Event, row: Ints, radius: float) -> NDArray[np.bool_]:
    """Return which voxels of some rows (V,) are of tracks and inside `radius` of a track point."""
    is_cut_V = np.zeros(len(row), bool)
    point = event["point"]["position"][event["point"]["semantic"] == Semantic.TRACK]
    track = np.flatnonzero(event["semantic"]["label"][row] == Semantic.TRACK)
    if radius and len(point) and len(track):
        centre = event["voxel"]["coord"].take(row[track], axis=0) + 0.5
        is_cut_V[track] = np.isfinite(cKDTree(point).query(centre, distance_upper_bound=radius)[0])
    return is_cut_V


def connected(coord_V3: NDArray[np.integer], eps: float, is_cut_V: NDArray[np.bool_]) -> Ints:
    """Return the connected piece (V,) of each voxel, without those that are cut away.

    Voxels inside a cut go to the piece that they reach first along links; those that reach none form
    pieces of their own. Pieces have numbers from 0 on.
    """
    num, link_E2 = len(coord_V3), links(coord_V3, eps)
    if not is_cut_V.any():
        return pieces(num, link_E2)
    free_E = ~(is_cut_V[link_E2[:, 0]] | is_cut_V[link_E2[:, 1]])
    label_V = np.where(is_cut_V, NONE, pieces(num, link_E2[free_E]))
    at_cut_E2 = link_E2[~free_E]
    label_V = spread(label_V, at_cut_E2, lengths(coord_V3, at_cut_E2))
    if (label_V >= 0).all():
        return label_V
    own_V = pieces(num, at_cut_E2)
    return np.where(label_V >= 0, label_V, label_V.max() + 1 + own_V)
