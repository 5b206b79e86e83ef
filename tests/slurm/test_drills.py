"""Failure drills: a job, a node, a controller or a disk dies in mid-run, and the tables are the same after all.

Each starts from a production whose results are there up to `cluster`, and makes the rest through SLURM.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from checkout import PROFILE, environment, run

from slurm.cluster import Cluster, processes_of
from slurm.cluster import run as run_slurm
from slurm.production import (
    DATASET,
    SNAKEMAKE,
    Production,
    Run,
    again_from_interact,
    assert_same_tables,
    command_of,
    wait_for,
)

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

SHARDS = 2
STEPS = 300
SECONDS_AWAY = 20
"""How long the controller of SLURM is away: longer than the plugin waits for an answer (10 s)."""


@pytest.fixture
def folder(production: Production, tmp_path: Path) -> Path:
    """Return a production that goes on with `interact`."""
    return again_from_interact(production, tmp_path)


def limit(folder: Path, rule: str, limits: str) -> None:
    """Give a rule other limits in the profile: megabytes and minutes of the first attempt."""
    profile = folder / PROFILE
    text, num = re.subn(rf"(  {rule}: \?needs)\([\d, ]+\)", rf"\1({limits})", profile.read_text())
    assert num == 1
    profile.write_text(text)


def states(cluster: Cluster, said: str, rule: str = "interact") -> list[str]:
    """Return how the jobs of a rule ended, sorted."""
    return sorted(job["JobState"] for job in cluster.jobs_of(said)[rule])


def test_killed_by_memory(cluster: Cluster, folder: Path, production: Production) -> None:
    """Outcome: sent again with twice the memory; status 0."""
    limit(folder, "interact", "420, 120")
    said = Run(folder).finish()
    jobs = cluster.jobs_of(said)["interact"]
    ends = {(job["JobState"], job["MinMemoryNode"]) for job in jobs}
    assert ("FAILED", "420M") in ends
    assert all(state == "COMPLETED" for state, memory in ends if memory == f"{3 * 420}M")
    assert sum(job["JobState"] == "COMPLETED" for job in jobs) == SHARDS
    assert_same_tables(folder, production)


def test_killed_by_its_time_limit(cluster: Cluster, folder: Path, production: Production) -> None:
    """Outcome: a job that hangs is ended by SLURM, and sent again with twice the time; status 0."""
    limit(folder, "interact", "4300, 1")
    going = Run(folder)
    job = going.hold("interact")
    asked: dict[str, str] = {}
    while going.process.poll() is None:
        for one in cluster.jobs_of(going.said()).get("interact", []):
            asked.setdefault(one["JobId"], one["TimeLimit"])
            if one["JobId"] != job and one["TimeLimit"] != "01:00:00":
                # Two minutes are not enough for a job on every machine: an administrator is merciful.
                run_slurm("scontrol", "update", f"JobId={one['JobId']}", "TimeLimit=60")
        time.sleep(1)
    said = going.finish()
    jobs = cluster.jobs_of(said)["interact"]
    (held,) = (one for one in jobs if one["JobId"] == job)
    (again,) = (one for one in jobs if one["Comment"] == held["Comment"] and one["JobId"] != job)
    assert (held["JobState"], held["TimeLimit"]) == ("TIMEOUT", "00:01:00")
    assert (again["JobState"], asked[again["JobId"]]) == ("COMPLETED", "00:02:00")
    assert_same_tables(folder, production)


TRAINING = "results/models/interact"
MINUTES = 4
"""Time limit of a training; it is signalled one to two minutes before, and must have begun by then."""


def test_a_training_reaches_its_time_limit(cluster: Cluster, folder: Path) -> None:
    """Outcome: a signal in time, a checkpoint, and the retry goes on from there with twice the time; status 0."""
    shutil.rmtree(folder / TRAINING)
    profile, config = folder / PROFILE, folder / "config/test/config.yaml"
    profile.write_text(
        profile.read_text().replace(", 6300, 240)", f", 6300, {MINUTES})").replace("@300", "@60")
    )
    others, interact = config.read_text().split("interact:")
    steps = interact.replace("num_steps: 6, ", f"num_steps: {STEPS}, checkpoint_minutes: 0, ")
    config.write_text(f"{others}interact:{steps.replace('validate_every: 3', f'validate_every: {STEPS}')}")

    going = Run(folder, target=f"{TRAINING}/weights.pt")
    wait_for(lambda: list((folder / TRAINING).glob(".resume/step-*.pt")))
    (job,) = going.submitted("train")
    ranks = [
        process
        for process in processes_of(job)
        if b"lartpc\0train" in command_of(process) and not command_of(process).startswith(b"srun")
    ]
    assert len(ranks) == 2
    for rank in ranks:  # else it would be done long before
        os.kill(rank, signal.SIGSTOP)
    # SLURM signals a job up to a minute before it was asked to (and wakes it by that), and ends it up to a minute late.
    first = {"JobState": "RUNNING", "RunTime": ""}
    while first["JobState"] == "RUNNING" and first["RunTime"] <= f"00:{MINUTES - 1:02}:05":
        time.sleep(1)
        first = cluster.jobs_of(going.said())["train"][0]
    for rank in ranks:
        with suppress(ProcessLookupError):
            os.kill(rank, signal.SIGCONT)
    said = going.finish()

    ends = [(one["JobState"], one["TimeLimit"]) for one in cluster.jobs_of(said)["train"]]
    assert ends == [("FAILED", f"00:{MINUTES:02}:00"), ("COMPLETED", f"00:{2 * MINUTES:02}:00")]
    (step,) = set(re.findall(rf"asked to end by SIGUSR1 at step (\d+) of {STEPS}", said))
    log = (folder / "results/logs/train/interact.log").read_text()
    assert f"goes on from the checkpoint of step {step}" in log
    last = (folder / TRAINING / "training.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["step"] == STEPS


def test_cancelled_by_somebody(cluster: Cluster, folder: Path, production: Production) -> None:
    """Outcome: sent again; status 0."""
    going = Run(folder)
    job = going.hold("interact")
    subprocess.run(["scancel", job], check=True, timeout=60)
    said = going.finish()
    assert states(cluster, said) == ["CANCELLED", *["COMPLETED"] * SHARDS]
    assert_same_tables(folder, production)


def test_a_node_dies(cluster: Cluster, folder: Path, production: Production) -> None:
    """Outcome: its jobs are sent again, by snakemake alone, to another node; status 0."""
    going = Run(folder)
    job = going.hold("interact")
    (node,) = (one["NodeList"] for one in cluster.jobs_of(going.said())["interact"] if one["JobId"] == job)
    cluster.power_off(node)
    try:
        said = going.finish()
    finally:
        cluster.start_node(node)
    jobs = cluster.jobs_of(said)["interact"]
    assert {one["JobState"] for one in jobs if one["NodeList"] == node} == {"NODE_FAIL"}
    assert [one["JobState"] for one in jobs if one["NodeList"] != node] == ["COMPLETED"] * SHARDS
    assert_same_tables(folder, production)


def test_snakemake_is_killed(cluster: Cluster, folder: Path, production: Production) -> None:
    """Outcome: the next run cancels what was left in the queue before it starts anything; status 0.

    Of no shard do two jobs of one rule run at the same time.
    """
    going = Run(folder)
    job = going.hold("interact")
    before = going.said()
    going.kill()
    assert processes_of(job), "the job must outlive its snakemake"
    run(folder, "lartpc", "unlock")
    said = Run(folder).finish()
    assert "was killed and left" in said

    earlier, later = cluster.jobs_of(before)["interact"], cluster.jobs_of(said)["interact"]
    for one in later:
        same = [other for other in earlier if other["Comment"] == one["Comment"]]
        assert all(other["EndTime"] <= one["StartTime"] for other in same)
    assert [one["JobState"] for one in cluster.jobs_of(before)["interact"] if one["JobId"] == job] == [
        "CANCELLED"
    ]
    assert not processes_of(job)
    assert_same_tables(folder, production)


def test_a_second_run_leaves_a_live_one_alone(cluster: Cluster, folder: Path, production: Production) -> None:
    """Outcome: it is refused, also where Snakemake's lock was removed by hand; no job of the first is cancelled."""
    going = Run(folder)
    job = going.hold("interact")
    refused = subprocess.run(
        ("lartpc", "unlock"), cwd=folder, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert refused.returncode == 2 and f"process {going.process.pid} on" in refused.stderr
    shutil.rmtree(folder / ".snakemake/locks")
    second = subprocess.run(
        (*SNAKEMAKE, "--", DATASET),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert second.returncode == 1
    assert "another run is at work here" in second.stdout + second.stderr
    assert processes_of(job), "the job of the first run goes on"
    for process in processes_of(job):
        os.kill(process, signal.SIGCONT)
    said = going.finish()
    assert set(states(cluster, said)) == {"COMPLETED"}
    assert_same_tables(folder, production)


def test_an_audit_that_fails_is_named_with_its_log(
    cluster: Cluster, tmp_path: Path, production: Production
) -> None:
    """Outcome: status 1; the run names the log that says what was found, and SLURM's own logs of the jobs are kept."""
    folder = tmp_path / "run"
    shutil.copytree(production.folder, folder, symlinks=True)
    (folder / "results/audit.json").unlink()
    (table,) = (folder / DATASET / "particles").glob("*.parquet")
    content, status = bytearray(table.read_bytes()), table.stat()
    content[len(content) // 2] ^= 1
    table.write_bytes(content)
    os.utime(table, ns=(status.st_atime_ns, status.st_mtime_ns))  # else the dataset is made again

    said = Run(folder, target="results/audit.json").finish(status=1)
    jobs = cluster.jobs_of(said)["audit"]
    assert {job["JobState"] for job in jobs} == {"FAILED"}
    assert "1 failed in all attempts" in said and "log:    results/logs/audit.log" in said
    log = (folder / "results/logs/audit.log").read_text()
    assert f"FINDING     {table.relative_to(folder)}" in log and "1 finding" in log.splitlines()[-1]
    kept = {path.stem for path in (folder / "results/logs/slurm/rule_audit").rglob("*.log")}
    assert kept == {job["JobId"] for job in jobs}


def test_the_controller_of_slurm_is_away(cluster: Cluster, folder: Path, production: Production) -> None:
    """Outcome: running jobs are not forgotten, though there is no accounting to ask; status 0.

    A job whose step was to start just then fails, and is sent again.
    """
    going = Run(folder)
    job = going.hold("interact")
    cluster.kill_controller()
    time.sleep(SECONDS_AWAY)
    for process in processes_of(job):
        os.kill(process, signal.SIGCONT)
    cluster.start_controller()
    said = going.finish()
    ends = {one["JobId"]: one["JobState"] for one in cluster.jobs_of(said)["interact"]}
    assert ends[job] == "COMPLETED"
    assert list(ends.values()).count("COMPLETED") == SHARDS
    assert_same_tables(folder, production)


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """Put a disk of a few kilobytes where the results of `interact` go."""
    disk = folder / "results/events/interact"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk(cluster: Cluster, folder: Path, small_disk: Path, production: Production) -> None:
    """Outcome: status 1, each shard is named with the reason; with room, the same command goes on."""
    said = Run(folder, "--retries", "0").finish(status=1)
    assert f"{SHARDS} failed in all attempts" in said
    assert len(re.findall(r"said: .*No space left on device", said)) == SHARDS
    assert not list(small_disk.rglob("*.h5*")), "nothing half-written is left"
    subprocess.run(["mount", "-o", "remount,size=256m", str(small_disk)], check=True)
    Run(folder).finish()
    assert_same_tables(folder, production)


def test_a_stage_crashes_on_one_shard(cluster: Cluster, folder: Path, production: Production) -> None:
    """Outcome: status 1; the others go on; shard, log and command are named, and the command works then."""
    good = folder / "results/events/cluster/mini_test/0001.h5"
    kept, times = good.read_bytes(), good.stat()
    good.write_bytes(kept[: len(kept) // 2])
    os.utime(good, ns=(times.st_atime_ns, times.st_mtime_ns))
    going = Run(folder, "--retries", "0")
    said = going.finish(status=1)

    assert (folder / "results/tables/mini_test/0000").is_dir()
    assert not (folder / DATASET).exists()
    (entry,) = re.findall(r"^interact mini_test, 0001\n(?:  .*\n)+", said, re.M)
    assert entry in (folder / "results/logs/failed.txt").read_text()
    log = re.search(r"log: +(\S+)", entry)
    assert log and "0001.h5" in (folder / log[1]).read_text()
    assert re.search(r"said: .*cluster/mini_test/0001.h5", entry)
    command = re.search(r"again: +(.+)", entry)
    assert command

    good.write_bytes(kept)
    os.utime(good, ns=(times.st_atime_ns, times.st_mtime_ns))
    run(folder, *shlex.split(command[1]), seconds=1200)
    assert (folder / "results/events/interact/mini_test/0001.h5").is_file()
    Run(folder).finish()
    assert not (folder / "results/logs/failed.txt").exists()
    assert_same_tables(folder, production)


def test_short_stages_share_an_allocation(cluster: Cluster, folder: Path, production: Production) -> None:
    """Outcome: one job for what follows `cluster`, of both shards; the same tables."""
    profile = folder / PROFILE
    profile.write_text(profile.read_text().replace("  shards_per_job: 0", "  shards_per_job: 2"))
    said = Run(folder).finish()
    (group,) = re.findall(r"SLURM jobid \d+ \(log: \S*/group_(\w+)/", said)
    assert group == "tables_evaluate_chain_interact_summarize", "the name of the group and its rules"
    assert_same_tables(folder, production)
