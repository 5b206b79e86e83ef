"""Cluster: voxels to fragments by distance, fragments to particles by a graph network.

Shape suffixes: V voxels, P points, F fragments, E edges, K classes. Functions on arrays; see
docs/clustering.md for the definitions.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import cKDTree
from torch import Tensor, nn

from lartpc import config
from lartpc.event import Columns, Event, conform
from lartpc.kinematics import FEATURES, Clusters, connect, describe, features
from lartpc.kinematics.clusters import Ints
from lartpc.metrics import clustering
from lartpc.nets.graph import Graph, GraphNetwork, cross_entropy, make_graph, side_by_side, spanning_forest
from lartpc.truth import majority
from lartpc.vocab import NONE, Semantic

CLASSES = (Semantic.SHOWER, Semantic.TRACK, Semantic.MICHEL, Semantic.DELTA)
"""Classes that have fragments, in the order of `fragments.eps` and `edge_length`."""
MIN_PURITY = 0.5
"""A fragment with less of its voxels in one true particle has no target."""


@dataclass(frozen=True)
class Fragments:
    """The fragments of one event: of each voxel (V,), their columns (F,) and their graph."""

    label_V: Ints
    columns: Columns
    graph: Graph


def network(cfg: config.Cluster) -> nn.Module:
    """Return the graph network over fragments: edges (2 classes) and primary fragment (2 classes)."""
    return GraphNetwork(len(FEATURES), cfg.graph, {"primary": 2})


def loss(net: nn.Module, batch: list[Event], cfg: config.Cluster) -> dict[str, tuple[Tensor, Tensor]]:
    """Return sum and count of the cross entropies of edges and of primary fragments.

    An edge is true if both fragments belong to one true particle. Fragments of low purity have no
    target, nor have their edges.
    """
    found = [_fragments(event, cfg) for event in batch]
    graph = side_by_side([fragments.graph for fragments in found], _device(net))
    logits = net(graph)
    targets = [_targets(event, fragments) for event, fragments in zip(batch, found, strict=True)]
    edge, primary = (
        torch.from_numpy(np.concatenate(part)).to(_device(net)) for part in zip(*targets, strict=True)
    )
    return {
        "edge": cross_entropy(logits["edge"], edge),
        "primary": cross_entropy(logits["primary"], primary),
    }


@torch.inference_mode()
def infer(net: nn.Module, batch: list[Event], cfg: config.Cluster) -> list[dict[str, Columns]]:
    """Return `group`, `fragment` and `particle` of each event."""
    found = [_fragments(event, cfg) for event in batch]
    logits = net(side_by_side([fragments.graph for fragments in found], _device(net)))
    edge = logits["edge"].softmax(1)[:, 1].cpu().numpy()
    primary = logits["primary"].softmax(1)[:, 1].cpu().numpy()
    edges = np.cumsum([0, *(fragments.graph.pair_2E.shape[1] for fragments in found)])
    nodes = np.cumsum([0, *(len(fragments.graph.node_FC) for fragments in found)])
    return [
        _products(
            event,
            fragments,
            edge[edges[i] : edges[i + 1]],
            primary[nodes[i] : nodes[i + 1]],
            cfg.infer.edge_threshold,
        )
        for i, (event, fragments) in enumerate(zip(batch, found, strict=True))
    ]


def metrics(pred: Event, truth: Event) -> dict[str, tuple[float, float]]:
    """Return purity, efficiency and adjusted Rand index of the particles; low-energy voxels do not count."""
    label_V = truth["truth_voxel"]
    true_V = np.where(label_V["semantic"] == Semantic.LOW_ENERGY, NONE, label_V["particle"])
    found = clustering(true_V, pred["group"]["particle"])
    values = {"purity": found.purity, "efficiency": found.efficiency, "ari": found.ari}
    return {name: (value, 1.0) for name, value in values.items() if not np.isnan(value)}


def find_fragments(event: Event, cfg: config.Fragments) -> tuple[Ints, NDArray[np.int8]]:
    """Return the fragment of each voxel (V,), -1 for none, and the class of each fragment (F,).

    Voxels of one class nearer than `eps` are linked; linked voxels are a fragment. Tracks are cut at
    track points first. Fragments are numbered in order of their first voxel.
    """
    coord, semantic = event["voxel"]["coord"], event["semantic"]["label"]
    label_V = np.full(len(coord), NONE, np.int64)
    classes: list[int] = []
    for which, eps in zip(CLASSES, cfg.eps, strict=True):
        row = np.flatnonzero(semantic == which)
        cut = np.zeros((0, 3))
        if which == Semantic.TRACK and cfg.break_radius:
            cut = event["point"]["position"][event["point"]["semantic"] == Semantic.TRACK]
        piece = _link(coord[row] + 0.5, eps, cut, cfg.break_radius)
        size = np.bincount(piece)
        kept = np.flatnonzero(size >= cfg.min_voxels)
        number = np.full(len(size), NONE)
        number[kept] = len(classes) + np.arange(len(kept))
        label_V[row] = number[piece]
        classes += [int(which)] * len(kept)
    label, first = np.unique(label_V, return_index=True)
    order = label[np.argsort(first)]
    order = order[order >= 0]
    rank = np.full(len(order) + 1, NONE, np.int64)
    rank[order] = np.arange(len(order))
    return rank[label_V], np.array(classes, np.int8)[order]


def _link(point_V: NDArray[np.float64], eps: float, cut_P3: NDArray[np.floating], radius: float) -> Ints:
    """Return the connected piece (V,) of each voxel, cut inside `radius` of the points.

    Voxels inside a cut go to the piece that they reach first along links; those that reach none form
    pieces of their own.
    """
    num = len(point_V)
    if not num:
        return np.zeros(0, np.int64)
    link = cKDTree(point_V).query_pairs(eps, output_type="ndarray")
    inside = np.zeros(num, bool)
    if len(cut_P3):
        inside = np.isfinite(cKDTree(cut_P3).query(point_V, distance_upper_bound=radius)[0])
    free = ~inside[link].any(axis=1)
    _, piece = connected_components(_adjacency(point_V, link[free]), directed=False)
    if not inside.any():
        return np.asarray(piece, np.int64)
    # Only links that touch a cut matter from here on.
    graph = _adjacency(point_V, link[~free])
    border = np.flatnonzero(~inside)
    if len(border):
        _, _, source = dijkstra(
            graph, directed=False, indices=border, min_only=True, return_predecessors=True
        )
        reached = inside & (source >= 0)
        piece[reached] = piece[source[reached]]
        inside &= ~reached
    _, own = connected_components(graph, directed=False)
    piece = np.where(inside, piece.max() + 1 + own, piece)
    return np.asarray(np.unique(piece, return_inverse=True)[1], np.int64)


def _adjacency(point_V: NDArray[np.float64], link: NDArray[np.intp]) -> csr_array:
    length = np.linalg.norm(point_V[link[:, 0]] - point_V[link[:, 1]], axis=1)
    return coo_array((length, (link[:, 0], link[:, 1])), shape=(len(point_V), len(point_V))).tocsr()


def _fragments(event: Event, cfg: config.Cluster) -> Fragments:
    voxel, side = event["voxel"], event.box.num_voxels
    label_V, semantic_F = find_fragments(event, cfg.fragments)
    clusters = Clusters.group(voxel["coord"], voxel["energy"], label_V, len(semantic_F))
    columns = {"semantic": semantic_F, **describe(clusters, semantic_F, event["point"])}
    pairs, one, two = connect(clusters, semantic_F, _max_length(cfg), cfg.graph.max_edges)
    nodes = features(clusters, columns, side)
    return Fragments(label_V, columns, make_graph(nodes, pairs, one, two, side))


def _max_length(cfg: config.Cluster) -> NDArray[np.float64]:
    """Return the longest edge between two classes: within a class, and from showers to Michels and deltas."""
    length = np.diag(np.asarray(cfg.edge_length, np.float64))
    for other in (Semantic.MICHEL, Semantic.DELTA):
        length[Semantic.SHOWER, other] = length[other, Semantic.SHOWER] = cfg.edge_length[Semantic.SHOWER]
    return length


def _targets(event: Event, fragments: Fragments) -> tuple[Ints, Ints]:
    """Return the targets of edges (E,) and of primary fragments (F,); -1: none."""
    num, truth = len(fragments.columns["semantic"]), event["truth_particle"]
    owner = majority(fragments.label_V, event["truth_voxel"]["particle"], num, MIN_PURITY)
    pair = fragments.graph.pair_2E.numpy()
    edge = (owner[pair[0]] == owner[pair[1]]).astype(np.int64)
    edge[(owner[pair] < 0).any(axis=0)] = NONE
    # which fragment comes first is known where the start of the particle is
    started = np.append(np.isfinite(truth["start_point"][:, 0]), False)[owner]
    primary = np.where(started, 0, NONE)
    row = np.flatnonzero((fragments.label_V >= 0) & started[fragments.label_V]) if num else np.zeros(0, int)
    label = fragments.label_V[row]
    distance = np.linalg.norm(event["voxel"]["coord"][row] + 0.5 - truth["start_point"][owner[label]], axis=1)
    order = np.lexsort((distance, owner[label]))
    _, first = np.unique(owner[label][order], return_index=True)
    primary[label[order[first]]] = 1
    return edge, primary


def _products(
    event: Event,
    fragments: Fragments,
    edge_score: NDArray[np.float32],
    primary_score: NDArray[np.float32],
    threshold: float,
) -> dict[str, Columns]:
    voxel, columns = event["voxel"], fragments.columns
    num = len(primary_score)
    particle_F = spanning_forest(num, fragments.graph.pair_2E.numpy().T, edge_score, threshold)
    particle_V = np.append(particle_F, NONE)[fragments.label_V]
    num_fragments = np.bincount(particle_F)
    # The first piece of a particle gives it its class and, unless it is a track, its start.
    order = np.lexsort((-columns["energy"], -primary_score, particle_F))
    first = order[np.unique(particle_F[order], return_index=True)[1]]
    semantic = columns["semantic"][first]
    clusters = Clusters.group(voxel["coord"], voxel["energy"], particle_V, len(semantic))
    start_F = columns["start_point"][first].astype(np.float64)
    described = describe(clusters, semantic, event["point"], start_F=start_F)
    pieces = {
        name: columns[name] for name in ("semantic", "num_voxels", "energy", "start_point", "end_point")
    }
    return {
        "group": conform("group", {"fragment": fragments.label_V, "particle": particle_V}),
        "fragment": conform("fragment", {"particle": particle_F, "primary_score": primary_score, **pieces}),
        "particle": conform("particle", {"semantic": semantic, "num_fragments": num_fragments, **described}),
    }


def _device(net: nn.Module) -> torch.device:
    return next(net.parameters()).device
