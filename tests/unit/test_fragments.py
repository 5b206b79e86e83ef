import numpy as np
import pytest
import torch
from conftest import labelled, line, typical
from sklearn.cluster import DBSCAN

from lartpc import config, fragments
from lartpc.fragments.links import links, pieces, renumber, spread
from lartpc.metrics import clustering
from lartpc.truth import upstream_from_truth
from lartpc.vocab import Semantic

CPU = torch.device("cpu")
TINY = {"filters": 8, "depth": 4, "repetitions": 1}
SETTINGS = {
    "dbscan": config.Dbscan(),
    "graph_spice": config.GraphSpice.model_validate({"unet": TINY}),
    "embedding": config.Embedding.model_validate({"unet": TINY}),
}
LEARNED = ("graph_spice", "embedding")


def on_truth(event):
    return upstream_from_truth(event, ["semantic", "point"])


def find(event, cfg=SETTINGS["dbscan"], net=None):
    ((label, semantic),) = fragments.find(net, [event], cfg, CPU)
    return label, semantic


# -- links -------------------------------------------------------------------------------------


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


# -- by distance -------------------------------------------------------------------------------
def crossing():
    """Two tracks that cross at (100, 100, 50), given as four that leave this place."""
    arms = [line((100, 100, 50), step, 40) for step in ((1, 1, 0), (1, -1, 0), (-1, -1, 0), (-1, 1, 0))]
    return labelled([{"coord": arm} for arm in arms])


def test_crossing_tracks_are_cut_at_the_point():
    event = on_truth(crossing())
    label, semantic = find(event)
    assert semantic.tolist() == [Semantic.TRACK] * 4
    # Every voxel but the shared one belongs to its own arm.
    assert clustering(event["truth_voxel"]["particle"], label).efficiency > 0.97
    uncut = SETTINGS["dbscan"].model_copy(update={"break_radius": 0.0})
    assert len(find(event, uncut)[1]) == 1


def test_short_track_inside_the_cut_is_a_fragment():
    event = on_truth(labelled([{"coord": line((10, 10, 10), (1, 0, 0), 4)}]))
    label, semantic = find(event)
    assert label.tolist() == [0, 0, 0, 0]
    assert semantic.tolist() == [Semantic.TRACK]


def test_small_fragments_and_low_energy_are_left_over():
    event = on_truth(
        labelled(
            [{"coord": line((10, 10, 10), (1, 0, 0), 2)}, {"coord": line((50, 50, 50), (1, 1, 1), 9)}],
            num_blips=9,
        )
    )
    label, _ = find(event)
    np.testing.assert_array_equal(label == 0, event["truth_voxel"]["particle"] == 1)
    np.testing.assert_array_equal(label == -1, event["truth_voxel"]["particle"] != 1)


def test_classes_do_not_link():
    event = on_truth(
        labelled(
            [
                {"coord": line((10, 10, 10), (1, 0, 0), 20)},
                {"coord": line((30, 10, 10), (0, 1, 0), 10), "semantic": Semantic.MICHEL},
            ]
        )
    )
    label, semantic = find(event)
    assert semantic.tolist() == [Semantic.TRACK, Semantic.MICHEL]
    np.testing.assert_array_equal(label, event["truth_voxel"]["particle"])


def test_fragments_are_numbered_by_first_voxel():
    label, _ = find(on_truth(typical()))
    known = label[label >= 0]
    _, first = np.unique(known, return_index=True)
    assert (np.diff(first) > 0).all()
