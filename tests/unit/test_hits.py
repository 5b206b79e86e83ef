"""Hits of ndlar_flow and of larnd-sim-jax, written here by their documented layouts; packets are refused."""

import h5py
import numpy as np
import pytest

from lartpc import config
from lartpc.ingest import open_source
from lartpc.ingest.formats.hits import MIP_RECOMBINATION, FlowReader, JaxReader
from lartpc.run.ingest import ingest
from lartpc.store import open_events

CFG = config.Ingest(voxel_size_cm=0.4, num_voxels=320)
HIT = np.dtype(
    [
        *(("id", "u4"), ("x", "f8"), ("y", "f8"), ("z", "f8"), ("t_drift", "f8"), ("ts_pps", "u8")),
        *(("io_group", "u8"), ("io_channel", "u8"), ("Q", "f8"), ("E", "f8")),
    ]
)
REGION = np.dtype([("start", "i4"), ("stop", "i4")])


def write_flow(path, change=lambda file: None, hits_name="calib_final_hits"):
    """Write three events: hits 0, 1, 2, none, and hits 3, 4; hit 1 is below its pedestal."""
    hits = np.zeros(5, HIT)
    hits["id"] = np.arange(5)
    hits["x"], hits["y"], hits["z"] = [1.0, 1.1, 30.0, -5.0, 999.0], 2.0, [3.0, 3.1, 3.0, 4.0, 4.0]
    hits["E"] = [1.5, -0.25, 2.0, 0.75, 4.0]
    with h5py.File(path, "w") as file:
        file[f"charge/{hits_name}/data"] = hits
        events = np.zeros(3, [("id", "u8"), ("nhit", "u4")])
        events["id"] = [10, 11, 20]
        file["charge/events/data"] = events
        folder = file.create_group(f"charge/events/ref/charge/{hits_name}")
        folder["ref"] = np.array([[0, 0], [0, 1], [0, 2], [2, 3], [2, 4]], "u4")
        folder["ref_region"] = np.array([(0, 3), (0, 0), (3, 5)], REGION)
        change(file)
    return path


def events_of(path, tmp_path, cfg=CFG):
    summary = ingest(path, cfg, out=tmp_path / "events.h5")
    with open_events(tmp_path / "events.h5") as events:
        return summary, list(events.stream()), events.quarantined()


@pytest.mark.parametrize("hits_name", ["calib_final_hits", "calib_prompt_hits"])
def test_hits_of_ndlar_flow(tmp_path, hits_name):
    path = write_flow(tmp_path / "any.name", hits_name=hits_name)
    source = open_source(path)
    assert isinstance(source, FlowReader) and source.selection == f"charge/{hits_name}"
    assert np.allclose(source.bounds_cm(), [[-5, 2, 3], [999, 2, 4]])
    summary, events, _ = events_of(path, tmp_path, CFG.model_copy(update={"centre_cm": (0.0, 0.0, 0.0)}))
    assert summary.truth == () and (summary.num_events, summary.num_quarantined) == (3, 0)
    assert [int(event["event"]["event"][0]) for event in events] == [10, 11, 20]
    # the noise hit is left out, and the one at x = 999 cm is outside
    assert summary.energy_mev == pytest.approx(8.25) and summary.energy_outside_mev == pytest.approx(4.0)
    assert events[0].box.to_cm(events[0]["voxel"]["coord"] + 0.5) == pytest.approx(
        np.array([[1.0, 2.2, 3.0], [30.2, 2.2, 3.0]]), abs=0.21
    )
    assert events[0]["voxel"]["energy"].tolist() == [1.5, 2.0] and events[1].num_voxels == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.pop("charge/events/ref"), "no references from events to hits"),
        (lambda file: file.pop("charge/events"), "no references from events to hits"),
    ],
)
def test_missing_references_are_named(tmp_path, change, words):
    with pytest.raises(ValueError, match=words):
        open_source(write_flow(tmp_path / "a.h5", change))


def test_missing_fields_are_named(tmp_path):
    def no_energy(file):
        hits = file["charge/calib_final_hits/data"][:]
        del file["charge/calib_final_hits/data"]
        file["charge/calib_final_hits/data"] = hits[["x", "y", "z", "Q"]]

    with pytest.raises(ValueError, match=r"'charge/calib_final_hits/data' has no field 'E' \(energy\)"):
        open_source(write_flow(tmp_path / "a.h5", no_energy))

    def fewer_events(file):
        events = file["charge/events/data"][:2]
        del file["charge/events/data"]
        file["charge/events/data"] = events

    with pytest.raises(ValueError, match="has 2 events, their references 3"):
        open_source(write_flow(tmp_path / "b.h5", fewer_events))


