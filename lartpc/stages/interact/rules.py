"""Interactions without a network: common vertices, species by dE/dx and length.

Shape suffixes: V voxels, F particles, K classes, N interactions, E pairs.
"""

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.event import MAX_COUNT, Columns, Event
from lartpc.kinematics import Clusters, local_energy, unit
from lartpc.kinematics.argon import energy_of_range
from lartpc.kinematics.classes import PARTICLE_CLASSES
from lartpc.kinematics.clusters import Floats, Ints
from lartpc.kinematics.hierarchy import generations, pair_up
from lartpc.kinematics.relations import pair_mass_mev
from lartpc.kinematics.vertexing import Grouping, group_interactions, near_pairs
from lartpc.masses import PI_ZERO_MASS_MEV
from lartpc.stages.interact.graph import kept
from lartpc.stages.interact.products import products_of
from lartpc.truth import FLAVOUR_OF
from lartpc.vocab import Flavour, Semantic, Species


def by_rules(event: Event, cfg: config.Interact) -> dict[str, Columns]:
    """Return `identity` and `interaction` of an event; scores are 0 and 1, but for that of a π⁰."""
    row_F, clusters, columns = kept(event)
    grouping = group_interactions(clusters, columns, cfg.infer.vertex_radius, cfg.infer.rules)
    species_F = _species(clusters, columns, grouping, event.box.voxel_size_cm, cfg)
    pi_zero_F, score_F = _pi_zeros(columns, grouping, species_F, cfg)
    turned_F = grouping.is_turned_F.astype(np.float32)
    identity: Columns = {
        "interaction": grouping.interaction_F,
        "species": species_F,
        "semantic_score": np.full((len(row_F), len(PARTICLE_CLASSES)), np.nan, np.float32),
        "species_score": np.eye(len(Species), dtype=np.float32)[species_F],
        "is_primary": grouping.is_primary_F,
        "primary_score": grouping.is_primary_F.astype(np.float32),
        "is_turned": grouping.is_turned_F,
        "turned_score": turned_F,
        "parent": grouping.parent_F,
        "parent_score": np.ones(len(row_F), np.float32),
        "generation": generations(grouping.parent_F),
        "pi_zero": pi_zero_F,
        "pi_zero_score": score_F,
    }
    return products_of(event, row_F, identity, _groups(columns, grouping, species_F, pi_zero_F))


def _species(
    clusters: Clusters, columns: Columns, grouping: Grouping, size_cm: float, cfg: config.Interact
) -> Ints:
    """Return the species (F,) of particles.

    A shower is an electron where it touches its vertex and loses at most `photon_dedx_mev_cm` at its start. A
    track is of the species whose range energy for its length is nearest in ratio to its deposited energy: muon,
    proton or, with `kaons`, kaon. What looks like a muon is a pion, if other than a Michel comes from it, or if
    it is short and no Michel does.
    """
    rules = cfg.infer.rules
    semantic_F = columns["semantic"]
    start, end = (columns[name].astype(np.float64) for name in ("start_point", "end_point"))
    species_F = np.full(len(semantic_F), int(Species.ELECTRON))
    dedx_F = local_energy(clusters, start) / size_cm
    is_photon_F = ~grouping.touches_F | (dedx_F > rules.photon_dedx_mev_cm)
    # one alone in its interaction has no vertex to be away from
    number_F = grouping.interaction_F
    alone_F = np.bincount(number_F)[number_F] == 1 if len(semantic_F) else grouping.touches_F
    is_photon_F = np.where(alone_F, dedx_F > rules.photon_dedx_mev_cm, is_photon_F)
    species_F[(semantic_F == Semantic.SHOWER) & is_photon_F] = Species.PHOTON

    length_cm = np.maximum(np.linalg.norm(end - start, axis=1), 1.0) * size_cm
    choices = [Species.MUON, Species.PROTON, *([Species.KAON] if cfg.kaons else [])]
    energy_F = np.maximum(columns["energy"].astype(np.float64), 1e-3)
    ratio = [np.abs(np.log(energy_F / energy_of_range(species, length_cm))) for species in choices]
    track_F = np.array(choices)[np.argmin(ratio, axis=0)]
    from_F = grouping.parent_F[
        (grouping.parent_F >= 0) & np.isin(semantic_F, (Semantic.TRACK, Semantic.SHOWER))
    ]
    scatters_F = np.isin(np.arange(len(semantic_F)), from_F)
    is_short_F = (length_cm <= rules.muon_length_cm) & ~grouping.michel_F
    track_F = np.where((track_F == Species.MUON) & (scatters_F | is_short_F), int(Species.PION), track_F)
    return np.where(semantic_F == Semantic.TRACK, track_F, species_F).astype(np.int64)


def _pi_zeros(
    columns: Columns, grouping: Grouping, species_F: Ints, cfg: config.Interact
) -> tuple[Ints, Floats]:
    """Return the number of the π⁰ (F,) that each particle is a photon of, -1 for none, and the score of its best pair.

    The score of two primary photons of one interaction is the smaller over the larger of the mass that their
    deposited energies make, and that of the π⁰.
    """
    num = len(species_F)
    photon = np.flatnonzero((species_F == Species.PHOTON) & grouping.is_primary_F)
    start = columns["start_point"].astype(np.float64)
    pair = photon[near_pairs(start[photon], 2 * cfg.infer.rules.length)]
    pair = pair[grouping.interaction_F[pair[:, 0]] == grouping.interaction_F[pair[:, 1]]]
    direction = unit(columns["start_direction"].astype(np.float64))
    cosine = np.einsum("ei,ei->e", direction[pair[:, 0]], direction[pair[:, 1]])
    energy = columns["energy"].astype(np.float64)
    ratio = pair_mass_mev(energy[pair[:, 0]], energy[pair[:, 1]], cosine) / PI_ZERO_MASS_MEV
    score_E = np.minimum(ratio, 1.0 / np.maximum(ratio, 1e-6))
    score_F = np.zeros(num)
    for side in pair.T:
        np.maximum.at(score_F, side, score_E)
    return pair_up(num, pair, score_E, cfg.infer.pi_zero_threshold), score_F


def _groups(
    columns: Columns, grouping: Grouping, species_F: Ints, pi_zero_F: Ints
) -> dict[str, NDArray[np.float32]]:
    """Return the scores of flavours and counts (N, K) of interactions, from their primaries.

    The flavour is that of the primary muon or electron that deposits most.
    """
    num = int(grouping.interaction_F.max(initial=-1)) + 1
    flavour = np.full(num, int(Flavour.NC_LIKE))
    leptons = np.flatnonzero(grouping.is_primary_F & np.isin(species_F, list(FLAVOUR_OF)))
    for row in leptons[np.argsort(columns["energy"][leptons], kind="stable")]:
        flavour[grouping.interaction_F[row]] = FLAVOUR_OF[int(species_F[row])]
    groups = {"flavour": np.eye(len(Flavour), dtype=np.float32)[flavour]}
    _, first = np.unique(pi_zero_F, return_index=True)
    counted = {
        "num_protons": np.flatnonzero(grouping.is_primary_F & (species_F == Species.PROTON)),
        "num_pions": np.flatnonzero(grouping.is_primary_F & (species_F == Species.PION)),
        "num_pi_zeros": first[pi_zero_F[first] >= 0],
    }
    for name, rows in counted.items():
        count = np.bincount(grouping.interaction_F[rows], minlength=num)
        groups[name] = np.eye(MAX_COUNT + 1, dtype=np.float32)[np.minimum(count, MAX_COUNT)]
    return groups
