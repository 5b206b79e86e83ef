import json
import os
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from handmade_steps import g4_muon, g4_step, write_geant4
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lartpc.config import Ingest, Volume
from lartpc.event import GENERATED, IMAGE, TRUTH
from lartpc.ingest import open_source
from lartpc.ingest.formats.geant4 import FORMAT, Geant4Reader
from lartpc.provenance import digest
from lartpc.run.ingest import ingest
from lartpc.simulate.steps import FORMAT as WRITTEN_FORMAT
from lartpc.store import open_events
from lartpc.vocab import CreationProcess, Semantic

DATA = os.environ.get("LARTPC_TEST_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="LARTPC_TEST_DATA is not set")


@pytest.fixture
def mixed_events(tmp_path):
    """Entry 0 good, 1 empty, 2 with a negative energy, 3 one voxel, 4 good."""
    good, one = g4_muon(3), g4_muon(11)
    bad = g4_muon(9)
    point = g4_step(11, 1, 13, (1, 1, 1), (1, 1, 1), 0.4)
    last = g4_muon(40)
    steps = [good[0], g4_step(9, 1, 13, (0, 0, 0), (9, 0, 0), -1.0), point, last[0]]
    return write_geant4(
        tmp_path / "steps.h5",
        steps,
        [good[1], bad[1], one[1], last[1]],
        events=[3, 5, 9, 11, 40],
        format=FORMAT,
        centre_cm=(0.0, 0.0, 0.0),
    )


def test_reader_and_writer_agree_on_the_name_of_the_format():
    assert FORMAT == WRITTEN_FORMAT


def test_geant4_is_read_in_cm(mixed_events):
    reader = open_source(mixed_events)
    assert isinstance(reader, Geant4Reader) and reader.has_truth
    assert reader.num_events == 5 and reader.centre_cm == (0.0, 0.0, 0.0)
    steps = reader.read(0)
    assert np.allclose(steps.start, [[-5, 0, 0]]) and np.allclose(steps.end, [[5, 0, 0]])
    assert np.allclose(steps.trajectories.position, [[-5, 0, 0]])
    assert steps.trajectories.process.tolist() == [CreationProcess.PRIMARY]
    assert len(reader.read(1)) == 0 and len(reader.read(1).trajectories.track_id) == 0
    # backwards too
    assert reader.read(4).event == 40 and reader.read(0).event == 3
    reader.close()


def test_a_bad_event_is_set_aside_and_keeps_its_place(mixed_events, tmp_path):
    summary = ingest(mixed_events, Ingest(), out=tmp_path / "out.h5", file_uid="shard")
    assert (summary.num_events, summary.num_quarantined) == (5, 1)
    assert summary.energy_mev == pytest.approx(40.4)
    with open_events(tmp_path / "out.h5") as events:
        assert events.file_uid == "shard" and events.products
        assert set(events.products) == set(IMAGE + TRUTH + GENERATED)
        assert events.entries.tolist() == [0, 1, 2, 3, 4]
        assert events[:][2]["event"]["event"].tolist() == [9]
        assert [event["event"]["event"][0] for event in events] == [3, 5, 9, 11, 40]
        ((entry, (step, reason)),) = events.quarantined().items()
        assert (entry, step) == (2, "ingest") and "energy of step 0 is negative" in reason
        assert events.num_voxels()[[1, 2, 3]].tolist() == [0, 0, 1]
        assert (events[0]["truth_voxel"]["semantic"] == Semantic.TRACK).all()
        assert bool(events.attributes()["ingest"]["has_truth"])


def test_several_files_are_one_with_their_events_in_order(mixed_events, tmp_path):
    rows = [g4_muon(event) for event in (7, 8)]
    stated = {"format": FORMAT, "centre_cm": (0.0, 0.0, 0.0)}
    other = write_geant4(tmp_path / "other.h5", [row[0] for row in rows], [row[1] for row in rows], **stated)
    copy = shutil.copy(mixed_events, tmp_path / "copy.h5")
    paths = [mixed_events, other, copy]
    cfg = Ingest(centre_cm=(0, 0, 0))
    summary = ingest(paths, cfg, out=tmp_path / "out.h5", file_uid="a/0")
    alone = [ingest(path, cfg, out=tmp_path / f"{i}.h5", file_uid="b") for i, path in enumerate(paths)]
    assert summary.num_events == sum(one.num_events for one in alone) == 12
    assert summary.num_voxels == sum(one.num_voxels for one in alone)
    assert summary.energy_mev == pytest.approx(sum(one.energy_mev for one in alone))
    with open_events(tmp_path / "out.h5") as events:
        assert events.entries.tolist() == list(range(12))
        assert set(events.quarantined()) == {2, 9}
        names = [path.name for path in map(Path, paths)]
        assert list(events.origins()) == [
            *((names[0], i) for i in range(5)),
            *((names[1], i) for i in range(2)),
            *((names[2], i) for i in range(5)),
        ]
        assert len(json.loads(events.attributes()["ingest"]["inputs"])) == 3
        with open_events(tmp_path / "1.h5") as second:
            for mine, theirs in zip(events[5:7], second, strict=True):
                for name in theirs:
                    for column, values in theirs[name].items():
                        np.testing.assert_array_equal(mine[name][column], values)


def test_files_that_cannot_be_read_are_all_named(mixed_events, tmp_path):
    (tmp_path / "bad1.h5").write_text("no")
    paths = [tmp_path / "bad1.h5", mixed_events, tmp_path / "gone.h5"]
    with pytest.raises(ValueError, match=r"2 of 3 files cannot be read(.|\n)*bad1\.h5(.|\n)*gone\.h5"):
        ingest(paths, Ingest(), out=tmp_path / "out.h5", file_uid="a/0")
    assert not (tmp_path / "out.h5").exists()


def test_files_of_different_kinds_are_not_joined(mixed_events, tmp_path):
    step, trajectory = g4_muon(7)
    other = write_geant4(tmp_path / "other.h5", [step], [trajectory])
    with pytest.raises(ValueError, match=r"differ in their centre: \(0.0, 0.0, 0.0\) and None"):
        ingest([mixed_events, other], Ingest(), out=tmp_path / "out.h5", file_uid="a/0")


def test_several_files_need_a_name(mixed_events, tmp_path):
    with pytest.raises(ValueError, match="give --uid"):
        ingest([mixed_events, mixed_events], Ingest(), out=tmp_path / "out.h5")


def test_file_uid_is_the_digest_of_the_source_by_default(mixed_events, tmp_path):
    ingest(mixed_events, Ingest(), out=tmp_path / "out.h5")
    with open_events(tmp_path / "out.h5") as events:
        assert events.file_uid == digest(mixed_events)


def test_energy_outside_the_box_and_below_the_threshold_is_counted(mixed_events, tmp_path):
    cfg = Ingest(num_voxels=16, voxel_size_cm=0.5, voxel_threshold_mev=0.5)
    summary = ingest(mixed_events, cfg, out=tmp_path / "out.h5")
    assert summary.energy_outside_mev == pytest.approx(8.0)
    assert summary.energy_below_mev == pytest.approx(0.4)
    with open_events(tmp_path / "out.h5") as events:
        assert events[3]["event"]["energy_below_mev"][0] == pytest.approx(0.4)


def test_box_is_centred_as_configured_as_stated_or_on_the_origin(tmp_path):
    """Whatever the deposits are, so that one outlier, or another file, does not move it."""
    centres = []
    for cfg, far, attrs in (
        (Ingest(), 0, {}),
        (Ingest(), 10_000_000, {}),  # 10 km away, in mm
        (Ingest(), 0, {"centre_cm": (7.0, 8.0, 9.0)}),
        (Ingest(centre_cm=(1, 2, 3)), 0, {"centre_cm": (7.0, 8.0, 9.0)}),
    ):
        rows = [g4_muon(0, y=10.0), g4_muon(1, y=far)]
        source = write_geant4(tmp_path / "s.h5", [row[0] for row in rows], [row[1] for row in rows], **attrs)
        ingest(source, cfg, out=tmp_path / "out.h5")
        with open_events(tmp_path / "out.h5") as events:
            centres.append((np.array(events.box.origin_cm) + events.box.size_cm / 2).tolist())
            assert events.num_voxels()[0] == 34
    assert np.allclose(centres, [[0, 0, 0], [0, 0, 0], [7, 8, 9], [1, 2, 3]])


def test_event_ids_that_repeat_are_events_of_their_own(tmp_path):
    rows = [g4_muon(event) for event in (7, 8, 7)]
    source = write_geant4(tmp_path / "s.h5", [row[0] for row in rows], [row[1] for row in rows])
    reader = open_source(source)
    assert [reader.read(entry).event for entry in range(reader.num_events)] == [7, 8, 7]
    # a track that comes once: the rows are of one event
    source = write_geant4(tmp_path / "t.h5", [row[0] for row in rows], [row[1] for row in rows[:2]])
    reader = open_source(source)
    assert [(reader.read(entry).event, len(reader.read(entry))) for entry in range(2)] == [(7, 2), (8, 1)]
    assert reader.num_events == 2
    source = write_geant4(tmp_path / "u.h5", [row[0] for row in rows[:2]], [row[1] for row in rows])
    with pytest.raises(
        ValueError, match=r"u\.h5: event 7 comes again with the same tracks.*different events"
    ):
        open_source(source)


def test_trap_neutral_particles_deposit_at_the_end_of_their_step(tmp_path):
    step = g4_step(0, 2, 2112, (0, 0, 0), (300, 0, 0), 1.0)
    photon = g4_step(0, 3, 22, (0, 0, 0), (0, 300, 0), 1.0)
    muon = g4_muon(0)
    source = write_geant4(tmp_path / "s.h5", [step, photon, muon[0]], [muon[1]])
    steps = open_source(source).read(0)
    assert np.allclose(steps.start[:2], [[30, 0, 0], [0, 30, 0]])
    assert np.allclose(steps.start[2], [-5, 0, 0])


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (((0, 0, 0), (9, 0, 0), -1.0), "energy of step 0 is negative (-1 MeV)"),
        (((0, 0, 0), (9, 0, 0), np.nan), "energy of step 0 is not finite"),
        (((0, 0, 0), (9, 0, 0), np.inf), "energy of step 0 is not finite"),
        (((0, np.nan, 0), (9, 0, 0), 1.0), "start of step 0 is not finite"),
        (((0, 0, 0), (np.inf, 0, 0), 1.0), "end of step 0 is not finite"),
    ],
)
def test_bad_steps_set_their_event_aside(step, reason, tmp_path):
    rows = [g4_muon(event) for event in (1, 2, 3)]
    bad = g4_step(2, 1, 13, *step)
    source = write_geant4(
        tmp_path / "s.h5", [rows[0][0], bad, rows[1][0], rows[2][0]], [row[1] for row in rows]
    )
    summary = ingest(source, Ingest(centre_cm=(0, 0, 0)), out=tmp_path / "out.h5")
    assert (summary.num_events, summary.num_quarantined) == (3, 1)
    assert summary.energy_mev == pytest.approx(40.0)
    read_mev = np.nan_to_num(step[2], nan=0.0, posinf=0.0) + 20.0
    assert summary.energy_quarantined_mev == pytest.approx(read_mev)
    with open_events(tmp_path / "out.h5") as events:
        assert reason in events.quarantined()[1][1]
        assert events.num_voxels()[1] == 0 and events[1]["event"]["num_steps"].tolist() == [2]
        assert events[1]["event"]["energy_mev"][0] == pytest.approx(read_mev)


