"""How well ghosts of 3D points are told by their hits alone: charges of the planes, now and at neighbouring times.

python benchmarks/ghost_hits.py TRAIN.h5 TEST.h5 [--events 40] [--steps 1200]

Both files hold points of `ingest.tomography`. A small network sees of each point

- share: what `segment` sees with `plane_hits`: of each plane the charge, the share of the point, and how many share it;
- equality: also the asymmetry of the charges of each pair of planes, on a scale that tells small ones apart;
- profile: also the charges of the same wires one and two voxels of drift before and after, and their asymmetry.

It sees no other point: what a network of images gains above these figures comes from the shape of tracks and showers.
"""

import argparse
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from lartpc.event import Event
from lartpc.nets.energies import energy_features
from lartpc.nets.plane_hits import hit_features
from lartpc.store import open_events
from lartpc.truth import is_far_ghost
from lartpc.vocab import GHOST

KEPT = (0.85, 0.9, 0.94)
TIMES = (-2, -1, 1, 2)
LEAST = 1e-4
"""Asymmetries below this are one."""
BATCH = 8192


def scaled(charge: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return charges on the scale of the networks."""
    return energy_features(torch.from_numpy(charge.ravel()))[:, 0].numpy().reshape(charge.shape)


def asymmetry(one: NDArray[np.float32], two: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return log10 of |a - b| / (a + b), from -4 to 0, and the sign with it in a second column."""
    total = np.maximum(one + two, 1e-9)
    size = np.log10(np.clip(np.abs(one - two) / total, LEAST, 1.0))
    return np.stack([1 + size / 2, np.sign(one - two) * (1 + size / 4)], -1).reshape(len(one), -1)


def charges_at(event: Event, angles_deg: list[float]) -> NDArray[np.float32]:
    """Return the charges (V, planes, times) of the wires of each point at the other TIMES; 0: none."""
    coord, charge = event["voxel"]["coord"].astype(np.int64), event["plane_hit"]["charge"]
    middle = event.box.num_voxels / 2
    found = np.zeros((len(coord), len(angles_deg), len(TIMES)), np.float32)
    for plane, angle in enumerate(np.deg2rad(angles_deg)):
        across = (coord[:, 2] + 0.5 - middle) * np.cos(angle) - (coord[:, 1] + 0.5 - middle) * np.sin(angle)
        wire = np.floor(across).astype(np.int64) + 4096
        key, first = np.unique(coord[:, 0] << 14 | wire, return_index=True)
        for column, step in enumerate(TIMES):
            wanted = coord[:, 0] + step << 14 | wire
            place = np.searchsorted(key, wanted).clip(max=len(key) - 1)
            found[:, plane, column] = np.where(key[place] == wanted, charge[first[place], plane], 0)
    return found


def features(event: Event, angles_deg: list[float]) -> dict[str, NDArray[np.float32]]:
    """Return what each kind of network sees of the points."""
    energy, hit, num = event["voxel"]["energy"], event["plane_hit"], len(angles_deg)
    charge = hit["charge"][:, :num]
    own = energy_features(torch.from_numpy(energy))[:, :1]
    share = torch.cat(
        [own, hit_features(*(torch.from_numpy(x) for x in (energy, hit["charge"], hit["num_points"])))], 1
    ).numpy()
    pairs = list(combinations(range(num), 2))
    equal = np.concatenate([asymmetry(charge[:, a], charge[:, b]) for a, b in pairs], 1)
    at = charges_at(event, angles_deg)
    profile = [scaled(at).reshape(len(energy), -1)]
    profile += [asymmetry(at[:, a, t], at[:, b, t]) for a, b in pairs for t in range(len(TIMES))]
    equality = np.concatenate(
        [share, scaled(charge), 1.0 / hit["num_points"][:, :num], equal], 1, dtype=np.float32
    )
    return {"share": share, "equality": equality, "profile": np.concatenate([equality, *profile], 1)}


def read(
    path: Path, num_events: int
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the features, and which points are real and which far ghosts."""
    seen: list[dict[str, NDArray[np.float32]]] = []
    real, far = [], []
    with open_events(path) as events:
        angles = json.loads(events.attributes()["ingest"]["config"])["tomography"]["angles_deg"]
        for event in events.block(0, min(num_events, len(events)), ["voxel", "truth_voxel", "plane_hit"]):
            if event.num_voxels:
                seen.append(features(event, angles))
                real.append(event["truth_voxel"]["semantic"] != GHOST)
                far.append(is_far_ghost(event))
    joined = {name: np.concatenate([one[name] for one in seen]) for name in seen[0]}
    return joined, np.concatenate(real), np.concatenate(far)


def main() -> None:
    """Print the shares of far ghosts removed where given shares of the real points are kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--events", type=int, default=40)
    parser.add_argument("--steps", type=int, default=1200)
    given = parser.parse_args()
    torch.set_num_threads(1)
    seen, real, far = read(given.train, given.events)
    test, test_real, test_far = read(given.test, given.events)
    is_asked = np.flatnonzero(real | far)
    num_real, num_far = int(test_real.sum()), int(test_far.sum())
    num_near = len(test_real) - num_real - num_far
    print(f"{num_far / num_real:.1f} far ghosts a real point, {num_near / num_real:.1f} near")
    print("| seen | " + " | ".join(f"far ghosts removed, {share:.0%} kept" for share in KEPT) + " |")
    print("|---|" + "---|" * len(KEPT))
    for name, values in seen.items():
        torch.manual_seed(0)
        rng = np.random.default_rng(0)
        net = nn.Sequential(
            nn.Linear(values.shape[1], 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
        )
        optimizer = torch.optim.Adam(net.parameters(), 3e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, given.steps)
        for _ in range(given.steps):
            row = rng.choice(is_asked, BATCH)
            said = net(torch.from_numpy(values[row]))[:, 0]
            loss = functional.binary_cross_entropy_with_logits(
                said, torch.from_numpy(real[row].astype(np.float32))
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            score = net(torch.from_numpy(test[name]))[:, 0].numpy()
        cuts = [np.quantile(score[test_real], 1 - share) for share in KEPT]
        print(
            f"| {name} | " + " | ".join(f"{(score[test_far] < cut).mean():.1%}" for cut in cuts) + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
