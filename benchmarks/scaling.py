"""Measure training on one and two ranks, and predict it on many GPUs.

    python benchmarks/scaling.py results/events/ingest/*_train/*.h5

1. Weak scaling (the same events per rank) and strong scaling (the same events in all), under mpiexec, with the
   time of a step split into parts. Beside them two trainings that know nothing of each other run at the same
   time: what they reach together is what the machine can give. The three take turns; medians are compared.
2. A model: seconds of a step = a + b voxels of the slowest rank + all-reduces of alpha + beta bytes. Its four
   constants are fitted on one rank and on bare all-reduces, and it is tested on two ranks.
3. The same model with published speeds of GPUs and networks: efficiency at 64, 256 and 1024 GPUs.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from lartpc import config
from lartpc.run.training.order import Order
from lartpc.run.training.sample import Sample
from lartpc.stages import stage

PARTS = ("read", "forward", "backward", "wait", "transfer", "optimizer")
WARM_UP = 3
"""Steps before the clock starts."""

MESSAGES = (8, 2**12, 2**16, 2**20, 2**24)
"""Bytes of the all-reduces that alpha and beta are fitted on."""


# -- one rank ----------------------------------------------------------------------------------


class TimedComm:
    """A communicator that tells waiting for the others from moving bytes."""

    def __init__(self, comm: Any) -> None:
        self._comm, self.wait, self.transfer, self.wait_cpu = comm, 0.0, 0.0, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._comm, name)

    def Allreduce(self, *buffers: Any) -> None:
        self.timed(lambda: self._comm.Allreduce(*buffers))

    def timed(self, work: Any) -> Any:
        start, cpu = time.perf_counter(), time.process_time()
        self._comm.Barrier()
        ready = time.perf_counter()
        self.wait_cpu += time.process_time() - cpu
        found = work()
        self.wait += ready - start
        self.transfer += time.perf_counter() - ready
        return found


def run_rank(args: argparse.Namespace) -> None:
    """Train for some steps as one rank and write what each took."""
    import torch

    from lartpc import dist

    section = config.SECTIONS[args.stage]()
    module = stage(args.stage).module()
    together = args.as_rank == "together"
    start_line = None
    with dist.join(None if together else 1) as ranks:
        clock = TimedComm(ranks.comm)
        number = ranks.rank
        if together and ranks.size > 1:
            ranks.comm = clock
            reduce = ranks.sum
            ranks.sum = lambda values: clock.timed(lambda: reduce(values))  # type: ignore[method-assign]
        elif not together:
            from mpi4py import MPI

            start_line, number = MPI.COMM_WORLD, MPI.COMM_WORLD.rank
        torch.manual_seed(1)
        net = module.network(section)
        wrapped = ranks.wrap(net)
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
        settings = section.train.model_copy(
            update={
                "batch_size": args.batch_size,
                "num_workers": args.workers,
                "seed": 1 + number * (not together),
            }
        )
        sample = Sample(stage(args.stage), args.files, section, ranks=ranks)
        steps = []
        with sample.batches(range(args.steps + WARM_UP), settings, ranks) as batches:
            for step in range(args.steps + WARM_UP):
                if step == WARM_UP:
                    (start_line or ranks.comm).Barrier() if start_line or ranks.size > 1 else None
                clock.wait = clock.transfer = clock.wait_cpu = 0.0
                times, cpu = [time.perf_counter()], time.process_time()

                def lap(times: list[float] = times) -> float:
                    """Return the seconds since the last lap, less what went to the other ranks."""
                    now, spoken = time.perf_counter(), clock.wait + clock.transfer
                    times.append(now - spoken)
                    return times[-1] - times[-2]

                batch = next(batches)
                took = {"read": lap()}
                terms = module.loss(wrapped, batch, section)
                took["forward"] = lap()
                counts = ranks.sum(torch.stack([count.detach().float() for _, count in terms.values()]))
                pairs = zip(terms.values(), counts.clamp(min=1e-12), strict=True)
                loss = sum((total / count for (total, _), count in pairs), torch.zeros(()))
                (loss + 0.0 * sum(parameter.sum() for parameter in net.parameters())).backward()
                ranks.sum(loss.detach())
                took["backward"] = lap()
                torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                took["optimizer"] = lap()
                took |= {"wait": clock.wait, "transfer": clock.transfer}
                took |= {
                    "total": time.perf_counter() - times[0],
                    "cpu": time.process_time() - cpu - clock.wait_cpu,
                }
                steps.append(
                    took | {"voxels": sum(event.num_voxels for event in batch), "events": len(batch)}
                )
        messages = {}
        if together and ranks.size > 1:
            for size in MESSAGES:
                data = np.zeros(size // 4, np.float32)
                clock.transfer = 0.0
                for _ in range(20):
                    clock.Allreduce(data, np.empty_like(data))
                messages[size] = clock.transfer / 20
        gradient = sum(4 * parameter.numel() for parameter in net.parameters())
        found = {"steps": steps[WARM_UP:], "messages": messages, "gradient": gradient}
        (args.out / f"{number}.json").write_text(json.dumps(found))


# -- this machine ------------------------------------------------------------------------------


def launch(
    args: argparse.Namespace, num_ranks: int, batch_size: int, how: str = "together"
) -> list[dict[str, Any]]:
    """Return what each rank measured."""
    with tempfile.TemporaryDirectory() as folder:
        launcher = [shutil.which("mpiexec") or "mpiexec", "-n", str(num_ranks)]
        command = [
            *(launcher if num_ranks > 1 else []),
            *(sys.executable, __file__, *map(str, args.files), "--as-rank", how, "--out", folder),
            *("--stage", args.stage, "--steps", str(args.steps), "--batch-size", str(batch_size)),
            *("--workers", str(args.workers)),
        ]
        subprocess.run(
            command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        )
        return [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(num_ranks)]


def speed(ranks: list[dict[str, Any]]) -> float:
    """Return the voxels per second of some ranks together."""
    return sum(
        sum(step["voxels"] for step in rank["steps"]) / sum(step["total"] for step in rank["steps"])
        for rank in ranks
    )


def busy(ranks: list[dict[str, Any]]) -> float:
    """Return the processor seconds per voxel of the rank that has most to do in each step, waiting left out."""
    steps = list(zip(*(rank["steps"] for rank in ranks), strict=True))
    per_voxel = sum(one["cpu"] for step in steps for one in step) / sum(
        one["voxels"] for step in steps for one in step
    )
    uneven = [max(one["voxels"] for one in step) / np.mean([one["voxels"] for one in step]) for step in steps]
    return float(per_voxel * np.mean(uneven))


def split(ranks: list[dict[str, Any]]) -> str:
    """Return the parts of a step, medians over steps and ranks."""
    parts = {
        part: 1e3 * np.median([step[part] for rank in ranks for step in rank["steps"]]) for part in PARTS
    }
    return ", ".join(f"{part} {value:.1f}" for part, value in parts.items())


def measure(args: argparse.Namespace) -> dict[str, list[list[dict[str, Any]]]]:
    each = args.batch_size
    runs = {
        "1 rank": (1, each, "together"),
        "2 ranks, weak": (2, 2 * each, "together"),
        "2 ranks, strong": (2, each, "together"),
        "2 alone at once": (2, each, "alone"),
        "2 alone, halves": (2, max(1, each // 2), "alone"),
    }
    found: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in runs}
    for _ in range(args.repeats):
        for name, run in runs.items():
            found[name].append(launch(args, *run))
            sys.stderr.write(f"{name}: {speed(found[name][-1]) / 1e3:.1f} k voxels/s\n")
    one = np.array([speed(ranks) for ranks in found["1 rank"]])
    for name, repeats in found.items():
        speeds = np.array([speed(ranks) for ranks in repeats])
        print(
            f"{name:16s} {np.median(speeds) / 1e3:7.1f} k voxels/s, {np.median(speeds / one):.2f} of one rank's; "
            f"[ms] {split([rank for ranks in repeats for rank in ranks])}"
        )
    ceiling = np.array([speed(ranks) for ranks in found["2 alone at once"]])
    for name in ("2 ranks, weak", "2 ranks, strong"):
        speeds = np.array([speed(ranks) for ranks in found[name]])
        print(
            f"{name}: {100 * np.median(speeds / one / 2):.0f} % of twice one rank, "
            f"{100 * np.median(speeds / ceiling):.0f} % of two alone at once"
            f" (of each turn: {', '.join(f'{100 * share:.0f}' for share in speeds / ceiling)})"
        )
    # What the clock would show on cores of one's own: other programs slow a rank, and the other one waits for it.
    alone = [busy([rank]) for ranks in found["2 alone at once"] for rank in ranks]
    for name in ("2 ranks, weak", "2 ranks, strong"):
        share = np.median(alone) / np.median([busy(ranks) for ranks in found[name]])
        print(
            f"{name}: {100 * share:.0f} % of two alone at once by processor time, without what is spent waiting"
        )
    return found


def fit(found: dict[str, list[list[dict[str, Any]]]]) -> None:
    """Fit the model on ranks that work alone and on bare all-reduces, and test it on two together."""
    alone = found["2 alone at once"] + found["2 alone, halves"]
    steps = [step for ranks in alone for rank in ranks for step in rank["steps"]]
    voxels = np.array([step["voxels"] for step in steps])
    seconds = np.array([step["total"] for step in steps])
    b, a = np.polyfit(voxels, seconds, 1)
    spread = float(np.std(seconds / (a + b * voxels)))
    sizes = np.array(MESSAGES, float)
    times = np.median(
        [
            [rank["messages"][str(size)] for size in MESSAGES]
            for ranks in found["2 ranks, weak"]
            for rank in ranks
        ],
        0,
    )
    # Relative errors: the small messages count as much as the large ones.
    beta, alpha = np.polyfit(sizes, times, 1, w=1 / times)
    print(
        f"step = {1e3 * a:.1f} ms + {1e6 * b:.2f} us per voxel, spread {100 * spread:.0f} %; "
        f"all-reduce = {1e6 * alpha:.0f} us + bytes / {1e-9 / beta:.2f} GB/s"
    )
    for name in ("2 ranks, weak", "2 ranks, strong"):
        predicted, measured = [], []
        for ranks in found[name]:
            for steps_of_ranks in zip(*(rank["steps"] for rank in ranks), strict=True):
                slowest = max(step["voxels"] for step in steps_of_ranks)
                gradient = ranks[0]["gradient"]
                predicted.append(a + b * slowest + 3 * alpha + beta * gradient)
                measured.append(max(step["total"] for step in steps_of_ranks))
        print(
            f"{name}: predicted {1e3 * np.median(predicted):.0f} ms per step, measured {1e3 * np.median(measured):.0f}"
        )


# -- many GPUs ---------------------------------------------------------------------------------

GPUS = {
    "A100, 1.5 M parameters": (15.5e-3, 1.5e6),
    "A100, 10.6 M": (40.1e-3, 10.6e6),
    "A100, 61.1 M": (131.8e-3, 61.1e6),
    "H200, 1.5 M": (9.21e-3, 1.5e6),
    "H200, 10.6 M": (26.1e-3, 10.6e6),
    "H200, 61.1 M": (87.3e-3, 61.1e6),
}
"""Seconds of forward and backward pass of 56,700 voxels (16 events of PILArNet-M, bf16, spconv 2.3.8), and parameters
(github.com/youngsm/sparse-conv-benchmarks, July 2026)."""

VOXELS = 56_700
LATENCY_S = 5e-6
"""Seconds per level of the reduction tree: a switch hop of InfiniBand takes 2 to 5 us
(factryze.ai/scale-atlas/collectives/tree-reduce-latency)."""

BUS_BYTES_PER_S = 20e9
"""Bandwidth of an all-reduce per GPU, as nccl-tests define it: a network card of 25 GB/s for each GPU (Slingshot 11,
four per node of four A100 on Perlmutter), 80 % of it used."""

NUM_BUCKETS = 8
"""Pieces in which a gradient can be summed while the backward pass goes on; the last one is left when it ends."""

COSMIC_TAGGER = {
    4: 13.42,
    8: 26.44,
    16: 52.77,
    32: 101.7,
    64: 208.0,
    128: 350.7,
    256: 685.2,
    512: 1267,
    1024: 1965,
}
"""Images per second on so many A100 of Polaris, PyTorch DDP, October 2022 (github.com/coreyjadams/CosmicTagger,
analysis/Scaling Plots.ipynb): the best published efficiency of LArTPC training at 64, 96.9 % of that at 4."""

BEST = 0.969


def seconds_of_reductions(num_gpus: int, num_bytes: float) -> float:
    """Return the seconds of a step's three all-reduces, counts, gradient and loss (ring and tree, nccl-tests)."""
    levels = 2 * np.log2(num_gpus)
    return float(3 * levels * LATENCY_S + 2 * (num_gpus - 1) / num_gpus * num_bytes / BUS_BYTES_PER_S)