def test_steps_of_no_length_stay_in_their_voxel(tmp_path):
    source = write_geant4(
        tmp_path / "s.h5",
        [g4_step(0, 1, 13, (1, 1, 1), (1, 1, 1), 2.0), g4_step(0, 1, 13, (-4, 1, 1), (-4, 1, 1), 0.0)],
        [g4_muon(0)[1]],
    )
    ingest(source, Ingest(centre_cm=(0, 0, 0)), out=tmp_path / "out.h5")
    with open_events(tmp_path / "out.h5") as events:
        assert events[0]["voxel"]["energy"].tolist() == [2.0]
        assert np.array_equal(events[0]["voxel"]["coord"], [[384, 384, 384]])


def test_segments_of_30_cm_are_split_over_their_voxels(tmp_path):
    # along x: 100 voxels of 3 mm with 0.6 MeV each
    source = write_geant4(
        tmp_path / "s.h5", [g4_step(0, 1, 13, (-150, 1, 1), (150, 1, 1), 60.0)], [g4_muon(0)[1]]
    )
    ingest(source, Ingest(centre_cm=(0, 0, 0)), out=tmp_path / "out.h5")
    with open_events(tmp_path / "out.h5") as events:
        assert np.allclose(events[0]["voxel"]["energy"], 0.6, rtol=1e-5)
        assert events[0]["voxel"]["coord"][:, 0].tolist() == list(range(334, 434))
        assert events[0]["truth_fragment"]["num_voxels"].tolist() == [100]


