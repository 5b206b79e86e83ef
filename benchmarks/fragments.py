"""Fragments: time of DBSCAN against scikit-learn's, and quality of all methods on the same events.

python benchmarks/fragments.py speed
python benchmarks/fragments.py quality --train INGESTED.h5 [...] --test INGESTED.h5 [...] --out FOLDER
python benchmarks/fragments.py quality --predicted ...  with the files of segment and points beside those of ingest

`quality` trains the networks that FOLDER has no weights of, by themselves, and prints a table: mean purity,
efficiency and adjusted Rand index over the test events, and the share of events with an index above 0.92.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import DBSCAN

from lartpc import config, dist, fragments
from lartpc.fragments import learned
from lartpc.links import links, pieces
from lartpc.metrics import Clustering, clustering, mean
from lartpc.nets.augment import augment
from lartpc.run.training.optimize import Optimization
from lartpc.run.training.sample import Sample
from lartpc.stages import stage
from lartpc.vocab import NONE, Semantic

CPU = torch.device("cpu")
EPS = 1.8
SIZES = (5_000, 20_000, 100_000)
REPEATS = 5
GOOD_ARI = 0.92
"""Rand index that 90 % of events pass with SPICE (arXiv:2007.03083)."""
UNET = {"filters": 8, "depth": 4, "repetitions": 1}
METHODS = {
    "dbscan, uncut": {"method": "dbscan", "break_radius": 0.0},
    "dbscan, cut": {"method": "dbscan"},
    "graph_spice": {"method": "graph_spice", "unet": UNET},
    "embedding": {"method": "embedding", "unet": UNET},
}


def tracks(num_voxels: int) -> np.ndarray:
    """Return voxels (V, 3) of crooked tracks two to three voxels thick, sorted."""
    rng = np.random.default_rng(0)
    parts, count = [], 0
    while count < 1.3 * num_voxels:
        direction = rng.normal(size=3)
        steps = direction / np.linalg.norm(direction) + 0.3 * rng.normal(size=(rng.integers(50, 400), 3))
        middle = rng.uniform(50, 700, 3) + steps.cumsum(axis=0)
        around = [middle + rng.integers(-1, 2, middle.shape) for _ in range(4)]
        parts.append(np.unique(np.clip(np.concatenate([middle, *around]), 0, 767).astype(np.int32), axis=0))
        count += len(parts[-1])
    return np.unique(np.concatenate(parts), axis=0)[:num_voxels]


def speed() -> None:
    print("  voxels    links  scikit-learn [ms]  lartpc [ms]  ratio  (CPU time, medians of interleaved runs)")
    for size in SIZES:
        coord = tracks(size)
        seconds: dict[str, list[float]] = {"theirs": [], "ours": []}
        for _ in range(REPEATS):
            start = time.process_time()
            theirs = DBSCAN(eps=EPS, min_samples=1).fit(coord).labels_
            middle = time.process_time()
            link = links(coord, EPS)
            ours = pieces(len(coord), link)
            seconds["ours"].append(time.process_time() - middle)
            seconds["theirs"].append(middle - start)
            assert np.array_equal(theirs, ours)
        slow, fast = (1e3 * statistics.median(seconds[name]) for name in ("theirs", "ours"))
        print(f"{len(coord):8d} {len(link):8d} {slow:18.1f} {fast:12.2f} {slow / fast:6.1f}", flush=True)


def section_of(settings: dict, args: argparse.Namespace) -> config.Cluster:
    train = {"num_steps": args.steps, "batch_size": args.batch, "learning_rate": args.rate}
    upstream = "predicted" if args.predicted else "truth"
    return config.Cluster.model_validate({"fragments": settings, "upstream": upstream, "train": train})


def trained(name: str, section: config.Cluster, args: argparse.Namespace) -> torch.nn.Module | None:
    """Return the network of a method, from the folder or trained now."""
    torch.manual_seed(args.seed)
    net = learned.network(section.fragments)
    path = args.out / f"{name}.pt"
    if net is None:
        return None
    if path.exists():
        net.load_state_dict(torch.load(path, weights_only=True))
        return net.eval()
    if args.init:
        net.load_state_dict(torch.load(args.init / path.name, weights_only=True))
    sample = Sample(stage("cluster"), args.train, section)
    ranks = dist.Ranks(0, 1, 0, CPU, "none")

    def loss(net, batch, section):
        return learned.learn(net, batch, section.fragments)[0]

    optimization = Optimization(net, loss, section, ranks)
    rng = np.random.default_rng(args.seed)
    start = time.process_time()
    for step in range(args.steps):
        drawn = rng.integers(0, len(sample), args.batch)
        batch = [augment(sample.event(int(number)), rng, section.train) for number in drawn]
        terms, _ = optimization.update([batch], step, [0.0])
        if (step + 1) % 25 == 0 or step + 1 == args.steps:
            shown = ", ".join(f"{key} {value:.3f}" for key, value in terms.items())
            spent = time.process_time() - start
            print(f"{name}: step {step + 1}, {spent:.0f} s of CPU: {shown}", file=sys.stderr, flush=True)
            torch.save(net.state_dict(), path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)
    return net.eval()


def quality(args: argparse.Namespace) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    sections = {name: section_of(METHODS[name], args) for name in args.methods}
    nets = {name: trained(name, section, args) for name, section in sections.items()}
    if not args.test:
        return
    sample = Sample(stage("cluster"), args.test, next(iter(sections.values())))
    kinds = (None, Semantic.SHOWER, Semantic.TRACK, Semantic.MICHEL, Semantic.DELTA)
    found: dict[tuple[str, object], list[Clustering]] = {}
    seconds = dict.fromkeys(sections, 0.0)
    num_voxels = 0
    for number in range(min(args.events, len(sample))):
        event = sample.event(number)
        truth = event["truth_voxel"]
        true_V = np.where(truth["semantic"] == Semantic.LOW_ENERGY, NONE, truth["fragment"])
        num_voxels += event.num_voxels
        for name, section in sections.items():
            start = time.process_time()
            with torch.inference_mode():
                ((label_V, _),) = fragments.find(nets[name], [event], section.fragments)
            seconds[name] += time.process_time() - start
            for kind in kinds:
                of_kind = true_V if kind is None else np.where(truth["semantic"] == kind, true_V, NONE)
                found.setdefault((name, kind), []).append(clustering(of_kind, label_V))
    num = min(args.events, len(sample))
    print(
        f"{num} events of {num_voxels / max(num, 1):.0f} voxels, {'predicted' if args.predicted else 'true'} classes"
    )
    print("| method | class | purity | efficiency | ARI | events with ARI > .92 | CPU ms per event |")
    print("|---|---|---|---|---|---|---|")
    for (name, kind), values in found.items():
        ari = np.array([value.ari for value in values])
        known = ari[~np.isnan(ari)]
        share = float((known > GOOD_ARI).mean()) if len(known) else float("nan")
        figures = [mean(np.array([getattr(one, key) for one in values])) for key in ("purity", "efficiency")]
        shown = " | ".join(f"{value:.3f}" for value in (*figures, mean(ari), share))
        cost = f"{1e3 * seconds[name] / num:.0f}" if kind is None else ""
        print(f"| {name} | {'all' if kind is None else kind.name.lower()} | {shown} | {cost} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_subparsers(required=True)
    what.add_parser("speed").set_defaults(run=lambda args: speed())
    one = what.add_parser("quality")
    one.set_defaults(run=quality)
    one.add_argument(
        "--train", type=Path, nargs="*", default=[], help="event files of ingest (segment, points)"
    )
    one.add_argument("--test", type=Path, nargs="*", default=[], help="event files that no training saw")
    one.add_argument("--out", type=Path, required=True, help="folder of the weights")
    one.add_argument("--init", type=Path, help="folder of weights to go on from")
    one.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    one.add_argument(
        "--predicted", action="store_true", help="predicted classes and points, not the true ones"
    )
    one.add_argument("--events", type=int, default=2000, help="test events at most")
    one.add_argument("--steps", type=int, default=500, help="optimizer steps of each network")
    one.add_argument("--batch", type=int, default=2, help="events per step")
    one.add_argument("--rate", type=float, default=4e-3, help="peak learning rate")
    one.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
