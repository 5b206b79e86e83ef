"""`lartpc quality`: where the chain loses, by putting the truth in for one part of it at a time.

Shape suffixes: V voxels, F fragments, E events, B bootstrap samples.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from lartpc import config, metrics
from lartpc.atomic import replacing
from lartpc.event import TRUTH, Columns, Event
from lartpc.run.domain import look_outside
from lartpc.run.progress import Meter
from lartpc.run.quality.evaluate import is_counted
from lartpc.run.quality.interactions import START_LIMIT, VERTEX_LIMITS, distances_to_start, vertex_distances
from lartpc.run.quality.matching import kinds, matching_figures, name_of
from lartpc.run.quality.pool import POINT_LIMITS
from lartpc.run.weights import load_weights
from lartpc.stages import cluster, interact, points, require_weights, stage
from lartpc.store import open_events
from lartpc.tables.fields import names_of
from lartpc.tables.rows import match_objects, placed_points, take
from lartpc.tables.write import reading_table
from lartpc.truth import adopted, majority, one_hot, upstream_from_truth
from lartpc.vocab import NONE, Semantic, Species

CHAIN = "chain"
PARTS = {
    CHAIN: "nothing: the chain as it is",
    "track_delta": "voxels that are track or delta and were called the other",
    "classes": "classes (points decoded again)",
    "points": "points",
    "classes_points": "classes and points",
    "fragments": "fragments, classes, points",
    "grouping": "grouping of the predicted fragments",
}
"""What of the chain has the truth put in for it."""
SHARES = {
    "fragment_ari": "fragment ARI",
    "particle_ari": "particle ARI",
    "interaction_ari": "interaction ARI",
    "matched": "particles matched",
    "matched_primary": "primaries matched",
    "matched_energy": "matched, by energy",
    "start": f"starts within {START_LIMIT} voxels",
    "vertex": f"vertices within {VERTEX_LIMITS[0]} voxels",
    "found": f"points found within {POINT_LIMITS[0]} voxels",
    "right": f"points right within {POINT_LIMITS[0]} voxels",
}
"""Figures that are a sum over events over another."""
SPECIES = "species"
"""The mean over species of the share of matched particles that were given theirs."""
BATCH = 32
"""Events that the networks take at a time."""
NUM_SAMPLES = 1000
SEED = 1
_SPECIES = [name for name in names_of(Species) if name != "kaon"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Networks:
    """The settings of the stages after `segment`, and their networks; None where interactions are made by rules."""

    points: config.Points
    cluster: config.Cluster
    interact: config.Interact
    cluster_net: Any
    interact_net: Any
    weights: Mapping[str, Path]

    @classmethod
    def load(
        cls,
        points: config.Points,
        cluster: config.Cluster,
        interact: config.Interact,
        cluster_weights: Path,
        interact_weights: Path | None,
    ) -> "Networks":
        """Load the weights of both networks; ValueError where the settings need one that is not given, or none."""
        require_weights(stage("interact"), interact, interact_weights is not None, "--interact-weights")
        return cls(
            points,
            cluster,
            interact,
            load_weights(cluster_weights, stage("cluster"), cluster),
            load_weights(interact_weights, stage("interact"), interact) if interact_weights else None,
            {"cluster": cluster_weights} | ({"interact": interact_weights} if interact_weights else {}),
        )


def measure(
    event_files: Sequence[Path],
    networks: Networks,
    out: Path,
    *,
    parts: Sequence[str] = tuple(PARTS),
    num_events: int | None = None,
) -> int:
    """Run the stages after `segment` with the truth put in for one part at a time, and write figures of each event.

    Parameters
    ----------
    event_files
        The shard's files of `ingest` and `segment`.
    out
        Table (parquet) to write: a row per event and part.
    num_events
        At most so many events; None: all.

    Returns
    -------
    Number of events measured.
    """
    rows: list[Row] = []
    with open_events(*event_files) as events, torch.inference_mode():
        needed = ["event", "voxel", *TRUTH, "semantic", "proposal", "affinity"]
        events.require(needed)
        for name, weights in networks.weights.items():
            look_outside(events, stage(name), getattr(networks, name), weights)
        set_aside = events.quarantined()
        num = min(len(events), num_events or len(events))
        with Meter(f"budget {events.file_uid}", num, "events") as meter:
            for batch in _batches(islice(events.stream(needed), num)):
                kept = [adopted(event) for event in batch if event.entry not in set_aside]
                for part in parts:
                    for event in _reconstructed(kept, part, networks):
                        key = {"file_uid": event.file_uid, "entry": event.entry, "part": part}
                        rows.append(key | _figures(event))
                meter.advance(len(batch))
    with replacing(out) as path:
        pq.write_table(pa.Table.from_pylist(rows), path, write_page_checksum=True)
    return len(rows) // max(len(parts), 1)


def _batches(events: Iterator[Event]) -> Iterator[list[Event]]:
    while batch := list(islice(events, BATCH)):
        yield batch


def _reconstructed(batch: list[Event], part: str, networks: Networks) -> list[Event]:
    """Return events with what the chain makes of them, the truth put in for a part."""
    batch = [event.with_products({"semantic": _classes(event, part)}) for event in batch]
    if part in ("points", "classes_points", "fragments"):
        batch = [upstream_from_truth(event, ["point", "candidate"]) for event in batch]
    else:
        batch = _with(batch, points.infer(None, batch, networks.points))
    if part == "fragments":
        found = [
            cluster.fragments_of(
                event,
                event["truth_voxel"]["fragment"],
                event["truth_fragment"]["semantic"],
                networks.cluster,
            )
            for event in batch
        ]
    else:
        found = cluster.find(networks.cluster_net, batch, networks.cluster)
    groups = cluster.group(networks.cluster_net, found, networks.cluster)
    if part == "grouping":
        groups = [_true_groups(event, one) for event, one in zip(batch, found, strict=True)]
    made = zip(batch, found, groups, strict=True)
    batch = [event.with_products(cluster.products(event, one, *own)) for event, one, own in made]
    batch = _with(batch, interact.infer(networks.interact_net, batch, networks.interact))
    return [event.with_products({"point": placed_points(event)}) for event in batch]


def _with(batch: list[Event], made: list[dict[str, Columns]]) -> list[Event]:
    return [event.with_products(products) for event, products in zip(batch, made, strict=True)]


def _classes(event: Event, part: str) -> Columns:
    """Return the product `semantic`, with the truth in it where the part is of classes."""
    found, true_V = event["semantic"], event["truth_voxel"]["semantic"]
    if part in ("classes", "classes_points", "fragments"):
        is_put_V = true_V >= 0
    elif part == "track_delta":
        pair = (Semantic.TRACK, Semantic.DELTA)
        is_put_V = np.isin(true_V, pair) & np.isin(found["label"], pair)
    else:
        return found
    label_V = np.where(is_put_V, true_V, found["label"]).astype(np.int8)
    score_VK = np.where(is_put_V[:, None], one_hot(true_V), found["score"])
    return {**found, "label": label_V, "score": score_VK}


def _true_groups(event: Event, found: cluster.Fragments) -> cluster.Groups:
    """Give each fragment to the true particle that most of its voxels are of, and name the true first ones."""
    num = len(found.columns["semantic"])
    owner_F = majority(found.label_V, event["truth_voxel"]["particle"], num, 0.0)
    # fragments of no particle are one each
    owner_F = np.where(owner_F >= 0, owner_F, owner_F.max(initial=0) + 1 + np.arange(num))
    first_F = cluster.targets_of(event, found)[1] == 1
    return np.unique(owner_F, return_inverse=True)[1], first_F.astype(np.float32)


def _figures(event: Event) -> Row:
    """Return the figures of an event, each as a sum and the number that it is over."""
    truth = event["truth_voxel"]
    row: Row = {}
    labels = {
        "fragment": event["group"]["fragment"],
        "particle": event["group"]["particle"],
        "interaction": np.append(event["identity"]["interaction"], NONE)[event["group"]["particle"]],
    }
    for level, label_V in labels.items():
        true_V = np.where(truth["semantic"] == Semantic.LOW_ENERGY, NONE, truth[level])
        ari = metrics.clustering(true_V, label_V).ari
        row |= _sum(f"{level}_ari", np.nan_to_num(ari), np.isfinite(ari))
    pairs, interactions = match_objects(event)
    true = event["truth_particle"]
    counted = (true["species"] >= 0) & (true["semantic"] != Semantic.LOW_ENERGY) & (true["num_voxels"] > 0)
    best, iou = pairs.best_reco()
    partner = np.where(counted & (iou >= metrics.MATCH_IOU), best, NONE)
    matched = partner >= 0
    row |= _sum("matched", matched.sum(), counted.sum())
    of_kinds = matching_figures(event, counted, matched)
    for what, words in kinds().items():
        for word, (num, right) in zip(words, of_kinds[f"matched_{what}_counts"].reshape(-1, 2), strict=True):
            row |= _sum(name_of(what, word), right, num)
    all_mev, matched_mev = of_kinds["matched_energy_mev"]
    row |= _sum("matched_energy", matched_mev, all_mev)
    found_species = take(event["identity"]["species"], partner)
    for code, name in enumerate(_SPECIES):
        of = matched & (true["species"] == code)
        row |= _sum(f"{SPECIES}_{name}", (found_species[of] == code).sum(), of.sum())
    _, distance, _ = distances_to_start(event, partner)
    row |= _sum("start", (distance <= START_LIMIT).sum(), len(distance))
    away = vertex_distances(event, interactions.best_reco()[0])
    row |= _sum("vertex", (away <= VERTEX_LIMITS[0]).sum(), len(away))
    true_point, point = event["truth_point"], event["point"]
    wanted = true_point["position"][is_counted("truth_point", true_point)]
    made = point["position"][is_counted("point", point)]
    row |= _sum("found", (metrics.nearest(wanted, made)[0] <= POINT_LIMITS[0]).sum(), len(wanted))
    return row | _sum("right", (metrics.nearest(made, wanted)[0] <= POINT_LIMITS[0]).sum(), len(made))


def _sum(name: str, total: Any, count: Any) -> Row:
    return {f"{name}_sum": float(total), f"{name}_count": float(count)}


# -- pooling -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pooled:
    """Figures of one part, and the same of bootstrap samples (B,) of the events; samples are those of all parts."""

    value: dict[str, float]
    samples: dict[str, NDArray[np.float64]]


def pool(measured: Sequence[Path], parts: Sequence[str] | None = None) -> tuple[int, dict[str, Pooled]]:
    """Pool what `measure` wrote of any shards: the number of events, and the figures of each part.

    The events are drawn with repetition `NUM_SAMPLES` times, the same for every part, so that a difference
    of two parts has the error of a difference of paired figures.
    """
    tables = []
    for path in measured:
        with reading_table(path):
            tables.append(pq.read_table(path, page_checksum_verification=True))
        if not {"part", "file_uid", "entry"} <= set(tables[-1].column_names):
            raise ValueError(f"{path} is not a file that 'lartpc quality measure' wrote; it is another table")
    data = pa.concat_tables(tables)
    names = sorted(name for name in data.column_names if name.endswith(("_sum", "_count")))
    label, keys = (data[name].to_numpy(zero_copy_only=False) for name in ("part", "file_uid"))
    entry = data["entry"].to_numpy()
    value = np.stack([data[name].to_numpy() for name in names])
    out: dict[str, Pooled] = {}
    weight_BE = None
    for part in parts or [name for name in PARTS if (label == name).any()]:
        row = np.flatnonzero(label == part)
        row = row[np.lexsort((entry[row], keys[row]))]
        if weight_BE is None:
            num, which = len(row), [*zip(keys[row], entry[row], strict=True)]
            rng = np.random.default_rng(SEED)
            weight_BE = rng.multinomial(num, np.full(num, 1 / num), NUM_SAMPLES).astype(np.float64)
        elif which != [*zip(keys[row], entry[row], strict=True)]:
            raise ValueError(f"the events of part '{part}' are others; measure all parts on the same events")
        total = dict(zip(names, value[:, row].sum(axis=1), strict=True))
        drawn = dict(zip(names, value[:, row] @ weight_BE.T, strict=True))
        out[part] = Pooled(_shares(total), _shares(drawn))
    return (0 if weight_BE is None else weight_BE.shape[1]), out


def _shares(total: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of sums and counts, and the mean over species."""
    stems = [name.removesuffix("_sum") for name in total if name.endswith("_sum")]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = {stem: np.divide(total[f"{stem}_sum"], total[f"{stem}_count"]) for stem in stems}
        each = np.stack([share[f"{SPECIES}_{name}"] for name in _SPECIES])
        share[SPECIES] = np.nansum(each, axis=0) / np.isfinite(each).sum(axis=0)
    return share


