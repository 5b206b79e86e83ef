"""Time a training step of a stage, all that belongs to it, by this code and by that of another checkout.

OMP_NUM_THREADS=1 python benchmarks/training_step.py EVENTS.h5 [more files] [--stage STAGE] [--against CHECKOUT]

A step is forward and backward pass with losses and optimizer, on batches of genuine events that are read and augmented
before; reading is told by itself, and what is made of an event on the way counts where each code does it. With
`--again` the steps of before are made again with `train.keep_gb`, as in later passes of a training. Each code and
precision is a process of its own; they take turns on the same batches, on one thread. Figures are medians of processor
time per event. `--profile` tells what a step is made of. `cluster` and `interact` need the files of the stages before,
or `--upstream truth`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]


class Step:
    """Steps of a training on batches of the same sample; `more_settings` are of its `train`."""

    def __init__(self, precision: str, args: argparse.Namespace, **more_settings: Any) -> None:
        import torch

        from lartpc import dist
        from lartpc.config import SECTIONS
        from lartpc.run.training.optimize import Optimization
        from lartpc.run.training.sample import Sample
        from lartpc.stages import stage

        torch.set_num_threads(1)
        chosen = {"precision": precision, "batch_size": args.num_events, "num_workers": 0}
        more: dict[str, Any] = {"upstream": args.upstream}
        if args.stage == "segment":
            chosen, more = {**chosen, "loss": args.loss}, {}
        section, row = SECTIONS[args.stage], stage(args.stage)
        if args.again and "keep_gb" in type(section().train).model_fields:
            chosen["keep_gb"] = 0.5
        chosen |= more_settings
        cfg = section.model_validate({**more, "train": {**section().train.model_dump(), **chosen}})
        self.period = args.turns + 2
        self.settings, self.ranks = cfg.train, dist.Ranks(0, 1, 0, torch.device("cpu"), "none")
        torch.manual_seed(1)
        self.run = Optimization(row.module().network(cfg), row.module().loss, cfg, self.ranks)
        # an older code has no examples
        more = {"as_examples": True} if "as_examples" in signature(Sample).parameters else {}
        self.sample = Sample(row, args.files, cfg, **more)
        self.number = 0

    def __call__(self) -> tuple[int, float, float, float]:
        """Return the voxels, the time of reading and of the step [s], and the loss."""
        start = time.process_time()
        batch = self.sample.batch(self.number, self.settings, self.ranks)
        read = time.process_time()
        loss = self.run.update([batch], self.number, [])[0]["loss"]
        self.number = (self.number + 1) % self.period
        return sum(event.num_voxels for event in batch), read - start, time.process_time() - read, loss


def work(args: argparse.Namespace) -> None:
    """Make a step for each line of standard input."""
    step = Step(args.work, args)
    for _ in sys.stdin:
        print(*step(), flush=True)


def compare(args: argparse.Namespace) -> None:
    """Let codes and precisions take turns."""
    codes = {"this code": HERE} | ({"the other": args.against.resolve()} if args.against else {})
    command = [sys.executable, __file__, *map(str, args.files), "--num-events", str(args.num_events)]
    command += ["--loss", args.loss, "--stage", args.stage, "--upstream", args.upstream]
    command += ["--turns", str(args.turns), *(["--again"] if args.again else [])]
    workers = {
        (code, precision): subprocess.Popen(
            [*command, "--work", precision],
            env={**os.environ, "PYTHONPATH": str(path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for code, path in codes.items()
        for precision in args.precision or ["fp32", "bf16"]
    }
    steps: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for _ in range((args.turns + 2) * (1 + args.again)):
        for key, worker in workers.items():
            assert worker.stdin and worker.stdout
            worker.stdin.write("\n")
            worker.stdin.flush()
            steps[key].append([float(value) for value in worker.stdout.readline().split()])
    for worker in workers.values():
        worker.communicate()
    found = {}
    for key, rows in steps.items():
        voxels, read, step, loss = zip(*rows[-args.turns :], strict=True)
        found[key] = step, [sum(both) for both in zip(read, step, strict=True)]
        per_event = 1e3 / args.num_events
        print(
            f"{key[0]}, {key[1]}: {per_event * statistics.median(step):.1f} ms an event, "
            f"{statistics.mean(voxels) / args.num_events:.0f} voxels; reading "
            f"{per_event * statistics.median(read):.1f} ms; loss {loss[-1]:.4f} after {len(rows)} steps"
        )
    for (code, precision), fast in found.items():
        for (other, that), slow in found.items():
            if code == "this code" and other != code:
                step, whole = (
                    statistics.median(a / b for a, b in zip(*pair, strict=True))
                    for pair in zip(slow, fast, strict=True)
                )
                print(f"the other, {that} / this code, {precision}: {step:.2f}, with reading {whole:.2f}")


def profile(args: argparse.Namespace) -> None:
    """Print the shares of a step, by operations of torch and calls of the compiled kernels."""
    from torch.profiler import ProfilerActivity, record_function
    from torch.profiler import profile as profiler

    from lartpc.sparse import build

    plain = build.call

    def call(name: str, *arguments: Any) -> None:
        with record_function(f"kernel {name}"):
            plain(name, *arguments)

    patch(plain, call)
    for precision in args.precision or ["fp32"]:
        step = Step(precision, args)
        for _ in range(3):
            step()
        with profiler(activities=[ProfilerActivity.CPU]) as seen:
            for _ in range(args.turns):
                step()
        rows = sorted(seen.key_averages(), key=lambda row: -row.self_cpu_time_total)
        total = sum(row.self_cpu_time_total for row in rows)
        print(f"\n{precision}: {total / 1e3 / args.turns / args.num_events:.1f} ms an event by the clock")
        for row in rows[: args.rows]:
            print(
                f"{100 * row.self_cpu_time_total / total:5.1f} %  {row.count / args.turns:7.1f} calls  {row.key}"
            )


def patch(plain: Callable[..., None], call: Callable[..., None]) -> None:
    """Put a function in the place of another wherever modules of ours have it."""
    for name, module in list(sys.modules.items()):
        if name.startswith("lartpc") and getattr(module, "call", None) is plain:
            module.call = call  # type: ignore[attr-defined]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--against", type=Path, help="a checkout of another commit")
    parser.add_argument("--num-events", type=int, default=4, help="events of a batch")
    parser.add_argument("--stage", default="segment", choices=["segment", "cluster", "interact"])
    parser.add_argument("--upstream", default="mixed", help="what the graph stages are trained on")
    parser.add_argument("--precision", nargs="+", default=[])
    parser.add_argument("--loss", default="ce", help="of voxels")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--again", action="store_true", help="time a second pass over the same batches")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--rows", type=int, default=40, help="of the profile")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args)
    elif args.profile:
        profile(args)
    else:
        compare(args)


if __name__ == "__main__":
    main()
