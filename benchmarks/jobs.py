"""Whole jobs: `python benchmarks/jobs.py STEPS.h5 [--num-events 1] [--against CHECKOUT] [--repeats 3]`.

Processor time of each verb of the chain, from the start of its process to its end. With one event that is nearly all
imports: what each job of a cluster pays before its first event. Another checkout's jobs run in turn with ours, each on
its own checkout's files and weights. Medians; the ratio is the median of those of the pairs. The line `together` is all
that follows `ingest`: segment to summarize, file to file. The last line is of this checkout alone: the same by
themselves, and in one process (`lartpc infer chain`), on the same file of `ingest`.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
STAGES = ("segment", "points", "cluster", "interact")
STEPS = ("ingest", *STAGES)
READS = {
    "segment": ("ingest",),
    "points": ("ingest", "segment"),
    "cluster": ("ingest", "segment", "points"),
    "interact": ("ingest", "points", "cluster"),
    "summarize": STEPS,
    "evaluate": STEPS,
}


FILE_TO_FILE = (*STAGES, "summarize")


def command(verb: str, source: Path, checkout: Path, folder: Path, num_events: int) -> list[str]:
    """Return the command of a job, which writes `folder / verb`."""
    lartpc = [sys.executable, "-m", "lartpc"]
    if verb == "ingest":
        return [*lartpc, "ingest", str(source), "--first", str(num_events), "--out", str(folder / verb)]
    weights = checkout / "models" / f"{verb}.pt"
    stage = verb not in ("summarize", "evaluate")
    if verb == "chain":
        where = ["--weights", str(checkout / "models"), "--out", str(folder / verb)]
        return [*lartpc, "infer", verb, str(folder / "ingest"), *where]
    return [
        *lartpc,
        *(["infer", verb] if stage else [verb]),
        *(str(folder / name) for name in READS[verb]),
        *(["--weights", str(weights)] if weights.exists() else []),
        *("--out", str(folder / verb)),
    ]


def processor_time(arguments: list[str], checkout: Path) -> float:
    """Run a job to its end and return the time of user and system [s]."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    environment = {**os.environ, **threads, "PYTHONPATH": str(checkout)}
    done = subprocess.run(arguments, env=environment, cwd=checkout, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def report(repeat: int, what: str, times: list[list[float]]) -> None:
    """Print the medians of the checkouts' times [s] and of their ratio."""
    told = "  ".join(f"{statistics.median(column):5.2f} s" for column in zip(*times, strict=True))
    ratio = statistics.median(pair[0] / pair[-1] for pair in times)
    print(f"{repeat + 1}  {what:10s}{told}  {ratio:.2f} times", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("steps", type=Path)
    parser.add_argument("--against", type=Path, help="another checkout, with its bytecode")
    parser.add_argument("--num-events", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    checkouts = [path.resolve() for path in (arguments.against, REPOSITORY) if path]
    found: dict[str, list[list[float]]] = {verb: [] for verb in ("ingest", *READS)}
    chains: list[list[float]] = []
    for repeat in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as name:
            folders = [Path(name) / str(number) for number in range(len(checkouts))]
            for verb, times in found.items():
                times.append([])
                for checkout, folder in zip(checkouts, folders, strict=True):
                    folder.mkdir(exist_ok=True)
                    job = command(verb, arguments.steps.resolve(), checkout, folder, arguments.num_events)
                    times[-1].append(processor_time(job, checkout))
                report(repeat, verb, times)
            whole = [
                [sum(column) for column in zip(*pairs, strict=True)]
                for pairs in zip(*(found[verb] for verb in FILE_TO_FILE), strict=True)
            ]
            report(repeat, "together", whole)
            job = command("chain", arguments.steps, checkouts[-1], folders[-1], arguments.num_events)
            alone = sum(found[verb][-1][-1] for verb in FILE_TO_FILE)
            chains.append([alone, processor_time(job, checkouts[-1])])
            report(repeat, "chain", chains)


if __name__ == "__main__":
    main()
