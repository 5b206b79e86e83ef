"""LArCV 3 files: one that larcv 3.5.1 wrote of our own events (tests/data), and small ones by hand."""

import json

import h5py
import numpy as np
import pytest
from checkout import REPOSITORY

from lartpc.config import Ingest
from lartpc.event import TRUTH
from lartpc.ingest import open_source
from lartpc.ingest.formats.larcv import choose
from lartpc.ingest.formats.larcv3 import Larcv3Reader
from lartpc.run.ingest import ingest
from lartpc.store import open_events
from lartpc.vocab import GHOST, CreationProcess, Semantic

OFFICIAL = REPOSITORY / "tests" / "data" / "larcv3_6ev.h5"
"""The first events of `geant4_steps_20ev.h5`, in mm; its voxel classes are random and its shapes all alike."""

EXTENTS = np.dtype([("first", "u8"), ("N", "u4")])
IDS = np.dtype([("first", "u8"), ("N", "u4"), ("ID", "u4")])
VOXELS = np.dtype([("id", "u8"), ("value", "f4")])
with h5py.File(OFFICIAL) as _file:
    META = _file["Data/sparse3d_pcluster_group/image_meta"].dtype
    PARTICLES = _file["Data/particle_pcluster_group/particles"].dtype
NOT_SET = 2**32 - 1
GRID = (4, 5, 6)


def extents(counts, dtype=EXTENTS):
    rows = np.zeros(len(counts), dtype)
    rows["N"] = counts
    rows["first"] = np.cumsum(counts) - counts
    if "ID" in dtype.names:
        rows["ID"] = np.arange(len(counts))
    return rows


def voxels(*cells):
    """Rows of (x, y, z, value)."""
    rows = np.zeros(len(cells), VOXELS)
    for row, (x, y, z, value) in zip(rows, cells, strict=True):
        row["id"] = (x * GRID[1] + y) * GRID[2] + z  # z runs fastest
        row["value"] = value
    return rows


def particle(track, pdg, *, shape, vtx, first=(0, 0, 0, 0), last=(0, 0, 0, 0), **others):
    row = np.zeros(1, PARTICLES)
    for name in ("parent_trackid", "ancestor_trackid"):
        row[name] = NOT_SET
    row["process"] = b"primary\0\xff\x92garbage"
    row["trackid"], row["pdg"], row["shape"], row["px"] = track, pdg, shape, 300.0
    row["vtx"], row["first_step"], row["last_step"] = vtx, first, last
    for name, value in others.items():
        row[name] = value
    return row


def write(path, *, images=(), clusters=None, particles=None, pitch=0.3, origin=(1.0, 2.0, 3.0), name="p"):
    """Write one event; `images` is a list of (producer, rows) or of volumes [(rows, origin)]."""
    with h5py.File(path, "w") as file:
        file["Events/event_id"] = np.array([(7, 8, 9)], [("run", "i8"), ("subrun", "i8"), ("event", "i8")])

        def meta(origins):
            rows = np.zeros(len(origins), META)
            rows["number_of_voxels"], rows["image_sizes"] = GRID, np.array(GRID) * pitch
            rows["origin"] = origins
            return rows

        for producer, rows in images:
            volumes = rows if isinstance(rows, list) else [(rows, origin)]
            group = file.create_group(f"Data/sparse3d_{producer}_group")
            group["extents"] = extents([len(volumes)])
            group["voxel_extents"] = extents([len(rows) for rows, _ in volumes], IDS)
            group["image_meta"] = meta([at for _, at in volumes])
            group["voxels"] = np.concatenate([rows for rows, _ in volumes])
        if clusters is not None:
            group = file.create_group(f"Data/cluster3d_{name}_group")
            group["extents"] = extents([1])
            group["projection_extents"] = extents([len(clusters)], IDS)
            group["cluster_extents"] = extents([len(rows) for rows in clusters], IDS)
            group["image_meta"] = meta([origin])
            group["voxels"] = np.concatenate([*clusters, np.zeros(0, VOXELS)])
        if particles is not None:
            group = file.create_group(f"Data/particle_{name}_group")
            group["extents"] = extents([len(particles)])
            group["particles"] = np.concatenate([*particles, np.zeros(0, PARTICLES)])
    return path


