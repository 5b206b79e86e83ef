# Around a run: what an earlier one left in SLURM's queue, and which jobs failed.

import functools
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from snakemake.settings.enums import Quietness

from lartpc import owner

FAILED = Path(at("<results>/logs/failed.txt"))
SLURM_LOGS = "results/logs/slurm, or above"  # as the profile says
NUM_SHOWN = 10
BEGAN = time.time() - 5  # clocks of file servers differ by seconds

# Names that the SLURM plugin gives: a prefix of the profile and the run's UUID.
NAME_OF_RUN = re.compile(r"([\w-]+_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MINUTES_TO_CANCEL = 10

NO_SLURM = (
    "the profile hands jobs to SLURM, and this machine has {}. Give the command on a login node of the cluster, where "
    "'lartpc doctor' says what works; or run here, with the profile 'local' (profiles/local)"
)


def patient(ask):
    """Let a question that got an answer once be answered by it when nobody answers."""
    known = []

    @functools.wraps(ask)
    def answer():
        found = ask()
        if found is not None:
            known[:] = [found]
        return known[0] if known else None

    return answer


# While the controller of SLURM is away, the plugin cannot read MinJobAge, changes from squeue to sacct, and
# where there is no accounting forgets its jobs and waits for ever.
if slurm_plugin := sys.modules.get("snakemake_executor_plugin_slurm"):
    slurm_plugin.get_min_job_age = patient(slurm_plugin.get_min_job_age)


# Of installed storage plugins Snakemake lets each job install its own, by a command before the job's, of which this
# plugin (0.3.0) makes arguments of Python. On a shared disk the plugins are there.
if htcondor_plugin := sys.modules.get("snakemake_executor_plugin_htcondor"):
    object.__setattr__(htcondor_plugin.common_settings, "auto_deploy_default_storage_provider", False)


def jobs_in_queue():
    """Return the numbers of the SLURM jobs that runs in this folder submitted, by the names of the runs."""
    asked = subprocess.run(
        ["squeue", "--me", "--noheader", "--format=%i|%j|%Z"],
        capture_output=True,
        text=True,
    )
    executor = type(getattr(workflow.scheduler, "_executor", None)).__module__
    if asked.returncode and (workflow.local_exec or "htcondor" in executor or "cluster_generic" in executor):
        return {}  # a machine that has SLURM's commands, but no SLURM
    if asked.returncode and "configuration source" in asked.stderr:
        raise WorkflowError(NO_SLURM.format("SLURM's commands, but no SLURM that they know"))
    if asked.returncode:
        raise WorkflowError(
            "SLURM does not answer, so that jobs of an earlier run may be at work in this folder: "
            f"{asked.stderr.strip()}"
        )
    found = {}
    for number, name, folder in (line.split("|", 2) for line in asked.stdout.splitlines()):
        if NAME_OF_RUN.fullmatch(name) and os.path.realpath(folder) == os.path.realpath(os.getcwd()):
            found.setdefault(name, []).append(number)
    return found


def needs_slurm():
    """Tell whether the profile hands jobs to SLURM."""
    return getattr(getattr(workflow, "executor_plugin", None), "name", "") == "slurm"


def take_over():
    """Record this run as the one at work on its results, and clear away what dead ones left in SLURM's queue.

    Whose jobs they are is known by the name that their run recorded, and whether that run is dead is proved, before
    they are cancelled; this waits until they are gone, as they would be computed twice.
    """
    if needs_slurm() and not shutil.which("sbatch"):
        raise WorkflowError(NO_SLURM.format("no SLURM (sbatch is not found)"))
    try:
        _, dead = owner.others(RESULTS)
        clear = owner.take(RESULTS, getattr(getattr(workflow.scheduler, "_executor", None), "run_uuid", ""))
    except ValueError as error:
        raise WorkflowError(str(error)) from None
    if shutil.which("squeue"):
        cancel({one.jobs for one in dead})
    clear()


def cancel(names):
    """Cancel the SLURM jobs of runs that are dead, and wait until they are gone."""
    known = {one.jobs for one in owner.owners()}
    if unknown := [
        number for name, numbers in jobs_in_queue().items() if name not in known for number in numbers
    ]:
        raise WorkflowError(
            f"jobs {', '.join(unknown)} in SLURM's queue are of a run in this folder that left no record, so that it may "
            f"be at work. If it is not (pgrep -af snakemake, on each login node): scancel {' '.join(unknown)}"
        )
    end = time.monotonic() + 60 * MINUTES_TO_CANCEL
    said = False
    while left := [
        number for name, numbers in jobs_in_queue().items() if name in names for number in numbers
    ]:
        if not said:
            print(
                f"lartpc: a run in this folder was killed and left {len(left)} jobs in SLURM's queue; "
                "cancelling them",
                file=sys.stderr,
            )
            said = True
        if time.monotonic() > end:
            raise WorkflowError(
                f"jobs {', '.join(left)} of an earlier run do not end; remove them with scancel, or ask "
                "the cluster's administrators, and give the same command again"
            )
        subprocess.run(["scancel", "--quiet", *left])
        time.sleep(2)


def listed(paths):
    """Return the paths of a named input, which is one of them where it has no more."""
    return [paths] if isinstance(paths, str) else [*paths]


def planned_jobs():
    """Yield the jobs of shards that this run does, each after those that it needs: shard, and what a plan says."""
    rules = ["stage_on_truth", *RUN, "summarize", "evaluate_chain"]
    jobs = [job for job in workflow.dag.needrun_jobs() if job.rule.name in rules]
    for job in sorted(jobs, key=lambda job: rules.index(job.rule.name)):
        shard, name = f"{job.wildcards.sample}/{job.wildcards.shard}", job.rule.name
        events = listed(job.input.events)
        on_truth = name == "stage_on_truth"
        step = job.wildcards.stage if on_truth else name.removesuffix("_chain")
        made = {"step": step, "events": events, "out": job.output[0], "on_truth": on_truth}
        made["branch"] = getattr(job.wildcards, "scenario", "")
        yield shard, {**made, "weights": next(iter(listed(job.input.get("weights", []))), None)}
        if on_truth:
            events = [*events, job.output.events]
            yield shard, {**made, "step": "evaluate", "events": events, "out": job.output.metrics}


def write_plan():
    """Say what each shard's jobs are, where they run beside this process: the first goes on with the others.

    Jobs of a cluster are told nothing: each has the memory, the time and the devices that it asks for.
    """
    path = Path(PLAN)
    path.unlink(missing_ok=True)
    if workflow.local_exec:
        settings = {
            f"{folder}{step}": branch.config.slice_for(step, "infer")
            for folder, branch in BRANCHES.items()
            for step in [*RUN, "summarize"]
        }
        shards = {}
        for shard, job in planned_jobs():
            shards.setdefault(shard, []).append(job)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"settings": settings, "shards": shards}))


