"""Groups of nodes from the scores of edges, after GrapPA (arXiv:2007.01335)."""

import numpy as np
from numpy.typing import NDArray

from lartpc.links import pieces


def spanning_forest(
    num_nodes: int, pairs: NDArray[np.int64], score: NDArray[np.floating], threshold: float
) -> NDArray[np.int64]:
    """Group nodes by the greedy spanning forest of GrapPA (arXiv:2007.01335, sec. III F).

    Edges are taken in order of falling score down to the threshold. One joins the groups of its two nodes
    only if that lowers the log-loss of the adjacency: the sum over all edges of -log(score) within
    groups and of -log(1 - score) between groups. Joining two groups changes it by the sum of the logits
    of the edges between them, so those sums are kept for each pair of groups and added up on a join.

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
    linked = score >= threshold
    component = pieces(num_nodes, pairs[linked])
    # Edges between components never count: no join can bridge them.
    inside = np.flatnonzero(component[pairs[:, 0]] == component[pairs[:, 1]])
    clipped = np.clip(score[inside].astype(np.float64), 1e-7, 1 - 1e-7)
    logit = np.log(clipped / (1 - clipped))
    gain: list[dict[int, float]] = [{} for _ in range(num_nodes)]
    for (one, two), value in zip(pairs[inside].tolist(), logit.tolist(), strict=True):
        gain[one][two] = gain[two][one] = value
    group = list(range(num_nodes))

    def root(node: int) -> int:
        while group[node] != node:
            group[node] = group[group[node]]
            node = group[node]
        return node

    order = np.argsort(-score[linked], kind="stable")
    for one, two in pairs[linked][order].tolist():
        keep, drop = root(one), root(two)
        if keep == drop or gain[keep][drop] <= 0:
            continue
        if len(gain[keep]) < len(gain[drop]):
            keep, drop = drop, keep
        del gain[keep][drop]
        for other, value in gain[drop].items():
            if other != keep:
                del gain[other][drop]
                gain[keep][other] = gain[other][keep] = gain[keep].get(other, 0.0) + value
        gain[drop] = {}
        group[drop] = keep
    roots = np.array([root(node) for node in range(num_nodes)], np.int64)
    _, first, label = np.unique(roots, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[label]
