"""Hand-made NuHepMC files: one event list, in any units, weights and conventions that the format allows."""

import gzip
from dataclasses import dataclass, field
from pathlib import Path

START, END = "HepMC::Asciiv3-START_EVENT_LISTING", "HepMC::Asciiv3-END_EVENT_LISTING"
MEV = {"MEV": 1.0, "GEV": 1e-3}
MM = {"MM": 1.0, "CM": 0.1}


@dataclass
class Written:
    """How a file is written; the interactions are always the same."""

    energy: str = "MEV"
    length: str = "MM"
    weights: tuple[str, ...] = ("CV",)
    values: tuple[float, ...] = (1.0,)
    version: tuple[int, int, int] = (1, 0, 0)
    header: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    lab_mm_s: tuple[float, ...] | None = None
    target_status: int = 20
    lepton_status: int = 1
    primary_status: int = 1
    extra: tuple[tuple[int, tuple[float, float, float, float], int], ...] = ()


NEUTRINO = (0.0, 0.0, 900.0, 900.0)
MUON = (100.0, 50.0, 600.0, (100**2 + 50**2 + 600**2 + 105.6583755**2) ** 0.5)
PROTON = (-80.0, -20.0, 320.0, (80**2 + 20**2 + 320**2 + 938.272088**2) ** 0.5)
PION = (30.0, 40.0, -60.0, (30**2 + 40**2 + 60**2 + 139.57039**2) ** 0.5)
"""The π⁺ comes from a Δ-like vertex after the primary one, in the same place."""


def text(how: Written, num: int = 2) -> str:
    """Return a file of `num` times the same interaction."""
    names = {
        **{
            f"NuHepMC.Version.{part}": str(value)
            for part, value in zip(("Major", "Minor", "Patch"), how.version, strict=True)
        },
        "NuHepMC.ProcessIDs": "400",
        "NuHepMC.ProcessInfo[400].Name": "CCRES",
        **how.header,
    }
    lines = ["HepMC::Version 3.02.06", START, "W " + "\\|".join(how.weights), "T handmade\\|1\\|none"]
    lines += [f"A {name} {value}" for name, value in names.items()]
    for number in range(num):
        lines += _event(how, 10 + number)
    return "\n".join([*lines, END, ""])


def _event(how: Written, number: int) -> list[str]:
    mev, mm = MEV[how.energy], MM[how.length]

    def particle(index: int, vertex: int, pdg: int, p: tuple[float, ...], status: int) -> str:
        values = " ".join(f"{value * mev:.16e}" for value in p)
        mass = max(p[3] ** 2 - p[0] ** 2 - p[1] ** 2 - p[2] ** 2, 0.0) ** 0.5 * mev
        return f"P {index} {vertex} {pdg} {values} {mass:.16e} {status}"

    attributes = {"signal_process_id": "400", **how.attributes}
    if how.lab_mm_s:
        place = [f"{value * mm:.12g}" for value in how.lab_mm_s[:3]]
        attributes["lab_pos"] = " ".join([*place, *(f"{value:.12g}" for value in how.lab_mm_s[3:])])
    copy = how.lepton_status != 1
    particles = [
        particle(1, 0, 14, NEUTRINO, 4),
        particle(2, 0, 1000180400, (0.0, 0.0, 0.0, 37215.5), how.target_status),
        f"V -1 {how.primary_status} [1,2]",
        particle(3, -1, 13, MUON, how.lepton_status),
        particle(4, -1, 2212, PROTON, 1),
        particle(5, -1, 2224, tuple(a + 0.0 for a in PION), 3),
        f"V -2 2 [{'3,5' if copy else '5'}]",
        particle(6, -2, 211, PION, 1),
        particle(7, -2, 2009900000, (0.0, 0.0, 0.0, 36000.0), 1),
        *([particle(8, -2, 13, MUON, 1)] if copy else []),
    ]
    first = 9 if copy else 8
    particles += [particle(first + i, -2, pdg, p, status) for i, (pdg, p, status) in enumerate(how.extra)]
    num = sum(line.startswith("P") for line in particles)
    return [
        f"E {number} 2 {num}",
        f"U {how.energy} {how.length}",
        "W " + " ".join(f"{value:.16e}" for value in how.values),
        *(f"A 0 {name} {value}" for name, value in attributes.items()),
        *particles,
    ]


def write(path: Path, how: Written, num: int = 2) -> Path:
    """Write a file, packed where its name ends in .gz; return its path."""
    packed = text(how, num).encode()
    path.write_bytes(gzip.compress(packed) if path.suffix == ".gz" else packed)
    return path
