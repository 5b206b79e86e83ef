"""The class and the species of a particle come of all its voxels."""

import numpy as np
import pytest
import torch
from conftest import labelled, line

from lartpc import config
from lartpc.kinematics.classes import class_scores, class_shares, decide, species_scores
from lartpc.stages import cluster, interact
from lartpc.truth import upstream_from_truth
from lartpc.vocab import Semantic, Species

SHOWER, TRACK, MICHEL, DELTA, LOW = map(int, Semantic)


def shares(**of):
    return [of.get(name, 0.0) for name in ("shower", "track", "michel", "delta", "low_energy")]


@pytest.mark.parametrize(
    ("share", "first", "right"),
    [
        # a muon of 1,406 voxels whose first piece is a delta of a few
        (shares(track=0.98, delta=0.02), DELTA, TRACK),
        # an electron of 600 MeV whose trunk is called track
        (shares(shower=0.92, track=0.08), TRACK, SHOWER),
        # a piece of a shower that is called Michel is no Michel of 977 MeV
        (shares(shower=0.97, michel=0.03), MICHEL, SHOWER),
        # a Michel with photons of shower class, of more voxels than it has
        (shares(shower=0.7, michel=0.3), MICHEL, MICHEL),
        # a delta grouped with a shower that comes first
        (shares(shower=0.7, delta=0.3), SHOWER, SHOWER),
        # electromagnetic classes count together against track
        (shares(track=0.39, shower=0.31, michel=0.3), TRACK, SHOWER),
        # and less than half of the scores is enough for a track in pieces
        (shares(track=0.45, shower=0.55), SHOWER, TRACK),
        # what low-energy scores say is of no class
        (shares(low_energy=0.9, delta=0.06, track=0.04), DELTA, DELTA),
    ],
)
def test_the_class_has_the_evidence_of_all_voxels(share, first, right):
    assert decide(np.array([share]), np.array([first])).tolist() == [right]


def test_scores_are_means_over_the_voxels_of_a_particle():
    score = np.eye(5)[[SHOWER, TRACK, TRACK, DELTA, LOW]]
    found = class_scores(np.array([1, 1, 1, -1, 0]), score, 3)
    assert found[1].tolist() == pytest.approx(shares(shower=1 / 3, track=2 / 3))
    assert found[0].tolist() == shares(low_energy=1.0) and found[2].tolist() == shares()


def test_shares_of_files_without_scores_are_of_the_own_class():
    found = class_shares(
        np.array([[np.nan] * 5, shares(), shares(track=0.2, low_energy=0.6)]), [MICHEL, DELTA, TRACK]
    )
    assert found.tolist() == [shares(michel=1.0), shares(delta=1.0), shares(track=1.0)]


def test_species_are_weighted_by_the_shares_of_classes():
    among = np.zeros((1, 5, len(Species)))
    among[0, SHOWER, [Species.PHOTON, Species.ELECTRON]] = 0.25, 0.75
    among[0, TRACK, [Species.MUON, Species.PROTON]] = 0.9, 0.1
    among[0, [MICHEL, DELTA], Species.ELECTRON] = 1.0
    share = np.array([shares(shower=0.4, track=0.5, delta=0.1)] * 3)
    found = species_scores(np.repeat(among, 3, axis=0), share, np.array([SHOWER, TRACK, MICHEL]))
    # of what the class allows: photon 0.1 and electron 0.4, muon 0.45 and proton 0.05
    assert found[0, [Species.PHOTON, Species.ELECTRON]].tolist() == pytest.approx([0.2, 0.8])
    assert found[1, [Species.MUON, Species.PROTON]].tolist() == pytest.approx([0.9, 0.1])
    assert found[2].tolist() == pytest.approx(np.eye(len(Species))[Species.ELECTRON])
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


def test_a_class_of_no_voxel_has_its_own_species():
    among = np.zeros((1, 5, len(Species)))
    among[0, SHOWER, Species.PHOTON] = among[0, TRACK, Species.PROTON] = 1.0
    found = species_scores(among, np.array([shares(shower=1.0)]), np.array([TRACK]))
    assert found[0].tolist() == np.eye(len(Species))[Species.PROTON].tolist()


def a_muon_and_its_delta():
    """An event of a track of 60 voxels and a delta of 8, with the truth in the place of what `segment` says."""
    particles = [
        {"coord": line((400, 400, 400), (1, 0, 0), 60)},
        {"coord": line((430, 400, 401), (0, 1, 1), 8), "semantic": Semantic.DELTA, "is_primary": 0},
    ]
    return labelled(particles)


def test_a_muon_that_begins_with_a_delta_stays_a_muon(monkeypatch):
    event = upstream_from_truth(a_muon_and_its_delta(), ["semantic", "point"])

    def as_one(net, found, cfg):
        # the network takes both for one particle, and the delta for its first piece
        return [(np.zeros(2, int), (one.columns["semantic"] == DELTA).astype(np.float32)) for one in found]

    monkeypatch.setattr(cluster, "group", as_one)
    cfg = config.Cluster.model_validate({"graph": {"num_hidden": 16}})
    (products,) = cluster.infer(cluster.network(cfg), [event], cfg)
    particle = products["particle"]
    assert particle["semantic"].tolist() == [TRACK] and particle["num_voxels"].tolist() == [68]
    assert particle["class_score"][0].tolist() == pytest.approx(shares(track=60 / 68, delta=8 / 68))
    # and it is measured as a track: from one end to the other
    ends = sorted(particle[name][0].tolist() for name in ("start_point", "end_point"))
    np.testing.assert_allclose(ends, [[400.5] * 3, [459.5, 400.5, 400.5]], atol=1e-4)


def test_a_small_delta_is_one_whatever_its_voxels_were_called():
    """Its class was told by growing; of several pieces, the voxels decide."""
    score = np.float32([shares(track=0.6, delta=0.4), shares(track=0.35, shower=0.65)])
    delta = np.array([Semantic.DELTA, Semantic.TRACK])
    np.testing.assert_allclose(class_shares(score, delta), [shares(delta=1.0), score[1]], atol=1e-6)
    assert decide(score, delta).tolist() == [Semantic.TRACK, Semantic.SHOWER]


def test_class_and_species_never_contradict():
    event = upstream_from_truth(
        a_muon_and_its_delta(), ["point", "candidate", "group", "fragment", "particle"]
    )
    particle = dict(event["particle"])
    assert particle["class_score"].tolist() == [shares(track=1.0), shares(delta=1.0)]
    particle["class_score"] = np.float32([shares(track=0.25, shower=0.75), shares(delta=1.0)])
    cfg = config.Interact.model_validate({"graph": {"num_hidden": 16}})
    torch.manual_seed(1)
    (products,) = interact.infer(
        interact.network(cfg).eval(), [event.with_products({"particle": particle})], cfg
    )
    score = products["identity"]["species_score"]
    light = score[:, [Species.PHOTON, Species.ELECTRON]].sum(axis=1)
    # though most voxels of the track score as shower
    assert light.tolist() == pytest.approx([0.0, 1.0]) and score.sum(axis=1).tolist() == pytest.approx([1, 1])
    assert products["identity"]["species"].tolist() == score.argmax(axis=1).tolist()
