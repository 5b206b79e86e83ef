"""SPINE's HDF5 files: written by SPINE 1.4.3 itself (tests/data/make_spine.py), in both layouts."""

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from checkout import REPOSITORY

from lartpc import config
from lartpc.event import TRUTH
from lartpc.ingest import open_source
from lartpc.ingest.formats.spine import SpineReader
from lartpc.ingest.formats.spine_products import open_products
from lartpc.run.ingest import ingest
from lartpc.store import open_events
from lartpc.vocab import CreationProcess

DATA = REPOSITORY / "tests" / "data"
CFG = config.Ingest(voxel_size_cm=0.4, num_voxels=320)

both = pytest.mark.parametrize("version", [1, 2])


@pytest.fixture
def copied(tmp_path):
    def make(version: int, change=None) -> Path:
        path = tmp_path / f"any.name{version}"
        shutil.copy(DATA / f"spine_v{version}.h5", path)
        if change is not None:
            with h5py.File(path, "r+") as file:
                change(file, (lambda name: file[name] if version == 1 else file["products"][name]))
        return path

    return make


def events_of(path, tmp_path, cfg=CFG):
    summary = ingest(path, cfg, out=tmp_path / "events.h5")
    with open_events(tmp_path / "events.h5") as events:
        return summary, list(events.stream()), events.quarantined()


@both
def test_image_and_truth(copied, tmp_path, version):
    path = copied(version)
    assert isinstance(open_source(path), SpineReader)
    summary, events, _ = events_of(path, tmp_path)
    assert summary.truth == (*TRUTH, "truth_neutrino")
    assert (summary.num_events, summary.num_quarantined, summary.num_voxels) == (2, 0, 44)
    with h5py.File(DATA / "spine_v1.h5") as file:
        assert summary.energy_mev == pytest.approx(file["depositions_label"][:].sum(), rel=1e-6)
    event = events[1]
    assert [int(event["event"][name][0]) for name in ("run", "subrun", "event")] == [7, 2, 101]
    # 320 x 240 x 160 voxels in the middle of a box of 320 per side
    track = event["voxel"]["coord"][event["truth_voxel"]["semantic"] == 1]
    assert track.tolist() == [[20 + i, 30 + 40, 40 + 80] for i in range(8)]
    assert np.allclose(event.box.to_cm(track[0] + 0.5), [-64 + 20.5 * 0.4, -48 + 30.5 * 0.4, 10 + 40.5 * 0.4])
    assert np.bincount(event["truth_voxel"]["semantic"] + 1, minlength=3).tolist() == [2, 12, 8]
    particle = event["truth_particle"]
    assert particle["track_id"].tolist() == [11, 12] and particle["parent_track_id"].tolist() == [-1, 11]
    assert particle["pdg"].tolist() == [13, 22] and particle["species"].tolist() == [2, 0]
    assert particle["is_primary"].tolist() == [1, 0]
    assert particle["process"].tolist() == [CreationProcess.PRIMARY, CreationProcess.CONVERSION]
    mass_mev = 105.658
    assert np.allclose(particle["energy_init"], [145.7 - mass_mev, 50.0], atol=0.5)
    assert np.allclose(particle["momentum"], [[100, 0, 0], [0, 50, 0]])
    assert event["truth_interaction"]["num_primaries"].tolist() == [1]
    assert np.allclose(event["truth_interaction"]["vertex"], [[20.5, 70.5, 120.5]], atol=1e-3)
    point = event["truth_point"]
    assert np.allclose(
        point["position"], [[20.5, 70.5, 120.5], [27.5, 70.5, 120.5], [60.5, 110.5, 130.5]], atol=1e-3
    )


def test_both_layouts_give_the_same(copied, tmp_path):
    (_, one, _), (_, two, _) = (events_of(copied(version), tmp_path) for version in (1, 2))
    for a, b in zip(one, two, strict=True):
        for product in a:
            for column, values in a[product].items():
                assert np.array_equal(values, b[product][column], equal_nan=values.dtype.kind == "f")


@both
def test_without_truth_what_the_reconstruction_saw(copied, tmp_path, version):
    def no_truth(file, _):
        if version == 2:
            for name in ("truth_particles", "truth_interactions", "points_label"):
                del file["products"][name]
        else:
            kept = ["index", "run_info", "meta", "points", "depositions"]
            rows = file["events"][:][kept]
            del file["events"]
            file.create_dataset("events", data=rows, dtype=[(name, h5py.regionref_dtype) for name in kept])

    summary, events, _ = events_of(copied(version, no_truth), tmp_path)
    assert summary.truth == () and summary.num_voxels == 40 and set(events[0]) == {"event", "voxel"}


