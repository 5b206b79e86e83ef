"""What two particles are to each other: which ends are near, who points at whom, the mass of a pair.

Positions and lengths are in voxel units, energies in MeV. Shape suffixes: V clustered voxels, F particles,
E pairs of particles, S shells around an end.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.event import Columns
from lartpc.kinematics import compiled
from lartpc.kinematics.clusters import Clusters, Floats, Ints, directions, unit
from lartpc.masses import PI_ZERO_MASS_MEV
from lartpc.sparse.build import is_built
from lartpc.vocab import Semantic

SHELLS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Outer radii of the shells around an end in which the energy per length is taken [voxel]."""
END_FEATURES = tuple(f"dedx_{end}_{int(radius)}" for end in ("start", "end") for radius in SHELLS)
"""Names of the columns of `end_features`."""

PAIR_FEATURES = (
    *("one_start_gap", "one_end_gap", "two_start_gap", "two_end_gap"),
    *("start_start", "start_end", "end_start", "end_end"),
    *("one_points_from_start", "one_points_from_end", "two_points_from_start", "two_points_from_end"),
    *("cos_opening", "mass"),
)
"""Names of the columns of `pair_features`."""

SWAPPED = (2, 3, 0, 1, 4, 6, 5, 7, 10, 11, 8, 9, 12, 13)
"""The columns of `pair_features` as seen from the other particle."""


def canonical(columns: Columns, clusters: Clusters) -> tuple[Columns, NDArray[np.bool_]]:
    """Return columns of particles whose tracks begin at the end of lower x (then y, then z), and which turned.

    Of a track only the line counts then, not which end was taken for its start: what looks at it has to find
    that out. Columns are `semantic`, `start_point`, `end_point`, `start_direction`, each (F, ...).
    """
    start, end = columns["start_point"], columns["end_point"]
    turned_F = (columns["semantic"] == Semantic.TRACK) & begins_late(start, end)
    turn = turned_F[:, None]
    first, direction = np.where(turn, end, start), columns["start_direction"].astype(np.float64)
    direction[turned_F] = directions(clusters.only(turned_F), first[turned_F])
    return columns | {
        "start_point": first,
        "end_point": np.where(turn, start, end),
        "start_direction": direction.astype(np.float32),
    }, turned_F


def begins_late(start_F3: NDArray[np.floating], end_F3: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Tell where (F,) the end comes before the start: it is of lower x, or of equal x and lower y, or so for z."""
    axis_F, row_F = (start_F3 != end_F3).argmax(axis=1), np.arange(len(start_F3))
    late_F: NDArray[np.bool_] = start_F3[row_F, axis_F] > end_F3[row_F, axis_F]
    return late_F


def end_features(clusters: Clusters, columns: Columns) -> NDArray[np.float32]:
    """Return the energy per length (F, 2 S) in shells around the start and around the end of particles.

    A stopping track shows its Bragg peak in them, and the start of a shower whether it is one electron or two.
    """
    found = [_shells(clusters, columns[name].astype(np.float64)) for name in ("start_point", "end_point")]
    return np.concatenate(found, axis=1).astype(np.float32)


def _shells(clusters: Clusters, at_F: Floats) -> Floats:
    """Return the energy per thickness (F, S) of the shells around a place of each particle [MeV/voxel]."""
    if is_built():
        return compiled.shells(clusters, at_F, SHELLS)[0][:, :-1] / np.diff(SHELLS, prepend=0.0)
    shell_V = np.searchsorted(SHELLS, clusters.distance(at_F))
    num = len(SHELLS) + 1
    energy_FS = np.bincount(
        clusters.label_V * num + shell_V, clusters.energy_V, clusters.num_clusters * num
    ).reshape(-1, num)[:, :-1]
    return energy_FS / np.diff(SHELLS, prepend=0.0)


def pair_features(columns: Columns, pair_E2: Ints, one_E3: Floats, two_E3: Floats) -> NDArray[np.float32]:
    """Return the features (E, len(PAIR_FEATURES)) of pairs of particles, of order one.

    They are the distances of both ends to the place of closest approach, those between the ends, the cosines
    between the direction of one at its start and the way to it from the ends of the other, the cosine of the
    opening angle, and the invariant mass of the two as photons over that of a π⁰. Distances are logarithms.

    Parameters
    ----------
    columns
        Columns of particles: `start_point`, `end_point`, `start_direction`, `energy`.
    pair_E2
        Pairs (E, 2) of particles.
    one_E3, two_E3
        Nearest voxels (E, 3) of the two.
    """
    start, end, direction = (
        columns[name].astype(np.float64)[pair_E2] for name in ("start_point", "end_point", "start_direction")
    )
    energy = columns["energy"].astype(np.float64)[pair_E2]
    near = np.stack([one_E3, two_E3], axis=1)
    gap = [_log_length(near[:, i] - place[:, i]) for i in (0, 1) for place in (start, end)]
    between = [_log_length(a[:, 0] - b[:, 1]) for a in (start, end) for b in (start, end)]
    points = [
        np.einsum("ei,ei->e", direction[:, i], unit(start[:, i] - place[:, 1 - i]))
        for i in (0, 1)
        for place in (start, end)
    ]
    cosine = np.einsum("ei,ei->e", direction[:, 0], direction[:, 1])
    mass = pair_mass_mev(energy[:, 0], energy[:, 1], cosine) / PI_ZERO_MASS_MEV
    return np.stack([*gap, *between, *points, cosine, np.minimum(mass, 5.0)], axis=1).astype(np.float32)


def pair_mass_mev(one_mev: NDArray[Any], two_mev: NDArray[Any], cosine: NDArray[Any]) -> Floats:
    """Return the invariant mass [MeV] of two photons of given energies and cosine of their opening angle."""
    mass: Floats = np.sqrt(np.maximum(2.0 * one_mev * two_mev * (1.0 - cosine), 0.0))
    return mass


def _log_length(delta: Floats) -> Floats:
    found: Floats = np.log1p(np.linalg.norm(delta, axis=1)) / 5.0
    return found
