"""What files of LArCV 2 and 3 have in common: products by producer, and voxels with the truth in them.

A cluster is the voxels of one particle, by position in both lists; a cluster behind the last particle
holds what belongs to none. Shape suffixes: I voxels of the image, R voxels of clusters, C clusters,
P particles.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lartpc.event import TRUTH, Columns
from lartpc.ingest.formats.neutrinos import of_rows
from lartpc.ingest.keys import rows_of
from lartpc.ingest.physics import kinetic_from_momentum_mev
from lartpc.ingest.processes import process_of_codes, process_of_name
from lartpc.ingest.source import Voxels
from lartpc.ingest.steps import LARGEST_ENERGY_MEV, NO_PARENT, FloatArray, IntArray
from lartpc.vocab import GHOST, NONE, CreationProcess, Semantic

PREFERRED = ("pcluster", "mcst", "corrected", "reco")
"""Producers in the order in which they are taken; others follow by name."""

CLASSES = "_semantics"
"""Ending of the producer of a tensor of voxel classes."""

INVALID = 2**32 - 1
"""kINVALID_UINT: a track id that was not set."""

SHAPE_GHOST = 5
"""kShapeGhost: the class of voxels that no deposit made."""

NEAR_VOXELS = 5.0
"""Farther from its voxels no first or last step is believed: LArCV 3 leaves unset ones undefined."""

PI_ZERO = 111
CODES = re.compile(r"(\d+)::(\d+)")
"""How edep2supera writes a process: Geant4's process type and subtype."""


@dataclass(frozen=True)
class Producers:
    """Producer of the image, of the voxel classes, of the clusters and of the particles; "" for none."""

    image: str
    classes: str
    clusters: str
    particles: str

    @property
    def truth(self) -> tuple[str, ...]:
        """Truth products that come of them."""
        if self.clusters and self.particles:
            return TRUTH
        if self.clusters:
            return ("truth_voxel", "truth_fragment", "truth_particle")
        return ("truth_voxel",) if self.classes else ()

    def __str__(self) -> str:
        used = {"sparse3d": (self.image, self.classes), "cluster3d": (self.clusters,)}
        used["particle"] = (self.particles,)
        return ", ".join(f"{kind}_{name}" for kind, names in used.items() for name in names if name)


def preferred(producers: Sequence[str]) -> str:
    """Return the first of some producers by `PREFERRED` and by name; "" for none."""
    return min(producers, key=lambda name: (_rank(name), name), default="")


def choose(sparse: Sequence[str], clusters: Sequence[str], particles: Sequence[str]) -> Producers | None:
    """Choose among the producers of a file; None if it has no 3D voxels.

    First comes a producer with both an image and clusters, then clusters whose sum is the image, then an
    image alone; among several that of `PREFERRED`, then by name. Particles are those of the same
    producer, if it has any.
    """
    images = [name for name in sparse if not any(name.startswith(f"{other}_") for other in sparse)]
    both = preferred([name for name in images if name in clusters])
    cluster = both or preferred(clusters)
    image = both or ("" if cluster else preferred(images))
    if not cluster and not image:
        return None
    classes = f"{image or cluster}{CLASSES}"
    return Producers(
        image=image,
        classes=classes if classes in sparse else "",
        clusters=cluster,
        particles=(cluster if cluster in particles else preferred(particles)) if cluster else "",
    )


@dataclass(frozen=True)
class Grid:
    """The grid of an image in units of the file: lower corner, voxel size and number of voxels, (3,) each."""

    origin: FloatArray
    pitch: FloatArray
    num: IntArray

    def to_voxel(self, position: FloatArray) -> FloatArray:
        """Turn positions (..., 3) in units of the file into voxel units."""
        with np.errstate(all="ignore"):  # absurd positions are infinite, and refused as that
            voxel: FloatArray = (position - self.origin) / self.pitch
        return voxel


@dataclass(frozen=True)
class Tensor:
    """Voxels of one kind: index (I, 3) on the grid, value (I,), and cluster (I,) where there are any."""

    coord: IntArray
    value: FloatArray
    cluster: IntArray
    num_clusters: int = 0


