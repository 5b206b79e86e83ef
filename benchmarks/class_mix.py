"""Count the voxels of each class per event in ingested files: `python benchmarks/class_mix.py *.h5`.

The mean over events with its statistical error, beside that of PILArNet-M: sums over its training and
validation events (arXiv:2502.02558 and the dataset's page), 1 210 080 in all.
"""

import argparse
from pathlib import Path

import numpy as np

from lartpc.store import open_events
from lartpc.vocab import Semantic

PILARNET_M = {
    Semantic.SHOWER: 1592,
    Semantic.TRACK: 1684,
    Semantic.MICHEL: 28,
    Semantic.DELTA: 76,
    Semantic.LOW_ENERGY: 947,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=Path, nargs="+", help="files of 'lartpc ingest', with truth")
    counts = []
    for path in parser.parse_args().events:
        with open_events(path) as events:
            counts += [
                np.bincount(event["truth_voxel"]["semantic"], minlength=len(Semantic))
                for event in events.stream(("truth_voxel",))
            ]
    mean, error = np.mean(counts, axis=0), np.std(counts, axis=0) / np.sqrt(len(counts))
    print(f"{len(counts)} events, voxels per event\n")
    print("| class | here | PILArNet-M | ratio |\n|---|---|---|---|")
    for label, there in PILARNET_M.items():
        print(
            f"| {label.name.lower().replace('_', ' ')} | {mean[label]:.1f} ± {error[label]:.1f} | {there} "
            f"| {mean[label] / there:.2f} ± {error[label] / there:.2f} |"
        )
    print(
        f"| all | {mean.sum():.0f} | {sum(PILARNET_M.values())} | {mean.sum() / sum(PILARNET_M.values()):.2f} |"
    )


if __name__ == "__main__":
    main()
