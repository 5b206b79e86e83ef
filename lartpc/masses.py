"""Masses of particles by their Monte-Carlo number, from the tables of the Particle Data Group (package `particle`).

No other module has a mass of its own.
"""

from functools import lru_cache

from particle import InvalidParticle, Particle, ParticleNotFound, data


class _NoNucleus(Particle):  # type: ignore[misc]
    """Particles of the same tables but for the nuclei, of which there are ten times as many: they take time to read."""


@lru_cache(maxsize=65_536)
def mass_mev(pdg: int) -> float | None:
    """Return the mass of a particle [MeV], None where the tables have none."""
    if not _NoNucleus.table_loaded():
        newest = max(path.name for path in data.basepath.iterdir() if path.name.startswith("particle20"))
        _NoNucleus.load_table(data.basepath / newest)
    for kind in (_NoNucleus, Particle):
        try:
            mass = kind.from_pdgid(pdg).mass
        except (ParticleNotFound, InvalidParticle):
            continue
        return None if mass is None else float(mass)
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
