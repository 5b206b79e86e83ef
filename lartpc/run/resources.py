"""The verb `resources`: what a production's jobs took, and what its rules should ask for next time.

Snakemake's benchmark files say what each job took, the table `throughput` how many events and voxels it had, and
SLURM's accounting, where it is asked for, how much memory there was at the most.
"""

import csv
import math
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.dataset as ds
import yaml

from lartpc.atomic import make_folder, replacing
from lartpc.tables.written import written_table

RULES = {
    "on_truth": "stage_on_truth",
    "quality/clustering/predicted": "measure_clustering",
    "quality/clustering/truth": "measure_clustering_on_truth",
    "quality/interactions/graph/predicted": "measure_interactions",
    "quality/interactions/rules/predicted": "measure_interactions",
    "quality/interactions/graph/truth": "measure_interactions_on_truth",
    "quality/interactions/rules/truth": "measure_interactions_on_truth",
    "collect.tsv": "collect_tables",
    "report.tsv": "report",
    "validate_simulation.tsv": "validate_simulation",
}
"""Rules by the begin of their benchmarks' paths, where that is not the rule's name."""

SAFETY = 1.5
"""Times what was seen: shards of the same size differ, and the memory of a job is looked at now and then only."""

SNAKEMAKE_MB = 300
"""Of the processes of Snakemake that a scheduler counts with every job."""

START_MINUTES = 5
"""For the start of a job, and file systems that are slow once."""

STEP_MB, LEAST_MB = 100, 1000
MOST_ALIKE = 1.2
"""Sizes of shards that differ by less than this factor say nothing of what grows with them."""

SACCT = ("JobIDRaw", "Comment", "WorkDir", "MaxRSS", "ElapsedRaw")
SACCT_DAYS = 90


@dataclass(frozen=True)
class Job:
    """What one job took. `is_shared`: of a shard whose jobs shared a process, so that the numbers are not its own.

    `memory_mb` and `cpu_seconds` are None where the job was too short to be looked at.
    """

    rule: str
    shard: str
    seconds: float
    cpu_seconds: float | None
    memory_mb: float | None
    num_events: int = 0
    num_voxels: int = 0
    is_shared: bool = False


@dataclass(frozen=True)
class Needs:
    """What the jobs of a rule took, and what it should ask for.

    `efficiency` is the processor time by the wall time, above 1 with several threads; None where it is not known.
    """

    rule: str
    num_jobs: int
    seconds: float
    efficiency: float | None
    memory_mb: float
    mem_mb: int
    runtime: int
    is_shared: bool


def read_jobs(results: Path, dataset: Path) -> list[Job]:
    """Return the jobs of a production by the benchmark files in its results and the sizes in its dataset.

    Raises
    ------
    ValueError
        There are none, or one is damaged.
    """
    table = ds.dataset(written_table(dataset, "throughput")).to_table().to_pylist()
    steps: dict[str, dict[str, Mapping[str, float]]] = defaultdict(dict)
    for row in table:
        steps[row["file_uid"]][row["step"]] = row
    folders = [*results.glob("benchmarks"), *results.glob("*/*/benchmarks"), *results.glob("*/benchmarks")]
    jobs = [job for folder in sorted(folders) for job in _jobs_of(folder, steps)]
    if not jobs:
        raise ValueError(
            f"{results} has no benchmark files; give the results of a production that was run to its end"
        )
    shared = {job.shard for job in jobs if job.is_shared}
    return [replace(job, is_shared=bool(job.shard) and job.shard in shared) for job in jobs]


