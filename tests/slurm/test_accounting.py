"""A SLURM with accounting: accounts are enforced, GPUs are counted in its records, and a cancelled job is noticed."""

import subprocess
from pathlib import Path

import pytest
from checkout import PROFILE, edit, environment, run

from slurm.cluster import ACCOUNT, GPU_NODES, Cluster
from slurm.production import hurry

pytestmark = pytest.mark.slurm

NUM_JOBS = 5

# Names of our rules, so that the profile gives them what it gives ours.
RULES = f"""
rule all:
    input: expand("segment.{{i}}", i=range({NUM_JOBS})), "simulate"

rule segment:
    output: "segment.{{i}}"
    shell: "sleep 4; echo $CUDA_VISIBLE_DEVICES > {{output}}"

rule simulate:
    output: "simulate"
    shell:
        # Cancels itself once, as somebody else would.
        "if mkdir tried 2> /dev/null; then scancel $SLURM_JOB_ID; sleep 60; fi; echo done > {{output}}"
"""


def test_accounts_gpus_and_a_cancelled_job(accounted: Cluster, checkout: Path) -> None:
    (checkout / "Snakefile").write_text(RULES)
    hurry(checkout)
    edit(checkout / PROFILE, account=ACCOUNT, gpu_partition="accelerated")
    said = run(checkout, "snakemake", "--profile", "slurm", seconds=300)

    jobs = accounted.jobs_of(said)
    assert [job["JobState"] for job in jobs["simulate"]] == ["CANCELLED", "COMPLETED"]
    assert len(jobs["segment"]) == NUM_JOBS
    records = subprocess.run(
        ["sacct", "-X", "-P", "-n", "-a", "--format=JobID,Account,Start,End,AllocTRES,State"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    of_job = {line.split("|")[0]: line.split("|") for line in records}
    changes = []
    for job in jobs["segment"]:
        _, account, started, ended, resources, state = of_job[job["JobId"]]
        assert (account, state) == (ACCOUNT, "COMPLETED")
        assert "gres/gpu=1" in resources
        changes += [(started, 1), (ended, -1)]
    assert not any("gres/gpu" in of_job[job["JobId"]][4] for job in jobs["simulate"])
    held = most = 0
    for _, change in sorted(changes):
        held += change
        most = max(most, held)
    assert most == len(GPU_NODES)


def test_a_wrong_account_is_refused_before_anything_runs(accounted: Cluster, checkout: Path) -> None:
    (checkout / "Snakefile").write_text(RULES)
    edit(checkout / PROFILE, account="chemistry")
    refused = subprocess.run(
        ("snakemake", "--profile", "slurm", "--retries", "0"),
        cwd=checkout,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert refused.returncode == 1
    assert "chemistry" in refused.stdout + refused.stderr
    assert not (checkout / "simulate").exists()
