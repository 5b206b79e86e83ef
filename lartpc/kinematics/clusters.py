"""Clusters of voxels: moments, ends, directions; all clusters of an event at once.

Positions and lengths are in voxel units, energies in MeV. Shape suffixes: V clustered voxels, F clusters,
E pairs of clusters, P predicted points, M samples of a cluster, N voxels near a place. What is worked out of all
voxels has them last, as (3, V), which is several times faster than (V, 3). Where the compiled kernel is built, it does
what goes over all voxels, and finds the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.kinematics import compiled
from lartpc.sparse.build import is_built

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
        if is_built() and labels.max(initial=-1) < num_clusters:
            row_V, size_F = compiled.sort_labels(labels, num_clusters)
            label_V = np.repeat(np.arange(num_clusters), size_F)
        else:
            row_V = np.argsort(labels, kind="stable")
            row_V = row_V[np.count_nonzero(labels < 0) :]
            label_V = labels[row_V].astype(np.int64)
            size_F = np.bincount(label_V, minlength=num_clusters)
        return cls(row_V, label_V, size_F, coord.take(row_V, axis=0) + 0.5, energy[row_V].astype(np.float64))

    @classmethod
    def side_by_side(
        cls, coord: NDArray[Any], energy: NDArray[Any], labels: Sequence[NDArray[Any]], sizes: Sequence[int]
    ) -> "Clusters":
        """Sort voxels by several labels (N,), each with its number of clusters; those of the first come first."""
        first = np.cumsum([0, *sizes])
        shifted = [
            np.where(label >= 0, label + start, label)
            for label, start in zip(labels, first[:-1], strict=True)
        ]
        num = len(labels)
        return cls.group(np.tile(coord, (num, 1)), np.tile(energy, num), np.concatenate(shifted), first[-1])

    def only(self, wanted_F: NDArray[np.bool_]) -> "Clusters":
        """Return some of the clusters, numbered anew."""
        kept = np.flatnonzero(self.of_voxels(wanted_F))
        label_V = np.repeat(np.arange(np.count_nonzero(wanted_F)), self.size_F[wanted_F])
        return Clusters(
            self.row_V[kept],
            label_V,
            self.size_F[wanted_F],
            self.point_V.take(kept, axis=0),
            self.energy_V[kept],
        )

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
    def point_3V(self) -> Floats:
        """Voxel centres (3, V)."""
        return np.ascontiguousarray(self.point_V.T)

    @cached_property
    def lifted_4V(self) -> Floats:
        """Voxel centres and the squares of their distances from the origin (4, V), to compare distances with."""
        return np.concatenate([self.point_3V, (self.point_3V**2).sum(axis=0, keepdims=True)])

    @cached_property
    def centre_F(self) -> Floats:
        """Centroid of the voxel centres (F, 3)."""
        return self.mean(self.point_3V)

    @cached_property
    def delta_3V(self) -> Floats:
        """Voxel centres (3, V) as seen from the centroid of their cluster."""
        return self.seen_from(self.centre_F)

    def seen_from(self, place_F: NDArray[np.floating]) -> Floats:
        """Return voxel centres (3, V) as seen from a place of their cluster (F, 3)."""
        seen: Floats = self.point_3V - self.of_voxels(place_F.T.astype(np.float64))
        return seen

    def distance(self, place_F: NDArray[np.floating]) -> Floats:
        """Return the distances (V,) of voxel centres from a place of their cluster (F, 3)."""
        return length(self.seen_from(place_F))

    def of_voxels(self, value_F: NDArray[Any]) -> NDArray[Any]:
        """Return for each voxel (..., V) the value of its cluster (..., F)."""
        return np.repeat(value_F, self.size_F, axis=-1)

    @cached_property
    def covariance_F(self) -> Floats:
        """Covariance of the voxel centres (F, 3, 3)."""
        return symmetric(self.mean(products(self.delta_3V)))

    @cached_property
    def _principal(self) -> tuple[Floats, Floats, Floats]:
        value_F, vector_F = np.linalg.eigh(self.covariance_F)
        axis_F = vector_F[:, :, 2]
        if is_built():
            axis_F, along_V = compiled.turn_axes(self, axis_F)
            return axis_F, np.maximum(value_F, 0.0), along_V
        along_V = (self.delta_3V * self.of_voxels(axis_F.T)).sum(axis=0)
        across_V = np.sqrt(np.maximum((self.delta_3V**2).sum(axis=0) - along_V**2, 0.0))
        sign_F = np.where(self.total(along_V * across_V) < 0, -1.0, 1.0)
        return axis_F * sign_F[:, None], np.maximum(value_F, 0.0), along_V * self.of_voxels(sign_F)

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
        """Sum values (V,) or (n, V) over each cluster: (F,) or (F, n)."""
        out: Floats = np.zeros((*value_V.shape[:-1], self.num_clusters))
        filled, offset = self._filled
        if len(offset):
            out[..., filled] = np.add.reduceat(value_V, offset, axis=-1, dtype=np.float64)
        return out.T

    def mean(self, value_V: NDArray[Any]) -> Floats:
        """Average values (V,) or (n, V) over each cluster: (F,) or (F, n); 0 where it is empty."""
        size_F = np.maximum(self.size_F, 1)
        return (self.total(value_V).T / size_F).T

    def maximum(self, value_V: Floats) -> Floats:
        """Return the largest value (V,) of each cluster; -inf where it is empty."""
        out = np.full(self.num_clusters, -np.inf)
        filled, offset = self._filled
        if len(offset):
            out[filled] = np.maximum.reduceat(value_V, offset)
        return out

    def argmax(self, value_V: Floats) -> Ints:
        """Return the position (of V) of each cluster's first largest value; 0 where it is empty."""
        is_max = np.flatnonzero(value_V == self.of_voxels(self.maximum(value_V)))
        out = np.zeros(self.num_clusters, np.int64)
        out[self.label_V[is_max[::-1]]] = is_max[::-1]
        return out

    def farthest(self, from_F: Floats) -> Ints:
        """Return the position (of V) of each cluster's voxel that is farthest from a place (F, 3)."""
        if is_built():
            return compiled.farthest(self, from_F)
        return self.argmax((self.seen_from(from_F) ** 2).sum(axis=0))


