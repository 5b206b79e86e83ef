"""Truth labels of voxels by the rules of SuperaAtomic (`LArTPCMLReco3D`), on whole particles.

An electromagnetic shower is one particle with all its descendants. The rules are tabulated in
docs/labels.md.

Shape suffixes: D deposits, T trajectories, G groups (a particle and what follows it), P pairs of a
group and a voxel, C connected components of pairs, V voxels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lartpc.config import Ingest
from lartpc.event import Columns
from lartpc.geometry import Box
from lartpc.ingest.connect import Lattice
from lartpc.ingest.roles import Ancestry, Role, ancestry, rows_of
from lartpc.ingest.steps import IntArray, Steps
from lartpc.ingest.truth import Labelled, tables
from lartpc.ingest.voxelize import Image
from lartpc.vocab import NONE, Semantic

BoolArray = NDArray[np.bool_]


def label(steps: Steps, image: Image, box: Box, cfg: Ingest) -> dict[str, Columns]:
    """Make the truth products (`event.TRUTH`) of an event from its steps and its voxels.

    Raises
    ------
    ValueError
        The steps have no trajectories, or a trajectory is missing.
    """
    if steps.trajectories is None:
        raise ValueError(f"event {steps.event}: labels need trajectories, this source has steps only")
    family = ancestry(steps.trajectories, cfg.michel_min_energy_mev)
    track_S = rows_of(steps.track_id, steps.trajectories.track_id)
    if (lost_S := track_S == NONE).any():
        raise ValueError(
            f"event {steps.event}: track {steps.track_id[np.argmax(lost_S)]} has steps but no trajectory"
        )
    track_D = track_S[image.deposits.step]
    pairs, pair_D = _pair(track_D, image, family)
    class_P, owner_P = _classify(pairs, image, cfg)
    semantic_V, owner_V = _choose(pairs, class_P, owner_P, len(image.energy), cfg)
    labelled = Labelled(
        track_D=track_D,
        class_D=_at(class_P, pair_D),
        owner_D=_at(_rows(pairs.root, owner_P), pair_D),
        semantic_V=semantic_V,
        owner_V=_rows(pairs.root, owner_V),
    )
    return tables(labelled, steps, image, family, box, cfg.touch_distance)


@dataclass(frozen=True)
class _Pairs:
    """Groups: row of their particle, role, host (the group that they come off; NONE: none), all (G,).

    Pairs (P,): group, voxel, energy [MeV], and whether the particle itself deposits there rather than
    only what follows it. Sorted by group, then voxel.
    """

    root: IntArray
    role: IntArray
    host: IntArray
    group: IntArray
    voxel: IntArray
    energy: NDArray[np.float64]
    own: BoolArray


def _pair(track_D: IntArray, image: Image, family: Ancestry) -> tuple[_Pairs, IntArray]:
    """Sum deposits per group and voxel; also return the pair of each deposit, NONE outside."""
    deposits = image.deposits
    num_voxels = max(len(image.energy), 1)
    imaged_D = deposits.voxel != NONE
    root_G, group_D = np.unique(family.root[track_D[imaged_D]], return_inverse=True)
    key_P, pair = np.unique(group_D * num_voxels + deposits.voxel[imaged_D], return_inverse=True)
    own_D = family.root[track_D[imaged_D]] == track_D[imaged_D]
    pair_D = np.full(len(track_D), NONE, np.int64)
    pair_D[imaged_D] = pair
    parent_G = family.parent[root_G]
    host_G = rows_of(np.where(parent_G == NONE, NONE, family.root[parent_G]), root_G)
    return _Pairs(
        root=root_G,
        role=family.role[root_G],
        host=host_G,
        group=key_P // num_voxels,
        voxel=key_P % num_voxels,
        energy=np.bincount(pair, deposits.energy[imaged_D], len(key_P)).astype(np.float64),
        own=np.bincount(pair, own_D, len(key_P)) > 0,
    ), pair_D


def _classify(pairs: _Pairs, image: Image, cfg: Ingest) -> tuple[IntArray, IntArray]:
    """Give each pair its class and the group that owns it, itself or the one it is merged into."""
    coord_P3 = image.coord[pairs.voxel]
    lattice = Lattice(pairs.group, coord_P3, cfg.touch_distance)
    component_P = lattice.components()
    num_components = int(component_P.max(initial=NONE)) + 1
    large_P = (np.bincount(component_P, minlength=num_components) >= cfg.shower_min_voxels)[component_P]
    # the body of a Michel or delta: what is connected to the electron itself; the rest are its photons
    body_P = (np.bincount(component_P, pairs.own, num_components) > 0)[component_P]
    size_P = np.bincount(pairs.group, minlength=len(pairs.root))[pairs.group]
    role_P, host_P = pairs.role[pairs.group], pairs.host[pairs.group]
    delta_P, merged_P = _deltas(pairs, body_P, cfg.delta_min_voxels)

    em_P = np.isin(role_P, [Role.SHOWER, Role.MICHEL, Role.DELTA])
    class_P = np.select(
        [
            (role_P == Role.TRACK) & (size_P >= cfg.track_min_voxels),
            (role_P == Role.NUCLEUS) & (size_P >= cfg.shower_min_voxels),
            (role_P == Role.MICHEL) & body_P,
            delta_P,
            em_P & large_P & ~merged_P,
        ],
        [Semantic.TRACK, Semantic.TRACK, Semantic.MICHEL, Semantic.DELTA, Semantic.SHOWER],
        Semantic.LOW_ENERGY,
    ).astype(np.int64)
    owner_P = np.where(class_P == Semantic.LOW_ENERGY, NONE, pairs.group)
    if not len(class_P):
        return class_P, owner_P

    # small pieces that touch what they come off, and small deltas, become part of it
    loose_P = em_P & (class_P == Semantic.LOW_ENERGY) & (host_P != NONE)
    loose = np.flatnonzero(loose_P)
    touched = lattice.touching(host_P[loose], coord_P3[loose])
    touched[(touched != NONE) & (class_P[touched] == Semantic.LOW_ENERGY)] = NONE
    into_C = np.full(num_components, NONE, np.int64)
    np.maximum.at(into_C, component_P[loose], touched)
    into_P = np.where(loose_P, into_C[component_P], NONE)
    joined_P = into_P != NONE
    return (
        np.where(joined_P, class_P[into_P], class_P),
        np.where(joined_P, owner_P[into_P], owner_P),
    )


def _deltas(pairs: _Pairs, body_P: BoolArray, min_voxels: int) -> tuple[BoolArray, BoolArray]:
    """Tell which pairs are deltas, and which are bodies of deltas too small to be seen beside the host."""
    electron_P = body_P & (pairs.role[pairs.group] == Role.DELTA)
    num_voxels = int(pairs.voxel.max(initial=0)) + 1
    key_P = pairs.group * num_voxels + pairs.voxel
    host_P = pairs.host[pairs.group]
    shared_P = rows_of(np.where(host_P == NONE, NONE, host_P * num_voxels + pairs.voxel), key_P) != NONE
    visible_G = np.bincount(pairs.group, electron_P & ~shared_P, len(pairs.root))
    enough_P = visible_G[pairs.group] >= min_voxels
    return electron_P & enough_P, electron_P & ~enough_P


def _choose(
    pairs: _Pairs, class_P: IntArray, owner_P: IntArray, num_voxels: int, cfg: Ingest
) -> tuple[IntArray, IntArray]:
    """Give each voxel the strongest class in it, and of that class the owner with most energy."""
    precedence = np.asarray(cfg.precedence, np.int64)
    num_classes, num_owners = len(precedence), len(pairs.root) + 1
    rank_P = np.argsort(precedence)[class_P]
    key, inverse = np.unique(
        (pairs.voxel * num_classes + rank_P) * num_owners + owner_P + 1, return_inverse=True
    )
    energy = np.bincount(inverse, pairs.energy, len(key))
    order = np.lexsort((-energy, key // num_owners))
    voxel = key[order] // (num_owners * num_classes)
    best_V = order[np.flatnonzero(np.diff(voxel, prepend=NONE))]
    assert len(best_V) == num_voxels, "a voxel without deposits"
    return precedence[key[best_V] // num_owners % num_classes], key[best_V] % num_owners - 1


def _rows(root_G: IntArray, group: IntArray) -> IntArray:
    """Return the trajectory of each group number, NONE for NONE."""
    return np.append(root_G, NONE)[group]


def _at(values_P: IntArray, pair_D: IntArray) -> IntArray:
    """Return the value of each deposit's pair, NONE outside."""
    return np.append(values_P, NONE)[pair_D]
