"""The graph over the clusters of an event, after GrapPA (arXiv:2007.01335).

Shape suffixes: F nodes (fragments or particles), E edges (each pair once), C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

A = TypeVar("A")

NUM_EDGE_FEATURES = 20

EDGE_VECTORS = (0, 3, 6)
"""First columns of what is a vector, or a place as seen from the centre of the box, in the features of edges."""
EDGE_TENSORS = (9,)
"""First columns of what is a product of two vectors."""


@dataclass(frozen=True)
class Graph(Generic[A]):
    """The graph of one event, or of several side by side: features, and pairs of nodes (2, E).

    Of arrays, or where a network is trained of tensors.
    """

    node_FC: A
    pair_2E: A
    edge_EC: A


def edge_features(one: NDArray[np.float64], two: NDArray[np.float64], num_voxels: int) -> NDArray[np.float32]:
    """Return the features (E, 20) of edges between nearest voxels (E, 3) of two clusters.

    They are those of GrapPA (both points, unit displacement, length, outer product of the displacement)
    and the logarithm of the length, which resolves the short ones. Each is shifted and scaled by fixed
    numbers to about mean 0 and spread 1 over the edges of simulated events; positions are from the centre
    of the box of side `num_voxels`.
    """
    quarter = 0.25 * num_voxels
    delta = two - one
    length = np.linalg.norm(delta, axis=1, keepdims=True)
    delta = np.divide(delta, length, out=np.zeros_like(delta), where=length > 0)
    outer = (delta[:, :, None] * delta[:, None, :] - np.eye(3) / 3.0).reshape(-1, 9)
    columns = [
        one / quarter - 2.0,
        two / quarter - 2.0,
        1.7 * delta,
        3.5 * outer,
        length / quarter - 1.0,
        np.log1p(length) - 4.5,
    ]
    return np.concatenate(columns, axis=1).astype(np.float32)


def make_graph(
    node_features: NDArray[np.float32],
    pairs: NDArray[np.int64],
    one: NDArray[np.float64],
    two: NDArray[np.float64],
    num_voxels: int,
    more: NDArray[np.float32] | None = None,
) -> Graph[NDArray[Any]]:
    """Build a graph from node features (F, C), pairs (E, 2), their nearest voxels (E, 3) and `more` features."""
    edges = edge_features(one, two, num_voxels)
    if more is not None:
        edges = np.concatenate([edges, more], axis=1)
    return Graph(node_features, np.ascontiguousarray(pairs.T), edges)


def side_by_side(graphs: Sequence[Graph[NDArray[Any]]]) -> Graph[NDArray[Any]]:
    """Join the graphs of several events into one without edges between them."""
    first = np.cumsum([0, *(len(graph.node_FC) for graph in graphs)])
    pairs = [graph.pair_2E + offset for graph, offset in zip(graphs, first[:-1], strict=True)]
    return Graph(
        np.concatenate([graph.node_FC for graph in graphs]),
        np.concatenate(pairs, axis=1),
        np.concatenate([graph.edge_EC for graph in graphs]),
    )


def turned(
    feat_NC: NDArray[np.float32],
    axes: NDArray[np.int64],
    flip: NDArray[np.bool_],
    vectors: Sequence[int],
    tensors: Sequence[int],
) -> NDArray[np.float32]:
    """Return features (N, C) under a symmetry of the box: axes exchanged, and flipped.

    Parameters
    ----------
    axes
        Which axis each of the three was before.
    flip
        Which of the three are flipped.
    vectors, tensors
        First columns of vectors (3) and of products of two vectors (9); all other columns stay.
    """
    order_C, sign_C = _turning(
        tuple(axes.tolist()), tuple(flip.tolist()), tuple(vectors), tuple(tensors), feat_NC.shape[1]
    )
    return feat_NC[:, order_C] * sign_C


@lru_cache(maxsize=1024)
def _turning(
    axes: tuple[int, ...],
    flip: tuple[bool, ...],
    vectors: tuple[int, ...],
    tensors: tuple[int, ...],
    num: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return which column each one was, and the factor that it gets."""
    order_C, sign_C = np.arange(num), np.ones(num, np.float32)
    axis, sign = np.array(axes), np.where(flip, -1.0, 1.0)
    for first in vectors:
        order_C[first : first + 3], sign_C[first : first + 3] = first + axis, sign
    for first in tensors:
        order_C[first : first + 9] = first + (3 * axis[:, None] + axis).ravel()
        sign_C[first : first + 9] = np.outer(sign, sign).ravel()
    return order_C, sign_C
