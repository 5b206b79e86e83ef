"""Interact: particles to interactions, with species, primaries and a vertex.

Shape suffixes: V voxels, F particles, E edges, K species. Functions on arrays; see docs/clustering.md
for the definitions.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lartpc import config
from lartpc.event import Columns, Event, conform
from lartpc.kinematics import FEATURES, Clusters, connect, features, unit
from lartpc.kinematics.clusters import Floats, Ints
from lartpc.metrics import clustering
from lartpc.nets.graph import Graph, GraphNetwork, cross_entropy, make_graph, side_by_side, spanning_forest
from lartpc.truth import majority
from lartpc.vocab import NONE, Semantic, Species

ALLOWED = np.zeros((len(Semantic), len(Species)), bool)
"""Species that a class allows."""
ALLOWED[Semantic.SHOWER, [Species.PHOTON, Species.ELECTRON]] = True
ALLOWED[Semantic.TRACK, [Species.MUON, Species.PION, Species.PROTON]] = True
ALLOWED[[Semantic.MICHEL, Semantic.DELTA], Species.ELECTRON] = True
CAN_BE_PRIMARY = (Semantic.SHOWER, Semantic.TRACK)
"""Classes that can leave a vertex; Michels and deltas come from tracks."""
PRIMARY_THRESHOLD = 0.5
MIN_PURITY = 0.5
"""A particle with less of its voxels in one true particle has no target."""


@dataclass(frozen=True)
class Nodes:
    """The particles of one event that are in its graph: their rows (F,) of `particle`, and the graph."""

    row_F: Ints
    graph: Graph


def network(cfg: config.Interact) -> nn.Module:
    """Return the graph network over particles: edges (2 classes), species (5) and primary (2)."""
    return GraphNetwork(len(FEATURES), cfg.graph, {"species": len(Species), "primary": 2})


def loss(net: nn.Module, batch: list[Event], cfg: config.Interact) -> dict[str, tuple[Tensor, Tensor]]:
    """Return sum and count of the cross entropies of edges, species and primaries.

    An edge is true if both particles belong to one true interaction. Particles of low purity have no
    target; the species is trained among those that the particle's class allows.
    """
    found = [_nodes(event, cfg) for event in batch]
    logits = net(side_by_side([nodes.graph for nodes in found], _device(net)))
    targets = [_targets(event, nodes) for event, nodes in zip(batch, found, strict=True)]
    edge, species, primary = (
        torch.from_numpy(np.concatenate(part)).to(_device(net)) for part in zip(*targets, strict=True)
    )
    semantic = np.concatenate(
        [event["particle"]["semantic"][nodes.row_F] for event, nodes in zip(batch, found, strict=True)]
    )
    return {
        "edge": cross_entropy(logits["edge"], edge),
        "species": cross_entropy(_allowed(logits["species"], semantic), species),
        "primary": cross_entropy(logits["primary"], primary),
    }


@torch.inference_mode()
def infer(net: nn.Module, batch: list[Event], cfg: config.Interact) -> list[dict[str, Columns]]:
    """Return `identity` and `interaction` of each event."""
    found = [_nodes(event, cfg) for event in batch]
    logits = net(side_by_side([nodes.graph for nodes in found], _device(net)))
    semantic = np.concatenate(
        [event["particle"]["semantic"][nodes.row_F] for event, nodes in zip(batch, found, strict=True)]
    )
    edge = logits["edge"].softmax(1)[:, 1].cpu().numpy()
    species = _allowed(logits["species"], semantic).softmax(1).cpu().numpy()
    primary = logits["primary"].softmax(1)[:, 1].cpu().numpy()
    edges = np.cumsum([0, *(nodes.graph.pair_2E.shape[1] for nodes in found)])
    rows = np.cumsum([0, *(len(nodes.row_F) for nodes in found)])
    out = []
    for i, (event, nodes) in enumerate(zip(batch, found, strict=True)):
        own_E, own_F = slice(edges[i], edges[i + 1]), slice(rows[i], rows[i + 1])
        out.append(_products(event, nodes, edge[own_E], species[own_F], primary[own_F], cfg))
    return out


def metrics(pred: Event, truth: Event) -> dict[str, tuple[float, float]]:
    """Return how well interactions, species, primaries and vertices were found."""
    label_V, group_V = truth["truth_voxel"], pred["group"]["particle"]
    true_V = np.where(label_V["semantic"] == Semantic.LOW_ENERGY, NONE, label_V["interaction"])
    identity = pred["identity"]
    found = clustering(true_V, np.append(identity["interaction"], NONE)[group_V])
    values = {"purity": found.purity, "efficiency": found.efficiency, "ari": found.ari}
    out = {name: (value, 1.0) for name, value in values.items() if not np.isnan(value)}
    owner = majority(group_V, label_V["particle"], len(identity["species"]), MIN_PURITY)
    for column, name in (("species", "species_accuracy"), ("is_primary", "primary_accuracy")):
        target = np.append(truth["truth_particle"][column], NONE)[owner]
        known = (owner >= 0) & (target >= 0) & (identity["interaction"] >= 0)
        right = identity[column][known] == target[known]
        out[name] = (float(right.sum()), float(len(right)))
    return out


def _nodes(event: Event, cfg: config.Interact) -> Nodes:
    voxel, particle, side = event["voxel"], event["particle"], event.box.num_voxels
    row_F = np.flatnonzero(
        (particle["semantic"] < Semantic.LOW_ENERGY)
        & (particle["semantic"] >= 0)
        & (particle["num_voxels"] > 0)
    )
    number = np.full(len(particle["semantic"]) + 1, NONE, np.int64)
    number[row_F] = np.arange(len(row_F))
    label_V = number[event["group"]["particle"]]
    columns = {name: values[row_F] for name, values in particle.items()}
    clusters = Clusters.group(voxel["coord"], voxel["energy"], label_V, len(row_F))
    longest = np.full((len(Semantic), len(Semantic)), cfg.edge_length)
    pairs, one, two = connect(clusters, columns["semantic"], longest, cfg.graph.max_edges)
    nodes = features(clusters, columns, side)
    return Nodes(row_F, make_graph(nodes, pairs, one, two, side))


def _targets(event: Event, nodes: Nodes) -> tuple[Ints, Ints, Ints]:
    """Return the targets of edges (E,), species (F,) and primaries (F,); -1: none."""
    truth, semantic = event["truth_particle"], event["particle"]["semantic"][nodes.row_F]
    group_V, num = event["group"]["particle"], len(event["particle"]["semantic"])
    owner = majority(group_V, event["truth_voxel"]["particle"], num, MIN_PURITY)[nodes.row_F]
    interaction = majority(group_V, event["truth_voxel"]["interaction"], num, MIN_PURITY)[nodes.row_F]
    pair = nodes.graph.pair_2E.numpy()
    edge = (interaction[pair[0]] == interaction[pair[1]]).astype(np.int64)
    edge[(interaction[pair] < 0).any(axis=0)] = NONE
    species = np.append(truth["species"], NONE)[owner].astype(np.int64)
    # A particle of the wrong class cannot be given its true species.
    species[~ALLOWED[semantic, np.maximum(species, 0)]] = NONE
    primary = np.append(truth["is_primary"], NONE)[owner].astype(np.int64)
    primary[~np.isin(semantic, CAN_BE_PRIMARY)] = NONE
    return edge, species, primary


def _allowed(species_FK: Tensor, semantic_F: NDArray[np.int8]) -> Tensor:
    """Lower the logits of species that the class does not allow to nothing."""
    allowed = torch.from_numpy(ALLOWED[semantic_F.astype(np.int64)]).to(species_FK.device)
    return species_FK.masked_fill(~allowed, -30.0)


def _products(
    event: Event,
    nodes: Nodes,
    edge_score: NDArray[np.float32],
    species_score: NDArray[np.float32],
    primary_score: NDArray[np.float32],
    cfg: config.Interact,
) -> dict[str, Columns]:
    particle = {name: values[nodes.row_F] for name, values in event["particle"].items()}
    num = len(nodes.row_F)
    group = spanning_forest(num, nodes.graph.pair_2E.numpy().T, edge_score, cfg.infer.edge_threshold)
    primary_score = np.where(np.isin(particle["semantic"], CAN_BE_PRIMARY), primary_score, 0.0)
    is_primary = primary_score >= PRIMARY_THRESHOLD
    identity: Columns = {
        "interaction": group,
        "species": species_score.argmax(1),
        "species_score": species_score,
        "is_primary": is_primary,
        "primary_score": primary_score,
    }
    none = {"interaction": NONE, "species": NONE, "species_score": 0, "is_primary": 0, "primary_score": 0}
    for name, values in identity.items():
        identity[name] = np.full(
            (len(event["particle"]["semantic"]), *values.shape[1:]), none[name], values.dtype
        )
        identity[name][nodes.row_F] = values
    count = np.bincount(group)
    vertices = [
        find_vertex(
            {name: values[group == i] for name, values in particle.items()},
            primary_score[group == i],
            cfg.vertex_radius,
        )
        for i in range(len(count))
    ]
    interaction = {
        "vertex": np.array(vertices).reshape(-1, 3),
        "num_particles": count,
        "num_primaries": np.bincount(group[is_primary], minlength=len(count)),
        "energy": np.bincount(group, particle["energy"], minlength=len(count)),
    }
    return {"identity": conform("identity", identity), "interaction": conform("interaction", interaction)}


# -- vertex ------------------------------------------------------------------------------------


def find_vertex(particle: Columns, primary_score: NDArray[np.floating], radius: float) -> Floats:
    """Return the vertex (3,) of one interaction from its particles [voxel].

    Counted are its primaries, without any its tracks and showers, without any all of it. In this order
    (cf. SPINE's vertexing):

    1. One particle: its start.
    2. Confluence: the place where most primaries (by score) have an end within `radius`, of equal ones the
       tightest; of tracks both ends count, of showers the start. The vertex is the mean, weighted by score.
    3. Tracks and showers that do not touch: the end of a track that the showers point away from best.
    4. Tracks only: the start of the longest.
    5. Showers only: the point of closest approach of their lines, or where they are parallel or cross
       ahead of a start, the start of the most energetic.
    """
    counted = _counted(particle["semantic"], primary_score)
    start: Floats = particle["start_point"][counted].astype(np.float64)
    end: Floats = particle["end_point"][counted].astype(np.float64)
    direction = particle["start_direction"][counted].astype(np.float64)
    energy, weight = particle["energy"][counted], np.maximum(primary_score[counted], 1e-3)
    is_track = particle["semantic"][counted] == Semantic.TRACK
    longest: Floats = start[np.linalg.norm(end - start, axis=1).argmax()]
    if len(start) == 1:
        return longest
    if (meeting := _confluence(start, end, is_track, weight, radius)) is not None:
        return meeting
    if is_track.all():
        return longest
    if is_track.any():
        ends = np.concatenate([start[is_track], end[is_track]])
        away = unit(start[~is_track] - ends[:, None])
        aligned = np.einsum("esi,si->es", away, direction[~is_track])
        best: Floats = ends[(aligned * weight[~is_track]).sum(1).argmax()]
        return best
    return _closest_approach(start, direction, weight, start[energy.argmax()])


def _counted(semantic: NDArray[np.int8], primary_score: NDArray[np.floating]) -> NDArray[np.bool_]:
    for choice in (primary_score >= PRIMARY_THRESHOLD, np.isin(semantic, CAN_BE_PRIMARY)):
        if choice.any():
            return choice
    return np.ones(len(semantic), bool)


def _confluence(
    start: Floats, end: Floats, is_track: NDArray[np.bool_], weight: Floats, radius: float
) -> Floats | None:
    """Return the place where two or more particles meet, or None."""
    num = len(start)
    place = np.concatenate([start, end[is_track]])
    owner = np.concatenate([np.arange(num), np.flatnonzero(is_track)])
    distance = np.linalg.norm(place[:, None] - place, axis=2)
    nearest = np.full((len(place), num), np.inf)
    which = np.zeros((len(place), num), np.int64)
    for i in range(num):
        own = np.flatnonzero(owner == i)
        which[:, i] = own[distance[:, own].argmin(1)]
        nearest[:, i] = distance[:, own].min(1)
    meets = nearest <= radius
    support = (meets * weight).sum(1)
    spread = np.where(meets, nearest, 0.0).sum(1)
    best = np.lexsort((spread, -np.round(support, 6)))[0]
    if meets[best].sum() < 2:
        return None
    members = which[best, meets[best]]
    return np.average(place[members], axis=0, weights=weight[meets[best]])


def _closest_approach(start: Floats, direction: Floats, weight: Floats, otherwise: Floats) -> Floats:
    """Return the point with the least sum of squared distances to lines, if all lead away from it."""
    across = np.eye(3) - direction[:, :, None] * direction[:, None, :]
    matrix = (weight[:, None, None] * across).sum(0)
    if np.linalg.cond(matrix) > 1e4:
        return otherwise
    point = np.linalg.solve(matrix, np.einsum("s,sij,sj->i", weight, across, start))
    return point if (np.einsum("si,si->s", start - point, direction) > 0).all() else otherwise


def _device(net: nn.Module) -> torch.device:
    return next(net.parameters()).device
