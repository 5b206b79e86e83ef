"""Time ingestion by its parts: `python benchmarks/ingest.py --help`.

CPU time, since the wall clock of a shared machine says little. With `--against`, the package of another
checkout is timed in turns on the same events, and the ratio is printed: for example
`git worktree add ../before 1047515 && python benchmarks/ingest.py --against ../before`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PARTS = ("read", "voxelise", "label", "write")


def sample(path: Path, num_events: int) -> None:
    from lartpc.config import Simulate
    from lartpc.run.simulate import simulate

    simulate(Simulate(), num_events=num_events, seed=1, out=path)


def cpu_s() -> float:
    """Return the CPU time of this process and of children that ended: files are read in one [s]."""
    return time.process_time() + sum(os.times()[2:4])


def measure(source: Path, repeats: int) -> dict[str, Any]:
    """Return the least CPU time of each part [ms per event], and what was ingested."""
    import lartpc
    from lartpc.config import Ingest
    from lartpc.geometry import Box
    from lartpc.ingest import open_source
    from lartpc.ingest.labels.labels import label
    from lartpc.ingest.voxelize import voxelize
    from lartpc.run.ingest import ingest

    cfg = Ingest()
    box = Box.centred((0, 0, 0), cfg.voxel_size_cm, cfg.num_voxels)
    best = dict.fromkeys((*PARTS, "all"), float("inf"))

    def timed(part: str, work: Callable[[], Any]) -> Any:
        start = cpu_s()
        done = work()
        best[part] = min(best[part], cpu_s() - start)
        return done

    def read() -> list[Any]:
        opened = open_source(source)
        events = [opened.read(entry) for entry in range(opened.num_events)]
        opened.close()
        return events

    for _ in range(repeats):
        events = timed("read", read)
        images = timed("voxelise", lambda events=events: [voxelize(steps, box) for steps in events])
        pairs = list(zip(events, images, strict=True))
        timed("label", lambda pairs=pairs: [label(steps, image, box, cfg) for steps, image in pairs])
        with tempfile.TemporaryDirectory() as folder:
            timed("all", lambda out=Path(folder) / "out.h5": ingest(source, cfg, out=out, file_uid="x"))
    best["write"] = best["all"] - best["read"] - best["voxelise"] - best["label"]
    return {
        "package": str(Path(lartpc.__file__).parents[1]),
        "num_events": len(events),
        "voxels": sum(len(image.energy) for image in images) / len(events),
        "steps": sum(map(len, events)) / len(events),
        "ms": {part: 1e3 * value / len(events) for part, value in best.items()},
        "rss_mb": max(
            resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        / 1024,
    }


def measure_in(package: Path, source: Path) -> dict[str, Any]:
    """Measure once in a process that imports the package of a checkout."""
    command = [sys.executable, __file__, "--source", str(source), "--repeats", "1", "--json"]
    environ = os.environ | {"PYTHONPATH": str(package)}
    done = subprocess.run(command, env=environ, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, help="steps to ingest; default: simulate some")
    parser.add_argument("--num-events", type=int, default=100, help="events to simulate")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--against", type=Path, help="checkout of another version of the package")
    parser.add_argument("--json", action="store_true", help="print one measurement as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = args.source or Path(folder) / "steps.h5"
        if args.source is None:
            sample(source, args.num_events)
        if args.json:
            print(json.dumps(measure(source, args.repeats)))
            return
        here = Path(__file__).parents[1]
        checkouts = [here, *([args.against] if args.against else [])]
        found: dict[Path, list[dict[str, Any]]] = {checkout: [] for checkout in checkouts}
        for _ in range(args.repeats):
            for checkout in checkouts:
                found[checkout].append(measure_in(checkout, source))
    best = {}
    for checkout, runs in found.items():
        best[checkout] = {part: min(run["ms"][part] for run in runs) for part in (*PARTS, "all")}
        first = runs[0]
        parts = "  ".join(f"{part} {best[checkout][part]:.2f}" for part in PARTS)
        labelled = best[checkout]["voxelise"] + best[checkout]["label"]
        print(
            f"{first['package']}: {first['num_events']} events of {first['steps']:.0f} steps and "
            f"{first['voxels']:.0f} voxels\n  ms per event: {parts}  all {best[checkout]['all']:.2f}\n"
            f"  events/s: {1e3 / labelled:.0f} voxelise and label, {1e3 / best[checkout]['all']:.0f} all; "
            f"peak {max(run['rss_mb'] for run in runs):.0f} MB"
        )
    if args.against:
        ratios = "  ".join(
            f"{part} {best[args.against][part] / best[here][part]:.2f}" for part in (*PARTS, "all")
        )
        print(f"  times faster: {ratios}")


if __name__ == "__main__":
    main()
