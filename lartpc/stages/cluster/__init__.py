"""Cluster: voxels to fragments by distance or by a network, fragments to particles by a graph network.

Shape suffixes: V voxels, P points, F fragments, E edges, K classes. Functions on arrays; see
docs/explanation/clustering.md for the definitions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lartpc import config, fragments
from lartpc.event import Columns, Event, conform
from lartpc.fragments import CLASSES
from lartpc.fragments.evidence import EVIDENCE, MEETING, evidence, meeting
from lartpc.graphs import (
    NUM_EDGE_FEATURES,
    CompiledGraphNetwork,
    Graph,
    Logits,
    groups_of,
    has_kernel,
    make_graph,
    side_by_side,
    softmax,
)
from lartpc.kinematics import (
    FEATURES,
    OTHER_SIDE,
    POINTING,
    Clusters,
    connect,
    describe,
    features,
    michels,
    pointing,
)
from lartpc.kinematics.classes import class_scores, decide, shares
from lartpc.kinematics.clusters import Floats, Ints
from lartpc.kinematics.cones import group_by_cones
from lartpc.lean import cKDTree
from lartpc.metrics import clustering
from lartpc.truth import majority
from lartpc.vocab import NONE, Semantic

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lartpc.nets.portable_graph import PortableGraphNetwork
    from lartpc.stages.cluster.example import Example

HEADS = {"primary": 2}
"""Heads on fragments, and their classes: whether one is the first of its particle."""

SEEN_FROM_OTHER = (*OTHER_SIDE, *range(len(POINTING), len(POINTING) + len(MEETING)))
"""The columns of `pointing` and `meeting` as seen from the other end of an edge."""

NUM_EDGES = NUM_EDGE_FEATURES + len(SEEN_FROM_OTHER)
"""Features of an edge."""

NUM_NODES = len(FEATURES) + len(EVIDENCE)
"""Features of a fragment."""

TAKES_FEATURES = {
    "graph.node_encoder.0.weight": (NUM_NODES, len(EVIDENCE)),
    "graph.edge_encoder.0.weight": (NUM_EDGES, len(MEETING)),
}
"""The parameters that take the features of nodes and edges, how many, and how many of these came last."""

MIN_PURITY = 0.5
"""A fragment with less of its voxels in one true particle has no target."""


Groups = tuple[Ints, NDArray[np.float32]]
"""Of each fragment (F,) its particle and the score that it is the first of it."""


@dataclass(frozen=True)
class Fragments:
    """The fragments of one event: of each voxel (V,), their columns (F,), their graph and its gaps (E, 2, 3)."""

    label_V: Ints
    columns: Columns
    graph: Graph[NDArray[Any]]
    gap_E: Floats


def network(cfg: config.Cluster) -> "nn.Module":
    """Build the networks with fresh weights."""
    from lartpc.stages.cluster import learn

    return learn.Networks(cfg)


def compiled(cfg: config.Cluster, state: Mapping[str, NDArray[Any]]) -> CompiledGraphNetwork | None:
    """Return the network with the weights of a state, for inference without torch, or None if that cannot be had.

    A network that finds fragments runs by torch, and so do graph networks where there is no compiler.
    """
    if not isinstance(cfg.fragments, config.RuleFragments) or not has_kernel(cfg.graph):
        return None
    own = {name.removeprefix("graph."): values for name, values in with_all_features(state).items()}
    return CompiledGraphNetwork(own, NUM_NODES, cfg.graph, HEADS, NUM_EDGES, SEEN_FROM_OTHER)


def with_all_features(state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return a state whose network takes nothing from features that were not there when it was trained."""
    own = dict(state)
    for name, (num, num_new) in TAKES_FEATURES.items():
        if name in own and own[name].shape[1] == num - num_new:
            own[name] = np.pad(own[name], ((0, 0), (0, num_new)))
    return own


def portable(net: "nn.Module", cfg: config.Cluster, *, by_gathers: bool) -> "PortableGraphNetwork":
    """Return the graph network over fragments in plain tensor operations; `by_gathers` changes nothing in it."""
    from lartpc.stages.cluster import learn

    return learn.portable(net)


def examples(cfg: config.Cluster) -> "Callable[[Event], Example] | None":
    """Return what works out all that is learned of an event; None where a network finds the fragments."""
    from lartpc.stages.cluster import example as made

    return partial(made.example, cfg=cfg) if isinstance(cfg.fragments, config.RuleFragments) else None


def loss(
    net: "nn.Module", batch: "list[Event] | list[Example]", cfg: config.Cluster
) -> "dict[str, tuple[Tensor, Tensor]]":
    """Return sum and count of the terms of the fragments, and of the cross entropies of edges and primaries."""
    from lartpc.stages.cluster import learn

    return learn.loss(net, batch, cfg)


