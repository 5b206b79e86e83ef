"""Do scores and uncertainties mean what they say? Counts that add up over events, and figures of the sums.

Shape suffixes: V voxels, K classes, C bins of confidence, U bins of uncertainty.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NUM_BINS = 15
"""Bins of equal width of the confidence, as in arXiv:1706.04599."""

UNCERTAINTY_EDGES = np.concatenate([[0.0], np.geomspace(1e-6, 1.0, 24)])
"""Edges of the bins of the uncertainty: it often differs by orders of magnitude."""

NUM_UNCERTAINTIES = len(UNCERTAINTY_EDGES) - 1


def reliability(score_VK: NDArray[np.floating], true_V: NDArray[np.integer]) -> Floats:
    """Return voxels, right ones and summed confidence (C, 3) by bins of the confidence.

    The confidence is the highest score, and right is a voxel whose true class has it, whatever its label: labels weigh
    classes (`segment.infer.label_weights`), and scores are calibrated without that.
    """
    confidence_V = score_VK.max(axis=1, initial=0.0).astype(np.float64)
    right_V = score_VK.argmax(axis=1) == true_V
    bin_V = np.clip(np.ceil(confidence_V * NUM_BINS).astype(np.int64) - 1, 0, NUM_BINS - 1)
    return np.stack(
        [
            np.bincount(bin_V, weights, NUM_BINS).astype(np.float64)
            for weights in (np.ones(len(bin_V)), right_V.astype(np.float64), confidence_V)
        ],
        axis=1,
    )


def errors_by_uncertainty(uncertainty_V: NDArray[np.floating], right_V: NDArray[np.bool_]) -> Floats:
    """Return voxels and wrong ones (U, 2) by bins of the uncertainty; voxels without one do not count."""
    known = ~np.isnan(uncertainty_V)
    bin_V = np.searchsorted(UNCERTAINTY_EDGES, uncertainty_V[known], side="right") - 1
    bin_V = np.clip(bin_V, 0, NUM_UNCERTAINTIES - 1)
    wrong_V = (~right_V[known]).astype(np.float64)
    return np.stack(
        [np.bincount(bin_V, weights, NUM_UNCERTAINTIES) for weights in (np.ones(len(bin_V)), wrong_V)], axis=1
    ).astype(np.float64)


def calibration_error(reliability_C3: Floats) -> float:
    """Return the expected calibration error: mean distance of accuracy and confidence over the voxels.

    Defined with bins as in arXiv:1706.04599, equation 3; nan without voxels.
    """
    num_C, right_C, confidence_C = reliability_C3.T
    return float(np.abs(right_C - confidence_C).sum() / num_C.sum()) if num_C.sum() else float("nan")


def error_among_surest(errors_U2: Floats, share: float) -> float:
    """Return the share of wrong voxels among the given share with the least uncertainty; nan without any.

    Inside a bin errors are taken as spread evenly.
    """
    num_U, wrong_U = errors_U2.T
    if not num_U.sum():
        return float("nan")
    wanted = share * num_U.sum()
    found = np.interp(wanted, np.append(0, num_U.cumsum()), np.append(0, wrong_U.cumsum()))
    return float(found / wanted)
