"""Neutrinos as LArCV and SPINE keep them (`larcv::Neutrino`), in the columns of `truth_neutrino`.

LArSoft fills them in GeV; programs that fill them in MeV are told by W, which is no less than 0.9 GeV and no
more than 30. Shape suffixes: N neutrinos, K interactions.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lartpc.event import Columns, empty
from lartpc.ingest.steps import FloatArray, IntArray
from lartpc.masses import mass_mev
from lartpc.neutrinos.record import NEUTRINOS
from lartpc.vocab import NONE, Current, InteractionMode

FIELDS = (
    *(
        "pdg_code",
        "lepton_pdg_code",
        "lepton_track_id",
        "current_type",
        "interaction_mode",
        "interaction_type",
    ),
    *("target", "nucleon", "quark", "energy_init", "hadronic_invariant_mass", "bjorken_x", "inelasticity"),
    *("momentum_transfer", "momentum_transfer_mag", "energy_transfer", "lepton_p", "theta", "mct_index"),
    *("position", "momentum"),
)
"""Attributes of SPINE's `Neutrino`; some files lack some."""

MEMBERS = {
    "pdg_code": "pdg",
    "lepton_pdg_code": "lepton_pdg",
    "lepton_track_id": "lepton_trackid",
    "hadronic_invariant_mass": "w",
    "bjorken_x": "x",
    "inelasticity": "y",
    "momentum_transfer": "qsqr",
    "momentum_transfer_mag": "q3",
    "energy_transfer": "q0",
}
"""Members of LArCV's class that have other names than its accessors, which are SPINE's names."""

LARGEST_W = 30.0
"""Larger ones are in MeV."""
INVALID = 2**31 - 1
NEAR_CM = 0.5
"""Farther from its vertex no interaction is a neutrino's [cm]."""
UNSET = ("lepton_p", "energy_transfer", "momentum_transfer_mag", "theta")
"""Attributes that some programs leave at 0 or -1, which then mean nothing."""


def of_rows(rows: Mapping[str, Any], position_cm: FloatArray, vertex_K3_cm: FloatArray) -> Columns:
    """Return `truth_neutrino` of rows that are neutrinos.

    Parameters
    ----------
    rows
        Columns named as in `FIELDS`, one row each; momenta are (N, 3).
    position_cm
        Positions (N, 3) [cm].
    vertex_K3_cm
        Vertices (K, 3) of the source's interactions [cm]: a neutrino belongs to the nearest within 0.5 cm.
    """
    pdg = np.asarray(rows["pdg_code"], np.int64)
    kept = np.flatnonzero(np.isin(np.abs(pdg), NEUTRINOS))
    found = {name: np.asarray(values)[kept] for name, values in rows.items()}
    num = len(kept)

    def real(name: str, scale: Any = 1.0) -> FloatArray:
        """Return an attribute, nan where it is not set."""
        value = np.asarray(found.get(name, np.full(num, np.nan)), np.float64)
        unset = (value <= 0) if name in UNSET else (value < 0)
        known: FloatArray = np.where(unset, np.nan, value) * scale
        return known

    def whole(name: str, none: int) -> IntArray:
        value = np.asarray(found.get(name, np.full(num, -1)), np.int64)
        return np.where((value == -1) | (np.abs(value) >= INVALID), none, value)

    w, energy = real("hadronic_invariant_mass"), real("energy_init")
    known = np.where(w > 0, w, np.nan)
    mev = np.where(known > LARGEST_W, 1.0, 1e3)
    made = empty("truth_neutrino", num)
    momentum = np.asarray(found.get("momentum", np.full((num, 3), np.nan)), np.float64) * mev[:, None]
    lepton_pdg = whole("lepton_pdg_code", 0)
    mass = np.array([mass_mev(int(code)) or 0.0 for code in lepton_pdg])
    current = whole("current_type", NONE)
    mode = whole("interaction_mode", NONE)
    energy_mev = energy * mev
    transfer = real("energy_transfer", mev)
    lepton_energy = np.sqrt(real("lepton_p", mev) ** 2 + mass**2)
    made |= {
        "interaction": _nearest(position_cm[kept], vertex_K3_cm),
        "pdg": pdg[kept],
        "energy": energy_mev,
        "momentum": momentum,
        "current": np.where(np.isin(current, list(Current)), current, NONE),
        "mode": np.where(np.isin(mode, list(InteractionMode)), mode, NONE),
        "process": whole("interaction_type", NONE),
        "target_pdg": whole("target", 0),
        "nucleon_pdg": whole("nucleon", 0),
        "quark_pdg": whole("quark", 0),
        "q2": real("momentum_transfer", (mev * 1e-3) ** 2),
        "w": known * mev,
        "bjorken_x": real("bjorken_x"),
        "inelasticity": real("inelasticity"),
        "energy_transfer": np.where(np.isnan(transfer), energy_mev - lepton_energy, transfer),
        "momentum_transfer": real("momentum_transfer_mag", mev),
        "lepton_pdg": lepton_pdg,
        "lepton_track_id": whole("lepton_track_id", NONE),
        "lepton_energy": lepton_energy,
        "lepton_angle": real("theta"),
        "vertex": position_cm[kept],
        "entry": whole("mct_index", NONE),
    }
    return made


def _nearest(position_N3: FloatArray, vertex_K3: FloatArray) -> IntArray:
    """Return the interaction of each neutrino, NONE for none near enough."""
    if not len(vertex_K3):
        return np.full(len(position_N3), NONE, np.int64)
    distance = np.linalg.norm(position_N3[:, None] - vertex_K3[None], axis=-1)
    distance = np.where(np.isfinite(distance), distance, np.inf)
    nearest = distance.argmin(axis=1)
    found: IntArray = np.where(distance[np.arange(len(nearest)), nearest] <= NEAR_CM, nearest, NONE)
    return found
