"""The graph networks as programs: run where lartpc cannot be imported, they say what the networks say."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from checkout import REPOSITORY

from lartpc import config
from lartpc.graphs import Graph
from lartpc.nets.interaction import parent_log_scores
from lartpc.run.export.model import export_model
from lartpc.run.export.programs import program_of
from lartpc.run.weights import save_weights
from lartpc.stages import stage

RUN = """
import sys
sys.modules["lartpc"] = None  # an import of it fails
import json, numpy, torch
path, out = sys.argv[1:]
given = dict(numpy.load(out + "/in.npz"))
said = {"lartpc.json": ""}
if path.endswith(".ts"):
    found = torch.jit.load(path, _extra_files=said)(*map(torch.from_numpy, given.values()))
elif path.endswith(".pt2"):
    found = torch.export.load(path, extra_files=said).module()(*map(torch.from_numpy, given.values()))
else:
    import onnxruntime
    session = onnxruntime.InferenceSession(path)
    said = session.get_modelmeta().custom_metadata_map
    found = session.run(None, given)
said = json.loads(said["lartpc.json"])
assert list(said["inputs"]) == list(given), said["inputs"]
names = said["outputs"]
numpy.savez(out + "/out.npz", **{name: numpy.asarray(value) for name, value in zip(names, found, strict=True)})
"""


@torch.no_grad()
def said_by(name: str, net: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> dict[str, np.ndarray]:
    """Return what the network says of a graph, as its stage takes it."""
    graph = Graph(*given[:3])
    logits = net(graph)
    scores = {head: logits[head].softmax(1)[:, 1] for head in ("edge", "primary")}
    if name == "interact":
        scores |= {head: logits[head].softmax(1)[:, 1] for head in ("pi_zero", "start")}
        scores |= {head: logits[head] for head in ("species", "semantic")}
        parent, orphan = parent_log_scores(logits["parent"], logits["orphan"], graph.pair_2E)
        scores |= {"parent": parent.exp(), "orphan": orphan.exp()}
        scores |= {head: values.softmax(1) for head, values in net.pool(logits["node"], given[3]).items()}
    return {head: values.numpy() for head, values in scores.items()}


@pytest.mark.parametrize("name", ["cluster", "interact"])
@pytest.mark.parametrize(
    "suffix", [".ts", *(pytest.param(name, marks=pytest.mark.slow) for name in (".pt2", ".onnx"))]
)
def test_a_graph_network_says_the_same_without_lartpc(name: str, suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    cfg = config.SECTIONS[name].model_validate({"graph": {"num_hidden": 16, "num_message_passing": 2}})
    row = stage(name)
    net = row.module().network(cfg).eval()
    save_weights(tmp_path / "weights.pt", row, cfg, net.state_dict(), {})
    written = export_model(tmp_path / "weights.pt", tmp_path / f"a{suffix}")
    assert written.deviation <= 1e-5
    program = program_of(row, net, cfg, by_gathers=False)
    given = program.example(550, 9)
    num = len(given[0])
    assert 0 < len(np.unique(given[1])) < num, "a node has no edge"
    np.savez(
        tmp_path / "in.npz", **{key: one.numpy() for key, one in zip(program.inputs, given, strict=True)}
    )
    subprocess.run([sys.executable, "-I", "-c", RUN, tmp_path / f"a{suffix}", tmp_path], check=True, cwd="/")
    expected = said_by(name, net, given)
    with np.load(tmp_path / "out.npz") as found:
        assert set(found) == set(expected)
        for head, value in expected.items():
            rows = found[head][: len(value)]  # groups have a row for each node
            assert len(found[head]) in (len(value), num) and len(np.unique(value)) > 4, head
            np.testing.assert_allclose(rows, value, rtol=1e-5, atol=1e-5, err_msg=head)


def test_released_graph_networks_are_programs(tmp_path: Path) -> None:
    for name in ("cluster", "interact"):
        assert export_model(REPOSITORY / "models" / f"{name}.pt", tmp_path / f"{name}.ts").deviation <= 1e-5
