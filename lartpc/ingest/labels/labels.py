"""Truth labels of voxels by the rules of SuperaAtomic (`LArTPCMLReco3D`), on whole particles.

An electromagnetic shower is one particle with all its descendants. The rules are tabulated in
docs/explanation/labels.md.

Shape suffixes: D deposits, T trajectories, G groups (a particle and what follows it), P pairs of a
group and a voxel, C connected components of pairs, V voxels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lartpc.config import Ingest
from lartpc.event import Columns
from lartpc.geometry import Box
from lartpc.ingest.keys import number, number_rows, rows_of
from lartpc.ingest.labels.connect import Lattice
from lartpc.ingest.labels.generated import generated
from lartpc.ingest.labels.roles import Ancestry, Role, ancestry
from lartpc.ingest.labels.truth import Labelled, tables
from lartpc.ingest.steps import IntArray, Steps
from lartpc.ingest.voxelize import Image
from lartpc.vocab import NONE, Semantic

BoolArray = NDArray[np.bool_]


def label(steps: Steps, image: Image, box: Box, cfg: Ingest) -> dict[str, Columns]:
    """Make the truth products (`event.TRUTH` and `GENERATED`) of an event from its steps and its voxels.

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
    owners = labelled.owner_V[labelled.owner_V != NONE]
    seen = np.unique(family.interaction[owners])
    return tables(labelled, steps, image, family, box, cfg) | generated(steps, track_S, family, seen)


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
    track_I = track_D[imaged_D]  # I: deposits in the image
    root_I = family.root[track_I]
    root_G, group_I = number_rows(root_I, len(family.root))
    key_P, pair_I = number(group_I * num_voxels + deposits.voxel[imaged_D])
    own_P = np.zeros(len(key_P), np.bool_)
    own_P[pair_I[root_I == track_I]] = True
    pair_D = np.full(len(track_D), NONE, np.int64)
    pair_D[imaged_D] = pair_I
    parent_G = family.parent[root_G]
    host_G = rows_of(np.where(parent_G == NONE, NONE, family.root[parent_G]), root_G)
    group_P = key_P // num_voxels
    return _Pairs(
        root=root_G,
        role=family.role[root_G],
        host=host_G,
        group=group_P,
        voxel=key_P - group_P * num_voxels,
        energy=np.bincount(pair_I, deposits.energy[imaged_D], len(key_P)).astype(np.float64),
        own=own_P,
    ), pair_D


def _classify(pairs: _Pairs, image: Image, cfg: Ingest) -> tuple[IntArray, IntArray]:
    """Give each pair its class and the group that owns it, itself or the one it is merged into."""
    if not len(pairs.group):
        return pairs.group, pairs.group
    lattice = Lattice(pairs.group, pairs.voxel, image.coord, cfg.touch_distance)
    component_P = lattice.components()
    size_C = np.bincount(component_P)
    # the body of a Michel or delta: what is connected to the electron itself; the rest are its photons
    body_C = np.zeros(len(size_C), np.bool_)
    body_C[component_P[pairs.own]] = True
    body_P = body_C[component_P]
    size_G = np.bincount(pairs.group, minlength=len(pairs.root))
    track_G = ((pairs.role == Role.TRACK) & (size_G >= cfg.track_min_voxels)) | (
        (pairs.role == Role.NUCLEUS) & (size_G >= cfg.shower_min_voxels)
    )
    em_G = (pairs.role == Role.SHOWER) | (pairs.role == Role.MICHEL) | (pairs.role == Role.DELTA)
    delta_P, merged_P = _deltas(pairs, body_P, cfg.delta_min_voxels)

    em_P = em_G[pairs.group]
    class_P = np.full(len(pairs.group), int(Semantic.LOW_ENERGY), np.int64)
    class_P[em_P & (size_C >= cfg.shower_min_voxels)[component_P] & ~merged_P] = Semantic.SHOWER
    class_P[delta_P] = Semantic.DELTA
    class_P[(pairs.role == Role.MICHEL)[pairs.group] & body_P] = Semantic.MICHEL
    class_P[track_G[pairs.group]] = Semantic.TRACK
    owner_P = np.where(class_P == Semantic.LOW_ENERGY, NONE, pairs.group)

    # small pieces that touch what they come off, and small deltas, become part of it
    host_P = np.where(em_G, pairs.host, NONE)[pairs.group]
    loose = np.flatnonzero((class_P == Semantic.LOW_ENERGY) & (host_P != NONE))
    touched = lattice.touching(host_P[loose], pairs.voxel[loose])
    touched[(touched != NONE) & (class_P[touched] == Semantic.LOW_ENERGY)] = NONE
    into_C = np.full(len(size_C), NONE, np.int64)
    np.maximum.at(into_C, component_P[loose], touched)
    into = into_C[component_P[loose]]
    joined = loose[into != NONE]
    into = into[into != NONE]
    class_P[joined], owner_P[joined] = class_P[into], owner_P[into]
    return class_P, owner_P


