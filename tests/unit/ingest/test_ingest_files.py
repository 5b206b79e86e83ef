"""Ingestion of files of edep-sim, of damaged ones and of genuine ones."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from handmade_steps import write_edepsim, write_geant4

from lartpc.config import Ingest
from lartpc.event import IMAGE
from lartpc.ingest import open_source
from lartpc.ingest.formats.edepsim import EdepSimReader
from lartpc.ingest.formats.geant4 import FORMAT
from lartpc.ingest.processes import process_of_codes, process_of_name
from lartpc.run.ingest import ingest
from lartpc.store import open_events
from lartpc.vocab import CreationProcess, Semantic

DATA = os.environ.get("LARTPC_TEST_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="LARTPC_TEST_DATA is not set")


def test_edepsim_with_trajectories_gives_truth(tmp_path):
    source = write_edepsim(tmp_path / "edep.h5")
    reader = open_source(source)
    assert isinstance(reader, EdepSimReader) and reader.has_truth
    assert [reader.identity(entry) for entry in range(reader.num_events)] == [(0, 0, 2), (0, 0, 4), (0, 0, 6)]
    steps = reader.read(0)
    assert np.allclose(steps.time, [100.0, 2000.0])
    assert np.allclose(steps.trajectories.kinetic_energy, [100.0, 40.0], rtol=1e-5)
    assert steps.trajectories.parent_track_id.tolist() == [-1, 10]
    summary = ingest(source, Ingest(), out=tmp_path / "out.h5")
    assert summary.has_truth and summary.num_quarantined == 0
    with open_events(tmp_path / "out.h5") as events:
        assert events[0]["truth_particle"]["semantic"].tolist() == [Semantic.TRACK, Semantic.MICHEL]
        assert events.num_voxels()[1] == 0


def test_edepsim_without_trajectories_gives_an_image(tmp_path):
    source = write_edepsim(tmp_path / "edep.h5", missing=("trajectories", "t0_start"))
    summary = ingest(source, Ingest(), out=tmp_path / "out.h5")
    assert (summary.num_events, summary.has_truth) == (2, False)
    with open_events(tmp_path / "out.h5") as events:
        assert set(events.products) == set(IMAGE)
        assert not bool(events.attributes()["ingest"]["has_truth"])


def test_edepsim_codes_are_geant4_process_types():
    process = [0, 2, 2, 2, 2, 4, 4, 6, 2, 9]
    subprocess = [0, 2, 12, 13, 14, 121, 151, 201, 13, 1]
    parent = [-1, 1, 1, 1, 1, 1, 1, 1, -1, 1]
    assert process_of_codes(process, subprocess, parent).tolist() == [
        CreationProcess.PRIMARY,
        CreationProcess.IONISATION,
        CreationProcess.PHOTO_ELECTRIC,
        CreationProcess.COMPTON,
        CreationProcess.CONVERSION,
        CreationProcess.HADRONIC,
        CreationProcess.CAPTURE,
        CreationProcess.DECAY,
        CreationProcess.PRIMARY,
        CreationProcess.OTHER,
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("muMinusCaptureAtRest", CreationProcess.CAPTURE),
        ("hBertiniCaptureAtRest", CreationProcess.CAPTURE),
        ("pi-Inelastic", CreationProcess.HADRONIC),
        ("nCapture", CreationProcess.HADRONIC),
        ("muBrems", CreationProcess.BREMSSTRAHLUNG),
        ("CoulombScat", CreationProcess.OTHER),
    ],
)
def test_geant4_process_names(name, expected):
    assert process_of_name(name) == expected


def test_missing_field_names_file_dataset_and_field(tmp_path):
    source = write_edepsim(tmp_path / "edep.h5", missing=("pdg_id",))
    with pytest.raises(ValueError, match=r"edep\.h5: dataset 'segments' has no field 'pdg_id' or 'pdgId'"):
        open_source(source)


def test_a_file_without_rows_is_a_shard_without_events(tmp_path):
    source = write_geant4(tmp_path / "s.h5", [], [], format=FORMAT)
    assert ingest(source, Ingest(), out=tmp_path / "out.h5").num_events == 0
    with open_events(tmp_path / "out.h5") as events:
        assert len(events) == 0


@needs_data
@pytest.mark.parametrize(
    "name",
    [
        "geant4_steps_20ev.h5",
        "edepsim_hdf5_mixed_100ev.h5",
        "edepsim_hdf5_small_10ev.h5",
        "edepsim_hdf5_corsika_25ev.h5",
        "edepsim_root_electron_10ev.twin.h5",
        "edepsim_root_electron_10ev.root",
    ],
)
@pytest.mark.parametrize(
    "cfg",
    [Ingest(), Ingest(detector="2x2", centre_cm=None, num_voxels=128, voxel_threshold_mev=0.1, volumes=())],
)
def test_real_files_keep_the_energy_of_each_event(name, cfg, tmp_path):
    source = Path(str(DATA)) / name
    opened = open_source(source)
    read_mev = [opened.read(entry).energy.sum() for entry in range(opened.num_events)]
    opened.close()
    assert ingest(source, cfg, out=tmp_path / "out.h5").num_quarantined == 0
    with open_events(tmp_path / "out.h5") as events:
        for event, expected_mev in zip(events.stream(IMAGE), read_mev, strict=True):
            row = event["event"]
            accounted_mev = (
                event["voxel"]["energy"].sum(dtype=np.float64)
                + row["energy_outside_mev"][0]
                + row["energy_below_mev"][0]
            )
            assert accounted_mev == pytest.approx(expected_mev, rel=1e-5)
            assert row["energy_mev"][0] == pytest.approx(expected_mev, rel=1e-12)


@needs_data
@pytest.mark.parametrize(
    ("name", "num_events", "num_steps", "has_truth"),
    [
        ("geant4_steps_20ev.h5", 20, 54_647, True),
        ("edepsim_hdf5_mixed_100ev.h5", 100, 73_789, False),
        ("edepsim_hdf5_small_10ev.h5", 10, 2_736, False),
        ("edepsim_hdf5_corsika_25ev.h5", 25, 1_095, False),
        ("edepsim_hdf5_empty.h5", 0, 0, False),
    ],
)
def test_real_files_keep_their_energy(name, num_events, num_steps, has_truth, tmp_path):
    source = Path(str(DATA)) / name
    with h5py.File(source) as file:
        energy_mev = file["segments"]["dE"].sum(dtype=np.float64)
    summary = ingest(source, Ingest(), out=tmp_path / "out.h5")
    assert (summary.num_events, summary.num_quarantined) == (num_events, 0)
    assert summary.has_truth == has_truth
    assert summary.energy_mev == pytest.approx(energy_mev, rel=1e-9)
    with open_events(tmp_path / "out.h5") as events:
        images = list(events.stream(IMAGE))
    assert sum(int(image["event"]["num_steps"][0]) for image in images) == num_steps
    voxels_mev = sum(float(image["voxel"]["energy"].sum(dtype=np.float64)) for image in images)
    accounted_mev = voxels_mev + summary.energy_outside_mev + summary.energy_below_mev
    assert accounted_mev == pytest.approx(energy_mev, rel=1e-6)


@needs_data
def test_class_mix_of_geant4_events_is_that_of_the_field(tmp_path):
    ingest(Path(str(DATA)) / "geant4_steps_20ev.h5", Ingest(), out=tmp_path / "out.h5")
    with open_events(tmp_path / "out.h5") as events:
        semantic = np.concatenate([e["truth_voxel"]["semantic"] for e in events.stream(("truth_voxel",))])
    counts = np.bincount(semantic, minlength=5) / 20
    # PILArNet-M (arXiv:2502.02558): 1592, 1684, 28, 76, 947 voxels per event; 20 events fluctuate
    expected = np.array([1592, 1684, 28, 76, 947])
    assert (np.abs(np.log(counts / expected)) < np.log([1.6, 1.8, 3, 5, 1.6])).all(), counts
