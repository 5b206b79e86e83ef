"""Rows of what was generated. Shape suffixes: N neutrinos, P particles that leave generated vertices."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.config import Summarize
from lartpc.event import Event, num_rows
from lartpc.masses import known_mass_mev
from lartpc.tables.fields import Rows, xyz_rows
from lartpc.vocab import NONE

_KINDS = {
    "photons": (22,),
    "electrons": (11, -11),
    "muons": (13, -13),
    "pions": (211, -211),
    "protons": (2212,),
    "kaons": (321, -321),
    "pi_zeros": (111,),
    "neutrons": (2112,),
}
_LETTERS = dict(zip(_KINDS, ("g", "e", "mu", "pi", "p", "ka", "pi0", "n"), strict=True))
_KINETIC_ONLY = (2212, 211, -211)
"""Of these the kinetic energy is available, of others the total one."""
_NEUTRON, _PI_ZERO, _FIRST_NUCLEUS = 2112, 111, 1_000_000_000
_NEUTRINOS = (12, 14, 16)
_MASS_MEV = {code: known_mass_mev(code) for code in (111, 321, -321, 13, -13, 11, -11)}


def truth_neutrino_rows(event: Event, cfg: Summarize) -> Rows:
    """Return the rows of `truth_neutrinos`."""
    true = event["truth_neutrino"]
    return {
        "truth_neutrino_id": np.arange(num_rows(true)),
        "truth_interaction_id": true["interaction"],
        "neutrino_pdg": true["pdg"],
        "neutrino_energy_mev": true["energy"],
        **xyz_rows("neutrino_momentum", true["momentum"], "_mev_c"),
        "current": true["current"],
        "mode": true["mode"],
        "process_number": true["process"],
        **{name: true[name] for name in ("target_pdg", "nucleon_pdg", "quark_pdg", "lepton_pdg")},
        "q2_gev2": true["q2"],
        "w_mev": true["w"],
        "bjorken_x": true["bjorken_x"],
        "inelasticity": true["inelasticity"],
        "energy_transfer_mev": true["energy_transfer"],
        "momentum_transfer_mev_c": true["momentum_transfer"],
        "lepton_id": _particle_of(event, true["lepton_track_id"]),
        "lepton_energy_mev": true["lepton_energy"],
        **xyz_rows("lepton_momentum", true["lepton_momentum"], "_mev_c"),
        "lepton_angle_rad": true["lepton_angle"],
        **xyz_rows("vertex", true["vertex"]),
        "time_ns": true["time"],
        "weight": true["weight"],
        "cross_section_pb": true["cross_section"],
        "cross_section_error_pb": true["cross_section_error"],
        "pot": true["pot"],
        "generator_file": true["file"],
        "generator_entry": true["entry"],
        "generator_event": true["event"],
        "num_final": true["num_final"],
        "num_not_shot": true["num_not_shot"],
        "visible_energy_mev": true["energy_deposited"],
        **_final_state(event, cfg),
    }


def truth_primary_rows(event: Event) -> Rows:
    """Return the rows of `truth_primaries`."""
    true = event["truth_primary"]
    return {
        "truth_primary_id": np.arange(num_rows(true)),
        "truth_neutrino_id": true["neutrino"],
        "truth_interaction_id": true["interaction"],
        "truth_particle_id": _particle_of(event, true["track_id"]),
        "track_id": true["track_id"],
        "pdg": true["pdg"],
        "kinetic_energy_initial_mev": true["energy_init"],
        **xyz_rows("momentum_initial", true["momentum"], "_mev_c"),
    }


def _particle_of(event: Event, track_id: NDArray[Any]) -> NDArray[np.int64]:
    """Return the row of the true particle of each track, -1 for none."""
    known = event["truth_particle"]["track_id"]
    row = {int(track): row for row, track in enumerate(known) if track >= 0}
    return np.array([row.get(int(track), NONE) for track in track_id], np.int64)


def _final_state(event: Event, cfg: Summarize) -> Rows:
    """Return the available energy, the numbers above thresholds and the topology of neutrinos (N,)."""
    true, primary = event["truth_neutrino"], event["truth_primary"]
    num = num_rows(true)
    owner_P, pdg_P, energy_P = primary["neutrino"], primary["pdg"], primary["energy_init"]
    # a source may state neutrinos without what leaves their vertices
    known_N = np.isin(np.arange(num), owner_P) | (true["num_final"] == 0)
    mass_P = np.array([_MASS_MEV.get(int(code), 0.0) for code in pdg_P], np.float64)
    is_kinetic_P = np.isin(pdg_P, _KINETIC_ONLY)
    away_P = (pdg_P == _NEUTRON) | (np.abs(pdg_P) >= _FIRST_NUCLEUS) | np.isin(np.abs(pdg_P), _NEUTRINOS)
    away_P = away_P | (primary["track_id"] == np.append(true["lepton_track_id"], NONE)[owner_P])
    counts = (owner_P != NONE) & ~away_P
    available_N = np.bincount(
        owner_P[counts], (energy_P + np.where(is_kinetic_P, 0.0, mass_P))[counts], minlength=num
    )
    numbers = {}
    for ending, codes in _KINDS.items():
        least = getattr(cfg.thresholds, ending.removesuffix("s"))
        above = (owner_P != NONE) & np.isin(pdg_P, codes) & (energy_P >= least)
        numbers[ending] = np.where(known_N, np.bincount(owner_P[above], minlength=num), NONE)
    topology = [
        "".join(
            f"{numbers[ending][row]}{letters}"
            for ending, letters in _LETTERS.items()
            if numbers[ending][row] > 0
        )
        if known_N[row]
        else None
        for row in range(num)
    ]
    return {
        "available_energy_mev": np.where(known_N, available_N, np.nan),
        **{f"num_{ending}_above": values for ending, values in numbers.items()},
        "topology_above": topology,
    }