def test_steps_outside_the_volume_are_counted_and_not_lost(tmp_path):
    steps = [g4_muon(0)[0], g4_step(0, 1, 13, (5000, 0, 0), (5100, 0, 0), 17.0), g4_muon(1)[0]]
    source = write_geant4(tmp_path / "s.h5", steps, [g4_muon(0)[1], g4_muon(1)[1]])
    summary = ingest(source, Ingest(centre_cm=(0, 0, 0)), out=tmp_path / "out.h5")
    assert summary.num_quarantined == 0
    assert summary.energy_outside_mev == pytest.approx(17.0)
    volume = Volume(low_cm=(0, -10, -10), high_cm=(20, 10, 10))
    summary = ingest(source, Ingest(volumes=(volume,)), out=tmp_path / "half.h5")
    assert summary.energy_outside_mev == pytest.approx(37.0)
    with open_events(tmp_path / "half.h5") as events:
        assert np.allclose(np.array(events.box.origin_cm) + events.box.size_cm / 2, [10, 0, 0])


def test_the_summary_says_when_the_box_does_not_fit_the_events(mixed_events, tmp_path):
    good = str(ingest(mixed_events, Ingest(), out=tmp_path / "a.h5"))
    assert "5 events, 1 of them set aside" in good and "40.4 MeV;" in good
    assert "truth_voxel" in good and "outside" not in good
    words = r"steps\.h5: nothing is left of its 40\.4 MeV, .* outside; its deposits lie around \(-2\.5, 0\.0, 0\.0\) cm"
    with pytest.raises(ValueError, match=words):
        ingest(mixed_events, Ingest(detector="icarus"), out=tmp_path / "b.h5")
    assert list(tmp_path.glob("b.h5*")) == []


