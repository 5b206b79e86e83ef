"""The truth that a source of voxels brings, made complete and true of the voxels that are left.

A source knows a part: which voxels belong together, and something about the particles. The box and the
threshold may take voxels away, and voxels that occur twice become one. Numbers of voxels and energies are
therefore counted here, objects without voxels are left out, and what nobody knows is nan or -1.

Shape suffixes: R rows of the source, V voxels, F fragments, P particles, J objects of one kind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.config import Ingest
from lartpc.event import GENERATED, PRODUCTS, Columns, empty
from lartpc.geometry import Box
from lartpc.ingest.labels.connect import pieces
from lartpc.ingest.labels.roles import FIRST_NUCLEUS
from lartpc.ingest.labels.truth import ends
from lartpc.ingest.source import Voxels
from lartpc.ingest.steps import FloatArray, IntArray
from lartpc.ingest.voxelize import Image, shift
from lartpc.truth import majority
from lartpc.vocab import GHOST, NONE, PDG_TO_SPECIES, Semantic

UNKNOWN = {"track_id": NONE, "parent_track_id": NONE, "is_primary": NONE, "num_primaries": NONE}
"""What stands in columns where 0 would say something. In others it is nan, or the column's `none`."""

POSITIONS = ("start_point", "end_point", "vertex", "position")
"""Columns in voxel units; `truth_neutrino` is in cm."""


def carry(voxels: Voxels, image: Image, products: Sequence[str], box: Box, cfg: Ingest) -> dict[str, Columns]:
    """Make the truth products of an event from what its source knows; see `Voxels.truth`.

    A voxel that occurs several times takes the class that stands first in `cfg.precedence`, and of that
    class the particle with most energy. Low-energy voxels and ghosts belong to nothing. Where the source has
    particles, but no fragments, these are the connected pieces of the voxels of one particle and class;
    where it promises `truth_point` and gives none, they are start and end of tracks, and the starts of
    Michels, deltas and shower fragments, as for our own labels.

    Parameters
    ----------
    image
        The voxels laid into the box; see `voxelize.place`.
    products
        Products to make, of `event.TRUTH`.

    Raises
    ------
    ValueError
        A class is unknown, or an index points to no row.
    """
    if not products:
        return {}
    given = {
        name: columns if name in GENERATED else _moved(columns, shift(voxels, box))
        for name in products
        for columns in [voxels.truth.get(name, {})]
    }
    label_V = _labels(given["truth_voxel"], image, cfg)
    table_P = given.get("truth_particle", {})
    if "interaction" in table_P and "interaction" not in given["truth_voxel"]:
        label_V["interaction"] = np.append(table_P["interaction"], NONE)[label_V["particle"]].astype(np.int64)
    particles = _keep("particle", label_V["particle"], table_P)
    interactions = _keep("interaction", label_V["interaction"], given.get("truth_interaction", {}))
    if "fragment" not in given["truth_voxel"]:
        label_V["fragment"] = _pieces(particles.row_V, label_V["semantic"], image, cfg.touch_distance)
    fragments = _keep("fragment", label_V["fragment"], given.get("truth_fragment", {}))

    columns_P = _particles(particles, interactions, label_V["semantic"], image)
    columns_F = _fragments(fragments, particles.row_V, columns_P, label_V["semantic"], image)
    made = {
        "truth_voxel": {
            "semantic": label_V["semantic"],
            "fragment": fragments.row_V,
            "particle": particles.row_V,
            "interaction": interactions.row_V,
        },
        "truth_fragment": columns_F,
        "truth_particle": columns_P,
        "truth_interaction": _interactions(interactions, columns_P, image),
        "truth_point": _points(given.get("truth_point", {}), particles, columns_P, columns_F, box, cfg),
    }
    if "truth_neutrino" in products:
        neutrino = given["truth_neutrino"]
        num = len(next(iter(neutrino.values()))) if neutrino else 0
        row = np.asarray(neutrino.get("interaction", np.full(num, NONE)), np.int64)
        columns = neutrino | {"interaction": interactions.row_of[row]}
        made["truth_neutrino"] = empty("truth_neutrino", num) | columns
    return {name: made[name] for name in products}


@dataclass(frozen=True)
class _Objects:
    """The objects of one kind that have voxels.

    `row_V` is the object of each voxel, `columns` what the source says of the objects (J,), `row_of` the
    object that a row of the source's table has become, NONE for none; its last element is that of NONE.
    """

    row_V: IntArray
    columns: Columns
    row_of: IntArray

    @property
    def num(self) -> int:
        return int(self.row_V.max(initial=NONE)) + 1


