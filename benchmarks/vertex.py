"""What speaks for a place as the vertex: fit the weights of `lartpc/kinematics/vertex.py`, and count vertices found.

    python benchmarks/vertex.py INGEST.h5 POINTS.h5 CLUSTER.h5 INTERACT.h5 [the four of other shards] --test 4 paths

The fit maximises the likelihood of the candidates near the true vertex, as the choice of one among those of an
interaction (conditional logit), with a small penalty for large weights. Counted are true interactions as in
docs/reference/metrics.md, with the best match; "best" is the candidate nearest to the truth.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from lartpc.event import Event
from lartpc.kinematics.vertex import EVIDENCE, Particles, Points, candidates
from lartpc.run.quality.interactions import MIN_PRIMARIES, VERTEX_LIMITS
from lartpc.store import open_events
from lartpc.tables.rows import match_objects, placed_points
from lartpc.vocab import NONE

NEAR = 4.0
"""Farther candidates are wrong [voxel]; nearer ones are right by exp(-distance / SCALE)."""
SCALE = 1.5
PENALTY = 1e-3
PRODUCTS = ["event", "voxel", "truth_voxel", "truth_particle", "truth_interaction"]
MADE = ["point", "group", "particle", "identity", "interaction", "final_point"]


def choices(event: Event) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Return of each true interaction distances (C,) and evidence (C, K) of the candidates, and that of the vertex."""
    identity, truth = event["identity"], event["truth_interaction"]
    points, owner_F = Points.of(placed_points(event)), identity["interaction"]
    owner_P = points.owners(event["voxel"]["coord"], np.append(owner_F, NONE)[event["group"]["particle"]])
    ends = {name: identity[name] for name in ("start_point", "end_point")}
    particles = Particles.of({**event["particle"], **ends}, identity)
    best, _ = match_objects(event)[1].best_reco()
    wanted = (truth["num_primaries"] >= MIN_PRIMARIES) & event.box.contains(truth["vertex"])
    found = []
    for row in np.flatnonzero(wanted):
        member = np.flatnonzero(owner_F == best[row])
        if best[row] < 0:
            found.append((np.full(1, np.inf), np.zeros((1, len(EVIDENCE))), np.inf))
            continue
        place, evidence = candidates(particles.only(member), points.only(owner_P == best[row]))
        if len(member) == 1:
            place, evidence = place[:1], evidence[:1]
        away = np.linalg.norm(event["interaction"]["vertex"][best[row]] - truth["vertex"][row])
        found.append((np.linalg.norm(place - truth["vertex"][row], axis=1), evidence, float(away)))
    return found


def read(paths: list[Path]) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Return the choices of all events of shards, four files each."""
    found = []
    for first in range(0, len(paths), 4):
        with open_events(*paths[first : first + 4]) as events:
            for event in events.stream(PRODUCTS + MADE):
                found += choices(event)
    return found


def fit(found: list[tuple[np.ndarray, np.ndarray, float]]) -> np.ndarray:
    """Return the weights (K,)."""
    scale = np.concatenate([evidence for _, evidence, _ in found]).std(axis=0) + 1e-6
    target = [np.where(away < NEAR, np.exp(-away / SCALE), 0.0) for away, _, _ in found]
    kept = [row for row, right in enumerate(target) if right.sum() > 0]
    pairs = [(found[row][1] / scale, target[row] / target[row].sum()) for row in kept]

    def cost(weight: np.ndarray) -> tuple[float, np.ndarray]:
        total, slope = 0.0, np.zeros_like(weight)
        for evidence, right in pairs:
            score = evidence @ weight
            logs = score - logsumexp(score)
            total -= right @ logs
            slope -= (right - np.exp(logs)) @ evidence
        num = len(pairs)
        return total / num + PENALTY * weight @ weight, slope / num + 2 * PENALTY * weight

    weight: np.ndarray = minimize(cost, np.zeros(len(EVIDENCE)), jac=True, method="L-BFGS-B").x
    return weight / scale


def main() -> None:
    """Print the weights, and the shares of vertices within each limit, with those in use and with the new ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path, help="files to fit to")
    parser.add_argument("--test", nargs="+", type=Path, required=True, help="files to count with")
    args = parser.parse_args()
    weights = {"now": np.array([*EVIDENCE.values()])}
    if args.paths:
        weights["fit"] = fit(read(args.paths))
        print({name: round(float(value), 2) for name, value in zip(EVIDENCE, weights["fit"], strict=True)})
    test = read(args.test)
    aways = {"file": [away for _, _, away in test], "best": [away.min() for away, _, _ in test]}
    for name, weight in weights.items():
        aways[name] = [away[(evidence @ weight).argmax()] for away, evidence, _ in test]
    for name, away in aways.items():
        shares = ", ".join(
            f"within {limit} {np.mean(np.asarray(away) <= limit):.1%}" for limit in VERTEX_LIMITS
        )
        print(f"{name:5} {shares}, of {len(test)}")


if __name__ == "__main__":
    main()
