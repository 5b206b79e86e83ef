"""Train `segment` with each loss of the voxel classes from one warm start, and compare them on held-out events.

python benchmarks/losses.py WEIGHTS.pt TRAIN.h5 [more] --held-out TEST.h5 [more] [--steps 150]

Every loss sees the same batches, with the same rate and schedule. Prints recall, precision and F1 of each
class as differences to `ce` from the same start, in points of a percent.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from lartpc import dist
from lartpc.config import Segment
from lartpc.metrics import ClassScores, class_scores, confusion_matrix
from lartpc.run.training.optimize import Optimization
from lartpc.run.training.sample import Sample
from lartpc.run.weights import warm_start
from lartpc.stages import segment, stage
from lartpc.vocab import Semantic

CLASS_WEIGHTS = (1.0, 1.0, 5.0, 5.0, 1.0)
CASES = {
    "ce": {},
    "ce_lovasz": {},
    "ce_lovasz, 0.2": {"lovasz_share": 0.2},
    "ce_lovasz, 0.05": {"lovasz_share": 0.05},
    "lovasz": {},
    "focal": {"focal_gamma": 2.0},
    "inverse": {},
    "border": {},
    "weighted": {"class_weights": CLASS_WEIGHTS},
}
WORDS = [kind.name.lower() for kind in Semantic]
BATCH = 16
"""Held-out events given to the network at a time."""


def options(description: str | None, num_steps: int, num_events: int) -> argparse.ArgumentParser:
    """Return the options of a training from one warm start, judged on held-out events."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("train", type=Path, nargs="+")
    parser.add_argument("--held-out", type=Path, nargs="+", required=True)
    parser.add_argument("--steps", type=int, default=num_steps, help="optimizer steps")
    parser.add_argument("--batch-size", type=int, default=4, help="events a step")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--events", type=int, default=num_events, help="held-out events")
    return parser


def settings(args: argparse.Namespace, **more: object) -> dict[str, object]:
    """Return the settings of the training."""
    return {
        **Segment().train.model_dump(),
        "num_steps": args.steps,
        "batch_size": args.batch_size,
        "learning_rate": args.rate,
        **more,
    }


def trained(cfg: Segment, args: argparse.Namespace, ranks: dist.Ranks) -> tuple[torch.nn.Module, float]:
    """Return the network after the training, and its CPU time [s]."""
    torch.manual_seed(1)
    net = segment.network(cfg).to(ranks.device)
    warm_start(net, args.weights)
    run = Optimization(net, segment.loss, cfg, ranks)
    sample = Sample(stage("segment"), args.train, cfg)
    start = time.process_time()
    for step in range(args.steps):
        run.update([sample.batch(step, cfg.train, ranks)], step, [])
    return net.eval(), time.process_time() - start


def scores(net: torch.nn.Module, cfg: Segment, args: argparse.Namespace, ranks: dist.Ranks) -> ClassScores:
    held_out = list(Sample(stage("segment"), args.held_out, cfg).share(args.events, ranks))
    total = np.zeros((len(Semantic), len(Semantic)), np.int64)
    for first in range(0, len(held_out), BATCH):
        batch = held_out[first : first + BATCH]
        for event, found in zip(batch, segment.infer(net, batch, cfg), strict=True):
            label = found["semantic"]["label"]
            total += confusion_matrix(event["truth_voxel"]["semantic"], label, len(Semantic))
    return class_scores(total)


def figures(found: ClassScores) -> list[float]:
    rows = zip(found.recall_K, found.precision_K, found.f1_K, strict=True)
    return [found.accuracy, found.mean_f1, *(value for row in rows for value in row)]


def main() -> None:
    parser = options(__doc__, num_steps=150, num_events=100)
    parser.add_argument("--losses", nargs="+", choices=list(CASES), default=list(CASES))
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ranks = dist.Ranks(0, 1, 0, device, "none")
    net = segment.network(Segment()).to(device)
    warm_start(net, args.weights)
    start = figures(scores(net.eval(), Segment(), args, ranks))
    heads = [
        "accuracy",
        "mean F1",
        *(f"{word} {what}" for word in WORDS for what in ("recall", "prec.", "F1")),
    ]
    print(f"{args.steps} steps of {args.batch_size} events, {args.events} held-out events")
    print(f"| loss | CPU time | {' | '.join(heads)} |")
    print("|---" * (len(heads) + 2) + "|")
    print("| start | | " + " | ".join(f"{100 * value:.2f}" for value in start) + " |", flush=True)
    base: tuple[list[float], float] | None = None
    for loss in args.losses:
        train = settings(args, loss=loss.split(",")[0], **CASES[loss])
        cfg = Segment.model_validate({"train": train})
        net, seconds = trained(cfg, args, ranks)
        values = figures(scores(net, cfg, args, ranks))
        if base is None:
            base = values, seconds
            cells = [f"{100 * value:.2f}" for value in values]
        else:
            cells = [
                f"{100 * (value - of_base):+.2f}" for value, of_base in zip(values, base[0], strict=True)
            ]
        print(f"| {loss} | {seconds / base[1]:.2f} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
