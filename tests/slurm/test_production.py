"""The miniature production through SLURM, with the literal command of the manual."""

import json
from pathlib import Path

import pytest
import torch
from checkout import run

from slurm.cluster import Cluster

pytestmark = pytest.mark.slurm

SNAKEMAKE = ("snakemake", "--profile", "slurm", "--configfile", "config/test/config.yaml")
POLLING = ("--slurm-init-seconds-before-status-checks", "8", "--latency-wait", "10")


def test_the_whole_chain(cluster: Cluster, checkout: Path) -> None:
    said = run(checkout, *SNAKEMAKE, *POLLING, seconds=1500)

    assert (checkout / "results/report.html").stat().st_size > 10_000
    assert list((checkout / "results/dataset").rglob("*.parquet"))

    of_rule = cluster.jobs_of(said)
    with_gpu = {
        rule for rule, found in of_rule.items() if any("gpu" in job.get("TresPerNode", "") for job in found)
    }
    assert with_gpu == {"train", "segment"}
    assert all(job["JobState"] == "COMPLETED" for found in of_rule.values() for job in found)

    assert len(of_rule["train"]) == 3
    for job in of_rule["train"]:
        assert (job["NumNodes"], job["NumTasks"]) == ("2", "2")
        assert job["NodeList"] == "gpu[1-2]"
    for stage in ("segment", "cluster", "interact"):
        weights = torch.load(checkout / f"results/models/{stage}/weights.pt", weights_only=False)
        assert json.loads(weights["provenance"])["num_ranks"] == 2

    assert "Nothing to be done" in run(checkout, *SNAKEMAKE)
