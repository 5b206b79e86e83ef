"""Masses have one source, the tables of the Particle Data Group."""

import re
from pathlib import Path

import pytest
from particle import Particle

import lartpc
from lartpc import masses
from lartpc.kinematics.argon import MASS_MEV
from lartpc.vocab import Species

PUBLISHED_MEV = {
    Species.PHOTON: 0.0,
    Species.ELECTRON: 0.51099895069,
    Species.MUON: 105.6583755,
    Species.PION: 139.57039,
    Species.PROTON: 938.27208943,
    Species.KAON: 493.677,
}
"""Phys. Rev. D 110 (2024) 030001."""


def test_masses_are_the_published_ones() -> None:
    assert pytest.approx(PUBLISHED_MEV, rel=1e-8) == MASS_MEV
    assert pytest.approx(134.9768) == masses.PI_ZERO_MASS_MEV
    assert pytest.approx((938.27208943 + 939.56542194) / 2, rel=1e-8) == masses.NUCLEON_MASS_MEV


def test_every_particle_has_the_mass_that_the_tables_give_it() -> None:
    for one in Particle.all():
        assert masses.mass_mev(int(one.pdgid)) == one.mass, one.pdgid


def test_no_module_has_a_mass_of_its_own() -> None:
    literal = re.compile(
        r"\b(0\.511|0\.5109\d*|105\.6\d*|139\.57\d*|134\.97\d*|493\.6\d*|938\.\d+|939\.5\d*)\b"
    )
    for path in Path(lartpc.__file__).parent.rglob("*.py"):
        assert not literal.search(path.read_text()), path


def test_a_particle_without_mass_is_named() -> None:
    assert masses.mass_mev(99999999) is None
    with pytest.raises(ValueError, match="no mass of 99999999"):
        masses.known_mass_mev(99999999)
