"""Measure the input of a training: `python benchmarks/loader.py results/events/ingest/*_train/*.h5`.

1. The loader alone: events/s and voxels/s, read by the training's own process or by processes ahead of it,
   with the files in the page cache and after the kernel was asked to drop them.
2. The share of a training step that is spent waiting for input, with and without reading ahead.
3. How evenly the voxels of a batch are dealt to many ranks.
4. What it costs one of many ranks to read an event.
5. How a thread that reads, in the place of a process, would slow down what else Python does.
6. Memory and time of the order of a million events.

Variants take turns, so that a change in the machine's load hits all; medians are compared.
"""

import argparse
import os
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lartpc import config
from lartpc.event import Event
from lartpc.run.training.order import Order, unit_length
from lartpc.run.training.sample import Sample
from lartpc.stages import stage


def drop_from_cache(files: list[Path]) -> None:
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@dataclass(frozen=True)
class Rank:
    """One rank of some, without MPI."""

    rank: int = 0
    size: int = 1
    comm: None = None


def with_workers(section: config.Segment, num_workers: int) -> config.Training:
    return section.train.model_copy(update={"num_workers": num_workers})


def alone(name: str, files: list[Path], num_steps: int, workers: list[int], repeats: int) -> None:
    section, ranks = config.SECTIONS[name](), Rank()
    Sample(stage(name), files, section).batch(0, with_workers(section, 0), ranks)
    found: dict[tuple[int, str], list[tuple[float, ...]]] = {}
    for _ in range(repeats):
        for num_workers in workers:
            for cache in ("warm", "cold"):
                sample = Sample(stage(name), files, section)
                if cache == "cold":
                    drop_from_cache(files)
                begin, cpu = time.perf_counter(), time.process_time()
                with sample.batches(
                    range(num_steps + 1), with_workers(section, num_workers), ranks
                ) as batches:
                    next(batches)
                    start = time.perf_counter()
                    counts = [(len(batch), sum(event.num_voxels for event in batch)) for batch in batches]
                    seconds = time.perf_counter() - start
                events, voxels = np.sum(counts, 0)
                spent = (time.process_time() - cpu) / events
                found.setdefault((num_workers, cache), []).append(
                    (events / seconds, voxels / seconds, spent, start - begin)
                )
    for (num_workers, cache), values in found.items():
        events_per_s, voxels_per_s, cpu_s, first_s = np.median(values, 0)
        print(
            f"{name:8s} {num_workers} workers  {cache}  {events_per_s:7.0f} events/s  "
            f"{voxels_per_s / 1e3:7.0f} k voxels/s  {1e3 * cpu_s:5.2f} ms of the training's own CPU per event, "
            f"first batch after {first_s:.1f} s"
        )


def waiting(name: str, files: list[Path], num_steps: int, workers: list[int], repeats: int) -> None:
    # Here and not above, where the processes that read ahead would import it too.
    import torch

    torch.set_num_threads(1)
    section, ranks = config.SECTIONS[name](), Rank()
    module = stage(name).module()
    net = module.network(section)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)

    def update(batch: list[Event]) -> None:
        optimizer.zero_grad(set_to_none=True)
        terms = module.loss(net, batch, section)
        sum((total / count.clamp(min=1) for total, count in terms.values()), torch.zeros(())).backward()
        optimizer.step()

    def timed(batches: Iterator[list[Event]]) -> tuple[float, float]:
        """Return the seconds spent waiting, and all seconds, of the steps after the first two."""
        waited, total = 0.0, 0.0
        for step in range(num_steps + 2):
            start = time.perf_counter()
            batch = next(batches)
            ready = time.perf_counter()
            update(batch)
            if step >= 2:
                waited += ready - start
                total += time.perf_counter() - start
        return waited, total

    found: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for _ in range(repeats):
        for num_workers in workers:
            for cache in ("warm", "cold"):
                sample = Sample(stage(name), files, section)
                if cache == "cold":
                    drop_from_cache(files)
                settings = with_workers(section, num_workers)
                with sample.batches(range(num_steps + 2), settings, ranks) as batches:
                    waited, total = timed(batches)
                found.setdefault((num_workers, cache), []).append((waited / total, total / num_steps))
    base = np.median(found[workers[0], "warm"], 0)[1]
    for (num_workers, cache), values in found.items():
        share, seconds = np.median(values, 0)
        print(
            f"{name:8s} {num_workers} workers  {cache}  step {1e3 * seconds:6.0f} ms, {seconds / base:.2f} of the "
            f"first line's; waiting {100 * share:6.3f} % of it"
        )


