"""Time a convolution with products in bf16 against one in fp32, forward and both gradients, in CPU time.

OMP_NUM_THREADS=1 python benchmarks/kernels.py EVENTS.h5 [more files] [--channels 16 32] [--voxels 4000 20000]

Voxels are those of the files' events, as many events in a batch as it takes. Kernels take turns; the figures
are medians. A GF is 10⁹ multiplications and additions.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lartpc.sparse import bf16, fused
from lartpc.sparse.lattice import KernelMap, Lattice
from lartpc.store import open_events

NUM_TURNS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--channels", nargs="+", type=int, default=[16, 32, 48, 64, 80])
    parser.add_argument("--voxels", nargs="+", type=int, default=[4_000, 20_000, 80_000])
    args = parser.parse_args()
    print("voxels channels |  fp32: forward, to rows, to weights [GF/s] | fp32 time / bf16 time of each")
    for num_voxels in args.voxels:
        kernel_map = lattice_of(args.files, num_voxels).neighbours(3)
        for num_channels in args.channels:
            print(f"{kernel_map.num_target:6} {num_channels:8} |", compare(kernel_map, num_channels))


def lattice_of(files: list[Path], num_voxels: int) -> Lattice:
    """Return the lattice of the first events that have so many voxels together."""
    coords: list[NDArray[Any]] = []
    missing = num_voxels
    for path in files:
        with open_events(path) as events:
            for event in events.stream(["voxel"]):
                coord = event["voxel"]["coord"][:missing]
                coords.append(np.concatenate([np.full((len(coord), 1), len(coords)), coord], 1))
                missing -= len(coord)
                if not missing:
                    break
    side = event.box.num_voxels
    return Lattice(torch.from_numpy(np.concatenate(coords)), len(coords), (side,) * 3)


def compare(kernel_map: KernelMap, num_channels: int) -> str:
    """Return a line of figures."""
    random = torch.Generator().manual_seed(1)
    feat = torch.randn(kernel_map.num_source, num_channels, generator=random)
    weight = torch.randn(kernel_map.num_offsets, num_channels, num_channels, generator=random)
    steps: dict[str, list[Callable[[], Any]]] = {
        "fp32": passes(fused, feat, weight, kernel_map),
        "bf16": passes(bf16, feat, weight, kernel_map),
    }
    seconds: dict[str, list[list[float]]] = {name: [[] for _ in own] for name, own in steps.items()}
    for _ in range(NUM_TURNS):
        for name, own in steps.items():
            for place, step in enumerate(own):
                start = time.process_time()
                step()
                seconds[name][place].append(time.process_time() - start)
    medians = {name: [statistics.median(values) for values in own] for name, own in seconds.items()}
    work = 2e-9 * len(kernel_map.source_P) * num_channels**2
    rates = " ".join(f"{work / value:5.0f}" for value in medians["fp32"])
    pairs = zip(medians["fp32"], medians["bf16"], strict=True)
    return f"{rates} | " + " ".join(f"{slow / fast:5.2f}" for slow, fast in pairs)


def passes(module: Any, feat: Tensor, weight: Tensor, kernel_map: KernelMap) -> list[Callable[[], Any]]:
    """Return the three passes of a convolution by `fused` or `bf16`; the latter's include the rounding of rows once."""
    tiles, in_bf16 = kernel_map.tiles, module is bf16
    rows = bf16._round(feat) if in_bf16 else feat

    def forward() -> None:
        module.convolve(bf16._round(feat) if in_bf16 else feat, weight, tiles)

    def to_rows() -> None:
        turned = fused.turn(weight, reverse=True)
        module.convolve(bf16._round(feat) if in_bf16 else feat, turned, tiles)

    def to_weights() -> None:
        module.convolve_weight(rows, rows, weight, tiles)

    return [forward, to_rows, to_weights]


if __name__ == "__main__":
    main()
