"""`lartpc doctor`: look at this machine before the first run, and say what would be used and what to change."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lartpc.config import Config
from lartpc.extras import EXTRAS, missing
from lartpc.heartbeat import LAUNCHER_VARIABLES
from lartpc.run.doctor import site
from lartpc.run.doctor.bytecode import bytecode
from lartpc.run.doctor.site import Finding
from lartpc.simulate import argon

PACKAGES = (
    "snakemake",
    "snakemake-executor-plugin-slurm",
    "snakemake-executor-plugin-slurm-jobstep",
    "torch",
    "spconv",
    "mpi4py",
    "dask",
    "h5py",
    "pyarrow",
)
INSTALL = f"run 'make install', or install the extras wanted with pip: lartpc[{','.join(EXTRAS)}]"


def doctor(tell: Callable[[list[dict[str, str]]], None] | None = None) -> bool:
    """Print what was found and whether it works; return True if nothing essential fails.

    Under mpiexec or srun all ranks join, and one looks and prints.

    Parameters
    ----------
    tell
        Takes what was found instead: name, found, problem and advice of each check, empty where there is none.
    """
    if not any(name in os.environ for name in LAUNCHER_VARIABLES):
        return _look(CHECKS, tell)
    from lartpc import dist

    with dist.join() as ranks:
        found = f"{dist.mpi_version()}; {ranks.size} ranks of the launcher, {ranks.backend}"
        alone = {name: check for name, check in CHECKS.items() if name != "ranks under SLURM"}
        fine = _look({**alone, "MPI": lambda: Finding(found)}, tell) if ranks.is_main else True
        return bool(ranks.from_main(fine))


def _look(
    checks: dict[str, Callable[[], Finding]], tell: Callable[[list[dict[str, str]]], None] | None = None
) -> bool:
    table = Table("what", "found", "verdict", title="lartpc doctor")
    said = []
    fine = True
    for name, check in checks.items():
        try:
            found, problem, advice = check()
        except Exception as error:
            found, problem, advice = "", missing(error) or f"{type(error).__name__}: {error}", ""
        fine = fine and not problem
        said.append({"name": name, "found": found, "problem": problem, "advice": advice})
        colour, verdict = ("red", problem) if problem else ("yellow", advice) if advice else ("green", "fine")
        table.add_row(name, escape(found), f"[{colour}]{escape(verdict)}[/{colour}]")
    if tell:
        tell(said)
    else:
        Console().print(table)
    return fine


def _python() -> Finding:
    found = f"{platform.python_version()} in {sys.prefix}, {os.cpu_count()} cores"
    return Finding(found, "" if (3, 11) <= sys.version_info[:2] < (3, 14) else "needs Python 3.11 to 3.13")


def _packages() -> Finding:
    found: list[str] = []
    lacking: list[str] = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lacking.append(name)
    return Finding(", ".join(found), f"missing: {', '.join(lacking)}; {INSTALL}" if lacking else "")


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Finding(f"{len(names)} GPU: {', '.join(names)}")
    return Finding(f"CPU, {torch.get_num_threads()} threads (no GPU is visible)")


def _sparse() -> Finding:
    import torch

    from lartpc import sparse
    from lartpc.images import ARITHMETIC, arithmetic, has_gpu, has_kernel

    device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = sparse.resolve("auto", device)
    found = f"{chosen} on {device}"
    if chosen == "fused":
        fault = sparse.bf16_fault()
        found += ", also in bf16" if fault is None else f", not in bf16: {fault}"
    if has_kernel() and not has_gpu():
        found += f"; segment without torch, in {ARITHMETIC[arithmetic('auto')]} with infer.precision auto"
    return Finding(found, sparse.self_test(chosen, torch.device(device)) or "")


PROBE = """
import torch
from lartpc import dist
with dist.join(2) as ranks:
    total = ranks.sum(torch.ones(1, device=ranks.device))
    if ranks.is_main:
        print(f"gradients over {ranks.backend} on {ranks.device.type}" if total == 2 else "a wrong sum")
"""
"""What two ranks of a training do first; the output is one line."""


def _mpi() -> Finding:
    """Start two ranks, as only that tells whether launcher, library and network fit together."""
    from lartpc import dist

    launcher = shutil.which("mpiexec")
    if not launcher:
        return Finding("no mpiexec: training runs as one process")
    said = subprocess.run([launcher, "--version"], capture_output=True, text=True, timeout=60).stdout
    kind = (
        "Open MPI" if "Open MPI" in said or "OpenRTE" in said else "MPICH" if "HYDRA" in said else "unknown"
    )
    found = f"{launcher} ({kind}); {dist.mpi_version()}"
    try:
        pair = subprocess.run(
            [launcher, "-n", "2", sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=120
        )
    except subprocess.TimeoutExpired:
        return Finding(
            found, "two ranks did not find each other within two minutes: is the loopback network closed?"
        )
    if pair.returncode:
        errors = [line for line in pair.stderr.splitlines() if line.strip(" -")] or ["no message"]
        why = next((line for line in errors if re.match(r"\w+Error: ", line)), errors[0])
        return Finding(found, f"two ranks did not start: {why}")
    return Finding(f"{found}; two ranks: {pair.stdout.strip()}")


def software() -> Finding:
    """Say which `lartpc` the jobs of a run would take: of this shell, and with each way of deployment."""
    own = shutil.which("lartpc")
    found = [f"jobs take {own}" if own else "no lartpc is on PATH"]
    image = Config().image
    container = shutil.which("apptainer") or shutil.which("singularity")
    if not container:
        found.append("--sdm apptainer: neither apptainer nor singularity is here")
    elif not Path(image).exists():
        found.append(f"--sdm apptainer: {_says(container)}, but {image} is not here: make image")
    else:
        found.append(f"--sdm apptainer: {_says(container)} with {image}")
    conda = shutil.which("conda")
    found.append(f"--sdm conda: {_says(conda) if conda else 'conda is not here'}")
    return Finding("; ".join(found), "" if own else "activate the environment that lartpc is installed in")


def _says(command: str) -> str:
    """Return the first line of what a command says of its version."""
    done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60, check=False)
    return (done.stdout.strip() or done.stderr.strip() or command).splitlines()[0]


def _geant4() -> Finding:
    path, label = argon.data_dir()
    return Finding(f"{label} data in {path}")


CHECKS: dict[str, Callable[[], Finding]] = {
    "Python": _python,
    "packages": _packages,
    "software of jobs": software,
    "bytecode": bytecode,
    "device": _device,
    "sparse convolution": _sparse,
    "MPI": _mpi,
    "Geant4": _geant4,
    "file system": site.file_system,
    "temporary space": site.temporary_space,
    "SLURM": site.slurm,
    "ranks under SLURM": site.slurm_ranks,
}
