"""Time the sparse U-ResNet on spconv and on torch: `python benchmarks/sparse.py --help`.

Repeats of the two alternate, so that a change in the machine's load hits both; medians are compared.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from lartpc import config, sparse
from lartpc.nets.unet import UResNet

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


def timed(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(coord: torch.Tensor, cfg: config.UResNet, repeats: int) -> None:
    feat = torch.rand(len(coord), 2)
    works: dict[tuple[str, str], Callable[[], None]] = {}
    for backend in ("spconv", "torch"):
        torch.manual_seed(1)
        net = UResNet(cfg, num_in=2, backend=backend)
        optimizer = torch.optim.AdamW(net.parameters())

        def forward(net: UResNet = net) -> None:
            net.eval()
            with torch.inference_mode():
                net(feat, sparse.Lattice(coord, 1, (SIDE,) * 3))

        def step(net: UResNet = net, optimizer: torch.optim.Optimizer = optimizer) -> None:
            net.train()
            optimizer.zero_grad()
            net(feat, sparse.Lattice(coord, 1, (SIDE,) * 3))[0].square().mean().backward()
            optimizer.step()

        works[backend, "forward"], works[backend, "step"] = forward, step
    times: dict[tuple[str, str], list[float]] = {key: [] for key in works}
    for key, work in works.items():
        work()
        del times[key][:]
    for _ in range(repeats):
        for key, work in works.items():
            times[key].append(timed(work))
    for mode in ("forward", "step"):
        ours, theirs = np.median(times["torch", mode]), np.median(times["spconv", mode])
        print(
            f"{len(coord):7d} voxels  {mode:8s} spconv {1e3 * theirs:7.1f} ms  torch {1e3 * ours:7.1f} ms  "
            f"spconv/torch {theirs / ours:.2f}"
        )


def maps(coord: torch.Tensor, repeats: int) -> None:
    def build() -> None:
        lattice = sparse.Lattice(coord, 1, (SIDE,) * 3)
        for _ in range(5):
            _ = lattice.neighbours(3).blocks
            lattice = lattice.coarser.lattice

    times = [timed(build) for _ in range(repeats)]
    lattice = sparse.Lattice(coord, 1, (SIDE,) * 3)
    neighbours = len(lattice.neighbours(3).source_P) / len(lattice)
    print(
        f"{len(coord):7d} voxels  {neighbours:.1f} of 27 neighbours  "
        f"maps of 5 levels {1e3 * np.median(times):.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voxels", type=int, nargs="+", default=[3_500, 20_000])
    parser.add_argument("--width", type=float, default=0.2, help="of tracks; 0.2 is as thin as Geant4's")
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--depth", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for num_voxels in args.voxels:
        coord = picture(num_voxels, args.width, seed=num_voxels)
        maps(coord, args.repeats)
        compare(coord, config.UResNet(filters=args.filters, depth=args.depth), args.repeats)


if __name__ == "__main__":
    main()