def _jobs_of(folder: Path, steps: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterable[Job]:
    for path in sorted(folder.rglob("*.tsv")):
        relative = path.relative_to(folder).as_posix()
        rule = next(
            (rule for begin, rule in RULES.items() if relative.startswith(begin)),
            path.relative_to(folder).parts[0],
        )
        shard = "/".join(path.with_suffix("").parts[-2:]) if len(path.relative_to(folder).parts) > 2 else ""
        of_shard = steps.get(shard, {})
        sizes = list(of_shard.values()) or [row for rows in steps.values() for row in list(rows.values())[:1]]
        num_events = max((row["num_events"] or 0 for row in sizes), default=0)
        num_voxels = max((row["num_voxels"] or 0 for row in sizes), default=0)
        if not of_shard:
            num_events, num_voxels = (
                sum(row[key] or 0 for row in sizes) for key in ("num_events", "num_voxels")
            )
        with path.open() as file:
            for row in csv.DictReader(file, delimiter="\t"):
                try:
                    seconds = float(row["s"])
                    said = [
                        None if row[key] in ("NA", "-", "") else float(row[key])
                        for key in ("cpu_time", "max_rss")
                    ]
                except (KeyError, TypeError, ValueError):
                    raise ValueError(
                        f"{path} is not a benchmark file of Snakemake; remove it, and take the other jobs"
                    ) from None
                own = (of_shard.get(rule) or {}).get("seconds")
                # A step cannot take longer than the job that did it.
                is_shared = own is not None and own > seconds
                yield Job(rule, shard, seconds, said[0], said[1], int(num_events), int(num_voxels), is_shared)


def with_accounting(jobs: Sequence[Job], lines: Iterable[str], folder: Path) -> list[Job]:
    """Add what SLURM's accounting says of the memory and the time of the jobs; the larger value counts.

    Parameters
    ----------
    lines
        Output of `sacct` with `SACCT`, with `|` between them: of each job, and of its steps, which have the memory.
    folder
        Working folder of the production; other jobs do not count.
    """
    rules: dict[str, tuple[str, str]] = {}
    memory: dict[str, float] = defaultdict(float)
    elapsed: dict[str, float] = defaultdict(float)
    known = {(job.rule, job.shard) for job in jobs}
    for line in lines:
        parts = line.rstrip("\n").split("|")
        if len(parts) != len(SACCT):
            continue
        number, comment, where, rss, seconds = parts
        job = number.partition(".")[0]
        if comment.startswith("rule_") and Path(where or ".").resolve() == folder.resolve():
            rule, _, wildcards = comment.removeprefix("rule_").partition("_wildcards_")
            rules[job] = (rule, wildcards)
        memory[job] = max(memory[job], _mb(rss))
        elapsed[job] = max(elapsed[job], float(seconds or 0))
    most: dict[tuple[str, str], tuple[float, float]] = {}
    for job, (rule, wildcards) in rules.items():
        for key in known:
            # wildcards come in the order of the rule's paths, joined by underscores
            if key[0] == rule and (not key[1] or key[1].replace("/", "_") in wildcards):
                before = most.get(key, (0.0, 0.0))
                most[key] = (max(before[0], memory[job]), max(before[1], elapsed[job]))
    return [
        replace(
            job,
            memory_mb=max(job.memory_mb or 0, most[key][0]) or None,
            seconds=max(job.seconds, most[key][1]),
        )
        if (key := (job.rule, job.shard)) in most
        else job
        for job in jobs
    ]


def _mb(text: str) -> float:
    units = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}
    try:
        return float(text[:-1]) * units[text[-1]] if text and text[-1] in units else float(text or 0) / 2**20
    except ValueError:
        return 0.0


