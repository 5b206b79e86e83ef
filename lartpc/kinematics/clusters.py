"""Clusters of voxels: moments, ends, directions; all clusters of an event at once.

Positions and lengths are in voxel units, energies in MeV. Shape suffixes: V clustered voxels, F clusters,
E pairs of clusters, P predicted points, M samples of a cluster.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DIRECTION_RADIUS = 15.0
"""Farthest voxels that a start direction is fitted to [voxel]; of 5 to 60 the best on simulated events."""
DEDX_RADIUS = 5.0
"""Length at the ends over which the local dE/dx is taken [voxel]."""
VOXEL_VARIANCE = 1.0 / 12.0
"""Variance of a position inside its voxel [voxel²]."""


@dataclass(frozen=True)
class Clusters:
    """Voxels sorted by cluster once, so that per-cluster work needs no masks.

    `row_V` are the rows of the clustered voxels, `label_V` their clusters in rising order, `point_V` (V, 3)
    their centres, `energy_V` their energies; `size_F` the voxels of each cluster (it may be 0).
    """

    row_V: Ints
    label_V: Ints
    size_F: Ints
    point_V: Floats
    energy_V: Floats

    @classmethod
    def group(
        cls, coord: NDArray[Any], energy: NDArray[Any], labels: NDArray[Any], num_clusters: int
    ) -> "Clusters":
        """Sort voxels by their labels: indices (N, 3), energies (N,), labels (N,); negative ones are left out."""
        row_V = np.argsort(labels, kind="stable")
        row_V = row_V[np.searchsorted(labels[row_V], 0) :]
        label_V = labels[row_V].astype(np.int64)
        size_F = np.bincount(label_V, minlength=num_clusters)
        return cls(row_V, label_V, size_F, coord[row_V] + 0.5, energy[row_V].astype(np.float64))

    @property
    def num_clusters(self) -> int:
        """Number of clusters."""
        return len(self.size_F)

    @cached_property
    def offset_F(self) -> Ints:
        """First voxel of each cluster."""
        return np.cumsum(self.size_F) - self.size_F

    @cached_property
    def _filled(self) -> tuple[NDArray[np.bool_], Ints]:
        filled = self.size_F > 0
        return filled, self.offset_F[filled]

    @cached_property
    def centre_F(self) -> Floats:
        """Centroid of the voxel centres (F, 3)."""
        return self.mean(self.point_V)

    @cached_property
    def delta_V(self) -> Floats:
        """Voxel centres (V, 3) as seen from the centroid of their cluster."""
        return self.point_V - self.centre_F[self.label_V]

    @cached_property
    def covariance_F(self) -> Floats:
        """Covariance of the voxel centres (F, 3, 3)."""
        outer_V = self.delta_V[:, :, None] * self.delta_V[:, None, :]
        return self.mean(outer_V.reshape(-1, 9)).reshape(-1, 3, 3)

    @cached_property
    def _principal(self) -> tuple[Floats, Floats, Floats]:
        value_F, vector_F = np.linalg.eigh(self.covariance_F)
        axis_F = vector_F[:, :, 2]
        along_V = np.einsum("vi,vi->v", self.delta_V, axis_F[self.label_V])
        across_V = np.sqrt(np.maximum(np.einsum("vi,vi->v", self.delta_V, self.delta_V) - along_V**2, 0.0))
        sign_F = np.where(self.total(along_V * across_V) < 0, -1.0, 1.0)
        return axis_F * sign_F[:, None], np.maximum(value_F, 0.0), along_V * sign_F[self.label_V]

    @property
    def axis_F(self) -> Floats:
        """Principal axis (F, 3), to the side where the cluster is wider (as in arXiv:2007.01335)."""
        return self._principal[0]

    @property
    def spread_F(self) -> Floats:
        """Eigenvalues of the covariance (F, 3), the largest last [voxel²]."""
        return self._principal[1]

    @property
    def along_V(self) -> Floats:
        """Positions (V,) along the principal axis, from the centroid."""
        return self._principal[2]

    def total(self, value_V: NDArray[Any]) -> Floats:
        """Sum values (V,) or (V, n) over each cluster."""
        out: Floats = np.zeros((self.num_clusters, *value_V.shape[1:]))
        filled, offset = self._filled
        if len(offset):
            out[filled] = np.add.reduceat(value_V, offset, axis=0, dtype=np.float64)
        return out

    def mean(self, value_V: NDArray[Any]) -> Floats:
        """Average values (V,) or (V, n) over each cluster; 0 where it is empty."""
        size = np.maximum(self.size_F, 1).reshape(-1, *(1,) * (value_V.ndim - 1))
        return self.total(value_V) / size

    def maximum(self, value_V: Floats) -> Floats:
        """Return the largest value (V,) of each cluster; -inf where it is empty."""
        out = np.full(self.num_clusters, -np.inf)
        filled, offset = self._filled
        if len(offset):
            out[filled] = np.maximum.reduceat(value_V, offset)
        return out

    def argmax(self, value_V: Floats) -> Ints:
        """Return the position (of V) of each cluster's first largest value; 0 where it is empty."""
        is_max = np.flatnonzero(value_V == self.maximum(value_V)[self.label_V])
        out = np.zeros(self.num_clusters, np.int64)
        out[self.label_V[is_max[::-1]]] = is_max[::-1]
        return out

    def farthest(self, from_F: Floats) -> Ints:
        """Return the position (of V) of each cluster's voxel that is farthest from a place (F, 3)."""
        delta_V = self.point_V - from_F[self.label_V]
        return self.argmax(np.einsum("vi,vi->v", delta_V, delta_V))


