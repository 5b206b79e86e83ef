"""Inference of `segment`, each way, in CPU time: `python benchmarks/inference.py EVENTS.h5 --weights W.pt`.

Batches of so many voxels or events, from voxels to products without files. With --against, another checkout's stage
runs in turn with ours, in a process of its own; the ratio is the median of the pairs. One thread.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]


def network(way: str, weights: Path) -> tuple[Any, Any]:
    """Return a network and its settings: `torch`, compiled in `fp32` or `bf16`; `bare`: fp32, without affinities."""
    from lartpc import config
    from lartpc.run.weights import load_weights
    from lartpc.run.weights_file import read_content
    from lartpc.stages import segment, stage

    content = read_content(weights)
    settings = json.loads(content["settings"])
    if way == "torch":
        section = config.Segment.model_validate(settings)
        return load_weights(weights, stage("segment"), section, content), section
    state = content["state"]
    if way == "bare":
        way, state = (
            "fp32",
            {name: value for name, value in state.items() if not name.startswith("affinity.")},
        )
    section = config.Segment.model_validate({**settings, "infer": {"precision": way}})
    return segment.compiled(section, state), section


def batches(path: Path, wanted: list[int]) -> dict[str, list[Any]]:
    """Return one event near 3,900 voxels, 8 events, and events up to the wanted numbers of voxels."""
    from lartpc.store import open_events

    with open_events(path) as events:
        every = events.block(0, len(events), ["voxel"])
    found = {"one event": [min(every, key=lambda event: abs(event.num_voxels - 3900))], "8 events": every[:8]}
    for num in wanted:
        batch: list[Any] = []
        for event in every:
            if sum(one.num_voxels for one in batch) < num:
                batch.append(event)
        found[f"{num:,} voxels"] = batch
    return found


def measure(given: argparse.Namespace) -> dict[str, list[float]]:
    """Return voxels, and median CPU time [s] of each way, of each batch."""
    from lartpc.stages import segment

    nets = {way: network(way, given.weights) for way in given.ways}
    found = {}
    for name, batch in batches(given.events, given.voxels).items():
        times: dict[str, list[float]] = {way: [] for way in nets}
        for _ in range(given.passes + 1):
            for way, (net, section) in nets.items():
                start = time.process_time()
                segment.infer(net, batch, section)
                times[way].append(time.process_time() - start)
        medians = [statistics.median(values[1:]) for values in times.values()]
        found[name] = [float(sum(event.num_voxels for event in batch)), *medians]
    return found


def other(checkout: Path) -> dict[str, list[float]]:
    """Return what this program measures of another checkout."""
    arguments = [str(Path(name).resolve()) if Path(name).exists() else name for name in sys.argv[1:]]
    command = [sys.executable, str(Path(__file__).resolve()), *arguments, "--ways", "torch", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, env=environment, cwd=checkout, check=True, capture_output=True, text=True)
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print times of batches and ratios to another checkout's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("events", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--against", type=Path, help="another checkout, whose stage runs by torch")
    parser.add_argument("--voxels", nargs="*", type=int, default=[20_000, 80_000])
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=["torch", "fp32", "bf16"])
    parser.add_argument("--json", action="store_true", help="print the measurement alone")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    given.events, given.weights = given.events.resolve(), given.weights.resolve()
    if given.json:
        import torch

        torch.set_num_threads(1)
        print(json.dumps(measure(given)))
        return
    pairs = [(measure(given), other(given.against) if given.against else {}) for _ in range(given.pairs)]
    for name in pairs[0][0]:
        columns = [*zip(*(ours[name] for ours, _ in pairs), strict=True)]
        line = f"{name:16s}{columns[0][0]:8.0f} voxels"
        for way, values in zip(given.ways, columns[1:], strict=True):
            line += f"  {way} {1e3 * statistics.median(values):.1f} ms"
            if given.against:
                ratio = statistics.median(
                    before[name][1] / now for (_, before), now in zip(pairs, values, strict=True)
                )
                line += f" ({ratio:.2f} times)"
        print(line)


if __name__ == "__main__":
    main()
