"""How well the energy of muons that leave is known by scattering, on the true voxels of ingested events.

    python benchmarks/scattering.py results/events/ingest/*/*.h5

Primary muons that leave the box after at least `--length` cm are compared with the truth, in bins of the true energy:
median and half the central 68 % of E / E(true) - 1, and of the pulls half the central 68 %.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np

from lartpc.config import Summarize
from lartpc.store import open_events
from lartpc.tables.measured import measured
from lartpc.truth import completed, upstream_from_truth
from lartpc.vocab import Semantic, Species

BINS_MEV = (300, 600, 1000, 1500, 3000)


def main() -> None:
    """Print a line for each bin, and one for 0.3 to 1.5 GeV."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("events", nargs="+", type=Path)
    parser.add_argument("--length", type=float, default=100.0)
    given = parser.parse_args()
    rows = np.concatenate([muons(path, given.length) for path in given.events])
    print("true energy [MeV]     N    bias  resolution  pulls")
    for low, high in ((300, 1500), *pairwise(BINS_MEV)):
        true, found, error = rows[(rows[:, 0] >= low) & (rows[:, 0] < high)].T
        if len(true) > 1:
            low_ratio, bias, high_ratio = np.quantile(found / true - 1, (0.16, 0.5, 0.84))
            pulls = np.quantile((found - true) / error, (0.16, 0.84))
            print(
                f"{low:>6}-{high:<6} {len(true):>10} {bias:>+7.1%} {(high_ratio - low_ratio) / 2:>11.1%}"
                f" {np.ptp(pulls) / 2:>6.2f}"
            )


def muons(path: Path, length_cm: float) -> np.ndarray:
    """Return true energy, energy by scattering and its error [MeV] of the muons (N, 3) of a file that leave."""
    found = []
    with open_events(path) as events:
        for event in events.stream():
            event = upstream_from_truth(completed(event), ["group", "particle"])
            true = event["truth_particle"]
            num = len(true["species"])
            event = event.with_products(
                {"identity": {"species": true["species"], "is_turned": np.zeros(num, np.int8)}}
            )
            columns = measured(event, event.box.to_cm([[(0, 0, 0), event.box.shape]]), Summarize())[1].columns
            chosen = (true["species"] == Species.MUON) & (true["semantic"] == Semantic.TRACK)
            chosen &= (true["is_primary"] == 1) & ~columns["is_contained"]
            chosen &= (columns["length_cm"] >= length_cm) & np.isfinite(
                columns["scattering_energy_mev"][:, 0]
            )
            pick = (
                true["energy_init"],
                columns["scattering_energy_mev"][:, 0],
                columns["scattering_energy_error_mev"][:, 0],
            )
            found.append(np.stack([values[chosen] for values in pick], axis=1))
    return np.concatenate(found)


if __name__ == "__main__":
    main()
