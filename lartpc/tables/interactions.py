"""Rows of interactions, reconstructed and true. Shape suffixes: N interactions, F particles."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.config import Summarize, Thresholds
from lartpc.event import Columns, Event, num_rows
from lartpc.geometry import volume_of
from lartpc.kinematics import unit
from lartpc.kinematics.classes import final_classes
from lartpc.metrics import Overlaps
from lartpc.tables.fields import Rows, names_of, xyz_rows
from lartpc.tables.image_fields import image_rows
from lartpc.tables.measured import Measured
from lartpc.tables.particles import energy_of_primaries
from lartpc.truth import compositions
from lartpc.vocab import NONE, Flavour, Semantic, Species

_LETTERS = {
    Species.PHOTON: "g",
    Species.ELECTRON: "e",
    Species.MUON: "mu",
    Species.PION: "pi",
    Species.PROTON: "p",
    Species.KAON: "ka",
}


def _species_table(num: int, row: NDArray[Any], species: NDArray[Any]) -> NDArray[np.int64]:
    """Count the species (num, species) of the objects that belong to each row."""
    known = (row >= 0) & (species >= 0)
    cell = row[known].astype(np.int64) * len(Species) + species[known]
    counts: NDArray[np.int64] = np.bincount(cell, minlength=num * len(Species)).astype(np.int64)
    return counts.reshape(num, len(Species))


def _composition(
    num: int,
    row: NDArray[Any],
    species: NDArray[Any],
    is_primary: NDArray[Any],
    energy: NDArray[Any],
    thresholds: Thresholds,
) -> Rows:
    """Count the particles of each interaction by species, and spell its topology, bare and with thresholds."""
    all_particles = _species_table(num, row, species)
    primaries = _species_table(num, np.where(is_primary > 0, row, NONE), species)
    words = names_of(Species)
    least = np.array([*(getattr(thresholds, word) for word in words), np.inf])[species]
    above = _species_table(num, np.where((is_primary > 0) & (energy >= least), row, NONE), species)
    return {
        **{f"num_{word}s": all_particles[:, i] for i, word in enumerate(words)},
        **{f"num_primary_{word}s": primaries[:, i] for i, word in enumerate(words)},
        "topology": _topology(primaries),
        **{f"num_primary_{word}s_above": above[:, i] for i, word in enumerate(words)},
        "topology_above": _topology(above),
    }


def _topology(counts: NDArray[np.int64]) -> list[str]:
    """Spell numbers (N, species), such as "1mu2p"."""
    return [
        "".join(f"{count}{_LETTERS[s]}" for s, count in zip(Species, row, strict=True) if count)
        for row in counts.tolist()
    ]


def interaction_rows(
    event: Event,
    particles: Measured,
    pairs: Overlaps,
    has_truth: bool,
    volumes_cm: NDArray[Any],
    cfg: Summarize,
) -> Rows:
    """Return the rows of `interactions`."""
    found, identity = event["interaction"], event["identity"]
    num, owner = num_rows(found), identity["interaction"]
    best, iou = pairs.best_true()
    columns = particles.columns
    vertex = event.box.to_cm(found["vertex"])
    momentum = np.where(identity["is_primary"][:, None] > 0, columns["momentum"], 0.0)
    energy = np.nan_to_num(energy_of_primaries(event, columns))
    _, first = np.unique(identity["pi_zero"], return_index=True)
    pi_zero = np.zeros(len(owner), bool)
    pi_zero[first] = identity["pi_zero"][first] >= 0
    scores = {name: found[f"num_{name}s_score"] for name in ("proton", "pion", "pi_zero")}
    return {
        "interaction_id": np.arange(num),
        **xyz_rows("vertex", vertex),
        "num_particles": found["num_particles"],
        "num_primaries": found["num_primaries"],
        **_composition(
            num,
            owner,
            identity["species"],
            identity["is_primary"],
            columns["kinetic_energy_mev"],
            cfg.thresholds,
        ),
        "num_voxels": _total(num, owner, event["particle"]["num_voxels"]).astype(np.int64),
        "energy_mev": found["energy"],
        "reconstructed_energy_mev": _total(num, owner, energy),
        **_energy_errors(num, owner, identity["is_primary"] > 0, columns),
        "leading_lepton_id": _leading_lepton(
            num, owner, identity["species"], identity["is_primary"] > 0, columns["kinetic_energy_mev"]
        ),
        "num_pi_zeros": _total(num, owner, pi_zero).astype(np.int64),
        "num_michels": _total(num, owner, final_classes(event) == Semantic.MICHEL).astype(np.int64),
        **_directions(num, owner, momentum),
        **_place(num, owner, columns, vertex, volumes_cm, cfg),
        "flavour": found["flavour"],
        **{f"flavour_score_{word}": found["flavour_score"][:, i] for i, word in enumerate(names_of(Flavour))},
        **{f"{name}_count": score.argmax(1) for name, score in scores.items()},
        **{f"{name}_count_score": list(score) for name, score in scores.items()},
        **image_rows(event, "interaction_image", num),
        "truth_interaction_id": best,
        "truth_iou": iou if has_truth else np.full(num, np.nan),
    }


def truth_interaction_rows(
    event: Event, particles: Measured, pairs: Overlaps, volumes_cm: NDArray[Any], cfg: Summarize
) -> Rows:
    """Return the rows of `truth_interactions`."""
    true, particle = event["truth_interaction"], event["truth_particle"]
    num, owner = num_rows(true), particle["interaction"]
    best, iou = pairs.best_reco()
    vertex = event.box.to_cm(true["vertex"])
    seen = (particle["is_primary"] == 1) & (particle["num_voxels"] > 0)
    counted = compositions(event, num)
    return {
        "truth_interaction_id": np.arange(num),
        "truth_neutrino_id": _neutrino_of(event["truth_neutrino"]["interaction"], num),
        **xyz_rows("vertex", vertex),
        "is_vertex_in_box": event.box.contains(true["vertex"]),
        "num_particles": true["num_particles"],
        "num_primaries": true["num_primaries"],
        **_composition(
            num,
            owner,
            particle["species"],
            particle["is_primary"],
            particle["energy_init"],
            cfg.thresholds,
        ),
        "num_voxels": _total(num, owner, particle["num_voxels"]).astype(np.int64),
        "energy_mev": true["energy"],
        "kinetic_energy_initial_mev": _total(num, owner, np.where(seen, particle["energy_init"], 0.0)),
        "leading_lepton_id": _leading_lepton(num, owner, particle["species"], seen, particle["energy_init"]),
        **_directions(num, owner, np.where(seen[:, None], particle["momentum"], 0.0)),
        **_place(num, owner, particles.columns, vertex, volumes_cm, cfg),
        "flavour": counted["flavour"],
        **{f"{name}_count": counted[f"num_{name}s"] for name in ("proton", "pion", "pi_zero")},
        "interaction_id": best,
        "iou": iou,
    }


def _neutrino_of(interaction_M: NDArray[Any], num: int) -> NDArray[np.int64]:
    """Return the neutrino of each interaction (N,), -1 for none."""
    neutrino = np.full(num, NONE, np.int64)
    rows = np.flatnonzero(interaction_M >= 0)
    neutrino[interaction_M[rows]] = rows
    return neutrino


def _total(num: int, owner_F: NDArray[Any], value_F: NDArray[Any]) -> NDArray[np.float64]:
    """Add up values (F,) of the particles of each interaction (N,)."""
    kept = owner_F >= 0
    total: NDArray[np.float64] = np.bincount(owner_F[kept], value_F[kept], minlength=num).astype(np.float64)
    return total


def _energy_errors(
    num: int, owner_F: NDArray[Any], is_primary_F: NDArray[np.bool_], columns: Columns
) -> Rows:
    """Return the errors of the energies (N,) of interactions, and which of them are lower bounds."""
    bound = _total(num, owner_F, is_primary_F & columns["is_energy_bound"]) > 0
    square = np.where(is_primary_F, np.nan_to_num(columns["kinetic_energy_error_mev"]) ** 2, 0.0)
    error = np.sqrt(_total(num, owner_F, square))
    return {"reconstructed_energy_error_mev": np.where(bound, np.nan, error), "is_energy_bound": bound}


def _leading_lepton(
    num: int,
    owner_F: NDArray[Any],
    species_F: NDArray[Any],
    is_primary_F: NDArray[np.bool_],
    energy_F: NDArray[Any],
) -> NDArray[np.int64]:
    """Return the primary muon or electron (N,) of the highest energy, -1 for none."""
    lepton = np.full(num, NONE, np.int64)
    rows = np.flatnonzero(
        is_primary_F & np.isin(species_F, [Species.MUON, Species.ELECTRON]) & (owner_F >= 0)
    )
    rows = rows[np.argsort(np.nan_to_num(energy_F[rows]), kind="stable")]
    lepton[owner_F[rows]] = rows
    return lepton


def _directions(num: int, owner_F: NDArray[Any], momentum_F: NDArray[Any]) -> Rows:
    """Return the direction of the sum of momenta (F, 3); unknown ones do not count."""
    total = [_total(num, owner_F, np.nan_to_num(momentum_F[:, i])) for i in range(3)]
    return xyz_rows("direction", unit(np.stack(total, axis=1)), "")


def _place(
    num: int,
    owner_F: NDArray[Any],
    columns: Columns,
    vertex_cm: NDArray[np.float64],
    volumes_cm: NDArray[Any],
    cfg: Summarize,
) -> Rows:
    """Return whether interactions are contained and their vertices fiducial, and the volume of these."""
    outside = _total(num, owner_F, ~columns["is_contained"])
    known = np.isfinite(vertex_cm).all(axis=1)
    volume = np.where(known, volume_of(np.nan_to_num(vertex_cm), volumes_cm), NONE)
    margin = np.asarray(cfg.fiducial_margin_cm)
    low, high = volumes_cm[volume, 0] + margin, volumes_cm[volume, 1] - margin
    inside = ((vertex_cm >= low) & (vertex_cm <= high)).all(axis=1)
    return {"is_contained": outside == 0, "is_fiducial": inside & (volume != NONE), "volume_id": volume}
