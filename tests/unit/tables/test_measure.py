"""What is measured of particles, against known answers and the tables of PDG and NIST."""

import numpy as np
import pytest
from conftest import BOX, line

from lartpc.config import Summarize
from lartpc.kinematics import Clusters
from lartpc.kinematics.argon import (
    DENSITY_G_CM3,
    MASS_MEV,
    energy_of_range,
    highland_rad,
    momentum_mev_c,
    range_cm,
    stopping_power,
    straggling_cm,
)
from lartpc.kinematics.measure import Particles, measure
from lartpc.kinematics.paths import paths
from lartpc.kinematics.scattering import scattering_energy_mev, segment_directions
from lartpc.simulate.validation.references import MUON_TABLE, PROTON_RANGE_G_CM2
from lartpc.tables.particles import pi_zero_mass
from lartpc.vocab import EnergyMethod, Semantic, Species

WHOLE = BOX.to_cm([[(0, 0, 0), (768, 768, 768)]])


def particle(coord, energy, semantic=Semantic.TRACK, species=Species.MUON):
    clusters = Clusters.group(coord, energy, np.zeros(len(coord), int), 1)
    ends = coord[[0, -1]] + 0.5
    return Particles(clusters, np.array([semantic]), np.array([species]), ends[:1], ends[1:])


def stopping(species, num, start=(100, 300, 300)):
    """Return a straight track that loses energy as a stopping particle does."""
    coord = line(start, (1, 0, 0), num)
    residual = 0.3 * (num - np.arange(num + 1))
    left = np.where(residual > 0, energy_of_range(species, residual), 0.0)
    return particle(coord, -np.diff(left), species=species)


# -- argon -------------------------------------------------------------------------------------


def test_muons_lose_and_range_as_in_groom():
    table = MUON_TABLE[MUON_TABLE[:, 0] >= 10]
    np.testing.assert_allclose(
        stopping_power(Species.MUON, table[:, 0]) / DENSITY_G_CM3, table[:, 1], rtol=3e-3
    )
    np.testing.assert_allclose(range_cm(Species.MUON, table[:, 0]) * DENSITY_G_CM3, table[:, 2], rtol=3e-3)


def test_protons_range_as_in_pstar():
    energy, expected = np.array(list(PROTON_RANGE_G_CM2)), np.array(list(PROTON_RANGE_G_CM2.values()))
    np.testing.assert_allclose(range_cm(Species.PROTON, energy) * DENSITY_G_CM3, expected, rtol=0.01)


@pytest.mark.parametrize("species", [Species.MUON, Species.PION, Species.PROTON, Species.KAON])
def test_range_and_energy_are_inverse(species):
    energy = np.array([5.0, 50.0, 500.0])
    np.testing.assert_allclose(energy_of_range(species, range_cm(species, energy)), energy, rtol=1e-3)
    assert energy_of_range(species, 0.0) == 0


def test_highland_of_one_radiation_length():
    # 13.6 MeV over p at β = 1 (PDG eq. 34.16)
    assert highland_rad(1e5, 105.66, 14.004) == pytest.approx(13.6e-5, rel=1e-3)
    assert momentum_mev_c(1000.0, 0.0) == 1000.0


# -- particles ---------------------------------------------------------------------------------


def test_a_stopping_muon():
    found = measure(stopping(Species.MUON, 400), BOX, WHOLE, Summarize())
    true = energy_of_range(Species.MUON, 120.0)
    assert found["length_cm"][0] == pytest.approx(0.3 * 399, rel=1e-3)
    assert found["kinetic_energy_mev"][0] == pytest.approx(true, rel=0.01)
    assert found["calorimetric_energy_mev"][0] == pytest.approx(true, rel=1e-6)
    assert found["energy_method"][0] == EnergyMethod.RANGE and found["is_contained"][0]
    assert np.nanargmin(found["chi2"][0]) == 0 and found["chi2"][0, 0] < 1 < 5 < found["chi2"][0, 2]
    assert found["end_dedx_mev_cm"][0] > 1.5 * found["start_dedx_mev_cm"][0]
    assert found["momentum_mev_c"][0] == pytest.approx(
        momentum_mev_c(found["kinetic_energy_mev"][0], MASS_MEV[Species.MUON])
    )
    np.testing.assert_allclose(found["start_direction"][0], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found["end_direction"][0], [1, 0, 0], atol=1e-6)
    assert found["straightness"][0] == pytest.approx(1) and found["axial_spread"][0] == pytest.approx(0)


