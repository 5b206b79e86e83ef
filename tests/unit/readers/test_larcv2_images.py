"""Images of planes in LArCV 2 files, kept as images of planes are."""

import shutil

import numpy as np
import pytest
import torch

from lartpc import config
from lartpc.config import Config, Ingest, Segment
from lartpc.ingest import open_source
from lartpc.run.audit.findings import Audited
from lartpc.run.audit.shard import _check_sources
from lartpc.run.ingest import ingest
from lartpc.stages import stage
from lartpc.store import open_events

WIRES = {"in_source": True}


@pytest.fixture(scope="module")
def genuine(data_folder):
    return data_folder / "larcv2_root_2d_protons.root"


@pytest.fixture(scope="module")
def written(genuine, tmp_path_factory):
    out = tmp_path_factory.mktemp("images") / "out.h5"
    summary = ingest(genuine, Ingest(wires=WIRES), out=out, file_uid="protons")
    assert (summary.num_events, summary.num_planes, summary.num_quarantined) == (30, 3, 0)
    assert summary.selection == "image2d_data" and not summary.truth
    assert summary.energy_outside_mev == summary.energy_below_mev == 0
    return out


def test_the_images_of_an_event_are_those_of_the_file(written):
    with open_events(written) as events:
        box = events.box
        assert (box.dimension, box.num_voxels) == (2, 1152)
        assert box.pitch_cm[:2] == pytest.approx((0.5, 0.5))
        found = list(events.stream())
    assert [event["event"]["plane"][0] for event in found] == [0, 1, 2] * 10
    assert [event.entry for event in found] == list(range(30))
    first = found[0]
    assert first.num_voxels == 54 and first["voxel"]["energy"].sum() == pytest.approx(12053.13, rel=1e-6)
    assert (first["voxel"]["coord"][:, 2] == 0).all()
    # the image is in the middle of the box
    assert np.abs(first["voxel"]["coord"][:, :2] - 576).max() <= 128


def test_views_of_an_event_agree_in_the_axes_that_they_share(genuine):
    """They are of x and y, y and z, and z and x: columns and rows are not exchanged, and none is turned over."""
    source = open_source(genuine)
    for entry in range(source.num_events):
        images = source.read(entry)
        along = [
            [np.bincount(image.coord[:, axis], image.energy, 256) for image in images] for axis in (0, 1)
        ]
        for number in range(3):  # the rows of each are the columns of the next
            np.testing.assert_allclose(along[0][number], along[1][(number + 1) % 3], rtol=1e-5, atol=1e-3)
    source.close()


def test_files_are_joined(genuine, tmp_path):
    paths = [genuine, shutil.copy(genuine, tmp_path / "more.root")]
    summary = ingest(paths, Ingest(wires=WIRES), out=tmp_path / "out.h5", file_uid="two")
    assert (summary.num_events, summary.num_quarantined) == (60, 0)


def test_the_audit_reads_them_again(genuine, written):
    with open_events(written) as events:
        found = Audited()
        _check_sources(written.parent, events, {"ingest": written}, found, written.parent)
    assert found.findings == [] and found.num_files == 1


def test_segment_and_points_work_on_them(written):
    torch.manual_seed(1)
    cfg = Segment(dimension=2, unet={"filters": 4, "depth": 3})
    segment, points = stage("segment").module(), stage("points").module()
    with open_events(written) as events:
        batch = list(events.stream())[:3]
    net = segment.network(cfg).eval()
    for event, products in zip(batch, segment.infer(net, batch, cfg), strict=True):
        assert len(products["semantic"]["label"]) == event.num_voxels > 0
        (found,) = points.infer(None, [event.with_products(products)], config.Points())
        assert (found["point"]["position"][:, 2] == 0.5).all()


def test_what_does_not_go_together_is_refused(genuine, data_folder, tmp_path):
    with pytest.raises(
        ValueError, match=r"images of 3 planes \(image2d_data\), in 2D: set ingest.wires.in_s"
    ):
        ingest(genuine, Ingest(), out=tmp_path / "out.h5")
    with pytest.raises(ValueError, match=r"holds events in 3D, and ingest\.wires\.in_source is set"):
        ingest(data_folder / "geant4_steps_20ev.h5", Ingest(wires=WIRES), out=tmp_path / "out.h5")
    with pytest.raises(ValueError, match=r"ingest\.response acts on"):
        ingest(genuine, Ingest(wires=WIRES, response={"recombination": "birks"}), out=tmp_path / "out.h5")


@pytest.mark.parametrize(
    ("wires", "dimension", "words"),
    [
        ({"in_source": True, "angles_deg": [0.0]}, 2, "take angles_deg out"),
        ({"in_source": True, "pitch_cm": 0.4}, 2, "pitch_cm without effect"),
        ({"in_source": True}, 3, "ingest makes views of wire planes; set segment.dimension: 2"),
        ({}, 2, "set ingest.wires.angles_deg, or in_source"),
    ],
)
def test_settings_that_do_not_go_together(wires, dimension, words):
    with pytest.raises(ValueError, match=words):
        Config(samples=["a.tsv"], ingest={"wires": wires}, segment={"dimension": dimension})


def test_settings_that_do():
    wires = {"in_source": True, "num_pixels": 512, "pixel_threshold_mev": 1.0}
    made = Config(samples=["a.tsv"], ingest={"wires": wires}, segment={"dimension": 2})
    assert made.ingest.wires.make_views and not made.ingest.wires.make_points
