"""Pixels of the collection plane paired with those of another by a small network, beside geometry alone.

python benchmarks/pixel_flow_learned.py TRAIN_STEPS.h5 TEST_STEPS.h5 --train-events 12 --events 12

For a pixel the candidates are the pixels of the other plane at the same drift coordinate. A network of three layers
scores each of them by what both planes show: charges, and the profiles along the drift of the connected pieces that the
two pixels are of. It learns, by the cross entropy over the candidates of a pixel, the one that most of its energy is
seen in. With three planes it also sees the charge of the third one where the two wires cross. Points are made of the
pairs with the highest scores, one for each pixel of the collection plane.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pixel_flow import ANGLES, RIGHT_WITHIN, best_of
from scipy.spatial import cKDTree
from torch import Tensor, nn

from lartpc import config
from lartpc.geometry import Box
from lartpc.ingest import open_sources
from lartpc.ingest.detector.project import Plane, View, flat_box, project
from lartpc.ingest.detector.response import detect
from lartpc.ingest.detector.space_points import TRUE_WITHIN
from lartpc.ingest.labels.connect import pieces

WINDOWS = (1, 4, 16)
"""Half widths of the windows in which profiles are compared [pixel]."""
NUM_OF_THIRD = 2
"""Features that are of the third plane, the last ones."""
HIDDEN = 48
NUM_STEPS = 1500
BATCH = 1024
"""Pixels of a step."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass
class Pairs:
    """Pixels of the first plane with their candidates: the pixel and the wire of each, what is known, and the truth."""

    pixel_P: Ints
    wire_P: Ints
    feat_PC: NDArray[np.float32]
    is_true_P: NDArray[np.bool_]
    key_A: Ints
    truth: dict[int, int]
    image: NDArray[np.int64]


@dataclass
class _Seen:
    """A view with its connected pieces, and the charge of each piece along the drift (pieces, pixels of a side)."""

    coord: Ints
    charge: Floats
    piece: Ints
    profile: Floats


def seen(view: View, side: int) -> _Seen:
    coord = np.asarray(view.coord[:, :2], np.int64)
    piece = pieces(np.zeros(len(coord), np.int64), view.coord, 1)
    profile = np.zeros((int(piece.max(initial=0)) + 1, side))
    np.add.at(profile, (piece, coord[:, 0]), view.energy)
    return _Seen(coord, np.asarray(view.energy, np.float64), piece, profile)


