"""Parts of graphs, by the kernel and by Python."""

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lartpc.sparse import build
from lartpc.sparse.partition import partition


@pytest.fixture(params=["kernel", "python"])
def way(request, monkeypatch):
    if request.param == "kernel":
        build.load()
    else:
        monkeypatch.setattr("lartpc.sparse.partition.is_built", lambda: False)


def parts(num, *edges):
    pair = np.array([edge[:2] for edge in edges], np.int64).reshape(-1, 2)
    return partition(num, pair, np.array([edge[2] for edge in edges], np.float64)).tolist()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("num", "edges", "expected"),
    [
        (0, [], []),
        (3, [], [0, 1, 2]),
        (3, [(0, 2, 1)], [0, 1, 0]),
        (3, [(0, 1, 0), (1, 2, -1)], [0, 1, 2]),
        # numbered in order of the first nodes, whatever part was made first
        (5, [(3, 4, 9), (0, 2, 1)], [0, 1, 0, 2, 2]),
        # the same two several times, in both orders, and a node with itself
        (2, [(0, 1, -3), (1, 0, 2), (0, 1, 2), (1, 1, 50)], [0, 0]),
        (2, [(0, 1, -3), (1, 0, 2), (0, 1, 1), (1, 1, 50)], [0, 1]),
        # 0 and 1 are one; 2 then has 3 - 4 with both together
        (3, [(0, 1, 5), (1, 2, 3), (0, 2, -4)], [0, 0, 1]),
        (3, [(0, 1, 5), (1, 2, 4.5), (0, 2, -4)], [0, 0, 0]),
        # two that repel each other weakly are one when what attracts both has joined one of them
        (4, [(0, 1, -1), (0, 2, 3), (1, 2, 2), (2, 3, -9)], [0, 0, 0, 1]),
        # of equal weights that between smaller numbers comes first: 1 joins 0, and not 2
        (3, [(1, 2, 2), (0, 1, 2), (0, 2, -3)], [0, 0, 1]),
        # 4 has more neighbours than 1 and keeps its number, so that (0, 2) precedes (0, 4)
        (5, [(1, 4, 9), (0, 1, 3), (0, 2, 3), (2, 4, -5), (3, 4, -1)], [0, 1, 0, 2, 1]),
        # as many, so that 1 keeps its number, and (0, 1) precedes (0, 2)
        (5, [(1, 4, 9), (0, 1, 3), (0, 2, 3), (2, 4, -5)], [0, 0, 1, 2, 0]),
    ],
)
def test_small_graphs(num, edges, expected):
    assert parts(num, *edges) == expected


@pytest.mark.usefixtures("way")
def test_without_repulsion_parts_are_connected_pieces():
    rng = np.random.default_rng(5)
    pair = rng.integers(0, 300, (200, 2))
    found = partition(300, pair, np.full(200, 0.25))
    graph = coo_array((np.ones(200), pair.T), shape=(300, 300))
    np.testing.assert_array_equal(found, connected_components(graph, directed=False)[1])


def a_graph(seed):
    """Return a random graph with many equal weights, or with none, and with edges that come several times."""
    rng = np.random.default_rng(seed)
    num = int(rng.integers(1, 80))
    pair = rng.integers(0, num, (int(rng.integers(0, 6 * num)), 2))
    steps = rng.integers(-60, 80, len(pair)) / 16 + 0.5
    weights = (rng.integers(-3, 4, len(pair)), steps, rng.normal(0.2, 1, len(pair)))
    return num, pair, weights[seed % 3].astype(np.float64)


def test_the_kernel_finds_what_python_finds(monkeypatch):
    build.load()
    graphs = [a_graph(seed) for seed in range(600)]
    by_kernel = [partition(*graph) for graph in graphs]
    monkeypatch.setattr("lartpc.sparse.partition.is_built", lambda: False)
    for found, graph in zip(by_kernel, graphs, strict=True):
        np.testing.assert_array_equal(found, partition(*graph))
    assert 5 < np.mean([found.max() for found in by_kernel]) < 35


def test_parts_end_when_no_two_attract_each_other():
    for seed in range(300):
        num, pair, weight = a_graph(seed)
        one, two = np.sort(partition(num, pair, weight)[pair], axis=1).T
        between = np.bincount(one * num + two, weight * (one != two))
        assert between.max(initial=0) <= 1e-9


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("num", "pair", "weight", "message"),
    [
        (3, [[0, 3]], [1.0], "nodes 0 to 3; there are 0 to 2"),
        (3, [[-1, 2]], [1.0], "nodes -1 to 2"),
        (3, [[0, 1]], [np.nan], "must be finite"),
        (3, [[0, 1]], [1.0, 2.0], "1 edges have 2 weights"),
        (2**31, [[0, 1]], [1.0], "more than the 2,147,483,647"),
    ],
)
def test_what_is_no_graph_is_refused(num, pair, weight, message):
    with pytest.raises(ValueError, match=message):
        partition(num, np.array(pair), np.array(weight))