def _moved(table: Mapping[str, Any], offset_3: IntArray) -> Columns:
    """Return the table with its positions in voxel units of the box."""
    return {
        name: np.asarray(value, np.float64) + offset_3 if name in POSITIONS else np.asarray(value)
        for name, value in table.items()
    }


def _labels(given_R: Columns, image: Image, cfg: Ingest) -> Columns:
    """Choose for each voxel the row of the source that labels it; indices are rows of the source."""
    num_rows = len(image.deposits.voxel)
    label_R = {
        name: np.asarray(given_R.get(name, np.full(num_rows, NONE)), np.int64)
        for name in PRODUCTS["truth_voxel"].columns
    }
    semantic_R = label_R["semantic"]
    if (wrong := (semantic_R < GHOST) | (semantic_R >= len(Semantic))).any():
        raise ValueError(
            f"{semantic_R[wrong][0]} is not a voxel class; those are {GHOST} to {len(Semantic) - 1}"
        )
    row = np.flatnonzero(image.deposits.voxel != NONE)
    if len(row) > len(image.energy):
        row = _strongest(row, semantic_R, label_R["particle"], image, cfg)
    chosen_V = np.empty(len(row), np.int64)
    chosen_V[image.deposits.voxel[row]] = row
    label_V = {name: value[chosen_V] for name, value in label_R.items()}
    nobody_V = np.isin(label_V["semantic"], (Semantic.LOW_ENERGY, GHOST))
    for name in ("fragment", "particle", "interaction"):
        label_V[name] = np.where(nobody_V, NONE, label_V[name])
    return label_V


def _strongest(row: IntArray, semantic_R: IntArray, owner_R: IntArray, image: Image, cfg: Ingest) -> IntArray:
    """Return of the rows of each voxel one of its strongest class, and there of the largest owner."""
    # Behind all classes: ghosts, and voxels of no class.
    rank = np.append(np.argsort(cfg.precedence), [len(Semantic), len(Semantic) + 1])[semantic_R[row]]
    owner = owner_R[row]
    order = np.lexsort((owner, rank, image.deposits.voxel[row]))
    row, rank, owner = row[order], rank[order], owner[order]
    voxel = image.deposits.voxel[row]
    changes = np.flatnonzero(
        np.diff(voxel, prepend=NONE) | np.diff(rank, prepend=NONE) | np.diff(owner, prepend=NONE - 1)
    )
    energy = np.add.reduceat(image.deposits.energy[row], changes) if len(row) else np.zeros(0)
    best = np.lexsort((-energy, rank[changes], voxel[changes]))
    _, first = np.unique(voxel[changes][best], return_index=True)
    return row[changes[best[first]]]


def _keep(kind: str, label_V: IntArray, table: Columns) -> _Objects:
    """Keep the rows of a table that have voxels; without a table there are as many as there are labels."""
    largest = int(label_V.max(initial=NONE))
    num = len(next(iter(table.values()))) if table else largest + 1
    if largest >= num or label_V.min(initial=NONE) < NONE:
        raise ValueError(f"a voxel belongs to {kind} {largest}, but there are {num} of them")
    kept = np.unique(label_V[label_V != NONE])
    row_of = np.full(num + 1, NONE, np.int64)
    row_of[kept] = np.arange(len(kept))
    return _Objects(row_of[label_V], {name: value[kept] for name, value in table.items()}, row_of)


def _pieces(particle_V: IntArray, semantic_V: IntArray, image: Image, touch_distance: int) -> IntArray:
    """Return the connected piece of each voxel among those of its particle and class, NONE for none."""
    group_V = np.where(particle_V == NONE, NONE, particle_V * (len(Semantic) + 1) + semantic_V + 1)
    return pieces(group_V, image.coord, touch_distance)


def _particles(found: _Objects, interactions: _Objects, semantic_V: IntArray, image: Image) -> Columns:
    given = dict(found.columns)
    if "interaction" in given:
        given["interaction"] = interactions.row_of[given["interaction"].astype(np.int64)]
    else:
        given["interaction"] = majority(found.row_V, interactions.row_V, found.num, 0.0)
    if "pdg" in given and "species" not in given:
        given["species"] = np.array([PDG_TO_SPECIES.get(int(pdg), NONE) for pdg in given["pdg"]], np.int64)
    given.setdefault("semantic", majority(found.row_V, semantic_V, found.num, 0.0))
    return _complete("truth_particle", given | _sums(found, image), found.num)


