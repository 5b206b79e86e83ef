"""What each simulated particle is to the labels: SuperaAtomic's classes, and who belongs to whom.

The process of creation is looked at first and the parent second: edep-sim drops trajectories, so that
a Compton electron may name the muon as its parent. Shape suffix: T trajectories.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from lartpc.ingest.keys import rows_of
from lartpc.ingest.steps import NO_PARENT, IntArray, Trajectories, is_neutral
from lartpc.vocab import NONE, CreationProcess

PHOTON, ELECTRON, MUON, PI_ZERO = 22, 11, 13, 111
FIRST_NUCLEUS = 1_000_000_000
"""PDG codes of nuclei are 10LZZZAAAI (PDG review, section 45)."""


IS_CASCADE = ~np.isin(
    np.arange(len(CreationProcess)),
    [CreationProcess.PRIMARY, CreationProcess.DECAY, CreationProcess.CAPTURE, CreationProcess.HADRONIC],
)
"""Which processes, by their number, carry an electromagnetic shower on."""


class Role(IntEnum):
    """What a particle's deposits are, before their size is looked at."""

    TRACK = 0
    NUCLEUS = 1
    SHOWER = 2
    MICHEL = 3
    DELTA = 4
    LOW_ENERGY = 5
    FOLLOW = 6


@dataclass(frozen=True)
class Ancestry:
    """Role and family of each trajectory (T,), all links as rows.

    `parent` (NONE: generated), `root` (the particle that it is part of), `is_primary` (leaves the
    vertex), `ancestor` (the generated one) and the number of its `interaction`.
    """

    role: IntArray
    parent: IntArray
    root: IntArray
    is_primary: NDArray[np.bool_]
    ancestor: IntArray
    interaction: IntArray


def ancestry(trajectories: Trajectories, michel_min_energy_mev: float) -> Ancestry:
    """Work out role and family of each trajectory.

    Raises
    ------
    ValueError
        A parent is missing or the parents form a cycle, so that no interaction can be found.
    """
    parent_T = rows_of(trajectories.parent_track_id, trajectories.track_id)
    orphan_T = (parent_T == NONE) & (trajectories.parent_track_id != NO_PARENT)
    role_T = _roles(trajectories, parent_T, michel_min_energy_mev)
    ancestor_T = _climb(parent_T, trajectories)
    own_T = trajectories.interaction
    interaction_T = np.where(own_T == NONE, own_T[ancestor_T], own_T)
    if (lost_T := interaction_T == NONE).any():
        row = int(np.argmax(lost_T))
        reason = (
            f"its ancestor's parent {trajectories.parent_track_id[ancestor_T[row]]} is missing"
            if orphan_T[ancestor_T[row]]
            else "its generated ancestor carries none"
        )
        raise ValueError(f"track {trajectories.track_id[row]} belongs to no interaction: {reason}")
    generated_T = (parent_T == NONE) & ~orphan_T
    from_pi_zero_T = (
        (parent_T != NONE)
        & generated_T[parent_T]
        & (trajectories.pdg[parent_T] == PI_ZERO)
        & (trajectories.process == CreationProcess.DECAY)
    )
    return Ancestry(
        role=role_T,
        parent=parent_T,
        root=_climb(np.where(role_T == Role.FOLLOW, parent_T, NONE), trajectories),
        is_primary=generated_T | from_pi_zero_T,
        ancestor=ancestor_T,
        interaction=interaction_T,
    )


def _roles(trajectories: Trajectories, parent_T: IntArray, michel_min_energy_mev: float) -> IntArray:
    pdg_T, process_T = trajectories.pdg, trajectories.process
    size_T = np.abs(pdg_T)
    electron_T = size_T == ELECTRON
    em_T = electron_T | (pdg_T == PHOTON)
    muon_T = size_T == MUON
    parent_em_T = np.append(em_T, False)[parent_T]
    parent_muon_T = np.append(muon_T, False)[parent_T]
    decay_T = (process_T == CreationProcess.DECAY) & parent_muon_T
    # of a captured mu- come the electron of its decay in orbit and, below ~2.5 MeV, Auger electrons
    orbit_T = (
        (process_T == CreationProcess.CAPTURE)
        & parent_muon_T
        & (trajectories.kinetic_energy >= michel_min_energy_mev)
    )
    role_T = np.full(len(pdg_T), int(Role.TRACK), np.int64)
    for role, here_T in (  # the last that holds counts
        (Role.LOW_ENERGY, is_neutral(pdg_T)),
        (Role.NUCLEUS, size_T >= FIRST_NUCLEUS),
        (Role.SHOWER, em_T),
        (Role.LOW_ENERGY, em_T & (process_T == CreationProcess.PHOTO_ELECTRIC)),
        (Role.DELTA, electron_T & (process_T == CreationProcess.IONISATION) & (parent_T != NONE)),
        (Role.MICHEL, electron_T & (decay_T | orbit_T)),
        (Role.FOLLOW, em_T & parent_em_T & IS_CASCADE[process_T]),
    ):
        role_T[here_T] = role
    return role_T


def _climb(up_T: IntArray, trajectories: Trajectories) -> IntArray:
    """Follow links upwards to their end (a row whose link is NONE), all rows at once by doubling."""
    top_T = np.where(up_T == NONE, np.arange(len(up_T)), up_T)
    for _ in range(len(up_T).bit_length()):
        higher_T = top_T[top_T]
        if np.array_equal(higher_T, top_T):
            break
        top_T = higher_T
    if (cycle_T := up_T[top_T] != NONE).any():
        raise ValueError(f"the parents of track {trajectories.track_id[np.argmax(cycle_T)]} form a cycle")
    return top_T
