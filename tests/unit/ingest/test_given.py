"""Voxels and truth that a source brings: laid into the box, and made true of what is left."""

import json

import numpy as np
import pytest

from lartpc import config
from lartpc.event import TRUTH, conform
from lartpc.geometry import Box
from lartpc.ingest import source, voxelize
from lartpc.ingest.labels import given
from lartpc.ingest.source import Voxels, VoxelSource, numbered
from lartpc.run import ingest as verb
from lartpc.store import open_events
from lartpc.vocab import Semantic

CFG = config.Ingest(voxel_size_cm=1.0, num_voxels=16)
BOX = Box((0.0, 0.0, 0.0), 1.0, 16)
SHOWER, TRACK, LOW = int(Semantic.SHOWER), int(Semantic.TRACK), int(Semantic.LOW_ENERGY)


def two_particles() -> Voxels:
    """A track of 4 voxels along x, a shower of 2 + 1 voxels, a low-energy voxel; the shower's first overlaps."""
    coord = np.array(
        [[2, 5, 5], [3, 5, 5], [4, 5, 5], [5, 5, 5], [5, 5, 5], [6, 6, 5], [9, 9, 9], [12, 1, 1]]
    )
    return Voxels(
        coord=coord,
        energy=np.array([1.0, 1.0, 1.0, 1.0, 3.0, 2.0, 2.0, 0.5]),
        origin_cm=(0.0, 0.0, 0.0),
        truth={
            "truth_voxel": {
                "semantic": np.array([TRACK] * 4 + [SHOWER] * 3 + [LOW]),
                "particle": np.array([2, 2, 2, 2, 0, 0, 0, 1]),
            },
            "truth_particle": {
                "track_id": np.array([70, 80, 90]),
                "pdg": np.array([22, 2112, -13]),
                "interaction": np.array([0, 1, 0]),
                "is_primary": np.array([0, 0, 1]),
                "start_point": np.array([[6.5, 6.5, 5.5], [12.5, 1.5, 1.5], [2.1, 5.5, 5.5]]),
                "end_point": np.array([[9.5, 9.5, 9.5], [12.5, 1.5, 1.5], [5.9, 5.5, 5.5]]),
            },
            "truth_interaction": {"vertex": np.array([[2.1, 5.5, 5.5], [50.0, 0.0, 0.0]])},
        },
    )


def carried(voxels, products=TRUTH, box=BOX, cfg=CFG):
    image = voxelize.place(voxels, box, cfg.voxel_threshold_mev)
    made = given.carry(voxels, image, products, box, cfg)
    return image, {name: conform(name, columns) for name, columns in made.items()}


def test_a_shared_voxel_becomes_one_with_the_class_that_precedes():
    image, truth = carried(two_particles())
    assert len(image.energy) == 7 and image.energy.sum() == pytest.approx(11.5)
    row = np.flatnonzero((image.coord == [5, 5, 5]).all(axis=1))[0]
    assert image.energy[row] == 4.0 and truth["truth_voxel"]["semantic"][row] == TRACK


def test_objects_without_voxels_go_and_the_rest_is_renumbered_and_counted():
    _, truth = carried(two_particles())
    particle = truth["truth_particle"]
    assert particle["track_id"].tolist() == [70, 90]  # the neutron has low-energy voxels only
    assert particle["semantic"].tolist() == [SHOWER, TRACK]
    assert particle["species"].tolist() == [0, 2]
    assert particle["num_voxels"].tolist() == [2, 4] and particle["energy"].tolist() == [4.0, 7.0]
    assert np.isnan(particle["energy_init"]).all() and particle["process"].tolist() == [-1, -1]
    interaction = truth["truth_interaction"]
    assert interaction["num_particles"].tolist() == [2] and interaction["num_primaries"].tolist() == [1]
    assert np.allclose(interaction["vertex"], [[2.1, 5.5, 5.5]])
    assert sorted(truth["truth_voxel"]["particle"].tolist()) == [-1, 0, 0, 1, 1, 1, 1]


def test_fragments_are_made_where_the_source_has_none():
    image, truth = carried(two_particles())
    fragment = truth["truth_fragment"]
    assert sorted(fragment["num_voxels"].tolist()) == [1, 1, 4]
    shower = fragment["particle"] == 0
    assert sorted(fragment["is_primary"][shower].tolist()) == [0, 1]
    primary = np.flatnonzero(shower & (fragment["is_primary"] == 1))[0]
    member = truth["truth_voxel"]["fragment"] == primary
    assert image.coord[member].tolist() == [[6, 6, 5]]


def test_points_are_the_ends_of_tracks_and_the_starts_of_large_shower_fragments():
    _, truth = carried(two_particles())
    point = truth["truth_point"]
    assert np.allclose(point["position"], [[2.1, 5.5, 5.5], [5.9, 5.5, 5.5]])
    assert point["kind"].tolist() == [0, 1] and point["particle"].tolist() == [1, 1]
    grown = two_particles()
    more = np.array([[6 + step, 6, 5] for step in range(1, 6)])
    truth_voxel = grown.truth["truth_voxel"]
    grown = Voxels(
        np.concatenate([grown.coord, more]),
        np.concatenate([grown.energy, np.ones(5)]),
        grown.origin_cm,
        None,
        {
            **grown.truth,
            "truth_voxel": {
                "semantic": np.concatenate([truth_voxel["semantic"], [SHOWER] * 5]),
                "particle": np.concatenate([truth_voxel["particle"], [0] * 5]),
            },
        },
    )
    point = carried(grown)[1]["truth_point"]
    assert point["position"][0].tolist() == [6.5, 6.5, 5.5] and point["semantic"].tolist() == [0, 1, 1]


