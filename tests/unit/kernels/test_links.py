"""Links between voxels, and the pieces that they make."""

import numpy as np
import pytest
from sklearn.cluster import DBSCAN

from lartpc.links import lengths, links, pieces, renumber, set_apart, spread
from lartpc.sparse import build


def some_voxels(seed, num):
    """Voxels of random walks and of noise, sorted."""
    rng = np.random.default_rng(seed)
    walk = rng.integers(0, 3, (num, 3)).cumsum(axis=0) // 2 % 60
    noise = rng.integers(0, 60, (num // 2, 3))
    return np.unique(np.concatenate([walk, noise]), axis=0).astype(np.int32)


@pytest.mark.parametrize("eps", [1.0, 1.4, 1.5, 1.8, 1.999, 2.0, 2.5, 3.0, 4.3])
@pytest.mark.parametrize("num", [1, 2, 30, 3000])
def test_pieces_are_the_clusters_of_scikit_learn(eps, num):
    coord = some_voxels(num, num)
    expected = DBSCAN(eps=eps, min_samples=1).fit(coord).labels_
    np.testing.assert_array_equal(pieces(len(coord), links(coord, eps)), expected)


def test_links_need_no_order_and_no_room_around():
    rng = np.random.default_rng(0)
    coord = rng.permutation(np.stack(np.meshgrid(*[np.arange(4)] * 3), -1).reshape(-1, 3))
    found = {tuple(sorted(pair)) for pair in links(coord, 2.0).tolist()}
    distance = np.linalg.norm(coord[:, None] - coord, axis=2)
    expected = {(i, j) for i, j in np.argwhere(distance <= 2.0).tolist() if i < j}
    assert found == expected
    assert len(found) == len(links(coord, 2.0))
    assert len(links(coord[:0], 2.0)) == len(links(coord, 0.5)) == 0


def test_labels_spread_to_the_nearest():
    coord = np.array([[0, 0, z] for z in range(7)] + [[9, 9, 9]])
    label = np.array([4, -1, -1, -1, -1, 7, -1, -1])
    link = links(coord, 1.0)
    found = spread(label, link, np.array([1.0, 1.0, 1.0, 2.5, 1.0, 1.0]))
    assert found.tolist() == [4, 4, 4, 4, 7, 7, 7, -1]
    assert spread(label[1:5], link[:0], np.zeros(0)).tolist() == [-1] * 4
    assert renumber(np.array([5, -1, 2, 2, 5, 9]), 2).tolist() == [0, -1, 1, 1, 0, -1]


def test_groups_set_apart_have_the_links_that_each_has_alone():
    rng = np.random.default_rng(8)
    coord = np.unique(rng.integers(0, 9, (300, 3)), axis=0)
    group = rng.integers(0, 3, len(coord)).astype(np.int8)
    together = links(set_apart(coord, group, 2.3), 2.3)
    alone = [rows[links(coord[rows], 2.3)] for rows in (np.flatnonzero(group == one) for one in range(3))]
    assert {tuple(pair) for pair in together.tolist()} == {
        tuple(pair) for pair in np.concatenate(alone).tolist()
    }
    assert len(together) == sum(map(len, alone))


@pytest.mark.parametrize("eps", [1.0, 1.8, 2.5, 4.3])
@pytest.mark.parametrize("num", [2, 3000])
@pytest.mark.parametrize("is_sorted", [True, False])
def test_the_kernel_finds_what_numpy_finds(eps, num, is_sorted, monkeypatch):
    build.load()
    rng = np.random.default_rng(num)
    coord = some_voxels(num, num)
    coord = coord if is_sorted else rng.permutation(coord)
    label = np.where(rng.random(len(coord)) < 0.05, rng.integers(0, 20, len(coord)), -1)

    def found():
        link = links(coord, eps)
        return link, pieces(len(coord), link), spread(label, link, lengths(coord, link))

    by_kernel = found()
    monkeypatch.setattr("lartpc.links.is_built", lambda: False)
    for one, two in zip(by_kernel, found(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert (by_kernel[2] >= 0).sum() >= (label >= 0).sum()


def test_of_equally_near_labels_the_highest_spreads(monkeypatch):
    build.load()
    coord = np.array([[0, 0, z] for z in range(7)])
    link = links(coord, 1.0)
    for label in ([5, -1, -1, -1, -1, -1, 3], [3, -1, -1, -1, -1, -1, 5]):
        wanted = [label[0]] * 3 + [5] + [label[6]] * 3
        assert spread(np.array(label), link, lengths(coord, link)).tolist() == wanted
        with monkeypatch.context() as without:
            without.setattr("lartpc.links.is_built", lambda: False)
            assert spread(np.array(label), link, lengths(coord, link)).tolist() == wanted
