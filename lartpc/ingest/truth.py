"""Tables of true fragments, particles, interactions and points from labelled voxels.

Shape suffixes: V voxels, D deposits, T trajectories, P particles, F fragments, N interactions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lartpc.event import Columns
from lartpc.geometry import Box
from lartpc.ingest.connect import Lattice
from lartpc.ingest.roles import Ancestry, Role, rows_of
from lartpc.ingest.steps import NO_PARENT, FloatArray, IntArray, Steps, Trajectories
from lartpc.ingest.voxelize import Image
from lartpc.vocab import NONE, PDG_TO_SPECIES, PointKind, Semantic

VOXEL_MARGIN = 1e-3
"""Points are kept this far from the faces of their voxel, so that rounding cannot move them out."""

MIN_POINT_VOXELS = 5
"""Smaller fragments have no point, as in the PPN paper (arXiv:2006.14745)."""

ROLE_TO_SEMANTIC = {
    Role.TRACK: Semantic.TRACK,
    Role.NUCLEUS: Semantic.TRACK,
    Role.SHOWER: Semantic.SHOWER,
    Role.MICHEL: Semantic.MICHEL,
    Role.DELTA: Semantic.DELTA,
}


@dataclass(frozen=True)
class Labelled:
    """What the rules say: track, class and owner of each deposit, class and owner of each voxel.

    Tracks and owners are rows of the trajectories; an owner is NONE for low-energy deposits.
    """

    track_D: IntArray
    class_D: IntArray
    owner_D: IntArray
    semantic_V: IntArray
    owner_V: IntArray


@dataclass(frozen=True)
class _Path:
    """Deposits in the order of time: row of the voxel, positions (D, 3) in it, all in voxel units."""

    row_D: IntArray
    voxel_D: IntArray
    entry_D3: FloatArray
    exit_D3: FloatArray

    def ends(self, key_D: IntArray, num_keys: int) -> tuple[FloatArray, FloatArray, IntArray]:
        """Return for each key its first entry, its last exit, and when its first deposit comes.

        Deposits of key NONE are left out; every key must have a deposit.
        """
        used = np.flatnonzero(key_D != NONE)
        key, first = np.unique(key_D[used], return_index=True)
        _, last = np.unique(key_D[used][::-1], return_index=True)
        assert len(key) == num_keys, "an object without deposits"
        first, last = used[first], used[::-1][last]
        return self.entry_D3[first], self.exit_D3[last], first


def tables(
    labelled: Labelled, steps: Steps, image: Image, family: Ancestry, box: Box, touch_distance: int
) -> dict[str, Columns]:
    """Make the products of `event.TRUTH` from the labels of one event."""
    trajectories = steps.trajectories
    assert trajectories is not None
    time_order = np.argsort(steps.time[image.deposits.step], kind="stable")
    path = _imaged_path(time_order, image)
    track_D, class_D = labelled.track_D[path.row_D], labelled.class_D[path.row_D]
    semantic_V = labelled.semantic_V
    owner_P, particle_V = _renumber(labelled.owner_V)
    interaction_id_P = family.interaction[owner_P]
    number_N, interaction_P = np.unique(interaction_id_P, return_inverse=True)
    interaction_V = np.append(interaction_P, NONE)[particle_V]
    semantic_P = _particle_class(family.role[owner_P], particle_V, semantic_V)

    particle_D = rows_of(labelled.owner_D[path.row_D], owner_P)
    own_D = (rows_of(family.root[track_D], owner_P) == particle_D) & (particle_D != NONE)
    start_P3, exit_P3, _ = path.ends(
        np.where(own_D & (class_D == np.append(semantic_P, NONE)[particle_D]), particle_D, NONE), len(owner_P)
    )
    end_P3 = np.where(
        (semantic_P == Semantic.TRACK)[:, None], exit_P3, _farthest(particle_V, image.coord, start_P3)
    )
    particle = _particles(owner_P, family, trajectories) | {
        "semantic": semantic_P,
        "interaction": interaction_P,
        "num_voxels": _count(particle_V, len(owner_P)),
        "energy": _sum(particle_V, image.energy, len(owner_P)),
        "start_point": start_P3,
        "end_point": end_P3,
    }
    fragment_V, fragment = _fragments(
        path, class_D, particle_D, particle_V, semantic_V, interaction_P, image, touch_distance
    )
    return {
        "truth_voxel": {
            "semantic": semantic_V,
            "fragment": fragment_V,
            "particle": particle_V,
            "interaction": interaction_V,
        },
        "truth_fragment": fragment,
        "truth_particle": particle,
        "truth_interaction": {
            "vertex": _vertices(number_N, family, trajectories, box),
            "num_particles": _count(interaction_P, len(number_N)),
            "num_primaries": _count(interaction_P[family.is_primary[owner_P]], len(number_N)),
            "energy": _sum(interaction_V, image.energy, len(number_N)),
        },
        "truth_point": ends(
            particle,
            fragment,
            nucleus_P=family.role[owner_P] == Role.NUCLEUS,
            enters_P=_enters(
                owner_P, family.root[labelled.track_D[time_order]], image.deposits.inside[time_order]
            ),
        ),
    }


def _imaged_path(time_order: IntArray, image: Image) -> _Path:
    """Return the imaged deposits in the order of time, their ends held within their voxels."""
    deposits = image.deposits
    row_D = time_order[deposits.voxel[time_order] != NONE]
    low_D3 = image.coord[deposits.voxel[row_D]] + VOXEL_MARGIN
    high_D3 = low_D3 + (1 - 2 * VOXEL_MARGIN)
    return _Path(
        row_D,
        deposits.voxel[row_D],
        np.clip(deposits.entry[row_D], low_D3, high_D3),
        np.clip(deposits.exit[row_D], low_D3, high_D3),
    )


def _fragments(
    path: _Path,
    class_D: IntArray,
    particle_D: IntArray,
    particle_V: IntArray,
    semantic_V: IntArray,
    interaction_P: IntArray,
    image: Image,
    touch_distance: int,
) -> tuple[IntArray, Columns]:
    """Cut the voxels of each particle and class into connected pieces, numbered by particle."""
    fragment_V = np.full(len(particle_V), NONE, np.int64)
    labelled = np.flatnonzero(particle_V != NONE)
    group = particle_V[labelled] * len(Semantic) + semantic_V[labelled]
    component = Lattice(group, image.coord[labelled], touch_distance).components()
    number, first, fragment = np.unique(
        group * (len(labelled) + 1) + component, return_index=True, return_inverse=True
    )
    fragment_V[labelled] = fragment
    particle_F = particle_V[labelled][first]
    semantic_F = semantic_V[labelled][first]
    wins_D = (particle_D == particle_V[path.voxel_D]) & (class_D == semantic_V[path.voxel_D])
    start_F3, exit_F3, time_F = path.ends(np.where(wins_D, fragment_V[path.voxel_D], NONE), len(number))
    earliest_P = np.full(len(interaction_P), len(path.row_D), np.int64)
    np.minimum.at(earliest_P, particle_F, time_F)
    return fragment_V, {
        "semantic": semantic_F,
        "particle": particle_F,
        "interaction": interaction_P[particle_F],
        "is_primary": time_F == earliest_P[particle_F],
        "num_voxels": _count(fragment_V, len(number)),
        "energy": _sum(fragment_V, image.energy, len(number)),
        "start_point": start_F3,
        "end_point": np.where(
            (semantic_F == Semantic.TRACK)[:, None], exit_F3, _farthest(fragment_V, image.coord, start_F3)
        ),
    }


def _particles(owner_P: IntArray, family: Ancestry, trajectories: Trajectories) -> Columns:
    pdg_P = trajectories.pdg[owner_P]
    return {
        "track_id": trajectories.track_id[owner_P],
        "parent_track_id": np.where(
            family.parent[owner_P] == NONE, NO_PARENT, trajectories.parent_track_id[owner_P]
        ),
        "pdg": pdg_P,
        "species": np.array([PDG_TO_SPECIES.get(int(pdg), NONE) for pdg in pdg_P], np.int64),
        "process": trajectories.process[owner_P],
        "is_primary": family.is_primary[owner_P],
        "energy_init": trajectories.kinetic_energy[owner_P],
        "momentum": trajectories.momentum[owner_P],
        "time": trajectories.time[owner_P],
    }


def _particle_class(role_P: IntArray, particle_V: IntArray, semantic_V: IntArray) -> IntArray:
    """Return the class of each particle: that of its role, or shower where only its photons are left."""
    wanted_P = np.array([ROLE_TO_SEMANTIC.get(Role(role), NONE) for role in role_P], np.int64)
    matches_V = semantic_V == np.append(wanted_P, NONE)[particle_V]
    present_P = _count(particle_V[matches_V], len(role_P)) > 0
    return np.where(present_P, wanted_P, int(Semantic.SHOWER))


def _enters(owner_P: IntArray, root_D: IntArray, inside_D: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which particles make their first deposit outside the box, from all deposits in time order."""
    particle_D = rows_of(root_D, owner_P)
    used = np.flatnonzero(particle_D != NONE)
    _, first = np.unique(particle_D[used], return_index=True)
    return ~inside_D[used[first]]


