"""Who points at whom: what the starts, ends and directions of two clusters say of them as a pair.

Positions and lengths are in voxel units. Shape suffixes: F clusters, E pairs of clusters.
"""

import numpy as np
from numpy.typing import NDArray

from lartpc.event import Columns
from lartpc.kinematics.clusters import Floats, Ints, unit

POINTING = (
    *("start_to_start", "cos_opening"),
    *("one_start_gap", "one_end_gap", "two_start_gap", "two_end_gap"),
    *("one_points_to_gap", "one_points_to_voxel", "one_points_to_start", "one_points_to_end"),
    *("two_points_to_gap", "two_points_to_voxel", "two_points_to_start", "two_points_to_end"),
)
"""Names of the columns of `pointing`; of those with a side, the first is that of cluster `one`."""

OTHER_SIDE = (0, 1, 4, 5, 2, 3, 10, 11, 12, 13, 6, 7, 8, 9)
"""The columns of `pointing` as seen from the other cluster."""


def pointing(
    columns: Columns, pairs: Ints, one_E3: NDArray[np.float64], two_E3: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the features (E, len(POINTING)) of pairs of clusters, of order one.

    A shower's fragments lie where the first one points, and a fragment that points elsewhere belongs to
    another shower: the cosines between the direction of each cluster at its start and the way to the other
    (across the gap between their nearest voxels; from the start to the nearest voxel, the start and the end of the
    other), the logarithms of the distances of the nearest voxel to start and end of its own cluster, the
    distance of the starts, and the cosine between the directions. A network over the features of nodes and
    edges of GrapPA (arXiv:2007.01335) could work them out, but learns sooner so (docs/explanation/clustering.md).
    Each is shifted and scaled by fixed numbers to about mean 0 and spread 1.

    Parameters
    ----------
    columns
        Columns of clusters: `start_point`, `end_point`, `start_direction`, each (F, 3).
    pairs
        Pairs (E, 2) of clusters.
    one_E3, two_E3
        Nearest voxels (E, 3) of the two.
    """
    start, end, direction = (
        columns[name].astype(np.float64)[pairs] for name in ("start_point", "end_point", "start_direction")
    )
    near = np.stack([one_E3, two_E3], axis=1)
    gaps, cosines = [], []
    for own, other in ((0, 1), (1, 0)):
        gaps += [_log_length(near[:, own] - place[:, own]) for place in (start, end)]
        ways = [near[:, other] - near[:, own]]
        ways += [place[:, other] - start[:, own] for place in (near, start, end)]
        cosines += [np.einsum("ei,ei->e", direction[:, own], unit(way)) for way in ways]
    opening = np.einsum("ei,ei->e", direction[:, 0], direction[:, 1])
    apart = _log_length(start[:, 0] - start[:, 1])
    scaled = [apart - 5.0, 1.5 * opening, *(gap - 1.7 for gap in gaps), *(1.5 * cosine for cosine in cosines)]
    return np.stack(scaled, axis=1).astype(np.float32)


def _log_length(delta: Floats) -> Floats:
    length: Floats = np.log1p(np.linalg.norm(delta, axis=1))
    return length
