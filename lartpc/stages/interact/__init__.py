"""Interact: particles to interactions, with species, primaries, parents, a vertex and a flavour.

Shape suffixes: V voxels, F particles, E edges (each pair once), D directed edges, K classes, N interactions.
Functions on arrays; see docs/explanation/clustering.md for the definitions.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.event import MAX_COUNT, Columns, Event, conform
from lartpc.graphs import CompiledInteractionNetwork, has_kernel, parent_log_scores, side_by_side, softmax
from lartpc.kinematics.classes import PARTICLE_CLASSES, class_shares, decide_again, shares, species_scores
from lartpc.kinematics.clusters import Ints
from lartpc.kinematics.michels import can_be
from lartpc.kinematics.relations import SWAPPED
from lartpc.kinematics.starts import choose_again, started_at
from lartpc.metrics import clustering
from lartpc.stages.interact.graph import NUM_NODE_FEATURES, Geometry, Nodes, geometry_of, particle_graph
from lartpc.stages.interact.products import identity_of, products_of
from lartpc.stages.interact.rules import by_rules
from lartpc.stages.interact.targets import (
    MIN_PURITY,
    allowed_species,
    parent_rows,
    starts,
)
from lartpc.truth import compositions, majority
from lartpc.vocab import NONE, Flavour, Semantic, Species

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lartpc.nets.portable_graph import PortableInteractionNetwork
    from lartpc.stages.interact.example import Example, Turned

CLASS_HEAD = "semantic"
"""Which class a particle is of. Weights may be without this head, as older ones are; classes stay as they are then."""
NODE_HEADS = {"species": len(Species), "primary": 2, "start": 2, CLASS_HEAD: len(PARTICLE_CLASSES)}
GROUP_HEADS = {
    "flavour": len(Flavour),
    "num_protons": MAX_COUNT + 1,
    "num_pions": MAX_COUNT + 1,
    "num_pi_zeros": MAX_COUNT + 1,
}


def network(cfg: config.Interact) -> "nn.Module":
    """Return the graph network over particles, with all its heads and fresh weights."""
    from lartpc.stages.interact import learn

    return learn.network(cfg)


def compiled(cfg: config.Interact, state: Mapping[str, NDArray[Any]]) -> CompiledInteractionNetwork | None:
    """Return the network with the weights of a state, for inference without torch, or None without a compiler."""
    if not has_kernel(cfg.graph):
        return None
    heads = {
        name: num
        for name, num in NODE_HEADS.items()
        if name != CLASS_HEAD or f"node_heads.{name}.bias" in state
    }
    return CompiledInteractionNetwork(state, NUM_NODE_FEATURES, cfg.graph, heads, GROUP_HEADS, SWAPPED)


def portable(net: "nn.Module", cfg: config.Interact, *, by_gathers: bool) -> "PortableInteractionNetwork":
    """Return the graph network over particles in plain tensor operations; `by_gathers` changes nothing in it."""
    from lartpc.stages.interact import learn

    return learn.portable(net)


def examples(cfg: config.Interact) -> "Callable[[Event], Example]":
    """Return what works out all that is learned of an event."""
    from lartpc.stages.interact import example as made

    return partial(made.example, cfg=cfg)


def loss(
    net: "nn.Module", batch: "list[Event] | list[Turned]", cfg: config.Interact
) -> "dict[str, tuple[Tensor, Tensor]]":
    """Return sum and count of the cross entropies of all heads."""
    from lartpc.stages.interact import learn

    return learn.loss(net, batch, cfg)


def infer(net: Any, batch: list[Event], cfg: config.Interact) -> list[dict[str, Columns]]:
    """Return `identity`, `interaction` and `final_point` of each event.

    What is around a particle tells of what class it is, and the vertices which of the candidates showers and deltas
    start at; where either is another than before, all is found again with these.
    """
    geometry = [geometry_of(event, cfg) for event in batch] if cfg.needs_weights else []
    found = _found(net, batch, cfg, geometry)
    out: list[dict[str, Columns]] = []
    changed: dict[int, Event] = {}
    edges: list[Geometry] = []
    for row, (event, one) in enumerate(zip(batch, found, strict=True)):
        known = _reclassified(event, one["identity"]["semantic_score"], cfg)
        started = _started(known, one, cfg)
        out.append(
            one | {"final_point": conform("final_point", {name: started["point"][name] for name in _PLACE})}
        )
        if started["particle"] is not event["particle"]:
            changed[row] = started
            # voxels stay in their particles, and so do the edges where classes do
            if cfg.needs_weights:
                edges.append(geometry[row] if known is event else geometry_of(started, cfg))
    again = _found(net, list(changed.values()), cfg, edges) if changed else []
    for row, one in zip(changed, again, strict=True):
        decided_by = {"semantic_score": found[row]["identity"]["semantic_score"]}
        out[row] |= one | {"identity": one["identity"] | decided_by}
    return out


_PLACE = ("position", "score")


def _reclassified(event: Event, score_AK: NDArray[Any], cfg: config.Interact) -> Event:
    """Return the event with the classes of its particles decided again; the same event where all stay."""
    particle = event["particle"]
    semantic = particle["semantic"]
    if not cfg.infer.choose_classes or not np.isfinite(score_AK).any():
        return event
    share = shares(particle["class_score"], semantic)
    decided = decide_again(semantic, score_AK, share, can_be(particle["energy"], particle["num_voxels"]))
    if (decided == semantic).all():
        return event
    return event.with_products({"particle": particle | {"semantic": decided.astype(semantic.dtype)}})


def _started(event: Event, found: dict[str, Columns], cfg: config.Interact) -> Event:
    """Return the event with starts and points chosen again; with the same `particle` where all stay."""
    if not cfg.infer.choose_starts:
        return event
    chosen = choose_again(event, found["identity"]["interaction"], found["interaction"]["vertex"])
    place = {"position": chosen.position_P, "score": chosen.score_P}
    products: dict[str, Columns] = {"point": {**event["point"], **conform("final_point", place)}}
    if (particle := started_at(event, chosen.start_A3)) is not None:
        products["particle"] = particle
    return event.with_products(products)


def _found(
    net: Any, batch: list[Event], cfg: config.Interact, geometry: list[Geometry]
) -> list[dict[str, Columns]]:
    """Return `identity` and `interaction` of each event; by rules, where there is no network and no `geometry`."""
    if not cfg.needs_weights:
        return [by_rules(event, cfg) for event in batch]
    found = [particle_graph(event, cfg, known) for event, known in zip(batch, geometry, strict=True)]
    graph = side_by_side([nodes.graph for nodes in found])
    logits = net.logits(graph)
    species = _species_scores(logits["species"], batch, found, cfg)
    semantic = _class_scores(logits, len(species))
    score = {name: softmax(logits[name])[:, 1] for name in ("edge", "pi_zero", "primary", "start")}
    parent_D, orphan_F = parent_log_scores(logits["parent"], logits["orphan"], graph.pair_2E)
    forward_E, backward_E = parent_D.reshape(2, -1)
    edges = np.cumsum([0, *(nodes.graph.pair_2E.shape[1] for nodes in found)])
    rows = np.cumsum([0, *(len(nodes.row_F) for nodes in found)])
    identities: list[Columns] = []
    for i, (event, nodes) in enumerate(zip(batch, found, strict=True)):
        own_E, own_F = slice(edges[i], edges[i + 1]), slice(rows[i], rows[i + 1])
        identities.append(
            identity_of(
                event,
                nodes,
                species[own_F],
                semantic[own_F],
                {
                    name: values[own_E if name in ("edge", "pi_zero") else own_F]
                    for name, values in score.items()
                },
                np.concatenate([forward_E[own_E], backward_E[own_E]]),
                orphan_F[own_F],
                cfg,
            )
        )
    counts = [int(identity["interaction"].max(initial=NONE)) + 1 for identity in identities]
    group_F = shifted([identity["interaction"] for identity in identities], counts, NONE)
    pooled = net.pool_logits(logits["node"], group_F)
    groups = {name: softmax(values) for name, values in pooled.items()}
    first = np.cumsum([0, *counts])
    return [
        products_of(
            event,
            nodes.row_F,
            identity,
            {name: values[first[i] : first[i + 1]] for name, values in groups.items()},
        )
        for i, (event, nodes, identity) in enumerate(zip(batch, found, identities, strict=True))
    ]


def metrics(pred: Event, truth: Event, cfg: config.Interact) -> dict[str, tuple[float, float]]:
    """Return how well interactions, species, primaries, starts, parents and flavours were found."""
    label_V, group_V = truth["truth_voxel"], pred["group"]["particle"]
    true_V = np.where(label_V["semantic"] == Semantic.LOW_ENERGY, NONE, label_V["interaction"])
    identity = pred["identity"]
    num = len(identity["species"])
    found = clustering(true_V, np.append(identity["interaction"], NONE)[group_V])
    values = {"purity": found.purity, "efficiency": found.efficiency, "ari": found.ari}
    out = {name: (value, 1.0) for name, value in values.items() if not np.isnan(value)}
    owner = majority(group_V, label_V["particle"], num, MIN_PURITY)
    turned_F = np.zeros(num, bool)
    targets = {
        "semantic": np.append(truth["truth_particle"]["semantic"], NONE)[owner],
        "species": np.append(truth["truth_particle"]["species"], NONE)[owner],
        "is_primary": np.append(truth["truth_particle"]["is_primary"], NONE)[owner],
        "is_turned": 1 - starts(pred["particle"], truth["truth_particle"], owner, turned_F),
        "parent": parent_rows(truth, owner, pred["particle"]["num_voxels"]),
    }
    targets["is_turned"][targets["is_turned"] > 1] = NONE
    least = {"parent": NONE}
    names = {
        "semantic": "class",
        "species": "species",
        "is_primary": "primary",
        "is_turned": "start",
        "parent": "parent",
    }
    for column, target in targets.items():
        known = (owner >= 0) & (target >= least.get(column, 0)) & (identity["interaction"] >= 0)
        right = identity[column][known] == target[known]
        out[f"{names[column]}_accuracy"] = (float(right.sum()), float(len(right)))
    num_true = int(label_V["interaction"].max(initial=NONE)) + 1
    flavour = compositions(truth, num_true)["flavour"]
    best = majority(
        np.append(identity["interaction"], NONE)[group_V],
        label_V["interaction"],
        len(pred["interaction"]["flavour"]),
        MIN_PURITY,
    )
    known = np.append(flavour, NONE)[best] >= 0
    right = pred["interaction"]["flavour"][known] == flavour[best[known]]
    out["flavour_accuracy"] = (float(right.sum()), float(len(right)))
    return out


def _class_scores(logits: Mapping[str, NDArray[Any]], num: int) -> NDArray[np.float32]:
    """Return the scores (F, K) of the classes of particles; nan of weights without this head."""
    if CLASS_HEAD not in logits:
        return np.full((num, len(PARTICLE_CLASSES)), np.nan, np.float32)
    return softmax(logits[CLASS_HEAD]).astype(np.float32)


def _species_scores(
    species_FS: NDArray[Any], batch: list[Event], found: list[Nodes], cfg: config.Interact
) -> NDArray[np.float32]:
    """Return scores of species (F, S): those among what each class allows, by the shares of a particle's classes."""
    columns = [event["particle"] for event in batch]
    score, semantic = (
        np.concatenate([one[name][nodes.row_F] for one, nodes in zip(columns, found, strict=True)])
        for name in ("class_score", "semantic")
    )
    allowed_KS = allowed_species(cfg)
    among_FKS = softmax(np.where(allowed_KS, species_FS[:, None], species_FS.dtype.type(-30.0))) * allowed_KS
    return species_scores(among_FKS, class_shares(score, semantic), semantic)


def shifted(parts: list[Ints], sizes: list[int], least: int) -> Ints:
    """Join numbers (..., F) of several events, those above `least` raised past the numbers of the events before."""
    first = np.cumsum([0, *sizes])[: len(sizes)]
    pairs = zip(parts, first, strict=True)
    return np.concatenate([np.where(part > least, part + offset, part) for part, offset in pairs]).astype(
        np.int64
    )