def test_a_stopping_proton_is_none_of_the_others():
    found = measure(stopping(Species.PROTON, 100), BOX, WHOLE, Summarize())
    assert np.nanargmin(found["chi2"][0]) == 2 and found["chi2"][0, 0] > 10


def test_a_track_that_turns_back_is_measured_whole():
    there, back = line((100, 300, 300), (1, 0, 0), 100), line((199, 310, 300), (-1, 0, 0), 100)
    coord = np.concatenate([there, line((199, 301, 300), (0, 1, 0), 9), back])
    found = particle(coord, np.ones(len(coord)))
    length = paths(found.clusters, np.array([True]), found.start, found.end, 10.0).length_F[0]
    assert length == pytest.approx(99 + 10 + 99, rel=0.05)


def test_containment_is_in_active_volumes():
    cfg = Summarize()
    track = stopping(Species.MUON, 200)
    inside, out = measure(track, BOX, WHOLE, cfg), measure(track, BOX, WHOLE[:, :, :] * [[[0.2], [1]]], cfg)
    assert inside["is_contained"][0] and inside["wall_distance_cm"][0] == pytest.approx(0.3 * 100.5)
    assert not out["is_contained"][0]
    # two volumes with a gap that the track crosses: contained in the detector, but in none of them
    low, high = WHOLE[0]
    halves = np.array([[low, [-55.0, *high[1:]]], [[-50.0, *low[1:]], high]])
    assert measure(track, BOX, halves, cfg)["volume"][0] == -1
    whole = Summarize(containment="detector")
    assert measure(track, BOX, halves, whole)["is_contained"][0]


def test_an_exiting_track_takes_its_energy_from_scattering():
    """Angles drawn with Highland's width give the energy back."""
    rng = np.random.default_rng(1)
    ratios, pulls = [], []
    for energy in (400.0, 800.0) * 20:
        left = energy_of_range(Species.MUON, range_cm(Species.MUON, energy) - 14.0 * np.arange(1, 9))
        width = highland_rad(momentum_mev_c(left, MASS_MEV[Species.MUON]), MASS_MEV[Species.MUON], 14.0)
        slope = np.cumsum(np.sqrt(26 / 35) * width[:, None] * rng.normal(size=(8, 2)), axis=0)
        direction = np.column_stack([np.ones(8), slope])
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        found, error = scattering_energy_mev(direction, Species.MUON, 14.0, 0.0)
        ratios.append(found / energy)
        pulls.append((found - energy) / error)
    assert np.median(ratios) == pytest.approx(1.0, abs=0.12)
    assert 0.6 < np.std(pulls) < 1.3
    assert np.isnan(scattering_energy_mev(direction[:3], Species.MUON, 14.0, 0.0)).all()
    # never below what takes it through the path that is seen, however much it turns
    turned = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    found, error = scattering_energy_mev(turned, Species.MUON, 14.0, 0.0, 700.0)
    assert 700 <= found < 720 and error < 20


