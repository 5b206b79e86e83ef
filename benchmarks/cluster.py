"""Time of `cluster`: against the U-ResNet on the same events, on a complete graph, and on a very large event.

    python benchmarks/cluster.py EVENTS.h5 [--num-events 50]

EVENTS.h5 is a file of `lartpc ingest` with truth, from which classes and points are taken. One thread; processor
time, interleaved, the smallest of several rounds. The weights are fresh: the time does not depend on them, except for
the grouping, which is faster with good ones.
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from lartpc import config
from lartpc.event import TRUTH, Event
from lartpc.graphs import Graph, make_graph
from lartpc.kinematics import FEATURES, pointing, unit
from lartpc.nets import graph as graphs
from lartpc.stages import cluster, segment
from lartpc.store import open_events
from lartpc.truth import upstream_from_truth

NUM_ROUNDS = 3
PEER_S = 3.9
"""SPINE's GrapPA (width 64, 3 steps) on 400 nodes and 159,600 directed edges: wall time of one thread on a
machine at load 7, of it 1.96 s of the processor [s]."""


def read(path: Path, num: int) -> list[Event]:
    """Read events with classes and points from the truth."""
    with open_events(path) as events:
        found = []
        for event in events.stream(["voxel", *TRUTH]):
            if event.num_voxels and event.entry not in events.quarantined():
                found.append(upstream_from_truth(event, ["semantic", "point"]))
            if len(found) == num:
                break
        return found


def fastest(*works: Callable[[], object]) -> list[float]:
    """Return the least processor time of each of some works, done in turn [s]."""
    seconds = np.full((NUM_ROUNDS, len(works)), np.inf)
    for i in range(NUM_ROUNDS):
        for j, work in enumerate(works):
            start = time.process_time()
            work()
            seconds[i, j] = time.process_time() - start
    least: NDArray[np.float64] = seconds.min(axis=0)
    return least.tolist()


def complete_graph(num: int) -> Graph:
    """Return a graph of random nodes, each pair of which has an edge."""
    rng = np.random.default_rng(0)
    pairs = np.stack(np.triu_indices(num, 1), axis=1)
    one, two = rng.uniform(0, 768, (2, len(pairs), 3))
    columns = {name: rng.uniform(0, 768, (num, 3)) for name in ("start_point", "end_point")}
    columns["start_direction"] = unit(rng.normal(size=(num, 3)))
    nodes = rng.normal(size=(num, len(FEATURES))).astype(np.float32)
    return make_graph(nodes, pairs, one, two, 768, pointing(columns, pairs, one, two))


def train(net: Any, graph: Graph, *, kernel: bool = True) -> None:
    """Pass forward and backward, by the compiled kernel or by torch."""
    with mock.patch.object(
        graphs, "can_pass_messages", graphs.can_pass_messages if kernel else lambda *_: False
    ):
        loss = sum(value.square().sum() for value in net(graph).values())
        torch.autograd.grad(loss, list(net.parameters()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=Path)
    parser.add_argument("--num-events", type=int, default=50)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    events = read(arguments.events, arguments.num_events)
    voxels = sum(event.num_voxels for event in events)
    of_segment, of_cluster = config.Segment(), config.Cluster()
    unet, grappa = segment.network(of_segment).eval(), cluster.network(of_cluster).eval()

    def by_unet() -> None:
        for event in events:
            segment.infer(unet, [event], of_segment)

    def by_cluster() -> None:
        for event in events:
            cluster.infer(grappa, [event], of_cluster)

    slow, fast = fastest(by_unet, by_cluster)
    print(f"{len(events)} events of {voxels / len(events):.0f} voxels, one at a time:")
    print(f"  U-ResNet with PPN         {1e3 * slow / len(events):8.1f} ms an event")
    print(f"  fragments and particles   {1e3 * fast / len(events):8.1f} ms an event, {fast / slow:.2f} of it")
    graph = complete_graph(400)
    with torch.inference_mode():
        (whole,) = fastest(lambda: grappa(graph))
    print(f"400 nodes, 159,600 directed edges: {whole:.2f} s, {whole / PEER_S:.2f} of the peer's {PEER_S} s")
    by_torch, by_kernel = fastest(lambda: train(grappa, graph, kernel=False), lambda: train(grappa, graph))
    print(
        f"the same, forward and backward: {by_kernel:.2f} s, in torch {by_torch / by_kernel:.1f} times as much"
    )
    print(f"most memory so far: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
