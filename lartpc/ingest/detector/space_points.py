"""Space points: 3D points made of the images of wire planes (docs/explanation/projections.md).

What the planes see at the same drift coordinate is matched by geometry: a voxel is a point where in each plane a wire
with charge lies near its centre. The drift coordinate of an image is cut into pixels, that of the box into voxels; a
pixel stands for the layers of voxels whose middle it holds.

Shape suffixes: U pixels, H hits (a wire of one plane with charge in one layer), N points, V voxels with deposits,
P planes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lartpc.config import Wires
from lartpc.event import Columns
from lartpc.geometry import Box
from lartpc.ingest.detector.project import Plane, View
from lartpc.ingest.detector.tomography import (
    Hits,
    WirePlane,
    crossings,
    hits_of,
    plane_hits,
    share_charge,
    with_ghosts,
)
from lartpc.ingest.keys import number, rows_of
from lartpc.ingest.steps import IntArray
from lartpc.ingest.voxelize import Image
from lartpc.vocab import NONE

TRUE_WITHIN = 1.8
"""A point is real if a voxel with deposits is no farther away: it, or one that shares a corner with it [voxel]."""


def space_points(
    views: Sequence[View],
    planes: Sequence[Plane],
    image: Image,
    truth: dict[str, Columns],
    box: Box,
    cfg: Wires,
    dead: Sequence[NDArray[np.bool_]] = (),
) -> tuple[Image, dict[str, Columns]]:
    """Return the image of points that the images of planes give, the truth with rows for the points, and `plane_hit`.

    The charge of each pixel is shared among the points that may have made it (`tomography.share_charge`); that of
    pixels which no other plane explains is lost. A point has the labels of the nearest voxel with deposits, or is a
    ghost. True objects keep what they deposited.

    Parameters
    ----------
    views
        The image by each plane, of which pixels and energies are taken, and no truth.
    planes
        The planes, two or more that cross.
    image
        The image of deposits, with which the points are compared; its sums of energy are kept.
    truth
        Truth products of it, all or a part of `event.TRUTH`.
    dead
        Of each plane which wires of its images see nothing; none: all see. A point on one is seen by the other planes.
    """
    side = box.num_voxels
    wires = [
        WirePlane(plane.axes_33[1, 1:] * (box.voxel_size_cm / cfg.pitch_cm), side, cfg.point_tolerance)
        for plane in planes
    ]
    hits = [_hits(view, plane, box, wire) for view, plane, wire in zip(views, planes, wires, strict=True)]
    if dead:
        hits = [
            replace(one, dead=np.flatnonzero(is_dead) - plane.flat.num_voxels // 2)
            for one, is_dead, plane in zip(hits, dead, planes, strict=True)
        ]
    coord_N3 = crossings(wires, hits, side)
    hit_PN = hits_of(coord_N3, wires, hits)
    energy_N = share_charge(hit_PN, hits, cfg.charge_iterations)
    kept_N = energy_N > 0
    coord_N3, energy_N = coord_N3[kept_N], energy_N[kept_N]
    found = {**truth, "plane_hit": plane_hits([hit_N[kept_N] for hit_N in hit_PN], hits)}
    if "truth_voxel" in truth:
        found["truth_voxel"] = with_ghosts(truth["truth_voxel"], _nearest(coord_N3, image.coord))
    seen_mev = float(energy_N.sum())
    made = replace(
        image,
        coord=coord_N3,
        energy=energy_N,
        deposits=replace(image.deposits, voxel=np.full_like(image.deposits.voxel, NONE)),
        energy_lost_mev=image.energy_mev - image.energy_outside_mev - image.energy_below_mev - seen_mev,
    )
    return made, found


def _hits(view: View, plane: Plane, box: Box, wire: WirePlane) -> Hits:
    """Return the pixels of an image as hits of the layers of voxels that they stand for."""
    pixel_of_layer = np.floor(
        (box.to_cm(np.arange(box.num_voxels)[:, None] + np.zeros(3) + 0.5)[:, 0] - plane.flat.origin_cm[0])
        / plane.flat.pitch_cm[0]
    ).astype(np.int64)
    drift_U, wire_U = view.coord[:, 0], view.coord[:, 1] - plane.flat.num_voxels // 2
    first_U, last_U = (np.searchsorted(pixel_of_layer, drift_U, side) for side in ("left", "right"))
    # pixels shorter than a layer may hold the middle of none, and belong to the one that they lie in
    middle_cm = plane.flat.origin_cm[0] + (drift_U + 0.5) * plane.flat.pitch_cm[0]
    in_layer_U = np.floor((middle_cm - box.origin_cm[0]) / box.voxel_size_cm).astype(np.int64)
    none_U = first_U == last_U
    first_U = np.where(none_U, in_layer_U, first_U)
    num_U = np.where(none_U, (in_layer_U >= 0) & (in_layer_U < box.num_voxels), last_U - first_U)
    pixel_H = np.repeat(np.arange(len(drift_U)), num_U)
    layer_H = first_U[pixel_H] + np.arange(len(pixel_H)) - np.repeat(np.cumsum(num_U) - num_U, num_U)
    charge_H = (view.energy / np.maximum(num_U, 1))[pixel_H]
    near_H = np.abs(wire_U[pixel_H]) < wire.num_wires  # others see nothing of the box
    layer_H, pixel_H, charge_H = layer_H[near_H], pixel_H[near_H], charge_H[near_H]
    key, row_H = number(wire.keys(layer_H, wire_U[pixel_H]))
    x, wire_K = wire.places(key)
    return Hits(key, x, wire_K, np.bincount(row_H, charge_H, len(key)).astype(np.float64))


def _nearest(coord_N3: IntArray, coord_V3: IntArray) -> IntArray:
    """Return the nearest voxel (N,) of each point, NONE where there is none near."""
    from lartpc.lean import cKDTree  # here, so that ingestion starts without scipy

    if not len(coord_N3) or not len(coord_V3):
        return np.full(len(coord_N3), NONE)
    away_N, row_N = cKDTree(coord_V3).query(coord_N3, distance_upper_bound=TRUE_WITHIN)
    exact_N = rows_of(*(_key(coord) for coord in (coord_N3, coord_V3)))
    return np.where(exact_N != NONE, exact_N, np.where(np.isfinite(away_N), row_N, NONE))


def _key(coord_N3: IntArray) -> IntArray:
    return np.asarray((coord_N3[:, 0].astype(np.int64) << 42) + (coord_N3[:, 1] << 21) + coord_N3[:, 2])
