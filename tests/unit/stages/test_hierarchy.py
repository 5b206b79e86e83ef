"""Relations of particles, their forest, and what the truth says of them."""

import numpy as np
import pytest
import torch
from conftest import labelled, line

from lartpc.config import GraphNet, PairLengths
from lartpc.graphs import NUM_EDGE_FEATURES, Graph
from lartpc.kinematics import Clusters
from lartpc.kinematics.hierarchy import generations, pair_up, parent_forest
from lartpc.kinematics.relations import (
    END_FEATURES,
    PAIR_FEATURES,
    SHELLS,
    SWAPPED,
    canonical,
    end_features,
    pair_features,
    pair_mass_mev,
)
from lartpc.nets.interaction import InteractionNetwork, parent_cross_entropy, parent_log_scores
from lartpc.stages.interact.graph import longest_edges
from lartpc.truth import UNKNOWN_PARENT, compositions, parents, pi_zeros
from lartpc.vocab import CreationProcess, Flavour, Semantic, Species


def columns_of(*rows):
    """Rows of class, start, end; the direction leads from start to end, the energy is the length."""
    start, end = (np.array([row[i] for row in rows], np.float32) for i in (1, 2))
    length = np.linalg.norm(end - start, axis=1, keepdims=True)
    return {
        "semantic": np.array([row[0] for row in rows], np.int8),
        "start_point": start,
        "end_point": end,
        "start_direction": (end - start) / length,
        "energy": length[:, 0],
    }


# -- relations ---------------------------------------------------------------------------------


def test_tracks_begin_at_low_x_and_showers_keep_their_start():
    coord = np.concatenate([line((10, 5, 5), (1, 0, 0), 20), line((10, 50, 5), (1, 0, 0), 20)])
    clusters = Clusters.group(coord, np.ones(40), np.repeat([0, 1], 20), 2)
    back = [
        (Semantic.TRACK, coord[19] + 0.5, coord[0] + 0.5),
        (Semantic.SHOWER, coord[39] + 0.5, coord[20] + 0.5),
    ]
    found, turned = canonical(columns_of(*back), clusters)
    assert turned.tolist() == [True, False]
    np.testing.assert_allclose(found["start_point"][:, 0], [10.5, 29.5])
    np.testing.assert_allclose(found["end_point"][:, 0], [29.5, 10.5])
    np.testing.assert_allclose(found["start_direction"][:, 0], [1, -1], atol=1e-6)