def test_leaving_tracks_without_scattering_have_at_least_the_energy_of_their_range():
    coord = line((0, 300, 300), (1, 0, 0), 100)
    found = measure(particle(coord, np.full(100, 2.0)), BOX, WHOLE, Summarize())
    assert found["energy_method"][0] == EnergyMethod.CALORIMETRY
    assert found["kinetic_energy_mev"][0] == pytest.approx(200)
    assert found["is_energy_bound"][0] and np.isnan(found["kinetic_energy_error_mev"][0])
    # it deposits 60 MeV, and a muon needs 97 MeV for its 30 cm
    found = measure(particle(coord, np.full(100, 0.6)), BOX, WHOLE, Summarize())
    assert not found["is_contained"][0] and found["energy_method"][0] == EnergyMethod.RANGE
    wanted = energy_of_range(Species.MUON, float(found["length_cm"][0]))
    assert found["kinetic_energy_mev"][0] == pytest.approx(float(wanted)) and wanted == pytest.approx(
        97, abs=4
    )
    long = line((0, 300, 300), (1, 0, 0), 400)
    found = measure(particle(long, np.full(400, 0.6)), BOX, WHOLE, Summarize())
    # so straight that it scatters as little as one of many GeV
    assert found["energy_method"][0] == EnergyMethod.SCATTERING and not found["is_energy_bound"][0]
    assert found["kinetic_energy_error_mev"][0] == found["scattering_energy_error_mev"][0, 0] > 100
    assert (found["scattering_energy_mev"] >= found["range_energy_mev"]).all()


def test_errors_of_ranges_and_of_showers():
    """Straggling of muons is 2 to 4 % of the range, of protons less by the root of the mass; showers go as 1/√E."""
    for species, low, high in ((Species.MUON, 0.02, 0.04), (Species.PROTON, 0.008, 0.016)):
        share = straggling_cm(species, [100.0, 300.0]) / range_cm(species, [100.0, 300.0])
        assert (share > low).all() and (share < high).all(), (species, share)
    track = stopping(Species.MUON, 200)
    cfg = Summarize(length_resolution_cm=0.0)
    found = measure(track, BOX, WHOLE, cfg)
    assert 0.01 < found["kinetic_energy_error_mev"][0] / found["kinetic_energy_mev"][0] < 0.04
    wider = measure(track, BOX, WHOLE, Summarize(length_resolution_cm=1.0))
    assert wider["kinetic_energy_error_mev"][0] > found["kinetic_energy_error_mev"][0]
    coord = line((300, 300, 300), (0, 1, 0), 50)
    cfg = Summarize(shower_scale=1.0, shower_resolution=0.03)
    shower = measure(particle(coord, np.full(50, 20.0), Semantic.SHOWER, Species.ELECTRON), BOX, WHOLE, cfg)
    assert shower["kinetic_energy_error_mev"][0] == pytest.approx(30.0)


def test_showers_are_corrected():
    coord = line((300, 300, 300), (0, 1, 0), 50)
    cfg = Summarize(shower_scale=1.5)
    for semantic in (Semantic.SHOWER, Semantic.MICHEL):
        found = measure(particle(coord, np.ones(50), semantic, Species.ELECTRON), BOX, WHOLE, cfg)
        assert found["kinetic_energy_mev"][0] == pytest.approx(75.0)
        assert np.isnan(found["range_energy_mev"]).all() and np.isnan(found["chi2"]).all()


def test_the_mass_of_a_pi_zero_at_rest():
    columns = {"calorimetric_energy_mev": np.array([67.4884, 50.0, 67.4884])}
    columns["start_direction"] = np.array([[1.0, 0, 0], [0, 1, 0], [1, 0, 0]])
    away = np.array([[20.0, 0, 0], [np.nan] * 3, [-30.0, 0, 0]])
    mass = pi_zero_mass(np.array([0, -1, 0]), columns, away)
    np.testing.assert_allclose(mass, [134.9768, np.nan, 134.9768], rtol=1e-6)


def test_nothing_and_one_voxel():
    nothing = Clusters.group(np.zeros((0, 3), int), np.zeros(0), np.zeros(0, int), 0)
    none = np.zeros((0, 3))
    found = measure(
        Particles(nothing, np.zeros(0, int), np.zeros(0, int), none, none), BOX, WHOLE, Summarize()
    )
    assert all(len(values) == 0 for values in found.values())
    found = measure(particle(np.array([[5, 6, 7]]), np.ones(1)), BOX, WHOLE, Summarize())
    assert found["length_cm"][0] == 0 and found["energy_method"][0] == EnergyMethod.CALORIMETRY


