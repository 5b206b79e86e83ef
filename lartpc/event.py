"""THE contract: every product of an event, with its columns, their dtype, shape, unit and meaning.

Positions are in voxel units of the image's box (`geometry.Box`), energies in MeV, times in ns. An event
here is one image: in 3D an event of the source, in 2D its view by one plane of wires, whose voxels are
pixels in a box one layer thick (docs/projections.md).
The tables at the end of the chain are in cm. An index column (`particle`, `fragment`, ...) is the
row of that product in the same event, or `vocab.NONE`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.geometry import Box
from lartpc.vocab import (
    NONE,
    CreationProcess,
    Current,
    Flavour,
    InteractionMode,
    PointKind,
    Semantic,
    Species,
)

SCHEMA_VERSION = "1.5"
"""Major: readers must change. Minor: something was added. History: 1.0, 2026-11, first version;
1.1, 2026-11, `event.energy_lost_mev`; 1.2, 2026-11, kaons; orientation, parents and π⁰ in `identity`, flavour and
counts in `interaction`; `event.plane` and flat boxes; 1.3, 2026-11, `semantic.uncertainty`,
`semantic.ghost_score`, ghosts; 1.4, 2026-11, digests of all columns and a seal on the attributes; 1.5, 2026-11,
`truth_neutrino`, `truth_primary`."""

MAX_COUNT = 3
"""Largest number of protons, pions and π⁰ that is told apart; it stands for more, too (arXiv:2006.15052)."""

Columns = dict[str, NDArray[Any]]
"""The columns of one product of one event, all of the same length."""


@dataclass(frozen=True)
class Column:
    """One column: numpy dtype, unit, meaning, shape of a row, enumeration and value for "none".

    Not `packed` are the outputs of a network per voxel, whose last bits are noise: packing would save a
    seventh of their size and cost a seventh of the network's time.
    """

    dtype: str
    unit: str
    description: str
    shape: tuple[int, ...] = ()
    codes: type[IntEnum] | None = None
    none: float = 0
    packed: bool = True


@dataclass(frozen=True)
class Product:
    """One product: what a row is, its columns, and the product it is aligned with row by row."""

    row: str
    columns: Mapping[str, Column]
    per: str | None = None


def _scalar(dtype: str, unit: str, description: str) -> Column:
    return Column(dtype, unit, description)


def _index(of: str) -> Column:
    return Column("i4", "", f"row of the {of} in this event; -1: none", none=NONE)


def _code(codes: type[IntEnum], description: str) -> Column:
    return Column("i1", "", description, codes=codes, none=NONE)


def _vector(unit: str, description: str) -> Column:
    return Column("f4", unit, description, shape=(3,))


def _pdg(description: str) -> Column:
    return Column("i4", "", f"{description}; 0: not known")


def _record(unit: str, description: str) -> Column:
    return Column("f8", unit, f"{description}; nan: not known", none=nan)


_NUM_VOXELS = _scalar("i4", "", "number of voxels")
_ENERGY = _scalar("f4", "MeV", "deposited energy, summed over the voxels")
_SEMANTIC = _code(Semantic, "voxel class")
_VOXEL_CLASS = "; -1: none, -2: a ghost, which no deposit made"
_START = _vector("voxel", "start point")
_END = _vector("voxel", "end point; of a shower, the voxel farthest from its start")

PRODUCTS: dict[str, Product] = {
    # -- written by ingest ---------------------------------------------------------------------
    "event": Product(
        "the event (one row)",
        {
            "run": _scalar("i8", "", "run number in the source, 0 where it has none"),
            "subrun": _scalar("i8", "", "subrun number in the source, 0 where it has none"),
            "event": _scalar("i8", "", "event number in the source; it may repeat"),
            "plane": Column("i4", "", "plane of wires that the image is seen by; -1: a 3D image", none=NONE),
            "num_steps": _scalar("i8", "", "energy-depositing steps, or voxels, read from the source"),
            "energy_mev": _scalar("f8", "MeV", "energy of all steps, or voxels, of the source"),
            "energy_outside_mev": _scalar("f8", "MeV", "of it, energy outside the imaged box"),
            "energy_below_mev": _scalar("f8", "MeV", "of it, energy in voxels below the threshold"),
            "energy_lost_mev": _scalar(
                "f8", "MeV", "of it, what the detector's response takes away; negative: it adds"
            ),
        },
    ),
    "voxel": Product(
        "a voxel with energy, sorted by coordinate (x slowest)",
        {
            "coord": Column("i4", "voxel", "voxel indices x, y, z", shape=(3,)),
            "energy": _scalar("f4", "MeV", "deposited energy"),
        },
    ),
    "truth_voxel": Product(
        "true labels of a voxel",
        {
            "semantic": _code(Semantic, f"voxel class{_VOXEL_CLASS}"),
            "fragment": _index("truth_fragment"),
            "particle": _index("truth_particle"),
            "interaction": _index("truth_interaction"),
        },
        per="voxel",
    ),
    "truth_fragment": Product(
        "a connected piece of a true particle",
        {
            "semantic": _SEMANTIC,
            "particle": _index("truth_particle"),
            "interaction": _index("truth_interaction"),
            "is_primary": _scalar(
                "i1", "", "1: the piece of its particle that comes first in time; -1: not known"
            ),
            "num_voxels": _NUM_VOXELS,
            "energy": _ENERGY,
            "start_point": _START,
            "end_point": _END,
        },
    ),
    "truth_particle": Product(
        "a true particle with voxels; a shower is one particle with all its descendants",
        {
            "track_id": _scalar("i8", "", "identifier in the source"),
            "parent_track_id": _scalar("i8", "", "identifier of the parent in the source; -1: none"),
            "pdg": _scalar("i4", "", "Monte-Carlo particle number (PDG)"),
            "species": _code(Species, "species; -1: none of them"),
            "semantic": _SEMANTIC,
            "process": _code(CreationProcess, "creation process"),
            "interaction": _index("truth_interaction"),
            "is_primary": _scalar("i1", "", "1: leaves the vertex of its interaction; -1: not known"),
            "num_voxels": _NUM_VOXELS,
            "energy": _ENERGY,
            "energy_init": _scalar("f4", "MeV", "kinetic energy at creation"),
            "momentum": _vector("MeV/c", "momentum at creation"),
            "start_point": _START,
            "end_point": _END,
            "time": _scalar("f8", "ns", "time of creation"),
        },
    ),
    "truth_interaction": Product(
        "a true interaction: everything that comes from one generated vertex",
        {
            "vertex": _vector("voxel", "position of the vertex; it may lie outside the box"),
            "num_particles": _scalar("i4", "", "particles with voxels"),
            "num_primaries": _scalar("i4", "", "primary particles with voxels; -1: not known"),
            "energy": _ENERGY,
        },
    ),
    "truth_point": Product(
        "a true end of a track, or start of a track, shower fragment, Michel or delta; the target of the PPN",
        {
            "position": _vector("voxel", "position"),
            "semantic": _code(Semantic, "class of the track or fragment"),
            "kind": _code(PointKind, "start or end"),
            "particle": _index("truth_particle"),
        },
    ),
    "truth_neutrino": Product(
        "a neutrino that interacts, as its generator recorded it, whether or not it leaves voxels",
        {
            "interaction": _index("truth_interaction"),
            "pdg": _pdg("Monte-Carlo particle number of the neutrino"),
            "energy": _record("MeV", "energy of the neutrino"),
            "momentum": Column("f8", "MeV/c", "momentum of the neutrino", shape=(3,), none=nan),
            "current": _code(Current, "charged or neutral current"),
            "mode": _code(InteractionMode, "kind of the interaction"),
            "process": Column("i4", "", "the generator's number of the process; -1: none", none=NONE),
            "target_pdg": _pdg("number of the nucleus that is hit"),
            "nucleon_pdg": _pdg("number of the nucleon that is hit"),
            "quark_pdg": _pdg("number of the quark that is hit"),
            "q2": _record("GeV²", "Q², minus the square of the four-momentum transfer"),
            "w": _record("MeV", "invariant mass W of the hadrons"),
            "bjorken_x": _record("", "Bjorken x"),
            "inelasticity": _record("", "inelasticity y"),
            "energy_transfer": _record("MeV", "energy transfer q0"),
            "momentum_transfer": _record("MeV/c", "size of the momentum transfer q3"),
            "lepton_pdg": _pdg("number of the lepton that leaves the primary vertex"),
            "lepton_track_id": Column("i8", "", "its identifier in the source; -1: none", none=NONE),
            "lepton_energy": _record("MeV", "its total energy"),
            "lepton_momentum": Column("f8", "MeV/c", "its momentum", shape=(3,), none=nan),
            "lepton_angle": _record("rad", "angle between lepton and neutrino"),
            "vertex": Column("f8", "cm", "position in the detector, for views, too", shape=(3,), none=nan),
            "time": _record("ns", "time of the interaction"),
            "weight": _record("", "weight that the generator asks for (its central value)"),
            "cross_section": _record(
                "pb", "total cross section of its file, averaged over the flux, per atom"
            ),
            "cross_section_error": _record("pb", "error of it"),
            "pot": _record("", "protons on target that its file stands for"),
            "file": Column("i4", "", "number of its file among those of the source; -1: none", none=NONE),
            "entry": Column("i8", "", "number of the interaction in that file from 0; -1: none", none=NONE),
            "event": Column("i8", "", "event number in that file; -1: none", none=NONE),
            "num_final": Column("i4", "", "particles of the final state; -1: not known", none=NONE),
            "num_not_shot": Column("i4", "", "of them, those that were not simulated", none=NONE),
            "energy_deposited": _record("MeV", "energy that it deposits, in the box and outside"),
        },
    ),
    "truth_primary": Product(
        "a particle that leaves a generated vertex, whether or not it leaves voxels",
        {
            "neutrino": _index("truth_neutrino"),
            "interaction": _index("truth_interaction"),
            "track_id": _scalar("i8", "", "identifier in the source"),
            "pdg": _pdg("Monte-Carlo particle number (PDG)"),
            "energy_init": _record("MeV", "kinetic energy at creation"),
            "momentum": Column("f8", "MeV/c", "momentum at creation", shape=(3,), none=nan),
        },
    ),
    # -- written by segment --------------------------------------------------------------------
    "semantic": Product(
        "predicted class of a voxel",
        {
            "score": Column(
                "f4", "", "score of each voxel class, 1 in all", shape=(len(Semantic),), packed=False
            ),
            "label": _code(Semantic, f"class of the highest score{_VOXEL_CLASS}"),
            "uncertainty": Column(
                "f4",
                "",
                "what the network does not know, 0 to 1: the disagreement of passes with dropout (mutual "
                "information over log 5), or the uncertainty mass of a Dirichlet output; nan: neither was on",
                none=nan,
            ),
            "ghost_score": Column(
                "f4", "", "score that no deposit made the voxel; nan: the network does not say", none=nan
            ),
        },
        per="voxel",
    ),
    "proposal": Product(
        "a raw point proposal of the PPN above a low floor",
        {
            "position": Column("f4", "voxel", "proposed position", shape=(3,), packed=False),
            "score": Column("f4", "", "score that a true point is near", packed=False),
            "class_score": Column(
                "f4", "", "softmax score of each class", shape=(len(Semantic),), packed=False
            ),
            "end_score": Column("f4", "", "score of end against start", packed=False),
        },
    ),
    # -- written by points ---------------------------------------------------------------------
    "point": Product(
        "a predicted start or end of a particle",
        {
            "position": _vector("voxel", "position"),
            "score": _scalar("f4", "", "score that the point is real"),
            "class_score": Column("f4", "", "score of each class", shape=(len(Semantic),)),
            "semantic": _code(Semantic, "class of the highest score"),
            "end_score": _scalar("f4", "", "score of end against start"),
            "kind": _code(PointKind, "start or end"),
        },
    ),
    # -- written by cluster --------------------------------------------------------------------
    "group": Product(
        "membership of a voxel",
        {"fragment": _index("fragment"), "particle": _index("particle")},
        per="voxel",
    ),
    "fragment": Product(
        "a connected piece of one class",
        {
            "semantic": _SEMANTIC,
            "particle": _index("particle"),
            "primary_score": _scalar("f4", "", "score that it is the first piece of its particle"),
            "num_voxels": _NUM_VOXELS,
            "energy": _ENERGY,
            "start_point": _START,
            "end_point": _END,
        },
    ),
    "particle": Product(
        "a reconstructed particle",
        {
            "semantic": _SEMANTIC,
            "num_voxels": _NUM_VOXELS,
            "num_fragments": _scalar("i4", "", "number of fragments"),
            "energy": _ENERGY,
            "start_point": _START,
            "end_point": _END,
            "start_direction": _vector("", "unit vector at the start; 0 where undefined"),
        },
    ),
    # -- written by interact -------------------------------------------------------------------
    "identity": Product(
        "what a reconstructed particle is",
        {
            "interaction": _index("interaction"),
            "species": _code(Species, "species of the highest score that the class allows"),
            "species_score": Column("f4", "", "score of each species", shape=(len(Species),)),
            "is_primary": _scalar("i1", "", "1: leaves the vertex of its interaction"),
            "primary_score": _scalar("f4", "", "score of primary"),
            "is_turned": _scalar("i1", "", "1: a track that starts at its `end_point`"),
            "turned_score": _scalar("f4", "", "score that it does; 0 for all but tracks"),
            "parent": _index("particle"),
            "parent_score": _scalar("f4", "", "score of the parent, or of having none"),
            "generation": _scalar("i4", "", "number of ancestors among the particles"),
            "pi_zero": Column(
                "i4", "", "number of the π⁰ in this event that it is a photon of; -1: none", none=NONE
            ),
            "pi_zero_score": _scalar("f4", "", "largest score of being of one π⁰ with another particle"),
        },
        per="particle",
    ),
    "interaction": Product(
        "a reconstructed interaction",
        {
            "vertex": _vector("voxel", "position of the vertex"),
            "num_particles": _scalar("i4", "", "number of particles"),
            "num_primaries": _scalar("i4", "", "number of primary particles"),
            "energy": _ENERGY,
            "flavour": _code(Flavour, "flavour-like class of the highest score"),
            "flavour_score": Column("f4", "", "score of each flavour-like class", shape=(len(Flavour),)),
            **{
                f"num_{name}s_score": Column(
                    "f4",
                    "",
                    f"score of each number of primary {word} from 0; the last is for more, too",
                    shape=(MAX_COUNT + 1,),
                )
                for name, word in (("proton", "protons"), ("pion", "charged pions"), ("pi_zero", "π⁰"))
            },
        },
    ),
}

IMAGE = ("event", "voxel")
"""What ingest writes for every source."""

TRUTH = (
    "truth_voxel",
    "truth_fragment",
    "truth_particle",
    "truth_interaction",
    "truth_point",
)
"""What ingest writes besides, as far as the source has it; numbers that it does not state are nan."""

GENERATED = ("truth_neutrino", "truth_primary")
"""What ingest writes of generated interactions, for sources that know it; it needs no voxels."""


@dataclass(frozen=True)
class Event:
    """One event: its identity (`file_uid`, `entry`), its box, and the products it has so far."""

    file_uid: str
    entry: int
    box: Box
    products: Mapping[str, Columns] = field(default_factory=dict)

    def __getitem__(self, product: str) -> Columns:
        return self.products[product]

    def __contains__(self, product: str) -> bool:
        return product in self.products

    def __iter__(self) -> Iterator[str]:
        return iter(self.products)

    @property
    def num_voxels(self) -> int:
        """Number of voxels."""
        return len(self.products["voxel"]["energy"])

    def with_products(self, products: Mapping[str, Columns]) -> "Event":
        """Return the event with further products, or with others of the same name."""
        return Event(self.file_uid, self.entry, self.box, {**self.products, **products})


def num_rows(columns: Columns) -> int:
    """Return the number of rows of a product."""
    return len(next(iter(columns.values())))


def empty(product: str, rows: int = 0) -> Columns:
    """Return `rows` rows of a product that say nothing: zeros, and -1 for indices and codes."""
    return {
        name: np.full((rows, *column.shape), column.none, column.dtype)
        for name, column in PRODUCTS[product].columns.items()
    }


def blank(event: Event, products: Iterable[str]) -> Event:
    """Return the event with products that say nothing, as long as those that they are aligned with."""
    made: dict[str, Columns] = {}
    for name in products:
        per = PRODUCTS[name].per
        made[name] = empty(name, num_rows(made.get(per) or event[per]) if per else 0)
    return event.with_products(made)


def conform(product: str, columns: Mapping[str, Any]) -> Columns:
    """Check a product against the contract and return it with the contract's dtypes.

    Raises
    ------
    ValueError
        A column is missing, unknown, of the wrong shape, or of another length than the rest.
    """
    expected = PRODUCTS[product].columns
    if set(columns) != set(expected):
        raise ValueError(
            f"product '{product}' must have the columns {sorted(expected)}, got {sorted(columns)}"
        )
    out: Columns = {}
    length: int | None = None
    for name, column in expected.items():
        value = np.asarray(columns[name])
        if value.shape[1:] != column.shape or (length is not None and len(value) != length):
            raise ValueError(
                f"column '{product}.{name}' must have shape "
                f"({length if length is not None else 'N'}, *{column.shape}), got {value.shape}"
            )
        length = len(value)
        out[name] = np.ascontiguousarray(value, column.dtype)
    return out


def check_finite(product: str, columns: Columns) -> None:
    """Raise ValueError unless all numbers of a product are finite; nan where it is a column's word for "none".

    An integer of which a network's nan was made cannot be told; its score stands beside it.
    """
    for name, column in PRODUCTS[product].columns.items():
        values = columns[name]
        if values.dtype.kind != "f":
            continue
        bad = np.isinf(values) if np.isnan(column.none) else ~np.isfinite(values)
        if bad.any():
            row = int(np.argwhere(bad)[0, 0])
            raise ValueError(f"{product}.{name} of row {row} is {values[row].tolist()}, not a finite number")