def length(vector: NDArray[Any]) -> Floats:
    """Return the lengths (...) of vectors (3, ...)."""
    found: Floats = np.sqrt((vector**2).sum(axis=0))
    return found


def products(vector_3V: Floats) -> Floats:
    """Return the products of components (6, V) of vectors (3, V): xx, yy, zz, xy, xz, yz."""
    return vector_3V[[0, 1, 2, 0, 0, 1]] * vector_3V[[0, 1, 2, 1, 2, 2]]


def symmetric(value_F6: Floats) -> Floats:
    """Return the symmetric matrices (F, 3, 3) of components (F, 6) in the order of `products`."""
    return value_F6[:, [[0, 3, 4], [3, 1, 5], [4, 5, 2]]]


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
    filled = (clusters.size_F > 0)[:, None]
    if is_built():
        end_F2 = compiled.ends(clusters)
        return clusters.point_V[end_F2[:, 0]] * filled, clusters.point_V[end_F2[:, 1]] * filled
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
    first_F = clusters.point_V[np.where(swap, two_F, one_F)] * filled
    return first_F, clusters.point_V[np.where(swap, one_F, two_F)] * filled


def directions(clusters: Clusters, start_F: Floats, radius: float = DIRECTION_RADIUS) -> Floats:
    """Return the unit vector (F, 3) in which each cluster leaves its start; 0 where undefined.

    Of the neighbourhoods of the start up to `radius`, taken voxel by voxel in order of distance, the one
    with the largest ratio of longitudinal to transverse spread is used (`optimize` of SPINE's
    cluster_direction); the direction is the mean of its voxels as seen from the start.
    """
    if is_built():
        return compiled.directions(clusters, start_F, radius, VOXEL_VARIANCE)
    delta_3V = clusters.seen_from(start_F)
    distance_V = length(delta_3V)
    reach_F = np.maximum(radius, -clusters.maximum(-distance_V))
    near = np.flatnonzero(distance_V <= clusters.of_voxels(reach_F))
    if not len(near):
        return np.zeros((clusters.num_clusters, 3))
    label_N, distance_N = clusters.label_V[near], distance_V[near]
    order = np.argsort(distance_N + label_N * (distance_N.max() + 1.0), kind="stable")
    near, delta_3N = near[order], delta_3V[:, near[order]]
    part = Clusters(
        near,
        label_N,
        np.bincount(label_N, minlength=clusters.num_clusters),
        delta_3N.T,
        clusters.energy_V[near],
    )
    sums_9N = np.cumsum(np.concatenate([delta_3N, products(delta_3N)]), axis=1)
    sums_9N -= part.of_voxels(np.concatenate([np.zeros((9, 1)), sums_9N], axis=1)[:, part.offset_F])
    mean_9N = sums_9N / (np.arange(len(near)) - part.of_voxels(part.offset_F) + 1)
    covariance_6N = mean_9N[3:] - products(mean_9N[:3])
    largest_N = largest_eigenvalue(covariance_6N)
    # The width of a voxel keeps a straight line of few voxels from a ratio without bound.
    ratio_N = largest_N / (covariance_6N[:3].sum(axis=0) - largest_N + VOXEL_VARIANCE)
    best_F = unit(mean_9N[:3, part.argmax(ratio_N)].T)
    return best_F * (part.size_F > 0)[:, None]


def largest_eigenvalue(matrix_6N: Floats) -> Floats:
    """Return the largest eigenvalue (N,) of symmetric matrices (6, N) in the order of `products`.

    In closed form (O. K. Smith, Commun. ACM 4 (1961) 168), a small part of the time of an iteration each.
    """
    xx, yy, zz, xy, xz, yz = matrix_6N
    third = (xx + yy + zz) / 3.0
    a, b, c = xx - third, yy - third, zz - third
    scale = np.sqrt((a**2 + b**2 + c**2 + 2.0 * (xy**2 + xz**2 + yz**2)) / 6.0)
    half_det = (a * (b * c - yz**2) - xy * (xy * c - yz * xz) + xz * (xy * yz - b * xz)) / 2.0
    cosine = np.divide(half_det, scale**3, out=np.ones(len(scale)), where=scale > 1e-100)
    largest: Floats = third + 2.0 * scale * np.cos(np.arccos(np.clip(cosine, -1.0, 1.0)) / 3.0)
    return largest


def local_energy(clusters: Clusters, at_F: Floats) -> Floats:
    """Return the energy per length (F,) within `DEDX_RADIUS` of a place of each cluster [MeV/voxel]."""
    if is_built():
        energy_FS, far_F = compiled.shells(clusters, at_F, (DEDX_RADIUS,))
        near_F: Floats = energy_FS[:, 0] / np.maximum(far_F, 1.0)
        return near_F
    distance_V = clusters.distance(at_F)
    near_V = distance_V <= DEDX_RADIUS
    reach_F = clusters.maximum(np.where(near_V, distance_V, 0.0))
    return clusters.total(np.where(near_V, clusters.energy_V, 0.0)) / np.maximum(reach_F, 1.0)
