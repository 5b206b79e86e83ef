"""The miniature production through SLURM, with the literal command of the manual."""

import json
from itertools import pairwise

import pytest
import torch
from checkout import run

from slurm.cluster import GPU_NODES
from slurm.production import SNAKEMAKE, Production

pytestmark = pytest.mark.slurm


def test_the_whole_chain(production: Production) -> None:
    folder = production.folder
    assert (folder / "results/report.html").stat().st_size > 10_000
    assert list((folder / "results/dataset").rglob("*.parquet"))
    assert all(job["JobState"] == "COMPLETED" for found in production.jobs.values() for job in found)
    assert "Nothing to be done" in run(folder, *SNAKEMAKE)


def test_only_training_and_segmentation_hold_a_gpu(production: Production) -> None:
    with_gpu = {
        rule
        for rule, found in production.jobs.items()
        if any("gpu" in job.get("TresPerNode", "") for job in found)
    }
    assert with_gpu == {"train", "segment"}


def test_training_spans_two_nodes(production: Production) -> None:
    assert len(production.jobs["train"]) == 3
    for job in production.jobs["train"]:
        assert (job["NumNodes"], job["NumTasks"]) == ("2", "2")
        assert job["NodeList"] == "gpu[1-2]"
    for stage in ("segment", "cluster", "interact"):
        weights = torch.load(production.folder / f"results/models/{stage}/weights.pt", weights_only=False)
        assert json.loads(weights["provenance"])["num_ranks"] == 2


def test_no_more_gpus_are_held_at_once_than_there_are(production: Production) -> None:
    """Each training takes both GPUs, so that SLURM's times of the jobs with GPUs must tell a queue."""
    changes = []
    for job in production.jobs["train"] + production.jobs["segment"]:
        num = int(job["NumNodes"])  # one GPU on each
        changes += [(job["StartTime"], num), (job["EndTime"], -num)]
    held = most = 0
    for _, change in sorted(changes):  # of one second, what ends is counted first
        held += change
        most = max(most, held)
    assert most == len(GPU_NODES)
    trainings = sorted((job["StartTime"], job["EndTime"]) for job in production.jobs["train"])
    assert all(ended <= started for (_, ended), (started, _) in pairwise(trainings))
