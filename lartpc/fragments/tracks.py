"""Fragments of tracks: linked voxels, cut at points, with short tracks at vertices, bridged over predicted deltas.

Shape suffixes: V voxels, P points, E links, C cells.
"""

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.lean import cKDTree
from lartpc.links import Ints, both, lengths, links, pieces, reach, renumber, spread
from lartpc.vocab import NONE

Bools = NDArray[np.bool_]


def find(
    coord_V3: NDArray[np.integer],
    is_track_V: Bools,
    point_P3: NDArray[np.floating],
    cfg: config.RuleFragments,
    eps: float,
) -> Ints:
    """Return the track (V,) that each voxel of a track, or of what may hide a part of one, is of; -1: none.

    Parameters
    ----------
    coord_V3
        Voxel indices of tracks and of deltas.
    is_track_V
        Which of them are of tracks.
    point_P3
        Points of tracks.
    """
    num, link_E2 = len(coord_V3), links(coord_V3, eps)
    length_E = lengths(coord_V3, link_E2)
    nearest_V, away_V = nearest(coord_V3, point_P3, max(cfg.break_radius, cfg.inner_radius))
    cell_V = np.where(away_V < cfg.break_radius, nearest_V, NONE)
    is_cut_V = cell_V >= 0
    both_E, free_E = both(is_track_V, link_E2), both(~is_cut_V, link_E2)
    label_V = np.where(is_track_V & ~is_cut_V, pieces(num, link_E2[both_E & free_E]), NONE)
    if cfg.bridge_length and not is_track_V.all():
        large_V = renumber(label_V, cfg.bridge_voxels)
        joined_V = bridged(large_V, link_E2[free_E], length_E[free_E], cfg.bridge_length)
        small_V = np.where((joined_V < 0) & (label_V >= 0), label_V + joined_V.max(initial=NONE) + 1, NONE)
        label_V = np.where(joined_V >= 0, joined_V, small_V)
    at_cut = both_E & ~free_E
    if not at_cut.any() and not (is_cut_V & is_track_V).any():
        return label_V
    if cfg.inner_radius and is_cut_V.any():
        is_open_V = is_track_V & (away_V >= cfg.inner_radius)
        is_open_E = both(is_open_V, link_E2)
        label_V = _told_apart(label_V, is_open_V, link_E2[is_open_E], length_E[is_open_E])
    label_V = _seeded(label_V, cell_V, link_E2[at_cut])
    label_V = spread(label_V, link_E2[at_cut], length_E[at_cut])
    bare_V = is_track_V & (label_V < 0)
    own_V = pieces(num, link_E2[at_cut])
    return np.where(bare_V, label_V.max(initial=NONE) + 1 + own_V, label_V)


def nearest(
    coord_V3: NDArray[np.integer], point_P3: NDArray[np.floating], radius: float
) -> tuple[Ints, NDArray[np.float64]]:
    """Return the nearest point (V,) within a radius of each voxel, -1 for none, and its distance, infinity for none."""
    if not (radius and len(point_P3) and len(coord_V3)):
        return np.full(len(coord_V3), NONE, np.int64), np.full(len(coord_V3), np.inf)
    away_V, nearest_V = cKDTree(point_P3).query(coord_V3 + 0.5, distance_upper_bound=radius)
    return np.where(np.isfinite(away_V), nearest_V, NONE).astype(np.int64), away_V


def _told_apart(label_V: Ints, is_open_V: Bools, link_E2: Ints, length_E: NDArray[np.floating]) -> Ints:
    """Return the labels (V,) of voxels outside smaller cuts, too: that of the piece reached first, or a new one.

    Parameters
    ----------
    is_open_V
        Voxels of tracks outside the smaller cuts.
    link_E2, length_E
        Links between those, and their lengths [voxel].
    """
    label_V = spread(label_V, link_E2, length_E)
    own_V = pieces(len(label_V), link_E2)
    return np.where(is_open_V & (label_V < 0), label_V.max(initial=NONE) + 1 + own_V, label_V)


def _seeded(label_V: Ints, cell_V: Ints, link_E2: Ints) -> Ints:
    """Return the labels (V,) with one more for each cell of a point that is the end of a track of cut voxels only.

    Such a cell is linked to one other, and to no voxel that is not cut.
    """
    first = int(label_V.max(initial=NONE)) + 1
    node_V = np.where(label_V >= 0, label_V, first + cell_V)
    pair = np.sort(node_V[link_E2], axis=1)
    pair = np.unique(pair[pair[:, 0] != pair[:, 1]], axis=0)
    num = int(node_V.max(initial=0)) + 1
    degree = np.bincount(pair.ravel(), minlength=num)
    is_leaf = degree == 1
    # two that have only each other are one track
    ends = pair[(pair[:, 0] >= first) & is_leaf[pair].any(axis=1) & ~is_leaf[pair].all(axis=1)]
    seeds = ends[is_leaf[ends]]
    new = np.full(num, NONE)
    new[seeds] = first + np.arange(len(seeds))
    return np.where(label_V >= 0, label_V, np.where(cell_V >= 0, new[node_V], NONE))


def bridged(
    label_V: Ints, link_E2: Ints, length_E: NDArray[np.floating], longest: float, apart_E2: Ints | None = None
) -> Ints:
    """Return the labels (V,) where pieces that other voxels lead from one to another are one, with those voxels.

    Bridges are shortest ways along links through voxels without a label, the shortest first, and none where pieces
    are one already, or hold two labels that are to stay apart (`apart_E2`).
    """
    of_other_E = ~both(label_V >= 0, link_E2)
    if not of_other_E.any() or not (label_V >= 0).any():
        return label_V
    link_E2, length_E = link_E2[of_other_E], length_E[of_other_E]
    owner_V, away_V, before_V = reach(label_V, link_E2, length_E, longest)
    owner_E2 = owner_V[link_E2]
    way_E = away_V[link_E2[:, 0]] + away_V[link_E2[:, 1]] + length_E
    meets = np.flatnonzero(
        (way_E <= longest) & (owner_E2[:, 0] != owner_E2[:, 1]) & both(owner_V >= 0, link_E2)
    )
    parent = np.arange(int(label_V.max()) + 1)
    apart_of: dict[int, set[int]] = {}
    for one, two in [] if apart_E2 is None else apart_E2.tolist():
        apart_of.setdefault(one, set()).add(two)
        apart_of.setdefault(two, set()).add(one)

    def root(label: int) -> int:
        while parent[label] != label:
            label = parent[label]
        return label

    out_V = label_V.copy()
    for edge in meets[np.argsort(way_E[meets], kind="stable")]:
        one, two = (root(int(label)) for label in owner_E2[edge])
        if one == two or two in map(root, apart_of.get(one, ())):
            continue
        parent[max(one, two)] = min(one, two)
        apart_of[min(one, two)] = apart_of.get(one, set()) | apart_of.get(two, set())
        for voxel in link_E2[edge]:
            while label_V[voxel] < 0:
                out_V[voxel] = one
                voxel = before_V[voxel]
    roots = np.array([root(label) for label in range(len(parent))] + [NONE])
    return roots[out_V]
