"""edep-sim's ROOT files: one of edep-sim itself, and small ones with known answers (tests/data)."""

import shutil
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
import uproot
from checkout import REPOSITORY

from lartpc.config import Ingest
from lartpc.event import GENERATED, IMAGE, TRUTH
from lartpc.ingest import open_source
from lartpc.ingest.formats.edepsim_root import EdepSimRootReader
from lartpc.ingest.formats.root import Branch
from lartpc.ingest.formats.root_vectors import first_numbers
from lartpc.run.ingest import ingest
from lartpc.store import open_events
from lartpc.vocab import CreationProcess, Semantic

MADE = REPOSITORY / "tests" / "data"
FIVE = MADE / "edepsim_5ev.root"
"""Entry 0 good, 1 a vertex only, 2 nothing, 3 with a negative energy, 4 with a step without trajectory."""


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copy(FIVE, tmp_path / "copy.root"))


def damage(path, branch, offset, new):
    """Overwrite bytes of the first basket of a branch, from a place counted in its data."""
    with uproot.open(path) as file:
        seek = int(file["EDepSimEvents"][branch].member("fBasketSeek")[0])
    content = bytearray(path.read_bytes())
    (key_length,) = struct.unpack_from(">h", content, seek + 14)
    content[seek + key_length + offset : seek + key_length + offset + len(new)] = new
    path.write_bytes(content)


def test_segments_of_all_detectors_in_cm():
    reader = open_source(FIVE)
    assert isinstance(reader, EdepSimRootReader) and reader.truth == TRUTH + GENERATED
    assert [reader.identity(entry) for entry in range(5)] == [(3, 0, number) for number in (7, 7, 2, 9, 12)]
    steps = reader.read(0)
    assert np.allclose(steps.energy, [8, 8, 8, 9, 0.5, 12])  # the last is of the second detector
    assert steps.track_id.tolist() == [0, 0, 0, 2, 1, 3]  # the first of several contributors
    assert steps.pdg.tolist() == [13, 13, 13, 11, 2112, 11]
    assert np.allclose(steps.start[[1, 3, 4, 5]], [[3, 0, 0], [9, 0, 0], [0, -5, 0], [30, 30, 30]])
    assert np.allclose(steps.end[5], [30, 30, 36]) and np.allclose(steps.time[[1, 3]], [0.1, 900])
    reader.close()


def test_trajectories_know_process_energy_and_vertex():
    reader = open_source(FIVE)
    found = reader.read(0).trajectories
    assert found.track_id.tolist() == [0, 1, 2, 3] and found.parent_track_id.tolist() == [-1, -1, 0, -1]
    # (4, 151): the electron of a captured mu-
    assert found.process.tolist() == [CreationProcess.PRIMARY] * 2 + [
        CreationProcess.CAPTURE,
        CreationProcess.PRIMARY,
    ]
    assert np.allclose(found.kinetic_energy, [50, 5, 40, 30])
    assert np.allclose(found.position[2], [9, 0, 0]) and found.time[2] == 900
    assert np.allclose(found.momentum[3, :2], 0) and found.momentum[3, 2] == pytest.approx(30.5067, rel=1e-4)
    # of the particles of the vertices the neutrino, which was not tracked, is nowhere
    assert found.interaction.tolist() == [0, 0, -1, 1]
    for entry in (1, 2):
        steps = reader.read(entry)
        assert not len(steps) and not len(steps.trajectories.track_id)


def test_truth_and_quarantine_of_a_file(tmp_path):
    summary = ingest(FIVE, Ingest(), out=tmp_path / "out.h5")
    assert (summary.num_events, summary.num_quarantined, summary.truth) == (5, 2, TRUTH + GENERATED)
    assert summary.energy_mev == pytest.approx(45.5) and summary.energy_outside_mev == 0
    with open_events(tmp_path / "out.h5") as events:
        assert set(events.products) == set(IMAGE + TRUTH + GENERATED)
        particle = events[0]["truth_particle"]
        assert particle["pdg"].tolist() == [13, 11, 11]
        assert particle["semantic"].tolist() == [Semantic.TRACK, Semantic.MICHEL, Semantic.SHOWER]
        assert particle["interaction"].tolist() == [0, 0, 1]
        assert events[0]["truth_interaction"]["num_primaries"].tolist() == [1, 1]
        assert events[0]["voxel"]["energy"].sum() == pytest.approx(45.5)
        assert [event["event"]["event"][0] for event in events] == [7, 7, 2, 9, 12]
        reasons = {entry: reason for entry, (_, reason) in events.quarantined().items()}
        assert set(reasons) == {3, 4}
        assert "energy of step 5 is negative" in reasons[3] and "track 99 has steps but no" in reasons[4]


def test_a_file_without_events(tmp_path):
    assert open_source(MADE / "edepsim_0ev.root").num_events == 0
    assert ingest(MADE / "edepsim_0ev.root", Ingest(), out=tmp_path / "out.h5").num_events == 0


def test_each_basket_is_read_once_and_one_is_held():
    reader = open_source(FIVE)
    branch = Branch(FIVE, reader._tree, "SegmentDetectors.second")
    whole = uproot.open(FIVE)["EDepSimEvents"]["SegmentDetectors.second"]
    assert whole.num_baskets == 3
    loaded = []
    read = branch._read
    branch._read = lambda basket: loaded.append(basket) or read(basket)
    sizes = [len(branch.entry(entry)) for entry in range(5)]
    assert loaded == [0, 1, 2]
    assert sum(sizes) == sum(len(whole.basket(basket).data) for basket in range(3))
    assert len(branch._data) == sizes[-1]
    assert len(branch.entry(0)) == sizes[0]  # backwards too


