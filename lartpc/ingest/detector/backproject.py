"""What a network says of the pixels of wire planes, at 3D points (docs/explanation/projections.md).

Shape suffixes: N points in 3D, U pixels of a plane, K classes, A and B proposals of two planes, M pairs of them.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lartpc.config.learned import SegmentInfer
from lartpc.event import Columns, Event, conform, empty
from lartpc.geometry import Box
from lartpc.ingest.detector.project import Plane
from lartpc.ingest.steps import FloatArray, IntArray
from lartpc.lean import cKDTree
from lartpc.scores import best_class
from lartpc.vocab import GHOST, NONE, Semantic

PIXEL_WITHIN = 1.5
"""A pixel is seen at a point if its middle is no farther from where the plane sees the point [pixel]."""
LEAST_SCORE = 1e-3
"""Scores of a class by one plane count as no less: one plane alone does not rule a class out."""
CERTAIN = 1e-6
"""Scores are added as if none were nearer to 0 or 1: single precision tells steps of 6e-8 below 1."""
PROPOSAL_WITHIN = 1.5
"""Proposals of one plane and class this near to a stronger one say the same [pixel]."""
DRIFT_WITHIN = 2.0
"""Proposals of two planes are of one point if their drift coordinates differ by no more [pixel]."""


def semantic_of(
    event: Event, images: Sequence[Event], planes: Sequence[Plane], infer: SegmentInfer
) -> Columns:
    """Return the product `semantic` of points from that of the images of planes.

    The score of a class is the product of those that the planes give to their pixels at the point, each not below
    LEAST_SCORE, over the sum of all classes. A ghost is told by its charge alone: its score is c / (c + charge), c
    being `infer.point_charge_mev`, and those of less charge than that have the label GHOST.

    Parameters
    ----------
    event
        Points, with `voxel`.
    images
        The image of each plane, with `voxel` and `semantic`.
    """
    least_mev = infer.point_charge_mev
    centre_N3 = event["voxel"]["coord"] + 0.5
    log_NK = np.zeros((len(centre_N3), len(Semantic)))
    for image, plane in zip(images, planes, strict=True):
        pixel_N = pixels_at(image, plane.see(centre_N3))
        seen_N = pixel_N != NONE
        score_UK = image["semantic"]["score"].astype(np.float64)
        log_NK[seen_N] += np.log(np.maximum(score_UK[pixel_N[seen_N]], LEAST_SCORE))
    score_NK = np.exp(log_NK - log_NK.max(axis=1, keepdims=True))
    score_NK /= score_NK.sum(axis=1, keepdims=True)
    energy_N = event["voxel"]["energy"].astype(np.float64)
    ghost_N = energy_N < least_mev
    return conform(
        "semantic",
        {
            "score": score_NK,
            "label": np.where(ghost_N, GHOST, best_class(score_NK, infer.label_weights)),
            "uncertainty": np.full(len(energy_N), np.nan),
            "ghost_score": least_mev / (least_mev + energy_N) if least_mev else np.zeros(len(energy_N)),
        },
    )


def added(scores: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the scores (N,) of which the logits are the sums of those of several scores, each (N,); of one, the same.

    A score counts as no nearer to 0 or 1 than CERTAIN.
    """
    if len(scores) == 1:
        return scores[0]
    total_N = np.zeros(len(scores[0]))
    for score_N in scores:
        sure_N = np.clip(score_N.astype(np.float64), CERTAIN, 1 - CERTAIN)
        total_N += np.log(sure_N) - np.log1p(-sure_N)
    return (1 / (1 + np.exp(-total_N))).astype(np.float32)


def with_ghosts_of(semantic: Columns, score_N: NDArray[np.float32], infer: SegmentInfer) -> Columns:
    """Return the product `semantic` of points with the ghost scores (N,) that a network gives them.

    Points whose score reaches `infer.point_ghost_score` have the label GHOST, all others that of their best class,
    whatever their charge.
    """
    class_N = best_class(semantic["score"], infer.label_weights)
    label_N = np.where(score_N >= infer.point_ghost_score, GHOST, class_N)
    return conform("semantic", {**semantic, "label": label_N, "ghost_score": score_N})


def joined(of_planes: Mapping[str, Columns], of_points: Mapping[str, Columns]) -> dict[str, Columns]:
    """Return the products of `segment` of points from what the images of planes and a network of points say of them.

    Scores of classes are multiplied, each not below LEAST_SCORE; affinities are those of the network, and
    proposals those of the planes, of which more are right. Labels are chosen with the ghosts (`with_ghosts_of`).
    """
    score_NK = np.ones_like(of_points["semantic"]["score"], np.float64)
    for said in (of_planes, of_points):
        score_NK *= np.maximum(said["semantic"]["score"], LEAST_SCORE)
    score_NK /= score_NK.sum(axis=1, keepdims=True)
    semantic = {**of_points["semantic"], "score": score_NK}
    return {**of_points, "semantic": conform("semantic", semantic), "proposal": of_planes["proposal"]}


