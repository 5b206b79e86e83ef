"""Graph network over the clusters of events, after GrapPA (arXiv:2007.01335).

Shape suffixes: F nodes (fragments or particles), E edges (each pair once), D directed edges (2E),
C channels, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import linear

from lartpc.config import GraphNet
from lartpc.graphs import NUM_EDGE_FEATURES, Graph
from lartpc.nets.rowwise import product, rowwise
from lartpc.sparse.messages import can_pass_messages, encode, pass_messages

BLOCK = 4096
"""Directed edges that inference takes at a time: 64 features of so many are 1 MB."""


def as_tensors(graph: Graph[Any], device: torch.device) -> Graph[Tensor]:
    """Return a graph of arrays or tensors as one of tensors on a device."""
    given = (graph.node_FC, graph.pair_2E, graph.edge_EC)
    return Graph(*(torch.as_tensor(values).to(device) for values in given))


def as_arrays(values: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Return tensors by name as arrays."""
    return {name: tensor.cpu().numpy() for name, tensor in values.items()}


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

    def forward(self, graph: Graph[Any]) -> dict[str, Tensor]:
        """Return the logits of the edges (E, 2) as `edge` and of each node head (F, K) by its name."""
        node_FC, edge_DC = self.encode(graph)
        logits = {name: rowwise(cast(nn.Linear, head), node_FC) for name, head in self.node_heads.items()}
        # Both directions of a pair give one decision.
        return {"edge": rowwise(self.edge_head, torch.add(*edge_DC.chunk(2))), **logits}

    @torch.inference_mode()
    def logits(self, graph: Graph[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return what `forward` does, as arrays, without gradients."""
        return as_arrays(self(graph))

    def encode(self, graph: Graph[Any]) -> tuple[Tensor, Tensor]:
        """Return the nodes (F, C) and the directed edges (2E, C), forward then backward, after all layers."""
        graph = as_tensors(graph, self.edge_head.weight.device)
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


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the summed cross entropy of logits (N, K) and the number of targets (N,) that are not -1.

    With weights (N,) the sum and the number are of these.
    """
    if weight is None:
        total = nn.functional.cross_entropy(logits, target, ignore_index=-1, reduction="sum")
        return total, (target >= 0).sum()
    each = nn.functional.cross_entropy(logits, target, ignore_index=-1, reduction="none")
    return (weight * each).sum(), (weight * (target >= 0)).sum()
