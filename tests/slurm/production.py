"""Runs of the miniature production through SLURM: whole, or from a stage on in a copy of a whole one."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from checkout import environment, run

from slurm.cluster import Cluster, processes_of

SNAKEMAKE = ("snakemake", "--profile", "slurm", "--configfile", "config/test/config.yaml")
"""The command of the manual, on the miniature production."""

QUICK = """

# Of the tests: jobs of seconds are asked for each second, not each half minute.
async def _soon(_):
    import asyncio
    await asyncio.sleep(1)
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
RemoteExecutor.sleep = _soon
"""

FROM_INTERACT = ("events/interact", "tables", "metrics/chain", "dataset", "report.html")
"""What is made by `interact` and the rules behind it, below `results`."""

DATASET = "results/dataset"
TABLES = ("events", "particles", "interactions", "points")

Jobs = dict[str, list[dict[str, str]]]
"""SLURM's records of the jobs of each rule."""


@dataclass
class Production:
    """A production that is done: where it lies, what snakemake said, and SLURM's records of its jobs."""

    folder: Path
    said: str
    jobs: Jobs


def hurry(folder: Path) -> None:
    """Let snakemake ask for jobs each second in a checkout."""
    with (folder / "Snakefile").open("a") as file:
        file.write(QUICK)


def produce(folder: Path, cluster: Cluster) -> Production:
    """Run everything through SLURM."""
    hurry(folder)
    said = run(folder, *SNAKEMAKE, seconds=3000)
    return Production(folder, said, cluster.jobs_of(said))


def again_from_interact(production: Production, folder: Path) -> Path:
    """Copy a production without what `interact` and the rules behind it made."""
    copy = folder / "run"
    shutil.copytree(
        production.folder,
        copy,
        symlinks=True,
        ignore=lambda at, _: ["log"] if at.endswith(".snakemake") else [],
    )
    for name in FROM_INTERACT:
        path = copy / "results" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return copy


def assert_same_tables(folder: Path, production: Production) -> None:
    """Compare the tables of a run with those of the undisturbed one."""
    for table in TABLES:
        pd.testing.assert_frame_equal(
            pd.read_parquet(folder / DATASET / table),
            pd.read_parquet(production.folder / DATASET / table),
        )


def wait_for(condition: Callable[[], object], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def command_of(process: int) -> bytes:
    """Return the command line of a process, its words ended by zeros."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:  # it ended meanwhile
        return b""


class Run:
    """A run of snakemake for the dataset, or for another target, in the background."""

    def __init__(self, folder: Path, *options: str, target: str = DATASET) -> None:
        self.folder = folder
        self._said = folder / "said.txt"
        with self._said.open("w") as out:
            self.process = subprocess.Popen(
                (*SNAKEMAKE, *options, "--", target),
                cwd=folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def said(self) -> str:
        """Return what it said until now."""
        return self._said.read_text()

    def submitted(self, rule: str) -> list[str]:
        """Return the numbers of the SLURM jobs of a rule."""
        return re.findall(rf"SLURM jobid (\d+) \(log: \S*/rule_{rule}/", self.said())

    def hold(self, rule: str) -> str:
        """Wait until a job of a rule computes, stop it there as a dead disk does, and return its number."""
        held: list[str] = []

        def stopped() -> bool:
            assert self.process.poll() is None, self.said()[-5000:]
            for job in self.submitted(rule):
                for process in processes_of(job):
                    if b"lartpc\0infer" in command_of(process):
                        os.kill(process, signal.SIGSTOP)
                        held.append(job)
                if held:
                    return True
            return False

        wait_for(stopped)
        return held[0]

    def kill(self) -> None:
        """Kill snakemake as a reboot of the login node does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def finish(self, status: int = 0, seconds: float = 1200) -> str:
        """Wait for the end, and return what it said."""
        try:
            found = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            found = -1
        assert found == status, self.said()[-8000:]
        return self.said()