def infer(net: Any, batch: list[Event], cfg: config.Cluster) -> list[dict[str, Columns]]:
    """Return `group`, `fragment` and `particle` of each event."""
    found = find(net, batch, cfg)
    grouped = group(net, found, cfg)
    return [products(event, one, *groups) for event, one, groups in zip(batch, found, grouped, strict=True)]


def find(net: Any, batch: list[Event], cfg: config.Cluster) -> list[Fragments]:
    """Return the fragments of each event, with the voxels left over that are near them."""
    labels = fragments.find(net, batch, cfg.fragments)
    return [
        fragments_of(event, _attach(event, label_V, cfg.infer.attach_distance), semantic_F, cfg)
        for event, (label_V, semantic_F) in zip(batch, labels, strict=True)
    ]


def group(net: Logits, found: list[Fragments], cfg: config.Cluster) -> list[Groups]:
    """Return the particles that the fragments of each event make, by `infer.particles`."""
    if cfg.infer.particles == "graph":
        return _by_graph(net, found, cfg)
    return [_by_rule(one, cfg) for one in found]


def _by_graph(net: Logits, found: list[Fragments], cfg: config.Cluster) -> list[Groups]:
    """Group the fragments of each event by the scores of the graph network."""
    logits = net.logits(side_by_side([one.graph for one in found]))
    edges = np.cumsum([one.graph.pair_2E.shape[1] for one in found])[:-1]
    nodes = np.cumsum([len(one.graph.node_FC) for one in found])[:-1]
    edge = np.split(softmax(logits["edge"])[:, 1], edges)
    primary = np.split(softmax(logits["primary"])[:, 1], nodes)
    return [
        (
            groups_of(len(first), one.graph.pair_2E.T, same, cfg.infer.edge_threshold),
            first,
        )
        for one, same, first in zip(found, edge, primary, strict=True)
    ]


def _by_rule(found: Fragments, cfg: config.Cluster) -> Groups:
    """Group the fragments of one event without a network."""
    if cfg.infer.particles == "fragments":
        num = len(found.columns["semantic"])
        return np.arange(num), np.ones(num, np.float32)
    pairs, semantic = found.graph.pair_2E.T, found.columns["semantic"]
    # The rules are for classes that are taken as right: edges at a touch are not for them.
    length = _max_length(cfg.model_copy(update={"touch_length": 0.0}))
    kept = length[semantic[pairs[:, 0]], semantic[pairs[:, 1]]] > 0
    one_E3, two_E3 = (found.gap_E[kept, side] for side in (0, 1))
    return group_by_cones(found.columns, pairs[kept], one_E3, two_E3, cfg.infer.cones)


def metrics(pred: Event, truth: Event, cfg: config.Cluster) -> dict[str, tuple[float, float]]:
    """Return purity, efficiency and adjusted Rand index of the particles; low-energy voxels do not count."""
    label_V = truth["truth_voxel"]
    true_V = np.where(label_V["semantic"] == Semantic.LOW_ENERGY, NONE, label_V["particle"])
    found = clustering(true_V, pred["group"]["particle"])
    values = {"purity": found.purity, "efficiency": found.efficiency, "ari": found.ari}
    return {name: (value, 1.0) for name, value in values.items() if not np.isnan(value)}


def _attach(event: Event, label_V: Ints, distance: float) -> Ints:
    """Return the labels (V,) where voxels without one have that of the nearest voxel with one, of any class.

    Only voxels of classes that have fragments, and only within the distance.
    """
    bare = np.flatnonzero((label_V < 0) & np.isin(event["semantic"]["label"], CLASSES))
    known = np.flatnonzero(label_V >= 0)
    if not (distance and len(bare) and len(known)):
        return label_V
    coord = event["voxel"]["coord"]
    away, nearest = cKDTree(coord.take(known, axis=0)).query(coord.take(bare, axis=0))
    near = np.flatnonzero(away <= distance)
    out_V = label_V.copy()
    out_V[bare[near]] = label_V[known[nearest[near]]]
    return out_V


def fragments_of(event: Event, label_V: Ints, semantic_F: NDArray[np.int8], cfg: config.Cluster) -> Fragments:
    """Return the fragments of one event, given that of each voxel (V,) and their classes (F,)."""
    voxel, side = event["voxel"], event.box.num_voxels
    clusters = Clusters.group(voxel["coord"], voxel["energy"], label_V, len(semantic_F))
    columns = {"semantic": semantic_F, **describe(clusters, semantic_F, event["point"])}
    pairs, one, two = connect(clusters, semantic_F, _max_length(cfg), cfg.graph.max_edges)
    nodes = [features(clusters, columns, side), evidence(event, label_V, semantic_F)]
    more = np.concatenate([pointing(columns, pairs, one, two), meeting(event, label_V, pairs)], axis=1)
    graph = make_graph(np.concatenate(nodes, axis=1), pairs, one, two, side, more)
    return Fragments(label_V, columns, graph, np.stack([one, two], axis=1))


