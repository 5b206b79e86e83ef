"""Steps to voxels: each step is split over the voxels that it crosses, in proportion to its path.

Voxels that a source brings are laid into the box as they are.

Shape suffixes: S steps, D deposits (pieces of steps, each in one voxel), V voxels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.geometry import Box
from lartpc.ingest.source import Voxels
from lartpc.ingest.steps import FloatArray, IntArray, Steps
from lartpc.vocab import NONE


@dataclass(frozen=True)
class Deposits:
    """Pieces of steps (D,), ordered by step and along it.

    `voxel` is the row of the voxel, NONE where the piece is outside the box or its voxel was dropped.
    `entry` and `exit` (D, 3) are the ends of the piece in voxel units, `energy` is in MeV.
    """

    step: IntArray
    voxel: IntArray
    inside: NDArray[np.bool_]
    energy: FloatArray
    entry: FloatArray
    exit: FloatArray


@dataclass(frozen=True)
class Image:
    """The voxels of an event: `coord` (V, 3) sorted with x slowest, `energy` (V,) [MeV].

    `energy_mev` = sum of `energy` + `energy_outside_mev` + `energy_below_mev`.
    """

    coord: IntArray
    energy: FloatArray
    energy_mev: float
    energy_outside_mev: float
    energy_below_mev: float
    deposits: Deposits


def voxelize(steps: Steps, box: Box, threshold_mev: float = 0.0) -> Image:
    """Split steps over the voxels of a box; a step of no length goes whole to its voxel.

    Voxels with less than `threshold_mev`, or with nothing, are dropped and their energy is counted.

    Raises
    ------
    ValueError
        A position, time or energy is not finite, or an energy is negative.
    """
    steps.check()
    begin_S3 = box.to_voxel(steps.start)
    delta_S3 = box.to_voxel(steps.end) - begin_S3
    step_D, from_D, to_D = _split(begin_S3, delta_S3, box.num_voxels)
    begin_D3, delta_D3 = begin_S3[step_D], delta_S3[step_D]
    return gather(
        np.floor(begin_D3 + (0.5 * (from_D + to_D))[:, None] * delta_D3),
        steps.energy[step_D] * (to_D - from_D),
        box.num_voxels,
        threshold_mev,
        energy_mev=float(steps.energy.sum()),
        step=step_D,
        entry=begin_D3 + from_D[:, None] * delta_D3,
        exit=begin_D3 + to_D[:, None] * delta_D3,
    )


def place(voxels: Voxels, box: Box, threshold_mev: float = 0.0) -> Image:
    """Lay a source's voxels into a box: what is in one voxel is added up, what is outside is counted.

    The box is moved to the source's voxels, by less than half a voxel. A deposit is a row of `voxels`.

    Raises
    ------
    ValueError
        An energy is not finite or negative, or the grid has neither an origin nor a size.
    """
    voxels.check()
    index_V3 = voxels.coord + shift(voxels, box)
    energy_V = voxels.energy.astype(np.float64)
    return gather(
        index_V3,
        energy_V,
        box.num_voxels,
        threshold_mev,
        energy_mev=float(energy_V.sum()),
        step=np.arange(len(voxels)),
        entry=index_V3.astype(np.float64),
        exit=index_V3.astype(np.float64) + 1,
    )


def shift(voxels: Voxels, box: Box) -> IntArray:
    """Return the voxel of the box (3,) that the grid's voxel (0, 0, 0) is."""
    if voxels.origin_cm is not None:
        return np.rint(box.to_voxel(voxels.origin_cm)).astype(np.int64)
    if voxels.num_voxels is None:
        raise ValueError("the voxels have neither an origin nor a number per side")
    return -((np.asarray(voxels.num_voxels, np.int64) - box.num_voxels) // 2)


def gather(
    index_D3: NDArray[Any],
    energy_D: FloatArray,
    num_voxels: int,
    threshold_mev: float,
    *,
    energy_mev: float,
    step: IntArray,
    entry: FloatArray,
    exit: FloatArray,
) -> Image:
    """Add up deposits, each in the voxel of the given index (D, 3); see `Deposits` and `Image`."""
    inside_D: NDArray[np.bool_] = np.all((index_D3 >= 0) & (index_D3 < num_voxels), axis=-1)
    sides = (num_voxels,) * 3
    key_D = np.full(len(energy_D), NONE, np.int64)
    key_D[inside_D] = np.ravel_multi_index(tuple(index_D3[inside_D].astype(np.int64).T), sides)
    key_V, row_D = np.unique(key_D[inside_D], return_inverse=True)
    energy_V = np.bincount(row_D, energy_D[inside_D], len(key_V)).astype(np.float64)
    kept_V = (energy_V > 0) & (energy_V >= threshold_mev)
    new_row_V = np.where(kept_V, np.cumsum(kept_V) - 1, NONE)
    voxel_D = np.full(len(energy_D), NONE, np.int64)
    voxel_D[inside_D] = new_row_V[row_D]
    return Image(
        coord=np.stack(np.unravel_index(key_V[kept_V], sides), axis=-1).astype(np.int64),
        energy=energy_V[kept_V],
        energy_mev=energy_mev,
        energy_outside_mev=float(energy_D[~inside_D].sum()),
        energy_below_mev=float(energy_V[~kept_V].sum()),
        deposits=Deposits(step, voxel_D, inside_D, energy_D, entry, exit),
    )


def _split(
    begin_S3: FloatArray, delta_S3: FloatArray, num_voxels: int
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Cut steps at the planes of the grid: the step of each piece, and its range of the step in [0, 1].

    Only planes of the box cut, so that a step far outside costs nothing.
    """
    num_steps = len(begin_S3)
    end_S3 = begin_S3 + delta_S3
    low_S3, high_S3 = np.minimum(begin_S3, end_S3), np.maximum(begin_S3, end_S3)
    first_S3 = np.clip(np.floor(low_S3) + 1, 0, num_voxels + 1).astype(np.int64)
    last_S3 = np.clip(np.ceil(high_S3) - 1, -1, num_voxels).astype(np.int64)
    count_A = np.maximum(last_S3 - first_S3 + 1, 0).ravel()  # A: step and axis
    row_C = np.repeat(np.arange(3 * num_steps), count_A)  # C: cuts
    rank_C = np.arange(len(row_C)) - np.repeat(np.cumsum(count_A) - count_A, count_A)
    plane_C = first_S3.ravel()[row_C] + rank_C
    cut_C = np.clip((plane_C - begin_S3.ravel()[row_C]) / delta_S3.ravel()[row_C], 0.0, 1.0)

    step_D = np.concatenate([np.arange(num_steps), row_C // 3])
    from_D = np.concatenate([np.zeros(num_steps), cut_C])
    order_D = np.lexsort((from_D, step_D))
    step_D, from_D = step_D[order_D], from_D[order_D]
    to_D = np.ones_like(from_D)
    same_D = step_D[1:] == step_D[:-1]
    to_D[:-1][same_D] = from_D[1:][same_D]
    real_D = to_D > from_D  # a step through an edge or a corner crosses two or three planes at once
    return step_D[real_D], from_D[real_D], to_D[real_D]
