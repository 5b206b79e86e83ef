"""Classes of particles, decided again by what is around them."""

from typing import Any

import numpy as np
import pytest
import torch
from conftest import labelled, line

from lartpc import config
from lartpc.kinematics.classes import decide_again, final_classes
from lartpc.stages import interact
from lartpc.truth import upstream_from_truth
from lartpc.vocab import Semantic, Species

SHOWER, TRACK, MICHEL, DELTA = range(4)
SMALL = config.Interact.model_validate({"graph": {"num_hidden": 32}})


@pytest.mark.parametrize(
    ("now", "by_neighbours", "by_voxels", "can_be_michel", "then"),
    [
        (MICHEL, [0.9, 0.0, 0.1, 0.0], [0.4, 0.0, 0.6, 0.0], True, SHOWER),  # the neighbours are sure
        (MICHEL, [0.6, 0.0, 0.4, 0.0], [0.2, 0.0, 0.8, 0.0], True, MICHEL),  # the voxels are surer
        (SHOWER, [0.1, 0.0, 0.9, 0.0], [0.5, 0.0, 0.5, 0.0], True, MICHEL),
        (SHOWER, [0.1, 0.0, 0.9, 0.0], [0.5, 0.0, 0.5, 0.0], False, SHOWER),  # too much energy for one
        (MICHEL, [0.79, 0.0, 0.21, 0.0], [0.09, 0.0, 0.91, 0.0], True, MICHEL),  # too few of the voxels
        (MICHEL, [0.81, 0.0, 0.19, 0.0], [0.09, 0.0, 0.91, 0.0], True, SHOWER),  # the neighbours are sure
        (MICHEL, [0.99, 0.0, 0.01, 0.0], [0.0, 0.0, 1.0, 0.0], True, SHOWER),
        (DELTA, [0.05, 0.0, 0.95, 0.0], [0.0, 0.0, 0.0, 1.0], False, DELTA),  # no Michel deposits so much
        (
            SHOWER,
            [0.0, 1.0, 0.0, 0.0],
            [0.5, 0.5, 0.0, 0.0],
            True,
            SHOWER,
        ),  # what becomes a track has no ends
        (TRACK, [0.0, 0.0, 0.0, 1.0], [0.0, 0.5, 0.0, 0.5], True, TRACK),
        (DELTA, [np.nan] * 4, [0.8, 0.0, 0.0, 0.2], True, DELTA),  # weights without such a head
    ],
)
def test_neighbours_and_voxels_decide_together(
    now: int, by_neighbours: list[float], by_voxels: list[float], can_be_michel: bool, then: int
) -> None:
    share = np.array([[*by_voxels, 0.0]])
    found = decide_again(np.array([now]), np.array([by_neighbours]), share, np.array([can_be_michel]))
    assert found.tolist() == [then]


def a_muon_and_its_electron() -> Any:
    """A track of 80 voxels, and at its end 14 that a network on voxels calls Michel and might call shower."""
    michel = {"semantic": Semantic.MICHEL, "species": Species.ELECTRON, "is_primary": 0}
    event = upstream_from_truth(
        labelled(
            [
                {"coord": line((200, 200, 200), (1, 0, 0), 80), "species": Species.MUON},
                {"coord": line((280, 200, 200), (0, 1, 0), 14), **michel},
            ]
        ),
        ["point", "candidate", "group", "fragment", "particle"],
    )
    event["particle"]["class_score"][1] = [0.4, 0.0, 0.6, 0.0, 0.0]
    return event


def a_network(bias: list[float]) -> Any:
    torch.manual_seed(1)
    net = interact.network(SMALL).eval()
    with torch.no_grad():
        net.node_heads["semantic"].weight.zero_()
        net.node_heads["semantic"].bias[:] = torch.tensor(bias)
    return net


def test_the_decided_class_stands_in_identity_and_what_follows_from_it() -> None:
    event = a_muon_and_its_electron()
    found = interact.infer(a_network([5.0, 0.0, 0.0, 0.0]), [event], SMALL)[0]["identity"]
    assert found["semantic"].tolist() == [TRACK, SHOWER]
    assert found["semantic_score"][:, SHOWER].min() > 0.9
    # only showers and tracks can be primaries, and photons are showers
    assert found["species_score"][1, Species.PHOTON] > 0
    assert event["particle"]["semantic"].tolist() == [TRACK, MICHEL]  # what the stage before said stays
    known = event.with_products({"identity": found})
    assert final_classes(known).tolist() == [TRACK, SHOWER]
    kept = config.Interact.model_validate({**SMALL.model_dump(), "infer": {"choose_classes": False}})
    found = interact.infer(a_network([5.0, 0.0, 0.0, 0.0]), [event], kept)[0]["identity"]
    assert found["semantic"].tolist() == [TRACK, MICHEL]


@pytest.mark.parametrize("compiled", [True, False])
def test_weights_without_the_head_leave_classes_as_they_are(compiled: bool) -> None:
    event = a_muon_and_its_electron()
    state = {
        name: values
        for name, values in a_network([5.0, 0.0, 0.0, 0.0]).state_dict().items()
        if "heads.semantic" not in name
    }
    if compiled:
        net = interact.compiled(SMALL, {name: values.numpy() for name, values in state.items()})
        if net is None:
            pytest.skip("no compiler here")
    else:
        net = interact.network(SMALL).eval()
        net.load_state_dict(state)
    found = interact.infer(net, [event], SMALL)[0]["identity"]
    assert found["semantic"].tolist() == [TRACK, MICHEL]
    assert np.isnan(found["semantic_score"]).all()
