"""What each table holds: columns with their Arrow type, unit and meaning.

Positions and lengths are in cm, energies in MeV, times in ns. An event is identified by (file_uid,
entry) and an object by its number in its event besides: a column of the same name in another table
refers to it, so that tables are joined by name. -1 is "none"; other numbers that are unknown are null,
which pandas shows as nan.
"""

import json

import pyarrow as pa

from lartpc.event import MAX_COUNT
from lartpc.tables import metric_fields, neutrino_fields, particle_fields
from lartpc.tables.fields import (
    Field,
    Table,
    count,
    flag,
    identifier,
    number,
    per,
    refer,
    text,
    values,
    word,
    xyz,
)
from lartpc.tables.image_fields import image_fields
from lartpc.tables.particle_fields import COUNTS
from lartpc.vocab import Flavour, PointKind, Semantic, Species

SCHEMA_VERSION = "2.8"
"""Major: readers must change. Minor: something was added. History: 1.0, 2026-11, first version;
1.2, 2026-11, `events.source` and `events.source_entry`; `plane` in `events` and `metrics`; 1.3, 2026-11,
calibration and ghosts in `metrics`, ghosts in `events`; 1.4, 2026-11, fragments, voxels, kinematics,
parents, flavour; 1.5, 2026-11,
parents, starts, flavours and energies in `metrics`; 2.0, 2026-11, in tables of true objects what is measured has the
prefix `reco_`; kinetic energy and momentum at creation are `kinetic_energy_initial_mev`, `momentum_initial_mev_c`;
2.1, 2026-11, `truth_neutrinos`, `truth_primaries`, topologies with thresholds; 2.2, 2026-11, `warnings` in
`throughput`; 2.3, 2026-11, scores of classes and flags in `particles`;
2.4, 2026-11, `metrics.input` may be "planes"; 2.5, 2026-11, errors of energies and `is_energy_bound`;
2.6, 2026-11, `image_…` in `events` and `interactions`; 2.7, 2026-11, "loss" among
`energy_method`, `flag_scattering_unbounded`; 2.8, 2026-11, `metrics.ghost_far_counts`."""

STATUS = ("ok", "quarantined")
KIND = ("particle", "interaction", "fragment")

_KEYS = {
    "file_uid": text("unique name of the event file: sample/shard"),
    "sample": text("name of the sample in the sample sheet"),
    "entry": Field(
        pa.int64(), "number of the event in its shard; in its source file, where that is the shard"
    ),
}
_EVENT = ("file_uid", "entry")
_IOU = particle_fields.IOU
_TOPOLOGY = (
    'primaries of each species, such as "1mu2p"; g photon, e electron, mu muon, pi pion, p proton, ka kaon'
)