def cm_per_unit(pitch: float, *, stated_cm: bool = False) -> float:
    """Return the unit of length of a file [cm], which LArCV 3 does not state.

    A voxel size of 1 or more is in mm, a smaller one in cm: no LArTPC is imaged with 1 cm or with 0.1 mm.
    """
    return 1.0 if stated_cm or pitch < 1.0 else 0.1


def assemble(
    grid: Grid,
    unit_cm: float,
    *,
    image: Tensor | None,
    classes: Tensor | None,
    clusters: Tensor | None,
    particles: Columns | None,
    neutrinos: Columns | None = None,
) -> Voxels:
    """Put the products of one event together.

    The energy of a voxel of the image is shared among its clusters in the proportion of their values.
    Without an image the clusters are the image. Columns of `particles` are named as in LArCV, without
    the leading underscore; positions (P, 4) are x, y, z, t. Those of `neutrinos` are named as SPINE does.

    Raises
    ------
    ValueError
        There are more or fewer clusters than particles can have, or a value is none that a voxel has.
    """
    for name, tensor in (("image", image), ("classes", classes), ("clusters", clusters)):
        if tensor is not None and not (np.abs(tensor.value) <= LARGEST_ENERGY_MEV).all():
            row = int(np.argmin(np.abs(tensor.value) <= LARGEST_ENERGY_MEV))
            raise ValueError(f"voxel row {row} of the {name} has the value {tensor.value[row]:.6g}")
    coord, energy, cluster = _share(image, clusters)
    truth: dict[str, Columns] = {}
    num = 0 if particles is None else len(particles["pdg"])
    known = clusters is not None and particles is not None
    if known and clusters is not None and not num <= clusters.num_clusters <= num + 1:
        raise ValueError(
            f"{clusters.num_clusters} clusters, but {num} particles; there must be one for each, and may "
            "be one more"
        )
    owner = np.where(cluster < num, cluster, NONE) if known else cluster
    if classes is not None:
        semantic = _look_up(coord, classes)
        if known and particles is not None:
            shape_P = np.append(_class(particles["shape"]), NONE)
            owner = _settle(coord, energy, owner, shape_P[owner] == semantic)
    elif known and particles is not None:
        shape_P = np.append(_class(particles["shape"]), NONE)
        semantic = np.where((cluster != NONE) & (owner == NONE), int(Semantic.LOW_ENERGY), shape_P[owner])
    else:
        semantic = np.full(len(coord), NONE, np.int64)
    if known and particles is not None:
        own = _near(grid, particles, coord, owner)
        leader_P = _leaders(particles)
        table, vertices = _table(particles)
        truth["truth_particle"] = table | own
        truth["truth_interaction"] = {"vertex": grid.to_voxel(vertices)}
        owner = np.append(leader_P, NONE)[owner]
    if clusters is not None:
        truth["truth_voxel"] = {"semantic": semantic, "particle": owner}
    elif classes is not None:
        truth["truth_voxel"] = {"semantic": semantic}
    if neutrinos is not None:
        vertices_cm = vertices * unit_cm if known and particles is not None else np.zeros((0, 3))
        position_cm = neutrinos["position"] * unit_cm
        truth["truth_neutrino"] = of_rows(neutrinos, position_cm, vertices_cm)
    x, y, z = (grid.origin * unit_cm).tolist()
    return Voxels(coord=coord, energy=energy, origin_cm=(x, y, z), truth=truth)


def _rank(name: str) -> int:
    return PREFERRED.index(name) if name in PREFERRED else len(PREFERRED)


def _class(value: NDArray[np.generic]) -> IntArray:
    """Return LArCV's shapes of particles as classes: the first five are ours, ghost and unknown are none."""
    shape = np.asarray(value).astype(np.int64)
    return np.where((shape >= 0) & (shape < len(Semantic)), shape, NONE)


def _keys(*coords: IntArray) -> list[IntArray]:
    """Give voxels (I, 3) numbers; equal voxels have equal ones."""
    together = np.concatenate([np.zeros((1, 3), np.int64), *coords])
    low_3 = together.min(axis=0)
    span_3 = together.max(axis=0) - low_3 + 1
    return [np.ravel_multi_index(tuple((coord - low_3).T), span_3).astype(np.int64) for coord in coords]


