"""Affinities of pairs of neighbours from what a network says of the sides of each voxel.

The columns of the sides (S) are the directions of `lartpc.affinities`, and then their opposites.

Shape suffixes: V voxels, E pairs of neighbours, S sides (26).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc import affinities
from lartpc.event import Event
from lartpc.vocab import GHOST, NUM_DIRECTIONS

Array = NDArray[Any]

AFFINITY_WIDENING = 2
"""The block in front of the head has so many times the features of the finest level."""


def turned_round(side_VS: Array, axes: tuple[bool, ...]) -> Array:
    """Return what voxels say of their sides in an image, from what they say in one with these axes turned round."""
    if not side_VS.shape[1]:
        return side_VS
    step_N3 = affinities.DIRECTIONS
    step_S3 = np.concatenate([step_N3, -step_N3])
    flip = np.ones(3, np.int64)
    flip[: len(axes)] = np.where(axes, -1, 1)
    number_S = (step_S3 * flip) @ affinities.PLACES
    column_S = np.where(number_S > 0, number_S - 1, NUM_DIRECTIONS - number_S - 1)
    return side_VS[:, column_S]


def affinity_logits(side_VS: Array, event: Event, label_V: Array) -> NDArray[np.int8]:
    """Return the column `affinity.logit` of an event; nothing is known of ghosts, and of voxels without sides."""
    pair_E2, direction_E = affinities.neighbours(event["voxel"]["coord"])
    if side_VS.shape[1]:
        logit_E = side_VS[pair_E2[:, 0], direction_E] + side_VS[pair_E2[:, 1], NUM_DIRECTIONS + direction_E]
        logit_E = np.where((label_V[pair_E2] == GHOST).any(1), np.nan, logit_E)
    else:
        logit_E = np.full(len(pair_E2), np.nan)
    return affinities.pack(event.num_voxels, pair_E2, direction_E, logit_E)
