"""What a generator says of one interaction, in MeV, and what follows from the momenta alone."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from lartpc.event import PRODUCTS, Columns
from lartpc.masses import NUCLEON_MASS_MEV, mass_mev
from lartpc.vocab import NONE, Current, InteractionMode

FourMomentum = tuple[float, float, float, float]
"""px, py, pz [MeV/c] and energy [MeV]."""

NEUTRINOS = (12, 14, 16)
LEPTONS = (11, 12, 13, 14, 15, 16)
FIRST_NUCLEUS = 1_000_000_000
FIRST_PSEUDO = 2_000_000_000
"""Codes from here on are not particles: remnants that are not simulated, binding energy."""
MIN_MOMENTUM_MEV = 1e-3
"""Particles of less momentum do not move: nothing of them is to be seen [MeV/c]."""


class Outgoing(NamedTuple):
    """A particle of the final state: number, momentum (3,) [MeV/c], kinetic energy [MeV].

    `offset_cm` is where it begins, from the vertex: not 0 after a decay in flight.
    """

    pdg: int
    momentum_mev_c: tuple[float, float, float]
    kinetic_energy_mev: float
    offset_cm: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Interaction:
    """One interaction of a generator.

    Parameters
    ----------
    columns
        Columns of `event.PRODUCTS["truth_neutrino"]` that the generator knows; others are unknown.
    particles
        All particles of the final state that move, neutrinos and nuclei among them.
    position_cm, time_ns
        Where and when the file says that it happens; None: it does not.
    """

    columns: Mapping[str, Any]
    particles: tuple[Outgoing, ...]
    position_cm: tuple[float, float, float] | None = None
    time_ns: float | None = None


def is_shot(pdg: int) -> bool:
    """Tell whether a particle of the final state goes on to the simulation: neutrinos leave no trace."""
    return abs(pdg) not in NEUTRINOS


def is_particle(pdg: int) -> bool:
    """Tell whether a code stands for something real: no remnant, no quark, gluon, string or cluster."""
    code = abs(pdg)
    if code >= FIRST_NUCLEUS:
        return code < FIRST_PSEUDO
    return code > 8 and code not in (21, 92) and code // 10_000_000 == 0 and not 81 <= code <= 100


def outgoing(pdg: int, momentum: FourMomentum) -> Outgoing | None:
    """Return a particle of the final state, None for what is not a particle or does not move.

    Raises
    ------
    ValueError
        A component is not a finite number.
    """
    px, py, pz, energy = momentum
    if not all(map(isfinite, momentum)):
        raise ValueError(f"a particle {pdg} of the final state has a momentum that is not finite")
    square = px * px + py * py + pz * pz
    if not is_particle(pdg) or not square > MIN_MOMENTUM_MEV**2 or not energy > 0:
        return None
    mass = mass_mev(pdg)
    if mass is None:
        mass = max(energy * energy - square, 0.0) ** 0.5
    return Outgoing(pdg, (px, py, pz), square / (mass + (square + mass * mass) ** 0.5))


def number_of_nucleons(pdg: int) -> int:
    """Return the number of nucleons of a nucleus or nucleon, 0 for anything else."""
    if FIRST_NUCLEUS <= pdg < FIRST_PSEUDO:
        return pdg // 10 % 1000
    return int(pdg in (2112, 2212))


def kinematics(neutrino: FourMomentum, lepton: FourMomentum | None) -> dict[str, Any]:
    """Return the columns that follow from the momenta of neutrino and lepton.

    W and Bjorken x are those of a nucleon at rest, of mean mass: W² = M² + 2 M q0 - Q², x = Q² / 2 M q0.
    W is nan where that is negative, x where no energy is transferred.
    """
    found: dict[str, Any] = {"energy": neutrino[3], "momentum": neutrino[:3]}
    if lepton is None:
        return found
    qx, qy, qz, q0 = (a - b for a, b in zip(neutrino, lepton, strict=True))
    square = qx * qx + qy * qy + qz * qz
    q2 = square - q0 * q0
    w2 = NUCLEON_MASS_MEV**2 + 2 * NUCLEON_MASS_MEV * q0 - q2
    return found | {
        "lepton_energy": lepton[3],
        "lepton_momentum": lepton[:3],
        "lepton_angle": _angle_rad(neutrino, lepton),
        "q2": q2 * 1e-6,
        "energy_transfer": q0,
        "momentum_transfer": square**0.5,
        "w": w2**0.5 if w2 >= 0 else np.nan,
        "bjorken_x": q2 / (2 * NUCLEON_MASS_MEV * q0) if q0 > 0 else np.nan,
        "inelasticity": q0 / neutrino[3] if neutrino[3] > 0 else np.nan,
    }


def _angle_rad(one: FourMomentum, two: FourMomentum) -> float:
    a, b = np.array(one[:3]), np.array(two[:3])
    return float(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b))


def current_of(neutrino_pdg: int, leptons: Iterable[int]) -> tuple[Current | None, int]:
    """Return the current by the leptons that leave the primary vertex, and which of them is the one.

    The neutrino itself comes out of a neutral current, its charged partner out of a charged one; scattering
    on electrons, where both do, counts as neutral.
    """
    out = list(leptons)
    sign = 1 if neutrino_pdg > 0 else -1
    partner = neutrino_pdg - sign if abs(neutrino_pdg) in NEUTRINOS else 0
    if neutrino_pdg in out:
        return Current.NC, neutrino_pdg
    return (Current.CC, partner) if partner and partner in out else (None, 0)


_WORDS = (
    (r"hyperon", InteractionMode.HYPERON),
    (r"mec|2p2h|mesonexchange|meson exchange", InteractionMode.MESON_EXCHANGE),
    (r"cevns|coherent ?elastic", InteractionMode.COHERENT_ELASTIC),
    (r"coh", InteractionMode.COHERENT),
    (r"diff(r|$)", InteractionMode.DIFFRACTIVE),
    (r"qe|quasi", InteractionMode.QUASIELASTIC),
    (r"res|delta", InteractionMode.RESONANCE),
    (r"sis\b|shallow", InteractionMode.SHALLOW_INELASTIC),
    (r"dis|deep", InteractionMode.DEEP_INELASTIC),
    (r"imd", InteractionMode.INVERSE_MUON_DECAY),
    (r"nuel|electron", InteractionMode.ELECTRON_SCATTERING),
)
_RANGES = {
    1: InteractionMode.COHERENT,
    2: InteractionMode.QUASIELASTIC,
    3: InteractionMode.MESON_EXCHANGE,
    4: InteractionMode.RESONANCE,
    5: InteractionMode.SHALLOW_INELASTIC,
    6: InteractionMode.DEEP_INELASTIC,
}
"""Hundreds of the numbers of processes, by convention E.C.1 of NuHepMC."""


def mode_of(process: int | None, name: str = "") -> int:
    """Return the mode by a process's name, else by its number (E.C.1 of NuHepMC); -1: neither says it."""
    for words, mode in _WORDS:
        if name and re.search(words, name, re.IGNORECASE):
            return int(mode)
    if process is None or not 0 < process < 1000:
        return NONE
    return int(_RANGES.get(process // 100, InteractionMode.OTHER))


def current_of_process(process: int | None) -> int:
    """Return the current by a process's number: below 50 in its hundred is charged (E.C.1 of NuHepMC)."""
    if process is None or not 100 <= process < 1000:
        return NONE
    return int(Current.CC if process % 100 < 50 else Current.NC)


_REACTION = re.compile(r"(nu|tgt|N|q|proc):(-?[\w\[\](),-]+)")
_PROC = {
    "QES": InteractionMode.QUASIELASTIC,
    "RES": InteractionMode.RESONANCE,
    "DIS": InteractionMode.DEEP_INELASTIC,
    "COH": InteractionMode.COHERENT,
    "CEvNS": InteractionMode.COHERENT_ELASTIC,
    "MEC": InteractionMode.MESON_EXCHANGE,
    "DFR": InteractionMode.DIFFRACTIVE,
    "NuEEL": InteractionMode.ELECTRON_SCATTERING,
    "IMD": InteractionMode.INVERSE_MUON_DECAY,
    "IMDAnh": InteractionMode.INVERSE_MUON_DECAY,
    "IBD": InteractionMode.INVERSE_BETA_DECAY,
    "GLR": InteractionMode.GLASHOW_RESONANCE,
    "AMNuGamma": InteractionMode.ANOMALY_PHOTON,
}
"""Words that GENIE has for kinds of scattering."""


def of_reaction(text: str) -> dict[str, Any]:
    """Return what GENIE's summary of an interaction says ("nu:14;tgt:1000180400;N:2112;proc:Weak[CC],QES;")."""
    found: dict[str, Any] = {}
    for key, value in _REACTION.findall(text):
        if key == "proc":
            current, _, mode = value.partition(",")
            for word, code in (("[CC]", Current.CC), ("[NC]", Current.NC)):
                if word in current:
                    found["current"] = int(code)
            found["mode"] = int(_PROC.get(mode, InteractionMode.OTHER))
        elif number := re.match(r"-?\d+", value):
            name = {"nu": "pdg", "tgt": "target_pdg", "N": "nucleon_pdg", "q": "quark_pdg"}[key]
            found[name] = int(number[0])
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> Columns:
    """Return `truth_neutrino` of interactions; what their columns do not say is unknown."""
    return {
        name: np.array(
            [row.get(name, np.full(column.shape, column.none)) for row in rows], column.dtype
        ).reshape(len(rows), *column.shape)
        for name, column in PRODUCTS["truth_neutrino"].columns.items()
    }


def record_fields() -> list[tuple[str, tuple[str, tuple[int, ...]]]]:
    """Return name, dtype and shape of each column of `truth_neutrino`, for files of records."""
    columns = PRODUCTS["truth_neutrino"].columns
    return [(name, (column.dtype, column.shape)) for name, column in columns.items()]
