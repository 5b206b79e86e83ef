"""The graph networks in plain tensor operations, for programs that run without this package.

Shape suffixes: F nodes, E edges (each pair once), D directed edges (2E, forward then backward), C channels, K classes.
Groups are numbered from 0 on, below the number of nodes, so that results of groups have a row for each node.
"""

from typing import cast

import torch
from torch import Tensor, nn

from lartpc.nets.graph import GraphNetwork
from lartpc.nets.interaction import InteractionNetwork


class PortableGraphNetwork(nn.Module):
    """A graph network from features to scores, without kernels of ours and without sizes that depend on values."""

    def __init__(self, net: GraphNetwork) -> None:
        super().__init__()
        self.node_encoder, self.edge_encoder = _plain(net.node_encoder), _plain(net.edge_encoder)
        self.layers = nn.ModuleList(_Layer(layer) for layer in net.layers)
        self.edge_head, self.node_heads = net.edge_head, net.node_heads
        self.num_node_features = cast(nn.Linear, self.node_encoder[0]).in_features
        self.num_edge_features = cast(nn.Linear, self.edge_encoder[0]).in_features
        # A column of ones for each feature: what each is from the other end, with its sign.
        ones = torch.eye(self.num_edge_features)
        self.register_buffer("reverse", net.reverse(ones))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the results."""
        return ("edge", *self.node_heads)

    def forward(self, node_FC: Tensor, pair_2E: Tensor, edge_EC: Tensor) -> tuple[Tensor, ...]:
        """Return the score of each edge (E,), and of each head on nodes (F,); logits (F, K) of several classes."""
        node_FC, edge_DC = self._encode(node_FC, pair_2E, edge_EC)
        return self._scores(self.edge_head, _both(edge_DC, edge_EC.shape[0])), *self._of_nodes(node_FC)

    def _of_nodes(self, node_FC: Tensor) -> list[Tensor]:
        return [self._scores(cast(nn.Linear, head), node_FC) for head in self.node_heads.values()]

    def _scores(self, head: nn.Linear, feat_NC: Tensor) -> Tensor:
        logit_NK = head(feat_NC)
        return torch.softmax(logit_NK, 1)[:, 1] if head.out_features == 2 else logit_NK

    def _encode(self, node_FC: Tensor, pair_2E: Tensor, edge_EC: Tensor) -> tuple[Tensor, Tensor]:
        node_FC = self.node_encoder(node_FC)
        source_D, target_D = torch.cat([pair_2E, pair_2E.flip(0)], dim=1)
        edge_DC = self.edge_encoder(torch.cat([edge_EC, edge_EC @ cast(Tensor, self.reverse)]))
        for layer in self.layers:
            node_FC, edge_DC = layer(node_FC, source_D, target_D, edge_DC)
        return node_FC, edge_DC


class PortableInteractionNetwork(PortableGraphNetwork):
    """The network over particles, with its choice of parents, and the heads on groups of nodes."""

    def __init__(self, net: InteractionNetwork) -> None:
        super().__init__(net)
        self.pi_zero_head = net.pi_zero_head
        self.parent_head, self.orphan_head = net.parent_head, net.orphan_head
        self.group_encoder, self.group_heads = net.group_encoder, net.group_heads

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the results."""
        return ("edge", "pi_zero", "parent", "orphan", *self.node_heads, *self.group_heads)

    def forward(  # type: ignore[override]
        self, node_FC: Tensor, pair_2E: Tensor, edge_EC: Tensor, group_F: Tensor
    ) -> tuple[Tensor, ...]:
        """Return `outputs`: scores of edges (E,), of parents (2E,) and nodes (F,), and of groups (F, K).

        `parent` and `orphan` are scores that add up to one over the edges to a node and none; `group_F` numbers the
        group of each node, -1: none.
        """
        node_FC, edge_DC = self._encode(node_FC, pair_2E, edge_EC)
        both_EC = _both(edge_DC, edge_EC.shape[0])
        parent_D, orphan_F = self.parent_head(edge_DC)[:, 0], self.orphan_head(node_FC)[:, 0]
        child_D = torch.cat([pair_2E[1], pair_2E[0]])
        largest_F = orphan_F.scatter_reduce(0, child_D, parent_D, "amax")
        share_D = torch.exp(parent_D - largest_F[child_D])
        none_F = torch.exp(orphan_F - largest_F)
        total_F = none_F.scatter_add(0, child_D, share_D)
        return (
            self._scores(self.edge_head, both_EC),
            self._scores(self.pi_zero_head, both_EC),
            share_D / total_F[child_D],
            none_F / total_F,
            *self._of_nodes(node_FC),
            *self._of_groups(node_FC, group_F),
        )

    def _of_groups(self, node_FC: Tensor, group_F: Tensor) -> list[Tensor]:
        is_in_F1 = (group_F >= 0)[:, None]
        to_F = group_F.clamp(min=0)
        count_F1 = torch.zeros_like(node_FC[:, :1]).scatter_add(0, to_F[:, None], is_in_F1.to(node_FC.dtype))
        to_FC = to_F[:, None].expand_as(node_FC)
        total_FC = torch.zeros_like(node_FC).scatter_add(0, to_FC, torch.where(is_in_F1, node_FC, 0.0))
        largest_FC = _largest(node_FC, to_FC, torch.where(is_in_F1, node_FC, LOWEST), count_F1)
        group_FC = self.group_encoder(
            torch.cat([total_FC / count_F1.clamp(min=1), largest_FC, torch.log1p(count_F1)], 1)
        )
        return [torch.softmax(cast(nn.Linear, head)(group_FC), 1) for head in self.group_heads.values()]


