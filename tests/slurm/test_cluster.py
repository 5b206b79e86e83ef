"""A SLURM of our own: nodes, MPI over two of them, and what the profile makes of jobs that fail."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from checkout import PROFILE, REPOSITORY, edit, environment, run
from training import launch, reaches_step, write_events

from lartpc.run.doctor import site
from lartpc.run.training.interrupt import GO_ON
from slurm.cluster import GPU_NODES, NODES, Cluster
from slurm.production import hurry

pytestmark = pytest.mark.slurm

SNAKEMAKE = ("snakemake", "--profile", "slurm")

JOIN = """
import os
import torch
from lartpc import dist

with dist.join(2) as ranks:
    total = ranks.sum(torch.tensor([float(ranks.rank)])).item()
    node, gpu = os.environ["SLURMD_NODENAME"], os.environ.get("CUDA_VISIBLE_DEVICES")
    print(f"{node} rank {ranks.rank} of {ranks.size}: sum {total:g}, GPU {gpu}")
"""

FILL = """
import random

random.seed({seed})
blocks = {{}}
for i in range(60_000):  # of which most are freed again, for what comes
    blocks[i] = os.urandom(513 + int(random.expovariate(1 / 700)))
    if random.random() < 0.6:
        blocks.pop(random.randrange(i + 1), None)
blocks = list(blocks.values())[::3]
"""

SHOW = "echo node=$SLURMD_NODENAME gpu=${{CUDA_VISIBLE_DEVICES:-none}} > {output}"

TOY = f"""
rule all:
    input: "simulate", "segment", "train"

rule simulate:
    output: "simulate"
    resources: mem_mb=1500
    shell:
        # More than the first attempt may have, and long enough to be seen.
        "python -c 'import time; held = bytearray(b\\"x\\") * 2_500_000_000; time.sleep(4)'; " "{SHOW}"

rule segment:
    output: "segment"
    shell: "{SHOW}"

rule train:
    output: "train"
    threads: 2
    resources: tasks=2, mpi="mpiexec"
    shell: "{{resources.mpi}} -n {{resources.tasks}} python join.py > {{output}}"
