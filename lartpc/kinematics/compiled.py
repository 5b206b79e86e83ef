"""What is said of clusters, by the compiled kernel: the same as what numpy finds where it is not built.

Shape suffixes: V clustered voxels, F clusters, E pairs of clusters, M samples of a cluster, P places, S shells.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lartpc.sparse.build import call

if TYPE_CHECKING:
    from lartpc.kinematics.clusters import Clusters

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def sort_labels(labels: NDArray[Any], num_clusters: int) -> tuple[Ints, Ints]:
    """Return the rows (V,) of labels that are not negative in their order, and how many rows each (F,) has."""
    label_N = np.ascontiguousarray(labels, np.int64)
    row_N, size = np.empty(len(label_N), np.int64), np.zeros(num_clusters + 1, np.int64)
    call("sort_labels", label_N, row_N, size, len(label_N), int(num_clusters))
    return row_N[: len(label_N) - int(size[-1])], size[:-1]


def _voxels(clusters: "Clusters") -> tuple[Floats, Ints, Ints]:
    return clusters.point_3V, clusters.offset_F, clusters.size_F


def _numbers(clusters: "Clusters") -> tuple[int, int]:
    return len(clusters.row_V), clusters.num_clusters


def turn_axes(clusters: "Clusters", axis_F: Floats) -> tuple[Floats, Floats]:
    """Return the axes (F, 3) to the side where the cluster is wider, and positions (V,) along them."""
    axis_F, along_V = np.array(axis_F, order="C"), np.empty(len(clusters.row_V))
    centre_F = np.ascontiguousarray(clusters.centre_F)
    call("cluster_axes", *_voxels(clusters), centre_F, axis_F, along_V, *_numbers(clusters))
    return axis_F, along_V


def ends(clusters: "Clusters") -> Ints:
    """Return the positions (of V) of the two ends (F, 2) of each cluster; 0 where it is empty."""
    end_F2 = np.zeros((clusters.num_clusters, 2), np.int64)
    call("cluster_ends", *_voxels(clusters), clusters.along_V, end_F2, *_numbers(clusters))
    return end_F2


def farthest(clusters: "Clusters", from_F: NDArray[np.floating]) -> Ints:
    """Return the position (of V) of each cluster's voxel farthest from a place (F, 3); 0 where it is empty."""
    found_F = np.zeros(clusters.num_clusters, np.int64)
    places_F = np.ascontiguousarray(from_F, np.float64)
    call("cluster_farthest", *_voxels(clusters), places_F, found_F, *_numbers(clusters))
    return found_F


def directions(
    clusters: "Clusters", start_F: NDArray[np.floating], radius: float, voxel_variance: float
) -> Floats:
    """Return the directions (F, 3) in which clusters leave their starts; 0 where they are empty."""
    found_F, places_F = np.zeros((clusters.num_clusters, 3)), np.ascontiguousarray(start_F, np.float64)
    more = (places_F, found_F, float(radius), float(voxel_variance))
    call("cluster_directions", *_voxels(clusters), *more, *_numbers(clusters))
    return found_F


def shells(
    clusters: "Clusters", at_F: NDArray[np.floating], radii: tuple[float, ...]
) -> tuple[Floats, Floats]:
    """Return the energy in shells around a place (F, 3) of each cluster.

    Returns
    -------
    energy_FS
        Energy (F, S + 1) of voxels up to each radius and beyond the one before, and beyond the last.
    far_F
        Distance (F,) of the farthest voxel up to the first radius; 0 without any.
    """
    energy_FS, far_F = np.zeros((clusters.num_clusters, len(radii) + 1)), np.empty(clusters.num_clusters)
    places_F, radius_S = np.ascontiguousarray(at_F, np.float64), np.array(radii)
    more = (clusters.energy_V, places_F, radius_S, energy_FS, far_F, len(radii))
    call("cluster_shells", *_voxels(clusters), *more, *_numbers(clusters))
    return energy_FS, far_F


def touching(
    clusters: "Clusters",
    class_F: NDArray[Any],
    place_P: NDArray[np.floating],
    class_P: NDArray[Any],
    score_P: NDArray[np.floating],
    radius: float,
) -> Ints:
    """Return the best place (F,) of each cluster's class that touches it, -1 for none; of equal ones the nearest."""
    found_F = np.empty(clusters.num_clusters, np.int64)
    # named, so that they live until the kernel is done with them
    class_F, class_P = np.ascontiguousarray(class_F, np.int64), np.ascontiguousarray(class_P, np.int64)
    place_P, score_P = np.ascontiguousarray(place_P, np.float64), np.ascontiguousarray(score_P, np.float64)
    places = (place_P, class_P, score_P, found_F, float(radius), len(place_P))
    call("touching_places", *_voxels(clusters), class_F, *places, *_numbers(clusters))
    return found_F


def nearest(clusters: "Clusters", pair_E2: NDArray[Any], share_M: Floats) -> Ints:
    """Return the positions (of V) of the nearest voxels (E, 2) of pairs (E, 2) of clusters, none of which is empty.

    The search starts from voxels of each cluster at some shares (M,) of their order along its axis.
    """
    pair_E2, found_E2 = np.ascontiguousarray(pair_E2, np.int64), np.empty((len(pair_E2), 2), np.int64)
    places = (clusters.along_V, share_M, pair_E2, found_E2)
    call("nearest_voxels", *_voxels(clusters), *places, *_numbers(clusters), len(pair_E2))
    return found_E2
