"""Groups of nodes from the scores of edges."""

import numpy as np
from numpy.typing import NDArray

from lartpc.sparse.partition import partition

LEAST = 1e-7
"""Scores are taken as no nearer than this to 0 and 1."""


def groups_of(
    num_nodes: int, pairs: NDArray[np.int64], score: NDArray[np.floating], threshold: float
) -> NDArray[np.int64]:
    """Group nodes so that the scores of the edges within groups and between them are likely.

    As in GrapPA (arXiv:2007.01335, sec. III F) two groups become one only if that lowers the log-loss of the
    adjacency, the sum over all edges of -log(score) within groups and of -log(1 - score) between groups: by
    greedy additive contraction (`lartpc.sparse.partition`) of the logits of the scores. A threshold other than 0.5
    counts as the score that says nothing: its logit is taken from each.

    Parameters
    ----------
    pairs
        Nodes of each edge (E, 2), every pair once.
    score
        Score (E,) that the nodes of an edge belong together.

    Returns
    -------
    numpy.ndarray
        Group of each node (F,), numbered in order of the first node.
    """
    return partition(num_nodes, pairs, _logit(score) - _logit(np.array(threshold)))


def _logit(score: NDArray[np.floating]) -> NDArray[np.float64]:
    clipped = np.clip(score.astype(np.float64), LEAST, 1 - LEAST)
    return np.log(clipped / (1 - clipped))
