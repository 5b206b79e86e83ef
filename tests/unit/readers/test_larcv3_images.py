"""Images of planes in LArCV 3 files, written by hand after larcv 3.5.1's classes: and the example of CosmicTagger."""

import re

import h5py
import numpy as np
import pytest
from test_larcv3 import IDS, VOXELS, extents

from lartpc.config import Ingest
from lartpc.run.audit.findings import Audited
from lartpc.run.audit.shard import _check_sources
from lartpc.run.ingest import ingest
from lartpc.store import open_events
from lartpc.truth import neutrino_boxes, origins
from lartpc.vocab import NONE

WIRES = Ingest(wires={"in_source": True, "num_pixels": 64})
AXES = [("image_sizes", "f8", (2,)), ("number_of_voxels", "u8", (2,)), ("origin", "f8", (2,))]
META = np.dtype([("valid", "u1"), ("projection_id", "u8"), *AXES])
ACROSS, ALONG = 6, 8
"""Wires and ticks of an image."""
NUM_EVENTS, NUM_PLANES = 3, 2


def drawn(event, plane):
    """Pixels of an image, as (wire, tick, MeV)."""
    rng = np.random.default_rng([event, plane])
    at = rng.choice(ACROSS * ALONG, 6 + event, replace=False)
    return [
        (*divmod(int(number), ALONG), float(value))
        for number, value in zip(at, rng.uniform(0.5, 3.0, len(at)), strict=True)
    ]


def rows_of(pixels):
    rows = np.zeros(len(pixels), VOXELS)
    for row, (wire, tick, value) in zip(rows, pixels, strict=True):
        row["id"], row["value"] = wire * ALONG + tick, value  # the last axis runs fastest
    return rows


def write(path, kind="sparse2d", *, pitch=(0.3, 0.32), change=None):
    """Write events with an image a plane: of `cluster2d` two clusters each, of `image2d` all pixels."""
    images = [rows_of(drawn(event, plane)) for event in range(NUM_EVENTS) for plane in range(NUM_PLANES)]
    with h5py.File(path, "w") as file:
        ids = [(1, 2, event) for event in range(NUM_EVENTS)]
        file["Events/event_id"] = np.array(ids, [("run", "i8"), ("subrun", "i8"), ("event", "i8")])
        group = file.create_group(f"Data/{kind}_wire_group")
        group["extents"] = extents([NUM_PLANES] * NUM_EVENTS)
        meta = np.zeros(len(images), META)
        meta["valid"], meta["projection_id"] = 1, np.tile(np.arange(NUM_PLANES), NUM_EVENTS)
        meta["number_of_voxels"], meta["image_sizes"] = (ACROSS, ALONG), np.array(pitch) * (ACROSS, ALONG)
        group["image_meta"] = meta
        if kind == "image2d":
            dense = np.zeros((len(images), ACROSS * ALONG), "f4")
            for image, rows in zip(dense, images, strict=True):
                image[rows["id"]] = rows["value"]
            group["image_extents"], group["images"] = (
                extents([ACROSS * ALONG] * len(images), IDS),
                dense.ravel(),
            )
        elif kind == "cluster2d":
            group["projection_extents"] = extents([2] * len(images), IDS)
            group["cluster_extents"] = extents([n for rows in images for n in (2, len(rows) - 2)], IDS)
            group["voxels"] = np.concatenate(images)
        else:
            group["voxel_extents"] = extents([len(rows) for rows in images], IDS)
            group["voxels"] = np.concatenate(images)
        if change:
            change(group)
    return path


@pytest.mark.parametrize("kind", ["sparse2d", "cluster2d", "image2d"])
def test_the_images_of_an_event_are_those_of_the_file(tmp_path, kind):
    path, out = write(tmp_path / "a.h5", kind), tmp_path / "events" / "out.h5"
    summary = ingest(path, WIRES, out=out, file_uid="wire")
    assert (summary.num_events, summary.num_planes, summary.num_quarantined) == (6, 2, 0)
    assert summary.selection == f"{kind}_wire" and not summary.truth
    with open_events(out) as events:
        assert events.box.pitch_cm[:2] == pytest.approx((0.32, 0.3))  # along the drift, across the wires
        for number, event in enumerate(events):
            pixels = drawn(*divmod(number, NUM_PLANES))
            low = [(64 - side) // 2 for side in (ALONG, ACROSS)]  # in the middle of the box
            expected = {(tick + low[0], wire + low[1], 0): np.float32(value) for wire, tick, value in pixels}
            found = zip(map(tuple, event["voxel"]["coord"].tolist()), event["voxel"]["energy"], strict=True)
            assert dict(found) == expected
            assert event["event"]["plane"][0] == number % NUM_PLANES
        audited = Audited()
        _check_sources(out.parent, events, {"ingest": out}, audited, out.parent)
    assert audited.findings == []


def test_sizes_of_1_and_more_are_millimetres(tmp_path):
    ingest(write(tmp_path / "a.h5", pitch=(3.0, 3.2)), WIRES, out=tmp_path / "out.h5")
    with open_events(tmp_path / "out.h5") as events:
        assert events.box.pitch_cm[:2] == pytest.approx((0.32, 0.3))


def _set(name, row, field, value):
    def change(group):
        rows = group[name][:]
        rows[field][row] = value
        group[name][:] = rows

    return change


def _three_axes(group):
    del group["image_meta"]
    sizes = [
        (name, kind, (3,))
        for name, kind in (("image_sizes", "f8"), ("number_of_voxels", "u8"), ("origin", "f8"))
    ]
    group["image_meta"] = np.zeros(NUM_EVENTS * NUM_PLANES, [("projection_id", "u8"), *sizes])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("voxel_extents", 1, "first", 3), "does not give each of the .* rows of .*voxels' once"),
        (_set("extents", 0, "N", 1), "does not give each of the 6 rows"),
        (_three_axes, "has the shape .*it must have 2 axes"),
        (lambda group: group.move("image_meta", "other"), "no dataset .*image_meta"),
    ],
)
def test_files_whose_index_does_not_fit_are_refused(tmp_path, change, words):
    with pytest.raises(ValueError, match=words):
        ingest(write(tmp_path / "a.h5", change=change), WIRES, out=tmp_path / "out.h5")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("voxels", -1, "id", ACROSS * ALONG), r"voxel 48 of 48"),
        (_set("voxels", -1, "value", -1.0), "must be 0 to"),
        (_set("voxels", -1, "value", np.nan), "must be 0 to"),
        (_set("image_meta", -1, "projection_id", 7), r"projections \[0, 7\], and \[0, 1\] in most events"),
        (_set("image_meta", -1, "image_sizes", (5.0, 5.0)), "pixels of .* in most events"),
        (_set("image_meta", -1, "number_of_voxels", (0, 5)), "a side of no voxels"),
    ],
)
def test_an_event_that_makes_no_sense_is_set_aside(tmp_path, change, words):
    summary = ingest(write(tmp_path / "a.h5", change=change), WIRES, out=tmp_path / "out.h5")
    assert (summary.num_events, summary.num_quarantined) == (6, 2)
    with open_events(tmp_path / "out.h5") as events:
        aside = events.quarantined()
    assert set(aside) == {4, 5}
    for _, reason in aside.values():
        assert re.search(words, reason)


