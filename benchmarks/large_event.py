"""Run segment and points on events of many voxels: `python benchmarks/large_event.py EVENTS.h5`.

Ingested events are laid over each other until there are enough voxels. Each stage runs in a process of its
own, file to file; memory is the peak of that process, and what it adds to the peak on one voxel.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from lartpc import config
from lartpc.event import empty
from lartpc.provenance import provenance
from lartpc.run.weights import save_weights
from lartpc.stages import segment, stage
from lartpc.store import EventWriter, open_events

CHILD = """
import json, resource, sys, time
from pathlib import Path
from lartpc import config
from lartpc.run.infer import infer
from lartpc.stages import stage
name, settings, weights, out, *files = sys.argv[1:]
section = config.load_section(name, Path(settings))
wall, cpu = time.perf_counter(), time.process_time()
infer(stage(name), [Path(file) for file in files], section, out=Path(out), weights=Path(weights) if weights else None)
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps([wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def overlay(source: Path, num_voxels: int, out: Path) -> None:
    """Write one event: the union of as many events as give the number of voxels, and of the last its first."""
    with open_events(source) as events:
        box = events.box
        found, energy = np.zeros(0, np.int64), np.zeros(0, np.float32)
        for event in events.stream(["voxel"]):
            if len(found) >= num_voxels:
                break
            coord = event["voxel"]["coord"].astype(np.int64)
            cell = (coord[:, 0] * box.num_voxels + coord[:, 1]) * box.num_voxels + coord[:, 2]
            found, where = np.unique(np.concatenate([found, cell]), return_inverse=True)
            energy = np.bincount(where, np.concatenate([energy, event["voxel"]["energy"]])).astype(np.float32)
    if len(found) < num_voxels:
        raise SystemExit(f"{source} has only {len(found):,} voxels; give a larger file")
    found, energy = found[:num_voxels], energy[:num_voxels]
    side = box.num_voxels
    coord = np.stack([found // side**2, found // side % side, found % side], 1)
    with EventWriter(
        out, ["event", "voxel"], file_uid="overlay", box=box, attrs=provenance("ingest", 1, config={})
    ) as writer:
        writer.append(0, {"event": empty("event", 1), "voxel": {"coord": coord, "energy": energy}})


def run(name: str, settings: Path, weights: Path | None, out: Path, files: list[Path]) -> list[float]:
    command = [sys.executable, "-c", CHILD, name, *map(str, (settings, weights or "", out, *files))]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    numbers: list[float] = json.loads(found.stdout)
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=Path, help="file of lartpc ingest")
    parser.add_argument("--voxels", type=int, nargs="+", default=[1, 100_000, 300_000, 1_000_000])
    parser.add_argument("--weights", type=Path, help="of segment; default: the default network, untrained")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        section = config.Segment()
        weights = folder / "weights.pt"
        if args.weights:
            weights = args.weights
            trained = torch.load(weights, map_location="cpu", weights_only=True)["settings"]
            section = config.Segment.model_validate(json.loads(trained))
        else:
            torch.manual_seed(1)
            row = stage("segment")
            save_weights(weights, row, section, segment.network(section).state_dict(), {})
        (folder / "segment.json").write_text(section.model_dump_json(exclude={"weights"}))
        (folder / "points.json").write_text(config.Points().model_dump_json())
        least: dict[str, float] = {}
        print(
            f"{'voxels':>9s}  {'stage':8s}{'wall [s]':>9s}{'CPU [s]':>9s}{'voxels/CPU s':>13s}"
            f"{'peak [MB]':>10s}{'B/voxel':>9s}  rows"
        )
        for num_voxels in args.voxels:
            files = [folder / "ingest.h5"]
            overlay(args.events, num_voxels, files[0])
            for stage_name, product in (("segment", "proposal"), ("points", "point")):
                out = folder / f"{stage_name}.h5"
                learned = weights if stage_name == "segment" else None
                wall, cpu, peak = run(stage_name, folder / f"{stage_name}.json", learned, out, files)
                files.append(out)
                base = least.setdefault(stage_name, peak)
                with open_events(out) as events:
                    rows = len(events[0][product]["score"])
                print(
                    f"{num_voxels:9,d}  {stage_name:8s}{wall:9.2f}{cpu:9.2f}{num_voxels / cpu:13,.0f}"
                    f"{peak:10,.0f}{(peak - base) * 2**20 / num_voxels:9,.0f}  {rows:,} {product}s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
