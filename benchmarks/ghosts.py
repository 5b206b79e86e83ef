"""Count the ghosts that planes of wires make of ingested events, and time it.

python benchmarks/ghosts.py INGESTED.h5 [--events 50]
"""

import argparse
import time
from pathlib import Path

import numpy as np

from lartpc.config import Tomography
from lartpc.event import Event
from lartpc.ingest.detector.tomography import reconstruct
from lartpc.ingest.voxelize import Deposits, Image, Pieces
from lartpc.store import open_events

CASES = {
    "U, V and Y, 3 mm": Tomography(angles_deg=(60, -60, 0)),
    "U, V and Y, 5 mm": Tomography(angles_deg=(60, -60, 0), pitch_cm=0.5),
    "U and Y, 3 mm": Tomography(angles_deg=(60, 0)),
}


def image_of(event: Event) -> Image:
    coord, energy = event["voxel"]["coord"].astype(np.int64), event["voxel"]["energy"].astype(float)
    num = len(energy)
    pieces = Pieces(np.arange(num), np.zeros(num), np.ones(num), coord.T.astype(float), np.ones((3, num)))
    deposits = Deposits(pieces, np.arange(num), np.ones(num, bool), energy)
    return Image(coord, energy, float(energy.sum()), 0.0, 0.0, deposits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--events", type=int, default=50)
    args = parser.parse_args()
    with open_events(args.file) as events:
        box, read = events.box, events.block(0, min(args.events, len(events)), ["voxel"])
    print("| planes | ghosts per voxel | median of events | energy in ghosts | CPU time per event |")
    print("|---|---|---|---|---|")
    for name, cfg in CASES.items():
        num_real, num_ghosts, ghost_mev, all_mev, ratios = 0, 0, 0.0, 0.0, []
        start = time.process_time()
        for event in read:
            image = image_of(event)
            made, _ = reconstruct(image, {}, box, cfg)
            ghost = np.ones(len(made.energy), bool)
            ghost[made.deposits.voxel] = False
            num_real, num_ghosts = num_real + int((~ghost).sum()), num_ghosts + int(ghost.sum())
            ghost_mev, all_mev = ghost_mev + made.energy[ghost].sum(), all_mev + made.energy.sum()
            ratios.append(ghost.sum() / max((~ghost).sum(), 1))
        seconds = (time.process_time() - start) / len(read)
        print(
            f"| {name} | {num_ghosts / num_real:.2f} | {np.median(ratios):.2f} | {ghost_mev / all_mev:.1%} "
            f"| {1e3 * seconds:.0f} ms |",
            flush=True,
        )


if __name__ == "__main__":
    main()
