"""What fragments are of, and how they are numbered.

Shape suffixes: V voxels, F fragments.
"""

import numpy as np
from numpy.typing import NDArray

from lartpc.links import Ints, renumber
from lartpc.vocab import NONE, Semantic

CLASSES = (Semantic.SHOWER, Semantic.TRACK, Semantic.MICHEL, Semantic.DELTA)
"""Classes that have fragments."""

Found = tuple[Ints, NDArray[np.int8]]
"""The fragments of an event: that of each voxel (V,), -1 for none, and the class of each (F,)."""


def found(label_V: Ints, class_V: NDArray[np.integer], min_voxels: int) -> Found:
    """Return the labels numbered in order of their first voxels, and their classes, given those of voxels (V,)."""
    label_V = renumber(label_V, min_voxels)
    row = np.flatnonzero(label_V >= 0)[::-1]
    first = np.zeros(int(label_V.max(initial=NONE)) + 1, np.int64)
    # the last to be written is the first voxel
    first[label_V[row]] = row
    return label_V, class_V[first].astype(np.int8)