def unit(vector: NDArray[Any]) -> Floats:
    """Return vectors (..., 3) at length one; zero stays zero."""
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    out: Floats = np.divide(vector, length, out=np.zeros(vector.shape), where=length > 0)
    return out


def end_points(clusters: Clusters) -> tuple[Floats, Floats]:
    """Return the two ends (F, 3) of each cluster: nearly its farthest pair of voxels.

    Starts at the two extremes on the principal axis and goes to the farthest voxel from there, twice. It
    is exact for tracks; the distance is never less than half of the largest one. The first end lies on
    the narrow side of the cluster.
    """
    if not len(clusters.row_V):
        return np.zeros((clusters.num_clusters, 3)), np.zeros((clusters.num_clusters, 3))
    along_V = clusters.along_V
    pairs = []
    for sign in (-1.0, 1.0):
        one_F = clusters.argmax(sign * along_V)
        two_F = clusters.farthest(clusters.point_V[one_F])
        one_F = clusters.farthest(clusters.point_V[two_F])
        pairs.append((one_F, two_F))
    length = [np.linalg.norm(clusters.point_V[one] - clusters.point_V[two], axis=1) for one, two in pairs]
    one_F, two_F = (np.where(length[1] > length[0], *pair[::-1]) for pair in zip(*pairs, strict=True))
    swap = along_V[one_F] > along_V[two_F]
    filled = (clusters.size_F > 0)[:, None]
    first_F = clusters.point_V[np.where(swap, two_F, one_F)] * filled
    return first_F, clusters.point_V[np.where(swap, one_F, two_F)] * filled


def directions(clusters: Clusters, start_F: Floats, radius: float = DIRECTION_RADIUS) -> Floats:
    """Return the unit vector (F, 3) in which each cluster leaves its start; 0 where undefined.

    Of the neighbourhoods of the start up to `radius`, taken voxel by voxel in order of distance, the one
    with the largest ratio of longitudinal to transverse spread is used (`optimize` of SPINE's
    cluster_direction); the direction is the mean of its voxels as seen from the start.
    """
    delta_V = clusters.point_V - start_F[clusters.label_V]
    distance_V = np.linalg.norm(delta_V, axis=1)
    near = np.flatnonzero(distance_V <= np.maximum(radius, -clusters.maximum(-distance_V))[clusters.label_V])
    near = near[np.lexsort((distance_V[near], clusters.label_V[near]))]
    label_V, delta_V = clusters.label_V[near], delta_V[near]
    size_F = np.bincount(label_V, minlength=clusters.num_clusters)
    part = Clusters(near, label_V, size_F, delta_V, clusters.energy_V[near])
    outer_V = (delta_V[:, :, None] * delta_V[:, None, :]).reshape(-1, 9)
    sums_V = np.cumsum(np.concatenate([delta_V, outer_V], axis=1), axis=0)
    sums_V -= np.concatenate([np.zeros((1, 12)), sums_V])[part.offset_F][label_V]
    count_V = np.arange(len(near)) - part.offset_F[label_V] + 1
    mean_V = sums_V[:, :3] / count_V[:, None]
    covariance_V = sums_V[:, 3:].reshape(-1, 3, 3) / count_V[:, None, None]
    covariance_V -= mean_V[:, :, None] * mean_V[:, None, :]
    value_V = np.linalg.eigvalsh(covariance_V)
    # The width of a voxel keeps a straight line of few voxels from a ratio without bound.
    ratio_V = value_V[:, 2] / (value_V[:, 0] + value_V[:, 1] + VOXEL_VARIANCE)
    if not len(near):
        return np.zeros((clusters.num_clusters, 3))
    best_F = unit(mean_V[part.argmax(ratio_V)])
    return best_F * (part.size_F > 0)[:, None]


def local_energy(clusters: Clusters, at_F: Floats) -> Floats:
    """Return the energy per length (F,) within `DEDX_RADIUS` of a place of each cluster [MeV/voxel]."""
    distance_V = np.linalg.norm(clusters.point_V - at_F[clusters.label_V], axis=1)
    near_V = distance_V <= DEDX_RADIUS
    reach_F = clusters.maximum(np.where(near_V, distance_V, 0.0))
    return clusters.total(np.where(near_V, clusters.energy_V, 0.0)) / np.maximum(reach_F, 1.0)
