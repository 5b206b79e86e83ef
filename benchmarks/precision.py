"""Time a training step of `segment` in bf16 against one in fp32, interleaved, in CPU time.

python benchmarks/precision.py INGESTED.h5 [more files]
"""

import statistics
import sys
import time
from pathlib import Path

import torch

from lartpc import dist
from lartpc.config import Segment
from lartpc.run.training.optimize import Optimization
from lartpc.run.training.sample import Sample
from lartpc.stages import stage

NUM_STEPS = 8
CASES = {
    "fp32, default kernels": {},
    "bf16, default kernels": {"precision": "bf16"},
    "fp32, torch": {"backend": "torch"},
}


def main(files: list[Path]) -> None:
    cuda = torch.cuda.is_available()
    ranks = dist.Ranks(0, 1, 0, torch.device("cuda" if cuda else "cpu"), "none")
    row = stage("segment")
    runs = {}
    for name, case in CASES.items():
        train = {**Segment().train.model_dump(), "precision": case.get("precision", "fp32"), "batch_size": 4}
        cfg = Segment.model_validate({"backend": case.get("backend", "auto"), "train": train})
        torch.manual_seed(1)
        runs[name] = Optimization(row.module().network(cfg), row.module().loss, cfg, ranks)
    sample = Sample(row, files, Segment())
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    loss: dict[str, float] = {}
    for step in range(NUM_STEPS):
        batch = sample.batch(step, cfg.train, ranks)
        for name, run in runs.items():
            start = time.perf_counter() if cuda else time.process_time()
            loss[name] = run.update([batch], step, [])[0]["loss"]
            if cuda:
                torch.cuda.synchronize()
            seconds[name].append((time.perf_counter() if cuda else time.process_time()) - start)
    base = statistics.median(seconds["fp32, default kernels"][2:])
    for name, values in seconds.items():
        ratio = statistics.median(values[2:]) / base
        print(f"{name}: {ratio:.2f} of the time of fp32, loss {loss[name]:.4f} after {NUM_STEPS} steps")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
