"""What came from what: a forest of particles, and pairs of photons from one π⁰.

Shape suffixes: F particles, E pairs, L links from a parent to a child.
"""

import numpy as np
from numpy.typing import NDArray

from lartpc.kinematics.clusters import Ints
from lartpc.vocab import NONE


def parent_forest(
    num: int,
    parent_L: Ints,
    child_L: Ints,
    score_L: NDArray[np.floating],
    none_F: NDArray[np.floating],
    threshold: float = 0.0,
) -> Ints:
    """Return the parent (F,) of each particle, -1 for none, such that no particle descends from itself.

    Links are taken in order of how much more likely they are than no parent at all; one that would close a
    circle is left out, and the particle goes on to its next best.

    Parameters
    ----------
    parent_L, child_L
        The two particles (L,) of each possible link.
    score_L
        Logarithm (L,) of the score that the first is the parent of the second.
    none_F
        Logarithm (F,) of the score that a particle has no parent.
    threshold
        Least score of having no parent; with less, a particle takes its best one, however likely that is.
    """
    parent_F = np.full(num, NONE, np.int64)
    gain_L = score_L - none_F[child_L]
    best_F = np.full(num, -np.inf)
    np.maximum.at(best_F, child_L, score_L)
    with np.errstate(divide="ignore"):
        is_rather_child_L = (none_F[child_L] < np.log(threshold)) & (score_L == best_F[child_L])
    order = np.argsort(-gain_L, kind="stable")
    order = order[((gain_L > 0) | is_rather_child_L)[order]]
    for parent, child in zip(parent_L[order].tolist(), child_L[order].tolist(), strict=True):
        if parent_F[child] != NONE:
            continue
        above = parent
        while above != NONE and above != child:
            above = int(parent_F[above])
        if above == NONE:
            parent_F[child] = parent
    return parent_F


def generations(parent_F: Ints) -> Ints:
    """Return how many ancestors (F,) each particle has, given the parent (F,) of each; -1: none."""
    generation_F = np.zeros(len(parent_F), np.int64)
    above_F = parent_F
    while (above_F != NONE).any():
        generation_F += above_F != NONE
        above_F = np.append(parent_F, NONE)[above_F]
    return generation_F


def pair_up(num: int, pair_E2: Ints, score_E: NDArray[np.floating], threshold: float) -> Ints:
    """Return the number of the pair (F,) that each particle is in, -1 for none, pairs by falling score.

    No particle is in two pairs, and pairs with a score below the threshold are none.
    """
    number_F = np.full(num, NONE, np.int64)
    kept = np.flatnonzero(score_E >= threshold)
    for one, two in pair_E2[kept[np.argsort(-score_E[kept], kind="stable")]].tolist():
        if number_F[one] == NONE and number_F[two] == NONE:
            number_F[[one, two]] = number_F.max() + 1
    return number_F
