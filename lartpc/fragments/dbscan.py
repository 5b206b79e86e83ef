"""Fragments by distance: DBSCAN of each class, tracks cut at points first.

Shape suffixes: V voxels, P points, E links.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lartpc import config
from lartpc.event import Event
from lartpc.fragments.images import CLASSES
from lartpc.links import Ints, lengths, links, pieces, spread
from lartpc.vocab import NONE, Semantic


def find(event: Event, cfg: config.Dbscan) -> Ints:
    """Return a label (V,) for each voxel, -1 for classes without fragments.

    Voxels of one class no farther apart than `eps` are linked, and linked voxels have one label: DBSCAN in
    which one point makes a cluster. Tracks are cut at track points first.
    """
    coord, semantic = event["voxel"]["coord"], event["semantic"]["label"]
    label_V = np.full(len(coord), NONE, np.int64)
    num = 0
    for which, eps in zip(CLASSES, cfg.eps, strict=True):
        row = np.flatnonzero(semantic == which)
        cut = np.zeros((0, 3))
        if which == Semantic.TRACK and cfg.break_radius:
            cut = event["point"]["position"][event["point"]["semantic"] == Semantic.TRACK]
        label_V[row] = num + connected(coord[row], eps, cut, cfg.break_radius)
        num = int(label_V.max(initial=NONE)) + 1
    return label_V


def connected(coord_V3: NDArray[np.integer], eps: float, cut_P3: NDArray[np.floating], radius: float) -> Ints:
    """Return the connected piece (V,) of each voxel, cut inside `radius` of the points.

    Voxels inside a cut go to the piece that they reach first along links; those that reach none form
    pieces of their own. Pieces have numbers from 0 on.
    """
    num, link_E2 = len(coord_V3), links(coord_V3, eps)
    inside_V = np.zeros(num, bool)
    if num and len(cut_P3):
        inside_V = np.isfinite(cKDTree(cut_P3).query(coord_V3 + 0.5, distance_upper_bound=radius)[0])
    if not inside_V.any():
        return pieces(num, link_E2)
    free_E = ~inside_V[link_E2].any(axis=1)
    label_V = np.where(inside_V, NONE, pieces(num, link_E2[free_E]))
    at_cut_E2 = link_E2[~free_E]
    label_V = spread(label_V, at_cut_E2, lengths(coord_V3, at_cut_E2))
    own_V = pieces(num, at_cut_E2)
    return np.where(label_V >= 0, label_V, label_V.max() + 1 + own_V)
