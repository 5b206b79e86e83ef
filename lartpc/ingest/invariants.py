"""What holds of every event that is written, checked after each.

What a reader, a label or a projection gets wrong, or a damaged file makes of them, ends here as a reason to set the
event aside.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.event import PRODUCTS, Columns, num_rows
from lartpc.geometry import Box
from lartpc.ingest.detector.project import View
from lartpc.ingest.steps import FARTHEST_CM, LARGEST_KINETIC_MEV
from lartpc.ingest.voxelize import Image
from lartpc.vocab import NONE

ENERGY_TOLERANCE = 1e-6
"""Largest relative difference between the energy of the source and what is accounted for."""

LARGEST_FLOAT = float(np.finfo(np.float32).max)

OWNERS = {"fragment": "truth_fragment", "particle": "truth_particle", "interaction": "truth_interaction"}
"""Columns that hold rows of another product."""

LARGEST = {
    "MeV": LARGEST_KINETIC_MEV,
    "MeV/c": LARGEST_KINETIC_MEV,
    "cm": FARTHEST_CM,
    "voxel": FARTHEST_CM / 0.01,
}
"""What no number of the truth is above, by its unit: no voxel is smaller than 0.1 mm."""

NOT_NEGATIVE = ("energy", "num_voxels")


def check_event(image: Image | View, truth: Mapping[str, Columns], box: Box) -> None:
    """Check an image and its truth.

    Raises
    ------
    ValueError
        The energy does not add up; a voxel lies outside the box, comes twice or holds nothing; or a number of the
        truth is infinite, too large for its column, negative where it counts something, or leads to no row.
    """
    _check_energy(image)
    num = len(image.energy)
    if num:
        coord = image.coord
        if coord.min() < 0 or (coord.max(axis=0) >= box.shape).any():
            raise ValueError("a voxel lies outside the image")
        if not (image.energy > 0).all() or not (image.energy <= LARGEST_FLOAT).all():
            raise ValueError("the energy of a voxel is not a number above 0")
        side = max(box.shape)
        key = (coord[:, 0] * side + coord[:, 1]) * side + coord[:, 2]
        if not (key[1:] > key[:-1]).all():
            raise ValueError("voxels come twice, or are not in order")
    if "truth_voxel" in truth and len(truth["truth_voxel"]["semantic"]) != num:
        raise ValueError(f"{len(truth['truth_voxel']['semantic'])} labels for {num} voxels")
    for product, columns in truth.items():
        for name, value in columns.items() if num_rows(columns) else ():
            _check_column(product, name, value, truth)


def _check_energy(image: Image | View) -> None:
    counted_mev = (image.energy_outside_mev, image.energy_below_mev, image.energy_lost_mev)
    accounted_mev = image.energy.sum() + sum(counted_mev)
    # so written that it holds for nan, too
    if not abs(accounted_mev - image.energy_mev) <= ENERGY_TOLERANCE * image.energy_mev:
        raise ValueError(
            f"{image.energy_mev:.6g} MeV were read, but {accounted_mev:.6g} MeV are in voxels, outside the "
            "box, below the threshold and lost to the response"
        )


def _check_column(product: str, name: str, value: NDArray[Any], truth: Mapping[str, Columns]) -> None:
    value = np.asarray(value)
    low, high = value.min(), value.max()
    if name in OWNERS:
        owner = truth.get(OWNERS[name])
        largest = len(next(iter(owner.values()))) - 1 if owner is not None else np.iinfo(np.int32).max
        if low < NONE or high > largest:
            raise ValueError(
                f"{product}.{name} refers to row {high if high > largest else low} of {largest + 1}"
            )
    elif PRODUCTS[product].columns[name].dtype.startswith("f"):
        bound = LARGEST.get(PRODUCTS[product].columns[name].unit, LARGEST_FLOAT)
        within = low >= -bound and high <= bound
        if not within and (np.abs(value) > bound).any():  # nan may stand for not known
            raise ValueError(f"{product}.{name} is infinite, or too large: no more than {bound:.6g} can be")
    else:
        info = np.iinfo(PRODUCTS[product].columns[name].dtype)
        if low < info.min or high > info.max:
            raise ValueError(
                f"{product}.{name} is {high if high > info.max else low}, which 32 bits cannot hold"
            )
    if name in NOT_NEGATIVE and low < 0:
        raise ValueError(f"{product}.{name} is negative ({low})")
