"""Time of `cluster`, `interact` and the tables together, against `segment`, on the same events.

    python benchmarks/interact.py INGESTED.h5 [--num-events 50] [--batch 1] [--config config/config.yaml]

INGESTED.h5 is a file of `lartpc ingest`; weights are those that the configuration names. One thread; processor time of
each step, event by event or in batches in turn, reading left out, tables written. Also: the largest event that rules
and network were given, in bounded memory: 5,000 particles.
"""

import argparse
import resource
import tempfile
import time
from collections import defaultdict
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import torch
import yaml

from lartpc.config import Config, Interact
from lartpc.event import Event, empty
from lartpc.geometry import Box
from lartpc.run.infer import load_network
from lartpc.run.memory import settled
from lartpc.run.weights_file import read_content
from lartpc.stages import chain_in, interact, needs_weights
from lartpc.store import open_events
from lartpc.tables import TABLES, TableWriter, event_rows

GOAL = ("cluster", "interact", "tables")


def crowd(num: int, voxels_each: int = 20) -> Event:
    """Return an event of short straight tracks and showers all over the box."""
    rng = np.random.default_rng(0)
    box = Box.centred((0.0, 0.0, 0.0), 0.3, 768)
    start = rng.integers(0, 740, (num, 3))
    axis = rng.integers(0, 3, num)
    coord = np.repeat(start, voxels_each, axis=0)
    owner = np.repeat(np.arange(num), voxels_each)
    coord[np.arange(len(coord)), axis[owner]] += np.tile(np.arange(voxels_each), num)
    coord, first = np.unique(coord, axis=0, return_index=True)
    owner = owner[first]
    particle = empty("particle", num)
    particle["semantic"][:] = rng.integers(0, 2, num)
    particle["num_voxels"][:] = np.bincount(owner, minlength=num)
    particle["energy"][:] = 0.6 * particle["num_voxels"]
    particle["start_point"][:] = start + 0.5
    particle["end_point"][:] = particle["start_point"] + (voxels_each - 1) * np.eye(3)[axis]
    particle["start_direction"][:] = np.eye(3)[axis]
    voxel = {"coord": coord, "energy": np.full(len(coord), 0.6, np.float32)}
    group = {"fragment": owner.astype(np.int32), "particle": owner.astype(np.int32)}
    fragment = empty("fragment", num)
    fragment |= {name: value for name, value in particle.items() if name in fragment}
    products = {"voxel": voxel, "group": group, "particle": particle, "fragment": fragment}
    return Event("crowd", 0, box, products | {name: empty(name) for name in ("point", "candidate")})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=Path)
    parser.add_argument("--num-events", type=int, default=50)
    parser.add_argument("--batch", type=int, default=1, help="events at a time")
    parser.add_argument("--precision", default="fp32", help="of segment: fp32, or bf16")
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = yaml.safe_load(arguments.config.read_text())
    settings.setdefault("segment", {}).setdefault("infer", {})["precision"] = arguments.precision
    config = Config.model_validate(settings)
    steps = []
    for row in chain_in(3):
        section = getattr(config, row.name)
        net = None
        if needs_weights(row, section):
            path = Path(section.weights)
            net = load_network(row, section, path, read_content(path))
        steps.append((row, section, net))
    seconds: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as folder, open_events(arguments.events) as events, settled():
        writers = {
            name: TableWriter(Path(folder) / f"{name}.parquet", name) for name in TABLES if name != "metrics"
        }
        last = min(arguments.num_events + 1, len(events))
        origins = list(islice(events.origins(), last))
        # the first event is not counted: with it libraries start their work
        bounds = pairwise([0, *range(1, last, arguments.batch), last])
        for low, high in bounds:
            batch = events.block(low, high)
            for row, section, net in steps:
                start = time.process_time()
                found = row.module().infer(net, batch, section)
                seconds[row.name] += time.process_time() - start
                batch = [event.with_products(more) for event, more in zip(batch, found, strict=True)]
            start = time.process_time()
            for event, origin in zip(batch, origins[low:high], strict=True):
                tables = event_rows(event, origin, None, cfg=config.summarize)
                for name, rows in tables.items():
                    writers[name].append(rows)
            seconds["tables"] += time.process_time() - start
            if not low:
                seconds.clear()
        num, num_voxels = last - 1, int(events.num_voxels()[1:last].sum())
        # with the first rows ever written libraries start their work: those are not counted
        with TableWriter(Path(folder) / "first.parquet", "events") as first:
            first.append(tables["events"])
        start = time.process_time()
        for writer in writers.values():
            writer.__exit__(None, None, None)
        seconds["tables"] += time.process_time() - start
    print(f"{num} events of {num_voxels / max(num, 1):.0f} voxels, {arguments.batch} at a time:")
    for name, value in seconds.items():
        print(f"  {name:10s} {1e3 * value / num:8.1f} ms an event")
    together = sum(seconds[name] for name in GOAL)
    print(f"{', '.join(GOAL)}: {together / seconds['segment']:.2f} of the time of segment")
    event = crowd(5000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row, section, net = steps[-1]
    rules = Interact.model_validate({"infer": {"interactions": "rules"}})
    for name, of, cfg in (("rules", None, rules), ("network", net, section)):
        if of is not None or name == "rules":
            start = time.process_time()
            interact.infer(of, [event], cfg)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"5,000 particles by {name}: {time.process_time() - start:.1f} s, at most {peak:.0f} MB in all "
                f"({before:.0f} MB before)"
            )


if __name__ == "__main__":
    main()
