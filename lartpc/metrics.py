"""Definitions of the quality figures, each stated once; docs/reference/metrics.md explains them to readers.

Shape suffixes: V voxels, K classes, E events, T true objects, R reconstructed objects, P points, M pairs of a true
and a reconstructed object that share voxels. A label below zero means "none".
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.lean import cKDTree

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MATCH_IOU = 0.5
"""Least IoU of a match that counts; at most one object can share more than that with another."""
_DENSE = 16
"""Tables of up to this many entries a voxel are faster than sorting the voxels."""


# -- classification ----------------------------------------------------------------------------


def confusion_matrix(true_V: NDArray[Any], predicted_V: NDArray[Any], num_classes: int) -> Ints:
    """Count (K, K) how often true class (row) was called predicted class (column).

    Items whose true or predicted class is negative are left out.
    """
    known = (true_V >= 0) & (predicted_V >= 0)
    cell_V = true_V[known].astype(np.int64) * num_classes + predicted_V[known]
    counts: Ints = np.bincount(cell_V, minlength=num_classes**2).astype(np.int64)
    return counts.reshape(num_classes, num_classes)


@dataclass(frozen=True)
class ClassScores:
    """Figures of a confusion matrix, pooled over all that it counts; nan where undefined.

    `accuracy` is the share of items called right; `recall_K`, `precision_K` and `f1_K` are per class, and
    the means are unweighted over the classes for which they are defined.
    """

    accuracy: float
    recall_K: Floats
    precision_K: Floats
    f1_K: Floats

    @property
    def mean_recall(self) -> float:
        """Mean recall over the classes that truly occur (macro accuracy)."""
        return mean(self.recall_K)

    @property
    def mean_f1(self) -> float:
        """Mean F1 over the classes that occur, truly or as predicted (mF1)."""
        return mean(self.f1_K)


def class_scores(confusion_KK: NDArray[Any]) -> ClassScores:
    """Turn a confusion matrix (K, K), rows true, into accuracy, recall, precision and F1."""
    right_K = np.diag(confusion_KK).astype(np.float64)
    true_K, predicted_K = confusion_KK.sum(axis=1), confusion_KK.sum(axis=0)
    return ClassScores(
        accuracy=float(_ratio(right_K.sum(), confusion_KK.sum())),
        recall_K=_ratio(right_K, true_K),
        precision_K=_ratio(right_K, predicted_K),
        f1_K=_ratio(2 * right_K, true_K + predicted_K),
    )


def merge_classes(confusion_EKK: NDArray[Any], into_K: NDArray[Any], num_classes: int) -> Ints:
    """Add up confusion matrices (E, K, K) over classes that count as one: class k becomes `into_K[k]`."""
    member_K = np.equal.outer(np.asarray(into_K), np.arange(num_classes)).astype(np.int64)
    merged: Ints = np.einsum("ka,ekl,lb->eab", member_K, confusion_EKK, member_K)
    return merged


def incorrect_fractions(confusion_EKK: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return the share of each image's voxels that are called wrong (E,), and of those of each class (E, K).

    The first is the incorrectly classified pixel fraction (ICPF) of MicroBooNE (arXiv:1808.07269): pixels
    of a wrong class over all pixels that are not empty. nan where an image has no such voxels.

    Parameters
    ----------
    confusion_EKK
        Confusion matrix of each image, rows true.
    """
    true_EK = confusion_EKK.sum(axis=2)
    wrong_EK = true_EK - np.diagonal(confusion_EKK, axis1=1, axis2=2)
    return _ratio(wrong_EK.sum(axis=1), true_EK.sum(axis=1)), _ratio(wrong_EK, true_EK)


# -- clustering --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clustering:
    """Agreement of two clusterings of one event; nan where undefined.

    `purity` averages over the predicted clusters the largest share that one true cluster has in them,
    `efficiency` over the true clusters the largest share that one predicted cluster has in them, each
    cluster counting the same; `voxel_purity` and `voxel_efficiency` are the same with each cluster counting
    as often as it has voxels. `ari` is the adjusted Rand index, `best_dice` the symmetric best Dice,
    `assigned` the share of voxels that are in any predicted cluster.
    """

    purity: float
    efficiency: float
    ari: float
    best_dice: float
    assigned: float
    voxel_purity: float
    voxel_efficiency: float
    num_true: int
    num_predicted: int


