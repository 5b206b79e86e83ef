"""How well interactions were found, against the truth: figures per event, and pooled.

Shape suffixes: T true particles, F reconstructed particles, N interactions, K classes.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc import metrics
from lartpc.event import MAX_COUNT, Event, num_rows
from lartpc.kinematics.argon import TRACKS
from lartpc.kinematics.classes import final_classes
from lartpc.metrics import Overlaps
from lartpc.run.quality.matching import matching_figures, pool_matching
from lartpc.tables.fields import names_of
from lartpc.tables.measured import Measured
from lartpc.tables.metric_fields import PARENT_KINDS
from lartpc.tables.rows import match_objects, take
from lartpc.truth import MIN_TURN, compositions, parents, pi_zeros
from lartpc.vocab import NONE, Flavour, Semantic, Species

Figures = dict[str, Any]
Ints = NDArray[np.int64]

VERTEX_LIMITS = (3, 20)
"""Distances up to which a vertex counts as found [voxel]."""
START_LIMIT = 3
"""Distance up to which the start of a particle counts as found [voxel]."""
MIN_PRIMARIES = 2
"""Fewest primaries of an interaction whose vertex is looked for: one track alone does not show it."""
ENERGY_BINS_MEV = (0, 50, 100, 200, 400, 1000, float("inf"))
"""Edges of the bins of true kinetic energy [MeV]."""
CENTRAL = (0.16, 0.84)
"""Quantiles whose distance is twice the resolution: for a Gaussian, one standard deviation to each side."""
COUNTED = ("proton", "pion", "pi_zero")
_SHOWERS = (int(Species.PHOTON), int(Species.ELECTRON))


def interact_figures(event: Event, found: Measured) -> Figures:
    """Compare the particles and interactions of an event with the truth; docs/reference/metrics.md has the definitions.

    Parameters
    ----------
    found
        What was measured of the reconstructed particles.
    """
    particles, interactions = match_objects(event)
    true = event["truth_particle"]
    counted = (true["species"] >= 0) & (true["semantic"] != Semantic.LOW_ENERGY) & (true["num_voxels"] > 0)
    best, iou = particles.best_reco()
    partner = np.where(counted & (iou >= metrics.MATCH_IOU), best, NONE)
    identity = event["identity"]
    return {
        "num_matchable_particles": np.count_nonzero(counted),
        "species_confusion": metrics.confusion_matrix(
            true["species"], take(identity["species"], partner), len(Species)
        ).ravel(),
        "primary_confusion": metrics.confusion_matrix(
            true["is_primary"], take(identity["is_primary"], partner), 2
        ).ravel(),
        **matching_figures(event, counted, partner >= 0),
        **_parents(event, partner, best),
        "pi_zero_counts": _pi_zeros(event, counted, partner),
        **_starts(event, partner),
        **_energies(event, partner, found),
        **_interactions(event, interactions),
    }


def _parents(event: Event, partner_T: Ints, best_T: Ints) -> Figures:
    """Count matched particles and those with the correct parent, by kind: the best match of the true one, or none."""
    parent_T, semantic_T = parents(event), event["truth_particle"]["semantic"]
    wanted_T = take(best_T, np.maximum(parent_T, NONE))
    found_T = take(event["identity"]["parent"], partner_T)
    # a parent that nothing was made of cannot be named
    right_T = np.where(parent_T == NONE, found_T == NONE, (found_T == wanted_T) & (wanted_T >= 0))
    known_T = (partner_T >= 0) & (parent_T >= NONE)
    kind_T = np.select(
        [parent_T == NONE, semantic_T == Semantic.MICHEL, semantic_T == Semantic.DELTA], [0, 1, 2], 3
    )
    cell = 2 * kind_T + right_T
    counts = np.bincount(cell[known_T], minlength=2 * len(PARENT_KINDS)).reshape(-1, 2)
    return {"parent_counts": np.stack([counts.sum(axis=1), counts[:, 1]], axis=1).ravel()}


def _pi_zeros(event: Event, counted_T: NDArray[np.bool_], partner_T: Ints) -> list[int]:
    """Count true π⁰ with two photons that count, those found, and reconstructed pairs.

    Found are those whose photons are both matched, by the two particles of one pair.
    """
    number_T = np.where(counted_T, pi_zeros(event), NONE)
    pair_F = event["identity"]["pi_zero"]
    num, found = 0, 0
    for number in np.unique(number_T[number_T >= 0]):
        photons = np.flatnonzero(number_T == number)
        if len(photons) == 2:
            num += 1
            pair = take(pair_F, partner_T[photons])
            found += int(pair[0] >= 0 and pair[0] == pair[1])
    return [num, found, len(np.unique(pair_F[pair_F >= 0]))]


def _starts(event: Event, partner_T: Ints) -> Figures:
    """Measure how far the starts of matched particles are from the true ones, and how many tracks run the right way."""
    true, semantic = event["truth_particle"], final_classes(event)
    row, to_start, to_end = distances_to_start(event, partner_T)
    is_track = (true["semantic"][row] == Semantic.TRACK) & (semantic[partner_T[row]] == Semantic.TRACK)
    clear = is_track & (np.abs(to_start - to_end) > MIN_TURN)
    return {
        "start_distance": to_start,
        "start_semantic": true["semantic"][row],
        "orientation_counts": [np.count_nonzero(clear), np.count_nonzero(clear & (to_start < to_end))],
    }


def distances_to_start(event: Event, partner_T: Ints) -> tuple[Ints, NDArray[Any], NDArray[Any]]:
    """Return the matched true particles (M,) whose start is known, and how far from it their partners start and end."""
    true = event["truth_particle"]
    start, end = (event["identity"][name] for name in ("start_point", "end_point"))
    row = np.flatnonzero((partner_T >= 0) & np.isfinite(true["start_point"]).all(axis=1))
    to_start, to_end = (
        np.linalg.norm(place[partner_T[row]] - true["start_point"][row], axis=1) for place in (start, end)
    )
    return row, to_start, to_end


def _energies(event: Event, partner_T: Ints, found: Measured) -> Figures:
    """List the true kinetic energies of matched particles, and what was made of them.

    Those by range (of a track of its true species) and by calorimetry are of contained particles only.
    """
    true = event["truth_particle"]
    columns = found.columns
    row = np.flatnonzero((partner_T >= 0) & (true["energy_init"] > 0))
    of = partner_T[row]
    column = np.full(len(Species), NONE)
    column[list(TRACKS)] = np.arange(len(TRACKS))
    own = column[true["species"][row]]
    contained = columns["is_contained"][of]
    by_range = columns["range_energy_mev"][of, own]
    return {
        "energy_species": true["species"][row],
        "energy_semantic": true["semantic"][row],
        "energy_init_mev": true["energy_init"][row],
        "energy_range_mev": np.where(contained & (own >= 0), by_range, np.nan),
        "energy_calorimetric_mev": np.where(contained, columns["calorimetric_energy_mev"][of], np.nan),
        "energy_best_mev": columns["kinetic_energy_mev"][of],
    }


def _interactions(event: Event, pairs: Overlaps) -> Figures:
    """Compare vertices, flavours, counts and topologies of the true interactions with those of their best matches."""
    truth, found, true = event["truth_interaction"], event["interaction"], event["truth_particle"]
    num = num_rows(truth)
    best, iou = pairs.best_reco()
    away = vertex_distances(event, best)

    seen = (true["num_voxels"] > 0) & (true["semantic"] != Semantic.LOW_ENERGY) & (true["interaction"] >= 0)
    composition = compositions(event, num)
    counted = np.bincount(true["interaction"][seen], minlength=num) > 0
    counted &= composition["flavour"] >= 0
    partner = np.where(counted & (iou >= metrics.MATCH_IOU), best, NONE)
    identity = event["identity"]
    true_NK = _primaries(num, true["interaction"], true["species"], seen & (true["is_primary"] == 1))
    found_NK = _primaries(
        num_rows(found), identity["interaction"], identity["species"], identity["is_primary"] > 0
    )
    same = (partner >= 0) & (
        true_NK == np.append(found_NK, np.full((1, len(Species)), -1), axis=0)[partner]
    ).all(axis=1)
    return {
        "vertex_distance_cm": away * event.box.voxel_size_cm,
        "num_matchable_interactions": np.count_nonzero(counted),
        "flavour_confusion": metrics.confusion_matrix(
            composition["flavour"], take(found["flavour"], partner), len(Flavour)
        ).ravel(),
        **{
            f"{name}_count_confusion": metrics.confusion_matrix(
                composition[f"num_{name}s"],
                take(found[f"num_{name}s_score"].argmax(axis=1), partner),
                MAX_COUNT + 1,
            ).ravel()
            for name in COUNTED
        },
        "topology_counts": [np.count_nonzero(counted), np.count_nonzero(same)],
    }


def vertex_distances(event: Event, best_N: Ints) -> NDArray[Any]:
    """Return how far the vertices of the best matches of true interactions are from those that are looked for."""
    truth, found = event["truth_interaction"], event["interaction"]
    wanted = (truth["num_primaries"] >= MIN_PRIMARIES) & event.box.contains(truth["vertex"])
    vertex = np.concatenate([found["vertex"], np.full((1, 3), np.inf)])
    away: NDArray[Any] = np.linalg.norm(vertex[best_N] - truth["vertex"], axis=1)[wanted]
    return away


def _primaries(num: int, owner: NDArray[Any], species: NDArray[Any], is_primary: NDArray[np.bool_]) -> Ints:
    """Count the primaries (N, K) of each interaction by species."""
    known = is_primary & (owner >= 0) & (species >= 0)
    cell = owner[known].astype(np.int64) * len(Species) + species[known]
    counts: Ints = np.bincount(cell, minlength=num * len(Species)).astype(np.int64)
    return counts.reshape(num, len(Species))


# -- pooling -----------------------------------------------------------------------------------


def pool_interactions(flat: Callable[[str], NDArray[Any]], vertex_voxel: NDArray[Any]) -> Figures:
    """Pool the figures of `interact` over events.

    Parameters
    ----------
    flat
        Gives the values of a column of the table `metrics`, those of lists joined end to end.
    vertex_voxel
        Distances of vertices [voxel].
    """
    figures = _pool_shares(flat) | pool_matching(flat)
    figures["vertex_num"] = len(vertex_voxel)
    for limit in VERTEX_LIMITS:
        figures[f"vertex_within_{limit}"] = metrics.within(vertex_voxel, limit)
    figures["vertex_median_voxel"] = metrics.median(vertex_voxel)
    found = np.isfinite(vertex_voxel)
    figures["vertex_found_share"] = float(found.mean()) if len(found) else float("nan")
    return figures | _pool_energies(flat)


def _pool_shares(flat: Callable[[str], NDArray[Any]]) -> Figures:
    parent = flat("parent_counts").reshape(-1, len(PARENT_KINDS), 2).sum(axis=0)
    pi_zero = flat("pi_zero_counts").reshape(-1, 3).sum(axis=0)
    tracks = flat("orientation_counts").reshape(-1, 2).sum(axis=0)
    topology = flat("topology_counts").reshape(-1, 2).sum(axis=0)
    distance, semantic = flat("start_distance"), flat("start_semantic")
    matchable = flat("num_matchable_interactions")
    matched = int(flat("flavour_confusion").sum())
    return {
        "parent_num": int(parent[:, 0].sum()),
        "parent_right": _share(parent[:, 1].sum(), parent[:, 0].sum()),
        "parent_num_child": int(parent[1:, 0].sum()),
        "parent_right_child": _share(parent[1:, 1].sum(), parent[1:, 0].sum()),
        **{f"parent_num_{kind}": int(parent[i, 0]) for i, kind in enumerate(PARENT_KINDS)},
        **{f"parent_right_{kind}": _share(parent[i, 1], parent[i, 0]) for i, kind in enumerate(PARENT_KINDS)},
        "pi_zero_num": int(pi_zero[0]),
        "pi_zero_num_reco": int(pi_zero[2]),
        "pi_zero_found": _share(pi_zero[1], pi_zero[0]),
        "pi_zero_real": _share(pi_zero[1], pi_zero[2]),
        "orientation_num": int(tracks[0]),
        "orientation_right": _share(tracks[1], tracks[0]),
        "start_num": len(distance),
        f"start_within_{START_LIMIT}": metrics.within(distance, START_LIMIT),
        **{
            f"start_within_{START_LIMIT}_{word}": metrics.within(distance[semantic == code], START_LIMIT)
            for code, word in enumerate(names_of(Semantic)[: Semantic.LOW_ENERGY])
        },
        "num_matchable_interactions": int(matchable[matchable >= 0].sum()),
        "interaction_matched_share": _share(matched, topology[0]),
        "topology_num": int(topology[0]),
        "topology_right": _share(topology[1], topology[0]),
        **{
            f"{name}_count_right": _accuracy(flat(f"{name}_count_confusion"), MAX_COUNT + 1)
            for name in COUNTED
        },
        **{f"{name}_count_num": int(flat(f"{name}_count_confusion").sum()) for name in COUNTED},
    }


def _pool_energies(flat: Callable[[str], NDArray[Any]]) -> Figures:
    """Return bias and resolution of the energies, in all and in bins of the true energy as a list of lines."""
    true = flat("energy_init_mev").astype(np.float64)
    species, semantic = flat("energy_species"), flat("energy_semantic")
    is_shower = np.isin(species, _SHOWERS) & (semantic == Semantic.SHOWER)
    is_body = np.isin(semantic, (Semantic.TRACK, Semantic.SHOWER))
    kinds: list[tuple[str, str, NDArray[np.bool_]]] = [
        *((f"{s.name.lower()}_range", "range", (species == s) & is_body) for s in TRACKS),
        ("shower_calorimetric", "calorimetric", is_shower),
        *(
            (f"{Species(s).name.lower()}_calorimetric", "calorimetric", is_shower & (species == s))
            for s in _SHOWERS
        ),
        ("michel_calorimetric", "calorimetric", semantic == Semantic.MICHEL),
        *((f"{s.name.lower()}_best", "best", (species == s) & is_body) for s in Species),
    ]
    figures: Figures = {}
    lines: list[Mapping[str, Any]] = []
    for name, how, chosen in kinds:
        ratio = flat(f"energy_{how}_mev") / np.where(true > 0, true, np.nan) - 1.0
        kept = chosen & np.isfinite(ratio)
        figures |= {f"{name}_{key}": value for key, value in _spread(ratio[kept]).items()}
        for low, high in pairwise(ENERGY_BINS_MEV):
            inside = ratio[kept & (true >= low) & (true < high)]
            if len(inside):
                top = high if np.isfinite(high) else None
                lines.append({"what": name, "low_mev": low, "high_mev": top, **_spread(inside)})
    return figures | {"energies": lines}


def _spread(deviation: NDArray[np.float64]) -> dict[str, Any]:
    """Return number, median and half the width of the central 68 % of relative deviations."""
    low, high = (metrics.quantile(deviation, share) for share in CENTRAL)
    return {
        "num": len(deviation),
        "bias": metrics.median(deviation),
        "resolution": (high - low) / 2 if len(deviation) > 1 else float("nan"),
    }


def _share(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else float("nan")


def _accuracy(confusion: NDArray[Any], num: int) -> float:
    return metrics.class_scores(confusion.reshape(-1, num, num).sum(axis=0)).accuracy
