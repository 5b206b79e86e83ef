"""What each network is as a program: its module, its inputs in words, and inputs of any size to try it with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lartpc import config
from lartpc.nets.portable import SIDE
from lartpc.nets.portable_graph import PortableInteractionNetwork
from lartpc.stages import Stage
from lartpc.vocab import Semantic, Species

FEWEST = 3
"""Voxels, nodes or edges that a batch must have at least: torch takes sizes of 0, 1 and 2 for constants."""

MOST = 1 << 24
"""And at most: torch derives bounds of other sizes from it, and without it some that ONNX's int64 cannot hold."""


@dataclass(frozen=True)
class Program:
    """A network as a program.

    `inputs` says in words what each is; `example` makes them, of about so many voxels or nodes, by a seed; `sizes`
    are names of the lengths of their axes; `notes` is what else the file says of itself.
    """

    module: Any
    inputs: Mapping[str, str]
    example: Callable[[int, int], tuple[Tensor, ...]]
    sizes: tuple[Mapping[int, str], ...]
    notes: Mapping[str, Any] = field(default_factory=dict)


def program_of(row: Stage, net: torch.nn.Module, cfg: Any, *, by_gathers: bool) -> Program:
    """Return the program of a network; `by_gathers`: without a search in sorted keys, which ONNX lacks."""
    module = row.module().portable(net, cfg, by_gathers=by_gathers).requires_grad_(False)
    return _of_voxels(module, cfg) if isinstance(cfg, config.Segment) else _of_graph(module)


def _of_voxels(module: Any, cfg: config.Segment) -> Program:
    return Program(
        module,
        {
            "coord": f"int64 (V, {1 + cfg.dimension}): event in the batch, then voxel indices, 0 to {SIDE - 1}; "
            "each voxel once, in any order",
            "energy": "float32 (V,) [MeV]",
        },
        lambda num, seed: image(num, cfg.dimension, seed),
        ({0: "V"}, {0: "V"}),
        {"classes": [kind.name.lower() for kind in Semantic], "fewest_voxels": FEWEST},
    )


def _of_graph(module: Any) -> Program:
    has_groups = isinstance(module, PortableInteractionNetwork)
    inputs = {
        "node_feature": f"float32 (F, {module.num_node_features}): features of the clusters",
        "pair": "int64 (2, E): both clusters of each edge, each pair once",
        "edge_feature": f"float32 (E, {module.num_edge_features}): features of the edges, from the first to the second",
    }
    if has_groups:
        inputs["group"] = "int64 (F,): number of the group of each cluster, from 0 on; -1: none"
    return Program(
        module,
        inputs,
        lambda num, seed: _graph(module, num, seed, has_groups),
        ({0: "F"}, {1: "E"}, {0: "E"}, *([{0: "F"}] if has_groups else [])),
        {"species": [kind.name.lower() for kind in Species], "fewest_nodes_and_edges": FEWEST},
    )


def image(num: int, dimension: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the voxels of tracks of two events, some hundreds, to trace a program with or to try it."""
    random = torch.Generator().manual_seed(seed)
    steps = torch.randint(-1, 2, (num, dimension), generator=random)
    line_VD = 300 + steps.cumsum(0)
    event_V1 = (torch.arange(num) % 2)[:, None]
    coord_VD1 = torch.unique(torch.cat([event_V1, line_VD], 1), dim=0)
    coord_VD1 = coord_VD1[torch.randperm(len(coord_VD1), generator=random)]
    return coord_VD1, torch.rand(len(coord_VD1), generator=random) * 2


def _graph(module: Any, num: int, seed: int, has_groups: bool) -> tuple[Tensor, ...]:
    """Return a graph of some nodes, one in ten of them without an edge, and their groups."""
    random = torch.Generator().manual_seed(seed)
    num = max(num // 10, 10)
    pair_2E = torch.combinations(torch.arange(num - num // 10)).T
    pair_2E = pair_2E[:, torch.randperm(pair_2E.shape[1], generator=random)[: 4 * num]]
    node_FC = torch.randn(num, module.num_node_features, generator=random)
    edge_EC = torch.randn(pair_2E.shape[1], module.num_edge_features, generator=random)
    group_F = torch.randint(-1, num // 5, (num,), generator=random)
    return node_FC, pair_2E, edge_EC, *([group_F] if has_groups else [])
