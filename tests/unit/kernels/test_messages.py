"""Message passing by the compiled kernel against the same in torch."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from lartpc.config import GraphNet
from lartpc.graphs import NUM_EDGE_FEATURES, Graph
from lartpc.nets import graph
from lartpc.nets.graph import GraphNetwork
from lartpc.sparse import bf16, build, multiply_in_bf16, resolve
from lartpc.sparse.messages import can_pass_messages, encode

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


def rounded(value):
    return value.bfloat16().to(value.dtype)


class RoundedLinear(torch.autograd.Function):
    """A linear layer of which each product is one of numbers in bf16, its gradients likewise."""

    @staticmethod
    def forward(ctx, feat, weight, bias):
        ctx.save_for_backward(rounded(feat), rounded(weight))
        return rounded(feat) @ rounded(weight).t() + (0 if bias is None else bias)

    @staticmethod
    def backward(ctx, grad):
        feat, weight = ctx.saved_tensors
        return rounded(grad) @ weight, rounded(grad).t() @ feat, grad.sum(0)


@pytest.fixture
def in_bf16(monkeypatch):
    """The kernel with products in bf16, where this machine has them, also where they are not worth it."""
    if resolve("auto") != "fused" or not build.load().has_avx512_bf16():
        pytest.skip("there is no compiler, or this processor has no AVX512-BF16")
    monkeypatch.setattr(bf16, "unit", lambda: bf16.AVX512)


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("width", [16, 64, 112])
@pytest.mark.parametrize("num_in", [1, 5, 22, 64])
@pytest.mark.parametrize("num_rows", [0, 1, 47, 48, 501])
def test_perceptrons_multiply_in_bf16(num_rows, num_in, width, num_threads, in_bf16, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: num_threads)
    mlp = network(width).node_encoder
    first = mlp[0] = torch.nn.Linear(num_in, width)
    feat = torch.randn(num_rows, num_in, generator=torch.Generator().manual_seed(num_in))
    given, again = feat.clone().requires_grad_(), feat.clone().requires_grad_()
    parameters = list(mlp.parameters())
    with multiply_in_bf16():
        fast = encode(given, mlp)
    into = torch.randn(fast.shape, generator=torch.Generator().manual_seed(1))
    fast_grads = torch.autograd.grad(fast, [given, *parameters], into)
    hidden = functional.leaky_relu(
        RoundedLinear.apply(again, first.weight, first.bias), mlp[1].negative_slope
    )
    hidden = functional.leaky_relu(
        RoundedLinear.apply(hidden, mlp[2].weight, mlp[2].bias), mlp[3].negative_slope
    )
    slow = mlp[4](hidden)
    slow_grads = torch.autograd.grad(slow, [again, *parameters], into)
    # where a sum lies at the middle of two numbers in bf16, its order decides which one is next
    torch.testing.assert_close(fast, slow, rtol=2e-2, atol=2e-2)
    assert (fast - slow).norm() <= 1e-3 * slow.norm()
    for ours, theirs in zip(fast_grads, slow_grads, strict=True):
        assert (ours - theirs).norm() <= 4e-3 * theirs.norm()


@pytest.mark.parametrize(("num_nodes", "num_edges"), [(3, 0), (4, 1), (9, 50), (60, 1500)])
def test_messages_in_bf16_are_those_in_fp32_but_for_the_rounding(num_nodes, num_edges, in_bf16):
    net, one = network(64), some_graph(num_nodes, num_edges)
    exact, exact_grads = outputs(net, one)
    with multiply_in_bf16():
        found, grads = outputs(net, one)
        with torch.no_grad():
            inferred = net(one)
    for name, value in exact.items():
        for ours in (found[name], inferred[name]):
            assert (ours - value).norm() <= 2e-2 * value.norm(), name
    # activations near 0 and messages of nearly the same size change sides: of all gradients together
    together = torch.cat([value.flatten() for value in exact_grads.values()])
    ours = torch.cat([value.flatten() for value in grads.values()])
    assert functional.cosine_similarity(ours, together, dim=0) > 0.99


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
