"""The graph of an event's particles.

Shape suffixes: V voxels, F particles, E edges (each pair once), D directed edges, K classes, N interactions.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.event import Columns, Event
from lartpc.graphs import Graph, make_graph
from lartpc.kinematics import FEATURES, Clusters, connect, features
from lartpc.kinematics.clusters import Floats, Ints
from lartpc.kinematics.relations import END_FEATURES, canonical, end_features, pair_features
from lartpc.vocab import NONE, Semantic

NUM_NODE_FEATURES = len(FEATURES) + len(END_FEATURES)


@dataclass(frozen=True)
class Geometry:
    """What the graph of an event has of its voxels, wherever its particles start.

    `row_F` are the rows of `particle` that are in the graph; `pair_E2` its edges, between the voxels `one_E3` and
    `two_E3`.
    """

    row_F: Ints
    clusters: Clusters
    pair_E2: Ints
    one_E3: Floats
    two_E3: Floats


@dataclass(frozen=True)
class Nodes:
    """The particles of one event that are in its graph.

    `row_F` are their rows of `particle`, `turned_F` the tracks whose ends are exchanged in the graph.
    """

    row_F: Ints
    turned_F: NDArray[np.bool_]
    graph: Graph[NDArray[Any]]


def geometry_of(event: Event, cfg: config.Interact) -> Geometry:
    """Return the clusters of an event's showers, tracks, Michels and deltas, and the edges between them."""
    row_F, clusters, columns = kept(event)
    longest = longest_edges(cfg.edge_length)
    return Geometry(row_F, clusters, *connect(clusters, columns["semantic"], longest, cfg.graph.max_edges))


def particle_graph(event: Event, cfg: config.Interact, geometry: Geometry | None = None) -> Nodes:
    """Return the graph over an event's showers, tracks, Michels and deltas.

    `geometry` is what `geometry_of` returned of it, or of the event before its particles started elsewhere.
    """
    known = geometry or geometry_of(event, cfg)
    clusters, edges = known.clusters, (known.pair_E2, known.one_E3, known.two_E3)
    columns = {name: values[known.row_F] for name, values in event["particle"].items()}
    columns, turned_F = canonical(columns, clusters)
    side = event.box.num_voxels
    nodes = np.concatenate([features(clusters, columns, side), end_features(clusters, columns)], axis=1)
    return Nodes(known.row_F, turned_F, make_graph(nodes, *edges, side, pair_features(columns, *edges)))


def kept(event: Event) -> tuple[Ints, Clusters, Columns]:
    """Return an event's showers, tracks, Michels and deltas: rows (F,) of `particle`, voxels, columns."""
    voxel, particle = event["voxel"], event["particle"]
    row_F = np.flatnonzero(
        (particle["semantic"] < Semantic.LOW_ENERGY)
        & (particle["semantic"] >= 0)
        & (particle["num_voxels"] > 0)
    )
    number = np.full(len(particle["semantic"]) + 1, NONE, np.int64)
    number[row_F] = np.arange(len(row_F))
    label_V = number[event["group"]["particle"]]
    clusters = Clusters.group(voxel["coord"], voxel["energy"], label_V, len(row_F))
    return row_F, clusters, {name: values[row_F] for name, values in particle.items()}


def longest_edges(lengths: config.PairLengths) -> Floats:
    """Return the longest edge (classes, classes) between particles of two classes [voxel]."""
    longest = np.zeros((len(Semantic), len(Semantic)))
    for name, value in lengths:
        one, two = (Semantic[word.upper()] for word in name.split("_"))
        longest[one, two] = longest[two, one] = value
    return longest
