"""Known answers of the quality figures."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from lartpc import metrics


def test_confusion_matrix_counts_true_rows_and_predicted_columns():
    found = metrics.confusion_matrix(np.array([0, 0, 1, 1, -1]), np.array([0, 1, 1, 1, 0]), 2)
    assert found.tolist() == [[1, 1], [0, 2]]


def test_class_scores():
    scores = metrics.class_scores(np.array([[1, 1, 0], [0, 2, 0], [0, 0, 0]]))
    assert scores.accuracy == 0.75
    np.testing.assert_allclose(scores.recall_K, [0.5, 1.0, np.nan])
    np.testing.assert_allclose(scores.precision_K, [1.0, 2 / 3, np.nan])
    assert scores.mean_recall == 0.75
    assert scores.mean_f1 == pytest.approx((2 / 3 + 0.8) / 2)


def test_scores_of_nothing_are_nan():
    scores = metrics.class_scores(np.zeros((2, 2), int))
    assert np.isnan([scores.accuracy, scores.mean_recall, scores.mean_f1]).all()


def test_incorrect_fractions_are_those_of_each_image():
    confusion = np.array([[[6, 2, 0], [0, 0, 0], [1, 0, 1]], np.zeros((3, 3)), np.diag([0, 5, 0])])
    of_image, of_class = metrics.incorrect_fractions(confusion)
    np.testing.assert_allclose(of_image, [0.3, np.nan, 0.0])
    np.testing.assert_allclose(of_class, [[0.25, np.nan, 0.5], [np.nan] * 3, [np.nan, 0, np.nan]])
    # classes 0 and 1 are one: what is mistaken between them is right
    merged = metrics.merge_classes(confusion, np.array([0, 0, 1]), 2)
    assert merged.tolist() == [[[8, 0], [1, 1]], [[0, 0], [0, 0]], [[5, 0], [0, 0]]]
    np.testing.assert_allclose(metrics.incorrect_fractions(merged)[0], [0.1, np.nan, 0.0])


def test_quantile_leaves_out_what_is_undefined():
    values = np.array([np.nan, *np.arange(11)])
    assert metrics.quantile(values, 0.9) == 9.0
    assert np.isnan(metrics.quantile(np.array([np.nan]), 0.9))


def test_clustering_of_a_split_and_a_merge():
    true = np.array([0] * 6 + [1] * 2 + [2] * 2)
    predicted = np.array([5] * 4 + [6] * 2 + [7] * 4)
    found = metrics.clustering(true, predicted)
    assert found.purity == pytest.approx((1 + 1 + 0.5) / 3)
    assert found.efficiency == pytest.approx((4 / 6 + 1 + 1) / 3)
    assert found.voxel_purity == pytest.approx((4 + 2 + 2) / 10)
    assert found.voxel_efficiency == pytest.approx((4 + 2 + 2) / 10)
    dice = {"true": (2 * 4 / 10 + 2 * (2 * 2 / 6)) / 3, "predicted": (2 * 4 / 10 + 2 * 2 / 8 + 2 * 2 / 6) / 3}
    assert found.best_dice == pytest.approx(min(dice.values()))
    assert found.ari == pytest.approx(adjusted_rand_score(true, predicted))
    assert (found.num_true, found.num_predicted, found.assigned) == (3, 3, 1.0)


def test_unassigned_voxels_cost_efficiency_but_are_no_pure_clusters():
    found = metrics.clustering(np.array([0] * 4 + [1] * 4), np.array([0, 0, -1, -1] + [-1] * 4))
    assert (found.purity, found.efficiency, found.assigned) == (1.0, 0.25, 0.25)
    assert (found.voxel_purity, found.voxel_efficiency) == (1.0, 0.25)
    assert found.best_dice == pytest.approx(min(2 * 2 / 6 / 2, 2 * 2 / 6))
    alone = [0, 0, 1, 2, 3, 4, 5, 6]
    assert found.ari == pytest.approx(adjusted_rand_score([0] * 4 + [1] * 4, alone))


def test_adjusted_rand_index_agrees_with_sklearn():
    rng = np.random.default_rng(1)
    for num in (2, 10, 1000):
        true, predicted = rng.integers(0, 5, num), rng.integers(0, 7, num)
        assert metrics.clustering(true, predicted).ari == pytest.approx(adjusted_rand_score(true, predicted))


def test_adjusted_rand_index_does_not_overflow():
    labels = np.arange(3_000_000) % 3
    assert metrics.clustering(labels, labels).ari == 1.0
    assert metrics.clustering(labels, np.roll(labels, 1) // 2).ari < 1.0


def test_clustering_without_true_or_predicted_clusters():
    nothing = metrics.clustering(np.array([-1, -1]), np.array([0, 1]))
    assert np.isnan([nothing.purity, nothing.efficiency, nothing.ari, nothing.best_dice]).all()
    lost = metrics.clustering(np.array([0, 0, 1]), np.array([-1, -1, -1]))
    assert np.isnan(lost.purity) and (lost.efficiency, lost.best_dice, lost.ari) == (0.0, 0.0, 0.0)
    assert np.isnan(metrics.clustering(np.array([0]), np.array([0])).ari)


def test_overlaps_and_best_matches():
    true = np.array([0, 0, 0, 0, 1, 1, -1])
    reco = np.array([2, 2, 2, 0, 0, -1, 0])
    pairs = metrics.overlaps(true, reco, np.arange(7.0), 3, 3)
    assert pairs.true_M.tolist() == [0, 0, 1] and pairs.reco_M.tolist() == [0, 2, 0]
    assert pairs.num_voxels_M.tolist() == [1, 3, 1] and pairs.energy_M.tolist() == [3.0, 3.0, 4.0]
    np.testing.assert_allclose(pairs.iou_M, [1 / 6, 3 / 4, 1 / 4])
    index, iou = pairs.best_reco()
    assert index.tolist() == [2, 0, -1] and iou.tolist() == [0.75, 0.25, 0.0]
    index, iou = pairs.best_true()
    assert index.tolist() == [1, -1, 0] and iou.tolist() == [0.25, 0.0, 0.75]


def test_of_equal_matches_the_first_row_counts():
    pairs = metrics.overlaps(np.array([0, 0]), np.array([0, 1]), np.ones(2), 1, 2)
    assert pairs.best_reco()[0].tolist() == [0]


def test_overlaps_of_nothing():
    pairs = metrics.overlaps(np.array([-1]), np.array([-1]), np.ones(1), 2, 0)
    assert len(pairs.true_M) == 0 and pairs.best_reco()[0].tolist() == [-1, -1]
    assert len(pairs.best_true()[0]) == 0


def test_nearest():
    distance, row = metrics.nearest(np.array([[0.0, 0, 0], [9, 0, 0]]), np.array([[8.0, 0, 0], [0, 3, 0]]))
    assert distance.tolist() == [3.0, 1.0] and row.tolist() == [1, 0]
    distance, row = metrics.nearest(np.zeros((2, 3)), np.zeros((0, 3)))
    assert np.isinf(distance).all() and row.tolist() == [-1, -1]
    assert metrics.nearest(np.zeros((0, 3)), np.zeros((2, 3)))[0].shape == (0,)


def test_within_counts_missing_points():
    assert metrics.within(np.array([1.0, 3.0, np.inf, 5.0]), 3.0) == 0.5
    assert np.isnan(metrics.within(np.zeros(0), 3.0))
    assert metrics.median(np.array([1.0, np.nan, 3.0])) == 2.0
    assert np.isnan(metrics.mean(np.array([np.nan])))
