"""Generators' files that mean harm: numbers that are none, units that change, several weights, vertices apart."""

from pathlib import Path

import numpy as np
import pytest
from handmade_nuhepmc import Written, text, write

from lartpc.neutrinos import files


def read(path: Path) -> list:
    return list(files.read("nuhepmc", [path]))


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(
    ("line", "field", "message"),
    [
        ("P 4 -1 2212 ", 0, r"a particle 2212 of the final state has a momentum that is not finite"),
        ("P 3 -1 13 ", 3, r"a particle 13 of the final state has a momentum that is not finite"),
        ("P 1 0 14 ", 3, r"the energy of the neutrino is .*, not finite"),
        ("P 1 0 14 ", 2, r"the momentum of the neutrino is .*, not finite"),
        ("A 0 lab_pos ", 1, r"the position of the interaction is .*, not finite"),
        ("A 0 lab_pos ", 3, r"the time of the interaction is .*, not finite"),
    ],
)
def test_numbers_that_are_none_are_refused_by_name(
    tmp_path: Path, line: str, field: int, message: str, bad: str
) -> None:
    """The second interaction of a file is spoiled; nothing of it goes on, and the file and its number are named."""
    lines = text(Written(lab_mm_s=(1.0, 2.0, 3.0, 1e-6))).splitlines()
    row = [number for number, one in enumerate(lines) if one.startswith(line)][-1]
    words = lines[row].split()
    words[(len(line.split()) if field >= 0 else len(words)) + field] = bad
    lines[row] = " ".join(words)
    path = tmp_path / "hostile.hepmc3"
    path.write_text("\n".join([*lines, ""]))
    with pytest.raises(ValueError, match=rf"hostile\.hepmc3, interaction 1 from 0: {message}"):
        read(path)


@pytest.mark.parametrize("weights", ["W nan", "W", "W 1.0 2.0", "W one"])
def test_weights_that_are_none_are_refused_by_name(tmp_path: Path, weights: str) -> None:
    """Whether pyhepmc takes such a line or not: the file and the number of its event are named."""
    good = text(Written()).splitlines()
    row = [number for number, one in enumerate(good) if one.startswith("W 1")][-1]
    path = tmp_path / "hostile.hepmc3"
    path.write_text("\n".join([*good[:row], weights, *good[row + 1 :], ""]))
    with pytest.raises(ValueError, match=r"hostile\.hepmc3.*(event|interaction) 1.*(pyhepmc|weight)"):
        read(path)


def test_units_may_change_from_event_to_event(tmp_path: Path) -> None:
    """Each event states its own; a file that was joined of two has both."""
    here, there = (
        text(Written(energy=energy, length=length, lab_mm_s=(100.0, -200.0, 300.0, 0.0)), 1).splitlines()
        for energy, length in (("MEV", "MM"), ("GEV", "CM"))
    )
    first = next(number for number, line in enumerate(there) if line.startswith("E "))
    path = tmp_path / "joined.hepmc3"
    path.write_text("\n".join([*here[:-1], *there[first:], ""]))
    one, other = read(path)
    for a, b in zip(one.particles, other.particles, strict=True):
        assert a.pdg == b.pdg
        np.testing.assert_allclose(a.momentum_mev_c, b.momentum_mev_c, rtol=1e-12)
    assert one.columns["energy"] == pytest.approx(other.columns["energy"])
    assert one.position_cm == pytest.approx((10.0, -20.0, 30.0))
    assert other.position_cm == pytest.approx((10.0, -20.0, 30.0))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_central_weight_is_taken_wherever_it_stands(tmp_path: Path, number: int) -> None:
    names, values = ["up", "down"], [7.0, 9.0]
    names.insert(number, "CV")
    values.insert(number, -0.5)
    path = write(tmp_path / "a.hepmc3", Written(weights=tuple(names), values=tuple(values)))
    assert [one.columns["weight"] for one in read(path)] == [-0.5, -0.5]


def test_a_cross_section_of_an_unknown_unit_is_not_known(tmp_path: Path) -> None:
    header = {
        "NuHepMC.FluxAveragedTotalCrossSection": "1.5",
        "NuHepMC.Units.CrossSection.Unit": "acre",
    }
    found = read(write(tmp_path / "a.hepmc3", Written(header=header)))
    assert np.isnan([one.columns["cross_section"] for one in found]).all()


def test_energy_and_mass_that_do_not_fit_give_the_energy_of_the_momentum(tmp_path: Path) -> None:
    """A proton whose energy is below its mass by rounding, or far above it, moves as its momentum says."""
    momentum = (0.0, 0.0, 300.0)
    true = float(np.hypot(300.0, 938.272088) - 938.272088)
    for energy in (900.0, 5000.0):
        how = Written(extra=((2212, (*momentum, energy), 1),))
        (one, _) = read(write(tmp_path / "a.hepmc3", how))
        assert min(
            abs(particle.kinetic_energy_mev - true) for particle in one.particles if particle.pdg == 2212
        ) == pytest.approx(0, abs=1e-6)
