"""Random flips and 90° rotations of whole events, truth included."""

import numpy as np

from lartpc.event import PRODUCTS, Columns, Event

DIRECTIONS = frozenset({"momentum", "start_direction"})
"""Columns that are vectors without a position: they turn about the origin."""


def augment(event: Event, rng: np.random.Generator) -> Event:
    """Return the event under a random symmetry of its box: axes exchanged and flipped, 48 in all.

    Voxel indices and positions, directions and momenta turn together. Voxels are sorted by
    coordinate again, and so are the products aligned with them. The box itself keeps its place.
    """
    axes = rng.permutation(3)
    flip = rng.integers(0, 2, 3).astype(bool)
    size = event.box.num_voxels
    turned: dict[str, Columns] = {}
    for product in event:
        columns = dict(event[product])
        for name, column in PRODUCTS[product].columns.items():
            if column.shape != (3,) or not (column.unit == "voxel" or name in DIRECTIONS):
                continue
            value = columns[name][:, axes]
            if name in DIRECTIONS:
                mirrored = -value
            elif np.issubdtype(value.dtype, np.integer):
                mirrored = size - 1 - value
            else:
                mirrored = size - value
            columns[name] = np.where(flip, mirrored, value).astype(value.dtype)
        turned[product] = columns
    if "voxel" in turned:
        coord = turned["voxel"]["coord"]
        order = np.lexsort((coord[:, 2], coord[:, 1], coord[:, 0]))
        for product, columns in turned.items():
            if product == "voxel" or PRODUCTS[product].per == "voxel":
                turned[product] = {name: value[order] for name, value in columns.items()}
    return event.with_products(turned)
