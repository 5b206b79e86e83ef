"""Everything that is to be known of sparse convolution on a GPU, in under five minutes.

`python benchmarks/gpu.py --out gpu.json`, on a machine with a GPU. For each backend (triton, spconv, torch): its
self-test, the relative error of a whole network in fp32, tf32 and bf16 against fp64 on the CPU, then
inference and training steps of three sizes of the network, repeats of the backends in turn, as voxels
per second with the peak of the memory. The published rate beside ours: 1.62 million voxels per second
forward and backward, 61 M parameters, bf16, H200 (WarpConvNet in youngsm/sparse-conv-benchmarks, July 2026).

`--device cpu` with TRITON_INTERPRET=1 and few voxels runs the script itself without a GPU, to test it.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sparse import SIDE, picture

from lartpc import config, sparse
from lartpc.stages.segment.learn import Segmenter

PUBLISHED_VOXELS_PER_S = 1.62e6
"""Forward and backward, 61 M parameters, bf16, H200."""


def network(filters: int, backend: str, device: torch.device) -> Segmenter:
    torch.manual_seed(1)
    unet = config.UResNet(filters=filters, depth=5, repetitions=2)
    return Segmenter(config.Segment(unet=unet, backend=backend)).to(device)


@contextmanager
def arithmetic(name: str, device: torch.device) -> Iterator[None]:
    """Compute in fp32, tf32 or bf16."""
    torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
    with torch.autocast(device.type, torch.bfloat16, enabled=name == "bf16"):
        yield
    torch.backends.cuda.matmul.allow_tf32 = False


def errors(
    coord: torch.Tensor, filters: int, backends: list[str], device: torch.device
) -> dict[str, dict[str, float]]:
    """Return the largest error of the scores of each backend and arithmetic, over the largest score."""
    energy = torch.rand(len(coord), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        exact = network(filters, "torch", torch.device("cpu")).double().eval()
        wanted = exact(coord, energy.double(), 1, SIDE)[0]
        found: dict[str, dict[str, float]] = {}
        for backend in backends:
            net = network(filters, backend, device).eval()
            for name in ("fp32", "tf32", "bf16"):
                with arithmetic(name, device):
                    ours = net(coord.to(device), energy.to(device), 1, SIDE)[0].double().cpu()
                found.setdefault(backend, {})[name] = float((ours - wanted).abs().max() / wanted.abs().max())
    return found


def elapsed(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def rates(
    coord: torch.Tensor, filters: int, backends: list[str], device: torch.device, repeats: int
) -> list[dict[str, Any]]:
    """Time a network on each backend, in bf16, kernel maps included."""
    coord, energy = coord.to(device), torch.rand(len(coord), device=device)
    works: dict[tuple[str, str], Callable[[], None]] = {}
    num_parameters = 0
    for backend in backends:
        net = network(filters, backend, device)
        num_parameters = sum(parameter.numel() for parameter in net.parameters())
        optimizer = torch.optim.AdamW(net.parameters(), fused=True)

        def infer(net: Segmenter = net) -> None:
            net.eval()
            with torch.inference_mode(), arithmetic("bf16", device):
                net(coord, energy, 1, SIDE)

        def train(
            net: Segmenter = net, optimizer: torch.optim.Optimizer = optimizer, step: bool = True
        ) -> None:
            net.train()
            optimizer.zero_grad()
            with arithmetic("bf16", device):
                logits, proposals, *_ = net(coord, energy, 1, SIDE)
                outputs = (logits, proposals.offset_VD, proposals.class_VK, proposals.end_V, *proposals.masks)
                sum(output.float().square().mean() for output in outputs).backward()
            if step:
                optimizer.step()

        works[backend, "inference"] = infer
        works[backend, "forward and backward"] = lambda train=train: train(step=False)
        works[backend, "training step"] = train
    times: dict[tuple[str, str], list[float]] = {key: [] for key in works}
    memory: dict[tuple[str, str], int] = {}
    for repeat in range(repeats + 1):
        for key, work in works.items():
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            found = elapsed(work, device)
            if repeat:  # the first compiles
                times[key].append(found)
            if device.type == "cuda":
                memory[key] = torch.cuda.max_memory_allocated()
    return [
        {
            "parameters": num_parameters,
            "voxels": len(coord),
            "backend": backend,
            "work": work,
            "ms": 1e3 * float(np.median(times[backend, work])),
            "voxels_per_s": len(coord) / float(np.median(times[backend, work])),
            "peak_mib": memory.get((backend, work), 0) / 2**20,
        }
        for backend, work in works
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--voxels", type=int, default=56_700, help="of the image [voxel]")
    parser.add_argument("--filters", type=int, nargs="+", default=[16, 32, 64], help="64: 61 M parameters")
    parser.add_argument("--backends", nargs="+", default=["triton", "spconv", "torch"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args()
    device = torch.device(args.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}")
    faults = {backend: sparse.self_test(backend, device) for backend in args.backends}
    for backend, fault in faults.items():
        print(f"self-test of {backend}: {fault or 'passed'}", flush=True)
    backends = [backend for backend, fault in faults.items() if fault is None]
    coord = picture(args.voxels, 0.2, seed=args.voxels)
    found = errors(coord[: min(args.voxels, 8_000)], args.filters[0], backends, device)
    for backend, by_name in found.items():
        told = ", ".join(f"{name} {error:.1e}" for name, error in by_name.items())
        print(f"relative error of the scores by {backend}: {told}", flush=True)
    rows: list[dict[str, Any]] = []
    for filters in args.filters:
        for row in rates(coord, filters, backends, device, args.repeats):
            rows.append(row)
            print(
                f"{row['parameters'] / 1e6:5.1f} M parameters  {row['work']:20s}  {row['backend']:6s}  "
                f"{row['ms']:8.1f} ms  {row['voxels_per_s']:12,.0f} voxels/s  "
                f"{row['voxels_per_s'] / PUBLISHED_VOXELS_PER_S:5.2f} of published  {row['peak_mib']:8,.0f} MiB",
                flush=True,
            )
    if args.out:
        report = {
            "device": name,
            "torch": torch.__version__,
            "faults": faults,
            "errors": found,
            "rates": rows,
        }
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