# -- the page ----------------------------------------------------------------------------------


def table(measured: Sequence[Path], out: Path) -> str:
    """Pool what `measure` wrote of any shards to a page (Markdown), and return its text."""
    if not measured:
        raise ValueError("no tables to pool; give the files of 'lartpc quality measure'")
    num, pooled = pool(measured)
    if CHAIN not in pooled:
        raise ValueError("the files have no figures of the chain as it is, which all else is compared with")
    classes, sizes = (
        {name_of(what, word): word.replace("_", " ") for word in kinds()[what]} for what in ("class", "size")
    )
    text = "\n".join(
        [
            "# Where the chain loses",
            "",
            f"{num} events, in %, with errors from {NUM_SAMPLES} bootstrap samples of events. The chain as it is, and "
            "what each figure gains in points of per cent when the truth is put in for one part (errors of differences "
            "of the same events). Definitions in docs/reference/metrics.md.",
            "",
            *_lines(pooled, {**SHARES, SPECIES: "species, mean"}, "truth put in for"),
            "",
            "## Particles matched, by class",
            "",
            *_lines(pooled, classes, "truth put in for"),
            "",
            "## Particles matched, by true voxels",
            "",
            *_lines(pooled, sizes, "truth put in for"),
            "",
        ]
    )
    with replacing(out) as path:
        path.write_text(text)
    return text


def _lines(pooled: dict[str, Pooled], figures: dict[str, str], first: str) -> list[str]:
    chain = pooled[CHAIN]
    lines = [f"| {' | '.join([first, *figures.values()])} |", f"|{'---|' * (len(figures) + 1)}"]
    for part, found in pooled.items():
        cells = []
        for name in figures:
            if part == CHAIN:
                value, error = found.value[name], found.samples[name].std()
                cells.append(f"{100 * value:.1f} ± {100 * error:.1f}" if np.isfinite(value) else "")
            else:
                gain = found.value[name] - chain.value[name]
                error = (found.samples[name] - chain.samples[name]).std()
                cells.append(f"{100 * gain:+.1f} ± {100 * error:.1f}" if np.isfinite(gain) else "")
        lines.append(f"| {PARTS[part]} | {' | '.join(cells)} |")
    return lines
