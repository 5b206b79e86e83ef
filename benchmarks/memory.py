"""Memory of each step over more and more events of one shard: `python benchmarks/memory.py [--events 300 1000 3000]`.

A hundred events of one electron, muon or proton are simulated once, and their file is given as often as it takes,
under other names: so 3,000 events cost minutes. Each verb runs in a process of its own; its largest resident set
[MB], children included, stands for each number of events, and what 1,000 events more take from the first number to
the last.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
NUM_SIMULATED = 100
GUN = {"generator": "gun", "gun": {"pdg": [11, 13, 2212], "kinetic_energy_mev": [100, 300]}}
UID = "beam/0000"
STAGES = ("segment", "points", "cluster", "interact")
LEARNED = ("segment", "cluster", "interact")


def measured(words: Sequence[str], folder: Path) -> tuple[float, float]:
    """Run a verb; return the largest resident set of it and its children [MB], and their processor time [s]."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lartpc", *words],
        cwd=folder,
        env={**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}\n{said}")
    return used.ru_maxrss / 1024, used.ru_utime + used.ru_stime


def verbs(folder: Path, num_events: int) -> dict[str, list[str]]:
    """Return the verbs of a production of so many events, in their order."""
    copies = [folder / f"steps_{number:03d}.h5" for number in range(num_events // NUM_SIMULATED)]
    for path in copies:
        if not path.exists():
            os.link(folder / "steps.h5", path)
    results = folder / f"results_{num_events}"
    files = {step: results / "events" / step / f"{UID}.h5" for step in ("ingest", *STAGES)}
    found = {"ingest": ["ingest", *map(str, copies), "--uid", UID, "--out", str(files["ingest"])]}
    given = [str(files["ingest"])]
    for stage in STAGES:
        weights = ["--weights", str(REPOSITORY / "models" / f"{stage}.pt")] if stage in LEARNED else []
        found[stage] = ["infer", stage, *given, *weights, "--out", str(files[stage])]
        given.append(str(files[stage]))
    tables, dataset = results / "tables" / UID, results / "dataset"
    figures = results / "metrics" / "chain" / f"{UID}.parquet"
    found["summarize"] = ["summarize", *given, "--out", str(tables)]
    found["evaluate"] = ["evaluate", *given, "--out", str(figures)]
    ingested = ["--metrics", str(figures), "--ingested", given[0]]
    found["collect"] = ["collect", str(tables), *ingested, "--out", str(dataset)]
    shown = [word for path in given for word in ("--events", path)]
    found["report"] = ["report", str(dataset), *shown, "--out", str(results / "report.html")]
    gathered = results / "config" / "ingested.gather"
    gathered.parent.mkdir(parents=True)
    gathered.write_text(f"{given[0]}\n")
    found["audit"] = ["audit", str(results), "--no-sources"]
    found["audit with sources"] = ["audit", str(results)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[300, 1000, 3000], help="multiples of 100")
    arguments = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "gun.json").write_text(json.dumps(GUN))
        simulate = ["simulate", "--config", "gun.json", "--seed", "1", "--out"]
        for number in arguments.events:
            num = ["--num-events", str(number)]
            found.setdefault("simulate", []).append(measured([*simulate, f"{number}.h5", *num], folder))
        measured([*simulate, "steps.h5", "--num-events", str(NUM_SIMULATED)], folder)
        for number in arguments.events:
            for step, words in verbs(folder, number).items():
                found.setdefault(step, []).append(measured(words, folder))
                print(
                    f"{step:20s}{number:7d} events {found[step][-1][0]:8.0f} MB {found[step][-1][1]:8.1f} s",
                    flush=True,
                )
    print(f"{'MB':20s}" + "".join(f"{number:>10,d}" for number in arguments.events) + f"{'per 1,000':>14s}")
    span = (arguments.events[-1] - arguments.events[0]) / 1000
    for step, runs in found.items():
        more = (runs[-1][0] - runs[0][0]) / span
        print(f"{step:20s}" + "".join(f"{mb:10.0f}" for mb, _ in runs) + f"{more:14.1f}")


if __name__ == "__main__":
    main()
