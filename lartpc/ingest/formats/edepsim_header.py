"""Neutrinos of the 2x2 simulation's HDF5 files: dataset `mc_hdr`, earlier `genie_hdr`, a row per interaction of GENIE.

Energies are in MeV, Q² in MeV², the vertex in cm, its time in µs. What some versions of the converter fill wrongly is
not read but follows from the rest: `isCC` (false for antineutrinos), `lep_mom` and `lep_ang` (of two components of the
momentum), `target` (the charge of the nucleus alone). Shape suffixes: N neutrinos, T trajectories.
"""

from typing import Any

import numpy as np

from lartpc.event import Columns
from lartpc.ingest.formats.tables import Aliases
from lartpc.ingest.steps import Trajectories
from lartpc.masses import mass_mev
from lartpc.neutrinos.record import FIRST_NUCLEUS, NEUTRINOS, FourMomentum, kinematics, table
from lartpc.vocab import NONE, Current, InteractionMode

HEADER: Aliases = {
    "event_id": ("event_id", "eventID"),
    "interaction": ("vertex_id", "vertexID"),
    "pdg": ("nu_pdg",),
    "energy": ("Enu",),
    "four_momentum": ("nu_4mom",),
    "lepton_pdg": ("lep_pdg",),
    "lepton_energy": ("Elep",),
    "q2": ("Q2",),
    "target": ("target",),
    "process": ("reaction",),
    **{f"vertex_{axis}": (f"{axis}_vert",) for axis in "xyz"},
    "time": ("t_vert",),
    **{f"is_{word.lower()}": (f"is{word}",) for word in ("QES", "RES", "DIS", "MEC", "COH")},
}
OPTIONAL = tuple(name for name in HEADER if name != "event_id")
NEEDED = {"interaction", "pdg", "energy"}
"""Without these there is nothing to say of a neutrino."""

MODES = {
    "is_qes": InteractionMode.QUASIELASTIC,
    "is_res": InteractionMode.RESONANCE,
    "is_dis": InteractionMode.DEEP_INELASTIC,
    "is_mec": InteractionMode.MESON_EXCHANGE,
    "is_coh": InteractionMode.COHERENT,
}
NS_PER_US = 1000.0


def neutrinos_of(rows: dict[str, Any], trajectories: Trajectories) -> Columns:
    """Return `truth_neutrino` of the rows of an event; the lepton is the generated particle of its code and vertex."""
    found = []
    for row in range(len(rows["pdg"])):
        value = {name: values[row] for name, values in rows.items()}
        if abs(int(value["pdg"])) in NEUTRINOS:
            found.append(_neutrino(value, trajectories))
    return table(found)


def _neutrino(row: dict[str, Any], trajectories: Trajectories) -> dict[str, Any]:
    pdg, number = int(row["pdg"]), int(row["interaction"])
    energy = float(row["energy"])
    momentum = [float(value) for value in row.get("four_momentum", (np.nan,) * 4)][:3]
    mine = np.flatnonzero((trajectories.interaction == number) & (trajectories.parent_track_id < 0))
    lepton_pdg = int(row.get("lepton_pdg", 0))
    of_code = mine[trajectories.pdg[mine] == lepton_pdg] if lepton_pdg else mine[:0]
    columns: dict[str, Any] = {
        "interaction": number,
        "pdg": pdg,
        "energy": energy,
        "momentum": momentum,
        "current": _current(pdg, lepton_pdg),
        "mode": next((int(mode) for name, mode in MODES.items() if row.get(name, False)), NONE),
        "process": int(row.get("process", NONE)),
        "target_pdg": int(row.get("target", 0)) if int(row.get("target", 0)) >= FIRST_NUCLEUS else 0,
        "lepton_pdg": lepton_pdg,
        "lepton_energy": float(row.get("lepton_energy", np.nan)),
        "q2": float(row.get("q2", np.nan)) * 1e-6,
        "vertex": [float(row.get(f"vertex_{axis}", np.nan)) for axis in "xyz"],
        "time": float(row.get("time", np.nan)) * NS_PER_US,
        "num_final": len(mine) if len(mine) else NONE,
    }
    if len(mine):
        columns["vertex"] = trajectories.position[mine[0]].astype(np.float64).tolist()
    if len(of_code):
        # of several of one code, the fastest
        lepton = of_code[np.argmax(trajectories.kinetic_energy[of_code])]
        out = trajectories.momentum[lepton].astype(np.float64)
        total = float(trajectories.kinetic_energy[lepton]) + (mass_mev(lepton_pdg) or 0.0)
        columns |= {
            "lepton_track_id": int(trajectories.track_id[lepton]),
            "lepton_energy": total,
            "lepton_momentum": out.tolist(),
        }
        if np.isfinite(momentum).all():
            columns |= kinematics(_four(momentum, energy), _four(out, total))
    return columns


def _four(momentum: Any, energy: float) -> FourMomentum:
    x, y, z = (float(value) for value in momentum)
    return x, y, z, energy


def _current(pdg: int, lepton_pdg: int) -> int:
    if not lepton_pdg:
        return NONE
    if lepton_pdg == pdg:
        return int(Current.NC)
    return int(Current.CC) if lepton_pdg == pdg - (1 if pdg > 0 else -1) else NONE
