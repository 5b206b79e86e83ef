"""What each table holds: columns with their Arrow type, unit and meaning.

Positions and lengths are in cm, energies in MeV, times in ns. An event is identified by (file_uid,
entry) and an object by its number in its event besides: a column of the same name in another table
refers to it, so that tables are joined by name. -1 is "none"; other numbers that are unknown are null,
which pandas shows as nan.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import pyarrow as pa

from lartpc.calibration import NUM_BINS, NUM_UNCERTAINTIES
from lartpc.vocab import CreationProcess, PointKind, Semantic, Species

SCHEMA_VERSION = "1.3"
"""Major: readers must change. Minor: something was added. History: 1.0, 2026-11, first version;
1.2, 2026-11, `events.source` and `events.source_entry`; `plane` in `events` and `metrics`; 1.3, 2026-11,
calibration and ghosts in `metrics`, ghosts in `events`."""

Rows = dict[str, Any]
"""Columns of a table by name, all of the same length; words as codes (row of `Field.words`, -1: none)."""


@dataclass(frozen=True)
class Field:
    """One column: Arrow type, meaning, unit, the words it may hold, and the table it refers to."""

    type: pa.DataType
    description: str
    unit: str = ""
    words: tuple[str, ...] = ()
    refers_to: str = ""


@dataclass(frozen=True)
class Table:
    """One table: what a row is, the columns that identify it, and all columns in order."""

    row: str
    key: tuple[str, ...]
    fields: Mapping[str, Field]


def _number(description: str, unit: str = "") -> Field:
    return Field(pa.float32(), description, unit)


def _count(description: str) -> Field:
    return Field(pa.int32(), description)


def _flag(description: str) -> Field:
    return Field(pa.bool_(), description)


def _text(description: str) -> Field:
    return Field(pa.string(), description)


def _word(words: tuple[str, ...] | type[IntEnum], description: str) -> Field:
    names = words if isinstance(words, tuple) else names_of(words)
    return Field(pa.dictionary(pa.int8(), pa.string()), description, words=names)


def _id(of: str, description: str = "") -> Field:
    return Field(pa.int32(), description or f"the {of}'s number in its event")


def _refer(table: str, description: str) -> Field:
    return Field(pa.int32(), f"{description}; -1: none", refers_to=table)


def _xyz(name: str, what: str, unit: str = "cm") -> dict[str, Field]:
    ending = {"cm": "_cm", "MeV/c": "_mev_c"}.get(unit, "")
    stem = f"{name}_" if name else ""
    return {f"{stem}{axis}{ending}": _number(f"{what}, {axis}", unit) for axis in "xyz"}


def _per(enum: type[IntEnum], name: str, make: Any, what: str) -> dict[str, Field]:
    return {name.format(word): make(what.format(word)) for word in names_of(enum)}


def _list(item: pa.DataType, description: str, unit: str = "") -> Field:
    return Field(pa.list_(item), description, unit)


def names_of(enum: type[IntEnum]) -> tuple[str, ...]:
    """Return the names of an enumeration in small letters, in the order of its codes from 0 on."""
    assert [int(code) for code in enum] == list(range(len(enum)))
    return tuple(code.name.lower() for code in enum)


STATUS = ("ok", "quarantined")
KIND = ("particle", "interaction")
INPUT = ("predicted", "truth")
LEVELS = ("fragment", "particle", "interaction")

_KEYS = {
    "file_uid": _text("unique name of the event file: sample/shard"),
    "sample": _text("name of the sample in the sample sheet"),
    "entry": Field(
        pa.int64(), "number of the event in its shard; in its source file, where that is the shard"
    ),
}
_EVENT = ("file_uid", "entry")
_IOU = "number of shared voxels over the number of voxels in either"
_TOPOLOGY = (
    'primaries of each species, such as "1mu2p"; g photon, e electron, mu muon, pi pion, p proton, ka kaon'
)
_LENGTH = _number("distance from start to end", "cm")

TABLES: dict[str, Table] = {
    "events": Table(
        "an event",
        _EVENT,
        {
            **_KEYS,
            "source": _text("name of the source file; its path where a shard has several of that name"),
            "source_entry": Field(pa.int64(), "number of the event in its source file"),
            "run": Field(pa.int64(), "run number in the source, 0 where it has none"),
            "subrun": Field(pa.int64(), "subrun number in the source, 0 where it has none"),
            "event": Field(pa.int64(), "event number in the source; it may repeat, unlike (file_uid, entry)"),
            "plane": _count("plane of wires that the image is seen by; -1: a 3D image"),
            "status": _word(STATUS, "whether the event went through all steps"),
            "quarantine_step": _text("step that set the event aside; null: none"),
            "has_truth": _flag("whether the source has truth"),
            "num_steps": Field(pa.int64(), "energy-depositing steps, or voxels, read from the source"),
            "num_voxels": _count("voxels with energy"),
            "energy_mev": Field(pa.float64(), "energy of all steps, or voxels, of the source", "MeV"),
            "energy_outside_mev": Field(pa.float64(), "of it, energy outside the imaged box", "MeV"),
            "energy_below_mev": Field(pa.float64(), "of it, energy in voxels below the threshold", "MeV"),
            "energy_lost_mev": Field(
                pa.float64(), "of it, what the detector's response takes away; negative: it adds", "MeV"
            ),
            "energy_voxels_mev": Field(pa.float64(), "of it, energy in the voxels", "MeV"),
            **_per(Semantic, "num_voxels_{}", _count, "voxels of predicted class {}"),
            **_per(Semantic, "truth_num_voxels_{}", _count, "voxels of true class {}; -1: no truth"),
            "num_voxels_ghost": _count("voxels called ghosts; no later stage uses them"),
            "truth_num_voxels_ghost": _count("voxels that no deposit made; -1: no truth"),
            "num_voxels_grouped": _count("voxels in a reconstructed particle"),
            "num_points": _count("predicted points"),
            "num_fragments": _count("reconstructed fragments"),
            "num_particles": _count("reconstructed particles"),
            "num_interactions": _count("reconstructed interactions"),
            "num_truth_points": _count("true points; 0 without truth"),
            "num_truth_particles": _count("true particles with voxels; 0 without truth"),
            "num_truth_interactions": _count("true interactions; 0 without truth"),
        },
    ),
    "interactions": Table(
        "a reconstructed interaction",
        (*_EVENT, "interaction_id"),
        {
            **_KEYS,
            "interaction_id": _id("interaction"),
            **_xyz("vertex", "reconstructed vertex"),
            "num_particles": _count("particles"),
            "num_primaries": _count("primary particles"),
            **_per(Species, "num_{}s", _count, "particles of species {}"),
            **_per(Species, "num_primary_{}s", _count, "primary particles of species {}"),
            "topology": _text(_TOPOLOGY),
            "num_voxels": _count("voxels"),
            "energy_mev": _number("deposited energy", "MeV"),
            "truth_interaction_id": _refer("truth_interactions", "true interaction with the largest IoU"),
            "truth_iou": _number(f"{_IOU}; null without truth"),
        },
    ),
    "particles": Table(
        "a reconstructed particle",
        (*_EVENT, "particle_id"),
        {
            **_KEYS,
            "particle_id": _id("particle"),
            "interaction_id": _refer("interactions", "interaction that it belongs to"),
            "semantic": _word(Semantic, "class"),
            "species": _word(Species, "species of the highest score that the class allows"),
            **_per(Species, "species_score_{}", _number, "score of species {}"),
            "is_primary": _flag("whether it leaves the vertex of its interaction"),
            "primary_score": _number("score that it does"),
            "num_voxels": _count("voxels"),
            "num_fragments": _count("fragments"),
            "energy_mev": _number("deposited energy", "MeV"),
            "length_cm": _LENGTH,
            "path_length_cm": _number(
                "length along a track, through the centroids of 3 cm slices; null for other classes", "cm"
            ),
            **_xyz("start", "start point"),
            **_xyz("end", "end point; of a shower, the voxel farthest from its start"),
            **_xyz("direction", "unit vector at the start, 0 where undefined", ""),
            "vertex_distance_cm": _number("distance from the start to the interaction's vertex", "cm"),
            "wall_distance_cm": _number("least distance of its voxels to a wall of the imaged box", "cm"),
            "truth_particle_id": _refer("truth_particles", "true particle with the largest IoU"),
            "truth_iou": _number(f"{_IOU}; null without truth"),
        },
    ),
    "points": Table(
        "a predicted start or end of a particle",
        (*_EVENT, "point_id"),
        {
            **_KEYS,
            "point_id": _id("point"),
            **_xyz("", "position"),
            "semantic": _word(Semantic, "class of the highest score"),
            "kind": _word(PointKind, "start or end"),
            "score": _number("score that the point is real"),
            "end_score": _number("score of end against start"),
            **_per(Semantic, "class_score_{}", _number, "score of class {}"),
            "truth_point_id": _refer("truth_points", "nearest true point"),
            "truth_distance_cm": _number("distance to it; infinite where the event has none", "cm"),
        },
    ),
    "truth_interactions": Table(
        "a true interaction: everything that comes from one generated vertex",
        (*_EVENT, "truth_interaction_id"),
        {
            **_KEYS,
            "truth_interaction_id": _id("true interaction"),
            **_xyz("vertex", "generated vertex"),
            "is_vertex_in_box": _flag("whether the vertex lies in the imaged box"),
            "num_particles": _count("particles with voxels"),
            "num_primaries": _count("primary particles with voxels; -1: not known"),
            **_per(Species, "num_{}s", _count, "particles of species {}"),
            **_per(Species, "num_primary_{}s", _count, "primary particles of species {}"),
            "topology": _text(_TOPOLOGY),
            "num_voxels": _count("voxels"),
            "energy_mev": _number("deposited energy", "MeV"),
            "interaction_id": _refer("interactions", "reconstructed interaction with the largest IoU"),
            "iou": _number(_IOU),
        },
    ),
    "truth_particles": Table(
        "a true particle with voxels; a shower is one particle with all its descendants",
        (*_EVENT, "truth_particle_id"),
        {
            **_KEYS,
            "truth_particle_id": _id("true particle"),
            "truth_interaction_id": _refer("truth_interactions", "interaction that it belongs to"),
            "track_id": Field(pa.int64(), "identifier in the source"),
            "parent_track_id": Field(pa.int64(), "identifier of the parent in the source; -1: none"),
            "pdg": _count("Monte-Carlo particle number (PDG)"),
            "species": _word(Species, "species; null: none of them"),
            "semantic": _word(Semantic, "class"),
            "process": _word(CreationProcess, "creation process"),
            "is_primary": _flag("whether it leaves the vertex of its interaction; null: not known"),
            "num_voxels": _count("voxels"),
            "energy_mev": _number("deposited energy", "MeV"),
            "energy_init_mev": _number("kinetic energy at creation", "MeV"),
            **_xyz("momentum", "momentum at creation", "MeV/c"),
            "momentum_mev_c": _number("size of the momentum at creation", "MeV/c"),
            "length_cm": _LENGTH,
            **_xyz("start", "start point"),
            **_xyz("end", "end point; of a shower, the voxel farthest from its start"),
            "time_ns": Field(pa.float64(), "time of creation", "ns"),
            "particle_id": _refer("particles", "reconstructed particle with the largest IoU"),
            "iou": _number(_IOU),
        },
    ),
    "truth_points": Table(
        "a true end of a particle",
        (*_EVENT, "truth_point_id"),
        {
            **_KEYS,
            "truth_point_id": _id("true point"),
            **_xyz("", "position"),
            "semantic": _word(Semantic, "class of the particle"),
            "kind": _word(PointKind, "start or end"),
            "truth_particle_id": _refer("truth_particles", "particle that it ends"),
            "point_id": _refer("points", "nearest predicted point"),
            "distance_cm": _number("distance to it; infinite where the event has none", "cm"),
        },
    ),
    "matches": Table(
        "a reconstructed and a true object that share voxels",
        (*_EVENT, "kind", "reco_id", "truth_id"),
        {
            **_KEYS,
            "kind": _word(KIND, "what both objects are"),
            "reco_id": _id("", "the reconstructed object: particle_id or interaction_id"),
            "truth_id": _id("", "the true object: truth_particle_id or truth_interaction_id"),
            "iou": _number(_IOU),
            "num_shared_voxels": _count("voxels that both have"),
            "shared_energy_mev": _number("deposited energy in these voxels", "MeV"),
            "is_best_of_reco": _flag("whether no true object has a larger IoU with the reconstructed one"),
            "is_best_of_truth": _flag("whether no reconstructed object has a larger IoU with the true one"),
        },
    ),
    "quarantine": Table(
        "an event that a step set aside",
        _EVENT,
        {
            **_KEYS,
            "step": _text("step that set it aside"),
            "reason": _text("why"),
        },
    ),
    "throughput": Table(
        "a step of a shard",
        ("file_uid", "step"),
        {
            "file_uid": _KEYS["file_uid"],
            "sample": _KEYS["sample"],
            "step": _text("step: ingest or a stage"),
            "seconds": Field(pa.float64(), "time spent on the events, without start-up; null: unknown", "s"),
            "num_events": Field(pa.int64(), "events processed"),
            "num_voxels": Field(pa.int64(), "voxels processed"),
            "weights": _text("digest of the weights (BLAKE2b-128, hex); empty: the step has none"),
        },
    ),
    "metrics": Table(
        "an event with truth, on one kind of input; definitions in docs/metrics.md",
        (*_EVENT, "input", "stages"),
        {
            **_KEYS,
            "input": _word(
                INPUT, "what each stage was given: the predictions of the stages before, or their truth"
            ),
            "stages": _text("stages that the figures are of, separated by commas; others are empty"),
            "plane": _count("plane of wires that the image is seen by; -1: a 3D image"),
            "num_voxels": _count("voxels with energy"),
            "voxel_size_cm": _number("voxel pitch", "cm"),
            "semantic_confusion": Field(
                pa.list_(pa.int64(), len(Semantic) ** 2),
                "voxels by true class (slow) and predicted class (fast)",
            ),
            "reliability": Field(
                pa.list_(pa.float64(), 3 * NUM_BINS),
                "real voxels, right ones and summed confidence (fast) by bins of the confidence (slow)",
            ),
            "uncertainty_errors": Field(
                pa.list_(pa.float64(), 2 * NUM_UNCERTAINTIES),
                "real voxels and wrong ones (fast) by bins of the uncertainty (slow); 0 without one",
            ),
            "ghost_counts": Field(
                pa.list_(pa.int64(), 2 * (len(Semantic) + 1)),
                "voxels kept and called ghosts (fast) by true class, ghosts last (slow)",
            ),
            "truth_point_distance": _list(
                pa.float32(), "of each true point but deltas, to the nearest predicted one", "voxel"
            ),
            "truth_point_semantic": _list(pa.int8(), "code of the class of these true points"),
            "point_distance": _list(
                pa.float32(), "of each predicted point but deltas, to the nearest true one", "voxel"
            ),
            "point_semantic": _list(pa.int8(), "code of the class of these predicted points"),
            **{
                f"{level}_{name}": _number(f"{what} of {level}s; null: undefined")
                for level in LEVELS
                for name, what in {
                    "purity": "purity",
                    "efficiency": "efficiency",
                    "ari": "adjusted Rand index",
                    "best_dice": "symmetric best Dice",
                    "assigned": "share of voxels in any",
                }.items()
            },
            "num_matchable_particles": _count(
                "true particles with a species that count; -1: interact was not run"
            ),
            "species_confusion": Field(
                pa.list_(pa.int64(), len(Species) ** 2),
                "matched particles by true species (slow) and predicted species (fast)",
            ),
            "primary_confusion": Field(
                pa.list_(pa.int64(), 4), "matched particles by truly primary (slow) and predicted (fast)"
            ),
            "vertex_distance_cm": _list(
                pa.float32(),
                "of true vertices in the box with two or more primaries, to the matched interaction's",
                "cm",
            ),
        },
    ),
}


def schema(table: str) -> pa.Schema:
    """Return a table's Arrow schema, with unit and meaning in the metadata of each field."""
    definition = TABLES[table]
    fields = []
    for name, field in definition.fields.items():
        metadata = {"unit": field.unit, "description": field.description}
        if field.words:
            metadata["words"] = json.dumps(field.words)
        if field.refers_to:
            metadata["refers_to"] = field.refers_to
        fields.append(pa.field(name, field.type, metadata=metadata))
    return pa.schema(
        fields,
        metadata={
            "table": table,
            "row": definition.row,
            "key": json.dumps(definition.key),
            "schema_version": SCHEMA_VERSION,
        },
    )


