"""`lartpc clustering`: fragments, and particles by the network and by simpler ways, class by class, in one table."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from lartpc import config, metrics
from lartpc.atomic import replacing
from lartpc.event import TRUTH, Event
from lartpc.faults import passes
from lartpc.run.domain import look_outside
from lartpc.run.progress import Meter
from lartpc.run.weights import load_weights
from lartpc.stages import cluster, stage
from lartpc.store import open_events
from lartpc.tables.write import reading_table
from lartpc.truth import adopted, upstream_from_truth
from lartpc.vocab import NONE, Semantic

METHODS = {"graph": "graph network", "cones": "cones and gaps", "fragments": "fragments alone"}
"""The ways from fragments to particles, by the value of `cluster.infer.particles`."""
FOUND = "found"
"""Stands for a method in rows that compare the fragments themselves with the true ones."""
LEFT_OUT = b"left_out"
"""What a table's file says of events without rows: their entries and the reasons (JSON)."""
CLASSES = {
    "all": None,
    **{semantic.name.lower(): semantic for semantic in Semantic if semantic != Semantic.LOW_ENERGY},
}
FIGURES = ("purity", "efficiency", "ari", "best_dice", "voxel_purity", "voxel_efficiency", "assigned")
GOOD_ARI = 0.92
"""SPICE (arXiv:2007.03083) states for how many of its events the ARI is above this."""
PUBLISHED = """\
Published, on other simulations: showers 99.4 / 99.6 / 97.8 and primaries 99.8 on true fragments (GrapPA, \
arXiv:2007.01335); showers 99.9 / 97.6 / 97.8 and tracks 99.7 / 99.3 / 99.8 in a chain (ICARUS simulation, \
lartpc_mlreco3d tutorials, 2022; events with an ARI of 0 or less left out there, and kept here)."""

Row = dict[str, Any]


def measure(
    event_files: Sequence[Path], section: config.Cluster, *, weights: Path, out: Path, on_truth: bool = False
) -> int:
    """Group the fragments of a shard's events in every way, and write the figures of each event and class.

    An event that an earlier step set aside, or that fails here, has no figures; the file says which and why.

    Parameters
    ----------
    event_files
        The shard's files: `ingest`, and, unless `on_truth`, `segment` and `points`.
    weights
        Of `cluster`.
    out
        Table (parquet) to write: a row per event, method and class.

    Returns
    -------
    Number of events measured.
    """
    net = load_weights(weights, stage("cluster"), section)
    rows: list[Row] = []
    left_out: dict[int, str] = {}
    num = failed = 0
    with open_events(*event_files) as events, torch.inference_mode():
        look_outside(events, stage("cluster"), section, weights)
        events.require(["voxel", *TRUTH])
        given_before = [name for name in stage("cluster").reads if name != "voxel"]
        before = [] if on_truth else given_before
        events.require(before)
        set_aside = events.quarantined()
        with Meter(f"clustering {events.file_uid}", len(events), "events") as meter:
            for event in events.stream(["voxel", *TRUTH, *before]):
                meter.advance(1, "")
                if event.entry in set_aside:
                    left_out[event.entry] = ": ".join(set_aside[event.entry])
                    continue
                try:
                    given = upstream_from_truth(event, given_before) if on_truth else adopted(event)
                    rows += list(_figures(net, given, section, "truth" if on_truth else "predicted"))
                    num += 1
                except Exception as error:
                    if passes(error):
                        raise
                    failed += 1
                    left_out[event.entry] = f"clustering: {type(error).__name__}: {error}"
                    sys.stderr.write(
                        f"{events.file_uid} entry {event.entry} is left out: {left_out[event.entry]}\n"
                    )
        if failed > 1 and not num:
            raise RuntimeError(
                f"no event of {events.file_uid} could be measured; the last: {[*left_out.values()][-1]}"
            )
    with replacing(out) as part:
        noted = {LEFT_OUT: json.dumps(left_out).encode()}
        pq.write_table(
            pa.Table.from_pylist(rows, schema=_schema().with_metadata(noted)), part, write_page_checksum=True
        )
    return num


def _figures(net: Any, event: Event, section: config.Cluster, given: str) -> Iterator[Row]:
    (found,) = cluster.find(net, [event], section)
    truth = event["truth_voxel"]
    class_V = np.append(event["truth_particle"]["semantic"], NONE)[truth["particle"]]
    counted_V = (truth["semantic"] != Semantic.LOW_ENERGY) & (truth["particle"] >= 0)
    same = {"file_uid": event.file_uid, "entry": event.entry, "input": given}
    for name, semantic in CLASSES.items():
        of_class_V = counted_V if semantic is None else counted_V & (truth["semantic"] == semantic)
        yield same | _agreement(FOUND, name, np.where(of_class_V, truth["fragment"], NONE), found.label_V)
    for method in METHODS:
        infer = section.infer.model_copy(update={"particles": method})
        ((particle_F, score_F),) = cluster.group(net, [found], section.model_copy(update={"infer": infer}))
        particle_V = np.append(particle_F, NONE)[found.label_V]
        for name, semantic in CLASSES.items():
            of_class_V = counted_V if semantic is None else counted_V & (class_V == semantic)
            row = same | _agreement(method, name, np.where(of_class_V, truth["particle"], NONE), particle_V)
            count, is_right = np.zeros(0, np.int64), np.zeros(0, bool)
            if semantic == Semantic.SHOWER:
                count, is_right = cluster.primaries(event, found, score_F, semantic)
            row |= {"num_primaries": len(count), "num_primaries_right": int(is_right.sum())}
            several = count > 1
            row |= {"num_several": int(several.sum()), "num_several_right": int(is_right[several].sum())}
            yield row


