"""Pixels of one wire plane paired with those of another by geometry: how often, and how often rightly.

python benchmarks/pixel_flow.py STEPS.h5 --events 20

The truth of a pixel is that of the other plane, at the same drift coordinate, with most of its energy. Ways:
- two planes: the pixel of the other plane at the same drift coordinate whose charge is nearest to its own;
- three planes: of the points that all agree on (`ingest.wires.space_points`), the one with most charge at the pixel.
A pair is right within one wire. Points are real if they are, or touch, a voxel with deposits.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lartpc import config
from lartpc.geometry import Box
from lartpc.ingest import open_sources
from lartpc.ingest.detector.project import Plane, flat_box, project
from lartpc.ingest.detector.response import detect
from lartpc.ingest.detector.space_points import TRUE_WITHIN, space_points

ANGLES = (0.0, 60.0, -60.0)
RIGHT_WITHIN = 1


def best_of(
    pixel: NDArray[np.int64], weight: NDArray[np.float64], value: NDArray[np.int64]
) -> dict[int, int]:
    """Return for each pixel the value of the row with the largest weight."""
    order = np.lexsort((-weight, pixel))
    kept, first = np.unique(pixel[order], return_index=True)
    return dict(zip(kept.tolist(), value[order[first]].tolist(), strict=True))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("steps", type=Path)
    parser.add_argument("--events", type=int, default=20)
    given = parser.parse_args()
    source = open_sources([given.steps])
    wires = {"angles_deg": ANGLES, "drift_velocity_cm_us": 0.1098}
    cfg = config.Ingest.model_validate({"wires": wires})
    box = Box.centred(source.centre_cm or (0.0, 0.0, 0.0), cfg.voxel_size_cm, cfg.num_voxels)
    flat = flat_box(box, cfg)
    planes = [Plane(angle, box, flat) for angle in ANGLES]
    side = flat.num_voxels
    sums = {(way, other): np.zeros(3) for way in ("two planes", "three planes") for other in (1, 2)}
    points = np.zeros(4)
    start = time.process_time()
    for entry in range(min(given.events, source.num_events)):
        _, image = detect(source.read(entry), box, cfg, np.zeros((0, 2, 3)), ("flow", entry))
        views = [project(image, {}, plane, 0.0, is_grid=False) for plane in planes]
        made, _ = space_points(views, planes, image, {}, box, cfg.wires)
        true_at, made_at = (
            [np.floor(plane.see(one.coord + 0.5)).astype(np.int64) for plane in planes]
            for one in (image, made)
        )
        own = [at[0][:, 0] * side + at[0][:, 1] for at in (true_at, made_at)]
        near = np.isfinite(cKDTree(image.coord).query(made.coord, distance_upper_bound=TRUE_WITHIN)[0])
        found = np.isfinite(cKDTree(made.coord).query(image.coord, distance_upper_bound=TRUE_WITHIN)[0])
        points += (near.sum(), len(near), found.sum(), len(found))
        for other in (1, 2):
            truth = best_of(own[0], image.energy, true_at[other][:, 1])
            ways = {
                "three planes": best_of(own[1], made.energy, made_at[other][:, 1]),
                "two planes": by_charge(
                    views[0].coord, views[0].energy, views[other].coord, views[other].energy, side
                ),
            }
            for way, guess in ways.items():
                both = truth.keys() & guess.keys()
                right = sum(abs(truth[pixel] - guess[pixel]) <= RIGHT_WITHIN for pixel in both)
                sums[way, other] += (right, len(both), len(truth))
    seconds = time.process_time() - start
    print(
        "| way | to the plane at | paired | rightly, of the pairs | rightly, of all pixels |\n|---|---|---|---|---|"
    )
    for (way, other), (right, both, total) in sums.items():
        print(
            f"| {way} | {ANGLES[other]:g}° | {both / total:.1%} | {right / both:.1%} | {right / total:.1%} |"
        )
    print(
        f"points: purity {points[0] / points[1]:.1%}, efficiency {points[2] / points[3]:.1%}; {seconds:.0f} s of CPU"
    )


def by_charge(
    coord: NDArray[np.int64],
    energy: NDArray[np.float64],
    other: NDArray[np.int64],
    charge: NDArray[np.float64],
    side: int,
) -> dict[int, int]:
    """Return for each pixel the wire of the other plane's pixel at its drift coordinate that is nearest in charge."""
    first, last = (np.searchsorted(other[:, 0], coord[:, 0], where) for where in ("left", "right"))
    found = {}
    for row in np.flatnonzero(last > first):
        rows = slice(first[row], last[row])
        nearest = np.abs(charge[rows] - energy[row]).argmin()
        found[int(coord[row, 0] * side + coord[row, 1])] = int(other[rows][nearest, 1])
    return found


if __name__ == "__main__":
    main()
