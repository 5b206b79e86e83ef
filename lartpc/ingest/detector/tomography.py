"""3D points from planes of wires, with the ghosts that this brings: see docs/explanation/ghosts.md.

A plane sees of a deposit the time of its charge (here: the voxel along x) and the wire that it lies
nearest to. A voxel is a point of the reconstruction if in each plane a wire within half a pitch of its
centre has charge at its time. All voxels with deposits are; the others are ghosts.

Shape suffixes: V voxels with deposits, N points of the reconstruction, P planes, H hits (a wire of one
plane with charge at one time), M pairs of hits in the first two planes at one time, O offsets.
"""

from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lartpc.config import Tomography
from lartpc.event import Columns, empty
from lartpc.geometry import Box
from lartpc.ingest.keys import rows_of
from lartpc.ingest.steps import FloatArray, IntArray
from lartpc.ingest.voxelize import Image
from lartpc.vocab import GHOST, MAX_PLANES, NONE

TINY = float(np.finfo(np.float64).tiny)

MAX_PAIRS = 500_000
"""Pairs of hits that are looked at together, but for a single time with more."""


@dataclass(frozen=True)
class WirePlane:
    """A plane: its wires run at an angle to y, and the centre of the box lies halfway between -1 and 0.

    Wire w is nearest to what lies between w and w + 1 across the wires. `across_2` has the components y and z
    of the direction across the wires, over the pitch [1/voxel]. A wire may stand for voxels whose centres lie
    outside of its reach by up to `tolerance` [pitch], if the nearest wire has no charge.
    """

    across_2: FloatArray
    num_voxels: int
    tolerance: float = 0.0

    @property
    def num_wires(self) -> int:
        """Bound on the number of wires on either side of the centre."""
        return int(np.abs(self.across_2).sum() * self.num_voxels) + 2

    def wires(self, yz_N2: NDArray[np.integer], shift: float = 0.0) -> IntArray:
        """Return the wire nearest to the centres of voxels (N,), if these are moved across the wires [pitch]."""
        centre_N2 = yz_N2 + 0.5 - 0.5 * self.num_voxels
        return np.floor(centre_N2 @ self.across_2 + shift).astype(np.int64)

    def keys(self, x_N: NDArray[np.integer], wire_N: IntArray) -> IntArray:
        """Return a number (N,) for each wire at each time, ascending with the time."""
        key_N: IntArray = x_N.astype(np.int64) * (2 * self.num_wires + 1) + wire_N + self.num_wires
        return key_N

    def places(self, key_N: IntArray) -> tuple[IntArray, IntArray]:
        """Return the time (N,) and the wire (N,) of keys."""
        x_N, wire_N = np.divmod(key_N, 2 * self.num_wires + 1)
        return x_N, wire_N - self.num_wires

    def hit_of(self, coord_N3: NDArray[np.integer], hits: "Hits") -> IntArray:
        """Return the row of the hit that sees a voxel (N,): of the nearest wire, or within the tolerance; or NONE."""
        hit_N = rows_of(self.keys(coord_N3[:, 0], self.wires(coord_N3[:, 1:])), hits.key)
        for shift in (-self.tolerance, self.tolerance) if self.tolerance else ():
            other_N = rows_of(self.keys(coord_N3[:, 0], self.wires(coord_N3[:, 1:], shift)), hits.key)
            hit_N = np.where(hit_N == NONE, other_N, hit_N)
        return hit_N


@dataclass(frozen=True)
class Hits:
    """The hits of a plane, sorted by key: time (H,), wire (H,), charge (H,) [MeV]; and its wires that see nothing."""

    key: IntArray
    x: IntArray
    wire: IntArray
    charge: FloatArray
    dead: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))