def good(path, **changes):
    """A muon along z from (1, 1, 1), an electron of it that shares (1, 1, 3), and a lonely voxel."""
    muon = voxels((1, 1, 1, 1.0), (1, 1, 2, 1.0), (1, 1, 3, 1.0))
    electron = voxels((1, 1, 3, 3.0), (1, 2, 4, 2.0))
    lonely = voxels((3, 4, 5, 0.5))
    image = voxels((1, 1, 1, 2.0), (1, 1, 2, 2.0), (1, 1, 3, 8.0), (1, 2, 4, 4.0), (3, 4, 5, 1.0))
    at = np.array([1.45, 2.45, 3.45])
    contents = {
        "images": [("p", image)],
        "clusters": [muon, electron, lonely],
        "particles": [
            particle(1, 13, shape=1, vtx=(*at, 5.0), first=(*at, 5.0), last=(1.45, 2.45, 4.05, 6.0)),
            particle(
                2,
                11,
                shape=2,
                vtx=(1.45, 2.45, 4.05, 2000.0),
                first=(1e300, np.nan, 0, 0),  # not set: anything may stand here
                process=b"4::151\0junk",
                parent_trackid=1,
                parent_pdg=13,
                ancestor_trackid=1,
                ancestor_pdg=13,
                ancestor_vtx=(*at, 5.0),
            ),
        ],
    }
    return write(path, **(contents | changes))


def test_energy_is_shared_and_particles_are_complete(tmp_path):
    path = good(tmp_path / "good.any")
    reader = open_source(path)
    assert isinstance(reader, Larcv3Reader) and reader.truth == TRUTH
    assert reader.identity(0) == (7, 8, 9) and reader.voxel_size_cm == pytest.approx(0.3)
    assert np.allclose(reader.centre_cm, [1.6, 2.75, 3.9])
    summary = ingest(path, Ingest(voxel_size_cm=0.3, num_voxels=16), out=tmp_path / "out.h5")
    assert (summary.num_quarantined, summary.num_voxels) == (0, 5)
    assert summary.energy_mev == pytest.approx(17.0)
    with open_events(tmp_path / "out.h5") as events:
        event = events[0]
        origin = np.rint((np.array(events.box.origin_cm) - (1, 2, 3)) / 0.3)
        assert (event["voxel"]["coord"] + origin).tolist() == [
            [1, 1, 1],
            [1, 1, 2],
            [1, 1, 3],
            [1, 2, 4],
            [3, 4, 5],
        ]
        track, michel, low = Semantic.TRACK, Semantic.MICHEL, Semantic.LOW_ENERGY
        assert event["voxel"]["energy"].tolist() == [2, 2, 8, 4, 1]
        assert event["truth_voxel"]["semantic"].tolist() == [track, track, track, michel, low]
        table = event["truth_particle"]
        assert table["pdg"].tolist() == [13, 11] and table["parent_track_id"].tolist() == [-1, 1]
        assert table["process"].tolist() == [CreationProcess.PRIMARY, CreationProcess.CAPTURE]
        assert table["is_primary"].tolist() == [1, 0] and table["interaction"].tolist() == [0, 0]
        # of the momentum, 300 MeV/c, and the masses of muon and electron
        assert np.allclose(table["energy_init"], [212.404, 299.489], rtol=1e-4)
        assert np.allclose(table["start_point"] + origin, [[1.5, 1.5, 1.5], [1.5, 1.5, 3.5]])
        assert np.allclose(table["end_point"][0] + origin, [1.5, 1.5, 3.5])
        assert np.isnan(table["end_point"][1]).all()
        assert np.allclose(event["truth_interaction"]["vertex"] + origin, [[1.5, 1.5, 1.5]])
        assert event["truth_point"]["kind"].tolist() == [0, 1, 0]
        attributes = events.attributes()["ingest"]
        assert attributes["selection"] == "sparse3d_p, cluster3d_p, particle_p"
        assert json.loads(attributes["truth"]) == list(TRUTH)


def test_millimetres_are_seen_by_the_size_of_the_voxels(tmp_path):
    path = good(tmp_path / "mm.h5", pitch=3.0, origin=(10.0, 20.0, 30.0))
    reader = open_source(path)
    assert reader.voxel_size_cm == pytest.approx(0.3) and reader.read(0).origin_cm == pytest.approx((1, 2, 3))
    with pytest.raises(ValueError, match=r"mm\.h5 has voxels of 0\.3 cm.*set ingest\.voxel_size_cm to 0\.3"):
        ingest(path, Ingest(voxel_size_cm=0.4), out=tmp_path / "out.h5")


