"""The jobs of a shard in one process: what a job costs before its first event (Python, numpy, weights) is paid once.

Snakemake plans and starts a job for each stage, and its rules stay exact: the first job goes on with those that follow,
and they take what lies ready, if it was made of the same inputs, settings, weights and code as they would make it of.
By hand, `lartpc infer chain` does stages and tables in turn; it keeps files by the same origin, without the code.
"""

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lartpc import config
from lartpc.atomic import ready_path
from lartpc.provenance import fingerprint, provenance
from lartpc.stages import EVALUATE_VERSION, TABLES_VERSION, Stage, chain_in, needs_weights, stage, upstream_of
from lartpc.store import ON_TRUTH, VERSIONS, open_events
from lartpc.text import text_of

Origin = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One job of a shard: `step` is a stage, "summarize" or "evaluate", `section` its settings."""

    step: str
    events: tuple[Path, ...]
    section: Any
    out: Path
    weights: Path | None = None
    on_truth: bool = False


def read_plan(path: Path, shard: str) -> list[Job]:
    """Return the jobs of a shard that a run is to do, each after those that it needs; none without a plan.

    A plan (JSON) has the `settings` of each step, and of each of the `shards` a list of jobs: `step`, `events`
    (paths), `out`, and where there are any `weights`, `on_truth` and the `branch` of a scenario, which stands
    before its step in `settings`. `write_plan` of the workflow writes it.

    Raises
    ------
    ValueError
        The file is not a plan.
    """
    if not path.is_file():
        return []
    try:
        plan = json.loads(text_of(path))
        return [_job(values, plan["settings"]) for values in plan["shards"].get(shard, [])]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not the plan of a run ({error!r}); start the run again") from error


def _job(values: Mapping[str, Any], settings: Mapping[str, Any]) -> Job:
    step = "summarize" if values["step"] == "evaluate" else values["step"]
    weights = values.get("weights")
    return Job(
        values["step"],
        tuple(map(Path, values["events"])),
        config.SECTIONS[step].model_validate(settings[values.get("branch", "") + step]),
        Path(values["out"]),
        Path(weights) if weights else None,
        bool(values.get("on_truth")),
    )


def _origin_path(out: Path) -> Path:
    return out.with_name(f".{out.name}.ready.json")


def stage_origin(
    row: Stage, files: Sequence[Path], section: Any, weights: Path | None, on_truth: bool
) -> Origin:
    """Return what the file of a stage depends on."""
    settings = config.slice_of(section, "infer")
    origin = provenance(row.name, row.version, config=settings, inputs=files, weights=weights)
    return {**origin, ON_TRUTH: on_truth}


def tables_origin(files: Sequence[Path], section: Any) -> Origin:
    """Return what the tables of a shard depend on."""
    settings = config.slice_of(section, "infer")
    return provenance("summarize", TABLES_VERSION, config=settings, inputs=files)


def figures_origin(files: Sequence[Path], section: Any, on_truth: bool) -> Origin:
    """Return what the figures of a shard depend on."""
    settings = config.slice_of(section, "infer")
    origin = provenance("evaluate", EVALUATE_VERSION, config=settings, inputs=files)
    return {**origin, ON_TRUTH: on_truth}


def stages_for(ingested: Path) -> tuple[Stage, ...]:
    """Return the stages that the images of a file of `ingest` go through, or raise ValueError where it is another."""
    with open_events(ingested) as events:
        events.require(("event", "voxel"))
        return chain_in(events.box.dimension)


def jobs_after(
    ingested: Path, out: Path, sections: Mapping[str, Any], measuring: Any, weights: Path | None
) -> list[Job]:
    """Return the jobs on a file of `ingest`: stages write `out / STAGE.h5`, and `summarize` the folder `out / tables`.

    Parameters
    ----------
    sections
        The settings of each stage, in their order.
    measuring
        The settings of `summarize`.
    weights
        Folder with `STAGE.pt` for each stage that has a network under its settings.

    Raises
    ------
    ValueError
        Weights are missing, or a stage would write in the place of the file that is read.
    """
    jobs = []
    for name, section in sections.items():
        row = stage(name)
        made = out / f"{name}.h5"
        if made.exists() and made.samefile(ingested):
            raise ValueError(f"{made} is a file that is read here, and would be lost; name another folder")
        own = None
        if needs_weights(row, section):
            if weights is None or not weights.is_dir():
                raise ValueError(
                    f"stage '{name}' needs --weights: a folder with {name}.pt, as models/ has it"
                )
            own = weights / f"{name}.pt"
            if not own.is_file():
                raise ValueError(f"{own} does not exist; stage '{name}' needs it")
        before = (ingested, *(out / f"{other.name}.h5" for other in upstream_of(row)))
        jobs.append(Job(name, before, section, made, own))
    files = (ingested, *(job.out for job in jobs))
    return [*jobs, Job("summarize", files, measuring, out / "tables")]


def work_through(jobs: Sequence[Job]) -> Iterator[tuple[Job, dict[str, Any] | None]]:
    """Do jobs one after another, and yield each with what its verb says of it; None: what it made before was kept."""
    from lartpc.run.infer import infer
    from lartpc.run.summarize import summarize

    for job in jobs:
        if job.step == "summarize":
            yield job, None if _has_tables(job) else summarize(job.events, job.out, job.section)
        elif _is_made(job):
            yield job, None
        else:
            row, files = stage(job.step), list(job.events)
            yield job, infer(row, files, job.section, out=job.out, weights=job.weights, on_truth=job.on_truth)


def _has_tables(job: Job) -> bool:
    """Tell whether the tables are there, whole, and of the same files and settings."""
    from lartpc.tables.manifest import changed, read_manifest

    try:
        manifest = read_manifest(job.out, "")
        said = (
            manifest["step_version"],
            manifest["config"],
            {one["content"] for one in manifest["inputs"].values()},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    contents = {fingerprint(path)[1] for path in job.events}
    wanted = TABLES_VERSION, job.section.model_dump(mode="json"), contents
    return said == wanted and not changed(job.out, manifest)


def _is_made(job: Job) -> bool:
    """Tell whether a stage's file is there, whole, and made as the job would; the version of the stage counts."""
    if not job.out.is_file():
        return False
    origin = stage_origin(stage(job.step), job.events, job.section, job.weights, job.on_truth)
    try:
        with open_events(job.out) as events:
            said = {ON_TRUTH: False, **events.attributes()[job.step]}
            is_same = all(said.get(name) == value for name, value in origin.items() if name not in VERSIONS)
            if is_same:
                events.check()
    except (ValueError, KeyError):
        return False
    return is_same


