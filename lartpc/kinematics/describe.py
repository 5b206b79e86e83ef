"""What is said of a cluster: the columns of fragments and particles, and the features of graph nodes.

Positions and lengths are in voxel units, energies in MeV. Shape suffixes: V clustered voxels, F clusters,
E pairs of clusters, P predicted points, M samples of a cluster.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.event import Columns
from lartpc.kinematics import compiled
from lartpc.kinematics.clusters import (
    VOXEL_VARIANCE,
    Clusters,
    Floats,
    directions,
    end_points,
    local_energy,
)
from lartpc.sparse.build import is_built
from lartpc.vocab import PointKind, Semantic

POINT_RADIUS = 3.0
"""A predicted point nearer than this to a cluster can be its end [voxel]; 97 % of the points are
(PPN, arXiv:2006.14745)."""

FEATURES = (
    *("centre_x", "centre_y", "centre_z"),
    *(f"covariance_{i}{j}" for i in "xyz" for j in "xyz"),
    *("axis_x", "axis_y", "axis_z"),
    *("log_num_voxels", "log_length", "log_energy", "mean_energy", "rms_energy"),
    *("start_x", "start_y", "start_z", "end_x", "end_y", "end_z"),
    *("start_direction_x", "start_direction_y", "start_direction_z"),
    *("end_direction_x", "end_direction_y", "end_direction_z"),
    *("start_dedx", "end_dedx"),
    *("is_shower", "is_track", "is_michel", "is_delta"),
)
"""Names of the columns of `features`."""

VECTORS = tuple(
    FEATURES.index(f"{name}_x")
    for name in ("centre", "axis", "start", "end", "start_direction", "end_direction")
)
"""First columns of what is a vector, or a place as seen from the centre of the box."""
DIRECTION_SCALE = 1.7
"""Directions times this are features: of spread 1."""
TENSORS = (FEATURES.index("covariance_xx"),)
"""First columns of what is a product of two vectors."""


def describe(
    clusters: Clusters,
    semantic_F: NDArray[Any],
    points: Mapping[str, NDArray[Any]],
    *,
    start_F: Floats | None = None,
) -> Columns:
    """Return size, energy, ends and start direction of each cluster.

    A track's ends are its farthest voxels; of the others the start is the best predicted point of their
    class that touches them, and the end is the voxel farthest from it. Ends snap to predicted points
    nearer than `POINT_RADIUS`. What no point decides, the ionisation does: a track stops where it is
    denser, a shower starts where it is narrower.

    Parameters
    ----------
    semantic_F
        Class of each cluster (F,).
    points
        Columns of the product `point`.
    start_F
        Starts (F, 3) that are known, NaN where they are not; used for all but tracks.

    Returns
    -------
    Columns
        `num_voxels`, `energy`, `start_point`, `end_point`, `start_direction`, each (F, ...).
    """
    is_track = np.asarray(semantic_F) == Semantic.TRACK
    one_F, two_F = end_points(clusters)
    one_F, two_F = _track_ends(clusters, is_track, one_F, two_F, points)
    given_F = np.full(one_F.shape, np.nan) if start_F is None else start_F
    known_F = is_track[:, None] | np.isfinite(given_F)
    found_F = one_F if known_F.all() else _shower_starts(clusters, semantic_F, one_F, points)
    first_F = np.where(is_track[:, None], one_F, np.where(known_F, given_F, found_F))
    last_F = two_F
    if len(clusters.row_V):
        filled = (clusters.size_F > 0)[:, None]
        far_F = clusters.point_V[clusters.farthest(first_F)]
        last_F = np.where(is_track[:, None] | ~filled, two_F, far_F)
    return {
        "num_voxels": clusters.size_F.astype(np.int32),
        "energy": clusters.total(clusters.energy_V).astype(np.float32),
        "start_point": first_F.astype(np.float32),
        "end_point": last_F.astype(np.float32),
        "start_direction": directions(clusters, first_F).astype(np.float32),
    }


def _track_ends(
    clusters: Clusters,
    is_track: NDArray[np.bool_],
    one_F: Floats,
    two_F: Floats,
    points: Mapping[str, NDArray[Any]],
) -> tuple[Floats, Floats]:
    """Snap the ends of tracks to points and order them start, end."""
    from lartpc.lean import cKDTree  # here, so that ingestion starts without scipy

    is_point = points["semantic"] == Semantic.TRACK
    position_P, end_score_P = points["position"][is_point], points["end_score"][is_point]
    ends = np.stack([one_F, two_F])
    end_score = np.full(ends.shape[:2], 0.5)
    if len(position_P) and is_track.any():
        distance, nearest = cKDTree(position_P).query(ends[:, is_track], distance_upper_bound=POINT_RADIUS)
        found = np.zeros(ends.shape[:2], bool)
        found[:, is_track] = np.isfinite(distance)
        nearest = nearest[np.isfinite(distance)]
        ends[found], end_score[found] = position_P[nearest], end_score_P[nearest]
    dense_F = local_energy(clusters, two_F) - local_energy(clusters, one_F)
    swap = np.where(end_score[0] != end_score[1], end_score[0] > end_score[1], dense_F < 0) & is_track
    return np.where(swap[:, None], ends[1], ends[0]), np.where(swap[:, None], ends[0], ends[1])


def _shower_starts(
    clusters: Clusters, semantic_F: NDArray[Any], start_F: Floats, points: Mapping[str, NDArray[Any]]
) -> Floats:
    """Replace the starts (F, 3) by the best point of the cluster's class that touches it."""
    from lartpc.lean import cKDTree  # here, so that ingestion starts without scipy

    is_start = (points["kind"] == PointKind.START) & (points["semantic"] != Semantic.TRACK)
    position_P, score_P = points["position"][is_start], points["score"][is_start]
    if not len(position_P) or not len(clusters.row_V):
        return start_F
    if is_built():
        class_P = points["semantic"][is_start]
        found_F = compiled.touching(clusters, semantic_F, position_P, class_P, score_P, POINT_RADIUS)
        return np.where(found_F[:, None] >= 0, position_P[found_F], start_F)
    # built in a third of the time of a balanced one, and asked for few places only
    tree = cKDTree(clusters.point_V, compact_nodes=False, balanced_tree=False)
    near_P = tree.query_ball_point(position_P, POINT_RADIUS)
    point = np.repeat(np.arange(len(near_P)), [len(near) for near in near_P])
    voxel = np.concatenate([np.asarray(near, np.int64) for near in near_P])
    label = clusters.label_V[voxel]
    same = points["semantic"][is_start][point] == np.asarray(semantic_F)[label]
    point, voxel, label = point[same], voxel[same], label[same]
    distance = np.linalg.norm(position_P[point] - clusters.point_V[voxel], axis=1)
    order = np.lexsort((distance, -score_P[point], label))
    chosen, first = np.unique(label[order], return_index=True)
    out = start_F.copy()
    out[chosen] = position_P[point[order[first]]]
    return out


