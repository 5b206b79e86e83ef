"""Steps to voxels: each step is split over the voxels that it crosses, in proportion to its path.

Voxels that a source brings are laid into the box as they are.

Shape suffixes: S steps, C cuts of steps at planes, D deposits (pieces of steps, each in one voxel),
V voxels. Points stand as three rows, one for each axis (`_3S`): numpy works along rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lartpc.geometry import Box
from lartpc.ingest.keys import number, order_of
from lartpc.ingest.source import Voxels
from lartpc.ingest.steps import FloatArray, IntArray, Steps
from lartpc.vocab import NONE

BoolArray = NDArray[np.bool_]

NO_VOLUMES = np.zeros((0, 2, 3))

LEAST_MEV = float(np.finfo(np.float32).tiny)
"""Less is nothing in single precision, in which energies are written."""


@dataclass(frozen=True)
class Pieces:
    """Parts of steps (D,), each between two fractions of its `step`: `begin` and `end`.

    Steps begin at `step_begin_3S` and go by `step_delta_3S`, in voxel units.
    """

    step: IntArray
    begin: FloatArray
    end: FloatArray
    step_begin_3S: FloatArray
    step_delta_3S: FloatArray

    def points(self, row: IntArray, fraction: FloatArray) -> FloatArray:
        """Return where the steps of some pieces (N,) are after a fraction of their way (N, 3)."""
        step = self.step[row]
        points: FloatArray = (self.step_begin_3S[:, step] + fraction * self.step_delta_3S[:, step]).T
        return points


@dataclass(frozen=True)
class Deposits:
    """Pieces of steps (D,), ordered by step and along it.

    `voxel` is the row of the voxel, NONE where the piece is outside the box or its voxel was dropped;
    `energy` is in MeV.
    """

    pieces: Pieces
    voxel: IntArray
    inside: BoolArray
    energy: FloatArray

    @property
    def step(self) -> IntArray:
        """Step of each deposit (D,)."""
        return self.pieces.step


@dataclass(frozen=True)
class Image:
    """The voxels of an event: `coord` (V, 3) sorted with x slowest, `energy` (V,) [MeV].

    `energy_mev` = sum of `energy` + `energy_outside_mev` + `energy_below_mev` + `energy_lost_mev`, the
    last by the detector's response.
    """

    coord: IntArray
    energy: FloatArray
    energy_mev: float
    energy_outside_mev: float
    energy_below_mev: float
    deposits: Deposits
    energy_lost_mev: float = 0.0


def voxelize(steps: Steps, box: Box, threshold_mev: float = 0.0, volumes_cm: ArrayLike = ()) -> Image:
    """Split steps over the voxels of a box; a step of no length goes whole to its voxel.

    Voxels with less than `threshold_mev`, or with nothing, are dropped and their energy is counted.

    Parameters
    ----------
    volumes_cm
        Lower and upper corners (N, 2, 3) of active volumes. What is in none of them is outside, and a
        voxel on a face holds what is inside. Without any, the whole box is active.

    Raises
    ------
    ValueError
        A position, time or energy is not finite, an energy is negative, or a volume lies outside the box.
    """
    volumes_N23 = box.clip(volumes_cm)
    steps.check()
    begin_3S = _rows_in_voxels(steps.start, box)
    delta_3S = _rows_in_voxels(steps.end, box) - begin_3S
    step_D, from_D, to_D = split(begin_3S, delta_3S, box.num_voxels, volumes_N23)
    middle_D = 0.5 * (from_D + to_D)
    position_3D = [
        begin_S[step_D] + middle_D * delta_S[step_D]
        for begin_S, delta_S in zip(begin_3S, delta_3S, strict=True)
    ]
    return _gather(
        Pieces(step_D, from_D, to_D, begin_3S, delta_3S),
        position_3D,
        steps.energy[step_D] * (to_D - from_D),
        box.num_voxels,
        threshold_mev,
        energy_mev=float(steps.energy.sum()),
        active_D=_active(position_3D, volumes_N23) if len(volumes_N23) else None,
    )


def place(voxels: Voxels, box: Box, threshold_mev: float = 0.0) -> Image:
    """Lay a source's voxels into a box: what is in one voxel is added up, what is outside is counted.

    The box is moved to the source's voxels, by less than half a voxel. A deposit is a row of `voxels`,
    and a step from one corner of its voxel to the other.

    Raises
    ------
    ValueError
        An energy is not finite or negative, or the grid has neither an origin nor a size.
    """
    voxels.check()
    index_3V = np.array((voxels.coord + shift(voxels, box)).T, np.float64, order="C")
    energy_V = voxels.energy.astype(np.float64)
    num_rows = len(voxels)
    return _gather(
        Pieces(np.arange(num_rows), np.zeros(num_rows), np.ones(num_rows), index_3V, np.ones_like(index_3V)),
        list(index_3V),
        energy_V,
        box.num_voxels,
        threshold_mev,
        energy_mev=float(energy_V.sum()),
    )


def shift(voxels: Voxels, box: Box) -> IntArray:
    """Return the voxel of the box (3,) that the grid's voxel (0, 0, 0) is."""
    if voxels.origin_cm is not None:
        return np.rint(box.to_voxel(voxels.origin_cm)).astype(np.int64)
    if voxels.num_voxels is None:
        raise ValueError("the voxels have neither an origin nor a number per side")
    return -((np.asarray(voxels.num_voxels, np.int64) - box.shape) // 2)


def _gather(
    pieces: Pieces,
    position_3D: Sequence[FloatArray],
    energy_D: FloatArray,
    num_voxels: int,
    threshold_mev: float,
    *,
    energy_mev: float,
    active_D: BoolArray | None = None,
) -> Image:
    """Add up pieces with energy, each in the voxel where its position is [voxel units]."""
    inside_D = np.ones(len(energy_D), np.bool_) if active_D is None else active_D
    key_D = np.zeros(len(energy_D), np.int64)
    for along_D in position_3D:
        index_D = np.floor(along_D)
        inside_D &= (index_D >= 0) & (index_D < num_voxels)
        # outside, any number that an integer can hold will do
        key_D = key_D * num_voxels + np.clip(index_D, 0, num_voxels).astype(np.int64)
    key_V, row = number(key_D[inside_D])
    energy_V = np.bincount(row, energy_D[inside_D], len(key_V)).astype(np.float64)
    kept_V = energy_V >= max(threshold_mev, LEAST_MEV)
    voxel_D = np.full(len(energy_D), NONE, np.int64)
    voxel_D[inside_D] = np.where(kept_V, np.cumsum(kept_V) - 1, NONE)[row]
    return Image(
        coord=_coord(key_V[kept_V], num_voxels),
        energy=energy_V[kept_V],
        energy_mev=energy_mev,
        energy_outside_mev=float(energy_D[~inside_D].sum()),
        energy_below_mev=float(energy_V[~kept_V].sum()),
        deposits=Deposits(pieces, voxel_D, inside_D, energy_D),
    )


def _rows_in_voxels(position_S3: FloatArray, box: Box) -> FloatArray:
    """Return positions [cm] in voxel units, one row for each axis."""
    position_3S = np.array(position_S3.T, order="C")
    position_3S -= np.array(box.origin_cm)[:, None]
    position_3S /= box.voxel_size_cm
    return position_3S


def _coord(key_V: IntArray, num_voxels: int) -> IntArray:
    """Return the coordinates (V, 3) of numbered voxels."""
    plane_V, z_V = _divide(key_V, num_voxels)
    return np.stack([*_divide(plane_V, num_voxels), z_V], axis=-1)


def _divide(number_V: IntArray, by: int) -> tuple[IntArray, IntArray]:
    quotient_V = number_V // by  # numpy divides by multiplication here, but not in divmod
    return quotient_V, number_V - quotient_V * by


def _active(position_3D: Sequence[FloatArray], volumes_N23: FloatArray) -> BoolArray:
    """Tell which positions lie in one of the volumes."""
    active_D = np.zeros(len(position_3D[0]), np.bool_)
    for low_3, high_3 in volumes_N23:
        within_D = np.ones_like(active_D)
        for along_D, low, high in zip(position_3D, low_3, high_3, strict=True):
            within_D &= (along_D >= low) & (along_D < high)
        active_D |= within_D
    return active_D


def split(
    begin_3S: FloatArray, delta_3S: FloatArray, num_voxels: int, volumes_N23: FloatArray = NO_VOLUMES
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Cut steps at the planes of the grid: the step of each piece, and its range of the step in [0, 1].

    Only planes of the box cut, so that a step far outside costs nothing. Faces of volumes cut too. Steps
    have two rows of coordinates or three.
    """
    num_steps = begin_3S.shape[1]
    end_3S = begin_3S + delta_3S
    low_3S, high_3S = np.minimum(begin_3S, end_3S), np.maximum(begin_3S, end_3S)
    first_3S = np.clip(np.floor(low_3S) + 1, 0, num_voxels + 1).astype(np.int64)
    last_3S = np.clip(np.ceil(high_3S) - 1, -1, num_voxels).astype(np.int64)
    count = (last_3S - first_3S + 1).ravel()
    crossing_A = np.flatnonzero(count > 0)  # A: axes of steps that are cut
    count_A = count[crossing_A]
    row_C = np.repeat(crossing_A, count_A)
    rank_C = np.arange(len(row_C)) - np.repeat(np.cumsum(count_A) - count_A, count_A)
    plane_C = first_3S.ravel()[row_C] + rank_C
    cut_C = np.clip((plane_C - begin_3S.ravel()[row_C]) / delta_3S.ravel()[row_C], 0.0, 1.0)
    step_C = row_C % max(num_steps, 1)
    if len(volumes_N23):
        step, cut = _cut_at_faces(begin_3S, delta_3S, volumes_N23)
        step_C, cut_C = np.concatenate([step_C, step]), np.concatenate([cut_C, cut])
    return _pieces(step_C, cut_C, num_steps)


def _cut_at_faces(
    begin_3S: FloatArray, delta_3S: FloatArray, volumes_N23: FloatArray
) -> tuple[IntArray, FloatArray]:
    """Return the steps that cross planes of faces of the volumes, and the fractions of them before it."""
    steps, cuts = [np.zeros(0, np.int64)], [np.zeros(0)]
    for begin_S, delta_S, faces in zip(begin_3S, delta_3S, volumes_N23.reshape(-1, 3).T, strict=True):
        for face in np.unique(faces):
            step = np.flatnonzero((begin_S < face) != (begin_S + delta_S < face))
            steps.append(step)
            cuts.append(np.clip((face - begin_S[step]) / delta_S[step], 0.0, 1.0))
    return np.concatenate(steps), np.concatenate(cuts)


def _pieces(step_C: IntArray, cut_C: FloatArray, num_steps: int) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return step, begin and end of the pieces between cuts, which are fractions of their steps."""
    order_C = np.argsort(cut_C)
    order_C = order_C[order_of(step_C[order_C])]
    count_S = np.bincount(step_C, minlength=num_steps) + 1
    head_S = np.cumsum(count_S) - count_S
    step_D = np.repeat(np.arange(num_steps), count_S)
    cut_D = np.ones(len(step_D), np.bool_)
    cut_D[head_S] = False
    from_D = np.zeros(len(step_D))
    from_D[cut_D] = cut_C[order_C]
    to_D = np.ones(len(step_D))
    to_D[:-1] = np.where(cut_D[1:], from_D[1:], 1.0)
    real_D = to_D > from_D  # a step through an edge or a corner crosses two or three planes at once
    return step_D[real_D], from_D[real_D], to_D[real_D]
