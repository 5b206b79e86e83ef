"""The generators, Geant4's data tables, and Geant4 itself in a process of its own."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from lartpc import config
from lartpc.run.simulate import simulate
from lartpc.simulate import argon, steps
from lartpc.simulate.generators import check, draw_groups, event_seeds, primaries

DEFAULT = config.Simulate()


def gun(pdg: int, kinetic_energy_mev: float) -> config.Generator:
    group = config.ParticleGroup(
        pdg=(pdg,), weight=1, max_count=1, kinetic_energy_mev=(kinetic_energy_mev, kinetic_energy_mev)
    )
    return config.Generator(num_particles=(1, 1), groups=(group,))


# -- generators ---------------------------------------------------------------------------------


def test_primaries_follow_the_configuration():
    num_vertex, num_rain = set(), set()
    for event in range(500):
        shot = primaries(DEFAULT, np.random.default_rng(event))
        vertex = [p for p in shot if p.interaction == 0]
        rain = shot[len(vertex) :]
        num_vertex.add(len(vertex))
        num_rain.add(len(rain))
        assert [p.interaction for p in rain] == list(range(1, len(rain) + 1))
        assert len({p.position_cm for p in vertex}) == 1
        assert np.abs(vertex[0].position_cm).max() <= DEFAULT.box_cm / 2 - DEFAULT.wall_margin_cm
        assert sum(abs(p.pdg) in (11, 13) for p in vertex) <= 1
        for expected, particles in ((DEFAULT.vertex.groups, vertex), (DEFAULT.rain.groups, rain)):
            for p in particles:
                ranges = [group.kinetic_energy_mev for group in expected if p.pdg in group.pdg]
                assert any(low <= p.kinetic_energy_mev <= high for low, high in ranges)
                assert np.abs(p.position_cm).max() <= DEFAULT.box_cm / 2
                assert np.linalg.norm(p.direction) == pytest.approx(1)
    assert num_vertex == {2, 3, 4, 5, 6}
    assert num_rain == {2, 3, 4}


def test_directions_are_isotropic():
    rng = np.random.default_rng(1)
    direction = np.array([p.direction for _ in range(1000) for p in primaries(DEFAULT, rng)])
    # Of n isotropic unit vectors: each mean 0 ± 1/√(3n), each mean square 1/3 ± √(4/45n).
    num = len(direction)
    assert np.abs(direction.mean(0)).max() < 4 / np.sqrt(3 * num)
    assert np.abs((direction**2).mean(0) - 1 / 3).max() < 4 * np.sqrt(4 / 45 / num)


def test_weights_decide_until_a_group_is_full():
    rng = np.random.default_rng(1)
    rain = config.Generator(num_particles=(1, 1), groups=config.RAIN_GROUPS)
    muons = sum(13 in draw_groups(rain, rng)[0].pdg for _ in range(4000))
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
        ({"rain": {"num_particles": (3, 1), "groups": config.RAIN_GROUPS}}, "rain.num_particles"),
        ({"rain": gun(13, 0.0)}, "rain.groups.0.kinetic_energy_mev"),
    ],
)
def test_settings_without_events_are_refused(change, key):
    with pytest.raises(ValueError, match=key):
        check(config.Simulate(**change))


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
    with pytest.raises(ValueError, match="absent is no folder"):
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


# -- Geant4 -------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Keep the tables out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def run_of_three(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "steps.h5"
    simulate(DEFAULT, num_events=3, seed=1, out=out)
    assert [path.name for path in out.parent.iterdir()] == ["steps.h5"]
    return out


def read(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: data[:] for name, data in file.items()}


def test_file_of_steps(run_of_three):
    with h5py.File(run_of_three) as file:
        assert file.attrs["format"] == steps.FORMAT
        assert file.attrs["geant4_data"] == argon.data_dir()[1]
        assert file.attrs["geant4_version"] == "11.4.1"
        # pdg.lbl.gov/AtomicNuclearProperties, liquid argon.
        assert file.attrs["density_g_cm3"] == pytest.approx(1.396)
        assert file.attrs["radiation_length_cm"] == pytest.approx(14.0, rel=0.005)
        assert file.attrs["mean_excitation_energy_ev"] == pytest.approx(188)
        assert file.attrs["box_cm"] == DEFAULT.box_cm
        assert config.Simulate.model_validate(json.loads(file.attrs["config"])) == DEFAULT
        assert {name: data.dtype for name, data in file.items()} == steps.DATASETS
        assert file["segments"].attrs["x_start"] == "mm"
        assert file["trajectories"].attrs["p_start"] == "MeV/c"
    data = read(run_of_three)
    np.testing.assert_array_equal(data["event"]["event_id"], [0, 1, 2])
    for rows in data.values():
        assert (np.diff(rows["event_id"]) >= 0).all()
    half_mm = DEFAULT.box_cm * 5
    for name in ("x_start", "y_end"):
        assert np.abs(data["segments"][name]).max() <= half_mm * (1 + 1e-6)
    charged = data["segments"]["dx"] > 0
    assert data["segments"]["dx"].max() <= 3.001
    assert (data["segments"]["dE"] > 0).all()
    neutral = data["segments"][np.isin(data["segments"]["pdg_id"], (22, 2112))]
    assert len(neutral)
    assert not neutral["dx"].any()
    assert (neutral["x_start"] == neutral["x_end"]).all()
    assert charged.mean() > 0.5


def test_every_trajectory_belongs_to_the_interaction_of_its_primary(run_of_three):
    data = read(run_of_three)
    for event in range(3):
        tracks = data["trajectories"][data["trajectories"]["event_id"] == event]
        shot = data["primaries"][data["primaries"]["event_id"] == event]
        by_id = {row["traj_id"]: row for row in tracks}
        assert len(by_id) == len(tracks)
        for number, primary in enumerate(shot, start=1):
            row = by_id[number]
            assert row["process"] == b"primary"
            assert row["parent_id"] == 0
            for ours, theirs in (("pdg_id", "pdg_id"), ("interaction_id", "interaction_id")):
                assert row[ours] == primary[theirs]
            np.testing.assert_allclose(row["xyz_start"], primary["xyz"], rtol=1e-5, atol=1e-3)
            assert row["ke"] == pytest.approx(primary["ke"], rel=1e-5)
        children = tracks[tracks["parent_id"] > 0]
        assert len(children) > 100
        inherited = [by_id[parent]["interaction_id"] for parent in children["parent_id"]]
        np.testing.assert_array_equal(children["interaction_id"], inherited)
        segments = data["segments"][data["segments"]["event_id"] == event]
        assert set(segments["traj_id"]) <= set(by_id)


def test_same_seed_same_events(run_of_three, tmp_path):
    simulate(DEFAULT, num_events=4, seed=1, out=tmp_path / "longer.h5")
    simulate(DEFAULT, num_events=1, seed=2, out=tmp_path / "other.h5")
    short, longer, other = read(run_of_three), read(tmp_path / "longer.h5"), read(tmp_path / "other.h5")
    for name, rows in short.items():
        np.testing.assert_array_equal(longer[name][longer[name]["event_id"] < 3], rows)
        assert len(longer[name]) > len(rows)
    assert other["event"]["seed"][0] != short["event"]["seed"][0]
    assert other["segments"]["dE"][:100].tolist() != short["segments"]["dE"][:100].tolist()


def test_energy_is_conserved_and_muons_stop_where_they_should(tmp_path):
    # One electron in interaction 0, one muon in interaction 1, in a box that nothing leaves.
    cfg = config.Simulate(box_cm=3000, wall_margin_cm=500, vertex=gun(11, 300), rain=gun(-13, 200))
    simulate(cfg, num_events=4, seed=3, out=tmp_path / "gun.h5")
    data = read(tmp_path / "gun.h5")
    ranges_cm = []
    for event in range(4):
        tracks = data["trajectories"][data["trajectories"]["event_id"] == event]
        segments = data["segments"][data["segments"]["event_id"] == event]
        interaction = dict(zip(tracks["traj_id"], tracks["interaction_id"], strict=True))
        of_electron = np.array([interaction[number] == 0 for number in segments["traj_id"]])
        assert segments["dE"][of_electron].sum(dtype=np.float64) == pytest.approx(300, rel=1e-4)
        muon = segments["traj_id"] == 2
        assert segments["dE"][muon].sum() < 200
        ranges_cm.append(segments["dx"][muon].sum(dtype=np.float64) / 10)
    # Groom, Mokhov and Striganov, At. Data Nucl. Data Tables 78 (2001) 183.
    assert np.median(ranges_cm) == pytest.approx(76.15, rel=0.05)


def test_a_crash_of_geant4_names_the_log(tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.setenv(argon.ENVIRONMENT, str(data))
    log = tmp_path / "logs" / "geant4.log"
    with pytest.raises(RuntimeError, match=r"signal 6; see .*geant4\.log[\s\S]*G4ENSDFSTATEDATA"):
        simulate(DEFAULT, num_events=1, seed=1, out=tmp_path / "out" / "steps.h5", log=log)
    assert log.is_file()
    assert list((tmp_path / "out").iterdir()) == []


def test_an_unknown_particle_is_named(tmp_path):
    cfg = config.Simulate(vertex=gun(1234567, 100))
    with pytest.raises(ValueError, match=r"vertex\.groups\.0\.pdg: Geant4 knows no particle 1234567"):
        simulate(cfg, num_events=1, seed=1, out=tmp_path / "steps.h5", log=tmp_path / "log")
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
