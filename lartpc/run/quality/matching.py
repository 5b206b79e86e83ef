"""Which true particles were found, by class, size and energy, and which Michels: counts per event, and pooled.

Shape suffixes: T true particles, F reconstructed particles.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.event import Event
from lartpc.kinematics.classes import final_classes
from lartpc.tables.fields import names_of
from lartpc.tables.metric_fields import MATCHED_SIZES
from lartpc.truth import majority
from lartpc.vocab import Semantic

Figures = dict[str, Any]

MIN_MICHEL_SHARE = 0.5
"""A reconstructed Michel is real if at least this share of its voxels is of one true Michel."""
CLASSES = names_of(Semantic)[: Semantic.LOW_ENERGY]


def size_words() -> list[str]:
    """Return the ends of the names of figures by size."""
    return [f"{low}_to_{high - 1}" for low, high in pairwise(MATCHED_SIZES)] + [f"from_{MATCHED_SIZES[-1]}"]


def kinds() -> dict[str, Sequence[str]]:
    """Return of what the counts of `matching_figures` are told apart, and the words for each."""
    return {"class": CLASSES, "size": size_words(), "primary": [""]}


def name_of(what: str, word: str) -> str:
    """Return the name of the share of matched particles of a kind."""
    return f"matched_{what}_{word}".rstrip("_")


def matching_figures(event: Event, counted_T: NDArray[np.bool_], matched_T: NDArray[np.bool_]) -> Figures:
    """Count true particles and those matched, by class, by voxels and of primaries, and add up their energies.

    Parameters
    ----------
    counted_T, matched_T
        True particles that can be matched, and those that are.
    """
    true = event["truth_particle"]
    bin_T = np.searchsorted(MATCHED_SIZES, true["num_voxels"], side="right") - 1
    energy = true["energy"].astype(np.float64)
    return {
        "matched_class_counts": _pairs(true["semantic"], len(CLASSES), counted_T, matched_T),
        "matched_size_counts": _pairs(bin_T, len(MATCHED_SIZES), counted_T, matched_T),
        "matched_primary_counts": _pairs(np.where(true["is_primary"] == 1, 0, -1), 1, counted_T, matched_T),
        "matched_energy_mev": [float(energy[counted_T].sum()), float(energy[matched_T].sum())],
        "michel_counts": _michels(event, counted_T),
    }


def _pairs(
    kind_T: NDArray[Any], num: int, counted_T: NDArray[np.bool_], matched_T: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the numbers of all and of the matched ones (fast) of each kind (slow)."""
    known = (kind_T >= 0) & (kind_T < num)
    pairs = [np.bincount(kind_T[known & of], minlength=num) for of in (counted_T, matched_T)]
    return np.stack(pairs, axis=1).ravel().astype(np.int64)


def _michels(event: Event, counted_T: NDArray[np.bool_]) -> list[int]:
    """Count reconstructed Michels, those that are real, true Michels, and those that a real one is of."""
    true, label_V = event["truth_particle"], event["group"]["particle"]
    is_found = final_classes(event) == Semantic.MICHEL
    owner_F = majority(label_V, event["truth_voxel"]["particle"], len(is_found), MIN_MICHEL_SHARE)
    is_real = is_found & (np.append(true["semantic"], -1)[owner_F] == Semantic.MICHEL)
    is_michel = counted_T & (true["semantic"] == Semantic.MICHEL)
    is_identified = is_michel & np.isin(np.arange(len(is_michel)), owner_F[is_real])
    return [int(of.sum()) for of in (is_found, is_real, is_michel, is_identified)]


def pool_matching(flat: Callable[[str], NDArray[Any]]) -> Figures:
    """Pool the counts over events; `flat` gives the values of a column, those of lists joined end to end."""
    figures: Figures = {}
    for what, words in kinds().items():
        counts = flat(f"matched_{what}_counts").reshape(-1, len(words), 2).sum(axis=0)
        for word, (num, right) in zip(words, counts, strict=True):
            name = name_of(what, word)
            figures |= {f"{name}_num": int(num), name: _share(right, num)}
    energy = flat("matched_energy_mev").reshape(-1, 2).sum(axis=0)
    figures["matched_energy"] = _share(energy[1], energy[0])
    reco, real, true, found = flat("michel_counts").reshape(-1, 4).sum(axis=0)
    return figures | {
        "michel_id_num_reco": int(reco),
        "michel_id_purity": _share(real, reco),
        "michel_id_num": int(true),
        "michel_id_efficiency": _share(found, true),
    }


def _share(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else float("nan")
