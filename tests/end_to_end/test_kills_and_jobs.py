"""Tables are the same, byte for byte, whatever the number of jobs, and after any number of kills."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from checkout import copy_checkout, environment
from end_to_end.test_reruns import CONFIG, run
from workflow.test_dag import snakemake

from lartpc.run.audit import audit

TIMED = "throughput"
"""The table of seconds."""
NUM_KILLS = 20


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the tables of an undisturbed production, one job at a time, by their names."""
    folder = copy_checkout(tmp_path_factory.mktemp("one_job"))
    run(folder, "--cores", "1")
    return tables(folder)


def tables(folder: Path) -> dict[str, bytes]:
    dataset = folder / "results/dataset"
    found = {
        str(path.relative_to(dataset)): path.read_bytes()
        for path in dataset.rglob("*.parquet")
        if TIMED not in path.parts
    }
    assert len(found) >= 10
    return found


def check(folder: Path, whole: dict[str, bytes]) -> None:
    found = audit(folder / "results")
    assert not found.findings
    other = tables(folder)
    assert other.keys() == whole.keys()
    assert [name for name in whole if other[name] != whole[name]] == []
    assert not list((folder / "results").rglob("*.part*"))


@pytest.mark.slow
def test_whatever_the_number_of_jobs(tmp_path: Path, whole: dict[str, bytes]) -> None:
    folder = copy_checkout(tmp_path)
    run(folder, "--cores", "4")
    check(folder, whole)


@pytest.mark.slow
def test_after_being_killed_again_and_again(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """Snakemake is killed with its jobs, or alone with the jobs left alive, at any moment."""
    folder, chance = copy_checkout(tmp_path), random.Random(21)
    for number in range(NUM_KILLS):
        process = subprocess.Popen(
            ["snakemake", "--profile", "profiles/local", "--cores", "3", *CONFIG],
            cwd=folder,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(timeout=chance.uniform(2.0, 15.0))
        except subprocess.TimeoutExpired:
            (os.killpg if number % 2 else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(1.0)
        snakemake(folder, "--unlock", *CONFIG)
    run(folder)
    check(folder, whole)
