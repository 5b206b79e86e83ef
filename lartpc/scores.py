"""Scores from logits, each row by itself, so that no event depends on those beside it.

Shape suffixes: R rows, V voxels, F nodes, E edges (each pair once), D directed edges (2E), C channels, K classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def sigmoid(logit: NDArray[Any]) -> NDArray[Any]:
    """Return the scores of logits of any shape."""
    small = np.exp(-np.abs(logit))
    scores: NDArray[Any] = np.where(logit >= 0, 1, small) / (1 + small)
    return scores.astype(logit.dtype, copy=False)


def softmax(logit_RK: NDArray[Any]) -> NDArray[Any]:
    """Return the scores of logits along the last axis."""
    share = np.exp(logit_RK - logit_RK.max(axis=-1, keepdims=True))
    scores: NDArray[Any] = share / share.sum(axis=-1, keepdims=True)
    return scores


def best_class(score_RK: NDArray[Any], weights: Sequence[float]) -> NDArray[np.int64]:
    """Return the class (R,) whose score times its weight is the largest."""
    found: NDArray[np.int64] = (score_RK * np.asarray(weights, score_RK.dtype)).argmax(axis=1)
    return found


def mean_and_vacuity(logit_VK: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the mean (V, K) of the Dirichlet distribution of logits, and the uncertainty mass K / S (V,).

    Its parameters are `lartpc.nets.uncertainty.dirichlet`, and S is their sum: without any evidence the mass is 1
    (arXiv:1806.01768, equation 1).
    """
    alpha_VK = np.logaddexp(logit_VK, logit_VK.dtype.type(0)) + 1
    total_V1 = alpha_VK.sum(axis=1, keepdims=True)
    return alpha_VK / total_V1, logit_VK.shape[1] / total_V1[:, 0]


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
