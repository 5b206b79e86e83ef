"""Compare the sparse U-ResNet with a dense one of the same shape: `python benchmarks/dense.py EVENTS.h5`.

Inference on genuine ingested events, in boxes around their densest part, in 3D and in 2D (their projection
along z). Time is processor time of one thread, memory what the forward pass adds to the process, each in a
process of its own. A dense box that does not fit is extrapolated from the largest measured one, by volume.

First it is shown that both are the same function. They are on a box whose voxels are all occupied; on others
a dense convolution also gives values to empty cells, which reach occupied ones in the next layer. With
these set to zero before each convolution (what a submanifold convolution means), the dense network's values
at occupied voxels are those of the sparse one, with the same weights.

Tensor suffixes: V voxels, C channels, D dimensions.
"""

import argparse
import ctypes
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lartpc import config
from lartpc.images import ENERGY_FULL_MEV, ENERGY_SCALE_MEV
from lartpc.nets.unet import NORM_EPS, UResNet, planes
from lartpc.sparse import Lattice
from lartpc.sparse.convolution import _Convolution
from lartpc.store import open_events
from lartpc.vocab import Semantic

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
TURNED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
LAYOUT = {2: torch.channels_last, 3: torch.channels_last_3d}


class DenseBlock(nn.Module):
    """Two pre-activated convolutions beside a shortcut."""

    def __init__(self, num_in: int, num_out: int, cfg: config.UResNet, dimension: int) -> None:
        super().__init__()
        conv, norm = CONV[dimension], NORM[dimension]
        shape = {"kernel_size": cfg.kernel, "padding": cfg.kernel // 2, "bias": False}
        self.slope = cfg.leakiness
        self.shortcut = nn.Identity() if num_in == num_out else conv(num_in, num_out, 1, bias=False)
        self.first_act, self.second_act = norm(num_in, NORM_EPS), norm(num_out, NORM_EPS)
        self.first_conv, self.second_conv = (
            conv(num_in, num_out, **shape),
            conv(num_out, num_out, **shape),
        )

    def forward(self, feat: Tensor, occupied: Tensor | None) -> Tensor:
        out = self.first_conv(activate(feat, self.first_act, self.slope, occupied))
        out = self.second_conv(activate(out, self.second_act, self.slope, occupied))
        return out.add_(self.shortcut(feat))


def activate(feat: Tensor, norm: nn.Module, slope: float, occupied: Tensor | None) -> Tensor:
    """Normalise and activate; set empty cells to zero where it is said which are occupied."""
    out = functional.leaky_relu_(norm(feat), slope)
    return out if occupied is None else out.mul_(occupied)


class DenseUResNet(nn.Module):
    """The U-ResNet of `lartpc.nets.unet` in torch's dense convolutions, with a class per cell."""

    def __init__(self, cfg: config.UResNet, dimension: int, num_in: int = 2) -> None:
        super().__init__()
        conv, turned, norm = CONV[dimension], TURNED[dimension], NORM[dimension]
        widths = planes(cfg)
        self.cfg = cfg

        def blocks(first: int, width: int) -> nn.ModuleList:
            return nn.ModuleList(
                DenseBlock(width if step else first, width, cfg, dimension) for step in range(cfg.repetitions)
            )

        self.stem = conv(num_in, widths[0], cfg.kernel, padding=cfg.kernel // 2, bias=False)
        self.encoder = nn.ModuleList(blocks(width, width) for width in widths)
        self.down_act = nn.ModuleList(norm(fine, NORM_EPS) for fine in widths[:-1])
        self.down = nn.ModuleList(
            conv(fine, coarse, 2, stride=2, bias=False) for fine, coarse in pairwise(widths)
        )
        self.up_act = nn.ModuleList(norm(coarse, NORM_EPS) for coarse in widths[1:])
        self.up = nn.ModuleList(
            turned(coarse, fine, 2, stride=2, bias=False) for fine, coarse in pairwise(widths)
        )
        self.decoder = nn.ModuleList(blocks(2 * fine, fine) for fine in widths[:-1])
        self.classes = conv(widths[0], len(Semantic), 1)

    def forward(self, image: Tensor, occupied: list[Tensor] | None = None) -> Tensor:
        """Return the class logits of each cell; `occupied` (of each level) restricts it to them."""
        slope, depth = self.cfg.leakiness, self.cfg.depth
        mask: list[Any] = [None] * depth if occupied is None else occupied
        feat, skips = self.stem(image), []
        for level, blocks in enumerate(self.encoder):
            if level:
                feat = self.down[level - 1](activate(feat, self.down_act[level - 1], slope, mask[level - 1]))
            for block in blocks:
                feat = block(feat, mask[level])
            skips.append(feat)
        skips.pop()
        for level in reversed(range(depth - 1)):
            feat = self.up[level](activate(feat, self.up_act[level], slope, mask[level + 1]))
            feat = torch.cat([skips.pop(), feat], 1)
            for block in self.decoder[level]:
                feat = block(feat, mask[level])
        return self.classes(feat)


class SparseUResNet(nn.Module):
    """The stage's U-ResNet with its classes, without the PPN."""

    def __init__(self, cfg: config.UResNet, dimension: int, num_in: int = 2) -> None:
        super().__init__()
        self.unet = UResNet(cfg, num_in, dimension)
        self.classes = nn.Linear(cfg.filters, len(Semantic))

    def forward(self, coord_VD1: Tensor, feat_VC: Tensor, side: int) -> Tensor:
        lattice = Lattice(coord_VD1, 1, (side,) * (coord_VD1.shape[1] - 1))
        return self.classes(self.unet(feat_VC, lattice)[0])


def same_weights(sparse: SparseUResNet, dense: DenseUResNet, dimension: int) -> None:
    """Give the dense network the weights of the sparse one, module by module."""
    for ours, theirs in [*modules(sparse.unet, dense), (sparse.classes, dense.classes)]:
        if isinstance(ours, _Convolution):
            side = round(ours.weight.shape[0] ** (1 / dimension))
            weight = ours.weight.detach().unflatten(0, (side,) * dimension)
            turned = isinstance(theirs, (nn.ConvTranspose2d, nn.ConvTranspose3d))
            channels = (dimension, dimension + 1) if turned else (dimension + 1, dimension)
            theirs.weight.data = weight.permute(*channels, *range(dimension)).contiguous()
        elif isinstance(ours, nn.Linear):
            theirs.weight.data = ours.weight.detach().reshape(theirs.weight.shape)
            if ours.bias is not None:
                theirs.bias.data = ours.bias.detach()
        else:
            theirs.load_state_dict(ours.state_dict())


def modules(sparse: UResNet, dense: DenseUResNet) -> list[tuple[nn.Module, nn.Module]]:
    """Return the modules with weights of both networks in pairs; they have the same names."""
    kinds = (_Convolution, nn.Linear, nn.BatchNorm1d)
    named = dict(dense.named_modules())
    return [
        (module, named[name.removesuffix(".norm")])
        for name, module in sparse.named_modules()
        if isinstance(module, kinds)
    ]


# -- images ------------------------------------------------------------------------------------


class Image(NamedTuple):
    """Voxels (V, D) of a box, their features (V, C), classes (V,), and the voxels per side."""

    coord_VD: np.ndarray
    feat_VC: Tensor
    label_V: np.ndarray
    side: int


def features(energy_V: np.ndarray) -> Tensor:
    scaled_V = np.log1p(energy_V / ENERGY_SCALE_MEV)
    scaled_V /= np.log1p(ENERGY_FULL_MEV / ENERGY_SCALE_MEV)
    return torch.from_numpy(np.stack([scaled_V, np.ones_like(scaled_V)], 1).astype(np.float32))


def images(path: Path, num_events: int, dimension: int, side: int) -> list[Image]:
    """Cut boxes of a side around the densest part of the first events; in 2D, of their projection."""
    found = []
    with open_events(path) as events:
        for event in events.block(0, min(num_events, len(events)), ["voxel", "truth_voxel"]):
            coord, energy = event["voxel"]["coord"], event["voxel"]["energy"].astype(np.float64)
            label = event["truth_voxel"]["semantic"].astype(np.int64)
            if dimension == 2:
                # A cell has the class of the voxel of most energy in it.
                order = np.argsort(energy, kind="stable")
                cell = coord[:, 0].astype(np.int64) * event.box.num_voxels + coord[:, 1]
                cells, where = np.unique(cell, return_inverse=True)
                best = np.zeros(len(cells), np.int64)
                best[where[order]] = label[order]
                energy, label = np.bincount(where, energy), best
                coord = np.stack([cells // event.box.num_voxels, cells % event.box.num_voxels], 1)
            corner = np.zeros(dimension, np.int64)
            if side < event.box.num_voxels:
                cubes, counts = np.unique(coord // (side // 2), axis=0, return_counts=True)
                corner = (cubes[counts.argmax()] * (side // 2)).clip(max=event.box.num_voxels - side)
            inside = np.all((coord >= corner) & (coord < corner + side), axis=1)
            found.append(
                Image(
                    (coord - corner)[inside].astype(np.int64), features(energy[inside]), label[inside], side
                )
            )
    return [image for image in found if len(image.coord_VD)]


def as_sparse(image: Image) -> tuple[Tensor, Tensor, int]:
    coord_VD1 = np.insert(image.coord_VD, 0, 0, axis=1)
    return torch.from_numpy(coord_VD1), image.feat_VC, image.side


def as_dense(image: Image) -> Tensor:
    dimension = image.coord_VD.shape[1]
    filled = torch.zeros(1, image.feat_VC.shape[1], *(image.side,) * dimension, dtype=image.feat_VC.dtype)
    filled[(0, slice(None), *torch.from_numpy(image.coord_VD).T)] = image.feat_VC.T
    return filled.to(memory_format=LAYOUT[dimension])


def occupancy(image: Image, depth: int) -> list[Tensor]:
    """Return which cells of each level are occupied."""
    pool = functional.max_pool3d if image.coord_VD.shape[1] == 3 else functional.max_pool2d
    found = [(as_dense(image)[:, 1:2] > 0).to(image.feat_VC.dtype)]
    while len(found) < depth:
        found.append(pool(found[-1], 2))
    return found


# -- what is compared --------------------------------------------------------------------------


def networks(cfg: config.UResNet, dimension: int, weights: Path | None) -> tuple[SparseUResNet, DenseUResNet]:
    torch.manual_seed(1)
    sparse, dense = SparseUResNet(cfg, dimension), DenseUResNet(cfg, dimension)
    if weights and dimension == 3:
        state = torch.load(weights, map_location="cpu", weights_only=True)["state"]
        sparse.load_state_dict({k: v for k, v in state.items() if not k.startswith("ppn.")})
    else:
        # Statistics that a training leaves are neither 0 nor 1.
        for norm in (module for module in sparse.modules() if isinstance(module, nn.BatchNorm1d)):
            norm.running_mean.normal_(0, 0.3)
            norm.running_var.uniform_(0.5, 2)
    same_weights(sparse, dense, dimension)
    return sparse.eval(), dense.eval()


@torch.inference_mode()
def show_equality(cfg: config.UResNet, dimension: int, weights: Path | None, image: Image) -> None:
    """Print how far both networks' logits are apart, in double precision."""
    sparse, dense = networks(cfg, dimension, weights)
    sparse.double(), dense.double()
    side = 2 ** (cfg.depth - 1)
    full = np.stack(np.meshgrid(*[np.arange(side)] * dimension, indexing="ij"), -1).reshape(-1, dimension)
    rng = np.random.default_rng(1)
    full_image = Image(full, features(rng.exponential(1.0, len(full))), np.zeros(len(full)), side)
    for what, case, masked in (("every cell occupied", full_image, False), ("a genuine box", image, True)):
        case = case._replace(feat_VC=case.feat_VC.double())
        coord, feat, _ = as_sparse(case)
        ours = sparse(coord, feat, case.side)
        at = (0, slice(None), *torch.from_numpy(case.coord_VD).T)
        theirs = dense(as_dense(case), occupancy(case, cfg.depth) if masked else None)[at].T
        plain = dense(as_dense(case))[at].T
        scale = ours.abs().max()
        line = f"{dimension}D, {what} ({case.side}^{dimension}, {len(coord):,} voxels): "
        line += (
            f"largest difference of logits {float((ours - theirs).abs().max() / scale):.1e} of the largest"
        )
        if masked:
            line += ", empty cells set to zero"
            line += f"; not set to zero {float((ours - plain).abs().max() / scale):.1e}"
            if weights and dimension == 3:
                rates = [float((x.argmax(1).numpy() == case.label_V).mean()) for x in (ours, theirs)]
                line += "; voxels correctly classified: sparse {:.4f}, dense {:.4f}".format(*rates)
        print(line, flush=True)


class Cost(NamedTuple):
    """Processor time [s] and memory [MB] of a forward pass."""

    time_s: float
    memory_mb: float


def resident_mb(key: str) -> float:
    """Return VmRSS or VmHWM (the peak) of this process [MB]."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def cost(forward: Callable[[], object], warm_up: Callable[[], object], repeats: int) -> Cost:
    """Measure in a forked process: memory of the first pass, median time of the others if there are any."""

    def child(sender: Any) -> None:
        with torch.inference_mode():
            warm_up()  # libraries come into the process's memory as they are used
            ctypes.CDLL("libc.so.6").malloc_trim(0)  # what it freed would be used again, and not be counted
            before = resident_mb("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
            times = []
            for _ in range(repeats):
                start = time.process_time()
                forward()
                times.append(time.process_time() - start)
                if len(times) == 1:
                    memory = resident_mb("VmHWM") - before
        sender.send(Cost(statistics.median(times[1:] or times), memory))

    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(sender,))
    process.start()
    sender.close()
    try:
        found: Cost = receiver.recv()
    except EOFError:
        raise SystemExit("a forward pass was killed; memory may be short, give smaller --sides") from None
    process.join()
    return found


def compare(path: Path, dimension: int, sides: list[int], full: int, args: argparse.Namespace) -> None:
    cfg = config.UResNet(filters=args.filters, depth=args.depth, repetitions=args.repetitions)
    sparse, dense = networks(cfg, dimension, args.weights)
    dense = dense.to(memory_format=LAYOUT[dimension])
    tiny = images(path, 1, dimension, 2**cfg.depth)[0]
    warm_ups = partial(sparse, *as_sparse(tiny)), partial(dense, as_dense(tiny))
    with torch.inference_mode():  # what is made at first use is no part of a pass
        for warm_up in warm_ups:
            warm_up()
    largest: tuple[int, Cost] | None = None
    for side in dict.fromkeys([*sides, full]):
        found = sorted(images(path, args.num_events, dimension, side), key=lambda image: len(image.coord_VD))
        image = found[len(found) // 2]
        num_voxels = len(image.coord_VD)
        ours = cost(partial(sparse, *as_sparse(image)), warm_ups[0], 7)
        if side in sides:
            theirs = cost(partial(dense, as_dense(image)), warm_ups[1], args.dense_repeats)
            largest, how = (side, theirs), "measured"
        else:
            assert largest is not None
            ratio = (side / largest[0]) ** dimension
            theirs = Cost(*(ratio * value for value in largest[1]))
            how = f"dense extrapolated from {largest[0]}"
        print(
            f"| {dimension}D {side}^{dimension} | {num_voxels:,} | {100 * num_voxels / side**dimension:.3g} % "
            f"| {theirs.time_s:,.2f} s | {1e3 * ours.time_s:,.1f} ms | {theirs.time_s / ours.time_s:,.0f} "
            f"| {theirs.memory_mb:,.0f} MB | {ours.memory_mb:,.1f} MB | {theirs.memory_mb / ours.memory_mb:,.0f} "
            f"| {how} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=Path, help="file of lartpc ingest, with truth")
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 128, 192], help="boxes in 3D [voxel]")
    parser.add_argument("--sides-2d", type=int, nargs="+", default=[192, 384, 768], help="boxes in 2D")
    parser.add_argument("--num-events", type=int, default=20, help="of them, the median in voxels is taken")
    parser.add_argument("--dense-repeats", type=int, default=1, help="passes of the dense network")
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--depth", type=int, default=5)
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--weights", type=Path, help="of segment, for 3D; its sizes are taken from it")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.weights:
        settings = torch.load(args.weights, map_location="cpu", weights_only=True)["settings"]
        unet = json.loads(settings)["unet"]
        args.filters, args.depth, args.repetitions = (unet[k] for k in ("filters", "depth", "repetitions"))
    with open_events(args.events) as events:
        full = events.box.num_voxels
    cfg = config.UResNet(filters=args.filters, depth=args.depth, repetitions=args.repetitions)
    for dimension, side in ((3, 32), (2, 64)):
        found = images(args.events, args.num_events, dimension, side)
        show_equality(cfg, dimension, args.weights, max(found, key=lambda image: len(image.coord_VD)))
    print("| box | voxels | occupied | dense | sparse | ratio | dense | sparse | ratio | |")
    for dimension, sides in ((3, args.sides), (2, args.sides_2d)):
        compare(args.events, dimension, [s for s in sides if s <= full], full, args)


if __name__ == "__main__":
    main()