def test_bad_hits_set_their_event_aside(tmp_path):
    def spoil(file):
        hits = file["charge/calib_final_hits/data"][:]
        hits["E"][0] = np.nan
        file["charge/calib_final_hits/data"][:] = hits
        file["charge/events/ref/charge/calib_final_hits/ref"][4] = [2, 77]

    summary, events, quarantined = events_of(write_flow(tmp_path / "a.h5", spoil), tmp_path)
    assert summary.num_quarantined == 2 and not any(event.num_voxels for event in events)
    assert "energy of step 0 is not finite" in quarantined[0][1]
    assert "refers to hit 77, 'charge/calib_final_hits/data' has 5" in quarantined[2][1]


def test_truncated_and_empty_flow_files(tmp_path):
    path = write_flow(tmp_path / "a.h5")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match="cannot be read"):
        open_source(path)

    def empty(file):
        for name in ("charge/calib_final_hits/data", "charge/events/data"):
            rows = file[name][:0]
            del file[name]
            file[name] = rows
        folder = file["charge/events/ref/charge/calib_final_hits"]
        for name, rows in (("ref", np.zeros((0, 2), "u4")), ("ref_region", np.zeros(0, REGION))):
            del folder[name]
            folder[name] = rows

    summary, events, _ = events_of(write_flow(tmp_path / "b.h5", empty), tmp_path)
    assert summary.num_events == 0 and not events


def write_jax(path, change=lambda file: None):
    with h5py.File(path, "w") as file:
        for number, event in ((0, 5), (1, 7), (10, 9), (2, 8)):
            batch = file.create_group(f"batch_{number}")
            batch["eventID"] = np.full(2, event)
            batch["pix_x"], batch["pix_y"] = np.array([1.0, 2.0]), np.array([3.0, 4.0])
            batch["pix_z"], batch["Q"] = np.array([50.0, 51.0]), np.array([10.0, 20.0])
        change(file)
    return path


def test_hits_of_larnd_sim_jax(tmp_path):
    path = write_jax(tmp_path / "any.name")
    source = open_source(path)
    assert isinstance(source, JaxReader)
    assert [source.identity(entry)[2] for entry in range(4)] == [5, 7, 8, 9]  # batch 10 comes last
    assert np.allclose(source.read(0).start, [[50, 3, 1], [51, 4, 2]])  # the drift is along x again
    summary, events, _ = events_of(path, tmp_path)
    assert summary.truth == () and summary.num_voxels == 8
    # 10 ke- of a minimum-ionising track: 236 keV over a recombination of 0.70
    assert 0.69 < MIP_RECOMBINATION < 0.71
    assert events[0]["voxel"]["energy"] == pytest.approx([0.236 / 0.698, 0.472 / 0.698], rel=2e-3)


def test_bad_batches(tmp_path):
    def spoil(file):
        file["batch_0/eventID"][1] = 6
        del file["batch_1/Q"]
        file["batch_1/Q"] = np.zeros(3)

    summary, _, quarantined = events_of(write_jax(tmp_path / "a.h5", spoil), tmp_path)
    assert summary.num_quarantined == 2
    assert "hits of events [5, 6]" in quarantined[0][1] and "differ in length" in quarantined[1][1]
    with pytest.raises(ValueError, match="group '/batch_2' has no dataset 'pix_z'"):
        open_source(write_jax(tmp_path / "b.h5", lambda file: file.pop("batch_2/pix_z")))


@pytest.mark.parametrize("name", ["packets", "charge/packets/data"])
def test_packets_are_refused_with_the_remedy(tmp_path, name):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file[name] = np.zeros(
            3, [("io_group", "u1"), ("chip_id", "u1"), ("dataword", "u1"), ("timestamp", "u8")]
        )
    with pytest.raises(ValueError, match="no positions; give the hits that ndlar_flow makes"):
        open_source(path)


def test_true_deposits_of_a_larnd_sim_file_are_read_and_named(tmp_path):
    ends = [(f"{axis}_{side}", "f4") for axis in "xyz" for side in ("start", "end")]
    segments = np.zeros(2, [("event_id", "u4"), ("traj_id", "u4"), ("pdg_id", "i4"), *ends, ("dE", "f4")])
    segments["dE"], segments["pdg_id"] = 1.0, 13
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["segments"] = segments
        file["packets"] = np.zeros(3, [("io_group", "u1"), ("dataword", "u1")])
    summary, _, _ = events_of(path, tmp_path)
    assert summary.selection == "segments, the true deposits; not packets" and summary.energy_mev == 2.0