def ends(
    particle: Columns,
    fragment: Columns,
    *,
    nucleus_P: NDArray[np.bool_],
    enters_P: NDArray[np.bool_],
) -> Columns:
    """Make `truth_point`: start and end of tracks, the start of other particles and of shower fragments.

    Nuclei have none, nor has an electron or photon whose first deposit is not in the image, nor a
    fragment of fewer than `MIN_POINT_VOXELS`.
    """
    track_P = particle["semantic"] == Semantic.TRACK
    shower_P = particle["semantic"] == Semantic.SHOWER
    starts = np.flatnonzero(~nucleus_P & (track_P | (~shower_P & ~enters_P)))
    ends = np.flatnonzero(~nucleus_P & track_P)
    cut_F = fragment["is_primary"] & enters_P[fragment["particle"]]
    seen_F = (fragment["semantic"] == Semantic.SHOWER) & (fragment["num_voxels"] >= MIN_POINT_VOXELS)
    showers = np.flatnonzero(seen_F & ~cut_F)
    owner = np.concatenate([starts, ends, fragment["particle"][showers]])
    kind = np.full(len(owner), int(PointKind.START))
    kind[len(starts) : len(starts) + len(ends)] = PointKind.END
    order = np.lexsort((kind, owner))
    position = [particle["start_point"][starts], particle["end_point"][ends]]
    semantic = [particle["semantic"][starts], particle["semantic"][ends], fragment["semantic"][showers]]
    return {
        "position": np.concatenate([*position, fragment["start_point"][showers]])[order],
        "semantic": np.concatenate(semantic)[order],
        "kind": kind[order],
        "particle": owner[order],
    }