def balance(name: str, files: list[Path], per_rank: int, num_ranks: list[int]) -> None:
    sizes = Sample(stage(name), files, config.SECTIONS[name]()).order.voxels()
    rng = np.random.default_rng(1)
    usual = rng.choice(sizes, 200_000)
    rare = np.where(rng.random(len(usual)) < 0.001, 30 * usual, usual)
    for drawn, max_voxels in ((usual, None), (rare, None), (rare, int(3 * sizes.max()))):
        order = Order([drawn], max_voxels)
        print(
            f"voxels per event {drawn.mean():.0f} +- {drawn.std():.0f}, largest {drawn.max()}; "
            f"max_voxels {max_voxels}: {order.num_large} of {len(drawn)} events left out"
        )
        for ranks in num_ranks:
            in_turn, dealt, home = [], [], []
            for step in range(20):
                batch = order.batch(step, per_rank * ranks, 1, ranks)
                load = np.bincount(batch.rank_B, batch.size_B, ranks)
                other = np.bincount(np.arange(per_rank * ranks) % ranks, batch.size_B, ranks)
                dealt.append(load.max() / load.mean())
                in_turn.append(other.max() / other.mean())
                home.append(batch.is_home_B.mean())
            print(
                f"{ranks:5d} ranks  largest load over mean: dealt in turn {np.mean(in_turn):.3f}, by voxels "
                f"{np.mean(dealt):.3f}; {100 * np.mean(home):.0f} % of the events read with their "
                f"neighbours, {unit_length(ranks)} at once"
            )


def unpacked(name: str, files: list[Path], per_rank: int, num_ranks: list[int]) -> None:
    section = config.SECTIONS[name]()
    sample = Sample(stage(name), files, section)
    base = 0.0
    for ranks in num_ranks:
        settings = section.train.model_copy(update={"batch_size": per_rank * ranks, "augment": False})
        num_steps = max(1, 4 * len(sample) // settings.batch_size)
        sample = Sample(stage(name), files, section)
        start = time.process_time()
        num_events = sum(len(sample.part(step, settings, (0, ranks), (0, 1))) for step in range(num_steps))
        spent = (time.process_time() - start) / num_events
        base = base or spent
        print(
            f"{ranks:5d} ranks  {1e3 * spent:.2f} ms of CPU to read an event, {spent / base:.2f} of one rank's"
        )


def beside_a_thread(name: str, files: list[Path], repeats: int) -> None:
    section = config.SECTIONS[name]()

    def read(sample: Sample, steps: range) -> None:
        for step in steps:
            sample.part(step, section.train, (0, 1), (0, 1))

    shares = []
    for _ in range(repeats):
        sample = Sample(stage(name), files, section)
        read(sample, range(1))
        thread = threading.Thread(target=read, args=(sample, range(1, 30)))
        speeds = []
        for reads in (False, True):
            if reads:
                thread.start()
            loops, begin, cpu = 0, time.perf_counter(), time.thread_time()
            while thread.is_alive() if reads else time.perf_counter() - begin < 1:
                loops += 1
            speeds.append(loops / (time.thread_time() - cpu))
        shares.append(speeds[1] / speeds[0])
    print(
        f"Python beside a thread that reads: {np.median(shares):.2f} of its speed alone, per second of its CPU"
    )


def order_of_many(num_events: int, num_shards: int) -> None:
    rng = np.random.default_rng(1)
    sizes = np.split(rng.lognormal(8, 0.6, num_events).astype(np.int64), num_shards)
    tracemalloc.start()
    start = time.process_time()
    order = Order(sizes)
    made = time.process_time() - start
    kept = tracemalloc.get_traced_memory()[0]
    start = time.process_time()
    order.batch(0, 8, 1, 1)
    shuffled = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(
        f"{num_events} events in {num_shards} shards: order made in {made:.2f} s, kept in {kept / 1e6:.0f} MB, "
        f"an epoch shuffled in {shuffled:.2f} s, {peak / 1e6:.0f} MB at most"
    )
    for ranks in (1, 64, 1024):
        start = time.process_time()
        for step in range(5):
            order.batch(step, 8 * ranks, 1, ranks)
        print(f"{ranks:5d} ranks of 8 events: {200 * (time.process_time() - start):.1f} ms of CPU per step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="event files with truth, of any number of shards")
    parser.add_argument("--stage", default="segment", choices=["segment", "cluster", "interact"])
    parser.add_argument("--steps", type=int, default=40, help="steps of each measurement of the loader alone")
    parser.add_argument("--trained-steps", type=int, default=10, help="steps of each measurement of training")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="processes that read ahead")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--only",
        nargs="+",
        default=["alone", "waiting", "balance", "unpacked", "thread", "order"],
        help="the parts to measure",
    )
    args = parser.parse_args()
    if "alone" in args.only:
        alone(args.stage, args.files, args.steps, args.workers, args.repeats)
    if "waiting" in args.only:
        waiting(args.stage, args.files, args.trained_steps, args.workers[:2], args.repeats)
    if "balance" in args.only:
        balance(args.stage, args.files, 8, [2, 8, 64, 256, 1024])
    if "unpacked" in args.only:
        unpacked(args.stage, args.files, 8, [1, 2, 8, 32])
    if "thread" in args.only:
        beside_a_thread(args.stage, args.files, args.repeats)
    if "order" in args.only:
        order_of_many(1_000_000, 10_000)


if __name__ == "__main__":
    main()