@pytest.mark.parametrize(
    ("branch", "offset", "new", "words"),
    [
        ("SegmentDetectors.second", 0, b"\x40\x00\x00\x01", "their header says 1"),
        ("SegmentDetectors.second", 4, b"\x00\x0a", "not streamed member by member"),
        (
            "SegmentDetectors.second",
            8,
            b"\x00\x00\x00\x06",
            "is invalid|ends within|another length|refer",
        ),
        ("SegmentDetectors.second", 12 + 6, b"\x00\x00\x00\x10", "an object that others refer to"),
        ("Trajectories.Points", 8, b"\x00\x00\x00\x05", r"bytes, but the vectors in them take|ends within"),
        ("Trajectories.InitialMomentum", 0, b"\x40\x00\x00\x2c", "another length than its class"),
    ],
)
def test_every_byte_is_accounted_for(copy, tmp_path, branch, offset, new, words):
    damage(copy, branch, offset, new)
    with pytest.raises(ValueError, match=rf"copy\.root: branch '{branch}'.*entry 0.*({words})"):
        open_source(copy).read(0)
    summary = ingest(copy, Ingest(centre_cm=(0, 0, 0)), out=tmp_path / "out.h5")
    assert (summary.num_events, summary.num_quarantined) == (5, 3)


def test_a_basket_that_cannot_be_read_names_file_and_branch(copy):
    with uproot.open(copy) as file:
        seek = int(file["EDepSimEvents"]["Trajectories.Points"].member("fBasketSeek")[0])
    content = bytearray(copy.read_bytes())
    content[seek : seek + 60] = bytes(60)
    copy.write_bytes(content)
    with pytest.raises(ValueError, match=r"copy\.root: branch 'Trajectories\.Points'.*cannot be read"):
        open_source(copy).read(0)


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused(tmp_path, kept):
    content = FIVE.read_bytes()
    cut = tmp_path / "cut.root"
    cut.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=r"cut\.root cannot be read .*copy or make it again"):
        ingest(cut, Ingest(), out=tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_a_missing_branch_is_named(tmp_path):
    path = tmp_path / "branches.root"
    with uproot.recreate(path) as file:
        file.mktree("EDepSimEvents", {"RunId": np.array([1], "i4"), "EventId": np.array([1], "i4")})
    words = r"branches\.root: tree 'EDepSimEvents' has no branch 'SegmentDetectors\.second'; it has EventId, RunId"
    with pytest.raises(ValueError, match=words):
        open_source(path)


def test_other_trees_are_no_known_format(tmp_path):
    path = tmp_path / "other.root"
    with uproot.recreate(path) as file:
        file.mktree("anatree", {"run": np.array([1], "i4")})
    with pytest.raises(
        ValueError, match=r"no known format: it is a ROOT file with anatree \(TTree\); docs/reference/formats"
    ):
        open_source(path)


def test_first_of_several_numbers():
    def column(*lists):
        return np.frombuffer(b"".join(np.array([len(one), *one], ">i4").tobytes() for one in lists), np.uint8)

    assert first_numbers(column([5], [-7]), np.array([2])).tolist() == [5, -7]
    assert first_numbers(column([5, 1, 1], [], [8], [9, 2]), np.array([1, 3])).tolist() == [5, -1, 8, 9]
    assert first_numbers(np.zeros(0, np.uint8), np.array([], int)).tolist() == []
    with pytest.raises(ValueError, match="3 vectors of numbers do not fill 16 bytes"):
        first_numbers(column([5], [9]), np.array([3]))


def test_a_genuine_file_is_its_official_conversion(data_folder, tmp_path):
    source = data_folder / "edepsim_root_electron_10ev.root"
    twin = data_folder / "edepsim_root_electron_10ev.twin.h5"
    with h5py.File(twin) as file:
        segments = file["segments"][:]
    reader = open_source(source)
    for entry in range(10):
        steps, expected = reader.read(entry), segments[segments["eventID"] == entry]
        assert len(steps) == len(expected) and steps.event == entry
        assert np.array_equal(steps.energy, expected["dE"])
        assert np.array_equal(steps.track_id, expected["trackID"])
        assert np.array_equal(steps.pdg, expected["pdgId"])
        assert np.allclose(steps.end[:, 1], expected["y_end"], atol=1e-5)
        momentum = np.linalg.norm(steps.trajectories.momentum[0])
        assert momentum == pytest.approx(600.5, rel=1e-4)  # an electron of 600 MeV
        assert steps.trajectories.interaction[0] == 0

    cfg = Ingest(centre_cm=(0.11, -30.07, 0.13))
    of_root = ingest(source, cfg, out=tmp_path / "root.h5")
    of_twin = ingest(twin, cfg, out=tmp_path / "twin.h5")
    assert (of_root.num_quarantined, of_root.truth, of_twin.truth) == (0, TRUTH + GENERATED, ())
    assert of_root.energy_mev == pytest.approx(of_twin.energy_mev, rel=1e-12)
    with open_events(tmp_path / "root.h5") as ours, open_events(tmp_path / "twin.h5") as theirs:
        for event, other in zip(ours, theirs, strict=True):
            assert np.array_equal(event["voxel"]["coord"], other["voxel"]["coord"])
            # the conversion has positions in single precision; near a face a voxel might differ
            assert np.allclose(event["voxel"]["energy"], other["voxel"]["energy"], atol=5e-4)
            assert event["truth_particle"]["pdg"].tolist() == [11]
            assert set(event["truth_voxel"]["semantic"]) <= {Semantic.SHOWER, Semantic.LOW_ENERGY}
