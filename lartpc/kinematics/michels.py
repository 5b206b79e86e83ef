"""Which particles called Michel can be such: by what they deposit, and by their size.

Positions and lengths are in voxel units, energies in MeV. Shape suffixes: V voxels, F fragments, A particles,
K classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.event import Columns
from lartpc.kinematics.clusters import Floats, Ints
from lartpc.vocab import NONE, Semantic

MOST_MEV = 60.0
"""No Michel electron deposits more: the spectrum ends at 52.8 MeV, and what a nucleus adds is below [MeV]."""
FEWEST_VOXELS = 5
"""A smaller piece called Michel is mostly the end of a track (8 of 10 on 1,500 events)."""
TOUCH = 2.0
"""Voxels nearer than this touch [voxel]."""


def regroup(
    fragment: Columns, particle_F: Ints, first_A: Ints, label_V: Ints, coord_V3: NDArray[np.integer]
) -> Ints:
    """Return the particle (F,) of each fragment, numbered anew, where what is no Michel was grouped as one.

    Where a particle begins as a Michel and deposits more than one can, its Michel fragments are apart from the
    others. A Michel of one fragment and few voxels that touches a track is of the track.

    Parameters
    ----------
    fragment
        Columns `semantic`, `energy`, `num_voxels` of the fragments.
    first_A
        The first fragment of each particle.
    label_V
        The fragment of each voxel, negative for none.
    """
    is_michel_F = fragment["semantic"] == Semantic.MICHEL
    count_A = np.bincount(particle_F)
    alone_F, begins_A = count_A[particle_F] == 1, is_michel_F[first_A]
    too_much_A = begins_A & (np.bincount(particle_F, fragment["energy"]) > MOST_MEV)
    particle_F = particle_F + len(count_A) * (is_michel_F & too_much_A[particle_F])
    is_small_F = is_michel_F & (fragment["num_voxels"] < FEWEST_VOXELS) & alone_F
    host_F = _touched(is_small_F, fragment["semantic"] == Semantic.TRACK, label_V, coord_V3)
    joined = np.flatnonzero(host_F >= 0)
    particle_F[joined] = particle_F[host_F[joined]]
    found: Ints = np.unique(particle_F, return_inverse=True)[1].astype(np.int64)
    return found


def _touched(
    wanted_F: NDArray[np.bool_], host_F: NDArray[np.bool_], label_V: Ints, coord_V3: NDArray[np.integer]
) -> Ints:
    """Return the nearest of some fragments (F,) that each wanted fragment touches; -1: none."""
    from lartpc.lean import cKDTree  # here, so that ingestion starts without scipy

    out_F = np.full(len(wanted_F), NONE, np.int64)
    near_V, far_V = (np.flatnonzero(np.append(of, False)[label_V]) for of in (wanted_F, host_F))
    if not len(near_V) or not len(far_V):
        return out_F
    away, nearest = cKDTree(coord_V3[far_V]).query(coord_V3[near_V], distance_upper_bound=TOUCH)
    order = np.argsort(-away, kind="stable")
    order = order[np.isfinite(away[order])]
    # the last to be written is the nearest
    out_F[label_V[near_V[order]]] = label_V[far_V[nearest[order]]]
    return out_F


def can_be(energy_A: NDArray[Any], num_voxels_A: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which particles (A,) can be Michels by their energy [MeV] and voxels."""
    found: NDArray[np.bool_] = (energy_A <= MOST_MEV) & (num_voxels_A >= FEWEST_VOXELS)
    return found


def decide(
    semantic_A: NDArray[Any], share_AK: Floats, energy_A: NDArray[Any], num_voxels_A: NDArray[Any]
) -> Ints:
    """Return the class (A,) of particles, where those that cannot be Michels are of the class that scores most beside.

    Parameters
    ----------
    share_AK
        Shares of the class scores over the voxels of each particle.
    """
    can_be_A = can_be(energy_A, num_voxels_A)
    other_AK = share_AK.copy()
    other_AK[:, Semantic.MICHEL] = NONE
    is_none_A = (semantic_A == Semantic.MICHEL) & ~can_be_A
    found: Ints = np.where(is_none_A, other_AK.argmax(axis=1), semantic_A).astype(np.int64)
    return found