def render() -> str:
    """Return docs/tables.md: every table and column."""
    lines = [
        "# Tables",
        "",
        f"Schema version {SCHEMA_VERSION}. Written by `lartpc.tables.render()`; a test keeps this page in sync.",
        "",
        "A row in a table is found by the columns of its key. An event is (`file_uid`, `entry`): run,",
        "subrun and event numbers repeat in simulation. Columns of the same name in two tables mean the same",
        'thing, so `particles.merge(interactions, on=["file_uid", "entry", "interaction_id"])` joins them.',
        "Object numbers of -1 mean none; other unknown numbers are null, which is nan in pandas. Units and",
        "meanings are in each file, too:",
        '`pyarrow.dataset.dataset("particles").schema.field("energy_mev").metadata`.',
    ]
    for name, table in TABLES.items():
        lines += ["", f"## {name}", "", f"One row: {table.row}. Key: {', '.join(table.key)}.", ""]
        lines += ["| column | type | unit | meaning |", "|---|---|---|---|"]
        for column, field in table.fields.items():
            meaning = field.description
            if field.words:
                meaning += f" ({', '.join(field.words)})"
            if field.refers_to:
                meaning += f" (in {field.refers_to})"
            kind = "word" if field.words else str(field.type)
            lines.append(f"| {column} | {kind} | {field.unit} | {meaning} |")
    return "\n".join(lines) + "\n"
