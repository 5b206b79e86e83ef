"""What the course of charges along the drift tells of which hits of two wire planes are of one deposit.

Shape suffixes: V points, H hits of a plane (a wire with charge at one time), G pieces of a plane (hits that touch),
T times, U pairs of pieces, M points that two planes see, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray

from lartpc.event import MAX_PLANES, Event
from lartpc.lean import connected_components, coo_array
from lartpc.nets.energies import energy_features
from lartpc.nets.plane_hits import hit_features

WINDOWS = (1, 4, 16)
"""Half widths of the windows in which the charges of two pieces are compared [voxel]."""
OF_A_PAIR = len(WINDOWS) + 5
"""Numbers that compare two planes at a point."""
NUM_FEATURES = 2 * OF_A_PAIR + 3 * MAX_PLANES + 2
PAIRS_AT_ONCE = 2048
"""Pairs of pieces that are compared at once."""
LEAST_MEV = 1e-6
"""Charges below this are one where their ratio is taken."""
_APART = 1 << 14
"""More than there are wires: hits of neighbouring times have keys so far apart."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _Plane:
    """What a plane sees: which points (V,), the piece of their hits (V,), charges of pieces along the drift (G, T)."""

    seen_V: NDArray[np.bool_]
    piece_V: Ints
    charge_GT: Floats


def pair_features(event: Event) -> NDArray[np.float32]:
    """Return the features (V, F) of the points of an event, with `voxel` and `plane_hit`.

    Two planes are compared at a point by the charges of its hits, and by those of the pieces that these belong to: the
    overlap of their charges along the drift in windows around the point and in all, how far their ends lie apart, and
    the ratio of their charges. Of the pairs of planes the least and the largest of each number are taken, so that
    planes have no order. The rest is what `plane_hits.hit_features` gives, the charge, and the share of planes that see
    the point.
    """
    hit, energy_V = event["plane_hit"], event["voxel"]["energy"]
    num_V = len(energy_V)
    x_V = event["voxel"]["coord"][:, 0].astype(np.int64)
    x_V -= x_V.min(initial=0)
    planes = [
        _plane(x_V, hit["wire"][:, p], hit["charge"][:, p], hit["num_points"][:, p])
        for p in range(MAX_PLANES)
    ]
    least_VF = np.full((num_V, OF_A_PAIR), np.inf)
    most_VF = np.full((num_V, OF_A_PAIR), -np.inf)
    for one, two in combinations(range(MAX_PLANES), 2):
        row_M = np.flatnonzero(planes[one].seen_V & planes[two].seen_V)
        if not len(row_M):
            continue
        charge_M = [
            np.maximum(hit["charge"][row_M, plane].astype(np.float64), LEAST_MEV) for plane in (one, two)
        ]
        found_MF = np.column_stack(
            [
                np.abs(np.log(charge_M[0] / charge_M[1])).clip(max=5.0) / 2,
                _compared(planes[one], planes[two], row_M, x_V[row_M]),
            ]
        )
        least_VF[row_M] = np.minimum(least_VF[row_M], found_MF)
        most_VF[row_M] = np.maximum(most_VF[row_M], found_MF)
    paired_VF = np.concatenate([least_VF, most_VF], 1)
    of_hits = hit_features(
        *(torch.from_numpy(np.array(one)) for one in (energy_V, hit["charge"], hit["num_points"]))
    )
    own = energy_features(torch.from_numpy(np.array(energy_V)))[:, :1]
    share_V = (hit["num_points"] > 0).mean(axis=1)
    columns = [
        np.where(np.isfinite(paired_VF), paired_VF, 0.0),
        of_hits.numpy(),
        own.numpy(),
        share_V[:, None],
    ]
    return np.concatenate(columns, 1).astype(np.float32)


def hit_numbers(batch: Sequence[Event]) -> tuple[Ints, NDArray[np.bool_]]:
    """Return a number for the hit of each plane at each point of several events (V, P), and where there is one (V, P).

    Points of one hit have its number; where no wire of a plane sees a point, that has a number of its own.
    """
    wire_VP, num_VP = (
        np.concatenate([event["plane_hit"][name] for event in batch]) for name in ("wire", "num_points")
    )
    x_V = np.concatenate([event["voxel"]["coord"][:, 0] for event in batch])
    event_V = np.repeat(np.arange(len(batch)), [event.num_voxels for event in batch])
    seen_VP = num_VP > 0
    alone_V = -1 - np.arange(len(x_V), dtype=np.int64)
    place_V = (event_V.astype(np.int64) << 20) + x_V
    number_VP = np.empty(wire_VP.shape, np.int64)
    for plane in range(wire_VP.shape[1]):
        key_V = np.where(seen_VP[:, plane], _key(place_V, wire_VP[:, plane]), alone_V)
        number_VP[:, plane] = np.unique(key_V, return_inverse=True)[1]
    return number_VP, seen_VP