def test_volumes_stand_on_one_grid(tmp_path):
    one, other = voxels((0, 0, 0, 1.0)), voxels((1, 2, 3, 2.0))
    path = write(tmp_path / "two.h5", images=[("p", [(one, (0, 0, 0)), (other, (3.0, 0, -0.6))])])
    reader = open_source(path)
    assert reader.truth == () and not reader.read(0).truth
    assert reader.read(0).coord.tolist() == [[0, 0, 0], [11, 2, 1]]
    assert reader.centre_cm is None  # its two volumes lie in two places


def test_parts_of_the_truth(tmp_path):
    cells = [(0, 0, 0, 1.0), (0, 0, 1, 2.0), (0, 0, 2, 4.0)]
    classes = voxels(*((*cell[:3], value) for cell, value in zip(cells[::-1], (5, 4, 0), strict=True)))
    path = write(tmp_path / "classes.h5", images=[("p", voxels(*cells)), ("p_semantics", classes)])
    assert open_source(path).truth == ("truth_voxel",)
    assert open_source(path).read(0).truth["truth_voxel"]["semantic"].tolist() == [0, 4, GHOST]  # 5 there
    path = write(tmp_path / "clusters.h5", clusters=[voxels(*cells[:2]), voxels(cells[2])])
    assert open_source(path).truth == ("truth_voxel", "truth_fragment", "truth_particle")
    found = open_source(path).read(0)  # without an image the clusters are the image
    assert found.energy.tolist() == [1, 2, 4]
    assert found.truth["truth_voxel"]["particle"].tolist() == [0, 0, 1]


def test_choice_among_producers():
    found = choose(
        ["reco", "pcluster", "pcluster_semantics"], ["pcluster", "mcst"], ["corrected", "pcluster"]
    )
    assert (
        str(found) == "sparse3d_pcluster, sparse3d_pcluster_semantics, cluster3d_pcluster, particle_pcluster"
    )
    assert str(choose(["reco"], ["b", "a"], ["z", "corrected"])) == "cluster3d_a, particle_corrected"
    assert str(choose(["b", "reco", "reco_chi2"], [], ["x"])) == "sparse3d_reco"
    assert choose([], [], ["x"]) is None


def test_events_that_make_no_sense_are_set_aside(tmp_path):
    def reason(path):
        with pytest.raises(ValueError, match=r"\.h5") as error:  # as the file has no other event
            ingest(path, Ingest(voxel_size_cm=0.3), out=tmp_path / "out.h5")
        assert str(path) in str(error.value)
        return str(error.value)

    assert "1 clusters, but 2 particles" in reason(good(tmp_path / "a.h5", clusters=[voxels((1, 1, 1, 1.0))]))
    negative = [("p", voxels((1, 1, 1, -1.0)))]
    assert "-1 MeV" in reason(write(tmp_path / "b.h5", images=negative))
    outside = voxels((1, 1, 1, 1.0))
    outside["id"] = 120
    assert "voxel 120 of 120" in reason(write(tmp_path / "c.h5", images=[("p", outside)]))
    path = write(tmp_path / "d.h5", images=[("p", voxels((1, 1, 1, 1.0)))])
    with h5py.File(path, "r+") as file:
        rows = file["Data/sparse3d_p_group/voxel_extents"][:]
        rows["N"] = 5
        file["Data/sparse3d_p_group/voxel_extents"][:] = rows
    assert "does not give each of the 1 rows of 'Data/sparse3d_p_group/voxels' once" in reason(path)


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ("Data/sparse3d_p_group/voxels", r"cut\.h5: no dataset 'Data/sparse3d_p_group/voxels'"),
        ("Data/cluster3d_p_group/cluster_extents", "no dataset 'Data/cluster3d_p_group/cluster_extents'"),
        ("Data/particle_p_group/particles", "no dataset 'Data/particle_p_group/particles'"),
        ("Events/event_id", "no dataset 'Events/event_id'"),
    ],
)
def test_missing_datasets_are_named(tmp_path, lost, words):
    path = good(tmp_path / "cut.h5")
    with h5py.File(path, "r+") as file:
        del file[lost]
    with pytest.raises(ValueError, match=words):
        open_source(path)


