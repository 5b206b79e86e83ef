"""Training of `cluster`: its networks and their losses.

Shape suffixes: E edges, F fragments.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lartpc import config
from lartpc.event import Event
from lartpc.fragments import learned
from lartpc.fragments.images import Images
from lartpc.graphs import Graph, side_by_side
from lartpc.nets.graph import GraphNetwork, as_arrays, cross_entropy
from lartpc.nets.portable_graph import PortableGraphNetwork
from lartpc.stages.cluster import (
    HEADS,
    NUM_EDGES,
    NUM_NODES,
    SEEN_FROM_OTHER,
    fragments_of,
    with_all_features,
)
from lartpc.stages.cluster.example import Example, example_of

Terms = dict[str, tuple[Tensor, Tensor]]


class Networks(nn.Module):
    """The network that finds fragments, where the method has one, and the graph network over fragments.

    The graph network tells of edges whether both ends are of one particle, and of fragments whether they are
    their particle's first.
    """

    def __init__(self, cfg: config.Cluster) -> None:
        super().__init__()
        self.fragments = learned.network(cfg.fragments)
        self.graph = GraphNetwork(NUM_NODES, cfg.graph, HEADS, NUM_EDGES, SEEN_FROM_OTHER)

    def with_all_features(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state of which `stages.cluster.with_all_features` made one of this network."""
        arrays = with_all_features({name: values.numpy(force=True) for name, values in state.items()})
        return {name: torch.from_numpy(values) for name, values in arrays.items()}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load a state, also of weights that were trained without the last features of edges."""
        return super().load_state_dict(self.with_all_features(state_dict), strict, assign)

    def forward(self, inputs: Images | Graph[Any]) -> Any:
        """Call the network that the inputs are for."""
        if isinstance(inputs, Graph):
            return self.graph(inputs)
        assert self.fragments is not None, "fragments by distance need no network"
        return self.fragments(inputs)

    @torch.inference_mode()
    def logits(self, graph: Graph[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return what the graph network says, as arrays, without gradients."""
        return as_arrays(self(graph))


def portable(net: nn.Module) -> PortableGraphNetwork:
    """Return the graph network over fragments in plain tensor operations."""
    assert isinstance(net, Networks)
    return PortableGraphNetwork(net.graph).eval()


def loss(net: nn.Module, batch: list[Event] | list[Example], cfg: config.Cluster) -> Terms:
    """Return sum and count of the terms of the fragments, and of the cross entropies of edges and primaries.

    An edge is true if both fragments belong to one true particle. Fragments of low purity have no
    target, nor have their edges. The graph network sees the fragments that are found meanwhile; they give
    no gradient.
    """
    terms, examples = _examples(net, batch, cfg)
    graph = side_by_side([one.graph for one in examples])
    logits = net(graph)
    edge, primary = (
        torch.from_numpy(np.concatenate(part)).to(logits["edge"].device)
        for part in zip(*((one.edge_E, one.primary_F) for one in examples), strict=True)
    )
    return {
        **terms,
        "edge": cross_entropy(logits["edge"], edge, shares_of_nodes(graph.pair_2E, edge)),
        "primary": cross_entropy(logits["primary"], primary),
    }


def shares_of_nodes(pair_2E: NDArray[np.int64], target: Tensor) -> Tensor:
    """Return the weight (E,) of each edge with a target: half of an even share of that of each of its two nodes."""
    known = target.numpy(force=True) >= 0
    degree = np.bincount(pair_2E[:, known].ravel(), minlength=int(pair_2E.max(initial=-1)) + 1)
    share = 0.5 / np.maximum(degree, 1)
    return torch.from_numpy(share[pair_2E].sum(axis=0).astype(np.float32)).to(target.device)


def _examples(
    net: nn.Module, batch: list[Event] | list[Example], cfg: config.Cluster
) -> tuple[Terms, list[Example]]:
    """Return the terms of the fragments, and what is learned of each event, or of each example."""
    made = [one for one in batch if isinstance(one, Example)]
    if made:
        return {}, made
    events = [one for one in batch if isinstance(one, Event)]
    terms, labels = learned.learn(net, events, cfg.fragments)
    pairs = zip(events, labels, strict=True)
    return terms, [example_of(event, fragments_of(event, *label, cfg)) for event, label in pairs]
