"""Tables of true fragments, particles, interactions and points from labelled voxels.

Shape suffixes: V voxels, D deposits, I deposits in the image, S steps, T trajectories, P particles,
F fragments, N interactions, K keys (particles or fragments).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lartpc.config import Ingest
from lartpc.event import Columns
from lartpc.geometry import Box
from lartpc.ingest.keys import number_rows, order_of_values, rows_of
from lartpc.ingest.labels.connect import pieces
from lartpc.ingest.labels.roles import Ancestry, Role
from lartpc.ingest.steps import NO_PARENT, FloatArray, IntArray, Steps, Trajectories
from lartpc.ingest.voxelize import Image
from lartpc.vocab import NONE, PDG_TO_SPECIES, PointKind, Semantic

VOXEL_MARGIN = 1e-3
"""Points are kept this far from the faces of their voxel, so that rounding cannot move them out."""

ROLE_TO_SEMANTIC = np.full(len(Role), NONE, np.int64)
ROLE_TO_SEMANTIC[[Role.TRACK, Role.NUCLEUS]] = Semantic.TRACK
ROLE_TO_SEMANTIC[Role.SHOWER] = Semantic.SHOWER
ROLE_TO_SEMANTIC[Role.MICHEL] = Semantic.MICHEL
ROLE_TO_SEMANTIC[Role.DELTA] = Semantic.DELTA


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
    """The imaged deposits (I,): rows of the deposits, their voxels, and their places in time.

    `at_time` (D,) is the deposit at each place in time; all deposits have one.
    """

    image: Image
    row_I: IntArray
    voxel_I: IntArray
    time_I: IntArray
    at_time: IntArray

    def ends(self, key_I: IntArray, num_keys: int) -> tuple[FloatArray, FloatArray, IntArray]:
        """Return for each key its first entry, its last exit (K, 3), and when its first deposit comes.

        Deposits of key NONE are left out; every key must have a deposit. Ends are held within their
        voxel; they are in voxel units.
        """
        used = key_I != NONE
        time_K = _first(key_I[used], self.time_I[used], num_keys)
        last_K = np.full(num_keys, NONE, np.int64)
        np.maximum.at(last_K, key_I[used], self.time_I[used])
        deposits = self.image.deposits
        first, last = self.at_time[time_K], self.at_time[last_K]
        return (
            self._held(first, deposits.pieces.points(first, deposits.pieces.begin[first])),
            self._held(last, deposits.pieces.points(last, deposits.pieces.end[last])),
            time_K,
        )

    def _held(self, row: IntArray, position: FloatArray) -> FloatArray:
        low = self.image.coord[self.image.deposits.voxel[row]] + VOXEL_MARGIN
        held: FloatArray = np.clip(position, low, low + (1 - 2 * VOXEL_MARGIN))
        return held


def tables(
    labelled: Labelled, steps: Steps, image: Image, family: Ancestry, box: Box, cfg: Ingest
) -> dict[str, Columns]:
    """Make the products of `event.TRUTH` from the labels of one event."""
    trajectories = steps.trajectories
    assert trajectories is not None
    path, time_D = _path(steps, image)
    track_I, class_I = labelled.track_D[path.row_I], labelled.class_D[path.row_I]
    semantic_V = labelled.semantic_V
    owner_P, particle_V = number_rows(labelled.owner_V, len(family.root))
    interaction_id_P = family.interaction[owner_P]
    number_N, interaction_P = np.unique(interaction_id_P, return_inverse=True)
    interaction_V = np.append(interaction_P, NONE)[particle_V]
    semantic_P = _particle_class(family.role[owner_P], particle_V, semantic_V)

    particle_T = np.full(len(family.root) + 1, NONE, np.int64)
    particle_T[owner_P] = np.arange(len(owner_P))
    root_particle_T = particle_T[family.root]
    particle_I = particle_T[labelled.owner_D[path.row_I]]
    own_I = (root_particle_T[track_I] == particle_I) & (class_I == np.append(semantic_P, NONE)[particle_I])
    start_P3, exit_P3, _ = path.ends(np.where(own_I, particle_I, NONE), len(owner_P))
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
        path, class_I, particle_I, particle_V, semantic_V, interaction_P, image, cfg.touch_distance
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
            enters_P=~image.deposits.inside[
                path.at_time[_first(root_particle_T[labelled.track_D], time_D, len(owner_P))]
            ],
            min_voxels=cfg.point_min_voxels,
        ),
    }


def _path(steps: Steps, image: Image) -> tuple[_Path, IntArray]:
    """Return the imaged deposits, and the place in time of each deposit (D,)."""
    step_D = image.deposits.step
    count_S = np.bincount(step_D, minlength=len(steps))
    order_S = order_of_values(steps.time)
    place_S = np.empty(len(steps), np.int64)
    place_S[order_S] = np.cumsum(count_S[order_S]) - count_S[order_S]
    time_D = np.arange(len(step_D)) + (place_S - (np.cumsum(count_S) - count_S))[step_D]
    at_time = np.empty(len(step_D), np.int64)
    at_time[time_D] = np.arange(len(step_D))
    row_I = np.flatnonzero(image.deposits.voxel != NONE)
    return _Path(image, row_I, image.deposits.voxel[row_I], time_D[row_I], at_time), time_D


def _fragments(
    path: _Path,
    class_I: IntArray,
    particle_I: IntArray,
    particle_V: IntArray,
    semantic_V: IntArray,
    interaction_P: IntArray,
    image: Image,
    touch_distance: int,
) -> tuple[IntArray, Columns]:
    """Cut the voxels of each particle and class into connected pieces, numbered by particle."""
    group_V = np.where(particle_V == NONE, NONE, particle_V * len(Semantic) + semantic_V)
    fragment_V = pieces(group_V, image.coord, touch_distance)
    # pieces are numbered by group, so by particle; any voxel tells whose they are
    voxel_F = np.empty(int(fragment_V.max(initial=NONE)) + 1, np.int64)
    voxel_F[fragment_V[fragment_V != NONE]] = np.flatnonzero(fragment_V != NONE)
    particle_F, semantic_F = particle_V[voxel_F], semantic_V[voxel_F]
    wins_I = (particle_I == particle_V[path.voxel_I]) & (class_I == semantic_V[path.voxel_I])
    start_F3, exit_F3, time_F = path.ends(np.where(wins_I, fragment_V[path.voxel_I], NONE), len(voxel_F))
    earliest_P = _first(particle_F, time_F, len(interaction_P))
    return fragment_V, {
        "semantic": semantic_F,
        "particle": particle_F,
        "interaction": interaction_P[particle_F],
        "is_primary": time_F == earliest_P[particle_F],
        "num_voxels": _count(fragment_V, len(voxel_F)),
        "energy": _sum(fragment_V, image.energy, len(voxel_F)),
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
    wanted_P = ROLE_TO_SEMANTIC[role_P]
    matches_V = semantic_V == np.append(wanted_P, NONE)[particle_V]
    present_P = _count(particle_V[matches_V], len(role_P)) > 0
    return np.where(present_P, wanted_P, int(Semantic.SHOWER))


def ends(
    particle: Columns,
    fragment: Columns,
    *,
    nucleus_P: NDArray[np.bool_],
    enters_P: NDArray[np.bool_],
    min_voxels: int,
) -> Columns:
    """Make `truth_point`: start and end of tracks, the start of other particles and of shower fragments.

    Nuclei have none, nor has an electron or photon whose first deposit is not in the image, nor a
    fragment of fewer than `min_voxels`.
    """
    track_P = particle["semantic"] == Semantic.TRACK
    shower_P = particle["semantic"] == Semantic.SHOWER
    starts = np.flatnonzero(~nucleus_P & (track_P | (~shower_P & ~enters_P)))
    ends = np.flatnonzero(~nucleus_P & track_P)
    cut_F = fragment["is_primary"] & enters_P[fragment["particle"]]
    seen_F = (fragment["semantic"] == Semantic.SHOWER) & (fragment["num_voxels"] >= min_voxels)
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
    generated = np.flatnonzero(np.bincount(family.ancestor, minlength=len(family.ancestor)))
    number, first = np.unique(family.interaction[generated], return_index=True)
    return box.to_voxel(trajectories.position[generated[first[rows_of(number_N, number)]]])


def _farthest(key_V: IntArray, coord_V3: IntArray, start_K3: FloatArray) -> FloatArray:
    """Return the centre of the voxel of each key (K, 3) that is farthest from the key's start."""
    used = np.flatnonzero(key_V != NONE)
    key_U = key_V[used]
    offset_U3 = np.take(coord_V3, used, axis=0) + 0.5 - np.take(start_K3, key_U, axis=0)
    distance_U = offset_U3[:, 0] ** 2 + offset_U3[:, 1] ** 2 + offset_U3[:, 2] ** 2
    farthest_K = np.zeros(len(start_K3))
    np.maximum.at(farthest_K, key_U, distance_U)
    farthest = np.flatnonzero(distance_U == farthest_K[key_U])
    voxel_K = _first(key_U[farthest], used[farthest], len(start_K3))
    centre_K3: FloatArray = np.add(coord_V3[voxel_K], 0.5, dtype=np.float64)
    return centre_K3


def _first(key: IntArray, value: IntArray, num_keys: int) -> IntArray:
    """Return the least value of each key (K,); keys NONE are left out, and every key must have one."""
    nothing = np.iinfo(np.int64).max
    first_K = np.full(num_keys + 1, nothing)  # the last one is for NONE
    np.minimum.at(first_K, key, value)
    assert (first_K[:-1] != nothing).all(), "an object without deposits"
    return first_K[:-1]


def _count(key: IntArray, num_keys: int) -> IntArray:
    counted: IntArray = np.bincount(key + 1, minlength=num_keys + 1)[1:]  # NONE is -1
    return counted


def _sum(key_V: IntArray, energy_V: FloatArray, num_keys: int) -> FloatArray:
    return np.bincount(key_V + 1, energy_V, num_keys + 1)[1:].astype(np.float64)
