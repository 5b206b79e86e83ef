"""Columns of particles, fragments and voxels, reconstructed and true."""

from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa

from lartpc.kinematics.argon import TRACKS
from lartpc.tables.consistency import FLAGS
from lartpc.tables.fields import Field, count, flag, identifier, number, per, refer, word, xyz
from lartpc.vocab import CreationProcess, EnergyMethod, Semantic, Species

COUNTS = {"proton": "protons", "pion": "charged pions", "pi_zero": "π⁰"}
"""What is counted of an interaction's primaries: the stem of the columns, and the words for it."""
IOU = "number of shared voxels over the number of voxels in either"
MEASURED_PREFIX = "reco_"
LENGTH = number("distance from start to end", "cm")


def _mev(what: str) -> Field:
    return number(what, "MeV")


_TRACKS_ONLY = "; null for other classes"
_DIRECTION = xyz("direction", "unit vector at the start, 0 where undefined", "")
_END_DIRECTION = xyz("end_direction", "unit vector of its direction at its end, 0 where undefined", "")
_MOMENTUM = number("momentum from the best energy and the mass", "MeV/c")

MEASURED = {
    "path_length_cm": number(
        f"length along a track, through the centroids of 3 cm slices{_TRACKS_ONLY}", "cm"
    ),
    "calorimetric_energy_mev": _mev(
        "kinetic energy from the deposited one; of showers with their correction"
    ),
    **per(
        TRACKS,
        "range_energy_{}_mev",
        _mev,
        f"kinetic energy of a {{}} that stops after this path{_TRACKS_ONLY}",
    ),
    **per(
        TRACKS,
        "scattering_energy_{}_mev",
        _mev,
        "kinetic energy of a {} by multiple scattering; null but for long tracks that leave",
    ),
    "range_energy_mev": _mev("kinetic energy by range, as its own species; null if that leaves no track"),
    "scattering_energy_mev": _mev(
        "kinetic energy by multiple scattering, as its own species; null if unknown"
    ),
    "calorimetric_energy_error_mev": _mev("error of the energy by calorimetry"),
    "range_energy_error_mev": _mev("error of the energy by range, as its own species"),
    "scattering_energy_error_mev": _mev("error of the energy by scattering, as its own species"),
    "kinetic_energy_mev": _mev("best kinetic energy: by range, scattering, loss or calorimetry"),
    "kinetic_energy_error_mev": _mev("error of the best energy; null: it is a lower bound"),
    "energy_method": word(
        EnergyMethod,
        "how the best energy was found; loss: of a contained proton that does not stop, by what it loses",
    ),
    "is_energy_bound": flag(
        "whether the best energy is a lower bound: of a particle that leaves, and not by scattering"
    ),
    "start_dedx_mev_cm": number("energy per length at the start", "MeV/cm"),
    "end_dedx_mev_cm": number("energy per length at the end", "MeV/cm"),
    **per(
        TRACKS, "chi2_{}", number, f"chi² per slice of dE/dx against that of a stopping {{}}{_TRACKS_ONLY}"
    ),
    "chi2_species": word(Species, f"species of the lowest of these{_TRACKS_ONLY}"),
    **_END_DIRECTION,
    **xyz("axis", "principal axis, along the start direction", ""),
    "straightness": number(
        "share of the longest axis in the spread of the voxels near the start; null: none"
    ),
    "directional_spread": number("one minus the length of the mean direction from the start to its voxels"),
    "axial_spread": number("mean tangent of the angle between its voxels ahead and the start direction"),
}
"""What `kinematics.measure` estimates: of true particles from their true voxels, there with the prefix `reco_`."""

PLACE = {
    "wall_distance_cm": number("least distance of its voxels to a wall of their active volume", "cm"),
    "volume_id": identifier("", "active volume that all its voxels lie in; -1: several or none"),
    "is_contained": flag("whether it lies in one active volume, off its walls"),
}
"""Where the voxels of a particle lie."""


def reco(fields: Mapping[str, Field]) -> dict[str, Field]:
    """Return the columns of a table of true objects for what is measured of them, not known."""
    return {
        f"{MEASURED_PREFIX}{name}": replace(
            field, description=f"measured on its true voxels: {field.description}"
        )
        for name, field in fields.items()
    }


PARTICLE = {
    "particle_id": identifier("particle"),
    "interaction_id": refer("interactions", "interaction that it belongs to"),
    "semantic": word(Semantic, "class, decided on all its voxels"),
    **per(Semantic, "class_score_{}", number, "mean score of class {} over its voxels; null: not known"),
    "species": word(Species, "species of the highest score"),
    **per(Species, "species_score_{}", number, "score of species {}"),
    "pdg": count("PDG code of the species, without the sign of its charge; 0: none"),
    "is_primary": flag("whether it leaves the vertex of its interaction"),
    "primary_score": number("score that it does"),
    "parent_id": identifier("", "particle that it comes from; -1: none"),
    "parent_score": number("score of that parent, or of having none"),
    "parent_distance_cm": number(
        "distance from its start to the nearest end of its parent; null: none", "cm"
    ),
    "generation": count("number of its ancestors among the particles"),
    "num_children": count("particles whose parent it is"),
    "michel_id": identifier("", "Michel electron that comes from it; -1: none"),
    "pi_zero_id": identifier("", "number of the π⁰ in the event that it is a photon of; -1: none"),
    "pi_zero_mass_mev": _mev("invariant mass of the two photons of this π⁰; null: none"),
    "pi_zero_score": number("largest score of sharing a π⁰ with another particle"),
    "turned_score": number("score that the points had start and end swapped"),
    "num_voxels": count("voxels"),
    "num_fragments": count("fragments"),
    "energy_mev": _mev("deposited energy"),
    "mass_mev": _mev("mass of the species; null: none"),
    "momentum_mev_c": _MOMENTUM,
    **xyz("momentum", "momentum along the start direction", "MeV/c"),
    **xyz("start", "start point"),
    **xyz("end", "end point; of a shower, the voxel farthest from its start"),
    "length_cm": LENGTH,
    **_DIRECTION,
    **MEASURED,
    **PLACE,
    **FLAGS,
    "vertex_distance_cm": number("distance from the start to the interaction's vertex", "cm"),
    "conversion_distance_cm": number("of primary photons, distance from the vertex to their start", "cm"),
    "truth_particle_id": refer("truth_particles", "true particle with the largest IoU"),
    "truth_iou": number(f"{IOU}; null without truth"),
}

