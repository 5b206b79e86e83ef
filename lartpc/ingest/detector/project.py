"""Views of an event by planes of wires: the 3D image and its truth, projected (docs/explanation/projections.md).

The wires of a plane run across the drift, which is along x, at an angle to the vertical y. A plane sees of
a point its drift coordinate x and where it lies across the wires; along the wires everything adds up.

Shape suffixes: V voxels, D deposits (pieces of steps, each in one voxel), Q pieces of deposits, each in one
pixel, U pixels, L labels (each the classes and owners that some voxels have), M pairs of a pixel and a label.
Points stand as rows, one for each axis (`_3D`, `_2D`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lartpc.config import Ingest
from lartpc.event import GENERATED, Columns
from lartpc.geometry import Box
from lartpc.ingest.detector.readout import WireReadout, nearest_on_wire
from lartpc.ingest.detector.response import drift_velocity_cm_us
from lartpc.ingest.detector.tomography import with_ghosts
from lartpc.ingest.keys import number
from lartpc.ingest.steps import FloatArray, IntArray
from lartpc.ingest.voxelize import LEAST_MEV, Image, split
from lartpc.vocab import NONE

POSITIONS = ("start_point", "end_point", "vertex", "position")

PARTS = 4
"""A voxel of a source of voxels is cut into so many parts along each axis, which then are points."""

OWNERS = ("fragment", "particle", "interaction")


@dataclass(frozen=True)
class View:
    """The image of an event by one plane: pixels `coord` (U, 3), the third index 0, and `energy` (U,) [MeV].

    The energies add up as those of `voxelize.Image`: what is outside is outside of either image, and what
    is below is below either threshold.
    """

    coord: IntArray
    energy: FloatArray
    energy_mev: float
    energy_outside_mev: float
    energy_below_mev: float
    energy_lost_mev: float
    truth: dict[str, Columns]


class Plane:
    """A plane of wires before a 3D box.

    Parameters
    ----------
    angle_deg
        Angle of the wires to y, towards z [deg].
    box
        The imaged box. The wire through its centre has the coordinate 0.
    flat
        The box of the plane's images; see `flat_box`.
    """

    def __init__(self, angle_deg: float, box: Box, flat: Box) -> None:
        angle = np.deg2rad(angle_deg)
        # Rows: drift, across the wires, along the wires.
        self.axes_33 = np.array(
            [[1, 0, 0], [0, -np.sin(angle), np.cos(angle)], [0, np.cos(angle), np.sin(angle)]]
        )
        self.box, self.flat = box, flat
        centre_cm = np.asarray(box.origin_cm) + 0.5 * box.size_cm
        centre_cm[0] = 0.0  # the drift coordinate stays that of the detector
        self._centre_cm = centre_cm

    def see(self, position: ArrayLike) -> FloatArray:
        """Turn positions (N, 3) in voxel units of the 3D box into such of the flat box (N, 3)."""
        seen_N3 = (self.box.to_cm(np.reshape(position, (-1, 3))) - self._centre_cm) @ self.axes_33.T
        pixel_N3 = self.flat.to_voxel(seen_N3)
        pixel_N3[:, 2] = 0.5
        return pixel_N3

    def turn(self, vector: ArrayLike) -> FloatArray:
        """Return vectors (N, 3) along the axes of the plane: drift, across and along the wires."""
        turned: FloatArray = np.asarray(vector, np.float64) @ self.axes_33.T
        return turned


def flat_box(box: Box, cfg: Ingest) -> Box:
    """Return the box of the images that the configured planes have of a 3D box: one for all of them."""
    wires, response = cfg.wires, cfg.response
    velocity = wires.drift_velocity_cm_us or drift_velocity_cm_us(
        response.field_kv_cm, response.temperature_k
    )
    drift_cm = box.origin_cm[0] + 0.5 * box.size_cm
    return Box.flat(
        drift_cm, wires.tick_us * wires.ticks_per_pixel * velocity, wires.pitch_cm, wires.num_pixels
    )


def project(
    image: Image,
    truth: Mapping[str, Columns],
    plane: Plane,
    threshold_mev: float,
    *,
    is_grid: bool,
    wires: WireReadout | None = None,
) -> View:
    """Return the view of an event by one plane.

    The energy of each voxel goes to the pixels that its deposits are seen in, in proportion. A pixel has the
    class and the particle that most of its energy is of, and of that particle's fragments the one with most.
    Objects without pixels are left out; of the others, pixels and energies are counted again, and positions
    and momenta are those that the plane sees.

    Parameters
    ----------
    truth
        Truth products of the 3D image, all or a part of `event.TRUTH`.
    threshold_mev
        Pixels with less are dropped, and their energy is counted.
    is_grid
        The image was made of voxels, not of steps: the energy of a voxel is all over it.
    wires
        How the plane is read out; None: energies are those that arrive. A pixel that is seen has the labels of the
        nearest one of its wire with energy, or is one that no deposit made.
    """
    ticks = wires.ticks_per_pixel if wires else 1
    voxel_Q, energy_Q, pixel_2Q = _grid(image, plane) if is_grid else _deposits(image, plane, ticks)
    side = plane.flat.num_voxels
    index_2Q = np.floor(pixel_2Q)
    inside_Q = ((index_2Q >= 0) & (index_2Q < side)).all(axis=0)
    index_2Q = index_2Q[:, inside_Q].astype(np.int64)
    key_U, pixel_Q = number(index_2Q[0] * side + index_2Q[1])
    energy_U = np.bincount(pixel_Q, energy_Q[inside_Q], len(key_U)).astype(np.float64)
    kept_U = energy_U >= max(threshold_mev, LEAST_MEV)
    coord_U3 = np.stack([key_U // side, key_U % side, np.zeros_like(key_U)], axis=-1)[kept_U]
    view = View(
        coord_U3,
        energy_U[kept_U],
        image.energy_mev,
        image.energy_outside_mev + float(energy_Q[~inside_Q].sum()),
        image.energy_below_mev + float(energy_U[~kept_U].sum()),
        image.energy_lost_mev,
        {},
    )
    if wires:
        tick_Q = np.floor(pixel_2Q[0][inside_Q] * ticks).astype(np.int64)
        seen = wires.read(tick_Q, index_2Q[1], energy_Q[inside_Q], threshold_mev)
        view = replace(
            view,
            coord=seen.coord,
            energy=seen.energy,
            energy_below_mev=image.energy_below_mev,
            energy_lost_mev=image.energy_lost_mev + float(energy_U.sum() - seen.energy.sum()),
        )
        kept_U = energy_U > 0
    if not truth:
        return view
    row_U = np.where(kept_U, np.cumsum(kept_U) - 1, NONE)
    row_Q = row_U[pixel_Q]
    seen_Q = row_Q != NONE
    label_U = _labels(
        truth["truth_voxel"],
        row_Q[seen_Q],
        voxel_Q[inside_Q][seen_Q],
        energy_Q[inside_Q][seen_Q],
        int(np.count_nonzero(kept_U)),
    )
    if wires:
        label_U = with_ghosts(label_U, nearest_on_wire(view.coord, key_U[kept_U], side))
    return replace(view, truth=_truth(truth, label_U, view.energy, plane))


def _deposits(image: Image, plane: Plane, ticks: int) -> tuple[IntArray, FloatArray, FloatArray]:
    """Cut deposits where they go from pixel to pixel; return the voxel, energy and middle of the pieces.

    Along the drift pixels are cut into ticks.
    """
    deposits = image.deposits
    row_D = np.flatnonzero(deposits.voxel != NONE)
    voxel_D = deposits.voxel[row_D]
    pieces = deposits.pieces
    begin_2D = plane.see(pieces.points(row_D, pieces.begin[row_D]))[:, :2].T.copy()
    delta_2D = plane.see(pieces.points(row_D, pieces.end[row_D]))[:, :2].T - begin_2D
    fine_2D = np.array([[ticks], [1]])
    deposit_Q, from_Q, to_Q = split(begin_2D * fine_2D, delta_2D * fine_2D, ticks * plane.flat.num_voxels)
    # The response may have changed the energy of a voxel since.
    scale_V = image.energy / np.bincount(voxel_D, deposits.energy[row_D], len(image.energy))
    energy_D = deposits.energy[row_D] * scale_V[voxel_D]
    middle_2Q = begin_2D[:, deposit_Q] + 0.5 * (from_Q + to_Q) * delta_2D[:, deposit_Q]
    return voxel_D[deposit_Q], energy_D[deposit_Q] * (to_Q - from_Q), middle_2Q


def _grid(image: Image, plane: Plane) -> tuple[IntArray, FloatArray, FloatArray]:
    """Cut voxels into points that fill them; return the voxel, energy and position of each."""
    offset_N3 = (np.indices((PARTS, PARTS, PARTS)).reshape(3, -1).T + 0.5) / PARTS
    position_Q3 = (image.coord[:, None] + offset_N3).reshape(-1, 3)
    voxel_Q = np.repeat(np.arange(len(image.energy)), len(offset_N3))
    return voxel_Q, image.energy[voxel_Q] / len(offset_N3), plane.see(position_Q3)[:, :2].T


def _labels(voxel: Columns, pixel_Q: IntArray, voxel_Q: IntArray, energy_Q: FloatArray, num: int) -> Columns:
    """Choose the labels of each pixel: of the class and particle with most energy, its largest fragment."""
    names = list(voxel)
    label_L, label_V = np.unique(
        np.stack([np.asarray(voxel[name], np.int64) for name in names], axis=-1), axis=0, return_inverse=True
    )
    key_M, pair_Q = number(pixel_Q * max(len(label_L), 1) + label_V.ravel()[voxel_Q])
    energy_M = np.bincount(pair_Q, energy_Q, len(key_M))
    pixel_M, row_M = np.divmod(key_M, max(len(label_L), 1))
    _, group_L = np.unique(
        label_L[:, [names.index("particle"), names.index("semantic")]], axis=0, return_inverse=True
    )
    key_G, group_M = number(pixel_M * max(len(label_L), 1) + group_L.ravel()[row_M])
    of_group_M = np.bincount(group_M, energy_M, len(key_G))[group_M]
    order = np.lexsort((row_M, -energy_M, -of_group_M, pixel_M))
    pixel, first = np.unique(pixel_M[order], return_index=True)
    assert len(pixel) == num, "a pixel without deposits"
    chosen_U3 = label_L[row_M[order[first]]]
    return {name: chosen_U3[:, column] for column, name in enumerate(names)}


def _truth(
    truth: Mapping[str, Columns], label_U: Columns, energy_U: FloatArray, plane: Plane
) -> dict[str, Columns]:
    """Return the truth products of a view: objects with pixels, as the plane sees them."""
    made: dict[str, Columns] = {"truth_voxel": dict(label_U)}
    row_of: dict[str, IntArray] = {}
    for owner in OWNERS:
        if f"truth_{owner}" not in truth:
            continue
        table = truth[f"truth_{owner}"]
        num = len(next(iter(table.values())))
        kept = np.unique(label_U[owner][label_U[owner] != NONE])
        row_of[owner] = np.full(num + 1, NONE)  # the last one is for NONE
        row_of[owner][kept] = np.arange(len(kept))
        made["truth_voxel"][owner] = row_U = row_of[owner][label_U[owner]]
        seen_U = row_U != NONE
        counted: Columns = {"energy": np.bincount(row_U[seen_U], energy_U[seen_U], len(kept))}
        if "num_voxels" in table:
            counted["num_voxels"] = np.bincount(row_U[seen_U], minlength=len(kept))
        made[f"truth_{owner}"] = {name: np.asarray(value)[kept] for name, value in table.items()} | counted
    if "truth_point" in truth:
        made["truth_point"] = _points(truth["truth_point"], row_of.get("particle"), plane)
    for name in made.keys() - {"truth_voxel"}:
        made[name] = _seen(made[name], plane)
        for owner in made[name].keys() & row_of.keys():
            if name != "truth_point":
                made[name][owner] = row_of[owner][made[name][owner]]
    for name in truth.keys() & set(GENERATED):
        # the generator's record is of the detector, not of a view
        interaction = np.asarray(truth[name]["interaction"], np.int64)
        made[name] = truth[name] | {"interaction": row_of.get("interaction", np.full(1, NONE))[interaction]}
    if {"truth_interaction", "truth_particle"} <= made.keys():
        made["truth_interaction"] |= _count_particles(made["truth_interaction"], made["truth_particle"])
    return made


def _seen(table: Columns, plane: Plane) -> Columns:
    """Return a table with its positions and momenta as the plane sees them."""
    seen = {name: plane.see(table[name]) for name in table.keys() & set(POSITIONS)}
    if "momentum" in table:
        seen["momentum"] = plane.turn(table["momentum"])
    return table | seen


def _points(table: Columns, row_of: IntArray | None, plane: Plane) -> Columns:
    """Keep the points in the image whose particle has pixels, or that have no particle."""
    particle = np.asarray(table["particle"], np.int64)
    kept: NDArray[Any] = plane.flat.contains(plane.see(table["position"]))
    found = {name: np.asarray(value) for name, value in table.items()}
    if row_of is not None:
        found["particle"] = row_of[particle]
        kept &= (particle == NONE) | (found["particle"] != NONE)
    return {name: value[kept] for name, value in found.items()}


def _count_particles(interaction: Columns, particle: Columns) -> Columns:
    """Count the particles of each interaction that have pixels, and primaries where they are known."""
    owner = np.asarray(particle["interaction"], np.int64)
    num = len(interaction["num_particles"])
    primary = owner[(owner != NONE) & (np.asarray(particle["is_primary"]) == 1)]
    known = np.asarray(interaction["num_primaries"]) != NONE
    return {
        "num_particles": np.bincount(owner[owner != NONE], minlength=num),
        "num_primaries": np.where(known, np.bincount(primary, minlength=num), NONE),
    }
