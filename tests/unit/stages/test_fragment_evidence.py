"""What the networks before say of fragments, and that weights made without it say what they said."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import typical

from lartpc import affinities, config
from lartpc.event import Event, conform, empty
from lartpc.fragments.evidence import EVIDENCE, MEETING, evidence, meeting
from lartpc.geometry import Box
from lartpc.run.weights import load_weights, save_weights, warm_start
from lartpc.stages import cluster, stage
from lartpc.stages.cluster import TAKES_FEATURES
from lartpc.stages.cluster.learn import shares_of_nodes
from lartpc.truth import upstream_from_truth
from lartpc.vocab import Semantic

SMALL = config.Cluster.model_validate({"graph": {"num_hidden": 32}})

# Two rows of three voxels beside each other, and a voxel by itself
COORD = np.array([*((x, y, 5) for y in (5, 6) for x in (5, 6, 7)), (20, 20, 20)])
LABEL = np.array([0, 0, 0, 1, 1, -1, 2])


def an_event(logit_of: dict[tuple[int, int], float]) -> Event:
    """An event with these affinities; all others are not known."""
    pair_E2, direction_E = affinities.neighbours(COORD)
    logit_E = np.array([logit_of.get((min(pair), max(pair)), np.nan) for pair in pair_E2.tolist()])
    products = {
        "voxel": conform("voxel", {"coord": COORD, "energy": np.ones(len(COORD))}),
        "affinity": {"logit": affinities.pack(len(COORD), pair_E2, direction_E, logit_E)},
    }
    return Event("file", 0, Box((0.0, 0.0, 0.0), 0.3, 32), products)


def test_the_affinities_of_voxels_that_meet_are_features_of_their_fragments() -> None:
    # of fragments 0 and 1: -4 and 1; within 0, and with the voxel of none, nothing counts
    event = an_event({(0, 3): -4.0, (1, 4): 1.0, (0, 1): 7.0, (2, 5): 7.0})
    pairs = np.array([[0, 1], [2, 0], [1, 0]])
    found = dict(zip(MEETING, meeting(event, LABEL, pairs).T, strict=True))
    np.testing.assert_allclose(found["mean_affinity"], [0.2 * -1.5, 0, 0.2 * -1.5], rtol=1e-6)
    np.testing.assert_allclose(found["largest_affinity"], [0.2, 0, 0.2], rtol=1e-6)
    np.testing.assert_allclose(found["num_affinities"], [np.log(3), 0, np.log(3)], rtol=1e-6)


@pytest.mark.parametrize("logit_of", [{}, {(0, 1): 3.0}])
def test_fragments_of_which_no_affinity_is_known_have_none(logit_of: dict[tuple[int, int], float]) -> None:
    pairs = np.array([[0, 1], [0, 2]])
    assert not meeting(an_event(logit_of), LABEL, pairs).any()
    bare = an_event(logit_of)
    del bare.products["affinity"]
    assert not meeting(bare, LABEL, pairs).any()
    assert meeting(bare, LABEL, np.empty((0, 2), np.int64)).shape == (0, len(MEETING))


def test_scores_of_classes_and_points_are_features_of_a_fragment() -> None:
    event = an_event({})
    score = np.zeros((len(COORD), len(Semantic)), np.float32)
    score[:3] = (0, 0.9, 0, 0.1, 0)
    score[1] = (0, 0.6, 0, 0.4, 0)
    score[3:] = (0.8, 0, 0.2, 0, 0)
    event.products["semantic"] = {**empty("semantic", len(COORD)), "score": score}
    event.products["point"] = conform(
        "point",
        {
            # at both fragments, and 2.9 voxels from the last voxel of the first one; the third is out of reach of all
            "position": [[5.5, 6.0, 5.5], [10.4, 5.5, 5.5], [40.0, 5.5, 5.5]],
            "score": [0.9, 0.8, 1.0],
            "class_score": np.zeros((3, len(Semantic))),
            "semantic": [Semantic.TRACK, Semantic.TRACK, Semantic.SHOWER],
            "end_score": [0.25, 0.75, 0.0],
            "kind": [0, 1, 0],
        },
    )
    label_F = np.array([Semantic.TRACK, Semantic.SHOWER, Semantic.SHOWER])
    found = dict(zip(EVIDENCE, evidence(event, LABEL, label_F).T, strict=True))
    np.testing.assert_allclose(found["score_track"], [0.8, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found["score_delta"], [0.2, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found["score_shower"], [0, 0.8, 0.8], atol=1e-6)
    # tracks are no points of showers
    np.testing.assert_allclose(found["start_score"], [0.9 * 0.75, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found["end_score"], [0.8 * 0.75, 0, 0], atol=1e-6)
    nothing = np.full(len(COORD), -1)
    assert evidence(event, nothing, np.empty(0, np.int64)).shape == (0, len(EVIDENCE))


def without_evidence(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state of a network that was trained before there were the last features of nodes and edges."""
    state = {name: values.clone() for name, values in net.state_dict().items()}
    for name, (num, num_new) in TAKES_FEATURES.items():
        state[name] = state[name][:, : num - num_new].contiguous()
    return state


def test_weights_made_without_evidence_take_nothing_from_it(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = cluster.network(SMALL).eval()
    old = without_evidence(net)
    path = tmp_path / "old.pt"
    save_weights(path, stage("cluster"), SMALL, old, {})
    loaded = load_weights(path, stage("cluster"), SMALL)
    event = upstream_from_truth(typical(3), ["semantic", "affinity", "point"])
    (found,) = cluster.find(None, [event], SMALL)
    # whatever the last features are, these weights say the same, and so does the compiled network
    said = loaded.logits(found.graph)
    found.graph.edge_EC[:, -len(MEETING) :] += 3.0
    found.graph.node_FC[:, -len(EVIDENCE) :] += 3.0
    again = loaded.logits(found.graph)
    kernel = cluster.compiled(SMALL, {name: values.numpy() for name, values in old.items()})
    assert kernel is not None
    for name, values in said.items():
        np.testing.assert_array_equal(again[name], values)
        np.testing.assert_allclose(kernel.logits(found.graph)[name], values, rtol=1e-4, atol=1e-5)


def test_a_training_goes_on_from_weights_made_without_evidence(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = cluster.network(SMALL)
    path = tmp_path / "old.pt"
    old = without_evidence(net)
    save_weights(path, stage("cluster"), SMALL, old, {})
    fresh = cluster.network(SMALL)
    num = len(list(fresh.parameters()))
    assert f"{num} of {num} parameters taken" in warm_start(fresh, path)
    for name, (wanted, num_new) in TAKES_FEATURES.items():
        taken = fresh.state_dict()[name]
        assert taken.shape[1] == wanted
        torch.testing.assert_close(taken[:, :-num_new], old[name])
        assert not taken[:, -num_new:].any()


def test_each_fragment_counts_alike_however_many_edges_it_has() -> None:
    # a star of three edges around node 0, one of them without a target, and an edge by itself
    pair_2E = np.array([[0, 0, 0, 4], [1, 2, 3, 5]])
    share_E = shares_of_nodes(pair_2E, torch.tensor([1, 0, -1, 1]))
    # nodes 1, 2, 4, 5 have one edge that counts, node 0 two of them
    np.testing.assert_allclose(share_E[[0, 1, 3]], [0.5 / 2 + 0.5, 0.5 / 2 + 0.5, 1.0])
