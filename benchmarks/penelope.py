"""Electron showers in liquid argon by PENELOPE: the references of `lartpc simulate validate`.

    pip install pypenred==1.15.2.0
    python benchmarks/penelope.py --out lartpc/simulate/validation/penelope.json

PyPenred (AGPL-3.0) runs PENELOPE's electromagnetic physics with its own data. It is needed here only:
lartpc reads the numbers that this script writes. Electrons start in argon without an end; particles are
followed down to 100 keV (electrons, positrons) and 10 keV (photons), which deposit what they have left.
Errors come from the scatter of independent runs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

DENSITY_G_CM3 = 1.396
ELECTRON_CUT_EV, PHOTON_CUT_EV = 1e5, 1e4
STEP_PARAMETER = 0.05  # C1 and C2 of PENELOPE
NUM_SHOWERS = {50: 40_000, 500: 4_800, 1000: 2_800}  # by energy in MeV
NUM_RUNS = 8
DEPTH_CM = (-100.0, 500.0, 2400)
RADIUS_CM = (0.0, 200.0, 2000)
DEPTH_SHOWN_CM = np.arange(-10.0, 255.0, 5.0)
RADIUS_SHOWN_CM = np.concatenate([np.arange(0.5, 10, 0.5), np.arange(10, 41, 2.0)])


def settings(energy_mev: float, num_showers: int, seed: int, material: Path) -> str:
    """Return a run's configuration."""
    source, argon, depth, radius = (
        "sources/generic/beam",
        "materials/argon",
        "tallies/depth",
        "tallies/radius",
    )
    values: dict[str, object] = {
        f"{source}/nhist": num_showers,
        f"{source}/kpar": '"electron"',
        f"{source}/direction/type": '"CONE"',
        **{f"{source}/direction/{name}": 0.0 for name in ("theta", "phi", "alpha")},
        f"{source}/energy/type": '"MONOENERGETIC"',
        f"{source}/energy/energy": energy_mev * 1e6,
        f"{source}/spatial/type": '"POINT"',
        **{f"{source}/spatial/position/{axis}": 0.0 for axis in "xyz"},
        "geometry/type": '"DUMMY"',
        f"{argon}/number": 1,
        f"{argon}/eabs/electron": ELECTRON_CUT_EV,
        f"{argon}/eabs/positron": ELECTRON_CUT_EV,
        f"{argon}/eabs/gamma": PHOTON_CUT_EV,
        f"{argon}/C1": STEP_PARAMETER,
        f"{argon}/C2": STEP_PARAMETER,
        f"{argon}/WCC": ELECTRON_CUT_EV,
        f"{argon}/WCR": PHOTON_CUT_EV,
        f"{argon}/filename": f'"{material}"',
        "simulation/threads": 1,
        "simulation/finalDump": "false",
        "simulation/seed1": seed,
        "simulation/seed2": 7919 + seed,
    }
    for tally, (rmin, rmax, nr), (zmin, zmax, nz) in (
        (depth, (0.0, 300.0, 1), DEPTH_CM),
        (radius, RADIUS_CM, (-200.0, 600.0, 1)),
    ):
        values |= {f"{tally}/type": '"CYLINDRICAL_DOSE_DISTRIB"', f"{tally}/print-xyz": "true"}
        values |= {f"{tally}/rmin": rmin, f"{tally}/rmax": rmax, f"{tally}/nbinsr": nr}
        values |= {f"{tally}/zmin": zmin, f"{tally}/zmax": zmax, f"{tally}/nbinsz": nz}
        values[f"{tally}/nbinsPhi"] = 1
    return "".join(f"{key} {value}\n" for key, value in values.items())


def run(energy_mev: float, num_showers: int, seed: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Run PENELOPE in a process of its own; return the energy in bins of depth and of radius."""
    work = folder / f"{energy_mev:g}-{seed}"
    work.mkdir()
    (work / "run.in").write_text(settings(energy_mev, num_showers, seed, folder / "argon.mat"))
    code = (
        "from pyPenred import simulation as s; import os\n"
        "s.setConfigurationLog('c.log'); s.setSimulationLog('s.log')\n"
        "if not os.path.exists('../argon.mat'):\n"
        f"    s.materials.create('argon', {DENSITY_G_CM3}, [(18, 1.0)], '../argon.mat')\n"
        "run = s.create(); run.configFromFile('run.in'); run.simulate()\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=work, check=True, stdout=subprocess.DEVNULL)
    energies = []
    for tally in ("depth", "radius"):
        (path,) = work.glob(f"{tally}-*.dat")
        energies.append(np.loadtxt(path)[:, -2])  # energy per shower and bin, then its error
    return energies[0], energies[1]


def contains(edges: np.ndarray, energy: np.ndarray, share: float) -> float:
    """Return the position below which a share of the energy lies."""
    return float(np.interp(share, np.concatenate([[0], np.cumsum(energy) / energy.sum()]), edges))


def with_error(runs: list[float], of_all: float) -> tuple[float, float]:
    """Return a figure of all runs together, and its error from their scatter."""
    return round(of_all, 3), round(float(np.std(runs, ddof=1) / np.sqrt(len(runs))), 3)


def shower(energy_mev: float, num_showers: int, folder: Path) -> dict[str, object]:
    """Return the figures of one energy."""
    runs = []
    for seed in range(1, NUM_RUNS + 1):
        runs.append(run(energy_mev, num_showers // NUM_RUNS, seed, folder))
        print(f"{energy_mev:g} MeV: run {seed} of {NUM_RUNS}", file=sys.stderr)
    depth, radius = (np.array(energy) for energy in zip(*runs, strict=True))
    z = np.linspace(DEPTH_CM[0], DEPTH_CM[1], DEPTH_CM[2] + 1)
    r = np.linspace(RADIUS_CM[0], RADIUS_CM[1], RADIUS_CM[2] + 1)
    figures = {
        "mean_depth_cm": (depth, lambda energy: float(np.average((z[1:] + z[:-1]) / 2, weights=energy))),
        "contains_depth_cm": (depth, lambda energy: contains(z, energy, 0.9)),
        "contains_radius_cm": (radius, lambda energy: contains(r, energy, 0.9)),
    }
    found: dict[str, object] = {
        name: with_error([figure(one) for one in energies], figure(energies.sum(0)))
        for name, (energies, figure) in figures.items()
    }
    share = depth.sum(0) / depth.sum()
    inside = np.cumsum(radius.sum(0)) / radius.sum()
    found["depth_cm"] = DEPTH_SHOWN_CM.tolist()
    profile = np.histogram((z[1:] + z[:-1]) / 2, DEPTH_SHOWN_CM, weights=share)[0]
    found["depth_share"] = [round(value, 5) for value in profile.tolist()]
    found["radius_cm"] = RADIUS_SHOWN_CM.tolist()
    found["inside_radius"] = [round(float(value), 5) for value in np.interp(RADIUS_SHOWN_CM, r[1:], inside)]
    print(f"{energy_mev:g} MeV: {[found[name] for name in figures]}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        showers = {f"{energy:g}": shower(energy, num, Path(folder)) for energy, num in NUM_SHOWERS.items()}
    content = {"made_by": "benchmarks/penelope.py, pypenred 1.15.2.0", "num_showers": NUM_SHOWERS}
    options.out.write_text(json.dumps({**content, "showers": showers}) + "\n")


if __name__ == "__main__":
    main()
