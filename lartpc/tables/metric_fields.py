"""Columns of metrics: what an event is compared with its truth by; definitions in docs/reference/metrics.md."""

import pyarrow as pa

from lartpc.calibration import NUM_BINS, NUM_UNCERTAINTIES
from lartpc.event import MAX_COUNT
from lartpc.tables.fields import Field, count, number, text, values, word
from lartpc.tables.particle_fields import COUNTS
from lartpc.vocab import Flavour, Semantic, Species

INPUT = ("predicted", "truth", "planes")
LEVELS = ("fragment", "particle", "interaction")
MATCHED_SIZES = (1, 5, 10, 20, 50, 200)
"""Matched particles are told by their true voxels, from one of these to below the next."""
NODE_CLASSES = ("shower", "track")
"""Classes for which the agreement of particles is stated by itself."""
PARENT_KINDS = ("none", "michel", "delta", "other")
"""Particles by what their parents are judged as: without one, Michels, deltas, other particles with one."""

METRICS = {
    "input": word(
        INPUT,
        "what each stage was given: the predictions of the stages before, their truth, or images of wire planes "
        "of which 3D points are made",
    ),
    "stages": text("stages that the figures are of, separated by commas; others are empty"),
    "plane": count("plane of wires that the image is seen by; -1: a 3D image"),
    "num_voxels": count("voxels with energy"),
    "voxel_size_cm": number("voxel pitch", "cm"),
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
    "ghost_far_counts": Field(
        pa.list_(pa.int64(), 2),
        "ghosts that share no corner with a real voxel, kept and called ghosts",
    ),
    "truth_point_distance": values(
        pa.float32(), "of each true point but deltas, to the nearest predicted one", "voxel"
    ),
    "truth_point_semantic": values(pa.int8(), "code of the class of these true points"),
    "truth_point_is_large": values(
        pa.int8(), "1: of particles of at least 7 voxels and 10 MeV, the cut of the PPN paper"
    ),
    "point_distance": values(
        pa.float32(), "of each predicted point but deltas, to the nearest true one", "voxel"
    ),
    "point_semantic": values(pa.int8(), "code of the class of these predicted points"),
    **{
        f"{level}_{name}": number(f"{what} of {level}s; null: undefined")
        for level in LEVELS
        for name, what in {
            "purity": "purity",
            "efficiency": "efficiency",
            "ari": "adjusted Rand index",
            "best_dice": "symmetric best Dice",
            "assigned": "share of voxels in any",
        }.items()
    },
    **{
        f"particle_ari_{name}": number(f"{what}; null: undefined")
        for name, what in {
            **{word: f"adjusted Rand index of true {word}s" for word in NODE_CLASSES},
            "nodes": "adjusted Rand index of particles on voxels of fragments only",
            **{f"nodes_{word}": f"the same on fragments called {word}" for word in NODE_CLASSES},
        }.items()
    },
    "matched_class_counts": Field(
        pa.list_(pa.int64(), 2 * Semantic.LOW_ENERGY),
        "true particles and those matched (fast) by true class (slow)",
    ),
    "matched_size_counts": Field(
        pa.list_(pa.int64(), 2 * len(MATCHED_SIZES)),
        f"the same by true voxels, from {', '.join(map(str, MATCHED_SIZES))}",
    ),
    "matched_primary_counts": Field(pa.list_(pa.int64(), 2), "the same of primaries"),
    "matched_energy_mev": Field(
        pa.list_(pa.float64(), 2), "deposited energy of true particles and of those matched", "MeV"
    ),
    "michel_counts": Field(
        pa.list_(pa.int64(), 4),
        "reconstructed Michels, those that are real, true Michels, and those identified",
    ),
    "num_matchable_particles": count("true particles with a species that count; -1: interact was not run"),
    "species_confusion": Field(
        pa.list_(pa.int64(), len(Species) ** 2),
        "matched particles by true species (slow) and predicted species (fast)",
    ),
    "primary_confusion": Field(
        pa.list_(pa.int64(), 4), "matched particles by truly primary (slow) and predicted (fast)"
    ),
    "vertex_distance_cm": values(
        pa.float32(),
        "of true vertices in the box with two or more primaries, to the matched interaction's",
        "cm",
    ),
    "parent_counts": Field(
        pa.list_(pa.int64(), 2 * len(PARENT_KINDS)),
        "matched particles and those with the correct parent (fast) by kind: none, Michel, delta, other",
    ),
    "pi_zero_counts": Field(
        pa.list_(pa.int64(), 3), "true π⁰ with two photons, those found, and reconstructed ones"
    ),
    "orientation_counts": Field(
        pa.list_(pa.int64(), 2),
        "matched tracks of which start and end differ, and those with the correct direction",
    ),
    "start_distance": values(
        pa.float32(), "from the true start of each matched particle to the reconstructed one", "voxel"
    ),
    "start_semantic": values(pa.int8(), "code of the true class of these particles"),
    "num_matchable_interactions": count(
        "true interactions whose primaries are known; -1: interact was not run"
    ),
    "flavour_confusion": Field(
        pa.list_(pa.int64(), len(Flavour) ** 2),
        "matched interactions by true flavour (slow) and predicted flavour (fast)",
    ),
    **{
        f"{name}_count_confusion": Field(
            pa.list_(pa.int64(), (MAX_COUNT + 1) ** 2),
            f"matched interactions by true (slow) and predicted (fast) number of {what}, up to {MAX_COUNT}",
        )
        for name, what in COUNTS.items()
    },
    "topology_counts": Field(
        pa.list_(pa.int64(), 2),
        "true interactions whose primaries are known, and those with all species correct",
    ),
    "energy_species": values(pa.int8(), "code of the true species of matched particles of known energy"),
    "energy_semantic": values(pa.int8(), "code of their true class"),
    "energy_init_mev": values(pa.float32(), "their true kinetic energy", "MeV"),
    "energy_range_mev": values(
        pa.float32(), "by range, as a track of the true species; null: none, or not contained", "MeV"
    ),
    "energy_calorimetric_mev": values(pa.float32(), "by calorimetry; null: not contained", "MeV"),
    "energy_best_mev": values(pa.float32(), "the best kinetic energy, as the chain gives it", "MeV"),
}