def failures():
    """Return the jobs that failed in all their attempts; of a group, those that could have run."""
    found = []
    for job in workflow.scheduler.failed:
        for member in job.jobs if job.is_group() else [job]:
            ready = all(os.path.exists(path) for path in member.input)
            if ready and not all(os.path.exists(path) for path in member.output):
                found.append(member)
    return sorted(found, key=lambda job: (job.rule.name, str(job.output[0])))


def last_words(log):
    """Return the last line of a log that lartpc says, or else the last one that says something."""
    try:
        if Path(log).stat().st_mtime < BEGAN:  # of an earlier run
            return f"nothing: the job did not start; see {SLURM_LOGS}"
        lines = Path(log).read_text(errors="replace").splitlines()
    except OSError:
        return f"nothing: the job did not start; see {SLURM_LOGS}"
    said = [line.strip() for line in lines if line.strip()]
    said = [line for line in said if line.startswith("lartpc")] or said
    return said[-1][:300] if said else f"nothing: the job was killed early; see {SLURM_LOGS}"


def command_for(output):
    """Return the command that was given, for one file instead of its targets."""
    targets = {str(target) for target in workflow.dag_settings.targets} | {"--"}
    options = [word for word in sys.argv[1:] if word not in targets]
    return shlex.join(["snakemake", *options, "--", str(output)])


def say(text, file=None):
    """Print a text; on a terminal through the logger, since past it a bar of jobs would be drawn over the text."""
    if sys.stderr.isatty():
        logger.info(text)
    else:
        print(text, file=file or sys.stderr, flush=True)


def is_told(record):
    """Tell whether a line is more than that jobs are chosen and begun: two for each job, which no level of --quiet takes away."""
    return not record.getMessage().startswith(("Select jobs to execute", "Execute "))


# On a terminal the bars count these lines.
if Quietness.PROGRESS in (workflow.output_settings.quiet or ()) and not sys.stderr.isatty():
    logger.addFilter(is_told)


def last_screen():
    """Print the events, figures and paths of a production that is complete."""
    screen = shell(f"lartpc show {shlex.quote(str(RESULTS))} --brief", read=True)
    say(screen.rstrip(), sys.stdout)


def report_failures():
    """Name each failed job, its log, its last words and the command to run it again."""
    failed = failures()
    entries = []
    for job in failed:
        log = str(job.log[0]) if job.log else ""
        what = ", ".join(str(value) for value in job.wildcards_dict.values() if value)
        entries.append(
            f"{job.rule.name} {what}\n"
            f"  log:    {log}\n"
            f"  said:   {last_words(log)}\n"
            f"  again:  {command_for(job.output[0])}\n"
        )
    if not entries:
        say("lartpc: the run ended early; the reason is above.")
    else:
        FAILED.parent.mkdir(parents=True, exist_ok=True)
        FAILED.write_text("\n".join(entries))
        say(f"\nlartpc: {len(entries)} failed in all attempts; what does not need them was done.\n")
        say("\n".join(entries[:NUM_SHOWN]))
        more = len(entries) - NUM_SHOWN
        say(f"{f'{more} more, and all of these' if more > 0 else 'This list'}: {FAILED}")
    say("The same command as before goes on where this run stopped.")