def _max_length(cfg: config.Cluster) -> NDArray[np.float64]:
    """Return the longest edge between two classes: within a class, from showers to Michels and deltas, at a touch."""
    length = np.diag(np.asarray(cfg.edge_length, np.float64))
    for other in (Semantic.MICHEL, Semantic.DELTA):
        length[Semantic.SHOWER, other] = length[other, Semantic.SHOWER] = cfg.edge_length[Semantic.SHOWER]
    return np.maximum(length, cfg.touch_length)


def primaries(
    event: Event, found: Fragments, score_F: NDArray[np.float32], semantic: Semantic
) -> tuple[Ints, NDArray[np.bool_]]:
    """Return for each true particle of a class that has a primary fragment how many it has, and if it scores best.

    Of equal scores that of the fragment with more energy counts as higher.
    """
    num, truth = len(score_F), event["truth_particle"]
    owner = majority(found.label_V, event["truth_voxel"]["particle"], num, MIN_PURITY)
    target = targets_of(event, found)[1]
    kept = np.flatnonzero((target >= 0) & (np.append(truth["semantic"], NONE)[owner] == semantic))
    order = kept[np.lexsort((-found.columns["energy"][kept], -score_F[kept], owner[kept]))]
    _, first, count = np.unique(owner[order], return_index=True, return_counts=True)
    return count, target[order[first]] == 1


def targets_of(event: Event, found: Fragments) -> tuple[Ints, Ints]:
    """Return the targets of edges (E,) and of primary fragments (F,); -1: none."""
    num, truth = len(found.columns["semantic"]), event["truth_particle"]
    owner = majority(found.label_V, event["truth_voxel"]["particle"], num, MIN_PURITY)
    pair = found.graph.pair_2E
    edge = (owner[pair[0]] == owner[pair[1]]).astype(np.int64)
    edge[(owner[pair] < 0).any(axis=0)] = NONE
    # which fragment comes first is known where the start of the particle is
    started = np.append(np.isfinite(truth["start_point"][:, 0]), False)[owner]
    primary = np.where(started, 0, NONE)
    row = np.flatnonzero((found.label_V >= 0) & started[found.label_V]) if num else np.zeros(0, int)
    label = found.label_V[row]
    distance = np.linalg.norm(event["voxel"]["coord"][row] + 0.5 - truth["start_point"][owner[label]], axis=1)
    order = np.lexsort((distance, owner[label]))
    _, first = np.unique(owner[label][order], return_index=True)
    primary[label[order[first]]] = 1
    return edge, primary


def products(
    event: Event,
    found: Fragments,
    particle_F: Ints,
    primary_score: NDArray[np.float32],
) -> dict[str, Columns]:
    """Return `group`, `fragment` and `particle` of an event, given the particle of each fragment (F,)."""
    voxel, columns = event["voxel"], found.columns
    first = _first(columns, particle_F, primary_score)
    particle_F = michels.regroup(columns, particle_F, first, found.label_V, voxel["coord"])
    particle_V = np.append(particle_F, NONE)[found.label_V]
    num_fragments = np.bincount(particle_F)
    # The first piece of a particle gives it its start, unless it is a track; all voxels together its class.
    first = _first(columns, particle_F, primary_score)
    score = class_scores(particle_V, event["semantic"]["score"], len(num_fragments))
    first_class = columns["semantic"][first].astype(np.int64)
    # where pieces of several classes are one particle, all its voxels decide
    semantic = np.where(num_fragments > 1, decide(score, first_class), first_class)
    semantic = michels.decide(
        semantic,
        shares(score, first_class),
        np.bincount(particle_F, columns["energy"]),
        np.bincount(particle_F, columns["num_voxels"]),
    )
    described = {name: columns[name][first] for name in columns if name != "semantic"}
    # a particle of one fragment is described as that, unless it is of another class
    several = (num_fragments > 1) | (semantic != columns["semantic"][first])
    number = np.where(several, np.cumsum(several) - 1, NONE)
    clusters = Clusters.group(
        voxel["coord"], voxel["energy"], np.append(number, NONE)[particle_V], int(several.sum())
    )
    start_F = described["start_point"][several].astype(np.float64)
    for name, values in describe(clusters, semantic[several], event["point"], start_F=start_F).items():
        described[name][several] = values
    pieces = {
        name: columns[name] for name in ("semantic", "num_voxels", "energy", "start_point", "end_point")
    }
    return {
        "group": conform("group", {"fragment": found.label_V, "particle": particle_V}),
        "fragment": conform("fragment", {"particle": particle_F, "primary_score": primary_score, **pieces}),
        "particle": conform(
            "particle",
            {"semantic": semantic, "class_score": score, "num_fragments": num_fragments, **described},
        ),
    }


def _first(columns: Columns, particle_F: Ints, score_F: NDArray[np.float32]) -> Ints:
    """Return the first fragment of each particle: that of the highest score, of equal ones that of more energy."""
    order = np.lexsort((-columns["energy"], -score_F, particle_F))
    return order[np.unique(particle_F[order], return_index=True)[1]]