def pixels_at(image: Event, place_N3: FloatArray, within: float = PIXEL_WITHIN) -> IntArray:
    """Return the pixel (N,) of an image nearest to places in it (N, 3), NONE where there is none near."""
    centre_U2 = image["voxel"]["coord"][:, :2] + 0.5
    if not len(centre_U2) or not len(place_N3):
        return np.full(len(place_N3), NONE)
    away_N, pixel_N = cKDTree(centre_U2).query(place_N3[:, :2], distance_upper_bound=within)
    return np.where(np.isfinite(away_N), pixel_N, NONE)


def proposals_of(box: Box, images: Sequence[Event], planes: Sequence[Plane]) -> Columns:
    """Return the product `proposal` in 3D from that of the images of planes.

    Proposals of two planes that are of one class and see the same drift coordinate cross in a place. It is proposed if
    all other planes have charge there; its score and that of its end are the geometric means of the two, its class
    scores their product over the sum.
    """
    kept = [_strongest(image["proposal"]) for image in images]
    found = [_pairs(box, kept, planes, images, pair) for pair in combinations(range(len(planes)), 2)]
    names = empty("proposal")
    return conform("proposal", {name: np.concatenate([columns[name] for columns in found]) for name in names})


def _strongest(proposal: Columns) -> Columns:
    """Leave out proposals that are near to a stronger one of their class."""
    kind_A = proposal["class_score"].argmax(axis=1) if len(proposal["score"]) else np.zeros(0, np.int64)
    is_end_A = proposal["end_score"] > 0.5
    apart_A = (2 * kind_A + is_end_A) * (2 * PROPOSAL_WITHIN)
    tree = cKDTree(np.column_stack([proposal["position"][:, :2], apart_A]))
    taken_A = np.zeros(len(kind_A), bool)
    chosen: list[int] = []
    for row in np.argsort(-proposal["score"], kind="stable").tolist():
        if not taken_A[row]:
            chosen.append(row)
            taken_A[tree.query_ball_point(tree.data[row], PROPOSAL_WITHIN)] = True
    return {name: value[np.array(chosen, np.int64)] for name, value in proposal.items()}


def _pairs(
    box: Box,
    kept: Sequence[Columns],
    planes: Sequence[Plane],
    images: Sequence[Event],
    pair: tuple[int, int],
) -> Columns:
    """Return the proposals in 3D that those of two planes make."""
    one, two = (kept[number] for number in pair)
    if not len(one["score"]) or not len(two["score"]):
        return empty("proposal")
    class_A, class_B = (columns["class_score"].argmax(axis=1) for columns in (one, two))
    apart = 3 * DRIFT_WITHIN
    tree_A, tree_B = (
        cKDTree(np.column_stack([columns["position"][:, 0], apart * kind]))
        for columns, kind in ((one, class_A), (two, class_B))
    )
    near = tree_A.query_ball_tree(tree_B, DRIFT_WITHIN)
    row_A = np.repeat(np.arange(len(near)), [len(rows) for rows in near])
    row_B = np.array([row for rows in near for row in rows], np.int64)
    flat = planes[0].flat
    seen_M2 = np.stack(
        [flat.to_cm(one["position"][row_A])[:, 1], flat.to_cm(two["position"][row_B])[:, 1]], axis=1
    )
    across_22 = np.stack([planes[number].axes_33[1, 1:] for number in pair])
    yz_M2 = seen_M2 @ np.linalg.inv(across_22).T + np.asarray(box.origin_cm)[1:] + 0.5 * box.size_cm
    x_M = 0.5 * (flat.to_cm(one["position"][row_A]) + flat.to_cm(two["position"][row_B]))[:, 0]
    place_M3 = box.to_voxel(np.column_stack([x_M, yz_M2]))
    kept_M = box.contains(place_M3)
    for number in set(range(len(planes))) - set(pair):
        kept_M &= pixels_at(images[number], planes[number].see(place_M3), 2 * PIXEL_WITHIN) != NONE
    row_A, row_B, place_M3 = row_A[kept_M], row_B[kept_M], place_M3[kept_M]
    class_MK = one["class_score"][row_A].astype(np.float64) * two["class_score"][row_B]
    mean = {
        name: np.sqrt(one[name][row_A].astype(np.float64) * two[name][row_B])
        for name in ("score", "end_score")
    }
    return {"position": place_M3, "class_score": class_MK / class_MK.sum(axis=1, keepdims=True), **mean}