def test_shells_hold_the_energy_per_length():
    coord = line((0, 0, 0), (1, 0, 0), 100)
    clusters = Clusters.group(coord, np.where(np.arange(100) < 2, 5.0, 1.0), np.zeros(100, int), 1)
    found = end_features(clusters, columns_of((Semantic.TRACK, (0.5, 0.5, 0.5), (99.5, 0.5, 0.5))))
    assert found.shape == (1, len(END_FEATURES))
    # 3 voxels lie up to 2 away, and 2 more up to 4
    np.testing.assert_allclose(found[0, : len(SHELLS)], [5.5, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(found[0, len(SHELLS) :], [1.5, 1, 1, 1, 1, 1])


def test_relations_turn_round_with_the_pair():
    rng = np.random.default_rng(0)
    columns = columns_of(*((Semantic.SHOWER, *rng.uniform(0, 100, (2, 3))) for _ in range(6)))
    pairs = np.stack(np.triu_indices(6, 1), axis=1)
    one, two = rng.uniform(0, 100, (2, len(pairs), 3))
    forward = pair_features(columns, pairs, one, two)
    backward = pair_features(columns, pairs[:, ::-1], two, one)
    assert forward.shape[1] == len(PAIR_FEATURES) == len(SWAPPED)
    np.testing.assert_allclose(forward[:, SWAPPED], backward, rtol=1e-6)


def test_two_photons_of_known_mass():
    columns = columns_of((Semantic.SHOWER, (0, 0, 0), (100, 0, 0)), (Semantic.SHOWER, (0, 10, 0), (0, 90, 0)))
    (found,) = pair_features(columns, np.array([[0, 1]]), np.zeros((1, 3)), np.array([[0.0, 10.0, 0.0]]))
    named = dict(zip(PAIR_FEATURES, found.tolist(), strict=True))
    assert named["mass"] == pytest.approx(np.sqrt(2 * 100 * 80) / 134.9768, rel=1e-5)
    assert named["one_start_gap"] == named["two_start_gap"] == 0
    assert named["start_start"] == pytest.approx(np.log1p(10) / 5)
    assert named["two_points_from_start"] == pytest.approx(1)
    # a π⁰ at rest: two photons of half its mass, back to back
    assert pair_mass_mev(67.4884, 67.4884, -1.0) == pytest.approx(134.9768)


def test_longest_edges_by_class():
    found = longest_edges(PairLengths(track_michel=7, shower_shower=9))
    assert found[Semantic.TRACK, Semantic.MICHEL] == found[Semantic.MICHEL, Semantic.TRACK] == 7
    assert found[Semantic.SHOWER, Semantic.SHOWER] == 9 and not found[Semantic.LOW_ENERGY].any()


# -- forest ------------------------------------------------------------------------------------


def test_parents_form_no_circle():
    parent = np.array([0, 1, 2, 0])
    child = np.array([1, 2, 0, 2])
    forest = parent_forest(4, parent, child, np.log([0.9, 0.8, 0.7, 0.1]), np.log([0.3, 0.1, 0.05, 1.0]))
    assert forest.tolist() == [-1, 0, 1, -1]
    assert generations(forest).tolist() == [0, 1, 2, 0]


def test_no_parent_where_none_is_likelier():
    forest = parent_forest(2, np.array([0]), np.array([1]), np.log([0.4]), np.log([1.0, 0.6]))
    assert forest.tolist() == [-1, -1]


@pytest.mark.parametrize(("threshold", "parent"), [(0.0, -1), (0.45, -1), (0.5, 1), (0.7, 1)])
def test_a_parent_where_none_is_not_likely_enough(threshold: float, parent: int) -> None:
    # of particle 2: 0.2 and 0.35 for two parents, 0.45 for none
    scores, none = np.log([0.2, 0.35]), np.log([1.0, 1.0, 0.45])
    forest = parent_forest(3, np.array([0, 1]), np.array([2, 2]), scores, none, threshold)
    assert forest.tolist() == [-1, -1, parent]


def test_the_next_best_parent_where_the_best_closes_a_circle():
    parent, child = np.array([1, 0, 2]), np.array([0, 1, 1])
    forest = parent_forest(3, parent, child, np.log([0.9, 0.6, 0.3]), np.log([0.1, 0.1, 1.0]))
    assert forest.tolist() == [1, 2, -1]


def test_a_photon_is_in_one_pair():
    pairs = np.array([[0, 1], [1, 2], [2, 3], [0, 3]])
    assert pair_up(4, pairs, np.array([0.8, 0.9, 0.7, 0.6]), 0.5).tolist() == [1, 0, 0, 1]
    assert pair_up(4, pairs, np.array([0.8, 0.9, 0.7, 0.6]), 0.85).tolist() == [-1, 0, 0, -1]


# -- network -----------------------------------------------------------------------------------


def test_parent_scores_add_up_to_one():
    torch.manual_seed(0)
    pair = torch.tensor([[0, 0, 1], [1, 2, 2]])
    edge, none = parent_log_scores(50 * torch.randn(6), torch.randn(4), pair)
    child = torch.cat([pair[1], pair[0]])
    total = none.exp().index_add(0, child, edge.exp())
    torch.testing.assert_close(total, torch.ones(4))
    assert none[3] == 0


def test_parent_loss_is_that_of_the_chosen_edge():
    pair = torch.tensor([[0, 0], [1, 2]])
    parent = torch.tensor([1.0, 0.0, 0.0, 0.0])
    total, count = parent_cross_entropy(parent, torch.zeros(3), pair, torch.tensor([-1, 0, -2]))
    expected = np.log(3) - np.log(np.e / (np.e + 1))
    assert int(count) == 2 and float(total) == pytest.approx(expected)


def test_scores_do_not_depend_on_the_order_of_a_pair():
    torch.manual_seed(0)
    net = InteractionNetwork(5, GraphNet(num_hidden=8), {"species": 3}, {"flavour": 3}, SWAPPED).eval()
    pair = torch.tensor([[0, 1], [1, 2]])
    edge = torch.randn(2, NUM_EDGE_FEATURES + len(SWAPPED))
    node = torch.randn(3, 5)
    group = torch.tensor([0, -1, 0])
    one = net(Graph(node, pair, edge), group)
    two = net(Graph(node, pair.flip(0), net.reverse(edge)), group)
    assert one["flavour"].shape == (1, 3)
    for name in ("edge", "pi_zero", "species", "orphan", "flavour"):
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one["parent"], two["parent"].roll(2), rtol=1e-4, atol=1e-5)


# -- truth -------------------------------------------------------------------------------------


def decay_chain():
    """Return a muon with a delta and a Michel; a pion, whose muon is not seen, with its Michel; a π⁰."""
    event = labelled(
        [
            {"coord": line((100, 100, 100), (1, 0, 0), 80), "species": Species.MUON},
            {"coord": line((120, 101, 100), (0, 1, 0), 5), "semantic": Semantic.DELTA, "is_primary": 0},
            {"coord": line((180, 100, 100), (0, 1, 0), 9), "semantic": Semantic.MICHEL, "is_primary": 0},
            {"coord": line((100, 100, 101), (0, 0, 1), 30), "species": Species.PION},
            {"coord": line((100, 101, 131), (0, 1, 0), 9), "semantic": Semantic.MICHEL, "is_primary": 0},
            {
                "coord": line((60, 60, 100), (-1, 0, 0), 30),
                "semantic": Semantic.SHOWER,
                "species": Species.PHOTON,
            },
            {
                "coord": line((60, 140, 100), (-1, 0, 0), 30),
                "semantic": Semantic.SHOWER,
                "species": Species.PHOTON,
            },
            {"coord": line((500, 500, 500), (1, 0, 0), 30), "species": Species.PROTON, "interaction": 1},
        ]
    )
    truth = event["truth_particle"]
    truth["parent_track_id"][:] = [-1, 1, 1, -1, 99, 77, 77, -1]
    truth["process"][:] = CreationProcess.PRIMARY
    truth["process"][[2, 4, 5, 6]] = CreationProcess.DECAY
    truth["energy_init"][:] = 100.0
    return event


def test_parents_in_truth():
    assert parents(decay_chain()).tolist() == [-1, 0, 0, -1, 3, -1, -1, -1]


def test_parents_that_the_source_does_not_state():
    event = decay_chain()
    event["truth_particle"]["parent_track_id"][:] = -1
    event["truth_particle"]["is_primary"][:] = [1, -1, 0, 1, -1, 1, 1, 1]
    assert parents(event).tolist() == [-1, UNKNOWN_PARENT, UNKNOWN_PARENT, -1, UNKNOWN_PARENT, -1, -1, -1]


def test_photons_of_one_pi_zero():
    assert pi_zeros(decay_chain()).tolist() == [-1, -1, -1, -1, -1, 0, 0, -1]


def test_compositions_of_true_interactions():
    event = decay_chain()
    found = compositions(event, 2)
    assert found["flavour"].tolist() == [Flavour.NUMU_LIKE, Flavour.NC_LIKE]
    assert found["num_protons"].tolist() == [0, 1] and found["num_pions"].tolist() == [1, 0]
    assert found["num_pi_zeros"].tolist() == [1, 0]
    event["truth_particle"]["species"][3] = Species.ELECTRON
    event["truth_particle"]["energy_init"][3] = 200.0
    assert compositions(event, 2)["flavour"].tolist() == [Flavour.NUE_LIKE, Flavour.NC_LIKE]
    event["truth_particle"]["is_primary"][7] = -1
    assert compositions(event, 2)["flavour"].tolist() == [Flavour.NUE_LIKE, -1]