def features(clusters: Clusters, described: Columns, num_voxels: int) -> NDArray[np.float32]:
    """Return the node features (F, len(FEATURES)) of clusters, of order one.

    They are those of GrapPA (arXiv:2007.01335; its covariance is over its largest eigenvalue, its axis
    times one minus the ratio of the second to it), with energies, both ends and the local dE/dx. Each is
    shifted and scaled by fixed numbers to about mean 0 and spread 1 over the fragments of simulated events.

    Parameters
    ----------
    described
        Columns of `describe` and `semantic`.
    num_voxels
        Side of the box [voxel]; positions are from its centre, over a quarter of it.
    """
    semantic_F, start_F, end_F = (described[name] for name in ("semantic", "start_point", "end_point"))
    scale_F = np.maximum(clusters.spread_F[:, 2], VOXEL_VARIANCE)
    shape_F = clusters.covariance_F / scale_F[:, None, None] - np.eye(3) / 3.0
    mean_F = clusters.mean(clusters.energy_V)
    rms_F = np.sqrt(np.maximum(clusters.mean(clusters.energy_V**2) - mean_F**2, 0.0))
    quarter = 0.25 * num_voxels
    sizes = [clusters.size_F, np.linalg.norm(end_F - start_F, axis=1), clusters.total(clusters.energy_V)]
    columns = [
        clusters.centre_F / quarter - 2.0,
        4.0 * shape_F.reshape(-1, 9),
        2.0 * clusters.axis_F * (1.0 - clusters.spread_F[:, 1] / scale_F)[:, None],
        *((np.log1p(size) - 3.0)[:, None] for size in sizes),
        2.0 * mean_F[:, None] - 1.0,
        2.0 * rms_F[:, None] - 1.0,
        start_F / quarter - 2.0,
        end_F / quarter - 2.0,
        DIRECTION_SCALE * described["start_direction"],
        DIRECTION_SCALE * directions(clusters, end_F.astype(np.float64)),
        local_energy(clusters, start_F)[:, None] - 1.0,
        0.5 * local_energy(clusters, end_F)[:, None] - 0.5,
        2.0 * (np.asarray(semantic_F)[:, None] == np.arange(Semantic.LOW_ENERGY)),
    ]
    return np.concatenate(columns, axis=1).astype(np.float32)
