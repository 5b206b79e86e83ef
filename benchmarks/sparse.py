"""Time the network of the segment stage on each backend: `python benchmarks/sparse.py --help`.

Inference, and a training step with its optimizer, kernel maps included. Repeats of the backends alternate,
so that a change in the machine's load hits all; medians are compared. The floor is the time that the
multiplications of the convolutions take at the rate of torch's own product of two large matrices. On one
thread CPU time is measured, on several and on a GPU (`--device cuda`) wall time.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from lartpc import config, sparse
from lartpc.stages.segment.learn import Segmenter

SIDE = 768


def picture(num_voxels: int, width: float, seed: int) -> torch.Tensor:
    """Draw tracks and sprays of a width [voxel] until there are enough voxels (V, 1 + 3)."""
    rng = np.random.default_rng(seed)
    found = np.zeros((0, 3), np.int64)
    while len(found) < num_voxels:
        start, direction = rng.uniform(50, SIDE - 50, 3), rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        path = start + direction * np.repeat(np.arange(0, rng.uniform(50, 400), 0.25), 3)[:, None]
        if rng.random() < 0.5:
            path += rng.normal(0, 1, path.shape) * np.linspace(width, 3, len(path))[:, None]
        else:
            path += rng.normal(0, width, path.shape)
        inside = np.floor(path[np.all((path >= 0) & (path < SIDE), 1)]).astype(np.int64)
        # A whole line more may be too much: its first voxels do.
        inside = np.unique(inside, axis=0)[: num_voxels - len(found)]
        found = np.unique(np.concatenate([found, inside]), axis=0)
    return torch.from_numpy(np.insert(found, 0, 0, axis=1))


def timed(work: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return clock() - start


def wall() -> float:
    """Return the time, when what a GPU was given is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def num_operations(net: Segmenter, coord: torch.Tensor) -> float:
    """Count the multiplications and additions of the convolutions and linear layers of one pass."""
    total = 0.0

    def count(layer: torch.nn.Module, inputs: tuple[Any, ...], _: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, torch.nn.Linear):
            total += 2 * len(inputs[0]) * layer.weight.numel()
            return
        _, lattice = inputs
        if isinstance(layer, sparse.SubmanifoldConv):
            num_pairs = len(lattice.neighbours(layer.kernel).source_P)
        else:
            num_pairs = len(lattice)
        total += 2 * num_pairs * layer.weight[0].numel()

    kinds = (torch.nn.Linear, sparse.SubmanifoldConv, sparse.Downsample, sparse.Upsample)
    hooks = [layer.register_forward_hook(count) for layer in net.modules() if isinstance(layer, kinds)]
    with torch.inference_mode():
        net.eval()(coord, torch.ones(len(coord), device=coord.device), 1, SIDE)
    for hook in hooks:
        hook.remove()
    return total


def gemm_rate(clock: Callable[[], float], device: torch.device) -> float:
    """Measure how many operations a second torch's own matrix product makes: the best of several."""
    size = 1024 if device.type == "cpu" else 8192
    matrix = torch.rand(size, size, device=device)
    return 2 * size**3 / min(timed(lambda: matrix @ matrix, clock) for _ in range(20))


