"""Rows of particles, reconstructed and true. Shape suffix: F particles."""

import numpy as np
from numpy.typing import NDArray

from lartpc.event import Columns, Event, num_rows
from lartpc.geometry import Box
from lartpc.kinematics.argon import MASS_MEV, TRACKS
from lartpc.kinematics.classes import final_classes
from lartpc.kinematics.hierarchy import generations
from lartpc.kinematics.measure import mass_mev
from lartpc.kinematics.relations import pair_mass_mev
from lartpc.metrics import Overlaps
from lartpc.tables.consistency import flag_rows
from lartpc.tables.fields import Rows, names_of, xyz_rows
from lartpc.tables.measured import Floats, Measured, reco
from lartpc.truth import parents, pi_zeros
from lartpc.vocab import NONE, SPECIES_TO_PDG, Semantic, Species

_POINTING_CM = 1.0
"""Photons that start farther than this from the vertex have their direction from there."""
Ints = NDArray[np.int64]


def particle_rows(event: Event, found: Measured, pairs: Overlaps, has_truth: bool) -> Rows:
    """Return the rows of `particles`."""
    particle, identity, box = event["particle"], event["identity"], event.box
    num, semantic = num_rows(particle), final_classes(event)
    start, end = box.to_cm(found.start), box.to_cm(found.end)
    vertex = np.concatenate([box.to_cm(event["interaction"]["vertex"]), np.full((1, 3), np.nan)])
    away = start - vertex[identity["interaction"]]
    distance = np.linalg.norm(away, axis=1)
    photon = (identity["species"] == Species.PHOTON) & (identity["is_primary"] > 0)
    best, iou = pairs.best_true()
    rows: Rows = {
        "particle_id": np.arange(num),
        "interaction_id": identity["interaction"],
        "semantic": semantic,
        **{f"class_score_{w}": particle["class_score"][:, i] for i, w in enumerate(names_of(Semantic))},
        "species": identity["species"],
        **{f"species_score_{w}": identity["species_score"][:, i] for i, w in enumerate(names_of(Species))},
        "pdg": np.array([*SPECIES_TO_PDG.values(), 0])[identity["species"]],
        "is_primary": identity["is_primary"] > 0,
        "primary_score": identity["primary_score"],
        "parent_score": identity["parent_score"],
        "generation": identity["generation"],
        **_family(identity["parent"].astype(np.int64), semantic, found, box),
        "pi_zero_id": identity["pi_zero"],
        "pi_zero_mass_mev": pi_zero_mass(identity["pi_zero"], found.columns, away),
        "pi_zero_score": identity["pi_zero_score"],
        "turned_score": identity["turned_score"],
        "num_voxels": particle["num_voxels"],
        "num_fragments": particle["num_fragments"],
        "energy_mev": particle["energy"],
        "mass_mev": found.columns["mass_mev"],
        **xyz_rows("momentum", found.columns["momentum"], "_mev_c"),
        **xyz_rows("start", start),
        **xyz_rows("end", end),
        "length_cm": _length_cm(found, box),
        **_measured_rows(found, semantic, identity["species"]),
        **_place_rows(found.columns),
        "vertex_distance_cm": distance,
        "conversion_distance_cm": np.where(photon, distance, np.nan),
        "truth_particle_id": best,
        "truth_iou": iou if has_truth else np.full(num, np.nan),
    }
    return rows | flag_rows(particle, semantic, identity["species"], rows)


def truth_particle_rows(event: Event, found: Measured, pairs: Overlaps) -> Rows:
    """Return the rows of `truth_particles`."""
    true, box = event["truth_particle"], event.box
    best, iou = pairs.best_reco()
    parent = parents(event)
    vertex = np.concatenate([event["truth_interaction"]["vertex"], np.full((1, 3), np.nan, np.float32)])
    owner = event["truth_fragment"]["particle"]
    family = _family(np.maximum(parent, NONE), true["semantic"], found, box)
    del family["parent_distance_cm"]
    return {
        "truth_particle_id": np.arange(num_rows(true)),
        "truth_interaction_id": true["interaction"],
        **{name: true[name] for name in ("track_id", "parent_track_id", "pdg", "species", "semantic")},
        "parent_pdg": np.append(true["pdg"], 0)[np.maximum(parent, NONE)],
        "process": true["process"],
        "is_primary": true["is_primary"],
        **family,
        "parent_id": parent,
        "generation": generations(np.maximum(parent, NONE)),
        "pi_zero_id": pi_zeros(event),
        "num_voxels": true["num_voxels"],
        "num_fragments": np.bincount(owner[owner >= 0], minlength=num_rows(true)),
        "energy_mev": true["energy"],
        "kinetic_energy_initial_mev": true["energy_init"],
        "mass_mev": mass_mev(true["species"]),
        **xyz_rows("momentum_initial", true["momentum"], "_mev_c"),
        "momentum_initial_mev_c": np.linalg.norm(true["momentum"], axis=1),
        **xyz_rows("start", box.to_cm(true["start_point"])),
        **xyz_rows("end", box.to_cm(true["end_point"])),
        "length_cm": _length_cm(found, box),
        **reco(_measured_rows(found, true["semantic"], true["species"])),
        **_place_rows(found.columns),
        "vertex_distance_cm": np.linalg.norm(
            box.to_cm(true["start_point"]) - box.to_cm(vertex[true["interaction"]]), axis=1
        ),
        "time_ns": true["time"],
        "particle_id": best,
        "iou": iou,
    }