@both
def test_another_voxel_size_is_refused(copied, tmp_path, version):
    with pytest.raises(ValueError, match=r"voxels of 0\.4 cm.*set ingest\.voxel_size_cm to 0\.4"):
        ingest(copied(version), config.Ingest(), out=tmp_path / "out.h5")


def test_missing_products_are_named(copied, tmp_path):
    def no_meta(file, _):
        del file["products"]["meta"]

    with pytest.raises(ValueError, match="and 'meta'; the file has depositions, depositions_label"):
        open_source(copied(2, no_meta))

    def unknown(file, _):
        file["info"].attrs["format_version"] = 3

    with pytest.raises(ValueError, match="format_version 3"):
        open_source(copied(2, unknown))


@both
@pytest.mark.parametrize(
    ("product", "value", "words"),
    [
        ("depositions_label", np.nan, "voxel row 3 is nan MeV"),
        ("depositions_label", -1.0, "voxel row 3 is -1 MeV"),
        ("points_label", np.inf, "'points_label' has a coordinate that is not finite"),
    ],
)
def test_an_event_that_makes_no_sense_is_set_aside(copied, tmp_path, version, product, value, words):
    def spoil(_, data):
        (data(product) if version == 1 else data(product)["values"])[3] = value

    summary, events, quarantined = events_of(copied(version, spoil), tmp_path)
    assert (summary.num_quarantined, summary.num_voxels) == (1, 22)
    assert words in quarantined[0][1] and events[1].num_voxels == 22


def test_an_index_beyond_the_image_sets_the_event_aside(copied, tmp_path):
    def spoil(_, data):
        data("truth_particles")["variables"]["pool_0"]["values"][5] = 99

    _, _, quarantined = events_of(copied(2, spoil), tmp_path)
    assert "'truth_particles.index' points to voxel 99, the image has 22" in quarantined[0][1]


@both
def test_truncated_and_empty(copied, tmp_path, version):
    path = copied(version)
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(ValueError, match="cannot be read"):
        open_source(path)

    def empty(file, data):
        file["events"].resize(0, axis=0)
        for name in file["products"] if version == 2 else file["events"].dtype.names:
            if version == 2:
                data(name)["event_offsets"].resize(1, axis=0)
            rows = data(name) if version == 1 else data(name)["fixed" if "fixed" in data(name) else "values"]
            rows.resize(0, axis=0)

    summary, events, _ = events_of(copied(version, empty), tmp_path)
    assert summary.num_events == 0 and not events


@both
def test_products_of_official_files(version):
    folder = os.environ.get("LARTPC_TEST_DATA")
    if not folder:
        pytest.skip("LARTPC_TEST_DATA is not set")
    path = Path(folder) / f"spine_hdf5_v{version}.h5"
    with h5py.File(path) as file:
        products = open_products(path, file)
        assert products.num_events == 2 and len(products.fields("truth_particles")) == 98
        assert [len(products.array("points", entry)) for entry in range(2)] == [5, 3]
        rows = products.objects("truth_particles", 1, ("units", "shape", "index", "no_such_field"))
        assert [bytes(units) for units in rows["units"]] == [b"cm", b"cm"] and rows["shape"].tolist() == [
            1,
            1,
        ]
        assert "no_such_field" not in rows and [len(index) for index in rows["index"]] == [0, 0]
    with pytest.raises(ValueError, match="the file has index, points, segmentation, truth_particles"):
        open_source(path)


def test_complex_numbers_are_refused_with_their_field(copied, tmp_path):
    def change(file, product):
        rows = product("truth_particles")["fixed"][:]
        types = [(one, "c16" if one == "t" else rows.dtype[one]) for one in rows.dtype.names]
        other = np.zeros(len(rows), types)
        for one in set(rows.dtype.names) - {"t"}:
            other[one] = rows[one]
        del product("truth_particles")["fixed"]
        product("truth_particles")["fixed"] = other

    with pytest.raises(
        ValueError, match=r"field 't' of 'products/truth_particles/fixed' is of complex numbers"
    ):
        events_of(copied(2, change), tmp_path)
