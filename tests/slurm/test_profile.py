"""The SLURM profile without a SLURM: what each job would ask for."""

import re
from pathlib import Path

import pytest
import yaml
from checkout import PROFILE, copy_checkout, edit, run

DRY_RUN = ("--configfile", "config/test/config.yaml", "--dry-run")
EVERYTHING = ("all", "validate_simulation")
MB_OF_SNAKEMAKE = 300
"""What the two snakemake processes of each job hold, counted by SLURM with the job's own."""

Needs = dict[str, dict[str, str]]


def needs(said: str) -> Needs:
    """Return the resources of the last job of each rule in a dry run; local rules are no jobs."""
    found = {}
    for rule, block in re.findall(r"^rule (\w+):\n((?: {4}.*\n)+)", said, re.M):
        values = dict(re.findall(r"(\w+)[=:] ?([^,\n]+)(?:, |$)", re.sub(r"resources: ", "", block), re.M))
        found[rule] = {
            key: values.get(key, "") for key in ("mem_mb", "runtime", "gres", "tasks", "nodes", "mpi")
        }
        found[rule]["threads"] = values.get("threads", "1")
    assert len(found) > 8, said
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="module")
def asked(folder: Path) -> Needs:
    return needs(run(folder, "snakemake", "--profile", "slurm", *DRY_RUN, "--", *EVERYTHING))


def test_each_job_has_what_its_rule_needs_and_snakemake_too(asked: Needs, folder: Path) -> None:
    own = needs(run(folder, "snakemake", "--profile", "profiles/local", *DRY_RUN, "--", *EVERYTHING))
    jobs = {rule for rule in own if own[rule]["mem_mb"].isdigit()}
    with (folder / PROFILE).open() as profile:
        assert jobs == set(yaml.safe_load(profile)["set-resources"])
    for rule in jobs:
        assert int(asked[rule]["mem_mb"]) == int(own[rule]["mem_mb"]) + MB_OF_SNAKEMAKE, rule
        assert asked[rule]["runtime"] == own[rule]["runtime"], rule


def test_only_two_rules_hold_a_gpu(asked: Needs) -> None:
    assert {rule: asked[rule]["gres"] for rule in asked if asked[rule]["gres"]} == {
        "train": "gpu:1",
        "segment": "gpu:1",
    }


def test_training_is_launched_by_srun_over_two_nodes(asked: Needs) -> None:
    train = asked["train"]
    assert (train["mpi"], train["nodes"], train["tasks"]) == ("srun --mpi=pmi2", "2", "2")
    assert train["threads"] == "1"


def test_a_site_without_gpus_and_four_ranks(checkout: Path) -> None:
    edit(checkout / PROFILE, gpu="false", train_ranks_per_node="2", launcher="srun --mpi=pmix")
    asked = needs(run(checkout, "snakemake", "--profile", "slurm", *DRY_RUN))
    assert not any(job["gres"] for job in asked.values())
    train = asked["train"]
    assert (train["mpi"], train["nodes"], train["tasks"]) == ("srun --mpi=pmix", "2", "4")


def test_every_setting_says_why(folder: Path) -> None:
    lines = (folder / PROFILE).read_text().splitlines()
    settings = [line for line in lines if re.match(r"^[a-z-]+: +\S|^  [a-z_]+: ", line)]
    assert len(settings) > 30
    assert [line for line in settings if " # " not in line] == []
