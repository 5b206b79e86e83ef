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

    cfg = CFG.model_copy(update={"centre_cm": (0.0, 0.0, 0.0)})
    summary, events, quarantined = events_of(write_flow(tmp_path / "a.h5", spoil), tmp_path, cfg)
    assert summary.num_quarantined == 1 and [event.num_voxels for event in events] == [0, 0, 1]
    assert "energy of step 0 is not finite" in quarantined[0][1]


@pytest.mark.parametrize(
    ("row", "pair", "words"),
    [
        (4, [2, 77], "refers to hit 77, there are 5"),
        (4, [3, 4], "refers to event 3, there are 3"),
        (4, [2, 3], "gives hit 3 to 2 events, and 2 of 5 hits not to one event each"),
        (4, [0, 4], "leaves out hit 4 of event 0, and 1 of 5 in all"),
    ],
)
def test_references_are_not_believed(tmp_path, row, pair, words):
    def spoil(file):
        file["charge/events/ref/charge/calib_final_hits/ref"][row] = pair

    with pytest.raises(ValueError, match=words):
        open_source(write_flow(tmp_path / "a.h5", spoil))


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


def renew(file, name, rows):
    del file[name]
    file[name] = np.asarray(rows)


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
        del file["batch_1/Q"]
        file["batch_1/Q"] = np.zeros(3)

    with pytest.raises(ValueError, match=r"a\.h5: datasets of '/batch_1' differ in length"):
        open_source(write_jax(tmp_path / "a.h5", spoil))
    with pytest.raises(ValueError, match=r"'batch_1/eventID' is float64; whole numbers are needed"):
        open_source(write_jax(tmp_path / "c.h5", lambda file: renew(file, "batch_1/eventID", [7.0, np.nan])))
    with pytest.raises(ValueError, match="group '/batch_2' has no dataset 'pix_z'"):
        open_source(write_jax(tmp_path / "b.h5", lambda file: file.pop("batch_2/pix_z")))

    with pytest.raises(ValueError, match=r"'batch_1/eventID' has event -7; only -1, of padding, is below 0"):
        open_source(write_jax(tmp_path / "d.h5", lambda file: renew(file, "batch_1/eventID", [7, -7])))


@pytest.mark.parametrize(
    ("charge_ke", "reason"), [(300.0, "hits of -10.144 MeV beside 3.38134 MeV"), (50.0, None)]
)
def test_charges_of_the_other_sign_are_not_noise(tmp_path, charge_ke, reason):
    path = write_jax(tmp_path / "a.h5", lambda file: renew(file, "batch_1/Q", [-charge_ke, 100.0]))
    summary, _, quarantined = events_of(path, tmp_path)
    assert summary.num_quarantined == (reason is not None)
    assert reason is None or reason in quarantined[1][1]


def test_a_file_of_which_only_empty_events_are_left_fails(tmp_path):
    """Each event that has hits fails for the same reason, beside one without any."""

    def spoiled(file):
        renew(file, "batch_0/Q", [-1.0, -2.0])
        for number in (1, 2, 10):
            renew(file, f"batch_{number}/Q", [-300.0, 1.0])

    with pytest.raises(
        ValueError, match=r"none of its 3 events in which there is anything can be used; 3 of them"
    ):
        events_of(write_jax(tmp_path / "a.h5", spoiled), tmp_path)


def test_events_of_larnd_sim_jax_may_be_in_several_batches(tmp_path):
    """And batches have rows of padding, event 0 at the origin, with and without charge."""

    def several(file):
        renew(file, "batch_0/eventID", [0, 5])
        renew(file, "batch_0/pix_x", [0.22, 2.0])
        renew(file, "batch_0/pix_y", [0.22, 2.0])
        renew(file, "batch_1/eventID", [5, 7])
        renew(file, "batch_2/eventID", [0, -1])
        renew(file, "batch_2/Q", [-3e-6, 30.0])

    summary, events, _ = events_of(write_jax(tmp_path / "a.h5", several), tmp_path)
    assert [int(event["event"]["event"][0]) for event in events] == [5, 7, 9]
    charge_ke = [event["voxel"]["energy"].sum() * MIP_RECOMBINATION / 0.0236 for event in events]
    assert charge_ke == pytest.approx([20 + 10, 20, 30]) and "3 rows of padding" in summary.selection
    # hits of event 0 elsewhere are an event
    path = write_jax(tmp_path / "b.h5", lambda file: renew(file, "batch_2/eventID", [0, 0]))
    assert [open_source(path).identity(entry)[2] for entry in range(4)] == [5, 7, 0, 9]


