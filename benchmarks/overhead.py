"""What the pipeline adds to the bare commands: seconds per job, and their share of a job of ten minutes.

    python benchmarks/overhead.py [--num-shards 4] [--num-events 4]

Simulates and ingests a small sample twice: through Snakemake, and by the very commands that Snakemake printed,
one after another in a shell. Times are processor time of all processes, as the machine may be busy.
"""

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
TEN_MINUTES_S = 600.0


def run(command: list[str], folder: Path) -> tuple[float, str]:
    """Run a command to its end; return the processor time of it and its children [s], and what it said."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    scripts = Path(sys.executable).parent
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def copy(folder: Path, num_shards: int, num_events: int) -> Path:
    for name in ("workflow", "config"):
        shutil.copytree(REPOSITORY / name, folder / name)
    shutil.copy(REPOSITORY / "Snakefile", folder)
    (folder / "samples.tsv").write_text(
        "sample\tsplit\tsource\tnum_events\tnum_shards\n"
        f"small\treconstruct\tgeant4\t{num_shards * num_events}\t{num_shards}\n"
    )
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--num-shards", type=int, default=4)
    parser.add_argument("--num-events", type=int, default=4, help="in a shard")
    arguments = parser.parse_args()
    size = (arguments.num_shards, arguments.num_events)
    targets = [f"results/events/ingest/small/{index:04d}.h5" for index in range(arguments.num_shards)]
    snakemake = ["snakemake", "--cores", "1", "--printshellcmds", *targets]
    snakemake += ["--config", "samples=[samples.tsv]"]
    with tempfile.TemporaryDirectory() as name:
        one, other = (copy(Path(name) / which, *size) for which in ("pipeline", "bare"))
        with_pipeline, said = run(snakemake, one)
        again, _ = run(snakemake, one)
        found = re.findall(r"lartpc (?:simulate|ingest) (?:.|\n)+? 2>\S+", said)
        commands = list(dict.fromkeys(found))
        assert len(commands) == 2 * arguments.num_shards, said
        shutil.copytree(one / "results" / "config", other / "results" / "config")
        for folder in {str(path.parent.relative_to(one)) for path in (one / "results").rglob("*.log")}:
            (other / folder).mkdir(parents=True, exist_ok=True)
        bare, _ = run(["bash", "-ec", "\n".join(commands)], other)
    jobs = len(commands)
    per_job = (with_pipeline - again - bare) / jobs
    print(
        f"{jobs} jobs: {bare:.2f} s bare, {with_pipeline:.2f} s with snakemake, {again:.2f} s to find all done"
    )
    print(f"per job: {per_job:.3f} s more, {100 * per_job / TEN_MINUTES_S:.3f} % of ten minutes")
    print(f"per run: {again:.2f} s; on a cluster snakemake starts in each job, too: about twice this a job,")
    print(f"or {100 * (per_job + 2 * again) / TEN_MINUTES_S:.2f} % of ten minutes in all")


if __name__ == "__main__":
    main()
