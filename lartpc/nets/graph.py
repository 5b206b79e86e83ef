"""Graph network over the clusters of events, after GrapPA (arXiv:2007.01335), and what goes around it.

Shape suffixes: F nodes (fragments or particles), E edges (each pair once), D directed edges (2E),
C channels, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import linear

from lartpc.config import GraphNet
from lartpc.lean import connected_components, coo_array
from lartpc.nets.rowwise import product, rowwise
from lartpc.sparse.messages import can_pass_messages, encode, pass_messages

NUM_EDGE_FEATURES = 20
BLOCK = 4096
"""Directed edges that inference takes at a time: 64 features of so many are 1 MB."""


@dataclass(frozen=True)
class Graph:
    """The graph of one event, or of several side by side: features, and pairs of nodes (2, E)."""

    node_FC: Tensor
    pair_2E: Tensor
    edge_EC: Tensor


def edge_features(one: NDArray[np.float64], two: NDArray[np.float64], num_voxels: int) -> NDArray[np.float32]:
    """Return the features (E, 20) of edges between nearest voxels (E, 3) of two clusters.

    They are those of GrapPA (both points, unit displacement, length, outer product of the displacement)
    and the logarithm of the length, which resolves the short ones. Each is shifted and scaled by fixed
    numbers to about mean 0 and spread 1 over the edges of simulated events; positions are from the centre
    of the box of side `num_voxels`.
    """
    quarter = 0.25 * num_voxels
    delta = two - one
    length = np.linalg.norm(delta, axis=1, keepdims=True)
    delta = np.divide(delta, length, out=np.zeros_like(delta), where=length > 0)
    outer = (delta[:, :, None] * delta[:, None, :] - np.eye(3) / 3.0).reshape(-1, 9)
    columns = [
        one / quarter - 2.0,
        two / quarter - 2.0,
        1.7 * delta,
        3.5 * outer,
        length / quarter - 1.0,
        np.log1p(length) - 4.5,
    ]
    return np.concatenate(columns, axis=1).astype(np.float32)


def make_graph(
    node_features: NDArray[np.float32],
    pairs: NDArray[np.int64],
    one: NDArray[np.float64],
    two: NDArray[np.float64],
    num_voxels: int,
    more: NDArray[np.float32] | None = None,
) -> Graph:
    """Build a graph from node features (F, C), pairs (E, 2), their nearest voxels (E, 3) and `more` features."""
    edges = edge_features(one, two, num_voxels)
    if more is not None:
        edges = np.concatenate([edges, more], axis=1)
    return Graph(
        torch.from_numpy(node_features),
        torch.from_numpy(np.ascontiguousarray(pairs.T)),
        torch.from_numpy(edges),
    )


def side_by_side(graphs: Sequence[Graph], device: torch.device) -> Graph:
    """Join the graphs of several events into one without edges between them."""
    first = np.cumsum([0, *(len(graph.node_FC) for graph in graphs)])
    pairs = [graph.pair_2E + int(offset) for graph, offset in zip(graphs, first[:-1], strict=True)]
    return Graph(
        torch.cat([graph.node_FC for graph in graphs]).to(device),
        torch.cat(pairs, dim=1).to(device),
        torch.cat([graph.edge_EC for graph in graphs]).to(device),
    )


def _mlp(num_in: int, cfg: GraphNet) -> nn.Sequential:
    width = cfg.num_hidden
    return nn.Sequential(
        nn.Linear(num_in, width),
        nn.LeakyReLU(cfg.leakiness, inplace=True),
        nn.Linear(width, width),
        nn.LeakyReLU(cfg.leakiness, inplace=True),
        nn.LayerNorm(width),
    )


def _blocks(num_rows: int) -> list[slice]:
    """Return the rows in blocks that stay in the processor's cache; in training, which keeps all, in one."""
    size = max(num_rows, 1) if torch.is_grad_enabled() else BLOCK
    return [slice(first, first + size) for first in range(0, max(num_rows, 1), size)]


