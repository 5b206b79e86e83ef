"""PILArNet-M in HDF5: reading revisions 1 and 2, writing all, and the way there and back."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ODD_EVENTS, labelled

from lartpc import config
from lartpc.event import IMAGE, TRUTH, empty
from lartpc.geometry import Box
from lartpc.ingest import open_source
from lartpc.ingest.formats.pilarnet import PilarnetReader
from lartpc.provenance import provenance
from lartpc.run.export import export
from lartpc.run.ingest import ingest
from lartpc.store import EventWriter, open_events
from lartpc.vocab import Semantic, Species

CFG = config.Ingest()
LABELS = ("semantic", "fragment", "particle", "interaction")


def vlen(file, name, rows, dtype=np.float32):
    data = file.create_dataset(name, (len(rows),), dtype=h5py.vlen_dtype(dtype))
    for i, row in enumerate(rows):
        data[i] = np.asarray(row, dtype).ravel()


def points(coord, energy, time=0.0):
    """Rows of `point`: x, y, z, value, energy, time, electrons, dx."""
    table = np.zeros((len(coord), 8))
    table[:, :3], table[:, 3], table[:, 4], table[:, 5] = coord, energy, energy, time
    return table


def write(path: Path, *, revision=2, times=True, events=None) -> Path:
    """Write two events by the documented layout: low-energy voxels, a muon with a delta, a shower of two."""
    coord = [[700, 1, 2], [10, 20, 30], [11, 20, 30], [12, 20, 30], [12, 21, 30], [50, 50, 50], [60, 50, 50]]
    energy = [0.25, 1.0, 1.5, 2.0, 0.5, 3.0, 4.0]
    time = [9.0, 3.0, 2.0, 1.0, 1.5, 5.0, 6.0] if times else 7.0
    cluster = np.array(
        [
            [1, -1, -1, -1, 4, -1],
            [3, 0, 0, 2, 1, 2],
            [1, 1, 5, 2, 3, 1],
            [1, 2, 7, 9, 0, 0],
            [1, 3, 7, 9, 0, 0],
        ],
        float,
    )
    extra = np.array([[0.0] * 5, *([[0, 500.0, 12.5, 20.5, 30.5]] * 2), *([[0, 80.0, 49.0, 50.0, 50.0]] * 2)])
    rows = {
        "point": [points(coord, energy, time), points(coord[:1], energy[:1], 9.0)],
        "cluster": [cluster[:, : 4 + revision], cluster[:1, : 4 + revision]],
        "cluster_extra": [extra, extra[:1]],
    }
    if revision == 1:
        del rows["cluster_extra"]
    for name, change in (events or {}).items():
        rows[name] = change(rows[name])
    with h5py.File(path, "w") as file:
        for name, row in rows.items():
            whole = name == "cluster" and all((np.asarray(each) % 1 == 0).all() for each in row)
            vlen(file, name, row, np.int32 if whole else np.float32)
    return path


@pytest.fixture
def ingested(tmp_path):
    def run(source, cfg=CFG):
        summary = ingest(source, cfg, out=tmp_path / "events.h5")
        with open_events(tmp_path / "events.h5") as events:
            return summary, list(events.stream()), events.quarantined()

    return run


@pytest.mark.parametrize("revision", [1, 2])
def test_voxels_and_labels(tmp_path, ingested, revision):
    path = write(tmp_path / "any.name", revision=revision)
    assert isinstance(open_source(path), PilarnetReader)
    summary, events, _ = ingested(path)
    assert (summary.num_events, summary.num_quarantined, summary.num_voxels) == (2, 0, 8)
    assert summary.energy_mev == pytest.approx(12.5) and summary.energy_outside_mev == 0
    event = events[0]
    assert event["voxel"]["coord"][0].tolist() == [10, 20, 30]
    assert event["truth_voxel"]["semantic"].tolist() == [1, 1, 1, 3, 0, 0, 4]
    assert event["truth_voxel"]["particle"].tolist() == [0, 0, 0, 1, 2, 2, -1]
    assert event["truth_voxel"]["fragment"].tolist() == [0, 0, 0, 1, 2, 3, -1]
    assert event["truth_voxel"]["interaction"].tolist() == [0, 0, 0, 0, 1, 1, -1]
    particle = event["truth_particle"]
    assert particle["track_id"].tolist() == [0, 5, 7] and particle["is_primary"].tolist() == [-1] * 3
    assert particle["semantic"].tolist() == [1, 3, 0]
    expected = [Species.MUON, Species.ELECTRON, Species.PHOTON] if revision == 2 else [-1] * 3
    assert particle["species"].tolist() == expected
    vertex = event["truth_interaction"]["vertex"]
    assert (
        np.allclose(vertex, [[12.5, 20.5, 30.5], [49, 50, 50]]) if revision == 2 else np.isnan(vertex).all()
    )
    assert not len(events[1]["truth_particle"]["pdg"]) and events[1].num_voxels == 1


def test_times_give_points(tmp_path, ingested):
    _, (event, _), _ = ingested(write(tmp_path / "a.h5"))
    assert event["truth_particle"]["start_point"].tolist() == [
        [12.5, 20.5, 30.5],
        [12.5, 21.5, 30.5],
        [50.5] * 3,
    ]
    assert event["truth_fragment"]["is_primary"].tolist() == [1, 1, 1, 0]
    point = event["truth_point"]
    # start and end of the track, start of the delta; the fragments of the shower are too small to have any
    assert point["position"].tolist() == [[12.5, 20.5, 30.5], [10.5, 20.5, 30.5], [12.5, 21.5, 30.5]]
    assert point["kind"].tolist() == [0, 1, 0]


def test_without_times_there_are_no_points(tmp_path, ingested):
    summary, (event, _), _ = ingested(write(tmp_path / "a.h5", times=False))
    assert summary.truth == tuple(name for name in TRUTH if name != "truth_point")
    assert "truth_point" not in event
    assert np.isnan(event["truth_particle"]["start_point"][0]).all()


def test_a_smaller_box_lies_in_the_middle_of_the_image(tmp_path, ingested):
    def shift(rows):
        return [row + np.array([374, 364, 354, 0, 0, 0, 0, 0]) for row in rows]

    path = write(tmp_path / "a.h5", events={"point": shift})
    summary, (event, _), _ = ingested(path, config.Ingest(num_voxels=64))
    assert event["voxel"]["coord"].tolist()[0] == [10 + 374 - 352, 20 + 364 - 352, 30 + 354 - 352]
    assert summary.energy_outside_mev > 0
    kept = event["voxel"]["energy"].sum()
    assert kept + event["event"]["energy_outside_mev"][0] == pytest.approx(12.25)
    assert len(event["truth_particle"]["pdg"]) == 2  # the shower is outside


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (
            "point",
            lambda rows: [rows[0].ravel()[:-1], rows[1]],
            "'point' has 55 numbers, not a multiple of 8",
        ),
        ("point", lambda rows: [rows[0][:-1], rows[1]], "counts 7 points in its 5 clusters, 'point' has 6"),
        ("point", lambda rows: [rows[0] * [np.nan, *[1] * 7], rows[1]], "not finite in row 0"),
        ("point", lambda rows: [rows[0] * [1, 1, 1, -1, 1, 1, 1, 1], rows[1]], "row 0 is -0.25 MeV"),
        ("point", lambda rows: [rows[0] * [1, 1, 1, np.nan, 1, 1, 1, 1], rows[1]], "row 0 is nan MeV"),
        ("cluster", lambda rows: [rows[0] + [0, 0, 0.5, 0, 0, 0], rows[1]], "group of a cluster is -0.5"),
        ("cluster", lambda rows: [rows[0] + [0, 0, 0, 0, 2, 0], rows[1]], "6 is not a voxel class"),
        ("cluster_extra", lambda rows: [rows[0][1:], rows[1]], "'cluster_extra' has 4 clusters"),
    ],
)
def test_an_event_that_makes_no_sense_is_set_aside(tmp_path, ingested, name, change, words):
    path = write(tmp_path / "a.h5", events={name: change})
    summary, events, quarantined = ingested(path)
    assert (summary.num_events, summary.num_quarantined, summary.num_voxels) == (2, 1, 1)
    assert words in quarantined[0][1] and events[1].num_voxels == 1


def test_points_outside_the_image_are_counted(tmp_path, ingested):
    path = write(tmp_path / "a.h5", events={"point": lambda rows: [rows[0] + [0, 748, 0, *[0] * 5], rows[1]]})
    summary, (event, _), _ = ingested(path)
    assert event["event"]["energy_outside_mev"][0] == pytest.approx(12.0) and event.num_voxels == 1
    assert summary.energy_outside_mev == pytest.approx(12.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.pop("cluster"), "no dataset 'cluster'; the file has cluster_extra, point"),
        (lambda file: (file.pop("cluster"), vlen(file, "cluster", [[1] * 6])), "'cluster' has 1 events"),
        (
            lambda file: (file.pop("cluster"), file.create_dataset("cluster", data=np.zeros(2))),
            "dataset 'cluster' is float64; it must be one row of numbers per event",
        ),
    ],
)
def test_a_file_that_lacks_something_is_refused(tmp_path, change, words):
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(ValueError, match=words) as error:
        open_source(path)
    assert str(path) in str(error.value)


def test_truncated_and_empty_files(tmp_path, ingested):
    whole = write(tmp_path / "a.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.h5 cannot be read"):
        open_source(tmp_path / "cut.h5")
    nothing = write(
        tmp_path / "none.h5", events={name: lambda _: [] for name in ("point", "cluster", "cluster_extra")}
    )
    summary, events, _ = ingested(nothing)
    assert summary.num_events == 0 and not events


def write_events(path: Path, events, box, *, quarantined=()) -> Path:
    attrs = provenance("ingest", 1, config={})
    with EventWriter(path, IMAGE + TRUTH, file_uid="s/0", box=box, attrs=attrs) as writer:
        for entry, event in enumerate(events):
            numbers = empty("event", 1) | {"run": np.array([3]), "event": np.array([entry + 40])}
            products = {"event": numbers, **{name: event[name] for name in ("voxel", *TRUTH)}}
            if entry in quarantined:
                writer.quarantine(entry, "bad", {name: empty(name) for name in IMAGE + TRUTH})
            else:
                writer.append(entry, products)
    return path


def sample(num_voxels=768):
    """Events with tracks, showers in pieces and blips, and the odd ones, within the given box."""
    line = np.arange(12)[:, None]
    track = np.array([[20, 20, 20]]) + line * [1, 1, 0]
    pieces = np.concatenate([[[40, 40, 20]] + line * [0, 1, 0], [[40, 60, 20]] + line[:5] * [0, 1, 0]])
    michel = np.array([[32, 32, 21]]) + line[:6] * [0, 0, 1]
    event = labelled(
        [
            {"coord": pieces, "semantic": Semantic.SHOWER, "species": Species.PHOTON, "interaction": 1},
            {"coord": track, "species": Species.MUON},
            {"coord": michel, "semantic": Semantic.MICHEL, "species": Species.ELECTRON, "is_primary": 0},
        ],
        num_blips=5 if num_voxels == 768 else 0,
    )
    odd = [make(entry) for entry, make in enumerate(ODD_EVENTS.values(), 1)] if num_voxels == 768 else []
    return [event, *odd]


@pytest.mark.parametrize("name", ["out.h5", "out.parquet"])
@pytest.mark.parametrize("to", ["pilarnet-m-v1", "pilarnet-m-v2", "pilarnet-m-v3"])
@pytest.mark.parametrize("num_voxels", [768, 255])
def test_there_and_back_is_exact(tmp_path, to, num_voxels, name):
    events = sample(num_voxels)
    box = Box((-7.3, 11.9, 0.05), 0.3, num_voxels)
    store = write_events(tmp_path / "in.h5", events, box)
    summary = export([store], tmp_path / name, to=to)
    assert summary.num_events == len(events) and summary.num_left_out == 0
    again = tmp_path / "again.h5"
    ingest(tmp_path / name, config.Ingest(num_voxels=num_voxels), out=again)
    with open_events(store) as one, open_events(again) as two:
        assert two.box.num_voxels == box.num_voxels and np.allclose(
            two.box.origin_cm, box.origin_cm, atol=1e-9
        )
        for before, after in zip(one, two, strict=True):
            assert np.array_equal(before["voxel"]["coord"], after["voxel"]["coord"])
            assert before["voxel"]["energy"].tobytes() == after["voxel"]["energy"].tobytes()
            for column in LABELS:
                assert np.array_equal(before["truth_voxel"][column], after["truth_voxel"][column]), column
            for column in ("semantic", "interaction", "num_voxels"):
                assert np.array_equal(before["truth_particle"][column], after["truth_particle"][column]), (
                    column
                )
            assert before["event"]["run"] == after["event"]["run"]
            assert before["event"]["event"] == after["event"]["event"]
            if not to.endswith("v1"):
                assert np.array_equal(before["truth_particle"]["species"], after["truth_particle"]["species"])
                assert np.allclose(
                    before["truth_interaction"]["vertex"], after["truth_interaction"]["vertex"]
                )
            if to.endswith("v3"):
                for product, column in (("particle", "is_primary"), ("interaction", "num_primaries")):
                    one_side, other_side = (each[f"truth_{product}"][column] for each in (before, after))
                    assert np.array_equal(one_side, other_side), column


def test_what_public_loaders_expect(tmp_path):
    events = sample()
    export([write_events(tmp_path / "in.h5", events, events[0].box)], tmp_path / "out.h5")
    sizes = np.load(tmp_path / "out_points.npy")
    with h5py.File(tmp_path / "out.h5") as file:
        assert {name: len(file[name]) for name in ("point", "cluster", "cluster_extra")} == {
            name: len(events) for name in ("point", "cluster", "cluster_extra")
        }
        for entry, event in enumerate(events):
            point = file["point"][entry].reshape(-1, 8)
            cluster = file["cluster"][entry].reshape(-1, 6)
            extra = file["cluster_extra"][entry].reshape(-1, 6)
            assert point.dtype == extra.dtype == np.float32 and cluster.dtype == np.int32
            assert len(cluster) == len(extra) and cluster[:, 0].sum() == len(point) == sizes[entry]
            # the first cluster is the low-energy scatter, even where there is none
            assert cluster[0, 1:].tolist() == [-1, -1, -1, 4, -1] and (cluster[1:, 4] < 4).all()
            label = np.repeat(cluster[:, 4], cluster[:, 0])  # needs integers
            order = np.lexsort(point[:, 2::-1].T)
            assert np.array_equal(label[order], event["truth_voxel"]["semantic"])
            assert (extra[0] == -1).all() and (extra[1:, 1] >= 0).all() and set(extra[1:, 5]) <= {0, 1}
            assert np.array_equal(point[order, :3], event["voxel"]["coord"])
            assert (
                set(cluster[1:, 5]) <= set(range(5)) and np.isfinite(point).all() and np.isfinite(extra).all()
            )


def test_what_is_not_known_stays_unknown(tmp_path):
    event = sample()[0]
    for product, column in (("truth_interaction", "vertex"), ("truth_particle", "momentum")):
        event[product][column] = np.full_like(event[product][column], np.nan)
    export([write_events(tmp_path / "in.h5", [event], event.box)], tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        assert (file["cluster_extra"][0].reshape(-1, 6)[:, 1:5] == -1).all()
    ingest(tmp_path / "out.h5", CFG, out=tmp_path / "again.h5")
    with open_events(tmp_path / "again.h5") as again:
        assert np.isnan(again[0]["truth_interaction"]["vertex"]).all()


def test_a_part_of_the_truth_is_enough_for_revision_1(tmp_path):
    event = sample()[0]
    store = tmp_path / "in.h5"
    names = (*IMAGE, "truth_voxel", "truth_particle")
    attrs = provenance("ingest", 1, config={})
    with EventWriter(store, names, file_uid="s/0", box=event.box, attrs=attrs) as writer:
        writer.append(0, {"event": empty("event", 1), **{name: event[name] for name in names[1:]}})
    export([store], tmp_path / "out.h5", to="pilarnet-m-v1")
    with h5py.File(tmp_path / "out.h5") as file:
        cluster = file["cluster"][0].reshape(-1, 5)
        assert (
            set(cluster[:, 1]) == {-1} and set(cluster[:, 3]) == {-1} and cluster[1:, 2].tolist() == [0, 1, 2]
        )
    with pytest.raises(ValueError, match="does not state truth_interaction"):
        export([store], tmp_path / "other.h5")


def test_export_leaves_out_what_was_set_aside_and_joins_shards(tmp_path):
    events = sample()
    one = write_events(tmp_path / "one.h5", events, events[0].box, quarantined=(1,))
    other = Box((1.0, 2.0, 3.0), events[0].box.voxel_size_cm, 768)
    two = write_events(tmp_path / "two.h5", events[:1], other)
    summary = export([one, two], tmp_path / "out.h5", to="pilarnet-m-v1")
    assert (summary.num_events, summary.num_left_out) == (len(events), 1)
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["identity"][:].tolist() == [[3, 0, n] for n in (40, 42, 43, 40)]
        assert "centre_cm" not in file.attrs and "cluster_extra" not in file


def test_export_refuses_what_it_cannot_write(tmp_path):
    events = sample()
    large = write_events(tmp_path / "large.h5", events[:1], Box((0.0, 0.0, 0.0), 0.3, 1024))
    with pytest.raises(ValueError, match="1024 voxels per side does not fit into the 768"):
        export([large], tmp_path / "out.h5")
    coarse = write_events(tmp_path / "coarse.h5", events[:1], Box((0.0, 0.0, 0.0), 0.4, 768))
    fine = write_events(tmp_path / "fine.h5", events[:1], Box((0.0, 0.0, 0.0), 0.3, 768))
    with pytest.raises(ValueError, match="files of their own"):
        export([fine, coarse], tmp_path / "out.h5")
    unknown = events[0].with_products({"truth_voxel": empty("truth_voxel", events[0].num_voxels)})
    store = write_events(tmp_path / "unknown.h5", [unknown], Box((0.0, 0.0, 0.0), 0.3, 768))
    with pytest.raises(ValueError, match="voxels have no true class"):
        export([store], tmp_path / "out.h5")
    assert not list(tmp_path.glob("out*"))
