"""Reflections of whole images, under which what a network says of them is averaged.

Shape suffixes: V voxels, D dimensions.
"""

from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lartpc.images.batch import Images


def reflections(num: int, dimension: int) -> list[tuple[bool, ...]]:
    """Return which axes each of 1, 2 or 2^D reflections of a box turns round; the first turns none.

    Axes are not exchanged, as in a detector along the drift is not the same as across it. Two are the image
    itself and its reflection at the middle of the box.
    """
    if num not in (1, 2, 2**dimension):
        raise ValueError(
            f"images of {dimension} dimensions have 1, 2 or {2**dimension} reflections, not {num}"
        )
    every = [*product((False, True), repeat=dimension)]
    return every if num == len(every) else [every[0], every[-1]][:num]


def reflect(images: Images, axes: tuple[bool, ...]) -> Images:
    """Return images reflected, their voxels sorted again."""
    turned_VD = np.where(axes, images.num_cells - 1 - images.coord_VD1[:, 1:], images.coord_VD1[:, 1:])
    coord_VD1 = np.concatenate([images.coord_VD1[:, :1], turned_VD], axis=1)
    order_V = np.lexsort(coord_VD1.T[::-1])
    return replace(images, coord_VD1=coord_VD1[order_V], energy_V=images.energy_V[order_V], order_V=order_V)


def signs(axes: tuple[bool, ...]) -> NDArray[np.float32]:
    """Return -1 (D,) for the axes that are turned round and 1 for the others."""
    return np.where(axes, np.float32(-1), np.float32(1))