def _share(image: Tensor | None, clusters: Tensor | None) -> tuple[IntArray, FloatArray, IntArray]:
    """Return voxel (R, 3), energy (R,) and cluster (R,) of the image's voxels, cut up by clusters."""
    if image is None:
        assert clusters is not None, "neither image nor clusters"
        return clusters.coord, clusters.value, clusters.cluster
    if clusters is None:
        return image.coord, image.value, np.full(len(image.coord), NONE, np.int64)
    key_I, key_R = _keys(image.coord, clusters.coord)
    order = np.argsort(key_I, kind="stable")
    row_R = rows_of(key_R, key_I[order])
    used = np.flatnonzero(row_R != NONE)
    row = order[row_R[used]]
    value = clusters.value[used]
    count_I = np.bincount(row, minlength=len(key_I))
    total_I = np.bincount(row, value, len(key_I))
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(total_I[row] > 0, value / total_I[row], 1.0 / count_I[row])
    rest = np.flatnonzero(count_I == 0)
    return (
        np.concatenate([image.coord[row], image.coord[rest]]),
        np.concatenate([image.value[row] * part, image.value[rest]]),
        np.concatenate([clusters.cluster[used], np.full(len(rest), NONE)]),
    )


def _look_up(coord: IntArray, classes: Tensor) -> IntArray:
    """Return the class of voxels, NONE where there is none."""
    key, key_I = _keys(coord, classes.coord)
    order = np.argsort(key_I, kind="stable")
    row = rows_of(key, key_I[order])
    class_I = np.where(classes.value[order] == SHAPE_GHOST, GHOST, _class(classes.value[order]))
    return np.append(class_I, NONE)[row]


def _settle(coord: IntArray, energy: FloatArray, owner: IntArray, fits: NDArray[np.bool_]) -> IntArray:
    """Give all rows of a voxel one owner: of those whose shape is the voxel's class the one with most energy."""
    (key,) = _keys(coord)
    order = np.lexsort((-energy, ~fits, key))
    _, first, voxel = np.unique(key[order], return_index=True, return_inverse=True)
    settled = np.empty_like(owner)
    settled[order] = owner[order][first][voxel]
    return settled


def _near(grid: Grid, particles: Columns, coord: IntArray, owner: IntArray) -> Columns:
    """Return start and end (P, 3) in voxel units, nan where none is near the voxels of the particle."""
    used = np.flatnonzero(owner != NONE)
    row = owner[used]
    centre: FloatArray = np.add(coord[used], 0.5, dtype=np.float64)
    ends: Columns = {}
    for name, choices in (("start_point", ("first_step", "vtx")), ("end_point", ("last_step", "end_pt"))):
        found_P3 = np.full((len(particles["pdg"]), 3), np.nan)
        for choice in choices:
            position_P3 = grid.to_voxel(particles[choice][:, :3])
            distance_P = np.full(len(found_P3), np.inf)
            with np.errstate(invalid="ignore", over="ignore"):
                distance = np.abs(centre - position_P3[row]).max(axis=-1, initial=0.0)
            np.minimum.at(distance_P, row, np.nan_to_num(distance, nan=np.inf))
            take_P = np.isnan(found_P3[:, 0]) & (distance_P <= NEAR_VOXELS)
            found_P3[take_P] = position_P3[take_P]
        ends[name] = found_P3
    return ends


def _leaders(particles: Columns) -> IntArray:
    """Return the row of the particle that each is grouped under (P,), itself where nothing is said."""
    own_P = np.arange(len(particles["pdg"]))
    if "group_id" not in particles:
        return own_P
    id_P, group_P = particles["id"].astype(np.int64), particles["group_id"].astype(np.int64)
    order = np.argsort(id_P, kind="stable")
    row_P = rows_of(group_P, id_P[order])
    return np.where(row_P == NONE, own_P, order[row_P])


