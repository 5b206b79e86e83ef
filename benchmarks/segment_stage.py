"""Time the segment stage, file to file, against its network alone: `python benchmarks/segment_stage.py EVENTS.h5`.

Repeats of both alternate, on the same batches, so that a change in the machine's load hits both. CPU time
counts all threads. What the stage needs besides is timed by itself as well: reading, making columns of the
network's output, and writing; and what a process needs to start, by the command on a file of one event.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lartpc import config
from lartpc.event import Event
from lartpc.images import has_gpu, stack
from lartpc.run.infer import MAX_BATCH_EVENTS, infer, load_network
from lartpc.run.weights import save_weights
from lartpc.run.weights_file import read_content
from lartpc.stages import segment, stage
from lartpc.store import EventWriter, open_events

ROW = stage("segment")


class Time(NamedTuple):
    """Wall and processor time [s]."""

    wall: float
    cpu: float


def timed(work: Callable[[], object]) -> Time:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Time(time.perf_counter() - wall, time.process_time() - cpu)


def median(times: list[Time]) -> Time:
    return Time(*np.median(np.array(times), axis=0))


def first_events(source: Path, num_events: int, out: Path) -> None:
    """Copy the images of the first events into a file of their own."""
    with (
        open_events(source) as events,
        EventWriter(
            out,
            ["event", "voxel"],
            file_uid=events.file_uid,
            box=events.box,
            attrs=events.attributes()["ingest"] | {"inputs": json.dumps({})},
        ) as writer,
    ):
        for event in events.block(0, min(num_events, len(events)), ["event", "voxel"]):
            writer.append(event.entry, event.products)


def batches(path: Path, max_voxels: int) -> list[list[Event]]:
    with open_events(path) as events:
        return [events.block(*pack, ["voxel"]) for pack in events.packs(max_voxels, MAX_BATCH_EVENTS)]


def measure(source: Path, weights: Path, section: config.Segment, repeats: int) -> None:
    out = source.with_name("segment.h5")
    net = load_network(ROW, section, weights, read_content(weights))
    device = "cuda" if has_gpu() else "cpu"
    held = batches(source, section.infer.max_voxels)
    inputs = [stack(batch, section.dimension, "segment") for batch in held]
    num_voxels = sum(event.num_voxels for batch in held for event in batch)
    results = [segment.infer(net, batch, section) for batch in held]

    def network() -> None:
        for batch, images in zip(held, inputs, strict=True):
            net.answer(batch, images, section.infer.num_passes)

    def compute() -> None:
        for batch in held:
            segment.infer(net, batch, section)

    def write() -> None:
        with (
            open_events(source) as events,
            EventWriter(
                out.with_name("written.h5"),
                ROW.writes,
                file_uid="written",
                box=events.box,
                attrs={"step": "segment", "schema_version": "1.1"},
            ) as writer,
        ):
            for batch, found in zip(held, results, strict=True):
                for event, products in zip(batch, found, strict=True):
                    writer.append(event.entry, products)

    works: dict[str, Callable[[], object]] = {
        "network alone": network,
        "stage, file to file": lambda: infer(ROW, [source], section, out=out, weights=weights),
        "loading weights": lambda: load_network(ROW, section, weights, read_content(weights)),
        "reading": lambda: batches(source, section.infer.max_voxels),
        "network and columns": compute,
        "writing": write,
    }
    times: dict[str, list[Time]] = {name: [] for name in works}
    for repeat in range(repeats + 1):
        for name, work in works.items():
            found = timed(work)
            if repeat:  # the first only warms up
                times[name].append(found)
    alone = median(times["network alone"])
    num_proposals = sum(len(found["proposal"]["score"]) for batch in results for found in batch)
    print(
        f"{sum(map(len, held))} events, {num_voxels:,} voxels, {len(held)} batches, {num_proposals:,} proposals; "
        f"{torch.get_num_threads()} threads, {device}; file written: {out.stat().st_size / num_voxels:.1f} B/voxel"
    )
    print(f"{'':22s}{'wall [s]':>10s}{'/ network':>10s}{'CPU [s]':>10s}{'/ network':>10s}")
    for name, found_times in times.items():
        wall, cpu = median(found_times)
        print(f"{name:22s}{wall:10.3f}{wall / alone.wall:10.3f}{cpu:10.3f}{cpu / alone.cpu:10.3f}")
    # Pairs of neighbours in time: their ratio sees less of the machine's other load.
    pairs = zip(times["stage, file to file"], times["network alone"], strict=True)
    ratios = np.array([(stage.wall / net.wall, stage.cpu / net.cpu) for stage, net in pairs])
    wall, cpu = np.median(ratios, axis=0)
    print(f"stage / network, median of the pairs: wall {wall:.3f}, CPU {cpu:.3f}")


def start_up(source: Path, weights: Path, settings: Path) -> Time:
    """Time the command on one event: what a job pays before and after its work."""
    command = [sys.executable, "-m", "lartpc", "infer", "segment", str(source), "--config", str(settings)]
    command += ["--weights", str(weights), "--out", str(source.with_name("one_out.h5"))]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall = time.perf_counter() - wall
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Time(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=Path, help="file of lartpc ingest")
    parser.add_argument("--weights", type=Path, help="of segment; default: the default network, untrained")
    parser.add_argument("--num-events", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        section = config.Segment()
        weights = folder / "weights.pt"
        if args.weights:
            weights = args.weights
            settings = torch.load(weights, map_location="cpu", weights_only=True)["settings"]
            section = config.Segment.model_validate(json.loads(settings))
        else:
            torch.manual_seed(1)
            save_weights(weights, ROW, section, segment.network(section).state_dict(), {})
        (folder / "segment.json").write_text(section.model_dump_json(exclude={"weights"}))
        source, one = folder / "events.h5", folder / "one.h5"
        first_events(args.events, args.num_events, source)
        first_events(args.events, 1, one)
        measure(source, weights, section, args.repeats)
        start = median([start_up(one, weights, folder / "segment.json") for _ in range(3)])
        print(f"the command on one event, start-up included: {start.wall:.2f} s, CPU {start.cpu:.2f} s")


if __name__ == "__main__":
    main()