def ask_sacct() -> list[str]:
    """Return what SLURM's accounting has of the user's jobs of three months.

    Raises
    ------
    ValueError
        There is no `sacct`, or it has no accounting to ask.
    """
    if not shutil.which("sacct"):
        raise ValueError("--sacct needs SLURM's command sacct, which is not here; leave --sacct out")
    command = [
        "sacct",
        "--noheader",
        "--parsable2",
        f"--starttime=now-{SACCT_DAYS}days",
        f"--format={','.join(SACCT)}",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError("sacct does not answer; leave --sacct out") from None
    if done.returncode:
        raise ValueError(
            f"sacct says: {(done.stderr or done.stdout).strip().splitlines()[:1]}; leave --sacct out"
        )
    return done.stdout.splitlines()


def learn(jobs: Sequence[Job], num_events: int | None = None, safety: float = SAFETY) -> list[Needs]:
    """Return what each rule should ask for.

    Memory and time are a line in the number of voxels (of events, where no step has voxels), the least one that has
    all jobs of the rule below it, at the largest shard seen or that of `num_events` events. Where the shards seen
    are all alike, the time of a larger one grows with its size, and the memory does not, as jobs hold some events at a
    time. Of shards whose jobs shared a process each rule may have needed what the most of them took.
    """
    bounds = _bounds_of_shared(jobs)
    groups: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        groups[job.rule].append(job)
    per_event = max(
        (job.num_voxels / job.num_events for job in jobs if job.num_events and job.shard), default=0.0
    )
    found = []
    for rule, of_rule in sorted(groups.items()):
        uses_voxels = all(job.num_voxels for job in of_rule)
        sizes = [float(job.num_voxels if uses_voxels else job.num_events) for job in of_rule]
        at = max(sizes)
        if num_events and any(job.shard for job in of_rule):
            at = num_events * (per_event if uses_voxels else 1.0)
        most = [
            bounds[job.shard] if job.is_shared else (job.memory_mb or 0.0, job.seconds) for job in of_rule
        ]
        memories = [(size, memory) for size, (memory, _) in zip(sizes, most, strict=True)]
        times = [(size, time) for size, (_, time) in zip(sizes, most, strict=True)]
        memory_mb, seconds = _at(memories, at, grows=False), _at(times, at, grows=True)
        cpu = [
            (job.cpu_seconds, job.seconds) for job in of_rule if job.cpu_seconds is not None and job.seconds
        ]
        found.append(
            Needs(
                rule,
                len(of_rule),
                sum(job.seconds for job in of_rule),
                sum(used for used, _ in cpu) / sum(wall for _, wall in cpu) if cpu else None,
                max(job.memory_mb or 0.0 for job in of_rule),
                max(LEAST_MB, STEP_MB * math.ceil((safety * memory_mb + SNAKEMAKE_MB) / STEP_MB)),
                math.ceil(safety * seconds / 60) + START_MINUTES,
                any(job.is_shared for job in of_rule),
            )
        )
    return found


def _bounds_of_shared(jobs: Sequence[Job]) -> dict[str, tuple[float, float]]:
    bounds: dict[str, tuple[float, float]] = {}
    for job in jobs:
        if job.is_shared:
            memory_mb, seconds = bounds.get(job.shard, (0.0, 0.0))
            bounds[job.shard] = (max(memory_mb, job.memory_mb or 0.0), max(seconds, job.seconds))
    return bounds


def _at(points: Sequence[tuple[float, float]], size: float, *, grows: bool) -> float:
    """Return at a size the least line that has all points below it: of least squares, not falling, and raised.

    Of sizes that are all alike, it is the largest value, which `grows` as the size does, or stays.
    """
    sizes, values = [x for x, _ in points], [y for _, y in points]
    largest, most = max(sizes), max(values)
    if size <= 0 or min(sizes) <= 0 or largest / min(sizes) < MOST_ALIKE:
        return most * max(1.0, size / largest) if grows and largest else most
    mean_size, mean_value = sum(sizes) / len(sizes), sum(values) / len(values)
    spread = sum((x - mean_size) ** 2 for x in sizes)
    slope = max(0.0, sum((x - mean_size) * (y - mean_value) for x, y in points) / spread)
    return max(y - slope * x for x, y in points) + slope * size


def write_overlay(needs: Sequence[Needs], folder: Path) -> Path:
    """Write `profile.yaml`, which `snakemake --workflow-profile FOLDER` takes, and our profiles by `learned`."""
    asked = {
        one.rule: {"mem_mb": f"{one.mem_mb} * attempt", "runtime": f"{one.runtime} * attempt"}
        for one in needs
    }
    make_folder(folder)
    path = folder / "profile.yaml"
    with replacing(path) as part:
        part.write_text(
            "# What rules ask for by what they took: written by 'lartpc resources'.\n"
            + yaml.safe_dump({"set-resources": asked}, sort_keys=True)
        )
    return path
