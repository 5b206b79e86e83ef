"""Train `segment` on with each kind of uncertainty from one warm start, and see how far it can be believed.

python benchmarks/uncertainty.py WEIGHTS.pt TRAIN.h5 [more] --held-out TEST.h5 [more] [--steps 250]

All see the same batches, with the same rate and schedule. Errors among the surest voxels are given twice: by the
uncertainty, and by 1 minus the score of the chosen class, which every network has.
"""

import argparse
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from losses import BATCH, options, settings, trained

from lartpc import calibration, dist
from lartpc.config import Segment
from lartpc.event import Event
from lartpc.run.training.sample import Sample
from lartpc.run.weights import warm_start
from lartpc.stages import segment, stage

SHARE = 0.9
"""Share of the voxels that are kept as the surest."""


@dataclass
class Sums:
    """Counts over voxels, as in `lartpc.calibration`, and the CPU time of inference [s]."""

    reliability: np.ndarray = field(default_factory=lambda: np.zeros((calibration.NUM_BINS, 3)))
    by_uncertainty: np.ndarray = field(default_factory=lambda: np.zeros((calibration.NUM_UNCERTAINTIES, 2)))
    by_score: np.ndarray = field(default_factory=lambda: np.zeros((calibration.NUM_UNCERTAINTIES, 2)))
    seconds: float = 0.0

    def add(self, event: Event, found: dict[str, np.ndarray]) -> None:
        """Count the voxels of an event that have a true class."""
        known = event["truth_voxel"]["semantic"] >= 0
        true, score = event["truth_voxel"]["semantic"][known], found["score"][known]
        right = score.argmax(axis=1) == true  # uncertainties are of the scores, and labels weigh classes
        self.reliability += calibration.reliability(score, true)
        self.by_uncertainty += calibration.errors_by_uncertainty(found["uncertainty"][known], right)
        self.by_score += calibration.errors_by_uncertainty(1 - score.max(axis=1, initial=0.0), right)

    def row(self, name: str, base: float) -> str:
        """Return a line of the table, times in units of one."""
        num, right, confidence = self.reliability.sum(axis=0)
        values = (
            right / num,
            confidence / num,
            calibration.calibration_error(self.reliability),
            calibration.error_among_surest(self.by_uncertainty, SHARE),
            calibration.error_among_surest(self.by_score, SHARE),
        )
        return (
            f"| {name} | {' | '.join(f'{100 * value:.2f}' for value in values)} | {self.seconds / base:.1f} |"
        )


def section(heads: dict[str, object], args: argparse.Namespace, num_passes: int = 0) -> Segment:
    # The evidential output has a loss of its own, which Lovász-softmax is not combined with.
    train = settings(args, loss="ce" if heads.get("evidential") else "ce_lovasz")
    return Segment.model_validate({"heads": heads, "train": train, "infer": {"num_passes": num_passes}})


def measure(net: torch.nn.Module, cfg: Segment, held_out: list[Event]) -> Sums:
    sums = Sums()
    for first in range(0, len(held_out), BATCH):
        batch = held_out[first : first + BATCH]
        start = time.process_time()
        found = segment.infer(net, batch, cfg)
        sums.seconds += time.process_time() - start
        for event, products in zip(batch, found, strict=True):
            sums.add(event, products["semantic"])
    return sums


def main() -> None:
    parser = options(__doc__, num_steps=250, num_events=200)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--passes", type=int, default=20)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ranks = dist.Ranks(0, 1, 0, device, "none")
    held_out = list(Sample(stage("segment"), args.held_out, Segment()).share(args.events, ranks))
    num_voxels = sum(event.num_voxels for event in held_out)
    print(
        f"{args.steps} steps of {args.batch_size} events; {len(held_out)} held-out events, {num_voxels:,} voxels"
    )
    print(
        "| | right | mean score | calibration error | wrong of the surest 90 %, by uncertainty | by score | time |"
    )
    print("|---|---|---|---|---|---|---|")
    plain = section({}, args)
    net = segment.network(plain).to(device)
    warm_start(net, args.weights)
    segment.infer(net.eval(), held_out[:1], plain)  # a first pass compiles
    start = measure(net, plain, held_out)
    print(start.row("start", start.seconds), flush=True)
    dropout = {"dropout": args.dropout}
    for name, heads, passes in (
        ("default", {}, (0,)),
        (f"dropout {args.dropout}", dropout, (0, args.passes)),
        ("evidential", {"evidential": True}, (0,)),
    ):
        net, _ = trained(section(heads, args), args, ranks)
        for num_passes in passes:
            found = measure(net, section(heads, args, num_passes), held_out)
            label = f"{name}, {num_passes} passes" if num_passes else name
            print(found.row(label, start.seconds), flush=True)


if __name__ == "__main__":
    main()
