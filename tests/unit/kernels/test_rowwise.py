"""What is made of an event does not depend on the events beside it, bit for bit."""

import numpy as np
import pytest
import torch
from conftest import labelled, line
from torch import nn

from lartpc import config
from lartpc.config import GraphNet
from lartpc.graphs import NUM_EDGE_FEATURES, CompiledGraphNetwork, Graph, has_kernel, side_by_side
from lartpc.nets.graph import GraphNetwork
from lartpc.nets.rowwise import rowwise, whole
from lartpc.stages import CHAIN, stage
from lartpc.truth import upstream_from_truth
from lartpc.vocab import Semantic

SIZES = (1, 3, 7, 8, 9, 31, 65, 200)
SMALL = {
    "segment": {"unet": {"filters": 8, "depth": 3, "repetitions": 1}, "infer": {"proposal_floor": 0.0}},
    "cluster": {"graph": {"num_hidden": 32}},
    "interact": {"graph": {"num_hidden": 32}},
    "detect": {
        "dimension": 3,
        "unet": {"filters": 8, "depth": 3, "repetitions": 1},
        "level": 1,
        "infer": {"score_floor": 0.0},
    },
}


@torch.inference_mode()
@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_a_layer_says_the_same_of_a_row_wherever_it_stands(backend, monkeypatch):
    if backend == "torch":  # as where there is no compiler
        monkeypatch.setattr("lartpc.nets.rowwise.resolve", lambda _: backend)
    torch.manual_seed(1)
    layer, feat = nn.Linear(37, 3), torch.randn(sum(SIZES), 37)
    together = rowwise(layer, feat)
    torch.testing.assert_close(together, layer(feat))
    assert torch.equal(together, torch.cat([rowwise(layer, part) for part in feat.split(SIZES)]))


@torch.inference_mode()
@pytest.mark.parametrize("function", [torch.sigmoid, torch.exp, torch.log1p])
def test_a_function_says_the_same_of_a_number_wherever_it_stands(function):
    torch.manual_seed(1)
    values = torch.rand(sum(SIZES)) * 5
    together = whole(function, values)
    torch.testing.assert_close(together, function(values))
    assert torch.equal(together, torch.cat([whole(function, part) for part in values.split(SIZES)]))


def event(entry):
    """Return an event of a few tracks and showers, in sizes that fill no vectors."""
    rng = np.random.default_rng(entry)
    ways = ((1, 1, 0), (1, -1, 0), (0, 1, 1), (-1, 0, 1))
    particles = [
        {
            "coord": line(tuple(rng.integers(250, 300, 3)), ways[number], 17 + 5 * number + entry),
            "semantic": (Semantic.TRACK, Semantic.SHOWER)[number % 2],
        }
        for number in range(4)
    ]
    found = labelled(particles, entry, num_blips=3 + entry)
    products = ["semantic", "point", "candidate", "group", "fragment", "particle"]
    return upstream_from_truth(found, products)


@pytest.mark.parametrize(
    "row", [*(row for row in CHAIN if row.learned), stage("detect")], ids=lambda row: row.name
)
def test_a_stage_says_the_same_of_an_event_in_any_batch(row):
    torch.manual_seed(1)
    module = row.module()
    section = config.SECTIONS[row.name].model_validate(SMALL[row.name])
    net = module.network(section).eval()
    events = [event(entry) for entry in range(5)]
    together = module.infer(net, events, section)
    alone = [module.infer(net, [one], section)[0] for one in events]
    for one, other in zip(together, alone, strict=True):
        for product in row.writes:
            for name, values in one[product].items():
                assert len(values), f"{product} is empty"
                np.testing.assert_array_equal(values, other[product][name], f"{product}.{name}")


@pytest.mark.parametrize("num", [1, 2, 3, 5])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_graph_of_few_nodes_is_the_same_beside_another(num, compiled):
    torch.manual_seed(num)
    net = GraphNetwork(5, GraphNet(), {"primary": 2}).eval()
    if compiled:
        if not has_kernel(GraphNet()):
            pytest.skip("there is no compiler for the kernel")
        state = {name: values.numpy() for name, values in net.state_dict().items()}
        net = CompiledGraphNetwork(state, 5, GraphNet(), {"primary": 2})
    graphs = [
        Graph(
            torch.randn(size, 5).numpy(),
            torch.triu_indices(size, size, 1).numpy(),
            torch.randn(size * (size - 1) // 2, NUM_EDGE_FEATURES).numpy(),
        )
        for size in (num, 40)
    ]
    alone, beside = net.logits(graphs[0]), net.logits(side_by_side(graphs))
    for name, value in alone.items():
        np.testing.assert_array_equal(value, beside[name][: len(value)], name)