def test_the_box_shifts_positions_and_counts_what_is_outside():
    box = Box((3.0, 3.0, 3.0), 1.0, 6)
    image, truth = carried(two_particles(), box=box)
    assert image.energy_outside_mev == pytest.approx(3.5)  # [2, 5, 5], [9, 9, 9] and [12, 1, 1]
    assert image.energy.sum() + image.energy_outside_mev == pytest.approx(image.energy_mev)
    assert image.coord.tolist() == [[0, 2, 2], [1, 2, 2], [2, 2, 2], [3, 3, 2]]
    assert np.allclose(truth["truth_interaction"]["vertex"], [[-0.9, 2.5, 2.5]])
    assert np.allclose(truth["truth_point"]["position"], [[2.9, 2.5, 2.5]])  # the other end is outside


def test_a_grid_without_origin_lies_in_the_middle():
    voxels = Voxels(np.array([[0, 0, 0], [9, 9, 9]]), np.ones(2), num_voxels=(10, 10, 10))
    assert voxelize.place(voxels, BOX).coord.tolist() == [[3, 3, 3], [12, 12, 12]]


def test_a_part_of_the_truth_is_made_complete():
    coord = np.array([[1, 1, 1], [2, 2, 2], [8, 8, 8]])
    voxels = Voxels(
        coord,
        np.ones(3),
        origin_cm=(0.0, 0.0, 0.0),
        truth={"truth_voxel": {"semantic": np.array([1, 1, 0]), "particle": np.array([0, 0, 1])}},
    )
    _, truth = carried(voxels, ("truth_voxel", "truth_particle", "truth_fragment"))
    assert set(truth) == {"truth_voxel", "truth_particle", "truth_fragment"}
    assert truth["truth_particle"]["semantic"].tolist() == [1, 0]
    assert truth["truth_particle"]["is_primary"].tolist() == [-1, -1]
    assert truth["truth_voxel"]["interaction"].tolist() == [-1, -1, -1]
    assert truth["truth_fragment"]["is_primary"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"semantic": np.array([5] * 8)}, "5 is not a voxel class"),
        ({"particle": np.array([3] * 8), "semantic": np.ones(8)}, "particle 3, but there are 3"),
    ],
)
def test_labels_that_make_no_sense_are_refused(change, words):
    voxels = two_particles()
    voxels.truth["truth_voxel"].update(change)
    with pytest.raises(ValueError, match=words):
        carried(voxels)


def test_empty_and_low_energy_events_go_through():
    nothing = Voxels(np.zeros((0, 3), np.int64), np.zeros(0), origin_cm=(0.0, 0.0, 0.0))
    _, truth = carried(nothing)
    assert all(not len(value) for columns in truth.values() for value in columns.values())
    low = Voxels(
        np.array([[1, 1, 1]]),
        np.ones(1),
        origin_cm=(0.0, 0.0, 0.0),
        truth={"truth_voxel": {"semantic": np.array([LOW]), "particle": np.array([0])}},
    )
    _, truth = carried(low)
    assert truth["truth_voxel"]["particle"].tolist() == [-1] and not len(truth["truth_particle"]["pdg"])


class Images(VoxelSource):
    """A source of three images: a good one, one with a negative energy, an empty one."""

    truth = ("truth_voxel",)
    voxel_size_cm = 1.0

    def __init__(self, path):
        super().__init__(path, path.open(), numbered(np.array([5, 7, 7])))

    def read(self, entry):
        label = {"truth_voxel": {"semantic": np.array([0, 1, 1])}}
        coord = np.array([[1, 1, 1], [1, 1, 1], [99, 1, 1]])
        if entry == 2:
            return Voxels(coord[:0], np.zeros(0), origin_cm=(-8.0, -8.0, -8.0))
        return Voxels(coord, np.array([1.0, 2.0, -4.0 if entry else 4.0]), (-8.0, -8.0, -8.0), None, label)


def test_the_verb_takes_images_and_partial_truth(tmp_path, monkeypatch):
    path = tmp_path / "images.any"
    path.write_text("images")
    monkeypatch.setattr(verb, "open_sources", lambda paths: Images(*paths))
    summary = verb.ingest(path, CFG, out=tmp_path / "out.h5")
    assert (summary.num_events, summary.num_quarantined, summary.num_voxels) == (3, 1, 1)
    assert (summary.energy_mev, summary.energy_outside_mev) == (7.0, 4.0)
    with open_events(tmp_path / "out.h5") as events:
        assert set(events.products) == {"event", "voxel", "truth_voxel"}
        assert events[0]["voxel"]["energy"].tolist() == [3.0]
        assert events[0]["truth_voxel"]["semantic"].tolist() == [1]
        assert events[0]["event"]["num_steps"].tolist() == [3] and events[1]["event"]["event"].tolist() == [7]
        assert "-4 MeV" in events.quarantined()[1][1] and events[2].num_voxels == 0
        assert json.loads(events.attributes()["ingest"]["truth"]) == ["truth_voxel"]


def test_another_pitch_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "images.any"
    path.write_text("images")
    monkeypatch.setattr(verb, "open_sources", lambda paths: Images(*paths))
    with pytest.raises(ValueError, match=r"set ingest\.voxel_size_cm to 1"):
        verb.ingest(path, config.Ingest(), out=tmp_path / "out.h5")


def test_numbered_events_have_neither_run_nor_subrun():
    assert source.numbered(np.array([3, 9])).tolist() == [[0, 0, 3], [0, 0, 9]]