def test_a_group_for_each_event_of_a_batch(tmp_path):
    def grouped(file):
        for number, event in ((0, 5), (1, 7), (2, 8), (10, 5)):
            file.move(f"batch_{number}", "moved")
            file.move("moved", f"batch_{number}/event_{event}")
        renew(file, "batch_10/event_5/eventID", [5, 5])

    path = write_jax(tmp_path / "a.h5", grouped)
    source = open_source(path)
    assert [source.identity(entry)[2] for entry in range(source.num_events)] == [5, 7, 8]
    assert len(source.read(0)) == 4 and len(source.read(1)) == 2
    source.close()
    with h5py.File(path, "r+") as file:
        file["batch_1/event_7/eventID"][1] = 6
    with pytest.raises(ValueError, match=r"'/batch_1/event_7' has hits of events \[6, 7\]"):
        open_source(path)


@pytest.mark.parametrize(
    ("name", "num_events", "charge_ke"),
    [("batches", 26, None), ("older", 26, 9_900.0), ("parametrized", 7, None)],
)
def test_genuine_larnd_sim_jax(data_folder, tmp_path, name, num_events, charge_ke):
    """The charge of all hits above their pedestal is kept, but that of padding."""
    path = data_folder / f"larndsim_jax_{name}.h5"
    expected = {}
    with h5py.File(path) as file:
        for batch in file.values():
            for group in [batch] if "Q" in batch else batch.values():
                charge, number = group["Q"][:].astype(float), group["eventID"][:]
                for event in np.unique(number[charge > 0]).tolist():
                    expected[event] = expected.get(event, 0) + charge[(number == event) & (charge > 0)].sum()
    padding = expected.pop(0, 0.0)
    assert (padding > 0) == (name == "older")
    summary, events, _ = events_of(path, tmp_path, config.Ingest())
    assert (summary.num_events, summary.num_quarantined) == (num_events, 0)
    found = {
        int(event["event"]["event"][0]): event["event"]["energy_mev"][0] * MIP_RECOMBINATION / 0.0236
        for event in events
    }
    assert found == pytest.approx(expected) and summary.energy_outside_mev == 0


def test_genuine_hits_lie_where_their_segments_do(data_folder):
    """The segments of an event of larnd-sim-jax and its hits, which were made of them: axes are put back."""
    segments, hits = (open_source(data_folder / f"larndsim_jax_{name}.h5") for name in ("input", "batches"))
    middle = {}
    for source in (segments, hits):
        for entry in range(source.num_events):
            steps = source.read(entry)
            weight = steps.energy / steps.energy.sum()
            middle.setdefault(steps.event, []).append(weight @ (0.5 * (steps.start + steps.end)))
    pairs = np.array([both for both in middle.values() if len(both) == 2])
    assert len(pairs) == 26
    assert (np.median(np.abs(pairs[:, 0] - pairs[:, 1]), axis=0) < 1.5).all()


def test_genuine_ndlar_flow(data_folder, tmp_path):
    path = data_folder / "ndlar_flow_12ev.h5"
    with h5py.File(path) as file:
        energy = file["charge/calib_final_hits/data"]["E"]
        ids = file["charge/events/data"]["id"].tolist()
    summary, events, _ = events_of(path, tmp_path, CFG)
    assert [int(event["event"]["event"][0]) for event in events] == ids
    assert summary.num_quarantined == 0 and summary.energy_mev == pytest.approx(energy[energy > 0].sum())


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