def features(
    one: _Seen, two: _Seen, third: _Seen | None, side: int
) -> tuple[Ints, Ints, NDArray[np.float32]]:
    """Return rows of both planes of all pairs at one drift coordinate, and what is known of them."""
    first = np.searchsorted(two.coord[:, 0], one.coord[:, 0], "left")
    num = np.searchsorted(two.coord[:, 0], one.coord[:, 0], "right") - first
    row_P = np.repeat(np.arange(len(num)), num)
    other_P = first[row_P] + np.arange(len(row_P)) - np.repeat(np.cumsum(num) - num, num)
    charge, charge_2 = one.charge[row_P], two.charge[other_P]
    piece, piece_2, x = one.piece[row_P], two.piece[other_P], one.coord[row_P, 0]
    columns = [np.log(charge), np.log(charge_2), np.abs(np.log(charge / charge_2)), np.log(num[row_P])]
    for half in WINDOWS:
        both, either = np.zeros(len(x)), np.zeros(len(x))
        for offset in range(-half, half + 1):
            at = np.clip(x + offset, 0, side - 1)
            q, q_2 = one.profile[piece, at], two.profile[piece_2, at]
            both += np.minimum(q, q_2)
            either += np.maximum(q, q_2)
        columns.append(both / np.maximum(either, 1e-9))
    pair, of_P = np.unique(piece * len(two.profile) + piece_2, return_inverse=True)
    a, b = one.profile[pair // len(two.profile)], two.profile[pair % len(two.profile)]
    columns.append((np.minimum(a, b).sum(1) / np.maximum(a, b).sum(1))[of_P])
    ends = [np.abs((p > 0).argmax(1) - (q > 0).argmax(1)) for p, q in ((a, b), (a[:, ::-1], b[:, ::-1]))]
    columns += [np.log1p(end)[of_P] for end in ends]
    columns.append(np.log(b.sum(1) / a.sum(1))[of_P])
    image = np.zeros((side, side), np.float32)
    image[third.coord[:, 0], third.coord[:, 1]] = third.charge
    # planes at 0°, 60° and -60°: what the first one measures is the sum of what the others do
    where = one.coord[row_P, 1] - two.coord[other_P, 1] + side // 2
    best = np.maximum(*(image[x, np.clip(where + step, 0, side - 1)] for step in (-1, 0)))
    columns += [best > 0, np.abs(np.log(np.maximum(best, 1e-3) / charge))]
    return row_P, other_P, np.stack(columns, 1).astype(np.float32)


def events(steps: Path, num: int) -> Iterator[Pairs]:
    """Yield the pairs of the first plane with the second of some events."""
    source = open_sources([steps])
    cfg = config.Ingest.model_validate({"wires": {"angles_deg": ANGLES, "drift_velocity_cm_us": 0.1098}})
    box = Box.centred(source.centre_cm or (0.0, 0.0, 0.0), cfg.voxel_size_cm, cfg.num_voxels)
    flat = flat_box(box, cfg)
    planes = [Plane(angle, box, flat) for angle in ANGLES]
    side = flat.num_voxels
    for entry in range(min(num, source.num_events)):
        _, image = detect(source.read(entry), box, cfg, np.zeros((0, 2, 3)), ("flow", entry))
        views = [project(image, {}, plane, 0.0, is_grid=False) for plane in planes]
        one, two, third = (seen(view, side) for view in views)
        row_P, other_P, feat_PC = features(one, two, third, side)
        at = [np.floor(plane.see(image.coord + 0.5)).astype(np.int64) for plane in planes[:2]]
        truth = best_of(at[0][:, 0] * side + at[0][:, 1], image.energy, at[1][:, 1])
        key_A = one.coord[:, 0] * side + one.coord[:, 1]
        true_A = np.array([truth.get(int(key), -9) for key in key_A])
        wire_P = two.coord[other_P, 1]
        near_P = np.abs(wire_P - true_A[row_P])
        least_A = np.full(len(key_A), 99)
        np.minimum.at(least_A, row_P, near_P)
        is_true_P = (near_P == least_A[row_P]) & (near_P <= RIGHT_WITHIN)
        yield Pairs(row_P, wire_P, feat_PC, is_true_P, key_A, truth, image.coord)


def train(sample: list[Pairs], seed: int = 1) -> tuple[nn.Module, Tensor, Tensor]:
    """Return the network, and the mean and width of what it sees."""
    torch.manual_seed(seed)
    feat = torch.from_numpy(np.concatenate([one.feat_PC for one in sample]))
    mean, width = feat.mean(0), feat.std(0).clamp(min=1e-3)
    shift = np.cumsum([0, *(len(one.key_A) for one in sample)])
    pixel = np.concatenate([one.pixel_P + start for one, start in zip(sample, shift, strict=False)])
    is_true = np.concatenate([one.is_true_P for one in sample])
    first = np.searchsorted(pixel, np.arange(shift[-1] + 1))
    known = np.flatnonzero(
        np.add.reduceat(is_true, np.minimum(first[:-1], len(is_true) - 1)) * (np.diff(first) > 1)
    )
    net = nn.Sequential(
        nn.Linear(feat.shape[1], HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, 1),
    )
    steps = torch.optim.AdamW(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(steps, NUM_STEPS)
    rng = np.random.default_rng(seed)
    for _ in range(NUM_STEPS):
        chosen = rng.choice(known, min(BATCH, len(known)), replace=False)
        num = first[chosen + 1] - first[chosen]
        row = torch.from_numpy(np.repeat(first[chosen] - np.cumsum(num) + num, num) + np.arange(num.sum()))
        of = torch.from_numpy(np.repeat(np.arange(len(chosen)), num))
        score = net((feat[row] - mean) / width)[:, 0].exp().clamp(max=1e20)
        right = torch.from_numpy(is_true)[row]
        total = torch.zeros(len(chosen)).index_add(0, of, score)
        share = torch.zeros(len(chosen)).index_add(0, of, score * right) / total
        loss = -share.clamp(min=1e-9).log().mean()
        steps.zero_grad()
        loss.backward()
        steps.step()
        schedule.step()
    return net, mean, width


def measure(sample: list[Pairs], net: nn.Module, mean: Tensor, width: Tensor) -> str:
    """Return a line of the table: pixels paired rightly, and the points that the pairs make."""
    pairs, points = np.zeros(3), np.zeros(4)
    side = config.Wires().num_pixels
    for one in sample:
        with torch.no_grad():
            score = net((torch.from_numpy(one.feat_PC) - mean) / width)[:, 0].numpy()
        order = np.lexsort((-score, one.pixel_P))
        kept, first = np.unique(one.pixel_P[order], return_index=True)
        wire = one.wire_P[order[first]]
        key = one.key_A[kept]
        true = np.array([one.truth.get(int(one_key), -9) for one_key in key])
        known = true != -9
        pairs += (np.sum(np.abs(wire - true)[known] <= RIGHT_WITHIN), known.sum(), len(one.truth))
        made = place(key // side, key % side, wire, side)
        near = np.isfinite(cKDTree(one.image).query(made, distance_upper_bound=TRUE_WITHIN)[0])
        found = np.isfinite(cKDTree(made).query(one.image, distance_upper_bound=TRUE_WITHIN)[0])
        points += (near.sum(), len(near), found.sum(), len(found))
    right, paired, total = pairs
    return (
        f"{paired / total:.1%} | {right / paired:.1%} | {right / total:.1%} | {points[0] / points[1]:.1%} | "
        f"{points[2] / points[3]:.1%} |"
    )


def place(x: Ints, wire: Ints, other: Ints, side: int) -> Floats:
    """Return where wires at 0° and 60° cross at a drift coordinate, in voxels of the default box."""
    cfg = config.Ingest()
    half_cm = 0.5 * cfg.num_voxels * cfg.voxel_size_cm
    z_cm, w_cm = ((at + 0.5 - side / 2) * cfg.wires.pitch_cm for at in (wire, other))
    angle = np.deg2rad(ANGLES[1])
    y_cm = (z_cm * np.cos(angle) - w_cm) / np.sin(angle)
    x_cm = (x + 0.5 - side / 2) * cfg.wires.tick_us * cfg.wires.ticks_per_pixel * 0.1098
    return (np.stack([x_cm, y_cm, z_cm], 1) + half_cm) / cfg.voxel_size_cm - 0.5


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--train-events", type=int, default=40)
    parser.add_argument("--events", type=int, default=12)
    given = parser.parse_args()
    print(
        "| way | paired | rightly, of the pairs | rightly, of all pixels | points real | deposits with a point |"
    )
    print("|---|---|---|---|---|---|")
    known, held_out = (
        list(events(*args)) for args in ((given.train, given.train_events), (given.test, given.events))
    )
    for way, num in (("two planes, learned", -NUM_OF_THIRD), ("three planes, learned", None)):
        seen_by = [
            [replace(one, feat_PC=one.feat_PC[:, :num]) for one in sample] for sample in (known, held_out)
        ]
        print(f"| {way} | {measure(seen_by[1], *train(seen_by[0]))}", flush=True)
    print(f"{time.process_time():.0f} s of CPU")


if __name__ == "__main__":
    main()
