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
            key: values.get(key, "")
            for key in (
                *("mem_mb", "runtime", "gres", "tasks", "nodes", "mpi"),
                *("slurm_account", "slurm_partition", "constraint"),
            )
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
    assert (train["mpi"], train["nodes"], train["tasks"]) == ("srun --mpi=pmi2 --wait=60", "2", "2")
    assert train["threads"] == "1"


def test_a_site_without_gpus_and_four_ranks(checkout: Path) -> None:
    edit(checkout / PROFILE, gpu="false", train_ranks_per_node="2", launcher="srun --mpi=pmix")
    asked = needs(run(checkout, "snakemake", "--profile", "slurm", *DRY_RUN))
    assert not any(job["gres"] for job in asked.values())
    train = asked["train"]
    assert (train["mpi"], train["nodes"], train["tasks"]) == ("srun --mpi=pmix", "2", "4")


def test_a_site_is_described_in_one_place(checkout: Path) -> None:
    edit(
        checkout / PROFILE,
        account="physics",
        partition="day",
        gpu_partition="fast",
        constraint="intel&ib",
        gpu_type="a100",
        memory_factor="2",
        time_factor="0.5",
        max_mem_mb="8000",
        max_minutes="100",
    )
    asked = needs(run(checkout, "snakemake", "--profile", "slurm", *DRY_RUN))
    assert {job["slurm_account"] for job in asked.values()} == {"physics"}
    assert {job["constraint"] for job in asked.values()} == {"intel&ib"}
    partitions = {rule: job["slurm_partition"] for rule, job in asked.items()}
    assert {rule for rule in partitions if partitions[rule] == "fast"} == {"train", "segment"}
    assert set(partitions.values()) == {"day", "fast"}
    assert asked["train"]["gres"] == asked["segment"]["gres"] == "gpu:a100:1"
    assert (asked["simulate"]["mem_mb"], asked["simulate"]["runtime"]) == ("3600", "30")
    assert (asked["train"]["mem_mb"], asked["train"]["runtime"]) == ("8000", "100")


def test_short_stages_of_two_shards_share_a_job(checkout: Path) -> None:
    """Also where each training waits for the output of the stage before, which no group may enclose."""
    edit(checkout / PROFILE, shards_per_job="2")
    waiting = ("--config", "cluster={upstream: predicted}", "interact={upstream: predicted}")
    for more in ((), waiting):
        said = run(checkout, "snakemake", "--profile", "slurm", *DRY_RUN, *more)
        groups = re.findall(r"Group job (\w+) .*?:\n((?:\n?    .*\n)+)", said)
        members = [(name, re.findall(r"rule (\w+):", block)) for name, block in groups]
        assert ("tables", ["evaluate_chain"] * 2 + ["interact"] * 2 + ["summarize"] * 2) in members
        assert not any({"train", "segment"} & set(rules) for _, rules in members)


def test_every_setting_says_why(folder: Path) -> None:
    text = (folder / PROFILE).read_text()
    settings = [
        line
        for line in re.sub(r"__definitions__.*?\n\n", "", text, flags=re.S).splitlines()
        if re.match(r" *[a-z_-]+: +\S", line)
    ]
    assert len(settings) > 70
    assert [line for line in settings if "# " not in line] == []
