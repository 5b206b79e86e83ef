"""What the network over particles said, as products of an event.

Shape suffixes: V voxels, F particles, E edges (each pair once), D directed edges, K classes, N interactions.
"""

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.event import Columns, Event, conform, empty
from lartpc.graphs import groups_of
from lartpc.kinematics.clusters import Floats, Ints
from lartpc.kinematics.hierarchy import generations, pair_up, parent_forest
from lartpc.kinematics.vertex import (
    CAN_BE_PRIMARY,
    PRIMARY_THRESHOLD,
    VERTEX_TRUST,
    Particles,
    Points,
    find_vertices,
    wrong_way,
)
from lartpc.stages.interact.graph import Nodes
from lartpc.vocab import NONE, Semantic, Species

CAN_BE_PARENT = (Semantic.SHOWER, Semantic.TRACK)
"""Classes that others come from."""


def identity_of(
    event: Event,
    nodes: Nodes,
    species_FK: NDArray[np.float32],
    semantic_FK: NDArray[np.float32],
    score: dict[str, NDArray[np.float32]],
    parent_D: NDArray[np.float32],
    orphan_F: NDArray[np.float32],
    cfg: config.Interact,
) -> Columns:
    """Return the columns of `identity` for the nodes of an event; parents are nodes."""
    semantic, num_voxels = (event["particle"][name][nodes.row_F] for name in ("semantic", "num_voxels"))
    num, pair = len(nodes.row_F), nodes.graph.pair_2E
    group = groups_of(num, pair.T, score["edge"], cfg.infer.edge_threshold)
    primary_score = np.where(np.isin(semantic, CAN_BE_PRIMARY), score["primary"], 0.0)
    source, child = np.concatenate([pair, pair[::-1]], axis=1)
    possible = np.flatnonzero((group[source] == group[child]) & np.isin(semantic[source], CAN_BE_PARENT))
    parent = parent_forest(
        num, source[possible], child[possible], parent_D[possible], orphan_F, cfg.infer.orphan_threshold
    )
    chosen = np.exp(orphan_F)
    is_chosen = possible[parent[child[possible]] == source[possible]]
    chosen[child[is_chosen]] = np.exp(parent_D[is_chosen])
    photons = (species_FK.argmax(1) == Species.PHOTON) & (primary_score >= PRIMARY_THRESHOLD)
    pairs = np.flatnonzero((group[pair[0]] == group[pair[1]]) & photons[pair].all(axis=0))
    pi_zero_score = np.zeros(num)
    for side in pair[:, pairs]:
        np.maximum.at(pi_zero_score, side, score["pi_zero"][pairs])
    turned_score = _turned(score["start"], nodes.turned_F, cfg.infer.start_trust) * (
        semantic == Semantic.TRACK
    )
    return {
        "interaction": group,
        "semantic_score": semantic_FK,
        "species": species_FK.argmax(1),
        "species_score": species_FK,
        "is_primary": (primary_score >= PRIMARY_THRESHOLD) & (num_voxels >= cfg.infer.min_primary_voxels),
        "primary_score": primary_score,
        "is_turned": turned_score > 0.5,
        "turned_score": turned_score,
        "parent": parent,
        "parent_score": chosen,
        "generation": generations(parent),
        "pi_zero": pair_up(num, pair[:, pairs].T, score["pi_zero"][pairs], cfg.infer.pi_zero_threshold),
        "pi_zero_score": pi_zero_score,
    }


def _turned(start_F: NDArray[np.float32], turned_F: NDArray[np.bool_], trust: float) -> Floats:
    """Return the score (F,) that a track starts where the stage before said that it ends.

    `start_F` is the network's score that the first end in its graph is the start; `trust` the score that the
    stage before was right. Both are taken as independent: their odds multiply.
    """
    score = np.clip(np.where(turned_F, start_F, 1.0 - start_F).astype(np.float64), 1e-6, 1 - 1e-6)
    odds = score / (1.0 - score) * (1.0 - trust) / trust
    turned: Floats = odds / (1.0 + odds)
    return turned


def products_of(
    event: Event,
    row_F: Ints,
    identity: Columns,
    groups: dict[str, NDArray[np.float32]],
) -> dict[str, Columns]:
    """Return `identity` and `interaction`, from columns of rows (as of `identity_of`) and scores of interactions."""
    particle = {name: values[row_F] for name, values in event["particle"].items()}
    particle |= _turned_ends(particle, identity["is_turned"])
    group = identity["interaction"]
    count = np.bincount(group)
    points = Points.of(event["point"])
    whole = np.full(len(event["particle"]["semantic"]) + 1, NONE, np.int64)
    whole[row_F] = group
    owner_P = points.owners(event["voxel"]["coord"], whole[event["group"]["particle"]])
    found = Particles.of(particle, identity)
    vertex = find_vertices(found, group, points, owner_P)
    wrong_F = wrong_way(found, vertex[group])
    particle |= _turned_ends(particle, wrong_F)
    is_turned = np.asarray(identity["is_turned"], bool) ^ wrong_F
    trust_F = np.where(is_turned, VERTEX_TRUST, 1.0 - VERTEX_TRUST)
    identity = identity | {
        "is_turned": is_turned,
        "turned_score": np.where(wrong_F, trust_F, identity["turned_score"]),
    }
    interaction = {
        "vertex": vertex,
        "num_particles": count,
        "num_primaries": np.bincount(group[identity["is_primary"]], minlength=len(count)),
        "energy": np.bincount(group, particle["energy"], minlength=len(count)),
        "flavour": groups["flavour"].argmax(1),
        **{f"{name}_score": values for name, values in groups.items()},
    }
    every = empty("identity", len(event["particle"]["semantic"]))
    every |= {name: event["particle"][name].copy() for name in ("semantic", "start_point", "end_point")}
    own = {name: particle[name] for name in ("semantic", "start_point", "end_point")}
    identity = conform("identity", identity | own | {"parent": np.append(row_F, NONE)[identity["parent"]]})
    for name, values in identity.items():
        every[name][row_F] = values
    return {"identity": every, "interaction": conform("interaction", interaction)}


def _turned_ends(particle: Columns, turn_F: NDArray[np.bool_]) -> Columns:
    """Return the ends of particles, exchanged where they are turned."""
    turn, start, end = np.asarray(turn_F, bool)[:, None], particle["start_point"], particle["end_point"]
    return {"start_point": np.where(turn, end, start), "end_point": np.where(turn, start, end)}