def test_what_does_not_go_together_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"images of 2 planes \(sparse2d_wire\), in 2D: set ingest.wires.in_source"
    ):
        ingest(write(tmp_path / "a.h5"), Ingest(), out=tmp_path / "out.h5")


def with_origins(group):
    """Add the origins of all pixels but the last: neutrino, cosmic, background in turn."""
    file = group.parent
    origins = file.create_group("sparse2d_a_cosmicseg_group")
    for name in ("extents", "image_meta"):
        origins[name] = group[name][:]
    rows, counts = group["voxels"][:], group["voxel_extents"]["N"].tolist()
    kept = np.concatenate([np.arange(num) < num - 1 for num in counts])
    value = np.concatenate([2 - np.arange(num) % 3 for num in counts])
    rows["value"] = value
    origins["voxels"] = rows[kept][::-1] if len(counts) == 1 else rows[kept]
    origins["voxel_extents"] = extents([num - 1 for num in counts], IDS)


def test_what_brought_each_pixel(tmp_path):
    path = write(tmp_path / "a.h5", change=with_origins)
    wires = Ingest(wires={"in_source": True, "num_pixels": 64, "value_mev": 0.5})
    summary = ingest(path, wires, out=tmp_path / "out.h5")
    assert summary.selection == "sparse2d_wire, sparse2d_a_cosmicseg"
    with open_events(tmp_path / "out.h5") as events:
        for number, event in enumerate(events):
            pixels = drawn(*divmod(number, NUM_PLANES))
            low = [(64 - side) // 2 for side in (ALONG, ACROSS)]
            last = len(pixels) - 1
            expected = {
                (tick + low[0], wire + low[1]): NONE if row == last else 2 - row % 3
                for row, (wire, tick, _) in enumerate(pixels)
            }
            found = dict(
                zip(map(tuple, event["voxel"]["coord"][:, :2].tolist()), origins(event).tolist(), strict=True)
            )
            assert found == expected
            assert event["voxel"]["energy"].sum() == pytest.approx(0.5 * sum(value for *_, value in pixels))
            (low_T, high_T, _) = neutrino_boxes(event, 1)
            own = np.array([at for at, origin in expected.items() if origin == 2])
            assert (
                low_T[0, :2].tolist() == own.min(0).tolist()
                and high_T[0, :2].tolist() == (own.max(0) + 1).tolist()
            )


def test_an_origin_that_is_none_sets_its_event_aside(tmp_path):
    def change(group):
        with_origins(group)
        rows = group.parent["sparse2d_a_cosmicseg_group/voxels"]
        values = rows[:]
        values["value"][0] = 7
        rows[...] = values

    summary = ingest(write(tmp_path / "a.h5", change=change), WIRES, out=tmp_path / "out.h5")
    assert summary.num_quarantined == NUM_PLANES
    with open_events(tmp_path / "out.h5") as events:
        assert "the origin 7 is none of 0, 1, 2" in str(events.quarantined())


def test_the_example_of_cosmic_tagger(data_folder, tmp_path):
    path = data_folder / "cosmic_tagging_light.h5"
    if not path.is_file():
        pytest.skip("the folder of test data has no cosmic_tagging_light.h5")
    wires = Ingest(wires={"in_source": True, "num_pixels": 2048})
    summary = ingest(path, wires, out=tmp_path / "out.h5")
    assert (summary.num_events, summary.num_planes, summary.num_quarantined) == (15, 3, 0)
    with open_events(tmp_path / "out.h5") as events:
        counts = sum(np.bincount(origins(event), minlength=3) for event in events)
    with h5py.File(path) as file:
        expected = np.bincount(file["Data/sparse2d_sbnd_cosmicseg_group/voxels"]["value"].astype(int))
    assert counts.tolist() == expected.tolist()