def test_segments_point_along_their_own_track():
    bent = np.concatenate([line((0, 0, 0), (1, 0, 0), 40), line((39, 1, 0), (0, 1, 0), 50)])
    back = line((200, 0, 0), (-1, 0, 0), 30)
    coord = np.concatenate([bent, back])
    clusters = Clusters.group(coord, np.ones(len(coord)), np.repeat([0, 1], [90, 30]), 2)
    along = np.concatenate([np.arange(90.0), np.arange(30.0)])
    owner, direction = segment_directions(clusters, along, np.array([True, True]), 10.0)
    assert owner.tolist() == [0] * 8 + [1] * 2
    np.testing.assert_allclose(
        direction[[0, 2, 5, 7]], [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]], atol=1e-9
    )
    np.testing.assert_allclose(direction[8:], [[-1, 0, 0]] * 2, atol=1e-9)
    owner, _ = segment_directions(clusters, along, np.array([False, True]), 10.0)
    assert owner.tolist() == [1, 1]


def proton_that_interacts(energy_mev: float, num_voxels: int):
    """A proton along x that ends while it is still fast: each voxel has what is lost on its 3 mm."""
    at = energy_of_range(
        Species.PROTON, range_cm(Species.PROTON, energy_mev) - 0.3 * np.arange(num_voxels + 1)
    )
    coord = line((300, 300, 300), (1, 0, 0), num_voxels)
    return particle(coord, -np.diff(at), species=Species.PROTON)


@pytest.mark.parametrize(("energy_mev", "num_voxels"), [(150.0, 20), (300.0, 60), (600.0, 100)])
def test_a_proton_that_does_not_stop_has_the_energy_of_what_it_loses(energy_mev, num_voxels):
    found = measure(proton_that_interacts(energy_mev, num_voxels), BOX, WHOLE, Summarize())
    assert found["energy_method"][0] == EnergyMethod.LOSS and not found["is_energy_bound"][0]
    assert found["kinetic_energy_mev"][0] == pytest.approx(energy_mev, rel=0.1)
    assert found["kinetic_energy_error_mev"][0] == pytest.approx(0.15 * found["kinetic_energy_mev"][0])
    # before, it was much less
    assert found["range_energy_mev"][0, 2] < 0.8 * energy_mev
    off = measure(proton_that_interacts(energy_mev, num_voxels), BOX, WHOLE, Summarize(loss_resolution=0.0))
    assert off["energy_method"][0] == EnergyMethod.RANGE


def test_protons_that_stop_go_by_range_also_where_recombination_takes_their_charge():
    track = stopping(Species.PROTON, 60)
    assert measure(track, BOX, WHOLE, Summarize())["energy_method"][0] == EnergyMethod.RANGE
    energy = track.clusters.energy_V
    # Birks with ICARUS's constants at 0.5 kV/cm, over its value for a minimum-ionising track
    quenched = energy * (1 + 0.0486 / (1.396 * 0.5) * 2.1) / (1 + 0.0486 / (1.396 * 0.5) * energy / 0.3)
    weak = particle(line((100, 300, 300), (1, 0, 0), 60), quenched, species=Species.PROTON)
    assert quenched.sum() < 0.8 * energy.sum()
    assert measure(weak, BOX, WHOLE, Summarize())["energy_method"][0] == EnergyMethod.RANGE


def test_short_tracks_go_by_calorimetry():
    track = stopping(Species.PROTON, 5)
    assert measure(track, BOX, WHOLE, Summarize())["energy_method"][0] == EnergyMethod.CALORIMETRY
    assert measure(track, BOX, WHOLE, Summarize(short_track_cm=1.0))["energy_method"][0] == EnergyMethod.RANGE
