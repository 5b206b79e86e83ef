"""LArCV 2 files: a genuine one, and a small one with known answers that ROOT wrote (tests/data)."""

import numpy as np
import pytest
import uproot
from checkout import REPOSITORY

from lartpc.config import Ingest
from lartpc.event import TRUTH
from lartpc.ingest import open_source
from lartpc.ingest.formats.larcv2 import Larcv2Reader
from lartpc.run.ingest import ingest
from lartpc.store import open_events
from lartpc.vocab import CreationProcess, Semantic

FOUR = REPOSITORY / "tests" / "data" / "larcv2_4ev.root"
"""Entry 0 good, 1 empty, 2 with a voxel outside the grid, 3 with a particle too few."""


def test_the_image_with_all_truth(tmp_path):
    reader = open_source(FOUR)
    assert isinstance(reader, Larcv2Reader) and reader.truth == TRUTH
    assert reader.selection == (
        "sparse3d_pcluster, sparse3d_pcluster_semantics, cluster3d_pcluster, particle_pcluster"
    )
    assert [reader.identity(entry) for entry in range(4)] == [(1, 2, number) for number in (10, 11, 12, 13)]
    assert reader.voxel_size_cm == pytest.approx(0.3)
    assert reader.centre_cm is None or np.allclose(reader.centre_cm, [2.2, 3.35, 4.5])
    voxels = reader.read(0)
    assert voxels.coord[:3].tolist() == [[1, 1, 1], [1, 1, 2], [1, 1, 3]]  # x runs fastest in the file
    assert voxels.origin_cm == pytest.approx((1, 2, 3))
    summary = ingest(FOUR, Ingest(voxel_size_cm=0.3, num_voxels=16), out=tmp_path / "out.h5")
    assert (summary.num_events, summary.num_quarantined, summary.num_voxels) == (4, 2, 8)
    assert summary.energy_mev == pytest.approx(2 * 23.0) and summary.selection == reader.selection
    with open_events(tmp_path / "out.h5") as events:
        event = events[0]
        origin = np.rint((np.array(events.box.origin_cm) - (1, 2, 3)) / 0.3)
        cells = {
            tuple(coord): (float(energy), int(semantic), int(owner))
            for coord, energy, semantic, owner in zip(
                (event["voxel"]["coord"] + origin).astype(int).tolist(),
                event["voxel"]["energy"],
                event["truth_voxel"]["semantic"],
                event["truth_voxel"]["particle"],
                strict=True,
            )
        }
        track, michel, shower, low = Semantic.TRACK, Semantic.MICHEL, Semantic.SHOWER, Semantic.LOW_ENERGY
        assert cells == {
            (0, 0, 0): (1.0, low, -1),
            (1, 1, 1): (2.0, track, 0),
            (1, 1, 2): (2.0, track, 0),
            (1, 1, 3): (8.0, track, 0),  # by the class of the file, though most energy is the electron's
            (1, 2, 4): (4.0, michel, 1),
            (5, 5, 5): (12.0, track, 2),
            (5, 5, 6): (14.0, track, 2),
            (7, 8, 9): (3.0, shower, 1),  # grouped with the electron
        }
        table = event["truth_particle"]
        assert table["track_id"].tolist() == [1, 2, 4] and table["parent_track_id"].tolist() == [-1, 1, -1]
        assert table["process"].tolist() == [
            CreationProcess.PRIMARY,
            CreationProcess.CAPTURE,
            CreationProcess.OTHER,
        ]
        assert table["is_primary"].tolist() == [1, 0, 1] and table["interaction"].tolist() == [0, 0, 1]
        assert np.allclose(table["energy_init"], [212.404, 299.489, 46.795], rtol=1e-4)
        assert np.allclose(table["start_point"][2] + origin, [5.5, 5.5, 5.5])
        assert np.allclose(table["end_point"][2] + origin, [5.5, 5.5, 6.5])
        assert np.allclose(event["truth_interaction"]["vertex"][1] + origin, [5.5, 5.5, 5.5])
        reasons = {entry: reason for entry, (_, reason) in events.quarantined().items()}
        assert set(reasons) == {2, 3}
        assert "sparse3d_pcluster_tree': voxel 720 of 720" in reasons[2]
        assert "5 clusters, but 3 particles" in reasons[3]


