"""The graph network over particles: what belongs together, what came from what, and what it all was.

Shape suffixes: F nodes (particles), E edges (each pair once), D directed edges (2E, forward then backward),
C channels, K classes, N interactions.
"""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lartpc.config import GraphNet
from lartpc.graphs import NUM_EDGE_FEATURES, Graph
from lartpc.nets.graph import GraphNetwork, as_arrays
from lartpc.nets.rowwise import rowwise, whole


class InteractionNetwork(GraphNetwork):
    """Message passing over particles with heads on nodes, on edges, on directed edges and on groups.

    Besides the heads of `GraphNetwork` there are: `pi_zero`, whether both nodes of an edge come from one π⁰;
    the parent of each node, a choice between its neighbours and none; and heads on interactions, which see
    the mean, the maximum and the number of their nodes (cf. the DUNE CVN, arXiv:2006.15052).

    Parameters
    ----------
    swapped
        The columns of the edge features beyond `graph.edge_features` as seen from the other end.
    group_heads
        Names and numbers of classes of the heads on interactions.
    optional
        Heads on nodes that a whole state may be without, as weights are that were trained before there were such.
    """

    def __init__(
        self,
        num_node_features: int,
        cfg: GraphNet,
        node_heads: Mapping[str, int],
        group_heads: Mapping[str, int],
        swapped: tuple[int, ...],
        optional: tuple[str, ...] = (),
    ) -> None:
        super().__init__(num_node_features, cfg, node_heads, NUM_EDGE_FEATURES + len(swapped))
        width = cfg.num_hidden
        self._optional = optional
        self._swapped = [NUM_EDGE_FEATURES + column for column in swapped]
        self.pi_zero_head = nn.Linear(width, 2)
        self.parent_head = nn.Linear(width, 1)
        self.orphan_head = nn.Linear(width, 1)
        self.group_encoder = nn.Sequential(
            nn.Linear(2 * width + 1, width), nn.LeakyReLU(cfg.leakiness), nn.LayerNorm(width)
        )
        self.group_heads = nn.ModuleDict(
            {name: nn.Linear(width, classes) for name, classes in group_heads.items()}
        )

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Take over a state; what it lacks of the `optional` heads is given up, if it is to be whole (`strict`)."""
        for name in self._optional if strict else ():
            if f"node_heads.{name}.bias" not in state_dict and name in self.node_heads:
                del self.node_heads[name]
        return super().load_state_dict(state_dict, strict, assign)

    def forward(self, graph: Graph[Any], group_F: Tensor | None = None) -> dict[str, Tensor]:
        """Return the logits of all heads, by name.

        Edges (E, 2): `edge`, `pi_zero`. Nodes (F, K): by their names. `parent` (D,): that the first node of a
        directed edge is the parent of the second, and `orphan` (F,): that a node has none. Groups (N, K): by
        their names, if `group_F` numbers the group of each node (-1: none). `node` (F, C) is what `pool` takes.
        """
        node_FC, edge_DC = self.encode(graph)
        both_EC = torch.add(*edge_DC.chunk(2))
        found = {
            "edge": rowwise(self.edge_head, both_EC),
            "pi_zero": rowwise(self.pi_zero_head, both_EC),
            "parent": rowwise(self.parent_head, edge_DC)[:, 0],
            "orphan": rowwise(self.orphan_head, node_FC)[:, 0],
            "node": node_FC,
            **{name: rowwise(cast(nn.Linear, head), node_FC) for name, head in self.node_heads.items()},
        }
        return found if group_F is None else found | self.pool(node_FC, group_F)

    def pool(self, node_FC: Tensor, group_F: Tensor) -> dict[str, Tensor]:
        """Return the logits (N, K) of the heads on groups; a group is a number from 0 on, -1 is none."""
        kept = group_F >= 0
        node_FC, group_F = node_FC[kept], group_F[kept]
        num = int(group_F.max()) + 1 if len(group_F) else 0
        shape = (num, node_FC.shape[1])
        count_N = torch.bincount(group_F, minlength=num)[:, None].to(node_FC.dtype)
        total_NC = node_FC.new_zeros(shape).index_add(0, group_F, node_FC)
        largest_NC = node_FC.new_zeros(shape).scatter_reduce(
            0, group_F[:, None].expand_as(node_FC), node_FC, "amax", include_self=False
        )
        pooled = [total_NC / count_N.clamp(min=1), largest_NC, whole(torch.log1p, count_N)]
        first, *others = self.group_encoder
        group_NC = rowwise(cast(nn.Linear, first), torch.cat(pooled, dim=1))
        for layer in others:
            group_NC = layer(group_NC)
        return {name: rowwise(cast(nn.Linear, head), group_NC) for name, head in self.group_heads.items()}

    @torch.inference_mode()
    def pool_logits(self, node_FC: NDArray[Any], group_F: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return what `pool` does, of arrays, without gradients."""
        on = self.edge_head.weight.device
        found = self.pool(torch.as_tensor(node_FC).to(on), torch.as_tensor(group_F).to(on))
        return as_arrays(found)

    def reverse(self, edge_EC: Tensor) -> Tensor:
        """Return edge features (E, C) as seen from the other end."""
        plain = super().reverse(edge_EC[:, :NUM_EDGE_FEATURES])
        return torch.cat([plain, edge_EC[:, self._swapped]], dim=1)


def parent_log_scores(parent_D: Tensor, orphan_F: Tensor, pair_2E: Tensor) -> tuple[Tensor, Tensor]:
    """Normalise the choice of each node's parent: return the logarithms of the scores.

    Parameters
    ----------
    parent_D
        Logit (D,) that the first node of a directed edge is the parent of the second.
    orphan_F
        Logit (F,) that a node has no parent.
    pair_2E
        Nodes (2, E) of the edges.

    Returns
    -------
    edge_D, none_F
        Logarithms of scores that add up to one over all edges that lead to a node, and none.
    """
    child_D = torch.cat([pair_2E[1], pair_2E[0]])
    # the largest is only there to keep the exponentials in range: its gradient cancels
    largest_F = orphan_F.detach().scatter_reduce(0, child_D, parent_D.detach(), "amax")
    share_D = whole(torch.exp, parent_D - largest_F[child_D])
    total_F = whole(torch.exp, orphan_F - largest_F).index_add(0, child_D, share_D)
    norm_F = largest_F + whole(torch.log, total_F)
    return parent_D - norm_F[child_D], orphan_F - norm_F


def parent_cross_entropy(
    parent_D: Tensor, orphan_F: Tensor, pair_2E: Tensor, target_F: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the summed cross entropy of the choice of parents and the number of nodes with a target.

    `target_F` is the directed edge (from 0) that leads from the parent, -1 for "no parent", -2 for
    "not known".
    """
    edge_D, none_F = parent_log_scores(parent_D, orphan_F, pair_2E)
    has_parent = target_F >= 0
    total = -(edge_D[target_F[has_parent]].sum() + none_F[target_F == -1].sum())
    return total, (target_F >= -1).sum()
