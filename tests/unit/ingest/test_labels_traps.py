"""What simulation files set as traps for the labels, and the memory that labels need."""

import resource
import sys
import tracemalloc

import numpy as np
import pytest
from handmade_tracks import CFG, Event, check, line_in_y, muon, semantic_at

from lartpc.config import Ingest
from lartpc.event import conform
from lartpc.geometry import Box
from lartpc.ingest.labels.labels import label
from lartpc.ingest.steps import Steps, Trajectories
from lartpc.ingest.voxelize import voxelize
from lartpc.vocab import CreationProcess as P
from lartpc.vocab import Semantic


def test_trap_michel_of_a_captured_muon_is_told_by_its_energy():
    # mu- at rest: the decay in orbit carries the capture process too, beside Auger electrons and photons
    event = muon(Event(), pdg=13)
    event.track(2, 11, P.CAPTURE, 1, ke=30.0).track(3, 11, P.CAPTURE, 1, ke=2.4).track(4, 22, P.CAPTURE, 1)
    event.track(5, 11, P.COMPTON, 4, ke=1.0)
    line_in_y(event, 2, 25, 6)
    line_in_y(event, 3, 45, 6)
    line_in_y(event, 5, 55, 6)
    image, products = event.label()
    assert semantic_at(image, products, 25, 13, 10) == Semantic.MICHEL
    assert semantic_at(image, products, 45, 13, 10) == Semantic.LOW_ENERGY
    assert semantic_at(image, products, 55, 13, 10) == Semantic.LOW_ENERGY
    image, products = event.label(CFG.model_copy(update={"michel_min_energy_mev": 2.0}))
    assert semantic_at(image, products, 45, 13, 10) == Semantic.MICHEL


@pytest.mark.parametrize(
    ("process", "num", "expected"),
    [
        (P.COMPTON, 12, Semantic.SHOWER),
        (P.CONVERSION, 12, Semantic.SHOWER),
        (P.COMPTON, 5, Semantic.LOW_ENERGY),
        (P.PHOTO_ELECTRIC, 12, Semantic.LOW_ENERGY),
        (P.IONISATION, 12, Semantic.DELTA),
    ],
)
def test_trap_of_pruned_parents_the_process_decides_and_not_the_muon_named_as_parent(process, num, expected):
    event = muon(Event()).track(2, 11, process, 1)
    line_in_y(event, 2, 40, num)
    image, products = event.label()
    assert semantic_at(image, products, 40, 12, 10) == expected
    # whoever it comes off, it belongs to the muon's interaction
    assert (products["truth_particle"]["interaction"] == 0).all()


@pytest.mark.parametrize(
    ("key", "value", "at", "before", "after"),
    [
        ("track_min_voxels", 4, (45, 12), Semantic.TRACK, Semantic.LOW_ENERGY),
        ("shower_min_voxels", 11, (35, 12), Semantic.SHOWER, Semantic.LOW_ENERGY),
        ("delta_min_voxels", 4, (15, 12), Semantic.DELTA, Semantic.TRACK),
        ("michel_min_energy_mev", 41.0, (25, 12), Semantic.MICHEL, Semantic.TRACK),
    ],
)
def test_each_threshold_acts_at_its_value(key, value, at, before, after):
    event = muon(Event(), pdg=13)
    event.track(2, 11, P.IONISATION, 1).track(3, 11, P.CAPTURE, 1, ke=40.0)
    event.track(4, 22, P.PRIMARY, interaction=0).track(5, 11, P.CONVERSION, 4)
    event.track(6, 2212, P.HADRONIC, 1)
    line_in_y(event, 2, 15, 3)
    line_in_y(event, 3, 25, 5)
    line_in_y(event, 5, 35, 10)
    line_in_y(event, 6, 45, 3)
    image, products = event.label()
    assert semantic_at(image, products, *at, 10) == before
    image, products = event.label(CFG.model_copy(update={key: value}))
    assert semantic_at(image, products, *at, 10) == after


def test_shower_fragments_below_the_least_size_have_no_point():
    event = Event().track(1, 11, P.PRIMARY, interaction=0).track(2, 22, P.BREMSSTRAHLUNG, 1)
    event.track(3, 11, P.CONVERSION, 2)
    line_in_y(event, 1, 10, 15)
    line_in_y(event, 3, 30, 10, time=2.0)
    for least, num_points in ((10, 2), (11, 1), (16, 0)):
        _, products = event.label(CFG.model_copy(update={"point_min_voxels": least}))
        assert len(products["truth_point"]["kind"]) == num_points


# -- size -------------------------------------------------------------------------------------------


def crowded(num_tracks):
    """As many muons of 300 voxels, and as many showers of 200 small pieces, at random in a large box."""
    rng = np.random.default_rng(1)
    start = rng.uniform(50, 718, (num_tracks, 1, 3))
    direction = rng.normal(size=(num_tracks, 1, 3))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    track = start + direction * (2.0 * np.arange(150))[:, None]
    piece = start + rng.normal(0, 15, (num_tracks, 200, 3))
    begin = np.concatenate([track.reshape(-1, 3), piece.reshape(-1, 3)])
    end = np.concatenate([(track + 2 * direction).reshape(-1, 3), piece.reshape(-1, 3)])
    end[num_tracks * 150 :] += rng.normal(0, 1, (num_tracks * 200, 3))
    muon, photon = np.arange(num_tracks) + 1, np.arange(num_tracks) + num_tracks + 1
    electron = np.arange(num_tracks * 200) + 2 * num_tracks + 1
    owner = np.concatenate([np.repeat(muon, 150), electron])
    pdg = np.repeat([13, 22, 11], [num_tracks, num_tracks, num_tracks * 200])
    process = np.where(pdg == 11, P.CONVERSION, P.PRIMARY)
    parent = np.concatenate([np.full(2 * num_tracks, -1), np.repeat(photon, 200)])
    zero_T, zero_T3 = np.zeros(len(pdg)), np.zeros((len(pdg), 3))
    return Steps(
        0, 0, 0, begin, end, np.full(len(owner), 0.5), rng.uniform(0, 10, len(owner)), owner, pdg[owner - 1],
        Trajectories(
            np.concatenate([muon, photon, electron]), parent, pdg, process.astype(np.int64), zero_T + 50,
            zero_T3, zero_T3, zero_T, np.where(parent < 0, 0, -1),
        ),
    )  # fmt: skip


@pytest.mark.slow
def test_memory_of_a_million_voxels_grows_with_the_voxels(capsys):
    box, cfg = Box((0.0, 0.0, 0.0), 1.0, 768), Ingest(voxel_size_cm=1.0)
    bytes_per_voxel = []
    for num_tracks in (250, 1000):
        steps = crowded(num_tracks)
        tracemalloc.start()
        image = voxelize(steps, box)
        products = label(steps, image, box, cfg)
        bytes_per_voxel.append(tracemalloc.get_traced_memory()[1] / len(image.energy))
        tracemalloc.stop()
        check(image, {name: conform(name, columns) for name, columns in products.items()})
    assert len(image.energy) > 1e6
    assert bytes_per_voxel[1] == pytest.approx(bytes_per_voxel[0], rel=0.2)
    assert bytes_per_voxel[1] < 600
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with capsys.disabled():
        sys.stdout.write(
            f"{len(image.energy)} voxels: {bytes_per_voxel[1]:.0f} B each, peak {peak_mb:.0f} MB\n"
        )
