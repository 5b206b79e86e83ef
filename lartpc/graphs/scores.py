"""Scores from logits, each row by itself, so that no event depends on those beside it.

Shape suffixes: R rows, F nodes, E edges (each pair once), D directed edges (2E), C channels, K classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def softmax(logit_RK: NDArray[Any]) -> NDArray[Any]:
    """Return the scores of logits along the last axis."""
    share = np.exp(logit_RK - logit_RK.max(axis=-1, keepdims=True))
    scores: NDArray[Any] = share / share.sum(axis=-1, keepdims=True)
    return scores


def parent_log_scores(
    parent_D: NDArray[Any], orphan_F: NDArray[Any], pair_2E: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Normalise the choice of each node's parent, as `lartpc.nets.interaction.parent_log_scores` does, for arrays.

    The logits are of directed edges (D,), forward then backward, and of having none (F,).
    """
    child_D = np.concatenate([pair_2E[1], pair_2E[0]])
    largest_F = orphan_F.copy()
    np.maximum.at(largest_F, child_D, parent_D)
    total_F = np.exp(orphan_F - largest_F)
    np.add.at(total_F, child_D, np.exp(parent_D - largest_F[child_D]))
    norm_F = largest_F + np.log(total_F)
    return parent_D - norm_F[child_D], orphan_F - norm_F