def clustering(true_V: NDArray[Any], predicted_V: NDArray[Any]) -> Clustering:
    """Compare cluster labels (V,) with the true ones (V,).

    Only voxels with a true cluster count. Of these, a voxel without a predicted cluster is not a cluster for
    purity and best Dice (or left-over voxels would be counted as pure clusters), is missing from the
    overlap for efficiency, and is a cluster of its own for the adjusted Rand index. Without any true
    cluster all is nan; without any predicted one, purity is nan and efficiency and best Dice are 0.

    References
    ----------
    Purity and efficiency as in GrapPA (arXiv:2007.01335) and SPICE (arXiv:2007.03083); adjusted Rand
    index: Hubert and Arabie, J. Classif. 2 (1985) 193; best Dice: arXiv:1708.02551.
    """
    counted = true_V >= 0
    true_V, predicted_V = true_V[counted], predicted_V[counted]
    nan = float("nan")
    if not len(true_V):
        return Clustering(nan, nan, nan, nan, nan, nan, nan, 0, 0)
    row_V, num_true = _ranks(true_V)
    size_T = np.bincount(row_V)
    is_in = predicted_V >= 0
    assigned = float(is_in.mean())
    num_alone = int((~is_in).sum())
    if not is_in.any():
        ari = _adjusted_rand(size_T, np.zeros(0, np.int64), np.zeros(0, np.int64), num_alone)
        return Clustering(nan, 0.0, ari, 0.0, assigned, nan, 0.0, len(size_T), 0)
    column_V, num_predicted = _ranks(predicted_V[is_in])
    size_R = np.bincount(column_V)
    true_M, reco_M, _, shared_M = _pairs(row_V[is_in], column_V, num_predicted)
    dice_M = 2.0 * shared_M / (size_T[true_M] + size_R[reco_M])
    best_dice = min(
        float(_largest(dice_M, true_M, num_true).mean()),
        float(_largest(dice_M, reco_M, num_predicted).mean()),
    )
    largest_T, largest_R = _largest(shared_M, true_M, num_true), _largest(shared_M, reco_M, num_predicted)
    return Clustering(
        purity=float((largest_R / size_R).mean()),
        efficiency=float((largest_T / size_T).mean()),
        ari=_adjusted_rand(size_T, size_R, shared_M, num_alone),
        best_dice=best_dice,
        assigned=assigned,
        voxel_purity=float(largest_R.sum() / size_R.sum()),
        voxel_efficiency=float(largest_T.sum() / size_T.sum()),
        num_true=len(size_T),
        num_predicted=len(size_R),
    )


def _adjusted_rand(size_T: Ints, size_R: Ints, shared_M: Ints, num_alone: int) -> float:
    """Return the index from cluster sizes and overlaps; `num_alone` more items are alone in R.

    Python integers: the products reach the fourth power of the number of voxels.
    """
    num = int(size_T.sum())
    if num < 2:
        return float("nan")
    same_both = int((shared_M.astype(np.int64) ** 2).sum()) + num_alone
    same_true = int((size_T.astype(np.int64) ** 2).sum())
    same_predicted = int((size_R.astype(np.int64) ** 2).sum()) + num_alone
    together, split, joined = same_both - num, same_true - same_both, same_predicted - same_both
    apart = num * num - same_both - split - joined
    if not split and not joined:
        return 1.0
    return (
        2.0
        * (together * apart - split * joined)
        / ((together + split) * (split + apart) + (together + joined) * (joined + apart))
    )


# -- matching ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Overlaps:
    """All pairs (M) of a true and a reconstructed object that share voxels, sorted by true, then reco."""

    true_M: Ints
    reco_M: Ints
    num_voxels_M: Ints
    energy_M: Floats
    iou_M: Floats
    num_true: int
    num_reco: int

    def best_reco(self) -> tuple[Ints, Floats]:
        """Return for each true object (T,) the object with the largest IoU (-1: none), and the IoU."""
        return self._best(self.true_M, self.reco_M, self.num_true)

    def best_true(self) -> tuple[Ints, Floats]:
        """Return for each reconstructed object (R,) the one with the largest IoU (-1: none), and the IoU."""
        return self._best(self.reco_M, self.true_M, self.num_reco)

    def _best(self, of_M: Ints, with_M: Ints, num: int) -> tuple[Ints, Floats]:
        """Pick the pair with the largest IoU; of equal ones, that with the lowest row."""
        order = np.lexsort((-with_M, self.iou_M, of_M))
        index, iou = np.full(num, -1, np.int64), np.zeros(num)
        index[of_M[order]] = with_M[order]
        iou[of_M[order]] = self.iou_M[order]
        return index, iou