def reconstruct(
    image: Image, truth: dict[str, Columns], box: Box, cfg: Tomography
) -> tuple[Image, dict[str, Columns]]:
    """Return the image that planes of wires give of another one, and the truth with rows for the ghosts.

    The charge of each hit is shared among the points that may have made it, such that all planes are
    explained (`cfg.charge_iterations` of maximum-likelihood expectation maximisation, Shepp and Vardi,
    IEEE Trans. Med. Imaging 1 (1982) 113): all energy stays in the image, and some of it goes to ghosts.
    Ghosts have the class GHOST and belong to nothing. True objects keep what they deposited. With the truth comes
    `plane_hit`, what the planes see of each point.
    """
    if not len(image.energy):
        return image, {**truth, "plane_hit": empty("plane_hit")}
    pitch_voxel = cfg.pitch_cm / box.voxel_size_cm
    planes = [
        WirePlane(np.array([-np.sin(angle), np.cos(angle)]) / pitch_voxel, box.num_voxels)
        for angle in np.deg2rad(cfg.angles_deg)
    ]
    hits = [_see(image, plane) for plane in planes]
    coord_N3 = crossings(planes, hits, box.num_voxels)
    key_N, key_V = (_number(coord, box.num_voxels) for coord in (coord_N3, image.coord))
    origin_N = rows_of(key_N, key_V)
    row_V = rows_of(key_V, key_N)
    assert (row_V != NONE).all(), "a deposit that the planes do not see"
    found = {
        **truth,
        **({"truth_voxel": with_ghosts(truth["truth_voxel"], origin_N)} if "truth_voxel" in truth else {}),
    }
    deposits = replace(image.deposits, voxel=np.append(row_V, NONE)[image.deposits.voxel])
    hit_PN = hits_of(coord_N3, planes, hits)
    found["plane_hit"] = plane_hits(hit_PN, hits)
    energy_N = share_charge(hit_PN, hits, cfg.charge_iterations)
    return replace(image, coord=coord_N3, energy=energy_N, deposits=deposits), found


def _see(image: Image, plane: WirePlane) -> Hits:
    """Sum the charge of an image on the wires of a plane, time by time."""
    x_V, wire_V = image.coord[:, 0], plane.wires(image.coord[:, 1:])
    key_H, first_H, hit_V = np.unique(plane.keys(x_V, wire_V), return_index=True, return_inverse=True)
    return Hits(key_H, x_V[first_H], wire_V[first_H], np.bincount(hit_V, image.energy).astype(np.float64))


def crossings(planes: list[WirePlane], hits: list[Hits], num_voxels: int) -> IntArray:
    """Return all voxels (N, 3) that hits of all planes agree on, sorted with x slowest.

    Hits of the first two planes at the same time cross in a parallelogram; the voxels whose centres lie in
    it are looked for in the other planes. The cost grows with such pairs, not with the volume. Dead wires agree with
    everything, as long as two planes have hits: then each two planes are crossed.
    """
    pairs = [(0, 1)]
    if any(len(seen.dead) for seen in hits):
        pairs = list(combinations(range(len(planes)), 2))
    keys = [_cross(planes, hits, num_voxels, pair) for pair in pairs]
    # each voxel is found once of a pair, from the hits that see it
    key_N = np.sort(keys[0]) if len(keys) == 1 else np.unique(np.concatenate(keys))
    x_N, yz_N = np.divmod(key_N, num_voxels**2)
    return np.column_stack([x_N, *np.divmod(yz_N, num_voxels)])


