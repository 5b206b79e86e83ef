"""Speed and memory of voxel sources: PILArNet-M written from a sample and read back, against its steps.

Run: python benchmarks/ingest_voxels.py STEPS [--repeat N] [--large V]

STEPS is a file of `lartpc simulate`. Times are CPU times of this process; each round reads the steps and the
images one after the other, so that a busy machine slows both.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from lartpc import config
from lartpc.ingest.formats.pilarnet import SIDE
from lartpc.run.export import export
from lartpc.run.ingest import ingest


def main() -> None:
    """Print events per CPU second of each, their ratio, and the memory that one large event takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("steps", type=Path, help="file of 'lartpc simulate'")
    parser.add_argument("--repeat", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--large", type=int, default=1_000_000, help="voxels of the large event")
    args = parser.parse_args()
    cfg = config.Ingest()
    with tempfile.TemporaryDirectory() as folder:
        events, image = Path(folder) / "events.h5", Path(folder) / "image.h5"
        rates: dict[str, list[float]] = {"steps": [], "export": [], "voxels": []}
        for _ in range(args.repeat):
            start = time.process_time()
            num_events = ingest(args.steps, cfg, out=events).num_events
            middle = time.process_time()
            export([events], image)
            end = time.process_time()
            ingest(image, cfg, out=events.with_name("again.h5"))
            for name, seconds in zip(
                rates, (middle - start, end - middle, time.process_time() - end), strict=True
            ):
                rates[name].append(num_events / seconds)
        for name, values in rates.items():
            print(f"{name:8s} {np.median(values):8.1f} events per CPU second")
        print(f"voxels / steps: {np.median(np.divide(rates['voxels'], rates['steps'])):.2f}")

        large = write_large(Path(folder) / "large.h5", args.large)
        before = peak_mb()
        start = time.process_time()
        summary = ingest(large, cfg, out=Path(folder) / "out.h5")
        print(
            f"one event of {summary.num_voxels} voxels: {time.process_time() - start:.1f} CPU s, peak memory "
            f"{before:.0f} -> {peak_mb():.0f} MB"
        )


def write_large(path: Path, num_voxels: int) -> Path:
    """Write a PILArNet-M event of that many voxels in 1000 fragments."""
    rng = np.random.default_rng(1)
    key = rng.choice(SIDE**3, num_voxels, replace=False)
    point = np.zeros((num_voxels, 8), np.float32)
    point[:, :3] = np.stack(np.unravel_index(key, (SIDE,) * 3), axis=-1)
    point[:, 3] = rng.uniform(0.1, 1.0, num_voxels)
    size = np.diff(np.linspace(0, num_voxels, 1001).astype(int))
    number = np.arange(1000)
    cluster = np.column_stack([size, number, number // 2, number // 20, number % 2]).astype(np.float32)
    cluster[0, 1:] = (-1, -1, -1, 4)
    with h5py.File(path, "w") as file:
        for name, rows in (("point", point), ("cluster", cluster)):
            data = file.create_dataset(name, (1,), dtype=h5py.vlen_dtype(np.float32))
            data[0] = rows.ravel()
    return path


def peak_mb() -> float:
    """Return the largest resident memory so far [MB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
