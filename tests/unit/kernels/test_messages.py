"""Message passing by the compiled kernel against the same in torch."""

import numpy as np
import pytest
import torch

from lartpc.config import GraphNet
from lartpc.graphs import NUM_EDGE_FEATURES, Graph
from lartpc.nets import graph
from lartpc.nets.graph import GraphNetwork
from lartpc.sparse import resolve
from lartpc.sparse.messages import can_pass_messages

needs_kernel = pytest.mark.skipif(resolve("auto") != "fused", reason="there is no compiler for the kernel")


def some_graph(num_nodes, num_edges):
    """Random features, and pairs of which some nodes have none."""
    generator = torch.Generator().manual_seed(num_nodes)
    pairs = torch.randint(0, max(num_nodes - 2, 1), (2, num_edges), generator=generator)
    node_FC = torch.randn(num_nodes, 5, generator=generator)
    return Graph(node_FC, pairs, torch.randn(num_edges, NUM_EDGE_FEATURES, generator=generator))


def network(width, dtype=torch.float32):
    torch.manual_seed(width)
    net = GraphNetwork(5, GraphNet(num_hidden=width), {"primary": 2})
    for module in net.modules():
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
    return net.to(dtype).eval()


def outputs(net, one):
    """All logits, and the gradients of their squares for the weights and what went in."""
    one = Graph(one.node_FC.clone().requires_grad_(), one.pair_2E, one.edge_EC.clone().requires_grad_())
    found = net(one)
    loss = sum((value**2).sum() for value in found.values())
    wanted = {"nodes": one.node_FC, "edges": one.edge_EC, **dict(net.named_parameters())}
    grads = torch.autograd.grad(loss, list(wanted.values()), materialize_grads=True)
    return found, dict(zip(wanted, grads, strict=True))


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [16, 64, 112])
@pytest.mark.parametrize(("num_nodes", "num_edges"), [(0, 0), (3, 0), (4, 1), (9, 50), (60, 1500)])
def test_the_kernel_gives_what_torch_gives(num_nodes, num_edges, width, dtype, monkeypatch):
    net, one = network(width, dtype), some_graph(num_nodes, num_edges)
    one = Graph(one.node_FC.to(dtype), one.pair_2E, one.edge_EC.to(dtype))
    assert can_pass_messages(one.edge_EC, net.edge_encoder)
    with torch.no_grad():
        inferred = net(one)
    fast, fast_grads = outputs(net, one)
    monkeypatch.setattr(graph, "can_pass_messages", lambda *_: False)
    slow, slow_grads = outputs(net, one)
    limit = 1e-5 if dtype == torch.float32 else 1e-12
    for name, value in slow.items():
        assert len(value) == (num_edges if name == "edge" else num_nodes)
        torch.testing.assert_close(fast[name].detach(), value.detach(), rtol=limit, atol=limit)
        torch.testing.assert_close(inferred[name], value.detach(), rtol=limit, atol=limit)
    for name, value in slow_grads.items():
        # Of the whole: where an activation is near 0, rounding decides on which side it is.
        error, whole = (fast_grads[name] - value).norm(), value.norm()
        assert error <= 100 * limit * whole, name


@needs_kernel
def test_threads_do_not_change_a_bit(monkeypatch):
    net, one = network(64), some_graph(60, 1500)
    alone = outputs(net, one)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    together = outputs(net, one)
    for ours, theirs in zip(alone, together, strict=True):
        for name, value in ours.items():
            assert torch.equal(value, theirs[name]), name


@needs_kernel
def test_an_odd_width_goes_by_torch(monkeypatch):
    net, one = network(7), some_graph(9, 50)
    with torch.inference_mode():
        assert not can_pass_messages(one.edge_EC, net.edge_encoder)
        found = net(one)
        # Edges in blocks, as where there is no compiler.
        monkeypatch.setattr(graph, "BLOCK", 8)
        blocks = net(one)
    for name, value in found.items():
        np.testing.assert_allclose(value, blocks[name], rtol=1e-5, atol=1e-6)
