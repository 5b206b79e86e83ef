"""Where two fragments meet: what the affinities of their voxels say of them as a pair.

Shape suffixes: V voxels, F fragments, E pairs of fragments, M pairs of fragments that meet.
"""

import numpy as np
from numpy.typing import NDArray

from lartpc.affinities import unpack
from lartpc.event import Event
from lartpc.links import Ints

MEETING = ("mean_affinity", "largest_affinity", "num_affinities")
"""Names of the columns of `meeting`."""

_SCALE = 0.2
"""Affinities are of order 5."""


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