def _agreement(method: str, name: str, true_V: NDArray[Any], label_V: NDArray[Any]) -> Row:
    """Return the figures of labels (V,) against the true ones (V,)."""
    agreement = metrics.clustering(true_V, label_V)
    row = {figure: getattr(agreement, figure) for figure in FIGURES}
    return row | {"method": method, "class": name, "num_true": agreement.num_true}


def _schema() -> pa.Schema:
    words = ["file_uid", "input", "method", "class"]
    counts = ["entry", "num_true", "num_primaries", "num_primaries_right", "num_several", "num_several_right"]
    kinds = {**dict.fromkeys(words, pa.string()), **dict.fromkeys(counts, pa.int64())}
    return pa.schema({**kinds, **dict.fromkeys(FIGURES, pa.float64())})


def table(measured: Sequence[Path], out: Path) -> str:
    """Pool what `measure` wrote of any shards to a page (Markdown), and return its text.

    Figures are means over all events in which they are defined; no event is dropped.
    """
    if not measured:
        raise ValueError("no tables to pool; give the files of 'lartpc clustering measure'")
    data = pa.concat_tables([_read(path) for path in measured])
    columns = {name: data[name].to_numpy(zero_copy_only=False) for name in data.column_names}
    reasons = [pq.read_schema(path).metadata or {} for path in measured]
    left_out = [len(json.loads(noted.get(LEFT_OUT, b"{}"))) for noted in reasons]
    inputs = [given for given in ("truth", "predicted") if (columns["input"] == given).any()]
    is_event = (columns["class"] == "all") & (columns["method"] == "graph")
    num_events = max((int((is_event & (columns["input"] == given)).sum()) for given in inputs), default=0)
    head = ["input", "method", "class", "events", "purity", "efficiency", "ARI", f"ARI > {GOOD_ARI}"]
    head += ["best Dice", "voxel purity", "voxel efficiency", "assigned"]
    text = "\n".join(
        [
            "# Quality of the clustering",
            "",
            f"{num_events} events, {sum(left_out)} left out in {len(measured)} files (which and why, they say); in %; "
            "definitions in docs/reference/metrics.md. `truth`: fragments are found by the stage itself from true "
            "classes and points; `predicted`: from those of the chain.",
            "",
            "## Fragments",
            "",
            *_lines(columns, inputs, {FOUND: "fragments"}, head),
            "",
            "## Particles",
            "",
            PUBLISHED,
            "",
            *_lines(columns, inputs, METHODS, [*head, "primaries", "of several"]),
            "",
        ]
    )
    with replacing(out) as part:
        part.write_text(text)
    return text


def _read(path: Path) -> pa.Table:
    with reading_table(path):
        found = pq.read_table(path, page_checksum_verification=True).replace_schema_metadata()
    if not found.schema.equals(_schema()):
        raise ValueError(f"{path} is not a file that 'lartpc clustering measure' of this version wrote")
    return found


def _lines(
    columns: dict[str, NDArray[Any]], inputs: Sequence[str], methods: dict[str, str], head: Sequence[str]
) -> list[str]:
    """Return a table of the methods, class by class, with as many columns as `head` has."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for given in inputs:
        for name in CLASSES:
            for method, words in methods.items():
                is_row = (
                    (columns["input"] == given) & (columns["class"] == name) & (columns["method"] == method)
                )
                cells = _cells({key: value[is_row] for key, value in columns.items()})
                lines.append(f"| {' | '.join([given, words, name, *cells][: len(head)])} |")
    return lines


def _cells(row: dict[str, NDArray[Any]]) -> list[str]:
    ari = row["ari"][~np.isnan(row["ari"])]
    values = {name: metrics.mean(row[name]) for name in FIGURES}
    shares = [values["purity"], values["efficiency"], values["ari"]]
    shares += [float((ari > GOOD_ARI).mean()) if len(ari) else float("nan")]
    shares += [values[name] for name in ("best_dice", "voxel_purity", "voxel_efficiency", "assigned")]
    for kind in ("primaries", "several"):
        num, num_right = (int(np.nansum(row[f"num_{kind}{end}"])) for end in ("", "_right"))
        shares.append(num_right / num if num else float("nan"))
    num_events = int(np.count_nonzero(row["num_true"] > 0))
    return [str(num_events), *("–" if np.isnan(share) else f"{100 * share:.1f}" for share in shares)]