def pi_zero_mass(number_F: NDArray[np.integer], columns: Columns, from_vertex_cm: Floats) -> Floats:
    """Return the invariant mass (F,) [MeV] of the π⁰ that each particle is a photon of; nan: none.

    A photon's direction is that from the vertex to its start where they are apart, else that of its start.
    """
    mass = np.full(len(number_F), np.nan)
    distance = np.linalg.norm(from_vertex_cm, axis=1, keepdims=True)
    apart: NDArray[np.bool_] = distance > _POINTING_CM  # never where the distance is nan
    safe = np.where(apart, distance, 1.0)
    direction = np.where(apart, from_vertex_cm / safe, columns["start_direction"])
    members = np.flatnonzero(number_F >= 0)
    for number in np.unique(number_F[members]):
        pair = members[number_F[members] == number]
        if len(pair) == 2:
            one, two = columns["calorimetric_energy_mev"][pair]
            mass[pair] = pair_mass_mev(one, two, direction[pair[0]] @ direction[pair[1]])
    return mass


def _family(parent_F: Ints, semantic_F: NDArray[np.integer], found: Measured, box: Box) -> Rows:
    """Return parent, distance to it, number of children and Michel of each particle."""
    num = len(parent_F)
    start, end = (
        np.concatenate([box.to_cm(place), np.full((1, 3), np.nan)]) for place in (found.start, found.end)
    )
    gap = [np.linalg.norm(start[:-1] - place[parent_F], axis=1) for place in (start, end)]
    michel = np.full(num, NONE)
    distance = np.minimum(*gap)
    rows = np.flatnonzero((np.asarray(semantic_F) == Semantic.MICHEL) & (parent_F >= 0))
    # of several the one that starts nearest to an end, which is written last
    rows = rows[np.argsort(-np.nan_to_num(distance[rows], nan=np.inf), kind="stable")]
    michel[parent_F[rows]] = rows
    return {
        "parent_id": parent_F,
        "parent_distance_cm": distance,
        "num_children": np.bincount(parent_F[parent_F >= 0], minlength=num),
        "michel_id": michel,
    }


def _length_cm(found: Measured, box: Box) -> Floats:
    length: Floats = np.linalg.norm(box.to_cm(found.end) - box.to_cm(found.start), axis=1)
    return length


def _place_rows(columns: Columns) -> Rows:
    """Return where the voxels of particles lie."""
    return {
        **{name: columns[name] for name in ("wall_distance_cm", "is_contained")},
        "volume_id": columns["volume"],
    }


def _measured_rows(found: Measured, semantic_F: NDArray[np.integer], species_F: NDArray[np.integer]) -> Rows:
    """Return what is estimated from the voxels and ends of particles."""
    columns = found.columns
    words = [species.name.lower() for species in TRACKS]
    of_track = np.full(len(Species) + 1, NONE)
    of_track[list(TRACKS)] = np.arange(len(TRACKS))
    own, row = of_track[species_F], np.arange(len(species_F))
    is_track = np.asarray(semantic_F) == Semantic.TRACK
    chi2 = columns["chi2"]
    has_chi2 = np.asarray(np.isfinite(chi2).all(axis=1))
    lowest = np.asarray(TRACKS)[np.argmin(np.where(has_chi2[:, None], chi2, 0.0), axis=1)]
    return {
        **xyz_rows("direction", columns["start_direction"], ""),
        "momentum_mev_c": columns["momentum_mev_c"],
        "path_length_cm": np.where(is_track, columns["length_cm"], np.nan),
        **{
            name: columns[name]
            for name in (
                *("calorimetric_energy_mev", "calorimetric_energy_error_mev"),
                *("kinetic_energy_mev", "kinetic_energy_error_mev", "energy_method", "is_energy_bound"),
                *("start_dedx_mev_cm", "end_dedx_mev_cm"),
                *("straightness", "directional_spread", "axial_spread"),
            )
        },
        **{
            f"{kind}_energy_{word}_mev": columns[f"{kind}_energy_mev"][:, i]
            for kind in ("range", "scattering")
            for i, word in enumerate(words)
        },
        **{
            f"{kind}_energy{what}_mev": np.where(
                own >= 0, columns[f"{kind}_energy{what}_mev"][row, own], np.nan
            )
            for kind in ("range", "scattering")
            for what in ("", "_error")
        },
        **{f"chi2_{word}": chi2[:, i] for i, word in enumerate(words)},
        "chi2_species": np.where(has_chi2, lowest, NONE),
        **xyz_rows("end_direction", columns["end_direction"], ""),
        **xyz_rows("axis", columns["axis"], ""),
    }


def energy_of_primaries(event: Event, columns: Columns) -> Floats:
    """Return the energy (F,) [MeV] that primaries bring: kinetic, and the mass of muons and pions; else 0."""
    identity = event["identity"]
    keeps = np.zeros(len(Species) + 1)
    keeps[[Species.MUON, Species.PION, Species.KAON]] = [
        MASS_MEV[species] for species in (Species.MUON, Species.PION, Species.KAON)
    ]
    energy = columns["kinetic_energy_mev"] + keeps[identity["species"]]
    return np.where(identity["is_primary"] > 0, energy, 0.0)