def _table(particles: Columns) -> tuple[Columns, FloatArray]:
    """Return the particles in our columns, without points, and the vertices of their interactions (N, 3)."""
    track_P, parent_P = (particles[name].astype(np.int64) for name in ("trackid", "parent_trackid"))
    process_P = _processes(particles["process"], parent_P)
    momentum_P3 = np.stack([particles[name] for name in ("px", "py", "pz")], axis=-1).astype(np.float64)
    generated_P = (process_P == CreationProcess.PRIMARY) | (parent_P == INVALID) | (parent_P == track_P)
    ancestor_P = particles["ancestor_trackid"].astype(np.int64)
    of_pi_zero_P = (
        (particles["parent_pdg"] == PI_ZERO) & (parent_P == ancestor_P) & (process_P == CreationProcess.DECAY)
    )
    interaction_P, vertices = _interactions(particles, generated_P, track_P, ancestor_P)
    return {
        "track_id": track_P,
        "parent_track_id": np.where(generated_P, NO_PARENT, parent_P),
        "pdg": particles["pdg"].astype(np.int64),
        "semantic": _class(particles["shape"]),
        "process": process_P,
        "interaction": interaction_P,
        "is_primary": (generated_P | of_pi_zero_P).astype(np.int64),
        # not the file's `energy_init`: some programs fill it with the total energy and some with the kinetic one
        "energy_init": kinetic_from_momentum_mev(particles["pdg"], momentum_P3),
        "momentum": momentum_P3,
        "time": particles["vtx"][:, 3].astype(np.float64),
    }, vertices


def _interactions(
    particles: Columns, generated_P: NDArray[np.bool_], track_P: IntArray, ancestor_P: IntArray
) -> tuple[IntArray, FloatArray]:
    """Return the interaction of each particle (P,), NONE for unknown, and their vertices (N, 3).

    By the interaction ids of the file, where it has them; else particles with the same vertex of the
    generated ancestor belong together.
    """
    order = np.argsort(track_P, kind="stable")
    row_P = rows_of(ancestor_P, track_P[order])
    of_row_P = np.where(row_P == NONE, NONE, order[row_P])
    vertex_P4 = np.where(
        generated_P[:, None],
        particles["vtx"],
        np.where((of_row_P != NONE)[:, None], particles["vtx"][of_row_P], particles["ancestor_vtx"]),
    ).astype(np.float64)
    known_P = (generated_P | (ancestor_P != INVALID)) & np.isfinite(vertex_P4).all(axis=-1)
    if "interaction_id" in particles:
        key_P = particles["interaction_id"].astype(np.float64)[:, None]
        known_P = (key_P[:, 0] >= 0) & (key_P[:, 0] < 2**16 - 1)
    else:
        key_P = vertex_P4
    _, first, number = np.unique(key_P[known_P], axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # in the order of the particles
    interaction_P = np.full(len(track_P), NONE, np.int64)
    interaction_P[known_P] = np.argsort(order)[number.reshape(-1)]
    return interaction_P, vertex_P4[known_P][first[order]][:, :3]


def _processes(names: NDArray[np.generic], parent_P: IntArray) -> IntArray:
    found, index = np.unique(names, return_inverse=True)
    codes = []
    for name in found.tolist():
        # LArCV 3 leaves garbage behind the end of the text
        text = name.partition(b"\0")[0].decode(errors="replace") if isinstance(name, bytes) else str(name)
        if numbers := CODES.fullmatch(text):
            codes.append(int(process_of_codes([int(numbers[1])], [int(numbers[2])], [1])[0]))
        else:
            codes.append(int(process_of_name(text)))
    return np.where(
        parent_P == INVALID, int(CreationProcess.PRIMARY), np.array(codes, np.int64)[index.reshape(-1)]
    )


def split_names(names: Mapping[str, object] | Sequence[str], ending: str) -> dict[str, list[str]]:
    """Sort the names of products, `<kind>_<producer><ending>`, into producers by kind."""
    kinds = ("sparse3d", "cluster3d", "particle", "neutrino", "image2d", "sparse2d", "cluster2d")
    found: dict[str, list[str]] = {kind: [] for kind in kinds}
    for name in names:
        kind, _, producer = name.partition("_")
        if kind in found and producer.endswith(ending):
            found[kind].append(producer.removesuffix(ending))
    return found
