"""The generators, Geant4's data tables, and Geant4 itself in a process of its own."""

import json
import shutil
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from lartpc import config
from lartpc.run.simulate import simulate
from lartpc.simulate import argon, cosmic, steps
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
        assert len(longer[name]) > len(rows) or name == "neutrinos"  # no generator, no neutrinos
    assert other["event"]["seed"][0] != short["event"]["seed"][0]
    assert other["segments"]["dE"][:100].tolist() != short["segments"]["dE"][:100].tolist()


def test_shards_side_by_side_are_those_one_by_one(run_of_three, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(simulate, DEFAULT, num_events=3, seed=seed, out=tmp_path / f"{seed}.h5")
            for seed in (1, 2)
        ]
        for job in jobs:
            job.result()
    alone, together = read(run_of_three), read(tmp_path / "1.h5")
    assert alone.keys() == together.keys()
    for name, rows in alone.items():
        assert rows.tobytes() == together[name].tobytes()
    assert read(tmp_path / "2.h5")["event"]["seed"][0] != together["event"]["seed"][0]


def test_memory_does_not_grow_with_events(tmp_path):
    segments, trajectories = np.zeros(4000, steps.SEGMENTS), np.zeros(1000, steps.TRAJECTORIES)
    peak = []
    for num_events in (40, 120):
        tracemalloc.start()
        with steps.StepsWriter(tmp_path / "steps.h5", DEFAULT, {}) as writer:
            for event in range(num_events):
                writer.add(event, 1, [], segments.copy(), trajectories.copy())
        peak.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peak[1] < 1.1 * peak[0]
    assert len(read(tmp_path / "steps.h5")["segments"]) == 120 * 4000


def test_a_folder_with_the_layout_of_the_official_data_is_used_and_named(run_of_three, tmp_path, monkeypatch):
    # The official sets cannot be had here: this is a copy of ours without the file that says so.
    shutil.copytree(argon.data_dir()[0], tmp_path / "data")
    (tmp_path / "data" / argon.MARKER).unlink()
    monkeypatch.setenv(argon.ENVIRONMENT, str(tmp_path / "data"))
    simulate(DEFAULT, num_events=1, seed=1, out=tmp_path / "steps.h5")
    with h5py.File(tmp_path / "steps.h5") as file:
        assert file.attrs["geant4_data"] == "official"
    ours = read(run_of_three)["segments"]
    assert read(tmp_path / "steps.h5")["segments"].tobytes() == ours[ours["event_id"] == 0].tobytes()


def test_energy_is_conserved_and_muons_stop_where_they_should(tmp_path):
    # One electron in interaction 0, one muon in interaction 1, in a box that nothing leaves.
    cfg = config.Simulate(box_cm=3000, wall_margin_cm=500, vertex=gun(11, 300), mpr=gun(-13, 200))
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


def test_gun_and_cosmics_in_geant4(tmp_path):
    aimed = config.Gun(pdg=(-13,), kinetic_energy_mev=(80, 80), position_cm=(10, 20, 30), direction=(1, 0, 0))
    simulate(config.Simulate(generator="gun", gun=aimed), num_events=1, seed=1, out=tmp_path / "gun.h5")
    data = read(tmp_path / "gun.h5")
    (shot,) = data["primaries"]
    assert (shot["pdg_id"], shot["ke"]) == (-13, 80)
    first = data["segments"][0]
    assert (first["x_start"], first["y_start"], first["z_start"]) == (100, 200, 300)
    assert first["x_end"] > 102

    # about every other event has no muon, and with nothing at the vertex nothing at all
    sparse = config.Simulate(generator="cosmic", vertex=NOTHING, cosmic=config.Cosmic(window_us=500))
    simulate(sparse, num_events=12, seed=1, out=tmp_path / "cosmic.h5")
    data = read(tmp_path / "cosmic.h5")
    np.testing.assert_array_equal(data["event"]["event_id"], np.arange(12))
    count = np.bincount(data["primaries"]["event_id"], minlength=12)
    assert 0 in count and count.max() > 1
    tracks = data["trajectories"]
    born = tracks[tracks["process"] == b"primary"]
    assert np.abs(born["t_start"]).max() < 250e3
    assert np.ptp(born["t_start"]) > 100e3
    for event in np.flatnonzero(count == 0):
        assert not (data["segments"]["event_id"] == event).any()


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
