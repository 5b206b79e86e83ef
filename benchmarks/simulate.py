"""Time the simulation, and see that its memory is flat: `python benchmarks/simulate.py --help`.

Runs of two sizes tell the start from the events: CPU time and largest memory of each, with as many
shards side by side as asked. CPU time is that of the processes, not the wall's.
"""

import argparse
import resource
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lartpc import config
from lartpc.run.simulate import simulate


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-events", type=int, nargs=2, default=(20, 200), metavar=("FEW", "MANY"))
    parser.add_argument("--processes", type=int, default=1, help="shards side by side")
    parser.add_argument("--config", type=Path, help="slice of the section 'simulate' (JSON)")
    args = parser.parse_args()
    cfg = config.load_section("simulate", args.config)
    spent = []
    for num_events in args.num_events:
        before, start = cpu_s(), time.perf_counter()
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(args.processes) as pool:
            paths = [Path(folder) / f"{shard}.h5" for shard in range(args.processes)]
            list(
                pool.map(
                    lambda shard, paths=paths, num=num_events: simulate(
                        cfg, num_events=num, seed=shard, out=paths[shard]
                    ),
                    range(args.processes),
                )
            )
            size_kb = sum(path.stat().st_size for path in paths) / num_events / args.processes / 1e3
        spent.append((cpu_s() - before) / args.processes)
        # ru_maxrss is the largest of all children so far, and the runs grow
        memory_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
        wall_s = time.perf_counter() - start
        print(
            f"{args.processes} x {num_events} events: {spent[-1]:.1f} s CPU each, {wall_s:.1f} s wall, "
            f"{memory_mb:.0f} MB, {size_kb:.0f} kB per event"
        )
    few, many = args.num_events
    per_event = (spent[1] - spent[0]) / (many - few)
    print(
        f"{1e3 * per_event:.1f} ms CPU per event, {1 / per_event:.1f} events/s and core; "
        f"start {spent[0] - few * per_event:.1f} s"
    )


if __name__ == "__main__":
    main()