def _vertices(number_N: IntArray, family: Ancestry, trajectories: Trajectories, box: Box) -> FloatArray:
    """Return the position of each interaction: where the first of its generated particles starts."""
    generated = np.unique(family.ancestor)
    number, first = np.unique(family.interaction[generated], return_index=True)
    return box.to_voxel(trajectories.position[generated[first[rows_of(number_N, number)]]])


def _renumber(owner_V: IntArray) -> tuple[IntArray, IntArray]:
    """Return the owners that there are, sorted, and the row of each voxel's owner, NONE for NONE."""
    owner_P = np.unique(owner_V)
    owner_P = owner_P[owner_P != NONE]
    return owner_P, rows_of(owner_V, owner_P)


def _farthest(key_V: IntArray, coord_V3: IntArray, start_K3: FloatArray) -> FloatArray:
    """Return the centre of the voxel of each key (K, 3) that is farthest from the key's start."""
    used = np.flatnonzero(key_V != NONE)
    centre_V3: FloatArray = np.add(coord_V3[used], 0.5, dtype=np.float64)
    distance_V = ((centre_V3 - start_K3[key_V[used]]) ** 2).sum(axis=-1)
    order = np.lexsort((-distance_V, key_V[used]))
    _, first = np.unique(key_V[used][order], return_index=True)
    return centre_V3[order[first]]


def _count(key: IntArray, num_keys: int) -> IntArray:
    counted: IntArray = np.bincount(key[key != NONE], minlength=num_keys)
    return counted


def _sum(key_V: IntArray, energy_V: FloatArray, num_keys: int) -> FloatArray:
    used = key_V != NONE
    return np.bincount(key_V[used], energy_V[used], num_keys).astype(np.float64)
