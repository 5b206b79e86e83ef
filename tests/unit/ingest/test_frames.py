"""Images of a file of which one has another frame: it is set aside, and the others lie where they did."""

import re
import shutil

import h5py
import numpy as np
import pytest
from test_larcv3 import OFFICIAL
from test_larcv3_images import NUM_EVENTS, NUM_PLANES, WIRES
from test_larcv3_images import write as write_planes
from test_spine import CFG, DATA

from lartpc.config import Ingest
from lartpc.ingest import open_source
from lartpc.ingest.formats.frames import frames_of, most
from lartpc.run.ingest import ingest
from lartpc.store import open_events

PRODUCTS = ("sparse3d_pcluster", "sparse3d_pcluster_semantics", "cluster3d_pcluster")


@pytest.fixture(scope="module")
def size_cm():
    source = open_source(OFFICIAL)
    source.close()
    return source.voxel_size_cm


@pytest.fixture(scope="module")
def right(size_cm, tmp_path_factory):
    out = tmp_path_factory.mktemp("right") / "out.h5"
    ingest(OFFICIAL, Ingest(voxel_size_cm=size_cm), out=out, file_uid="a")
    return out


def spoiled(path, field, change, products=PRODUCTS):
    """Copy the official file, and change a field of the frame of the first event's images."""
    shutil.copy(OFFICIAL, path)
    with h5py.File(path, "r+") as file:
        for name in products:
            meta = file[f"Data/{name}_group/image_meta"]
            rows = meta[:]
            rows[field][0] = change(rows[field][0])
            meta[:] = rows
    return path


@pytest.mark.parametrize(
    ("field", "change", "reason"),
    [
        ("origin", lambda at: at * np.nan, "image 0 has its corner at"),
        ("image_sizes", lambda sides: 2 * sides, "its image has voxels of .* most images of the file"),
        ("image_sizes", lambda sides: sides * np.nan, "voxels of .nan nan nan"),
        ("image_sizes", lambda sides: sides * (1, 1, 2), "its image has voxels of"),
    ],
)
def test_a_frame_that_differs_sets_its_event_aside(tmp_path, size_cm, field, change, reason, right):
    path = spoiled(tmp_path / "a.h5", field, change)
    ingest(path, Ingest(voxel_size_cm=size_cm), out=tmp_path / "out.h5", file_uid="a")
    with open_events(right) as right, open_events(tmp_path / "out.h5") as found:
        assert found.box == right.box
        assert list(found.quarantined()) == [0]
        assert re.search(reason, found.quarantined()[0][1])
        for entry in range(1, 6):
            np.testing.assert_array_equal(found[entry]["voxel"]["coord"], right[entry]["voxel"]["coord"])


def test_an_image_far_away_moves_no_other(tmp_path, size_cm):
    path = spoiled(tmp_path / "a.h5", "origin", lambda at: at + 5e4)
    summary = ingest(path, Ingest(voxel_size_cm=size_cm), out=tmp_path / "out.h5")
    with open_events(tmp_path / "out.h5") as found:
        assert [event.num_voxels > 0 for event in found] == [False] + 5 * [True]
        assert summary.energy_outside_mev == pytest.approx(float(found[0]["event"]["energy_mev"][0]))
    assert "outside" in summary.warnings()[0]


@pytest.mark.parametrize("product", PRODUCTS[1:])
def test_labels_of_another_grid_are_not_those_of_the_image(tmp_path, size_cm, product):
    path = spoiled(tmp_path / "a.h5", "image_sizes", lambda sides: sides * np.nan, (product,))
    summary = ingest(path, Ingest(voxel_size_cm=size_cm), out=tmp_path / "out.h5")
    assert summary.num_quarantined == 1


@pytest.mark.parametrize("product", PRODUCTS[1:])
@pytest.mark.parametrize("value", [np.nan, 1e30])
def test_values_that_no_voxel_has_set_the_event_aside(tmp_path, size_cm, product, value):
    shutil.copy(OFFICIAL, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        voxels = file[f"Data/{product}_group/voxels"]
        rows = voxels[:]
        rows["value"][3] = value
        voxels[:] = rows
    ingest(tmp_path / "a.h5", Ingest(voxel_size_cm=size_cm), out=tmp_path / "out.h5")
    with open_events(tmp_path / "out.h5") as found:
        (reason,) = found.quarantined().values()
        assert "voxel row 3 of the" in reason[1]


def of_image(name, number, value):
    def change(group):
        rows = group["image_meta"][:]
        rows[name][number] = value
        group["image_meta"][:] = rows

    return change


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("projection_id", 7, "images of the projections [7, 1], and [0, 1] in most events"),
        ("image_sizes", (9.0, 9.0), "pixels of"),
        ("image_sizes", (np.nan, 2.0), "pixels of"),
    ],
)
def test_planes_of_the_first_event_do_not_decide(tmp_path, name, value, reason):
    path = write_planes(tmp_path / "a.h5", change=of_image(name, 0, value))
    summary = ingest(path, WIRES, out=tmp_path / "out.h5")
    assert (summary.num_events, summary.num_quarantined) == (NUM_EVENTS * NUM_PLANES, NUM_PLANES)
    with open_events(tmp_path / "out.h5") as found:
        assert list(found.quarantined()) == [0, 1] and reason in found.quarantined()[0][1]


def test_units_of_an_event_are_those_of_its_file(tmp_path):
    """A SPINE file in voxels: an event without objects, which alone say so, has its positions in voxels, too."""
    path = tmp_path / "a.h5"
    shutil.copy(DATA / "spine_v1.h5", path)
    ingest(path, CFG, out=tmp_path / "right.h5", file_uid="a")
    with h5py.File(path, "r+") as file:
        names = [name for name in file["events"].dtype.names if "units" in (file[name].dtype.names or ())]
        assert names
        for name in names:
            rows = file[name][:]
            rows["units"] = "px"
            file[name][:] = rows
        with_px = len(file["events"])
    source = open_source(path)
    assert [source._is_cm(entry) for entry in range(with_px)] == with_px * [False]  # type: ignore[union-attr]
    source.close()


def test_what_most_have():
    assert most([]) is None and most([3, 1, 1, 3]) == 3
    pitch = np.full((4, 3), 0.3)
    corners = np.tile([[[0.0, 0, 0], [6.0, 6, 6]]], (4, 1, 1))
    pitch[0], corners[0] = np.nan, np.inf
    assert frames_of("a", pitch, corners) == (pytest.approx(0.3), (3.0, 3.0, 3.0))
    corners[1:3] += [[[1.0, 0, 0]], [[2.0, 0, 0]]]  # no two alike
    assert frames_of("a", pitch, corners).centre is None
    assert frames_of("a", pitch[:0], corners[:0]) == (None, None)
    with pytest.raises(ValueError, match="a: voxels of nan x nan x nan are not cubic"):
        frames_of("a", pitch[:1], corners[:1])