def take(out: Path, origin: Callable[[], Origin]) -> bool:
    """Give a result that lies ready its name, and repeat what was said of it; tell whether there was one.

    One of another origin is removed: this job would not have made it so.
    """
    ready, note = ready_path(out), _origin_path(out)
    if not note.is_file() or not ready.exists():
        return False
    try:
        found = json.loads(note.read_text())
        is_right = bool(found["origin"] == origin())
    except (ValueError, KeyError):
        is_right = False
    if is_right:
        _remove(out)
        ready.replace(out)
        sys.stderr.write(f"{found['said']}{out}: made by an earlier job of the shard\n")
    else:
        _remove(ready)
    note.unlink()
    return is_right


def go_on(plan: Path, done: Path) -> None:
    """Do the jobs of a shard that follow from an event file that is done, and leave their results ready for them.

    What cannot be done is left to its own job, which says why.
    """
    with open_events(done) as events:
        shard = events.file_uid
    ready: dict[Path, Path] = {}
    reached: set[Path] = {done}
    following: list[Job] = []
    try:
        jobs = read_plan(plan, shard)
    except ValueError as error:
        # the file that is done is none the worse for it
        sys.stderr.write(f"what follows is left to its own jobs: {error}\n")
        return
    for job in jobs:
        if reached & set(job.events):
            reached.add(job.out)
            following.append(job)
    waiting = {job.out for job in following}
    while following:
        job = following.pop(0)
        if waiting & set(job.events) or (job.weights and not job.weights.exists()):
            continue  # one before it could not be done, or its network is still to be trained
        along = next((other for other in following if _is_along(job, other)), None)
        try:
            _do(job, along, ready)
        except Exception as error:
            sys.stderr.write(
                f"{job.step} of {shard} is left to its own job: {type(error).__name__}: {error}\n"
            )
            continue
        waiting.discard(job.out)
        if along:
            following.remove(along)


def _is_along(job: Job, other: Job) -> bool:
    """Tell whether the figures of one job come along with the tables of another."""
    return (job.step, other.step) == ("summarize", "evaluate") and (
        (job.events, False) == (other.events, other.on_truth)
    )


def _do(job: Job, along: Job | None, ready: dict[Path, Path]) -> None:
    files = [ready.get(path, path) for path in job.events]
    out = ready_path(job.out)
    for one in (job, along) if along else (job,):
        _remove(ready_path(one.out))
        _origin_path(one.out).unlink(missing_ok=True)
    section = job.section
    said = io.StringIO()
    with redirect_stderr(said):
        if job.step == "summarize":
            from lartpc.run.summarize import summarize

            summary = summarize(files, out, section, metrics=ready_path(along.out) if along else None)
            said.write(f"{job.out}: {summary}\n")
            origin = tables_origin(files, section)
        elif job.step == "evaluate":
            from lartpc.run.quality.evaluate import evaluate

            evaluate(files, out, section, input_label="truth" if job.on_truth else "predicted")
            origin = figures_origin(files, section, job.on_truth)
        else:
            from lartpc.run.infer import infer

            row = stage(job.step)
            found = infer(row, files, section, out=out, weights=job.weights, on_truth=job.on_truth)
            said.write(f"{job.out}: {found}\n")
            origin = stage_origin(row, files, section, job.weights, job.on_truth)
    _note(job, origin, said.getvalue())
    ready[job.out] = out
    if along:
        _note(along, figures_origin(files, section, False), "")


def _note(job: Job, origin: Origin, said: str) -> None:
    _origin_path(job.out).write_text(json.dumps({"origin": origin, "said": said}))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
