"""Tracks measured along their own line: length, dE/dx along it, and directions of its pieces.

Positions and lengths are in voxel units, energies in MeV. Shape suffixes: V clustered voxels, F particles,
S slices of all particles, one after another.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lartpc.kinematics.clusters import Clusters, Floats, Ints
from lartpc.links import lengths, links, reach, set_apart
from lartpc.vocab import NONE

_TOUCH = 1.75
"""Voxels nearer than this touch, corners included [voxel]."""


@dataclass(frozen=True)
class Paths:
    """The lines of particles: the place of each voxel along its own (V,), and the length of each (F,)."""

    along_V: Floats
    length_F: Floats


@dataclass(frozen=True)
class Slices:
    """Equal pieces of lines: whose (S,), from where on (S,), energy (S,), centroid (S, 3), mean place (S,)."""

    owner_S: Ints
    begin_S: Floats
    energy_S: Floats
    centre_S: Floats
    along_S: Floats


def paths(
    clusters: Clusters, is_track_F: NDArray[np.bool_], start_F: Floats, end_F: Floats, step: float
) -> Paths:
    """Return the line of each particle, from its start through the centroids of slices of thickness `step`.

    Tracks are followed from voxel to voxel, so that one that turns back is measured whole; what is not linked
    to the start is taken at its straight distance, as are all voxels of other particles.
    """
    if not len(clusters.row_V):
        return Paths(np.zeros(0), np.linalg.norm(end_F - start_F, axis=1))
    far_V = _followed(clusters, is_track_F, clusters.distance(start_F))
    slices = slice_up(clusters, far_V, step)
    mean = np.bincount(slices.owner_S, minlength=clusters.num_clusters)
    num = clusters.num_clusters
    # start, centroids, end; one particle after another
    owner = np.concatenate([np.arange(num), slices.owner_S, np.arange(num)])
    place = np.concatenate([start_F, slices.centre_S, end_F])
    knot = np.concatenate([np.zeros(num), slices.along_S, np.maximum(clusters.maximum(far_V), 0.0) + 0.5])
    order = np.lexsort((knot, owner))
    owner, place, knot = owner[order], place[order], knot[order]
    leg = np.linalg.norm(np.diff(place, axis=0), axis=1) * (np.diff(owner) == 0)
    total = np.concatenate([[0.0], np.cumsum(leg)])
    first = np.searchsorted(owner, np.arange(num))
    last = first + mean + 1
    length_F = total[last] - total[first]
    # a voxel lies between two knots, and the length grows evenly between them
    apart = float(far_V.max(initial=0.0)) + 1.0
    along_V = (
        np.interp(far_V + clusters.label_V * apart, knot + owner * apart, total)
        - total[first][clusters.label_V]
    )
    return Paths(np.clip(along_V, 0.0, length_F[clusters.label_V]), length_F)


def slice_up(clusters: Clusters, along_V: Floats, step: float) -> Slices:
    """Cut particles into pieces of length `step` by the places (V,) of their voxels; empty ones are left out."""
    cell_V = np.floor(along_V / step).astype(np.int64)
    width = int(cell_V.max(initial=0)) + 1
    key, slice_V, count_S = np.unique(
        clusters.label_V * width + cell_V, return_inverse=True, return_counts=True
    )
    centre = [np.bincount(slice_V, clusters.point_V[:, i], len(key)) for i in range(3)]
    return Slices(
        key // width,
        (key % width) * step,
        np.bincount(slice_V, clusters.energy_V, len(key)).astype(np.float64),
        np.stack(centre, axis=1) / np.maximum(count_S, 1)[:, None],
        np.bincount(slice_V, along_V, len(key)) / np.maximum(count_S, 1),
    )


def _followed(clusters: Clusters, is_track_F: NDArray[np.bool_], straight_V: Floats) -> Floats:
    """Return the distance (V,) from the start along touching voxels for tracks, else the straight one."""
    row = np.flatnonzero(clusters.of_voxels(is_track_F))
    if not len(row):
        return straight_V
    label, coord = clusters.label_V[row], np.floor(clusters.point_V.take(row, axis=0)).astype(np.int64)
    link = links(set_apart(coord, label, _TOUCH), _TOUCH)
    # of each track the voxel nearest to its start
    nearest = clusters.argmax(-straight_V)[is_track_F & (clusters.size_F > 0)]
    first = np.searchsorted(row, nearest)
    is_first = np.full(len(row), NONE, np.int64)
    is_first[first] = 0
    distance = reach(is_first, link, lengths(coord, link)).away_V
    start = np.zeros(clusters.num_clusters)
    start[label[first]] = straight_V[row[first]]
    out = straight_V.copy()
    reached = np.isfinite(distance)
    out[row[reached]] = distance[reached] + start[label[reached]]
    return out
