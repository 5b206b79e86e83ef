"""Simulation with Geant4: what is in a file of steps, and that it is the same again."""

import json
import shutil
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
from test_simulate import DEFAULT, NOTHING, gun

from lartpc import config
from lartpc.run.simulate import simulate
from lartpc.simulate import argon, steps


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