def _deltas(pairs: _Pairs, body_P: BoolArray, min_voxels: int) -> tuple[BoolArray, BoolArray]:
    """Tell which pairs are deltas, and which are bodies of deltas too small to be seen beside the host."""
    electron_P = body_P & (pairs.role == Role.DELTA)[pairs.group]
    electron = np.flatnonzero(electron_P)
    num_voxels = int(pairs.voxel.max(initial=0)) + 1
    key_P = pairs.group * num_voxels + pairs.voxel
    group, host = pairs.group[electron], pairs.host[pairs.group[electron]]
    shared = (host != NONE) & (rows_of(host * num_voxels + pairs.voxel[electron], key_P) != NONE)
    enough_G = np.bincount(group[~shared], minlength=len(pairs.root)) >= min_voxels
    enough_P = enough_G[pairs.group]
    return electron_P & enough_P, electron_P & ~enough_P


def _choose(
    pairs: _Pairs, class_P: IntArray, owner_P: IntArray, num_voxels: int, cfg: Ingest
) -> tuple[IntArray, IntArray]:
    """Give each voxel the strongest class in it, and of that class the owner with most energy."""
    precedence = np.asarray(cfg.precedence, np.int64)
    rank_P = np.argsort(precedence)[class_P]
    rank_V = np.full(num_voxels, len(precedence), np.int64)
    np.minimum.at(rank_V, pairs.voxel, rank_P)
    assert (rank_V < len(precedence)).all(), "a voxel without deposits"
    strong_P = rank_P == rank_V[pairs.voxel]
    voxel, owner, energy = pairs.voxel[strong_P], owner_P[strong_P], pairs.energy[strong_P]
    owner_V = np.empty(num_voxels, np.int64)
    owner_V[voxel] = owner
    contested = np.flatnonzero(owner != owner_V[voxel])
    if len(contested):
        several_V = np.zeros(num_voxels, np.bool_)
        several_V[voxel[contested]] = True
        several = np.flatnonzero(several_V[voxel])
        num_owners = len(pairs.root) + 1
        key, inverse = number(voxel[several] * num_owners + owner[several] + 1)
        total = np.bincount(inverse, energy[several], len(key))
        order = np.lexsort((-total, key // num_owners))
        best = order[np.flatnonzero(np.diff(key[order] // num_owners, prepend=NONE))]
        owner_V[key[best] // num_owners] = key[best] % num_owners - 1
    return precedence[rank_V], owner_V


def _rows(root_G: IntArray, group: IntArray) -> IntArray:
    """Return the trajectory of each group number, NONE for NONE."""
    return np.append(root_G, NONE)[group]


def _at(values_P: IntArray, pair_D: IntArray) -> IntArray:
    """Return the value of each deposit's pair, NONE outside."""
    return np.append(values_P, NONE)[pair_D]