def _key(place_V: Ints, wire_V: NDArray[np.integer]) -> Ints:
    key_V: Ints = place_V * _APART + (wire_V.astype(np.int64) + _APART // 2)
    return key_V


def _plane(
    x_V: Ints, wire_V: NDArray[np.int32], charge_V: NDArray[np.float32], num_V: NDArray[np.int32]
) -> _Plane:
    """Put the hits of a plane together: those that touch, corners included, are a piece."""
    seen_V = num_V > 0
    piece_V = np.zeros(len(x_V), np.int64)
    if not seen_V.any():
        return _Plane(seen_V, piece_V, np.zeros((0, 0)))
    key_H, first_H, hit_M = np.unique(_key(x_V, wire_V)[seen_V], return_index=True, return_inverse=True)
    links = []
    for step in (1, _APART - 1, _APART, _APART + 1):
        at_H = np.searchsorted(key_H, key_H + step).clip(max=len(key_H) - 1)
        from_H = np.flatnonzero(key_H[at_H] == key_H + step)
        links.append(np.stack([from_H, at_H[from_H]]))
    one, two = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(len(one)), (one, two)), shape=(len(key_H), len(key_H)))
    num_pieces, piece_H = connected_components(graph, directed=False)
    row_H = np.flatnonzero(seen_V)[first_H]
    charge_GT = np.zeros((num_pieces, int(x_V.max()) + 1))
    np.add.at(charge_GT, (piece_H, x_V[row_H]), charge_V[row_H])
    piece_V[seen_V] = piece_H[hit_M]
    return _Plane(seen_V, piece_V, charge_GT)


def _compared(one: _Plane, two: _Plane, row_M: Ints, x_M: Ints) -> Floats:
    """Return what compares the pieces of two planes at points (M, F - 1)."""
    num_two, num_times = two.charge_GT.shape
    pair_U, of_M = np.unique(one.piece_V[row_M] * num_two + two.piece_V[row_M], return_inverse=True)
    found_MF = np.zeros((len(row_M), OF_A_PAIR - 1))
    order_M = np.argsort(of_M, kind="stable")
    for begin in range(0, len(pair_U), PAIRS_AT_ONCE):
        a_UT, b_UT = (
            plane.charge_GT[piece]
            for plane, piece in zip(
                (one, two), np.divmod(pair_U[begin : begin + PAIRS_AT_ONCE], num_two), strict=True
            )
        )
        # sums up to each time, so that those of a window are differences
        both_UT, either_UT = (
            np.pad(np.cumsum(take(a_UT, b_UT), axis=1), ((0, 0), (1, 0))) for take in (np.minimum, np.maximum)
        )
        first, last = np.searchsorted(of_M[order_M], (begin, begin + len(a_UT)))
        rows = order_M[first:last]
        pair, x = of_M[rows] - begin, x_M[rows]
        for column, half in enumerate(WINDOWS):
            low, high = np.maximum(x - half, 0), np.minimum(x + half + 1, num_times)
            found_MF[rows, column] = _ratio(
                both_UT[pair, high] - both_UT[pair, low], either_UT[pair, high] - either_UT[pair, low]
            )
        starts, ends = (
            np.abs((p > 0).argmax(axis=1) - (q > 0).argmax(axis=1))
            for p, q in ((a_UT, b_UT), (a_UT[:, ::-1], b_UT[:, ::-1]))
        )
        total = [np.maximum(values.sum(axis=1), LEAST_MEV) for values in (a_UT, b_UT)]
        found_UF = np.column_stack(
            [
                _ratio(both_UT[:, -1], either_UT[:, -1]),
                np.log1p(np.minimum(starts, ends)) / 3,
                np.log1p(np.maximum(starts, ends)) / 3,
                np.abs(np.log(total[0] / total[1])).clip(max=5.0) / 2,
            ]
        )
        found_MF[rows, len(WINDOWS) :] = found_UF[pair]
    return found_MF


def _ratio(part: Floats, whole: Floats) -> Floats:
    found: Floats = (part / np.maximum(whole, LEAST_MEV)).clip(0.0, 1.0)
    return found
