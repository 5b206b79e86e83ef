"""Trees of GENIE and NuWro: `gst`, the summary, and `gRooTracker`, the event record; read by uproot.

Energies are GeV, positions of the vertex m and s. Kinematics follow from the momenta, as of every generator.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lartpc.faults import is_passing
from lartpc.neutrinos.record import (
    FIRST_PSEUDO,
    LEPTONS,
    FourMomentum,
    Interaction,
    Outgoing,
    current_of,
    kinematics,
    of_reaction,
    outgoing,
)
from lartpc.rootfile import open_file
from lartpc.vocab import NONE, Current, InteractionMode

_MEV = 1e3
_CM, _NS = 100.0, 1e9
_STEP = 5000
TREES = {"gst": ("gst",), "rootracker": ("gRooTracker", "nRooTracker")}
_INITIAL, _FINAL, _STRUCK = 0, 1, 11
_FLAGS = {
    "qel": InteractionMode.QUASIELASTIC,
    "mec": InteractionMode.MESON_EXCHANGE,
    "res": InteractionMode.RESONANCE,
    "dis": InteractionMode.DEEP_INELASTIC,
    "coh": InteractionMode.COHERENT,
    "dfr": InteractionMode.DIFFRACTIVE,
    "imd": InteractionMode.INVERSE_MUON_DECAY,
    "nuel": InteractionMode.ELECTRON_SCATTERING,
}
_GST = (
    *("neu", "tgt", "hitnuc", "hitqrk", "cc", "nc", "wght", "fspl"),
    *("Ev", "pxv", "pyv", "pzv", "El", "pxl", "pyl", "pzl", "nf", "pdgf", "Ef", "pxf", "pyf", "pzf"),
    *("vtxx", "vtxy", "vtxz", "vtxt", *_FLAGS),
)
_NEEDED = ("neu", "Ev", "cc", "nc", "El", "pxl", "pyl", "pzl", "pdgf", "Ef", "pxf", "pyf", "pzf")
_TRACKER = ("EvtCode", "EvtNum", "EvtWght", "EvtVtx", "StdHepPdg", "StdHepStatus", "StdHepP4")


def read(path: Path, kind: str) -> Iterator[Interaction]:
    """Yield the interactions of a tree of kind `gst` or `rootracker`, in order.

    Raises
    ------
    ValueError
        The file is missing or damaged, or lacks the tree or a branch.
    """
    fault = ""
    names, rows = (_GST, _of_gst) if kind == "gst" else (_TRACKER, _of_tracker)
    try:
        with open_file(path) as file:
            name = next((name for name in TREES[kind] if name in file), None)
            if name is None:
                raise ValueError(
                    f"{path} has no tree {' or '.join(TREES[kind])}; it has {', '.join(file.keys()) or 'nothing'}"
                )
            tree = file[name]
            known = {found.split("/")[0]: found for found in tree.keys()}  # noqa: SIM118
            branches = {want: known[want] for want in names if want in known}
            needed = _NEEDED if kind == "gst" else ("StdHepPdg", "StdHepStatus", "StdHepP4")
            if lacking := [want for want in needed if want not in branches]:
                raise ValueError(f"{path}: tree '{name}' has no branch {', '.join(lacking)}")
            entry = 0
            for chunk in tree.iterate(list(branches.values()), step_size=_STEP, library="ak"):
                columns = {want: chunk[full] for want, full in branches.items()}
                for row in range(len(chunk)):
                    event = {want: values[row] for want, values in columns.items()}
                    where = f"{path}, entry {entry}"
                    try:
                        found = rows(event, entry, where)
                    except (ValueError, ArithmeticError, TypeError) as error:
                        said = str(error)
                        raise ValueError(said if where in said else f"{where}: {said}") from error
                    yield found
                    entry += 1
    except FileNotFoundError:
        raise ValueError(f"file of generated events {path} does not exist") from None
    except Exception as error:  # uproot raises whatever damaged bytes make happen
        is_ours = isinstance(error, ValueError) and str(path) in str(error) and "\n" not in str(error)
        if is_ours or is_passing(error):
            raise
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        fault = f"{path} cannot be read ({said}); it is damaged or cut off: copy or make it again"
    if fault:  # only here: uproot tells of missing bytes as the system does of a disk that fails
        raise ValueError(fault)


def _four(event: dict[str, Any], energy: str, names: tuple[str, str, str]) -> FourMomentum:
    x, y, z = (float(event[name]) * _MEV for name in names)
    return x, y, z, float(event[energy]) * _MEV


def _of_gst(event: dict[str, Any], entry: int, where: str) -> Interaction:
    is_cc, is_nc = bool(event["cc"]), bool(event["nc"])
    if {"pxv", "pyv", "pzv"} <= event.keys():
        neutrino = _four(event, "Ev", ("pxv", "pyv", "pzv"))
    else:
        neutrino = (0.0, 0.0, float(event["Ev"]) * _MEV, float(event["Ev"]) * _MEV)
    lepton = _four(event, "El", ("pxl", "pyl", "pzl"))
    pdg = int(event["neu"])
    lepton_pdg = int(event["fspl"]) if "fspl" in event else (pdg if is_nc else pdg - int(np.sign(pdg)))
    found = [outgoing(lepton_pdg, lepton)]
    names = ("pdgf", "pxf", "pyf", "pzf", "Ef")
    for code, px, py, pz, energy in zip(*(np.asarray(event[name]) for name in names), strict=True):
        found.append(outgoing(int(code), (px * _MEV, py * _MEV, pz * _MEV, energy * _MEV)))
    particles = tuple(particle for particle in found if particle)
    current = Current.CC if is_cc else Current.NC if is_nc else NONE
    columns = {
        **kinematics(neutrino, lepton),
        "pdg": pdg,
        "current": int(current),
        "mode": next(
            (int(mode) for flag, mode in _FLAGS.items() if event.get(flag)), int(InteractionMode.OTHER)
        ),
        "target_pdg": int(event.get("tgt", 0)),
        "nucleon_pdg": int(event.get("hitnuc", 0)),
        "quark_pdg": int(event.get("hitqrk", 0)),
        "lepton_pdg": lepton_pdg,
        "weight": float(event.get("wght", 1.0)),
        "entry": entry,
        "event": entry,
        "num_final": len(particles),
    }
    if not {"vtxx", "vtxy", "vtxz"} <= event.keys():
        return Interaction(columns, particles)
    x, y, z = (float(event[name]) * _CM for name in ("vtxx", "vtxy", "vtxz"))
    return Interaction(columns, particles, (x, y, z), float(event.get("vtxt", 0.0)) * _NS)


def _of_tracker(event: dict[str, Any], entry: int, where: str) -> Interaction:
    pdg, status = (np.asarray(event[name]).astype(int) for name in ("StdHepPdg", "StdHepStatus"))
    momentum = np.asarray(event["StdHepP4"], np.float64) * _MEV

    def four(row: int) -> FourMomentum:
        px, py, pz, energy = momentum[row].tolist()
        return px, py, pz, energy

    initial = [row for row in np.flatnonzero(status == _INITIAL).tolist() if abs(pdg[row]) in LEPTONS]
    if len(initial) != 1:
        raise ValueError(f"{where}: {len(initial)} incoming leptons; an interaction has one")
    neutrino = initial[0]
    final = np.flatnonzero(status == _FINAL).tolist()
    current, lepton_pdg = current_of(int(pdg[neutrino]), pdg[final].tolist())
    lepton = next((row for row in final if pdg[row] == lepton_pdg and lepton_pdg), None)
    particles: list[Outgoing] = [out for row in final if (out := outgoing(int(pdg[row]), four(row)))]
    target = [
        int(code) for code in pdg[status == _INITIAL] if abs(code) not in LEPTONS and code < FIRST_PSEUDO
    ]
    struck = [int(code) for code in pdg[status == _STRUCK] if code in (2112, 2212)]
    reaction = of_reaction(_text(event.get("EvtCode", "")))
    vertex = np.asarray(event["EvtVtx"], np.float64) if "EvtVtx" in event else None
    columns = {
        "target_pdg": target[0] if target else 0,
        "nucleon_pdg": struck[0] if struck else 0,
        **reaction,
        **kinematics(four(neutrino), four(lepton) if lepton is not None else None),
        "pdg": int(pdg[neutrino]),
        "current": reaction.get("current", NONE) if current is None else int(current),
        "lepton_pdg": lepton_pdg,
        "weight": float(event.get("EvtWght", 1.0)),
        "entry": entry,
        "event": int(event.get("EvtNum", entry)),
        "num_final": len(particles),
    }
    ordered = tuple(sorted(particles, key=lambda particle: abs(particle.pdg) not in LEPTONS))
    if vertex is None:
        return Interaction(columns, ordered)
    x, y, z, t = vertex.tolist()
    return Interaction(columns, ordered, (x * _CM, y * _CM, z * _CM), t * _NS)


def _text(code: Any) -> str:
    value = code.tolist() if hasattr(code, "tolist") else code
    if isinstance(value, dict):  # a TObjString
        value = next(iter(value.values()), "")
    return value.decode() if isinstance(value, bytes) else str(value)
