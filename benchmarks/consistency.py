"""How well the classes and species of particles agree with their voxels and with the truth, over one shard.

    python benchmarks/consistency.py INGEST.h5 SEGMENT.h5 CLUSTER.h5 TABLES

of the same shard, `TABLES` being the folder that `lartpc summarize` wrote. Particles of 20 voxels and more count.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from lartpc.store import open_events
from lartpc.vocab import Semantic

LEAST_VOXELS = 20
LEAST_SHARE = 0.1
LEAST_IOU = 0.5


def shares(paths: list[Path]) -> np.ndarray:
    """Return of each particle the share of its voxels that are labelled as it is."""
    found = []
    with open_events(*paths) as events:
        for event in events.stream(["semantic", "group", "particle"]):
            owner, own = event["group"]["particle"], event["particle"]["semantic"]
            row = owner >= 0
            same = event["semantic"]["label"][row] == own[owner[row]]
            count = np.bincount(owner[row], minlength=len(own))
            found.append(np.bincount(owner[row], same, len(own)) / np.maximum(count, 1))
    return np.concatenate(found)


def main() -> None:
    """Print the figures."""
    *paths, tables = map(Path, sys.argv[1:])
    particles = pd.read_parquet(tables / "particles.parquet")
    particles["share"] = shares(paths)
    large = particles[particles.num_voxels >= LEAST_VOXELS]
    truth = pd.read_parquet(tables / "truth_particles.parquet")
    both = large.merge(truth, on=["entry", "truth_particle_id"], suffixes=("", "_true"))
    both = both[both.truth_iou > LEAST_IOU]
    michels = large[large.semantic == Semantic.MICHEL.name.lower()]
    known = both.species_true.notna()
    print(f"particles of {LEAST_VOXELS} voxels and more     {len(large)}")
    print(f"of a class that < {LEAST_SHARE:.0%} of them have   {(large.share < LEAST_SHARE).sum()}")
    print(f"mean deposited energy of Michels      {michels.energy_mev.mean():.1f} MeV")
    print(f"Michels above 60 MeV                  {(michels.energy_mev > 60).sum()} of {len(michels)}")
    for name, rows in (("semantic", both), ("species", both[known])):
        right = rows[name].astype(str) == rows[f"{name}_true"].astype(str)
        weighted = np.average(right, weights=rows.energy_mev)
        print(
            f"{name:8} right {right.mean():.2%}, by energy {weighted:.2%}, of {len(rows)} with IoU > {LEAST_IOU}"
        )
    leaving = both[(both.species == "muon") & (both.species_true == "muon") & ~both.is_contained]
    leaving = leaving[leaving.kinetic_energy_initial_mev.between(100, 300)]
    bias = (leaving.kinetic_energy_mev / leaving.kinetic_energy_initial_mev - 1).median()
    print(f"leaving muons of 100 to 300 MeV: median error of the best energy {bias:+.1%}, of {len(leaving)}")
    flags = [name for name in particles if name.startswith("flag_")]
    print("flags", {name.removeprefix("flag_"): int(particles[name].sum()) for name in flags})


if __name__ == "__main__":
    main()