def _fragments(
    found: _Objects, particle_V: IntArray, columns_P: Columns, semantic_V: IntArray, image: Image
) -> Columns:
    """Describe fragments; where the source does not say it, the one nearest to the start is primary."""
    particle_F = majority(found.row_V, particle_V, found.num, 0.0)
    used = np.flatnonzero((found.row_V != NONE) & (particle_V != NONE))
    fragment, particle = found.row_V[used], particle_V[used]
    centre: FloatArray = np.add(image.coord[used], 0.5, dtype=np.float64)
    distance = np.linalg.norm(centre - columns_P["start_point"][particle], axis=-1)
    start_F3 = np.full((found.num, 3), np.nan)
    nearest = _least(fragment, distance)
    start_F3[fragment[nearest]] = np.where(np.isnan(distance[nearest])[:, None], np.nan, centre[nearest])
    end_F3 = np.full((found.num, 3), np.nan)
    length = np.linalg.norm(centre - start_F3[fragment], axis=-1)
    farthest = _least(fragment, -length)
    end_F3[fragment[farthest]] = np.where(np.isnan(length[farthest])[:, None], np.nan, centre[farthest])

    # without a known start only the fragment of a particle in one piece is known to be primary
    primary_F = np.full(found.num, NONE, np.int64)
    known_F = (particle_F != NONE) & np.isfinite(
        np.append(columns_P["start_point"][:, 0], np.nan)[particle_F]
    )
    alone_F = (particle_F != NONE) & (np.bincount(particle_F + 1)[particle_F + 1] == 1)
    primary_F[known_F] = 0
    first = _least(particle, distance)
    primary_F[fragment[first][known_F[fragment[first]]]] = 1
    primary_F[alone_F] = 1
    guessed = {
        "semantic": majority(found.row_V, semantic_V, found.num, 0.0),
        "is_primary": primary_F,
        "start_point": start_F3,
        "end_point": end_F3,
    }
    owners = {
        "particle": particle_F,
        "interaction": np.append(columns_P["interaction"], NONE)[particle_F],
    }
    return _complete("truth_fragment", guessed | found.columns | owners | _sums(found, image), found.num)


def _interactions(found: _Objects, columns_P: Columns, image: Image) -> Columns:
    owner_P, primary_P = columns_P["interaction"].astype(np.int64), columns_P["is_primary"]
    made = {"num_particles": np.bincount(owner_P[owner_P != NONE], minlength=found.num)}
    if (primary_P != NONE).all():
        made["num_primaries"] = np.bincount(
            owner_P[(owner_P != NONE) & (primary_P == 1)], minlength=found.num
        )
    return _complete("truth_interaction", found.columns | made | _sums(found, image), found.num)


def _points(
    given: Columns, particles: _Objects, columns_P: Columns, columns_F: Columns, box: Box, cfg: Ingest
) -> Columns:
    """Return the source's points, or those at the ends of particles and fragments; none outside the box."""
    if given:
        particle = given.get("particle", np.full(len(given["position"]), NONE)).astype(np.int64)
        table = given | {"particle": particles.row_of[particle]}
        kept = (particle == NONE) | (table["particle"] != NONE)
        table.setdefault("semantic", np.append(columns_P["semantic"], NONE)[table["particle"]])
    else:
        nucleus_P = np.abs(columns_P["pdg"]) >= FIRST_NUCLEUS
        owned_F = columns_F["particle"] != NONE
        fragment = {name: value[owned_F] for name, value in columns_F.items()}
        fragment["is_primary"] = fragment["is_primary"] == 1
        table = ends(
            columns_P,
            fragment,
            nucleus_P=nucleus_P,
            enters_P=np.zeros(particles.num, bool),
            min_voxels=cfg.point_min_voxels,
        )
        kept = np.ones(len(table["kind"]), bool)
    kept &= box.contains(table["position"])
    return {name: value[kept] for name, value in table.items()}


def _sums(found: _Objects, image: Image) -> Columns:
    used = found.row_V != NONE
    row = found.row_V[used]
    return {
        "num_voxels": np.bincount(row, minlength=found.num),
        "energy": np.bincount(row, image.energy[used], found.num),
    }


def _complete(product: str, columns: Mapping[str, NDArray[Any]], num: int) -> Columns:
    """Return all columns of a product; nobody knows those that are not given."""
    expected = PRODUCTS[product].columns
    made: Columns = {}
    for name, column in expected.items():
        if name in columns:
            made[name] = columns[name]
        else:
            unknown = np.nan if column.dtype.startswith("f") else UNKNOWN.get(name, column.none)
            made[name] = np.full((num, *column.shape), unknown, column.dtype)
    return made


def _least(key: IntArray, value: FloatArray) -> IntArray:
    """Return for each key that occurs the row of its least value, nan being the largest."""
    order = np.lexsort((value, key))
    return order[np.unique(key[order], return_index=True)[1]]
