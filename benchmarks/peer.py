"""SPINE's network of voxels and points beside `segment`: `python benchmarks/peer.py EVENTS.h5 [more files]`.

Both have 16 filters and 5 levels, with weights from nothing, classes of voxels and point proposals, and see the same
events. Inference is from voxels to logits, neighbours of voxels found anew; a training step is forward and backward
pass, losses (cross entropy) and optimizer. SPINE's points are not restricted to their particles, which would take it
longer. With `--as-used` ours has all that a run has: affinities of neighbours, which SPINE's network has not, the
Lovász loss, and inference up to the products. All take turns on one thread; figures are medians of processor time,
ratios medians of pairs.

It needs SPINE (`pip install spine`) and MinkowskiEngine (revision 02fc608, `python setup.py install --cpu_only
--blas=openblas`), on which nothing else here depends.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from inference import batches
from spine.data import TensorBatch, TensorSchema
from spine.model.uresnet.ppn.model import UResNetPPN, UResNetPPNLoss
from training_step import Step

from lartpc import config
from lartpc.event import Event
from lartpc.images import stack
from lartpc.stages import segment, stage

UNET: dict[str, Any] = {
    "num_input": 1,
    "num_classes": 5,
    "filters": config.UResNet().filters,
    "depth": config.UResNet().depth,
    "reps": 2,
    "activation": {"name": "lrelu", "negative_slope": 0.33},
    "norm_layer": {"name": "batch_norm", "eps": 1e-4, "momentum": 0.01},
}
"""Of config/uresnet/ppn/uresnet_ppn_train.yaml of SPINE 1.4.3, with our number of filters."""


ALONE: dict[str, Any] = {"affinity_weight": 0.0, "loss": "ce"}
"""Settings of `segment.train` with which our network and its losses are what SPINE's are."""

PLACE: dict[str, Any] = {"coordinate_groups": {"point": (0, 1, 2)}}
ENERGY = TensorSchema(**PLACE, feature_fields={"value": (0,)})
CLASS = TensorSchema(**PLACE, feature_fields={"shape": (0,)})
POINT = TensorSchema(**PLACE, feature_fields={"shape": (0,), "particle": (1,), "endpoint": (2,)})


class Peer:
    """SPINE's network, loss and optimizer, and batches as it takes them."""

    def __init__(self) -> None:
        self.net = UResNetPPN(UNET, {})
        self.loss = UResNetPPNLoss(UNET, {}, {}, {"resolution": 5.0})
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-3)

    def infer(self, data: TensorBatch) -> None:
        with torch.inference_mode():
            self.net.eval()(data)

    def step(self, data: TensorBatch, labels: dict[str, TensorBatch]) -> None:
        self.optimizer.zero_grad()
        self.loss(**labels, **self.net.train()(data))["loss"].backward()
        self.optimizer.step()


def tensors(batch: list[Event]) -> tuple[TensorBatch, dict[str, TensorBatch]]:
    """Return the voxels (V, event and place and energy), and the labels: classes of voxels, and true points."""
    voxels, classes, points = [], [], []
    for event in batch:
        coord = event["voxel"]["coord"]
        voxels.append(np.column_stack([coord, event["voxel"]["energy"]]))
        if "truth_point" in event:
            classes.append(np.column_stack([coord, event["truth_voxel"]["semantic"]]))
            point, kept = event["truth_point"], segment.is_target(event)
            columns = [point[name][kept] for name in ("position", "semantic", "particle", "kind")]
            points.append(np.column_stack(columns))
    labels = {"seg_label": stacked(classes, CLASS), "ppn_label": stacked(points, POINT)} if points else {}
    return stacked(voxels, ENERGY), labels


def stacked(tables: list[Any], schema: TensorSchema) -> TensorBatch:
    rows = np.concatenate([np.insert(table, 0, number, axis=1) for number, table in enumerate(tables)])
    return TensorBatch(
        torch.from_numpy(rows.astype(np.float32)),
        counts=[len(table) for table in tables],
        has_batch_col=True,
        coord_cols=(1, 2, 3),
        schema=schema,
    )


def ours(precision: str, *, as_used: bool) -> Callable[[list[Event]], object]:
    """Return the inference of our stage, or of its network alone."""
    cfg = config.Segment.model_validate(
        {"infer": {"precision": precision}, "train": {} if as_used else ALONE}
    )
    net = stage("segment").module().network(cfg).eval()
    compiled = segment.compiled(cfg, {name: value.numpy() for name, value in net.state_dict().items()})
    assert compiled is not None, "the kernels are not here: run `lartpc doctor`"
    if as_used:
        return lambda batch: segment.infer(compiled, batch, cfg)
    return lambda batch: compiled.answer(batch, stack(batch, cfg.dimension, "segment"), 0)


def timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def tell(name: str, num_voxels: float, times: dict[str, list[float]]) -> None:
    line = f"{name:24s}{num_voxels:8.0f} voxels"
    for way, values in times.items():
        line += f"  {way} {1e3 * statistics.median(values):7.1f} ms"
        if way != "SPINE":
            pairs = zip(times["SPINE"], values, strict=True)
            line += f" ({statistics.median(peer / own for peer, own in pairs):.2f} times)"
    print(line, flush=True)


def infer(args: argparse.Namespace) -> None:
    peer, own = Peer(), {way: ours(way, as_used=args.as_used) for way in args.precisions}
    for name, batch in batches(args.files[0], args.voxels).items():
        data, _ = tensors(batch)
        works: dict[str, Callable[[], object]] = {"SPINE": partial(peer.infer, data)}
        works |= {precision: partial(work, batch) for precision, work in own.items()}
        times: dict[str, list[float]] = {way: [] for way in works}
        for turn in range(args.turns + 1):
            for way, work in works.items():
                spent = timed(work)
                if turn:  # the first warms up
                    times[way].append(spent)
        tell(f"inference, {name}", float(sum(event.num_voxels for event in batch)), times)


def train(args: argparse.Namespace) -> None:
    for num in args.num_events:
        peer = Peer()
        given = {
            "num_events": num,
            "upstream": "truth",
            "stage": "segment",
            "loss": "ce_lovasz",
            "again": False,
        }
        chosen, namespace = {} if args.as_used else ALONE, argparse.Namespace(**vars(args) | given)
        steps = {way: Step(way, namespace, **chosen) for way in args.precisions}
        times: dict[str, list[float]] = {way: [] for way in ("SPINE", *steps)}
        sizes, first = [], steps[args.precisions[0]]
        for turn in range(args.turns + 1):
            batch = first.sample.batch(turn, first.settings, first.ranks)
            spent = {"SPINE": timed(partial(peer.step, *tensors(batch)))}
            for way, step in steps.items():
                spent[way] = timed(partial(step.run.update, [batch], turn, []))
            if turn:
                sizes.append(sum(event.num_voxels for event in batch))
                for way, value in spent.items():
                    times[way].append(value)
        tell(f"training, {num} events", statistics.median(sizes), times)


def main() -> None:
    """Print times and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="event files of ingestion, with truth")
    parser.add_argument(
        "--voxels", nargs="*", type=int, default=[20_000, 80_000], help="batches for inference"
    )
    parser.add_argument("--num-events", nargs="*", type=int, default=[1, 8], help="batches for training")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--as-used", action="store_true", help="ours with all that a run has")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    infer(args)
    train(args)


if __name__ == "__main__":
    main()
