"""`lartpc doctor`: look at this machine before the first run, and say what would be used."""

import os
import platform
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import torch
from rich.console import Console
from rich.table import Table

from lartpc import dist, sparse
from lartpc.simulate import argon

PACKAGES = (
    "snakemake",
    "snakemake-executor-plugin-slurm",
    "torch",
    "spconv",
    "mpi4py",
    "dask",
    "h5py",
    "pyarrow",
)


def doctor() -> bool:
    """Print what was found and whether it works; return True if nothing is wrong."""
    table = Table("what", "found", "verdict", title="lartpc doctor")
    fine = True
    for name, check in CHECKS.items():
        try:
            found, problem = check()
        except Exception as error:
            found, problem = "", f"{type(error).__name__}: {error}"
        fine = fine and not problem
        table.add_row(name, found, f"[red]{problem}[/red]" if problem else "[green]fine[/green]")
    Console().print(table)
    return fine


Finding = tuple[str, str]
"""What was found, and what is wrong with it (empty: nothing)."""


def _python() -> Finding:
    found = f"{platform.python_version()} in {sys.prefix}, {os.cpu_count()} cores"
    return found, "" if (3, 11) <= sys.version_info[:2] < (3, 14) else "needs Python 3.11 to 3.13"


def _packages() -> Finding:
    found: list[str] = []
    missing: list[str] = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    return ", ".join(found), f"missing: {', '.join(missing)}; run 'make install'" if missing else ""


def _device() -> Finding:
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return f"{len(names)} GPU: {', '.join(names)}", ""
    return f"CPU, {torch.get_num_threads()} threads (no GPU is visible)", ""


def _sparse() -> Finding:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = sparse.resolve("auto", device)
    return f"{chosen} on {device}", sparse.self_test(chosen, torch.device(device)) or ""


def _mpi() -> Finding:
    launcher = shutil.which("mpiexec")
    if not launcher:
        return "no mpiexec: training runs as one process", ""
    return f"{launcher}; {dist.mpi_version()}", ""


def _geant4() -> Finding:
    path, label = argon.data_dir()
    return f"{label} data in {path}", ""


def _slurm() -> Finding:
    sbatch = shutil.which("sbatch")
    return (sbatch or "no sbatch: 'snakemake --profile slurm' cannot be used here"), ""


CHECKS: dict[str, Callable[[], Finding]] = {
    "Python": _python,
    "packages": _packages,
    "device": _device,
    "sparse convolution": _sparse,
    "MPI": _mpi,
    "Geant4": _geant4,
    "SLURM": _slurm,
}