class _Layer(nn.Module):
    """One step of message passing: edges from their nodes, then nodes from their edges.

    On CPUs by the compiled kernel. In inference the edges are changed in place.
    """

    def __init__(self, cfg: GraphNet) -> None:
        super().__init__()
        self.edge = _mlp(3 * cfg.num_hidden, cfg)
        self.message = _mlp(2 * cfg.num_hidden, cfg)
        self.node = _mlp(3 * cfg.num_hidden, cfg)

    def forward(self, node_FC: Tensor, pair_2D: Tensor, edge_DC: Tensor) -> tuple[Tensor, Tensor]:
        # The first layers are linear in nodes and edges: what they make of a node is worked out once for
        # it, and not for each of its edges.
        width = node_FC.shape[1]
        of_source, of_target, of_edge = torch.split(_first(self.edge).weight, width, dim=1)
        of_sender, of_message = torch.split(_first(self.message).weight, width, dim=1)
        source_FC = product(node_FC, of_source, _first(self.edge).bias)
        target_FC = product(node_FC, of_target)
        sender_FC = product(node_FC, of_sender, _first(self.message).bias)
        if can_pass_messages(edge_DC, self.edge):
            of_nodes = source_FC, target_FC, sender_FC
            edge_DC, total_FC, largest_FC = pass_messages(edge_DC, pair_2D, of_nodes, self.edge, self.message)
            return self._update(node_FC, pair_2D, total_FC, largest_FC), edge_DC
        total_FC = torch.zeros_like(node_FC)
        largest_FC = torch.full_like(node_FC, -torch.inf)
        for rows in _blocks(len(edge_DC)):
            source_D, target_D = pair_2D[:, rows]
            hidden_DC = linear(edge_DC[rows], of_edge) + source_FC.index_select(0, source_D)
            change_DC = self.edge[1:](hidden_DC + target_FC.index_select(0, target_D))
            if torch.is_grad_enabled():
                block_DC = edge_DC = edge_DC + change_DC
            else:
                block_DC = edge_DC[rows].add_(change_DC)
            message_DC = linear(block_DC, of_message) + sender_FC.index_select(0, source_D)
            message_DC = self.message[1:](message_DC)
            total_FC = total_FC.index_add(0, target_D, message_DC)
            largest_FC = largest_FC.scatter_reduce(
                0, target_D[:, None].expand_as(message_DC), message_DC, "amax"
            )
        return self._update(node_FC, pair_2D, total_FC, largest_FC), edge_DC

    def _update(self, node_FC: Tensor, pair_2D: Tensor, total_FC: Tensor, largest_FC: Tensor) -> Tensor:
        """Return the nodes (F, C) after the sum and the largest of the messages to each."""
        degree_F1 = torch.bincount(pair_2D[1], minlength=len(node_FC))[:, None]
        largest_FC = torch.where(degree_F1 > 0, largest_FC, 0.0)
        pooled = [node_FC, total_FC / degree_F1.clamp(min=1), largest_FC]
        return node_FC + _perceive(torch.cat(pooled, dim=1), self.node)


def _perceive(feat_NC: Tensor, mlp: nn.Sequential) -> Tensor:
    if can_pass_messages(feat_NC, mlp):
        return encode(feat_NC, mlp)
    return torch.cat([mlp(feat_NC[rows]) for rows in _blocks(len(feat_NC))])


def _first(mlp: nn.Sequential) -> nn.Linear:
    layer = mlp[0]
    assert isinstance(layer, nn.Linear)
    return layer