def imbalance(sizes: np.ndarray, num_gpus: int, per_gpu: int) -> float:
    """Return by how much the fullest rank exceeds the mean, on average over steps."""
    order = Order([sizes])
    loads = []
    for step in range(10):
        batch = order.batch(step, per_gpu * num_gpus, 1, num_gpus)
        load = np.bincount(batch.rank_B, batch.size_B, num_gpus)
        loads.append(load.max() / load.mean() - 1)
    return float(np.mean(loads))


def published_loss(num_gpus: int) -> float:
    """Return the part of a step by which the published run was slower per image than on 4 GPUs."""
    return COSMIC_TAGGER[4] / 4 / (COSMIC_TAGGER[num_gpus] / num_gpus) - 1


def predict(files: list[Path]) -> None:
    usual = Sample(stage("segment"), files, config.Segment()).order.voxels()
    sizes = np.random.default_rng(1).choice(usual, 400_000)
    print(
        "published run on Polaris, beyond 4 GPUs: "
        + ", ".join(f"{100 / (1 + published_loss(n)):.1f} % at {n}" for n in (64, 256, 1024))
    )
    print(
        "efficiency [%] at 64, 256 and 1024 GPUs: gradient summed after the backward pass | behind it, in "
        f"{NUM_BUCKETS} pieces | as that, and with all that the published run lost"
    )
    for factor in (1, 4):
        per_gpu = round(factor * VOXELS / sizes.mean())
        uneven = {n: imbalance(sizes, n, per_gpu) for n in (64, 256, 1024)}
        print(
            f"{factor * VOXELS} voxels per GPU: {per_gpu} events, the fullest rank above the mean by "
            f"{', '.join(f'{100 * over:.1f} %' for over in uneven.values())}"
        )
        for name, (seconds, parameters) in GPUS.items():
            columns = []
            for num_bytes, lossy in (
                (4 * parameters, 0),
                (4 * parameters / NUM_BUCKETS, 0),
                (4 * parameters / NUM_BUCKETS, 1),
            ):
                row = [
                    1
                    + over
                    + seconds_of_reductions(n, num_bytes) / (factor * seconds)
                    + lossy * published_loss(n)
                    for n, over in uneven.items()
                ]
                columns.append(" ".join(f"{100 / one:5.1f}" for one in row))
            room = 1 / BEST - 1 - uneven[64]
            needed = [
                seconds_of_reductions(64, 4 * parameters / pieces) / room for pieces in (1, NUM_BUCKETS)
            ]
            more = " or ".join(f"{VOXELS * one / seconds / 1e3:.0f} k" for one in needed)
            print(
                f"  {name:24s} {' | '.join(columns)}   {100 * BEST:.1f} % at 64 takes {more} voxels per GPU"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="event files with truth, of any number of shards")
    parser.add_argument("--stage", default="segment", choices=["segment", "cluster", "interact"])
    parser.add_argument("--steps", type=int, default=20, help="steps of each measurement")
    parser.add_argument(
        "--batch-size", type=int, default=8, help="events per rank (weak) and in all (strong)"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes of each rank that read ahead")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=["measure", "predict"], choices=["measure", "predict"])
    parser.add_argument("--as-rank", choices=["together", "alone"], help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.as_rank:
        run_rank(args)
        return
    if "measure" in args.only:
        fit(measure(args))
    if "predict" in args.only:
        predict(args.files)


if __name__ == "__main__":
    main()
