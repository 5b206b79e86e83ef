"""The graph networks in inference without torch, against those of torch."""

import io
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

from lartpc.config import GraphNet, load_section
from lartpc.graphs import (
    NUM_EDGE_FEATURES,
    CompiledGraphNetwork,
    CompiledInteractionNetwork,
    Graph,
    compiled,
    has_kernel,
    parent_log_scores,
    softmax,
)
from lartpc.nets.graph import GraphNetwork
from lartpc.nets.interaction import InteractionNetwork
from lartpc.nets.interaction import parent_log_scores as by_torch
from lartpc.run.infer import load_network
from lartpc.run.weights import read_weights, save_weights
from lartpc.run.weights_file import _unpickled, read_content
from lartpc.sparse import build
from lartpc.stages import stage

needs_kernel = pytest.mark.skipif(not has_kernel(GraphNet()), reason="there is no compiler for the kernel")
SWAPPED = (1, 0, 2)
HEADS = ({"species": 6, "primary": 2}, {"flavour": 4}, SWAPPED)
SIZES = [(0, 0), (1, 0), (4, 1), (9, 30), (60, 1500)]


def some_graph(num_nodes: int, num_edges: int, num_features: int, dtype: type) -> Graph:
    """Random features, and pairs of which some nodes have none."""
    rng = np.random.default_rng(num_nodes)
    pairs = rng.integers(0, max(num_nodes - 2, 1), (2, num_edges))
    return Graph(
        rng.normal(size=(num_nodes, 5)).astype(dtype),
        pairs,
        rng.normal(size=(num_edges, num_features)).astype(dtype),
    )


def state_of(net: torch.nn.Module) -> dict:
    for module in net.modules():
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
    return {name: values.numpy() for name, values in net.state_dict().items()}


@needs_kernel
@pytest.mark.parametrize(("num_nodes", "num_edges"), SIZES)
@pytest.mark.parametrize(("dtype", "limit"), [(np.float32, 2e-5), (np.float64, 1e-12)])
def test_it_computes_what_torch_computes(num_nodes, num_edges, dtype, limit):
    torch.manual_seed(1)
    cfg = GraphNet(num_hidden=32)
    plain = GraphNetwork(5, cfg, {"primary": 2}, NUM_EDGE_FEATURES + 3, SWAPPED).eval()
    whole = InteractionNetwork(5, cfg, *HEADS).eval()
    ours = (
        CompiledGraphNetwork(
            state_of(plain), 5, cfg, {"primary": 2}, NUM_EDGE_FEATURES + 3, SWAPPED, dtype=dtype
        ),
        CompiledInteractionNetwork(state_of(whole), 5, cfg, *HEADS, dtype=dtype),
    )
    graph = some_graph(num_nodes, num_edges, NUM_EDGE_FEATURES + 3, dtype)
    kind = torch.float32 if dtype == np.float32 else torch.float64
    for net, theirs in zip(ours, (plain, whole), strict=True):
        found, expected = net.logits(graph), theirs.to(kind).logits(graph)
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            assert found[name].dtype == dtype
            np.testing.assert_allclose(found[name], values, rtol=limit, atol=limit, err_msg=name)
    # groups, one of them empty, and nodes of none
    group_F = np.arange(num_nodes) % 4 - 1
    group_F[group_F == 1] = 5
    pooled = ours[1].pool_logits(found["node"], group_F)
    for name, values in whole.pool_logits(found["node"], group_F).items():
        np.testing.assert_allclose(pooled[name], values, rtol=limit, atol=limit, err_msg=name)
    for mine, values in zip(
        parent_log_scores(found["parent"], found["orphan"], graph.pair_2E),
        by_torch(*(torch.from_numpy(one) for one in (found["parent"], found["orphan"], graph.pair_2E))),
        strict=True,
    ):
        np.testing.assert_allclose(mine, values.detach().numpy(), rtol=limit, atol=limit)
    np.testing.assert_allclose(softmax(found["edge"]), torch.from_numpy(found["edge"]).softmax(1), rtol=limit)


@needs_kernel
def test_threads_do_not_change_a_bit(monkeypatch):
    torch.manual_seed(1)
    net = CompiledGraphNetwork(state_of(GraphNetwork(5, GraphNet(), {})), 5, GraphNet(), {})
    graph = some_graph(60, 1500, NUM_EDGE_FEATURES, np.float32)
    alone = net.logits(graph)["edge"]
    monkeypatch.setattr(build, "num_threads", lambda: 3)
    np.testing.assert_array_equal(net.logits(graph)["edge"], alone)