def overlaps(
    true_V: NDArray[Any], reco_V: NDArray[Any], energy_V: NDArray[Any], num_true: int, num_reco: int
) -> Overlaps:
    """Find the pairs of objects that share voxels, their shared voxels and energy [MeV], and their IoU.

    Labels (V,) are rows of the objects. The IoU counts all voxels of both objects, also those that are in
    no object on the other side.
    """
    size_T = np.bincount(true_V[true_V >= 0], minlength=num_true)
    size_R = np.bincount(reco_V[reco_V >= 0], minlength=num_reco)
    both = (true_V >= 0) & (reco_V >= 0)
    true_M, reco_M, pair_V, num_voxels_M = _pairs(true_V[both], reco_V[both], num_reco)
    return Overlaps(
        true_M,
        reco_M,
        num_voxels_M,
        np.bincount(pair_V, weights=energy_V[both], minlength=len(true_M)).astype(np.float64),
        num_voxels_M / (size_T[true_M] + size_R[reco_M] - num_voxels_M),
        num_true,
        num_reco,
    )


# -- points ------------------------------------------------------------------------------------


def nearest(from_P3: NDArray[Any], to_P3: NDArray[Any]) -> tuple[Floats, Ints]:
    """Return for each point (P, 3) the distance to the nearest other one, and its row.

    Where there is none to go to, the distance is infinite and the row -1: a missing point counts.
    """
    if not len(from_P3) or not len(to_P3):
        return np.full(len(from_P3), np.inf), np.full(len(from_P3), -1, np.int64)
    distance, row = cKDTree(to_P3).query(from_P3)
    return np.asarray(distance, np.float64), np.asarray(row, np.int64)


def within(distance: NDArray[Any], limit: float) -> float:
    """Return the share of distances up to a limit; nan without any."""
    return float((distance <= limit).mean()) if len(distance) else float("nan")


def median(values: NDArray[Any]) -> float:
    """Return the median of the values that are not nan; nan without any."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def quantile(values: NDArray[Any], share: float) -> float:
    """Return the value that a share of the values does not exceed, nan left out; nan without any."""
    known = values[~np.isnan(values)]
    return float(np.quantile(known, share)) if len(known) else float("nan")


def mean(values: NDArray[Any]) -> float:
    """Return the mean of the values that are not nan; nan without any."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _ratio(part: Any, whole: Any) -> Any:
    whole = np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def _ranks(label_V: NDArray[Any]) -> tuple[Ints, int]:
    """Return the rank (V,) of each label, none of them negative, among those that occur, and how many do.

    As np.unique does, without sorting where the labels are rows of objects.
    """
    if int(label_V.max(initial=0)) > _DENSE * (len(label_V) + 1):
        found, rank_V = np.unique(label_V, return_inverse=True)
        return rank_V.astype(np.int64), len(found)
    occurs = np.zeros(int(label_V.max(initial=-1)) + 1, bool)
    occurs[label_V] = True
    rank = np.cumsum(occurs) - 1
    return rank[label_V], int(np.count_nonzero(occurs))


def _pairs(true_V: NDArray[Any], reco_V: NDArray[Any], num_reco: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Return the pairs that occur, sorted: true (M,), reco (M,), the pair of each voxel (V,) and their voxels (M,)."""
    key_V = true_V.astype(np.int64) * max(num_reco, 1) + reco_V
    pair_V, num = _ranks(key_V)
    key_M = np.zeros(num, np.int64)
    key_M[pair_V] = key_V
    true_M, reco_M = np.divmod(key_M, max(num_reco, 1))
    return true_M, reco_M, pair_V, np.bincount(pair_V, minlength=num).astype(np.int64)


def _largest(value_M: NDArray[Any], of_M: Ints, num: int) -> Floats:
    """Return the largest value of each of `num` objects; 0 without any."""
    largest = np.zeros(num)
    np.maximum.at(largest, of_M, value_M)
    return largest
