"""What `cluster` learns from an event, worked out once: a symmetry of the box turns features, and leaves the rest.

Shape suffixes: F fragments, E edges.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc import config, fragments
from lartpc.event import Event
from lartpc.graphs import EDGE_TENSORS, EDGE_VECTORS, Graph, turned
from lartpc.kinematics.clusters import Ints
from lartpc.kinematics.describe import TENSORS, VECTORS
from lartpc.stages.cluster import Fragments, fragments_of, targets_of


@dataclass(frozen=True)
class Example:
    """The graph of an event with its targets: of edges (E,) and of primary fragments (F,); -1: none."""

    graph: Graph[NDArray[Any]]
    edge_E: Ints
    primary_F: Ints
    num_voxels: int

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        values = (*vars(self.graph).values(), self.edge_E, self.primary_F)
        return sum(value.nbytes for value in values)

    def turned(self, axes: NDArray[np.int64], flip: NDArray[np.bool_]) -> "Example":
        """Return the example of the event in a symmetry of its box, as `lartpc.nets.augment.symmetry` draws it."""
        nodes = turned(self.graph.node_FC, axes, flip, VECTORS, TENSORS)
        edges = turned(self.graph.edge_EC, axes, flip, EDGE_VECTORS, EDGE_TENSORS)
        return replace(self, graph=Graph(nodes, self.graph.pair_2E, edges))


def example(event: Event, cfg: config.Cluster) -> Example:
    """Return what is learned from an event whose fragments do not depend on a network."""
    found = fragments.find(None, [event], cfg.fragments)[0]
    return example_of(event, fragments_of(event, *found, cfg))


def example_of(event: Event, found: Fragments) -> Example:
    """Return what is learned from an event with given fragments."""
    return Example(found.graph, *targets_of(event, found), event.num_voxels)
