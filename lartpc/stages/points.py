"""Raw proposals to points: threshold, agreement, merging (arXiv:2006.14745), and one start per piece.

Array suffixes: P proposals, K classes, V voxels, F points, E pairs of proposals.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.event import Columns, Event, conform, empty
from lartpc.lean import cKDTree
from lartpc.links import links, pieces
from lartpc.vocab import ELECTROMAGNETIC, NONE, PointKind, Semantic

TINY = 1e-6
"""Least width of the density of proposals, where `mean_distance` is 0 [voxel]."""

MAX_PAIRS = 1_000_000
"""Pairs of proposals that are looked at together, which bounds memory."""

METRIC_DISTANCES = (3.0, 10.0)
"""Distances at which found points are counted during training, as in the PPN paper [voxel]."""


def infer(net: None, batch: list[Event], cfg: config.Points) -> list[dict[str, Columns]]:
    """Return the products `point` and `candidate` of each event."""
    return [decode(event["proposal"], event["voxel"], event["semantic"], cfg) for event in batch]


def decode(proposal: Columns, voxel: Columns, semantic: Columns, cfg: config.Points) -> dict[str, Columns]:
    """Turn the proposals of one event into `point` and `candidate`.

    A proposal is kept if its score and the score of its best class reach their thresholds, and a voxel
    with that label lies (with its centre) nearer than `class_distance`. Then the strongest proposal left
    is a point, and takes with it those of its class within `merge_distance`: the point has the score of the
    strongest, the mean position of those of its kind that lie where they are densest, within `mean_distance`, and the
    mean of the other scores of all. Of the points of one connected piece
    of a shower, Michel or delta the strongest stays, if it reaches `start_threshold`, and none of a small piece of a
    shower; the others are candidates for its place.
    """
    class_P = proposal["class_score"].argmax(1)
    is_electromagnetic_P = np.isin(class_P, ELECTROMAGNETIC)
    least = min(cfg.candidate_threshold, cfg.start_threshold) if cfg.piece_distance else cfg.start_threshold
    # thresholds in the precision of the scores, so that a score that equals one reaches it
    least_P = np.where(is_electromagnetic_P, least, cfg.score_threshold).astype(proposal["score"].dtype)
    keep_P = proposal["score"] >= least_P
    keep_P &= proposal["class_score"].max(1) >= cfg.class_threshold
    keep_P &= class_P != Semantic.LOW_ENERGY
    for kind in np.unique(class_P[keep_P]):
        of_kind = np.flatnonzero(keep_P & (class_P == kind))
        centres = voxel["coord"][semantic["label"] == kind] + 0.5
        keep_P[of_kind] = _has_near(proposal["position"][of_kind], centres, cfg.class_distance)
    kept = {name: value[keep_P] for name, value in proposal.items()}
    class_P = class_P[keep_P]
    if not len(class_P):
        return {"point": empty("point"), "candidate": empty("candidate")}
    is_end_P = (kept["end_score"] > 0.5) & (class_P == Semantic.TRACK)
    # starts and ends of tracks are merged apart, so that both ends of a short one stay
    kind_P = 2 * class_P + is_end_P
    point_P, strongest_F = _merge(
        kept["position"], kind_P, kept["score"], cfg.merge_distance, cfg.end_distance
    )
    class_F = class_P[strongest_F]
    end_F = _mean(kept["end_score"], point_P)
    columns = {
        "position": _densest_position(kept, kind_P, point_P, strongest_F, cfg.mean_distance),
        "score": kept["score"][strongest_F],
        "class_score": _mean(kept["class_score"], point_P),
        "semantic": class_F,
        "end_score": end_F,
        # Only tracks have an end.
        "kind": np.where((end_F > 0.5) & (class_F == Semantic.TRACK), PointKind.END, PointKind.START),
    }
    of_F = _strongest(columns["position"], class_F, voxel["coord"], semantic["label"], cfg)
    stays_F = of_F == np.arange(len(of_F))
    stays_F &= (columns["score"] >= np.float32(cfg.start_threshold)) | ~np.isin(class_F, ELECTROMAGNETIC)
    row_F = np.where(stays_F, np.cumsum(stays_F) - 1, NONE)
    point_F = np.append(row_F, NONE)[of_F]
    others = np.flatnonzero(~stays_F & (point_F >= 0))
    return {
        "point": conform("point", {name: value[stays_F] for name, value in columns.items()}),
        "candidate": conform(
            "candidate",
            {
                "position": columns["position"][others],
                "score": columns["score"][others],
                "point": point_F[others],
            },
        ),
    }


def metrics(pred: Event, truth: Event, cfg: config.Points) -> dict[str, tuple[float, float]]:
    """Return figures of one event as numerator and denominator, to be summed over events.

    `found_<d>` is the share of true points with a predicted one within `d` voxels, `right_<d>` the share
    of predicted points with a true one; deltas count on neither side, as in the PPN paper.
    """
    point, true = pred["point"], truth["truth_point"]
    predicted = point["position"][point["semantic"] != Semantic.DELTA]
    is_counted = ~np.isin(true["semantic"], (Semantic.DELTA, Semantic.LOW_ENERGY))
    wanted = true["position"][is_counted]
    found: dict[str, tuple[float, float]] = {}
    for distance in METRIC_DISTANCES:
        hits, right = _has_near(wanted, predicted, distance), _has_near(predicted, wanted, distance)
        found[f"found_{distance:g}"] = (float(hits.sum()), float(len(wanted)))
        found[f"right_{distance:g}"] = (float(right.sum()), float(len(predicted)))
    return found


def _has_near(of: NDArray[Any], to: NDArray[Any], distance: float) -> NDArray[np.bool_]:
    """Tell which positions (N, 3) have one of the others nearer than a distance."""
    if not len(of) or not len(to):
        return np.zeros(len(of), bool)
    near: NDArray[np.bool_] = cKDTree(to).query(of, distance_upper_bound=distance)[0] < distance
    return near


def _merge(
    position_P: NDArray[Any],
    kind_P: NDArray[Any],
    score_P: NDArray[Any],
    distance: float,
    end_distance: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give each proposal (P,) to the strongest of its kind within `distance` that no stronger one took.

    Those of the other kind of the same class, starts and ends of tracks, go to it within `end_distance`.

    Parameters
    ----------
    kind_P
        Twice the class, and one more for ends of tracks.

    Returns
    -------
    The point of each proposal (P,), and the strongest proposal of each point (F,).
    """
    # Setting the classes apart on a fourth axis keeps them from being merged.
    apart_P = (kind_P // 2)[:, None] * (2 * distance)
    tree = cKDTree(np.hstack([position_P, apart_P]))
    point_P = np.full(len(score_P), NONE)
    strongest: list[int] = []
    for proposal in np.argsort(-score_P, kind="stable"):
        if point_P[proposal] == NONE:
            # Asked of each point, not of each proposal: the lists of all would outgrow the event.
            around = np.asarray(tree.query_ball_point(tree.data[proposal], distance))
            around = around[point_P[around] == NONE]
            other = around[kind_P[around] != kind_P[proposal]]
            if len(other):
                away = np.linalg.norm(position_P[other] - position_P[proposal], axis=1) > end_distance
                around = np.setdiff1d(around, other[away], assume_unique=True)
            point_P[around] = len(strongest)
            strongest.append(int(proposal))
    return point_P, np.asarray(strongest)


def _densest_position(
    kept: Columns,
    kind_P: NDArray[Any],
    point_P: NDArray[np.int64],
    strongest_F: NDArray[np.int64],
    distance: float,
) -> NDArray[np.float64]:
    """Return of each point (F, 3) the mean of its proposals near the place where they are densest, weighed by score.

    The density is a sum of Gaussians of the width `distance` over the proposals of a point that are of its kind, at
    each of them; the mean is over those within `distance` of the densest one. The strongest proposal alone says less
    of the place than all do: its score is that there is a point, and not how well its place is known.
    """
    own_P = np.flatnonzero(kind_P == kind_P[strongest_F][point_P])
    own_P = own_P[np.argsort(point_P[own_P], kind="stable")]
    position_P, weight_P = kept["position"][own_P].astype(np.float64), kept["score"][own_P].astype(np.float64)
    point_P = point_P[own_P]
    size_F = np.bincount(point_P)
    # some points at a time, as many as make a number of pairs
    part_F = np.cumsum(size_F**2) // MAX_PAIRS
    bounds = np.cumsum(size_F)[np.flatnonzero(np.diff(part_F))]
    parts = zip(*(np.split(value_P, bounds) for value_P in (position_P, weight_P, point_P)), strict=True)
    return np.concatenate([_densest(place, weight, point, distance) for place, weight, point in parts])


def _densest(
    position_P: NDArray[np.float64],
    weight_P: NDArray[np.float64],
    point_P: NDArray[np.int64],
    distance: float,
) -> NDArray[np.float64]:
    """Return the positions (F, 3) of `_densest_position`, given proposals (P,) in the order of their points."""
    point_P = point_P - point_P[0]
    size_F = np.bincount(point_P)
    size_P, before_F = size_F[point_P], np.cumsum(size_F) - size_F
    # pairs of each proposal with all of its point, itself included
    one_E = np.repeat(np.arange(len(point_P)), size_P)
    two_E = np.arange(len(one_E)) - np.repeat(np.cumsum(size_P) - size_P - before_F[point_P], size_P)
    square_E = ((position_P[one_E] - position_P[two_E]) ** 2).sum(1)
    density_E = np.exp(-0.5 * square_E / max(distance, TINY) ** 2) * weight_P[two_E]
    density_P = np.bincount(one_E, density_E)
    # of each point the first of its densest proposals
    densest_F = np.lexsort((-density_P, point_P))[before_F]
    near = two_E[(densest_F[point_P[one_E]] == one_E) & (square_E <= distance**2)]
    total_F = np.bincount(point_P[near], weight_P[near])
    sums = [np.bincount(point_P[near], weight_P[near] * axis_P[near]) for axis_P in position_P.T]
    return np.stack(sums, axis=1) / total_F[:, None]


def _strongest(
    position_F: NDArray[Any],
    class_F: NDArray[Any],
    coord_V: NDArray[Any],
    label_V: NDArray[Any],
    cfg: config.Points,
) -> NDArray[np.int64]:
    """Return for each point (F,), the strongest first, the strongest of its connected piece; of a track, itself.

    -1: on a piece that is too small for a start.
    """
    of_F = np.arange(len(class_F))
    for kind in ELECTROMAGNETIC if cfg.piece_distance else ():
        of_kind = np.flatnonzero(class_F == kind)
        coord = coord_V[label_V == kind]
        if not len(of_kind):
            continue
        piece_V = pieces(len(coord), links(coord, cfg.piece_distance))
        piece = piece_V[cKDTree(coord + 0.5).query(position_F[of_kind])[1]]
        _, first, number = np.unique(piece, return_index=True, return_inverse=True)
        of_F[of_kind] = of_kind[first[number]]
        if kind == Semantic.SHOWER:
            of_F[of_kind[np.bincount(piece_V)[piece] < cfg.min_piece_voxels]] = NONE
    return of_F


def _mean(value_P: NDArray[Any], group_P: NDArray[np.int64]) -> NDArray[np.float64]:
    """Average rows (P, ...) over groups."""
    count_F = np.bincount(group_P)
    sum_F = np.zeros((len(count_F), *value_P.shape[1:]))
    np.add.at(sum_F, group_P, value_P)
    mean_F: NDArray[np.float64] = sum_F / count_F.reshape(-1, *[1] * (value_P.ndim - 1))
    return mean_F
