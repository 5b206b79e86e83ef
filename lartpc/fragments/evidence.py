"""What the networks before say of fragments: their classes and points, and the affinities where two of them meet.

Shape suffixes: V voxels, P points, F fragments, E pairs of fragments, M pairs of fragments that meet.
"""

import numpy as np
from numpy.typing import NDArray

from lartpc.affinities import unpack
from lartpc.event import Event
from lartpc.fragments.classes import CLASSES
from lartpc.kinematics.describe import POINT_RADIUS
from lartpc.lean import cKDTree
from lartpc.links import Ints
from lartpc.vocab import Semantic

EVIDENCE = ("score_shower", "score_track", "score_michel", "score_delta", "start_score", "end_score")
"""Names of the columns of `evidence`."""

MEETING = ("mean_affinity", "largest_affinity", "num_affinities")
"""Names of the columns of `meeting`."""

_SCALE = 0.2
"""Affinities are of order 5."""


def evidence(event: Event, label_V: Ints, semantic_F: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return the features (F, len(EVIDENCE)) of fragments, from 0 to 1.

    These are the mean scores of the classes over their voxels, and the highest scores of predicted points of their
    class, as starts and as ends, that are nearer than `POINT_RADIUS` of `lartpc.kinematics.describe`; 0: there is none.

    Parameters
    ----------
    event
        With `voxel`, `semantic` and `point`.
    label_V
        The fragment of each voxel, -1: none.
    semantic_F
        The classes of the fragments.
    """
    num = len(semantic_F)
    row = np.flatnonzero(label_V >= 0)
    size_F1 = np.maximum(np.bincount(label_V[row], minlength=num), 1)[:, None]
    score_VK = event["semantic"]["score"][row][:, list(CLASSES)]
    total_FK = np.stack([np.bincount(label_V[row], score_K, num) for score_K in score_VK.T], axis=1)
    best_F2 = np.zeros((num, 2))
    point = event["point"]
    if len(row) and len(point["position"]):
        near = cKDTree(event["voxel"]["coord"][row] + 0.5).query_ball_point(point["position"], POINT_RADIUS)
        of = np.repeat(np.arange(len(near)), [len(voxels) for voxels in near])
        own = label_V[row[np.concatenate(near).astype(np.int64)]]
        alike = semantic_F[own] == point["semantic"][of]
        own, of = own[alike], of[alike]
        end_P = np.where(point["semantic"] == Semantic.TRACK, point["end_score"], 0.0)
        for side, share_P in enumerate((1.0 - end_P, end_P)):
            np.maximum.at(best_F2[:, side], own, (point["score"] * share_P)[of])
    return np.concatenate([total_FK / size_F1, best_F2], axis=1).astype(np.float32)


def meeting(event: Event, label_V: Ints, pairs: Ints) -> NDArray[np.float32]:
    """Return the features (E, len(MEETING)) of pairs of fragments, of order one; 0 where they have no voxels that meet.

    These are of the affinities between neighbouring voxels (they share a corner) of which one is of the first, the
    other of the second fragment: their mean and largest, both scaled, and the logarithm of one more than their
    number. All are the same from either side.

    Parameters
    ----------
    event
        With `voxel`; without `affinity` all features are 0.
    label_V
        The fragment of each voxel, -1: none.
    pairs
        Two different fragments each (E, 2).
    """
    found = np.zeros((len(pairs), len(MEETING)), np.float32)
    if "affinity" not in event or not len(pairs):
        return found
    voxels, logit = unpack(event["affinity"]["logit"], event["voxel"]["coord"])
    ends = label_V[voxels]
    kept = (ends[:, 0] != ends[:, 1]) & (ends >= 0).all(axis=1) & ~np.isnan(logit)
    num = int(label_V.max(initial=-1)) + 1
    key_M, row = np.unique(_keys(ends[kept], num), return_inverse=True)
    if not len(key_M):
        return found
    count_M = np.bincount(row)
    largest_M = np.full(len(key_M), -np.inf)
    np.maximum.at(largest_M, row, logit[kept])
    value_M = [_SCALE * np.bincount(row, logit[kept]) / count_M, _SCALE * largest_M, np.log1p(count_M)]
    wanted = _keys(pairs, num)
    at = np.searchsorted(key_M, wanted).clip(max=len(key_M) - 1)
    meets = key_M[at] == wanted
    found[meets] = np.stack(value_M, axis=1)[at[meets]]
    return found


def _keys(pairs: Ints, num: int) -> Ints:
    """Return a number for each pair of numbers below `num`, in either order."""
    keys: Ints = pairs.min(axis=1, initial=num) * num + pairs.max(axis=1, initial=0)
    return keys