def test_a_part_of_the_energy_that_is_not_imaged_is_warned_of(mixed_events, tmp_path, capsys):
    volume = Volume(low_cm=(0, -10, -10), high_cm=(20, 10, 10))
    summary = ingest(mixed_events, Ingest(volumes=(volume,)), out=tmp_path / "a.h5")
    assert summary.energy_outside_mev == pytest.approx(20.0)
    assert "warning: 49.5% of the energy is outside: see ingest.detector" in capsys.readouterr().err
    ingest(mixed_events, Ingest(), out=tmp_path / "b.h5")
    assert "warning" not in capsys.readouterr().err


def test_a_volume_that_is_not_imaged_is_an_error_of_the_file(mixed_events, tmp_path):
    cfg = Ingest(centre_cm=(1000, 0, 0), volumes=(Volume(low_cm=(0, 0, 0), high_cm=(9, 9, 9)),))
    with pytest.raises(ValueError, match="lies outside the imaged box"):
        ingest(mixed_events, cfg, out=tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


BAD_STEPS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.tuples(*[st.sampled_from([-400.0, -11.0, 0.0, 0.1, 3.0, 30.0, 301.0, 1e6, np.nan])] * 3),
        st.tuples(*[st.sampled_from([-300.0, -3.0, 0.0, 0.1, 5.0, 90.0, 1e6])] * 3),
        st.sampled_from([0.0, 1e-8, 0.04, 1.0, 30.0, 1.0, 2.0, -0.5, np.nan, np.inf]),
        st.sampled_from([1, 1, 1, 1, 2, 9]),
    ),
    max_size=30,
)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=BAD_STEPS)
def test_events_and_energy_of_any_bad_file_add_up(rows, tmp_path):
    rows = sorted(rows, key=lambda row: row[0])
    steps = [
        g4_step(event, track, 13 if track == 1 else 2112, start, end, energy)
        for event, start, end, energy, track in rows
    ]
    # track 9 has steps, but no trajectory
    trajectories = [
        (event, track, 0, pdg, b"primary", 60.0, (0, 0, 0), (120, 0, 0), 0.0, 0)
        for event in range(6)
        for track, pdg in ((1, 13), (2, 2112))
    ]
    source = write_geant4(tmp_path / "s.h5", steps, trajectories, events=range(6))
    cfg = Ingest(
        num_voxels=64,
        centre_cm=(0, 0, 0),
        voxel_threshold_mev=0.05,
        volumes=(
            {"low_cm": (-9, -9, -9), "high_cm": (-0.05, 9, 9)},
            {"low_cm": (0, -9, -9), "high_cm": (9, 9, 9)},
        ),
    )
    try:
        summary = ingest(source, cfg, out=tmp_path / "out.h5")
    except ValueError as error:
        assert re.search("convert the file|none of its 6 events|nothing is left", str(error))
        return
    energy = np.array([row[3] for row in rows], np.float32)
    with open_events(tmp_path / "out.h5") as events:
        voxels_mev = sum(float(event["voxel"]["energy"].sum(dtype=np.float64)) for event in events)
        quarantined = set(events.quarantined())
        num_steps = sum(int(event["event"]["num_steps"][0]) for event in events)
    assert summary.num_events == 6 and summary.num_quarantined == len(quarantined)
    bad = {
        event
        for event, start, end, dE, track in rows
        if track == 9
        or not np.isfinite([*start, *end, dE]).all()
        or dE < 0
        # no charged particle goes 10 cm and loses next to nothing
        or (track == 1 and sum(np.abs(np.subtract(start, end))) > 30)
    }
    # of a neutral particle the start says nothing
    assert {row[0] for row in rows if row[4] == 9 or not np.isfinite(row[3]) or row[3] < 0} <= quarantined
    assert quarantined <= bad
    assert num_steps == len(rows)
    accounted_mev = (
        voxels_mev + summary.energy_outside_mev + summary.energy_below_mev + summary.energy_quarantined_mev
    )
    assert accounted_mev == pytest.approx(float(energy[np.isfinite(energy)].sum(dtype=np.float64)), rel=1e-6)


def test_unknown_and_damaged_files_are_refused(tmp_path, mixed_events):
    with pytest.raises(ValueError, match=r"nothing\.h5 does not exist"):
        open_source(tmp_path / "nothing.h5")
    text = tmp_path / "steps.txt"
    text.write_text("no steps")
    with pytest.raises(
        ValueError, match=r"steps\.txt is neither HDF5, ROOT nor Parquet, but text \(8 bytes\)"
    ):
        open_source(text)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["voxels"] = np.zeros(3)
    with pytest.raises(ValueError, match="no known format"):
        open_source(tmp_path / "other.h5")
    content = mixed_events.read_bytes()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"cut\.h5 cannot be read"):
        ingest(cut, Ingest(), out=tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()
