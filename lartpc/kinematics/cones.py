"""Fragments to particles by rules: who lies in whose cone, and what almost touches. Nothing is learned.

Positions and lengths are in voxel units. Shape suffixes: F fragments, E pairs of fragments, D directed pairs.
"""

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.event import Columns
from lartpc.kinematics.clusters import Floats, Ints, unit
from lartpc.lean import connected_components, coo_array
from lartpc.vocab import Semantic


def group_by_cones(
    columns: Columns, pairs: Ints, one_E3: Floats, two_E3: Floats, cfg: config.Cones
) -> tuple[Ints, NDArray[np.float32]]:
    """Group fragments into particles by cones and distances, the way it was done before networks.

    Of two fragments that can be of one particle (the edges of the graph), the one with less energy goes to
    the other if it starts in that one's cone (`angle_rad` around its direction, up to `length` from its
    start), or if the gap between them is at most `gap`. Of several it goes to that which it is nearest to
    in angle, of those that it only almost touches to the nearest. Tracks have no cone: two of them are one if
    they almost touch and run within `kink_rad` of one line.

    Parameters
    ----------
    columns
        Columns of fragments: `semantic`, `energy`, `start_point`, `end_point`, `start_direction`.
    pairs
        Pairs (E, 2) of fragments.
    one_E3, two_E3
        Nearest voxels (E, 3) of the two.

    Returns
    -------
    particle_F, primary_F
        Particle of each fragment, numbered in order of the first fragment, and 1 for the fragment of each that
        went to no other, 0 for the rest.
    """
    num = len(columns["semantic"])
    energy_F = columns["energy"].astype(np.float64)
    # Of equal energies the first fragment is the parent, so that nobody is its own ancestor.
    turn_E = energy_F[pairs[:, 0]] < energy_F[pairs[:, 1]]
    parent_E = np.where(turn_E, pairs[:, 1], pairs[:, 0])
    child_E = np.where(turn_E, pairs[:, 0], pairs[:, 1])
    gap_E = np.linalg.norm(two_E3 - one_E3, axis=1)
    start_F3, end_F3 = (columns[name].astype(np.float64) for name in ("start_point", "end_point"))
    way_E3 = start_F3[child_E] - start_F3[parent_E]
    angle_E = _angle(columns["start_direction"].astype(np.float64)[parent_E], way_E3)
    is_track_E = columns["semantic"][parent_E] == Semantic.TRACK
    line_F3 = end_F3 - start_F3
    kink_E = _angle(line_F3[parent_E], line_F3[child_E])
    touches_E = gap_E <= cfg.gap
    in_cone_E = (angle_E <= cfg.angle_rad) & (np.linalg.norm(way_E3, axis=1) <= cfg.length) & ~is_track_E
    straight_E = np.minimum(kink_E, np.pi - kink_E) <= cfg.kink_rad
    joined = np.flatnonzero(np.where(is_track_E, touches_E & straight_E, in_cone_E | touches_E))
    # What lies in a cone comes first, then what only touches.
    rank = np.where(in_cone_E[joined], angle_E[joined], np.pi + gap_E[joined])
    order = joined[np.lexsort((rank, child_E[joined]))]
    child, first = np.unique(child_E[order], return_index=True)
    parent = parent_E[order[first]]
    links = coo_array((np.ones(len(child)), (child, parent)), shape=(num, num))
    _, particle_F = connected_components(links, directed=False)
    primary_F = np.ones(num, np.float32)
    primary_F[child] = 0.0
    return np.asarray(particle_F, np.int64), primary_F


def _angle(one: Floats, two: Floats) -> Floats:
    """Return the angle between vectors (E, 3) [rad]; that to a vector without length is a right one."""
    cosine = np.einsum("ei,ei->e", unit(one), unit(two))
    angle: Floats = np.arccos(np.clip(cosine, -1.0, 1.0))
    return angle