def test_other_faults_of_files_are_refused(tmp_path):
    path = good(tmp_path / "field.h5")
    with h5py.File(path, "r+") as file:
        rows = file["Data/particle_p_group/particles"][:]
        del file["Data/particle_p_group/particles"]
        file["Data/particle_p_group/particles"] = rows[[name for name in PARTICLES.names if name != "pdg"]]
    with pytest.raises(ValueError, match=r"field\.h5.*'Data/particle_p_group/particles' has no field 'pdg'"):
        open_source(path)
    path = good(tmp_path / "events.h5")
    with h5py.File(path, "r+") as file:
        file["Data/sparse3d_p_group/more"] = extents([1, 0])
        del file["Data/sparse3d_p_group/extents"]
        file.move("Data/sparse3d_p_group/more", "Data/sparse3d_p_group/extents")
    with pytest.raises(ValueError, match="has 2 events, 'Events/event_id' has 1"):
        open_source(path)
    path = good(tmp_path / "box.h5", pitch=np.array([0.3, 0.3, 0.6]))
    with pytest.raises(ValueError, match=r"box\.h5.*0\.3 x 0\.3 x 0\.6 are not cubic"):
        open_source(path)
    content = OFFICIAL.read_bytes()
    (tmp_path / "half.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"half\.h5 cannot be read"):
        open_source(tmp_path / "half.h5")


def test_files_and_events_without_anything(tmp_path):
    path = good(tmp_path / "none.h5")
    with h5py.File(path, "r+") as file:
        for name in [*(f"Data/{name}" for name in file["Data"]), "Events"]:
            for table, rows in list(file[name].items()):
                kept = rows[:0]
                del file[f"{name}/{table}"]
                file[f"{name}/{table}"] = kept
    assert open_source(path).centre_cm is None
    assert ingest(path, Ingest(), out=tmp_path / "out.h5").num_events == 0
    path = write(tmp_path / "empty.h5", images=[("p", voxels())], clusters=[], particles=[])
    summary = ingest(path, Ingest(voxel_size_cm=0.3), out=tmp_path / "out.h5")
    assert (summary.num_events, summary.num_quarantined, summary.num_voxels) == (1, 0, 0)


def test_the_official_file_holds_our_events(data_folder, tmp_path):
    cfg = Ingest(centre_cm=(0, 0, 0))
    summary = ingest(OFFICIAL, cfg, out=tmp_path / "larcv.h5")
    assert (summary.num_events, summary.num_quarantined, summary.num_voxels) == (6, 0, 18_487)
    assert summary.energy_outside_mev == 0
    ingest(data_folder / "geant4_steps_20ev.h5", cfg, out=tmp_path / "steps.h5")
    with open_events(tmp_path / "larcv.h5") as theirs, open_events(tmp_path / "steps.h5") as ours:
        assert theirs.box == ours.box
        for entry in range(6):
            event, known = theirs[entry], ours[entry]
            inside_mev = known["event"]["energy_mev"] - known["event"]["energy_outside_mev"]
            assert event["event"]["energy_mev"] == pytest.approx(inside_mev, rel=1e-6)
            side = 768 ** np.arange(3)
            same = np.isin(event["voxel"]["coord"] @ side, known["voxel"]["coord"] @ side)
            assert same.mean() > 0.95  # the steps were not split over voxels there
            vertices = known["truth_interaction"]["vertex"]
            for vertex in event["truth_interaction"]["vertex"]:
                assert np.linalg.norm(vertices - vertex, axis=-1).min() < 1e-3
            generated = known["truth_particle"]["parent_track_id"] == -1
            table = known["truth_particle"]
            of = dict(zip(table["track_id"][generated], np.flatnonzero(generated), strict=True))
            for row, track in enumerate(event["truth_particle"]["track_id"]):
                if track in of:
                    for name in ("pdg", "species"):
                        assert event["truth_particle"][name][row] == table[name][of[track]]
                    for name in ("energy_init", "momentum"):
                        assert np.allclose(
                            event["truth_particle"][name][row], table[name][of[track]], rtol=1e-3
                        )