TABLES: dict[str, Table] = {
    "events": Table(
        "an event",
        _EVENT,
        {
            **_KEYS,
            "source": text("name of the source file; its path where a shard has several of that name"),
            "source_entry": Field(pa.int64(), "number of the event in its source file"),
            "run": Field(pa.int64(), "run number in the source, 0 where it has none"),
            "subrun": Field(pa.int64(), "subrun number in the source, 0 where it has none"),
            "event": Field(pa.int64(), "event number in the source; it may repeat, unlike (file_uid, entry)"),
            "plane": count("plane of wires that the image is seen by; -1: a 3D image"),
            "status": word(STATUS, "whether the event went through all steps"),
            "quarantine_step": text("step that set the event aside; null: none"),
            "has_truth": flag("whether the source has truth"),
            "num_steps": Field(pa.int64(), "energy-depositing steps, or voxels, read from the source"),
            "num_voxels": count("voxels with energy"),
            "energy_mev": Field(pa.float64(), "energy of all steps, or voxels, of the source", "MeV"),
            "energy_outside_mev": Field(pa.float64(), "of it, energy outside the imaged box", "MeV"),
            "energy_below_mev": Field(pa.float64(), "of it, energy in voxels below the threshold", "MeV"),
            "energy_lost_mev": Field(
                pa.float64(), "of it, what the detector's response takes away; negative: it adds", "MeV"
            ),
            "energy_voxels_mev": Field(pa.float64(), "of it, energy in the voxels", "MeV"),
            **per(Semantic, "num_voxels_{}", count, "voxels of predicted class {}"),
            **per(Semantic, "truth_num_voxels_{}", count, "voxels of true class {}; -1: no truth"),
            "num_voxels_ghost": count("voxels called ghosts; no later stage uses them"),
            "truth_num_voxels_ghost": count("voxels that no deposit made; -1: no truth"),
            "num_voxels_grouped": count("voxels in a reconstructed particle"),
            "num_points": count("predicted points"),
            "num_fragments": count("reconstructed fragments"),
            "num_particles": count("reconstructed particles"),
            "num_interactions": count("reconstructed interactions"),
            "num_truth_fragments": count("true fragments; 0 without truth"),
            "num_truth_points": count("true points; 0 without truth"),
            "num_truth_particles": count("true particles with voxels; 0 without truth"),
            "num_truth_interactions": count("true interactions; 0 without truth"),
            "num_truth_neutrinos": count(
                "neutrinos that interact, seen or not; 0 where the source knows none"
            ),
            **image_fields("the event"),
        },
    ),
    "interactions": Table(
        "a reconstructed interaction",
        (*_EVENT, "interaction_id"),
        {
            **_KEYS,
            "interaction_id": identifier("interaction"),
            **xyz("vertex", "reconstructed vertex"),
            "num_particles": count("particles"),
            "num_primaries": count("primary particles"),
            **per(Species, "num_{}s", count, "particles of species {}"),
            **per(Species, "num_primary_{}s", count, "primary particles of species {}"),
            "topology": text(_TOPOLOGY),
            **neutrino_fields.above(", by the best kinetic energy"),
            "num_voxels": count("voxels"),
            "energy_mev": number("visible energy: all that is deposited", "MeV"),
            "reconstructed_energy_mev": number(
                "energy of its primaries: the best kinetic ones, and the masses of muons and pions", "MeV"
            ),
            "reconstructed_energy_error_mev": number(
                "error of it, by those of its primaries alone; null: one of them is a lower bound", "MeV"
            ),
            "is_energy_bound": flag("whether the energy of one of its primaries is a lower bound"),
            "leading_lepton_id": identifier("", "primary muon or electron of most energy; -1: none"),
            "num_pi_zeros": count("pairs of photons of one π⁰"),
            "num_michels": count("Michel electrons"),
            **xyz("direction", "unit vector along the sum of the primaries' momenta, 0 where undefined", ""),
            "is_contained": flag("whether all its particles are contained"),
            "is_fiducial": flag("whether the vertex lies in an active volume, off its walls"),
            "volume_id": identifier("", "active volume that the vertex lies in; -1: none"),
            "flavour": word(Flavour, "flavour-like class of the highest score: its leading lepton"),
            **per(Flavour, "flavour_score_{}", number, "score of {}"),
            **{
                f"{name}_count": count(f"likeliest number of primary {what}; {MAX_COUNT}: or more")
                for name, what in COUNTS.items()
            },
            **{
                f"{name}_count_score": values(
                    pa.float32(), f"score of each number of primary {what} from 0", size=MAX_COUNT + 1
                )
                for name, what in COUNTS.items()
            },
            **image_fields("the interaction, without the voxels of others"),
            "truth_interaction_id": refer("truth_interactions", "true interaction with the largest IoU"),
            "truth_iou": number(f"{_IOU}; null without truth"),
        },
    ),
    "particles": Table(
        "a reconstructed particle", (*_EVENT, "particle_id"), {**_KEYS, **particle_fields.PARTICLE}
    ),
    "fragments": Table(
        "a connected piece of a particle", (*_EVENT, "fragment_id"), {**_KEYS, **particle_fields.FRAGMENT}
    ),
    "points": Table(
        "a predicted start or end of a particle",
        (*_EVENT, "point_id"),
        {
            **_KEYS,
            "point_id": identifier("point"),
            **xyz("", "position"),
            "semantic": word(Semantic, "class of the highest score"),
            "kind": word(PointKind, "start or end"),
            "score": number("score that the point is real"),
            "end_score": number("score of end against start"),
            **per(Semantic, "class_score_{}", number, "score of class {}"),
            "truth_point_id": refer("truth_points", "nearest true point"),
            "truth_distance_cm": number("distance to it; infinite where the event has none", "cm"),
        },
    ),
    "truth_interactions": Table(
        "a true interaction: everything that comes from one generated vertex",
        (*_EVENT, "truth_interaction_id"),
        {
            **_KEYS,
            "truth_interaction_id": identifier("true interaction"),
            "truth_neutrino_id": refer("truth_neutrinos", "neutrino that makes it"),
            **xyz("vertex", "generated vertex"),
            "is_vertex_in_box": flag("whether the vertex lies in the imaged box"),
            "num_particles": count("particles with voxels"),
            "num_primaries": count("primary particles with voxels; -1: not known"),
            **per(Species, "num_{}s", count, "particles of species {}"),
            **per(Species, "num_primary_{}s", count, "primary particles of species {}"),
            "topology": text(_TOPOLOGY),
            **neutrino_fields.above(", with voxels, by the kinetic energy at creation"),
            "num_voxels": count("voxels"),
            "energy_mev": number("deposited energy", "MeV"),
            "kinetic_energy_initial_mev": number(
                "kinetic energy of its visible primaries at creation", "MeV"
            ),
            "leading_lepton_id": identifier("", "visible primary muon or electron of most energy; -1: none"),
            **xyz("direction", "unit vector along the sum of the visible primaries' momenta", ""),
            "is_contained": flag("whether all its particles are contained"),
            "is_fiducial": flag("whether the vertex lies in an active volume, off its walls"),
            "volume_id": identifier("", "active volume that the vertex lies in; -1: none"),
            "flavour": word(Flavour, "flavour-like class: its leading lepton; null: not known"),
            **{
                f"{name}_count": count(f"visible primary {what}; {MAX_COUNT}: or more; -1: not known")
                for name, what in COUNTS.items()
            },
            "interaction_id": refer("interactions", "reconstructed interaction with the largest IoU"),
            "iou": number(_IOU),
        },
    ),
    "truth_particles": Table(
        "a true particle with voxels; a shower is one particle with all its descendants",
        (*_EVENT, "truth_particle_id"),
        {**_KEYS, **particle_fields.TRUTH_PARTICLE},
    ),
    "truth_fragments": Table(
        "a connected piece of a true particle",
        (*_EVENT, "truth_fragment_id"),
        {**_KEYS, **particle_fields.TRUTH_FRAGMENT},
    ),
    "truth_points": Table(
        "a true end of a particle",
        (*_EVENT, "truth_point_id"),
        {
            **_KEYS,
            "truth_point_id": identifier("true point"),
            **xyz("", "position"),
            "semantic": word(Semantic, "class of the particle"),
            "kind": word(PointKind, "start or end"),
            "truth_particle_id": refer("truth_particles", "particle that it ends"),
            "point_id": refer("points", "nearest predicted point"),
            "distance_cm": number("distance to it; infinite where the event has none", "cm"),
        },
    ),
    "truth_neutrinos": Table(
        "a neutrino that interacts, as its generator recorded it, seen or not",
        (*_EVENT, "truth_neutrino_id"),
        {**_KEYS, **neutrino_fields.TRUTH_NEUTRINO},
    ),
    "truth_primaries": Table(
        "a particle that leaves a generated vertex, seen or not",
        (*_EVENT, "truth_primary_id"),
        {**_KEYS, **neutrino_fields.TRUTH_PRIMARY},
    ),
    "matches": Table(
        "a reconstructed and a true object that share voxels",
        (*_EVENT, "kind", "reco_id", "truth_id"),
        {
            **_KEYS,
            "kind": word(KIND, "what both objects are"),
            "reco_id": identifier("", "the reconstructed object: particle_id, interaction_id or fragment_id"),
            "truth_id": identifier(
                "", "the true object: truth_particle_id, truth_interaction_id or truth_fragment_id"
            ),
            "iou": number(_IOU),
            "num_shared_voxels": count("voxels that both have"),
            "shared_energy_mev": number("deposited energy in these voxels", "MeV"),
            "energy_iou": number("shared energy over the energy in either"),
            "purity": number("share of the reconstructed object's energy that they share"),
            "completeness": number("share of the true object's energy that they share"),
            "is_best_of_reco": flag("whether no true object has a larger IoU with the reconstructed one"),
            "is_best_of_truth": flag("whether no reconstructed object has a larger IoU with the true one"),
        },
    ),
    "voxels": Table(
        "a voxel with energy; without rows unless `summarize.voxels` is set",
        (*_EVENT, "voxel_id"),
        {**_KEYS, **particle_fields.VOXEL},
    ),
    "quarantine": Table(
        "an event that a step set aside",
        _EVENT,
        {
            **_KEYS,
            "step": text("step that set it aside"),
            "reason": text("why"),
        },
    ),
    "throughput": Table(
        "a step of a shard",
        ("file_uid", "step"),
        {
            "file_uid": _KEYS["file_uid"],
            "sample": _KEYS["sample"],
            "step": text("step: ingest or a stage"),
            "seconds": Field(pa.float64(), "time spent on the events, without start-up; null: unknown", "s"),
            "num_events": Field(pa.int64(), "events processed"),
            "num_voxels": Field(pa.int64(), "voxels processed"),
            "weights": text("digest of the weights' content (BLAKE2b-128, hex); empty: the step has none"),
            "warnings": text(
                "what the step warns of, as of events outside the domain of its weights; empty: nothing"
            ),
        },
    ),
    "metrics": Table(
        "an event with truth, on one kind of input; definitions in docs/reference/metrics.md",
        (*_EVENT, "input", "stages"),
        {**_KEYS, **metric_fields.METRICS},
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