@needs_kernel
def test_weights_of_another_network_are_refused():
    state, cfg = state_of(GraphNetwork(5, GraphNet(), {"primary": 2})), GraphNet()
    with pytest.raises(
        ValueError, match=r"node_encoder\.0\.weight .* of shape \(64, 5\), not \(64, 6\), there"
    ):
        CompiledGraphNetwork(state, 6, cfg, {"primary": 2})
    with pytest.raises(ValueError, match=r"node_heads\.species\.weight .* is no there"):
        CompiledGraphNetwork(state, 5, cfg, {"primary": 2, "species": 6})
    with pytest.raises(ValueError, match=r"no parameters node_heads\.primary"):
        CompiledGraphNetwork(state, 5, cfg, {})


@needs_kernel
def test_numbers_that_are_not_finite_are_refused():
    torch.manual_seed(1)
    state = {
        name: np.full_like(values, 1e30) for name, values in state_of(GraphNetwork(5, GraphNet(), {})).items()
    }
    net = CompiledGraphNetwork(state, 5, GraphNet(), {})
    with pytest.raises(ValueError, match="gives numbers that are not finite"), np.errstate(all="ignore"):
        net.logits(some_graph(9, 30, NUM_EDGE_FEATURES, np.float32))


@needs_kernel
def test_a_kernel_that_computes_wrongly_is_not_taken(monkeypatch, caplog):
    rightly = build.call

    def wrongly(name, *arguments):
        rightly(name, *arguments)
        arguments[1][:] += 1e-6

    monkeypatch.setattr(build, "call", wrongly)
    compiled._is_right.cache_clear()
    assert not has_kernel(GraphNet())
    assert "torch takes its place" in caplog.text
    compiled._is_right.cache_clear()


def test_without_a_compiler_torch_takes_its_place(monkeypatch, tmp_path):
    row, section = stage("cluster"), load_section("cluster", None)
    torch.manual_seed(1)
    state = row.module().network(section).state_dict()
    save_weights(tmp_path / "w.pt", row, section, state, {})
    content = read_content(tmp_path / "w.pt")
    if has_kernel(section.graph):
        assert isinstance(load_network(row, section, tmp_path / "w.pt", content), CompiledGraphNetwork)

    def fails():
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(build, "load", fails)
    net = load_network(row, section, tmp_path / "w.pt", content)
    assert isinstance(net, torch.nn.Module) and not net.training
    for name, values in net.state_dict().items():
        assert torch.equal(values, state[name]), name


def test_weights_are_read_as_torch_reads_them(tmp_path):
    base = torch.arange(24.0).view(4, 6)
    state = {
        "turned": base.t(),
        "part": base[1:3, ::2],
        "half": base.half(),
        "number": torch.tensor(7),
        "none": torch.zeros(0, 3),
        "bool": base > 3,
    }
    torch.save({"stage": "segment", "state": state}, tmp_path / "w.pt")
    found = read_content(tmp_path / "w.pt", unsealed=True)["state"]
    assert list(found) == list(state)
    for name, values in read_weights(tmp_path / "w.pt", unsealed=True)["state"].items():
        assert torch.equal(values, state[name]) and values.dtype == state[name].dtype
        assert found[name].shape == tuple(state[name].shape)
        found[name][...] = 0  # it is ours to write


class Reaching:
    """A tensor that lies about its size, or an object of another kind, as a pickle makes it."""

    def __init__(self, function, arguments):
        self.made = (function, arguments)

    def __reduce__(self):
        return self.made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: (0, (5,), (1,)), "beyond its numbers"),
        (lambda s: (2, (3,), (1,)), "beyond its numbers"),
        (lambda s: (-1, (2,), (1,)), "beyond its numbers"),
        (lambda s: (3, (4,), (-1,)), "beyond its numbers"),
        (lambda s: (0, (2,), (1 << 40,)), "beyond its numbers"),
        (None, "os.system|posix.system"),
    ],
)
def test_what_is_no_tensor_is_refused(change, message):
    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", 4) if value == "here" else None

    if change:
        offset, size, stride = change(None)
        value = Reaching(torch._utils._rebuild_tensor_v2, ("here", offset, size, stride, False, {}))
    else:
        import os

        value = Reaching(os.system, ("false",))
    listed, out = io.BytesIO(), io.BytesIO()
    Pickler(listed, 2).dump({"stage": "x", "state": {"x": value}})
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a/data.pkl", listed.getvalue())
        archive.writestr("a/data/0", bytes(16))
    with pytest.raises(pickle.UnpicklingError, match=message):
        _unpickled(out.getvalue())


def test_the_compiled_library_is_loaded_without_torch():
    code = (
        "import sys, lartpc.graphs, lartpc.sparse; assert 'torch' not in sys.modules; lartpc.sparse.Lattice"
    )
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' in sys.modules"], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'Latice'"):
        import lartpc.sparse

        lartpc.sparse.Latice  # noqa: B018
