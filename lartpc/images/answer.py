"""What a network says of the voxels of images, before scores are made of it.

Shape suffixes: V voxels, K classes, D dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.scores import sigmoid

Array = NDArray[Any]


@dataclass(frozen=True)
class Answer:
    """What segmentation and point proposal say of each voxel.

    Attributes
    ----------
    logit_VK
        Logits of the classes.
    masks
        Logits (V_l,) that a point is near, of each level l, finest first; the finest is the score.
    parents
        Row of each voxel (V_l,) in the next level, of each level but the coarsest.
    offset_VD
        From the centre of the voxel to the point [voxel].
    class_VK
        Logits of the class of the point.
    end_V
        Logits of end against start.
    ghost_V
        Logits of being a ghost, of networks that tell.
    side_VS
        Logits of the sides (V, 26) of each voxel, of networks that have them (`lartpc.images.affinity`).
    sampled
        Mean scores (V, K) of thinned networks and how far these disagree (V,), where asked for.
    """

    logit_VK: Array
    masks: list[Array]
    parents: list[Array]
    offset_VD: Array
    class_VK: Array
    end_V: Array
    ghost_V: Array | None = None
    side_VS: Array | None = None
    sampled: tuple[Array, Array] | None = None


def passes_masks(masks: Sequence[Array], parents: Sequence[Array], threshold: float) -> NDArray[np.bool_]:
    """Tell for each voxel (V,) whether the masks of all coarser levels look into it."""
    passed_V = np.ones(len(masks[0]), np.bool_)
    row_V: Array | None = None
    for mask, parent_V in zip(masks[1:], parents, strict=True):
        row_V = parent_V if row_V is None else parent_V[row_V]
        passed_V &= (sigmoid(mask) > threshold)[row_V]
    return passed_V