LOWEST = -3.0e38
"""What every number is above; infinities are not what all runtimes take."""


class _Layer(nn.Module):
    """One step of message passing."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.edge, self.message, self.node = (
            _plain(cast(nn.Sequential, getattr(layer, name))) for name in ("edge", "message", "node")
        )

    def forward(
        self, node_FC: Tensor, source_D: Tensor, target_D: Tensor, edge_DC: Tensor
    ) -> tuple[Tensor, Tensor]:
        sender_DC = node_FC[source_D]
        edge_DC = edge_DC + self.edge(torch.cat([sender_DC, node_FC[target_D], edge_DC], 1))
        message_DC = self.message(torch.cat([sender_DC, edge_DC], 1))
        to_DC = target_D[:, None].expand_as(message_DC)
        degree_F1 = torch.zeros_like(node_FC[:, :1]).scatter_add(
            0, target_D[:, None], torch.ones_like(message_DC[:, :1])
        )
        total_FC = torch.zeros_like(node_FC).scatter_add(0, to_DC, message_DC)
        largest_FC = _largest(node_FC, to_DC, message_DC, degree_F1)
        pooled = [node_FC, total_FC / degree_F1.clamp(min=1), largest_FC]
        return node_FC + self.node(torch.cat(pooled, 1)), edge_DC


def _largest(like_FC: Tensor, to_NC: Tensor, value_NC: Tensor, count_F1: Tensor) -> Tensor:
    """Return the largest of the values that go to each row; 0 of a row that gets none."""
    found_FC = torch.full_like(like_FC, LOWEST).scatter_reduce(0, to_NC, value_NC, "amax")
    return torch.where(count_F1 > 0, found_FC, 0.0)


def _both(edge_DC: Tensor, num_edges: int) -> Tensor:
    """Return the sum (E, C) of both directions of each edge; `chunk` would fix the number of edges in the program."""
    return edge_DC[:num_edges] + edge_DC[num_edges:]


def _plain(mlp: nn.Sequential) -> nn.Sequential:
    """Return the layers of a network with activations that change nothing in place."""
    return nn.Sequential(
        *(nn.LeakyReLU(layer.negative_slope) if isinstance(layer, nn.LeakyReLU) else layer for layer in mlp)
    )