def test_the_genuine_file_has_the_energy_of_its_particles(data_folder, tmp_path):
    source = data_folder / "larcv2_root_protons_5ev.root"
    with pytest.raises(
        ValueError, match=r"644\.866 MeV of it are outside; its deposits lie around \(176\.8, -30\.3"
    ):
        ingest(
            source, Ingest(voxel_size_cm=0.995), out=tmp_path / "out.h5"
        )  # its images are those of their events
    cfg = Ingest(voxel_size_cm=0.995, num_voxels=1024, centre_cm=(176.8, -30.3, 821.0))
    summary = ingest(source, cfg, out=tmp_path / "out.h5")
    assert (summary.num_quarantined, summary.selection) == (0, "cluster3d_mcst, particle_mcst")
    assert summary.energy_outside_mev == 0
    with uproot.open(source) as file:
        tree = file["particle_mcst_tree"]
        deposited, total, first = (
            np.concatenate(list(tree[f"_part_v._{name}"].array(library="np")))
            for name in ("energy_deposit", "energy_init", "first_step._z")
        )
    with open_events(tmp_path / "out.h5") as events:
        for entry, event in enumerate(events):
            assert event["event"]["energy_mev"][0] == pytest.approx(deposited[entry], rel=1e-4)
            table = event["truth_particle"]
            assert table["pdg"].tolist() == [2212] and table["is_primary"].tolist() == [1]
            assert table["energy_init"][0] == pytest.approx(total[entry] - 938.272, rel=1e-4)
            # to a part in a thousand, by which its voxels are not cubic
            start_cm = events.box.to_cm(table["start_point"][0])
            assert start_cm[2] == pytest.approx(first[entry], abs=0.55)
            centre = event["voxel"]["coord"] + 0.5
            distance = np.linalg.norm(centre - table["start_point"][0], axis=-1)
            assert distance.min() < 4.5 and event["truth_interaction"]["num_primaries"].tolist() == [1]
    with pytest.raises(ValueError, match=r"voxels of 0\.994871 cm.*set ingest\.voxel_size_cm to 0\.994871"):
        ingest(source, Ingest(), out=tmp_path / "out.h5")


def counters(**changes):
    return {name: np.array([changes.get(name, 1)], "u8") for name in ("_run", "_subrun", "_event")}


def test_faults_of_files_are_named(tmp_path):
    path = tmp_path / "branch.root"
    with uproot.recreate(path) as file:
        file.mktree("sparse3d_a_tree", counters())
    with pytest.raises(
        ValueError, match=r"branch\.root: tree 'sparse3d_a_tree' has no branch '_meta\._p1\.x'"
    ):
        open_source(path)
    content = FOUR.read_bytes()
    (tmp_path / "half.root").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"half\.root cannot be read .*copy or make it again"):
        open_source(tmp_path / "half.root")
    with uproot.recreate(tmp_path / "flat.root") as file:
        file.mktree("particle_a_tree", counters())
        file.mktree("image2d_wire_tree", counters())
    with pytest.raises(
        ValueError,
        match=r"flat\.root: tree 'image2d_wire_tree' has no branch '_image_v\._img'",
    ):
        open_source(tmp_path / "flat.root")


def image_tree(num_events, unit=1, pitch=0.3):
    numbers = {f"_meta._p1.{axis}": np.zeros(num_events) for axis in "xyz"}
    numbers |= {f"_meta._{axis}len": np.full(num_events, pitch) for axis in "xyz"}
    numbers |= {f"_meta._{axis}num": np.full(num_events, 4, "u8") for axis in "xyz"}
    numbers |= {name: np.arange(num_events, dtype="u8") for name in ("_run", "_subrun", "_event")}
    return numbers | {
        "_meta._unit": np.full(num_events, unit, "i4"),
        "_voxel_v._id": np.full(num_events, 6, "u8"),
        "_voxel_v._value": np.ones(num_events, "f4"),
    }


@pytest.mark.parametrize(("unit", "pitch", "size_cm"), [(1, 0.3, 0.3), (0, 3.0, 0.3), (1, 3.0, 3.0)])
def test_images_alone_and_their_unit(tmp_path, unit, pitch, size_cm):
    path = tmp_path / "image.root"
    with uproot.recreate(path) as file:
        file.mktree("sparse3d_a_tree", image_tree(2, unit, pitch))
    reader = open_source(path)
    assert reader.truth == () and reader.voxel_size_cm == pytest.approx(size_cm)
    assert reader.read(1).coord.tolist() == [[2, 1, 0]]


def test_trees_of_different_events_are_refused(tmp_path):
    path = tmp_path / "two.root"
    with uproot.recreate(path) as file:
        file.mktree("sparse3d_a_tree", image_tree(2))
        file.mktree("sparse3d_a_semantics_tree", image_tree(3))
    with pytest.raises(ValueError, match=r"'sparse3d_a_tree' and 'sparse3d_a_semantics_tree' do not list"):
        open_source(path)


def test_a_file_without_events(tmp_path):
    path = tmp_path / "none.root"
    with uproot.recreate(path) as file:
        file.mktree("sparse3d_a_tree", {name: column.dtype for name, column in image_tree(1).items()})
    assert open_source(path).centre_cm is None
    assert ingest(path, Ingest(), out=tmp_path / "out.h5").num_events == 0


def test_a_zero_byte_in_a_name_is_no_end(tmp_path):
    """Found by `make fuzz`: HDF5 takes no text with a zero byte, and what was said of it named no file."""
    content = bytearray(FOUR.read_bytes())
    content[content.rindex(b"particle_pcluster_tree") + len("particle_pclust")] = 0
    (tmp_path / "a.root").write_bytes(content)
    summary = ingest(tmp_path / "a.root", Ingest(), out=tmp_path / "out.h5", file_uid="a")
    assert (summary.num_events, summary.num_quarantined) == (4, 2)
    with open_events(tmp_path / "out.h5") as events:
        assert events.attributes()["ingest"]["selection"].endswith("particle_pclust\\0r")