TRUTH_PARTICLE = {
    "truth_particle_id": identifier("true particle"),
    "truth_interaction_id": refer("truth_interactions", "interaction that it belongs to"),
    "track_id": Field(pa.int64(), "identifier in the source"),
    "parent_track_id": Field(pa.int64(), "identifier of the parent in the source; -1: none"),
    "pdg": count("PDG code"),
    "parent_pdg": count("that of the parent; 0: none with voxels"),
    "species": word(Species, "species; null: none of them"),
    "semantic": word(Semantic, "class"),
    "process": word(CreationProcess, "creation process"),
    "is_primary": flag("whether it leaves the vertex of its interaction; null: not known"),
    "parent_id": identifier("", "true particle that it comes from; -1: none; -2: not known"),
    "generation": count("number of its ancestors among the true particles"),
    "num_children": count("true particles whose parent it is"),
    "michel_id": identifier("", "Michel electron that comes from it; -1: none"),
    "pi_zero_id": identifier("", "number of the π⁰ in the event that it is a photon of; -1: none"),
    "num_voxels": count("voxels"),
    "num_fragments": count("fragments"),
    "energy_mev": _mev("deposited energy"),
    "kinetic_energy_initial_mev": _mev("kinetic energy at creation"),
    "mass_mev": _mev("mass of the species; null: none"),
    **xyz("momentum_initial", "momentum at creation", "MeV/c"),
    "momentum_initial_mev_c": number("magnitude of the momentum at creation", "MeV/c"),
    **xyz("start", "start point"),
    **xyz("end", "end point; of a shower, the voxel farthest from its start"),
    "length_cm": LENGTH,
    **reco(_DIRECTION | {"momentum_mev_c": _MOMENTUM} | MEASURED),
    **PLACE,
    "vertex_distance_cm": number("distance from the start to the interaction's vertex", "cm"),
    "time_ns": Field(pa.float64(), "time of creation", "ns"),
    "particle_id": refer("particles", "reconstructed particle with the largest IoU"),
    "iou": number(IOU),
}

_FRAGMENT = {
    "num_voxels": count("voxels"),
    "energy_mev": _mev("deposited energy"),
    "length_cm": LENGTH,
    **xyz("start", "start point"),
    **xyz("end", "end point; of a shower, the voxel farthest from its start"),
}

FRAGMENT = {
    "fragment_id": identifier("fragment"),
    "particle_id": refer("particles", "particle that it is a piece of"),
    "interaction_id": refer("interactions", "interaction that it belongs to"),
    "semantic": word(Semantic, "class"),
    "is_primary": flag("whether it is the first piece of its particle"),
    "primary_score": number("score that it is"),
    **_FRAGMENT,
    **_DIRECTION,
    **_END_DIRECTION,
    "truth_fragment_id": refer("truth_fragments", "true fragment with the largest IoU"),
    "truth_iou": number(f"{IOU}; null without truth"),
}

TRUTH_FRAGMENT = {
    "truth_fragment_id": identifier("true fragment"),
    "truth_particle_id": refer("truth_particles", "particle that it is a piece of"),
    "truth_interaction_id": refer("truth_interactions", "interaction that it belongs to"),
    "semantic": word(Semantic, "class"),
    "is_primary": flag("whether it is the piece that comes first in time; null: not known"),
    **_FRAGMENT,
    **reco(_DIRECTION | _END_DIRECTION),
    "fragment_id": refer("fragments", "reconstructed fragment with the largest IoU"),
    "iou": number(IOU),
}

VOXEL = {
    "voxel_id": identifier("voxel"),
    **xyz("", "centre"),
    "energy_mev": _mev("deposited energy"),
    "semantic": word(Semantic, "predicted class"),
    **per(Semantic, "semantic_score_{}", number, "score of class {}"),
    "fragment_id": refer("fragments", "fragment that it is in"),
    "particle_id": refer("particles", "particle that it is in"),
    "interaction_id": refer("interactions", "interaction that it is in"),
    "truth_semantic": word(Semantic, "true class; null: not known"),
    "truth_fragment_id": refer("truth_fragments", "true fragment that it is in"),
    "truth_particle_id": refer("truth_particles", "true particle that it is in"),
    "truth_interaction_id": refer("truth_interactions", "true interaction that it is in"),
}
