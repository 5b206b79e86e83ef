"""Time and memory of a dry run, against a Snakefile of as many trivial jobs in the same minutes.

    python benchmarks/dag.py                        # 100, 1,000 and 10,000 shards, at most 500 in a sample
    python benchmarks/dag.py --max-shards 10000 --num-shards 1000      # each shard by itself

The sample is simulated (split test or reconstruct), or made of one file a shard, here or on a server; weights are
released ones, or with --split train networks are trained on it. Times are processor time, as the machine may be busy.
Last comes what reading our Snakefile takes beyond reading a trivial one: medians of runs in turn.
"""

import argparse
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from lartpc.remote import RemoteFile, listing_beside
from lartpc.run.servers.catalogue import write_catalogue

REPOSITORY = Path(__file__).parents[1]
LEARNED = ("segment", "cluster", "interact")
LOCAL = ("--cores", "1")
NUM_RUNS = 5
TRIVIAL = """
rule all:
    input: expand("out/{index}.txt", index=range({NUM}))

rule one:
    output: "out/{index}.txt"
    shell: "touch {output}"
"""


def measure(folder: Path, *arguments: str) -> tuple[float, float, int]:
    """Return processor time [s], largest memory [MB] and number of jobs of a dry run."""
    scripts = Path(sys.executable).parent
    with (folder / "dry-run.log").open("w+") as log:
        process = subprocess.Popen(
            ["snakemake", "--dry-run", "--quiet", "rules", *arguments],
            cwd=folder,
            env={**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        said = log.read()
    if process.returncode:
        raise SystemExit(said)
    (jobs,) = set(re.findall(r"^total +(\d+)$", said, re.M))
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000, int(jobs)


def reading(ours: Path, trivial: Path) -> float:
    """Return the processor time [s] that our Snakefile takes beyond a trivial one, with one job in each."""
    one_job = (*LOCAL, "results/config/points.infer.json", "--config", "samples=[samples.tsv]")
    runs = [(measure(ours, *one_job)[0], measure(trivial, *LOCAL)[0]) for _ in range(NUM_RUNS)]
    one, other = (statistics.median(seconds) for seconds in zip(*runs, strict=True))
    return one - other


def production(folder: Path, num_shards: int, split: str, files: bool, remote: bool = False) -> Path:
    """Copy the workflow, and write a sheet of one large sample; files on a server as listed in a catalogue."""
    for name in ("workflow", "config", "profiles"):
        shutil.copytree(REPOSITORY / name, folder / name)
    (folder / "slurm").symlink_to("profiles/slurm")
    (folder / "models").symlink_to(REPOSITORY / "models")
    shutil.copy(REPOSITORY / "Snakefile", folder)
    (folder / "released.pt").touch()
    rows = [f"big\t{split}\tgeant4\t{10 * num_shards}\t{num_shards}"]
    if files:
        (folder / "raw").mkdir()
        for index in range(num_shards):
            (folder / "raw" / f"run{index:06d}.h5").touch()
        rows = [f"big\t{split}\traw/*.h5\t-\t-"]
    if remote:
        pattern = "root://server//raw/*.h5"
        found = [
            RemoteFile(f"root://server//raw/run{index:06d}.h5", 10**9, f"adler32:{index:08x}")
            for index in range(num_shards)
        ]
        write_catalogue(listing_beside(folder / "samples.tsv", "big"), found, 1, [pattern])
        rows = [f"big\t{split}\t{pattern}\t-\t-"]
    if split == "train":
        rows.append("held_out\tvalidation\tgeant4\t10\t1")
    text = "\n".join(["sample\tsplit\tsource\tnum_events\tnum_shards", *rows])
    (folder / "samples.tsv").write_text(f"{text}\n")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--num-shards", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--max-shards", type=int, help="default: that of the configuration")
    parser.add_argument("--split", default="test", choices=("test", "reconstruct", "train"))
    parser.add_argument("--files", action="store_true", help="one file a shard instead of simulation")
    parser.add_argument(
        "--remote", action="store_true", help="one file a shard on a server that is not asked"
    )
    parser.add_argument("--slurm", action="store_true", help="under the profile of SLURM")
    arguments = parser.parse_args()
    config = ["samples=[samples.tsv]"]
    where = ("--profile", "slurm") if arguments.slurm else LOCAL
    targets = ["models"] if arguments.split == "train" else []
    if arguments.split != "train":
        config += [f"{stage}={{weights: released.pt}}" for stage in LEARNED]
    if arguments.max_shards:
        config.append(f"max_shards={arguments.max_shards}")
    print("| shards | jobs | time [s] | per job [ms] | memory [MB] | trivial jobs [s] | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        trivial = Path(name) / "trivial"
        trivial.mkdir()
        (trivial / "Snakefile").write_text(TRIVIAL.replace("{NUM}", "1"))
        start, _, _ = measure(trivial, *LOCAL)
        beyond = reading(production(Path(name) / "reading", 1, "test", files=False), trivial)
        for num in arguments.num_shards:
            folder = production(
                Path(name) / str(num), num, arguments.split, arguments.files, arguments.remote
            )
            seconds, memory, jobs = measure(folder, *where, *targets, "--config", *config)
            (trivial / "Snakefile").write_text(TRIVIAL.replace("{NUM}", str(jobs - 1)))
            floor, _, _ = measure(trivial, *LOCAL)
            print(
                f"| {num} | {jobs} | {seconds:.1f} | {1000 * (seconds - start) / jobs:.2f} | {memory:.0f} | "
                f"{floor:.1f} | {seconds / floor:.2f} |",
                flush=True,
            )
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(f"start of snakemake alone: {start:.1f} s; reading our Snakefile: {beyond:.2f} s more")
    print(f"this script: {usage.ru_utime + usage.ru_stime:.1f} s")


if __name__ == "__main__":
    main()
