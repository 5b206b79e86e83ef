"""Processor and wall time of the default production: `python benchmarks/production.py [--repeats 2]`.

Three ways in turn, each in a fresh copy of the checkout: as `make run` does it, where the jobs of a shard share a
process; each job by itself (Snakemake's hooks are off, so that there is no plan to go on by); and so, without bytecode
(every job compiles all that it imports). All processes count; the machine may be busy.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
NEEDED = ("Snakefile", "workflow", "config", "envs", "models", "profiles", "lartpc")
WAYS = ("one process a shard", "each job by itself", "by itself, no bytecode")


def production(folder: Path, way: str, nowhere: Path) -> tuple[float, float]:
    """Run the default production in a copy of the checkout; return the time of all processors and wall time [s]."""
    for name in NEEDED:
        source = REPOSITORY / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    subprocess.run([sys.executable, "-m", "compileall", "-q", folder / "lartpc"], check=True)
    scripts = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    }
    if "no bytecode" in way:
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(nowhere)}
    command = ["snakemake", "--profile", "profiles/local", *(["--no-hooks"] if "by itself" in way else [])]
    start = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(arguments.repeats):
        for way in WAYS:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name) / "checkout"
                folder.mkdir()
                found[way].append(production(folder, way, Path(name) / "nowhere"))
            used, wall = found[way][-1]
            print(f"{way:24s}{used:8.1f} s of processors, {wall:6.1f} s wall", flush=True)
    medians = {
        way: [statistics.median(times) for times in zip(*runs, strict=True)] for way, runs in found.items()
    }
    for way, (used, wall) in medians.items():
        times = used / medians[WAYS[0]][0]
        print(
            f"{way:24s}{used:8.1f} s of processors (median; {times:.2f} times the first), {wall:6.1f} s wall"
        )


if __name__ == "__main__":
    main()