class GraphNetwork(nn.Module):
    """Message passing with node and edge updates, and linear heads on both.

    Norms are per row (LayerNorm), so that an event's scores do not depend on its batch.

    Parameters
    ----------
    node_heads
        Names and numbers of classes of the heads on nodes.
    num_edge_features
        Features of an edge: those of `edge_features`, and more.
    other_side
        The columns of what is more as seen from the other end.
    """

    def __init__(
        self,
        num_node_features: int,
        cfg: GraphNet,
        node_heads: Mapping[str, int],
        num_edge_features: int = NUM_EDGE_FEATURES,
        other_side: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self._other_side = [NUM_EDGE_FEATURES + column for column in other_side]
        self.node_encoder = _mlp(num_node_features, cfg)
        self.edge_encoder = _mlp(num_edge_features, cfg)
        self.layers = nn.ModuleList(_Layer(cfg) for _ in range(cfg.num_message_passing))
        self.edge_head = nn.Linear(cfg.num_hidden, 2)
        self.node_heads = nn.ModuleDict(
            {name: nn.Linear(cfg.num_hidden, classes) for name, classes in node_heads.items()}
        )

    def forward(self, graph: Graph) -> dict[str, Tensor]:
        """Return the logits of the edges (E, 2) as `edge` and of each node head (F, K) by its name."""
        node_FC, edge_DC = self.encode(graph)
        logits = {name: rowwise(cast(nn.Linear, head), node_FC) for name, head in self.node_heads.items()}
        # Both directions of a pair give one decision.
        return {"edge": rowwise(self.edge_head, torch.add(*edge_DC.chunk(2))), **logits}

    def encode(self, graph: Graph) -> tuple[Tensor, Tensor]:
        """Return the nodes (F, C) and the directed edges (2E, C), forward then backward, after all layers."""
        node_FC = _perceive(graph.node_FC, self.node_encoder)
        pair_2D = torch.cat([graph.pair_2E, graph.pair_2E.flip(0)], dim=1)
        edge_DC = torch.cat([graph.edge_EC, self.reverse(graph.edge_EC)])
        edge_DC = _perceive(edge_DC, self.edge_encoder)
        for layer in self.layers:
            node_FC, edge_DC = layer(node_FC, pair_2D, edge_DC)
        return node_FC, edge_DC

    def reverse(self, edge_EC: Tensor) -> Tensor:
        """Return edge features (E, C) as seen from the other end."""
        same_EC, more_EC = edge_EC[:, 9:NUM_EDGE_FEATURES], edge_EC[:, self._other_side]
        return torch.cat([edge_EC[:, 3:6], edge_EC[:, :3], -edge_EC[:, 6:9], same_EC, more_EC], dim=1)


def cross_entropy(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the summed cross entropy of logits (N, K) and the number of targets (N,) that are not -1."""
    total = nn.functional.cross_entropy(logits, target, ignore_index=-1, reduction="sum")
    return total, (target >= 0).sum()


def spanning_forest(
    num_nodes: int, pairs: NDArray[np.int64], score: NDArray[np.floating], threshold: float
) -> NDArray[np.int64]:
    """Group nodes by the greedy spanning forest of GrapPA (arXiv:2007.01335, sec. III F).

    Edges are taken in order of falling score down to the threshold. One joins the groups of its two nodes
    only if that lowers the log-loss of the adjacency: the sum over all edges of -log(score) within
    groups and of -log(1 - score) between groups. Joining two groups changes it by the sum of the logits
    of the edges between them, so those sums are kept for each pair of groups and added up on a join.

    Parameters
    ----------
    pairs
        Nodes of each edge (E, 2), every pair once.
    score
        Score (E,) that the nodes of an edge belong together.

    Returns
    -------
    numpy.ndarray
        Group of each node (F,), numbered in order of the first node.
    """
    linked = score >= threshold
    ones = np.ones(int(linked.sum()))
    adjacency = coo_array((ones, (pairs[linked, 0], pairs[linked, 1])), shape=(num_nodes, num_nodes))
    _, component = connected_components(adjacency, directed=False)
    # Edges between components never count: no join can bridge them.
    inside = np.flatnonzero(component[pairs[:, 0]] == component[pairs[:, 1]])
    clipped = np.clip(score[inside].astype(np.float64), 1e-7, 1 - 1e-7)
    logit = np.log(clipped / (1 - clipped))
    gain: list[dict[int, float]] = [{} for _ in range(num_nodes)]
    for (one, two), value in zip(pairs[inside].tolist(), logit.tolist(), strict=True):
        gain[one][two] = gain[two][one] = value
    group = list(range(num_nodes))

    def root(node: int) -> int:
        while group[node] != node:
            group[node] = group[group[node]]
            node = group[node]
        return node

    order = np.argsort(-score[linked], kind="stable")
    for one, two in pairs[linked][order].tolist():
        keep, drop = root(one), root(two)
        if keep == drop or gain[keep][drop] <= 0:
            continue
        if len(gain[keep]) < len(gain[drop]):
            keep, drop = drop, keep
        del gain[keep][drop]
        for other, value in gain[drop].items():
            if other != keep:
                del gain[other][drop]
                gain[keep][other] = gain[other][keep] = gain[keep].get(other, 0.0) + value
        gain[drop] = {}
        group[drop] = keep
    roots = np.array([root(node) for node in range(num_nodes)], np.int64)
    _, first, label = np.unique(roots, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[label]