def compare(coord: torch.Tensor, cfg: config.UResNet, threads: int, args: argparse.Namespace) -> None:
    clock = time.process_time if threads == 1 and coord.device.type == "cpu" else wall
    energy = torch.rand(len(coord), device=coord.device)
    works: dict[tuple[str, str], Callable[[], None]] = {}
    nets: dict[str, torch.nn.Module] = {}
    for backend in args.backends:
        torch.manual_seed(1)
        net = Segmenter(config.Segment(unet=cfg, backend=backend)).to(coord.device)
        optimizer = torch.optim.AdamW(net.parameters(), fused=True)

        def infer(net: Segmenter = net) -> None:
            with torch.inference_mode():
                net(coord, energy, 1, SIDE)

        def train(net: Segmenter = net, optimizer: torch.optim.Optimizer = optimizer) -> None:
            optimizer.zero_grad()
            logits, proposals, *_ = net(coord, energy, 1, SIDE)
            outputs = (logits, proposals.offset_VD, proposals.class_VK, proposals.end_V, *proposals.masks)
            sum(output.square().mean() for output in outputs).backward()
            optimizer.step()

        nets[backend] = net
        works[backend, "infer"], works[backend, "train"] = infer, train
    operations = num_operations(net, coord)
    times: dict[tuple[str, str], list[float]] = {key: [] for key in works}
    rate = 0.0
    for repeat in range(args.repeats + 1):
        rate = max(rate, gemm_rate(clock, coord.device))
        for (backend, mode), work in works.items():
            nets[backend].train(mode == "train")
            found = timed(work, clock)
            if repeat:  # the first only warms up
                times[backend, mode].append(found)
    first = args.backends[0]
    for mode, passes in (("infer", 1), ("train", 3)):
        median = {backend: float(np.median(times[backend, mode])) for backend in args.backends}
        floor = passes * operations / rate
        print(
            f"{len(coord):7d} voxels  {mode}  {coord.device.type}, {threads} threads  "
            + "".join(f"{backend} {1e3 * found:7.1f} ms  " for backend, found in median.items())
            + "".join(f"{other}/{first} {median[other] / median[first]:.2f}  " for other in args.backends[1:])
            + f"{len(coord) / median[first]:,.0f} voxels/s  "
            + f"floor {1e3 * floor:.1f} ms ({rate / 1e9:.0f} GFLOP/s), {first}/floor {median[first] / floor:.2f}",
            flush=True,
        )


def maps(coord: torch.Tensor, args: argparse.Namespace) -> None:
    def build(form: str) -> None:
        lattice = sparse.Lattice(coord, 1, (SIDE,) * 3)
        for _ in range(5):
            for kernel_map in (lattice.neighbours(3), lattice.coarser.down, lattice.coarser.up):
                getattr(kernel_map, form)
            lattice = lattice.coarser.lattice

    forms = ("tiles", "blocks") if "fused" in args.backends else ("blocks",)
    times: dict[str, list[float]] = {form: [] for form in forms}
    for _ in range(args.repeats):
        for form in forms:
            times[form].append(timed(lambda form=form: build(form), time.process_time))
    lattice = sparse.Lattice(coord, 1, (SIDE,) * 3)
    neighbours = len(lattice.neighbours(3).source_P) / len(lattice)
    print(
        f"{len(coord):7d} voxels  {neighbours:.1f} of 27 neighbours  maps of 5 levels: "
        + "  ".join(f"{form} {1e3 * np.median(found):.1f} ms" for form, found in times.items())
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voxels", type=int, nargs="+", default=[5_000, 20_000, 80_000])
    parser.add_argument(
        "--width", type=float, default=0.2, help="of tracks; 0.2 is as thin as Geant4's [voxel]"
    )
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--depth", type=int, default=5)
    parser.add_argument("--repetitions", type=int, default=2, help="residual blocks per level")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="numbers of threads, in turn")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; on GPUs there are torch and spconv")
    parser.add_argument(
        "--backends", nargs="+", default=["fused", "torch", "spconv"], help="the first is the one compared"
    )
    args = parser.parse_args()
    if args.device != "cpu":
        args.backends = [name for name in args.backends if name != "fused"]
    for num_voxels in args.voxels:
        coord = picture(num_voxels, args.width, seed=num_voxels)
        if args.device == "cpu":
            torch.set_num_threads(1)
            maps(coord, args)
        for threads in args.threads:
            torch.set_num_threads(threads)
            unet = config.UResNet(filters=args.filters, depth=args.depth, repetitions=args.repetitions)
            compare(coord.to(args.device), unet, threads, args)


if __name__ == "__main__":
    main()