"""


@pytest.fixture
def toy(checkout: Path) -> Path:
    """Give the checkout rules with the names of ours, which do nothing but show where they run."""
    (checkout / "join.py").write_text(JOIN)
    (checkout / "Snakefile").write_text(TOY)
    hurry(checkout)
    return checkout


def test_all_nodes_are_up(cluster: Cluster) -> None:
    assert cluster.nodes("idle") == sorted(NODES)
    hostname = subprocess.run(["srun", "-N2", "-n2", "hostname"], capture_output=True, text=True, timeout=30)
    assert hostname.returncode == 0, hostname.stderr
    assert len(hostname.stdout.split()) == 2


def test_ranks_join_over_two_nodes(cluster: Cluster) -> None:
    joined = subprocess.run(
        ["srun", "--mpi=pmi2", "-N2", "-n2", sys.executable, "-c", JOIN],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert joined.returncode == 0, joined.stderr
    ranks = dict(re.findall(r"(\w+) rank (\d) of 2: sum 1", joined.stdout))
    assert len(ranks) == 2 and set(ranks) <= set(NODES)
    assert set(ranks.values()) == {"0", "1"}


def test_ranks_join_whatever_their_memory_holds(cluster: Cluster) -> None:
    """With UCX, MPICH told SLURM 4 KiB of it, and the pmi2 plugin cut them: hardly any pair of such ranks joined."""
    imports, body = JOIN.split("\nwith ")
    for seed in range(3):
        joined = subprocess.run(
            (
                *("srun", "--mpi=pmi2", "--wait=3", "-N2", "-n2", sys.executable, "-c"),
                f"{imports}{FILL.format(seed=seed)}\nwith {body}",
            ),
            env=environment(),
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert joined.returncode == 0, joined.stderr
        assert joined.stdout.count("of 2: sum 1") == 2
        assert "pmi2" not in joined.stderr


def test_wrong_pmi_is_an_error_and_not_two_worlds(cluster: Cluster) -> None:
    alone = subprocess.run(
        ["srun", "--mpi=none", "-N2", "-n2", sys.executable, "-c", JOIN],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert alone.returncode != 0
    assert "MPI found 1" in alone.stderr


def test_profile_places_jobs(cluster: Cluster, toy: Path) -> None:
    said = run(toy, *SNAKEMAKE, seconds=300)

    assert (toy / "simulate").read_text().split()[1] == "gpu=none"
    assert (toy / "segment").read_text().split()[1] == "gpu=0"
    ranks = sorted((toy / "train").read_text().splitlines())
    assert ranks == [f"{GPU_NODES[i]} rank {i} of 2: sum 1, GPU 0" for i in range(2)]

    # Too little memory the first time, twice as much the second.
    jobs = cluster.jobs_of(said)["simulate"]
    assert [(job["JobState"], job["MinMemoryNode"]) for job in jobs] == [
        ("FAILED", "1800M"),
        ("COMPLETED", "3600M"),
    ]
    assert all(job["Requeue"] == "0" for job in jobs)


def test_partitions_are_set_in_one_place(cluster: Cluster, toy: Path) -> None:
    edit(toy / PROFILE, account="physics", partition="main", gpu_partition="accelerated")
    (toy / "Snakefile").write_text(TOY.replace("2_500_000_000", "1_000"))
    hurry(toy)

    said = run(toy, *SNAKEMAKE, seconds=300)
    partitions = {rule: job["Partition"] for rule, jobs in cluster.jobs_of(said).items() for job in jobs}
    assert partitions == {"simulate": "main", "segment": "accelerated", "train": "accelerated"}


def test_doctor_of_a_site_that_works(
    cluster: Cluster, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    said = run(checkout, "lartpc", "doctor", seconds=300)
    assert re.search(r"slurm-wlm \d+\.\d+.*accounting: none, MinJobAge 7200 s", said)
    assert re.search(r"srun offers .*\bpmi2\b", said)
    assert "two ranks on gpu1, gpu2: gradients over mpi on cpu" in said
    assert "a GPU was given, but torch finds none" in said


def test_doctor_of_a_site_that_does_not(
    cluster: Cluster, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", environment()["PATH"])
    monkeypatch.chdir(checkout)
    edit(checkout / PROFILE, launcher="srun --mpi=none")
    assert "2 ranks were asked for, but MPI found 1" in site.slurm_ranks().problem
    edit(checkout / PROFILE, launcher="srun --mpi=cray", gpu_type="h100")
    assert "--mpi=cray is not offered" in site.slurm_ranks().problem
    assert "gpu_type 'h100' of the profile is not among" in site.slurm().problem


def test_a_rank_that_dies_before_it_joins_ends_the_others(cluster: Cluster) -> None:
    """MPICH cannot end them here, and they would wait in `MPI_Init` for ever: srun must."""
    dies = f"import os\nif os.environ['SLURM_PROCID'] == '1': os._exit(3)\n{JOIN}"
    joined = subprocess.run(
        ["srun", "--mpi=pmi2", "--wait=3", "-N2", "-n2", sys.executable, "-c", dies],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert joined.returncode != 0
    assert "task 1: Exited with exit code 3" in joined.stderr


@contextmanager
def training(folder: Path, events: Path, step: int) -> Iterator[subprocess.Popen[str]]:
    """Give a training over two nodes that has come to a step."""
    launcher = ("srun", "--mpi=pmi2", "--wait=20", "-N2", "--job-name=trains")
    settings = {"num_steps": 100_000, "validate_every": 100_000, "checkpoint_minutes": 0}
    try:
        with launch(folder, events, 2, launcher=launcher, **settings) as process:
            assert reaches_step(process, folder, step), process.communicate()[1]
            yield process
    finally:
        subprocess.run(["scancel", "--name=trains"], check=True)  # ranks outlive an srun that is killed


def test_a_step_that_is_signalled_saves_its_state_and_one_that_loses_a_rank_ends(
    cluster: Cluster, tmp_path: Path
) -> None:
    """SIGUSR1 comes as `--signal` of the profile sends it; srun lets the others live when a rank dies."""
    events = write_events(tmp_path / "ingest.h5")
    with training(tmp_path, events, step=2) as process:
        subprocess.run(["scancel", "--signal=USR1", "--name=trains"], check=True)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == GO_ON, errors
    assert "asked to end by SIGUSR1" in errors

    first = max((tmp_path / ".resume").glob("step-*.pt"))
    with training(tmp_path, events, step=int(first.stem[5:]) + 2) as process:
        listed = subprocess.check_output(["pgrep", "-f", f"train interact {events}"], text=True).split()
        ranks = [
            pid for pid in listed if "srun" not in Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]
        ]
        assert len(ranks) == 2
        os.kill(int(ranks[1]), signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert f"goes on from the checkpoint of step {int(first.stem[5:])}" in errors
    assert "is gone: it was killed, or it crashed; ending all ranks" in errors


@pytest.mark.slow
def test_files_are_reconstructed_by_one_verb(cluster: Cluster, checkout: Path) -> None:
    hurry(checkout)
    for name in ("one.root", "two.root"):
        shutil.copy(REPOSITORY / "tests/data/edepsim_5ev.root", checkout / name)
    words = ("reconstruct", "*.root", "--out", "mine", "--profile", "slurm", "--workflow", ".")
    said = run(checkout, "lartpc", *words, seconds=1500)
    assert "tables  mine/dataset" in said
    events = pd.read_parquet(checkout / "mine/dataset/events")
    assert events.groupby("file_uid")["status"].apply(sorted).tolist() == 2 * [
        3 * ["ok"] + 2 * ["quarantined"]
    ]
    here = subprocess.run(
        ["scontrol", "show", "jobs", "--oneliner"], capture_output=True, text=True, check=True
    )
    jobs = [line for line in here.stdout.splitlines() if f"WorkDir={checkout} " in f"{line} "]
    assert len(jobs) >= 2 * 5, "each stage of each file is a job of the cluster"
    assert all("JobState=COMPLETED" in line for line in jobs)
    assert not (checkout / "results").exists(), "all that is left is in the folder that was asked for"
