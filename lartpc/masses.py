"""Masses of particles by their Monte-Carlo number, from the tables of the Particle Data Group (package `particle`)."""

from functools import lru_cache

from particle import InvalidParticle, Particle, ParticleNotFound


@lru_cache(maxsize=65_536)
def mass_mev(pdg: int) -> float | None:
    """Return the mass of a particle [MeV], None where the tables have none."""
    try:
        mass = Particle.from_pdgid(pdg).mass
    except (ParticleNotFound, InvalidParticle):
        return None
    return None if mass is None else float(mass)