def _cross(planes: list[WirePlane], hits: list[Hits], num_voxels: int, pair: tuple[int, int]) -> IntArray:
    """Return the numbers (N,) of the voxels that hits of two planes see, and the others too where they are not dead."""
    one, two = (hits[number] for number in pair)
    to_yz_22 = np.linalg.inv(np.stack([planes[number].across_2 for number in pair]))
    wide_2 = np.array([0.5 + planes[number].tolerance for number in pair])
    reach_2 = np.floor(np.abs(to_yz_22) @ wide_2 + 0.5 + 1e-9).astype(np.int64)
    offset_O2 = np.stack(
        np.meshgrid(*(np.arange(-reach, reach + 1) for reach in reach_2), indexing="ij"), axis=-1
    ).reshape(-1, 2)
    # Hits of plane two at the time of each hit of plane one.
    first_H, last_H = (np.searchsorted(two.x, one.x, side) for side in ("left", "right"))
    num_H = last_H - first_H
    part_H = num_H.cumsum() // MAX_PAIRS
    found = [np.zeros(0, np.int64)]
    for part in np.unique(part_H):
        row = np.flatnonzero(part_H == part)
        one_M = np.repeat(row, num_H[row])
        rank_M = np.arange(len(one_M)) - np.repeat(num_H[row].cumsum() - num_H[row], num_H[row])
        two_M = first_H[one_M] + rank_M
        crossing_M2 = (np.stack([one.wire[one_M], two.wire[two_M]], axis=1) + 0.5) @ to_yz_22.T
        voxel_M2 = np.floor(crossing_M2 + 0.5 * num_voxels).astype(np.int64)
        x_M = one.x[one_M]
        for offset_2 in offset_O2:
            yz_M2 = voxel_M2 + offset_2
            kept_M = ((yz_M2 >= 0) & (yz_M2 < num_voxels)).all(axis=1)
            coord_N3 = np.column_stack([x_M[kept_M], yz_M2[kept_M]])
            for number, (plane, seen) in enumerate(zip(planes, hits, strict=True)):
                hit_N = plane.hit_of(coord_N3, seen)
                agrees_N = hit_N != NONE
                if number in pair:
                    agrees_N &= hit_N == (one_M, two_M)[pair.index(number)][kept_M]
                elif len(seen.dead):
                    agrees_N |= np.isin(plane.wires(coord_N3[:, 1:]), seen.dead)
                kept_M[kept_M] = agrees_N
                coord_N3 = coord_N3[agrees_N]
            found.append(_number(coord_N3, num_voxels))
    return np.concatenate(found)


def hits_of(coord_N3: IntArray, planes: list[WirePlane], hits: list[Hits]) -> list[IntArray]:
    """Return the row of the hit of each plane that sees each point (N,), NONE where a plane does not see it."""
    return [plane.hit_of(coord_N3, seen) for plane, seen in zip(planes, hits, strict=True)]


def plane_hits(hit_PN: list[IntArray], hits: list[Hits]) -> Columns:
    """Return the product `plane_hit` of points, of the first MAX_PLANES planes."""
    found = empty("plane_hit", len(hit_PN[0]))
    for plane, (hit_N, seen) in enumerate(zip(hit_PN[:MAX_PLANES], hits, strict=False)):
        seen_N = hit_N != NONE
        row_N = hit_N[seen_N]
        found["charge"][seen_N, plane] = seen.charge[row_N]
        found["wire"][seen_N, plane] = seen.wire[row_N]
        found["num_points"][seen_N, plane] = np.bincount(row_N, minlength=len(seen.charge))[row_N]
    return found


def share_charge(hit_PN: list[IntArray], hits: list[Hits], num_iterations: int) -> FloatArray:
    """Return the charge of points (N,) [MeV], from equal ones on.

    Where each hit has a point, their sum is that of the hits of a plane, or the mean of planes; the charge of hits
    without one is lost. A point is explained by the planes that see it.
    """
    num_N = np.sum([hit_N != NONE for hit_N in hit_PN], axis=0)
    # the last row is for points that the plane does not see
    row_PN = [
        np.where(hit_N == NONE, len(seen.charge), hit_N) for hit_N, seen in zip(hit_PN, hits, strict=True)
    ]
    charge_N: FloatArray = np.ones(len(num_N))
    for _ in range(num_iterations):
        ratio_N = np.zeros(len(num_N))
        for row_N, seen in zip(row_PN, hits, strict=True):
            sum_H = np.bincount(row_N, charge_N, len(seen.charge) + 1).astype(np.float64)[:-1]
            ratio_H = np.divide(seen.charge, sum_H, out=np.zeros_like(sum_H), where=sum_H > TINY)
            ratio_N += np.append(ratio_H, 0.0)[row_N]
        charge_N = charge_N * ratio_N / num_N
    return charge_N


def with_ghosts(labels_V: Columns, origin_N: IntArray) -> Columns:
    """Return the labels of points, each of the voxel that it is or of a ghost."""
    real_N = origin_N != NONE
    labels_N: Columns = {}
    for name, value_V in labels_V.items():
        labels_N[name] = np.full(len(origin_N), GHOST if name == "semantic" else NONE, value_V.dtype)
        labels_N[name][real_N] = value_V[origin_N[real_N]]
    return labels_N


def _number(coord_N3: IntArray, num_voxels: int) -> IntArray:
    return (coord_N3[:, 0].astype(np.int64) * num_voxels + coord_N3[:, 1]) * num_voxels + coord_N3[:, 2]
