"""The generators, and the data tables of Geant4."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lartpc import config
from lartpc.simulate import argon, cosmic
from lartpc.simulate.generators import check, draw_groups, event_seeds, primaries

DEFAULT = config.Simulate()


def gun(pdg: int, kinetic_energy_mev: float) -> config.Generator:
    group = config.ParticleGroup(
        pdg=(pdg,), weight=1, max_count=1, kinetic_energy_mev=(kinetic_energy_mev, kinetic_energy_mev)
    )
    return config.Generator(num_particles=(1, 1), groups=(group,))


NOTHING = config.Generator(num_particles=(0, 0), groups=())


# -- generators ---------------------------------------------------------------------------------


def test_primaries_follow_the_configuration():
    num_vertex, num_mpr = set(), set()
    for event in range(500):
        shot = primaries(DEFAULT, np.random.default_rng(event))
        vertex = [p for p in shot if p.interaction == 0]
        mpr = shot[len(vertex) :]
        num_vertex.add(len(vertex))
        num_mpr.add(len(mpr))
        assert [p.interaction for p in mpr] == list(range(1, len(mpr) + 1))
        assert len({p.position_cm for p in vertex}) == 1
        assert np.abs(vertex[0].position_cm).max() <= DEFAULT.box_cm / 2 - DEFAULT.wall_margin_cm
        assert sum(abs(p.pdg) in (11, 13) for p in vertex) <= 1
        for expected, particles in ((DEFAULT.vertex.groups, vertex), (DEFAULT.mpr.groups, mpr)):
            for p in particles:
                ranges = [group.kinetic_energy_mev for group in expected if p.pdg in group.pdg]
                assert any(low <= p.kinetic_energy_mev <= high for low, high in ranges)
                assert np.abs(p.position_cm).max() <= DEFAULT.box_cm / 2
                assert np.linalg.norm(p.direction) == pytest.approx(1)
    assert num_vertex == {2, 3, 4, 5, 6}
    assert num_mpr == {2, 3, 4}


def test_directions_are_isotropic():
    rng = np.random.default_rng(1)
    direction = np.array([p.direction for _ in range(1000) for p in primaries(DEFAULT, rng)])
    # Of n isotropic unit vectors: each mean 0 ± 1/√(3n), each mean square 1/3 ± √(4/45n).
    num = len(direction)
    assert np.abs(direction.mean(0)).max() < 4 / np.sqrt(3 * num)
    assert np.abs((direction**2).mean(0) - 1 / 3).max() < 4 * np.sqrt(4 / 45 / num)


def test_weights_decide_until_a_group_is_full():
    rng = np.random.default_rng(1)
    mpr = config.Generator(num_particles=(1, 1), groups=config.MPR_GROUPS)
    muons = sum(13 in draw_groups(mpr, rng)[0].pdg for _ in range(4000))
    assert muons / 4000 == pytest.approx(10 / 14, abs=0.03)
    full = config.Generator(num_particles=(11, 11), groups=config.VERTEX_GROUPS)
    counts = [group.pdg for group in draw_groups(full, rng)]
    assert [counts.count(group.pdg) for group in config.VERTEX_GROUPS] == [1, 2, 2, 4, 2]


def test_an_event_depends_on_its_seed_and_number_only():
    seeds = [event_seeds(seed, event) for seed in (1, 2) for event in (0, 1)]
    shots = [primaries(DEFAULT, np.random.default_rng(generator)) for generator, _ in seeds]
    again = primaries(DEFAULT, np.random.default_rng(event_seeds(1, 1)[0]))
    assert again == shots[1]
    assert len({shot[0] for shot in shots}) == len({transport for _, transport in seeds}) == 4


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"wall_margin_cm": 120.0}, "simulate.wall_margin_cm"),
        ({"vertex": {"num_particles": (2, 12), "groups": config.VERTEX_GROUPS}}, "vertex.num_particles"),
        ({"mpr": {"num_particles": (3, 1), "groups": config.MPR_GROUPS}}, "mpr.num_particles"),
        ({"mpr": gun(13, 0.0)}, "mpr.groups.0.kinetic_energy_mev"),
        ({"vertex": NOTHING, "mpr": NOTHING}, "are both"),
        ({"generator": "gun", "gun": {"kinetic_energy_mev": (5, 1)}}, "simulate.gun.kinetic_energy_mev"),
        ({"generator": "gun", "gun": {"position_cm": (0, 0, 116)}}, "simulate.gun.position_cm"),
        ({"generator": "gun", "gun": {"direction": (0, 0, 0)}}, "simulate.gun.direction"),
        ({"generator": "gun", "gun": {"pdg": ()}}, "simulate.gun.pdg"),
    ],
)
def test_settings_without_events_are_refused(change, key):
    with pytest.raises(ValueError, match=key):
        check(config.Simulate(**change))


@pytest.mark.parametrize(("left_out", "kept"), [("mpr", "vertex"), ("vertex", "mpr")])
def test_vertex_and_rain_each_alone(left_out, kept):
    cfg = config.Simulate(**{left_out: NOTHING, kept: config.Simulate.model_fields[kept].default})
    shot = primaries(cfg, np.random.default_rng(1))
    assert len(shot) >= 2
    assert [p.interaction for p in shot] == (
        [0] * len(shot) if kept == "vertex" else [*range(1, len(shot) + 1)]
    )


def test_a_gun_shoots_one_particle_where_it_is_told():
    aimed = config.Gun(
        pdg=(2212,), kinetic_energy_mev=(99, 101), position_cm=(1, -2, 3), direction=(0, 0, -5)
    )
    shots = [
        primaries(config.Simulate(generator="gun", gun=aimed), np.random.default_rng(seed))
        for seed in range(9)
    ]
    for (shot,) in shots:
        assert (shot.pdg, shot.interaction, shot.time_ns) == (2212, 0, 0.0)
        assert (shot.position_cm, shot.direction) == ((1, -2, 3), (0, 0, -1))
        assert 99 <= shot.kinetic_energy_mev <= 101
    assert len({shot.kinetic_energy_mev for (shot,) in shots}) == 9
    free = config.Simulate(generator="gun")
    shots = [primaries(free, np.random.default_rng(seed)) for seed in range(400)]
    position = np.array([shot.position_cm for (shot,) in shots])
    assert 80 < np.abs(position).max() < 115.2 - 30
    assert np.abs(np.mean([shot.direction for (shot,) in shots], axis=0)).max() < 4 / np.sqrt(3 * 400)


def test_a_gun_may_have_a_range_of_momenta():
    cfg = config.Simulate(generator="gun", gun=config.Gun(pdg=(13, 22, 2212), momentum_mev_c=(100, 1000)))
    shots = [primaries(cfg, np.random.default_rng(seed))[0] for seed in range(300)]
    momentum = {
        pdg: [
            np.sqrt(shot.kinetic_energy_mev**2 + 2 * shot.kinetic_energy_mev * mass_mev)
            for shot in shots
            if shot.pdg == pdg
        ]
        for pdg, mass_mev in ((13, 105.658), (22, 0.0), (2212, 938.272))
    }
    for values in momentum.values():
        assert 100 <= min(values) < 200 and 900 < max(values) <= 1000
    assert max(shot.kinetic_energy_mev for shot in shots if shot.pdg == 2212) < 434
    for wrong in ((0, 5), (5, 1)):
        with pytest.raises(ValueError, match=r"simulate.gun.momentum_mev_c"):
            check(cfg.model_copy(update={"gun": config.Gun(momentum_mev_c=wrong)}))


def test_a_setting_of_another_generator_is_refused():
    with pytest.raises(ValueError, match="gun has no effect with generator 'mpvmpr'"):
        config.Simulate(gun=config.Gun(pdg=(11,)))
    with pytest.raises(ValueError, match="mpr has no effect with generator 'cosmic'"):
        config.Simulate(generator="cosmic", mpr=NOTHING)


def test_the_muon_spectrum_has_the_measured_size():
    # PDG 2024, sec. 30.3.1: 70 per m², s and sr above 1 GeV/c from the vertical; about 1 per cm² and
    # minute through a horizontal plane, muons and the rest together; mean energy 4 GeV.
    momentum = np.geomspace(1, 1000, 5000)
    intensity = cosmic.vertical_intensity(momentum)
    assert np.trapezoid(intensity, momentum) * 1e4 == pytest.approx(70, rel=0.02)
    # through the top alone: half of all that cross a cube
    through_top = cosmic.mean_muons(1.0, 60e6) / 2
    assert 0.7 < through_top < 1.0
    rng = np.random.default_rng(1)
    energy = [muon.kinetic_energy_mev for muon in cosmic.muons(230.4, 1e6, rng)]
    assert np.mean(np.clip(energy, 0, 1e5)) == pytest.approx(4500, rel=0.15)


def test_cosmic_muons_come_from_above_through_the_faces_that_they_see():
    box_cm, window_us = 100.0, 20e6
    found = list(cosmic.muons(box_cm, window_us, np.random.default_rng(2)))
    num, mean = len(found), cosmic.mean_muons(box_cm, window_us)
    assert abs(num - mean) < 4 * np.sqrt(mean)
    direction = np.array([muon.direction for muon in found])
    position = np.array([muon.position_cm for muon in found])
    np.testing.assert_allclose((direction**2).sum(1), 1)
    assert (direction[:, 1] < 0).all()
    on_face = np.isclose(np.abs(position), box_cm / 2, atol=2e-4)
    assert (on_face.sum(1) == 1).all()
    assert (position[on_face] * direction[on_face] < 0).all(), "a muon that leaves"
    top = on_face[:, 1]
    assert top.mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(num))
    # cos²θ, and one more cosine by the area of the top: mean 4/5, variance 2/3 - 16/25
    assert -direction[top, 1].mean() == pytest.approx(0.8, abs=4 * np.sqrt(2 / 75 / top.sum()))
    time_ns = np.array([muon.time_ns for muon in found])
    assert np.abs(time_ns).max() <= window_us * 500
    charge = np.mean([muon.pdg == -13 for muon in found])
    assert charge == pytest.approx(1.28 / 2.28, abs=4 * 0.5 / np.sqrt(num))


def test_cosmic_muons_lie_over_a_vertex():
    cfg = config.Simulate(generator="cosmic")
    shots = [primaries(cfg, np.random.default_rng(seed)) for seed in range(200)]
    muons = [[p for p in shot if p.interaction] for shot in shots]
    assert np.mean([len(found) for found in muons]) == pytest.approx(
        cosmic.mean_muons(cfg.box_cm, 2800), rel=0.2
    )
    for shot, found in zip(shots, muons, strict=True):
        assert 2 <= len(shot) - len(found) <= 6
        assert [p.interaction for p in found] == list(range(1, len(found) + 1))
        assert all(p.time_ns == 0 for p in shot if not p.interaction)


# -- tables for argon ---------------------------------------------------------------------------


def test_tables_are_written_once_by_many(tmp_path, monkeypatch):
    monkeypatch.delenv(argon.ENVIRONMENT, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: argon.data_dir(), range(4)))
    assert found == {(tmp_path / "lartpc" / "geant4-argon-v1", "argon-v1")}
    path, _ = found.pop()
    assert [p.name for p in path.parent.iterdir()] == [path.name], "unfinished folders are left"
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
    assert argon.data_dir() == (path, "argon-v1")
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*")} == before


def test_a_folder_of_the_user_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv(argon.ENVIRONMENT, str(tmp_path))
    assert argon.data_dir() == (tmp_path, "official")
    monkeypatch.setenv(argon.ENVIRONMENT, str(tmp_path / "absent"))
    with pytest.raises(ValueError, match="absent is not a folder"):
        argon.data_dir()


def test_bremsstrahlung_gives_the_radiation_length():
    # At high energy the mean loss per radiation length is T: 1/X0 = (N/A) ∫ dσ/dk k dk / T. PDG: 19.55 g/cm².
    fraction = np.linspace(0, 1, 2001)[:-1]
    chi = argon.bremsstrahlung_mb(1e4, fraction)
    cm2 = chi.mean() * argon.ARGON_Z**2 * 1e-27
    assert argon.ARGON_A / argon.AVOGADRO / cm2 == pytest.approx(19.55, rel=0.02)


def test_photon_cross_sections():
    # Sum of photo-electric, coherent and Klein-Nishina against NIST's mass attenuation (NISTIR 5632).
    energy, nist = np.array([0.01, 0.1]), [63.16, 0.2042]
    klein_nishina_barn = 18 * np.array([0.6405, 0.4927])
    barn = argon.elam_barn(energy, "photo") + argon.elam_barn(energy, "coh") + klein_nishina_barn
    np.testing.assert_allclose(barn * argon.CM2_PER_BARN * argon.AVOGADRO / argon.ARGON_A, nist, rtol=0.04)
    # Sauter: 1/E far above the electron's mass.
    high, higher = argon.sauter([1e4, 2e4])
    assert higher / high == pytest.approx(0.5, rel=0.01)
