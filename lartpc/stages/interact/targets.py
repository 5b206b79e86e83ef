"""What the network over particles is to say, from the truth.

Shape suffixes: V voxels, F particles, E edges (each pair once), D directed edges, K classes, N interactions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.event import Columns, Event
from lartpc.kinematics.classes import ALLOWED, PARTICLE_CLASSES
from lartpc.kinematics.clusters import Ints
from lartpc.kinematics.vertex import CAN_BE_PRIMARY
from lartpc.stages.interact.graph import Nodes
from lartpc.truth import MIN_TURN, compositions, majority, parents, pi_zeros
from lartpc.vocab import NONE, Semantic, Species

MIN_PURITY = 0.5
"""A particle with less of its voxels in one true particle has no target."""


def allowed_species(cfg: config.Interact) -> NDArray[np.bool_]:
    """Return which species (classes, species) each class of particle may have: kaons only on demand."""
    allowed = ALLOWED.copy()
    allowed[:, Species.KAON] &= cfg.kaons
    return allowed


@dataclass(frozen=True)
class Targets:
    """What the network is to say of the nodes of one event; -1: nothing, unless stated otherwise.

    `parent_F` is a directed edge, -1 for no parent, -2 for nothing; `group_F` numbers true interactions,
    and the `groups` are their targets (N,).
    """

    edge_E: Ints
    pi_zero_E: Ints
    semantic_F: Ints
    species_F: Ints
    primary_F: Ints
    start_F: Ints
    parent_F: Ints
    group_F: Ints
    groups: dict[str, Ints]


def targets_of(event: Event, nodes: Nodes, cfg: config.Interact) -> Targets:
    """Return the targets of an event."""
    truth, row_F = event["truth_particle"], nodes.row_F
    particle = {name: values[row_F] for name, values in event["particle"].items()}
    group_V, num = event["group"]["particle"], len(event["particle"]["semantic"])
    owner = majority(group_V, event["truth_voxel"]["particle"], num, MIN_PURITY)[row_F]
    interaction = majority(group_V, event["truth_voxel"]["interaction"], num, MIN_PURITY)[row_F]
    pair = nodes.graph.pair_2E
    edge = (interaction[pair[0]] == interaction[pair[1]]).astype(np.int64)
    edge[(interaction[pair] < 0).any(axis=0)] = NONE
    semantic = np.append(truth["semantic"], NONE)[owner].astype(np.int64)
    semantic[semantic >= len(PARTICLE_CLASSES)] = NONE
    species = np.append(truth["species"], NONE)[owner].astype(np.int64)
    # A particle of the wrong class cannot be given its true species.
    species[~allowed_species(cfg)[particle["semantic"], np.maximum(species, 0)]] = NONE
    primary = np.append(truth["is_primary"], NONE)[owner].astype(np.int64)
    primary[~np.isin(particle["semantic"], CAN_BE_PRIMARY)] = NONE
    number = np.append(pi_zeros(event), NONE)[owner]
    pi_zero = ((number[pair[0]] == number[pair[1]]) & (number[pair[0]] >= 0)).astype(np.int64)
    pi_zero[(owner[pair] < 0).any(axis=0) | (particle["semantic"][pair] != Semantic.SHOWER).any(axis=0)] = (
        NONE
    )
    parent = parent_rows(event, owner, particle["num_voxels"])
    num_true = int(event["truth_voxel"]["interaction"].max(initial=NONE)) + 1
    # groups without a node would shift those after them
    kept, group = np.unique(interaction[interaction >= 0], return_inverse=True)
    group_F = np.full(len(row_F), NONE, np.int64)
    group_F[interaction >= 0] = group
    groups = {name: values[kept].astype(np.int64) for name, values in compositions(event, num_true).items()}
    return Targets(
        edge,
        pi_zero,
        semantic,
        species,
        primary,
        starts(particle, truth, owner, nodes.turned_F),
        _edge_of_parent(parent, pair),
        group_F,
        groups,
    )


def starts(particle: Columns, truth: Columns, owner_F: Ints, turned_F: NDArray[np.bool_]) -> Ints:
    """Return whether tracks (F,) start at their first end, the `end_point` of those turned; -1: not known."""
    true = np.concatenate([truth["start_point"], np.full((1, 3), np.nan, np.float32)])[owner_F]
    to_start, to_end = (
        np.linalg.norm(particle[name] - true, axis=1) for name in ("start_point", "end_point")
    )
    known = (particle["semantic"] == Semantic.TRACK) & (np.abs(to_start - to_end) > MIN_TURN)
    return np.where(known, (to_start < to_end) != turned_F, NONE).astype(np.int64)


def parent_rows(event: Event, owner_F: Ints, num_voxels_F: NDArray[np.integer]) -> Ints:
    """Return the row of the parent of each particle (F,), given its true one; -1: none, -2: not known.

    Of several particles of one true parent it is the largest; pieces of one true particle have no parent in
    one another but all the parent of the whole.
    """
    true_parent = parents(event)
    # the last to be written is the largest
    order = np.argsort(num_voxels_F, kind="stable")
    order = order[owner_F[order] >= 0]
    row_of = np.full(len(true_parent) + 2, NONE, np.int64)
    row_of[owner_F[order]] = order
    parent = np.append(true_parent, -2)[owner_F]
    return np.where(parent >= 0, row_of[parent], parent)


def _edge_of_parent(parent_F: Ints, pair_2E: Ints) -> Ints:
    """Return the directed edge (F,) that leads from the parent; -1: no parent, -2: not known, or no edge."""
    num = len(parent_F)
    directed = np.concatenate([pair_2E, pair_2E[::-1]], axis=1)
    out = np.where(parent_F < 0, parent_F, -2)
    if num:
        key = directed[0] * num + directed[1]
        order = np.argsort(key)
        child = np.flatnonzero(parent_F >= 0)
        wanted = parent_F[child] * num + child
        place = np.minimum(np.searchsorted(key[order], wanted), max(len(key) - 1, 0))
        if len(key):
            is_there = key[order[place]] == wanted
            out[child[is_there]] = order[place[is_there]]
    return out


def parent_edges(targets: list[Targets]) -> Ints:
    """Return `parent_F` of all events, with the directed edges numbered as in the graphs side by side."""
    sizes = [len(t.edge_E) for t in targets]
    total, parts, before = sum(sizes), [], 0
    for target, size in zip(targets, sizes, strict=True):
        edge = target.parent_F
        # forward edges of all events come first, then the backward ones
        whole = np.where(edge < size, edge + before, edge - size + total + before)
        parts.append(np.where(edge < 0, edge, whole))
        before += size
    return np.concatenate(parts)
