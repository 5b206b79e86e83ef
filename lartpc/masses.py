"""Masses of particles by their Monte-Carlo number, from the tables of the Particle Data Group (package `particle`).

No other module has a mass of its own. The tables are read as files: a job would take longer to import the package.
"""

import csv
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def _table(name: str) -> dict[int, float]:
    """Return the masses [MeV] of the newest table of a name; below 0: not known."""
    spec = find_spec("particle")
    assert spec and spec.origin, "lartpc needs the package particle"
    newest = max((Path(spec.origin).parent / "data").glob(f"{name}20*.csv"))
    with newest.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return {int(row["ID"]): float(row["Mass"]) for row in rows}


def mass_mev(pdg: int) -> float | None:
    """Return the mass of a particle [MeV], None where the tables have none."""
    # of nuclei there are ten times as many: they take time to read
    for name in ("particle", "nuclei"):
        if (mass := _table(name).get(pdg)) is not None:
            return mass if mass >= 0 else None
    return None


def known_mass_mev(pdg: int) -> float:
    """Return the mass of a particle that the tables have [MeV]; ValueError for others."""
    mass = mass_mev(pdg)
    if mass is None:
        raise ValueError(f"the tables of the Particle Data Group have no mass of {pdg}")
    return mass


ELECTRON_MASS_MEV = known_mass_mev(11)
MUON_MASS_MEV = known_mass_mev(13)
PI_ZERO_MASS_MEV = known_mass_mev(111)
NUCLEON_MASS_MEV = (known_mass_mev(2212) + known_mass_mev(2112)) / 2
"""Mean of proton and neutron."""
