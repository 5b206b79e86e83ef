"""`lartpc interactions`: the figures of interactions by the network and by rules, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from lartpc.atomic import replacing
from lartpc.run.quality.pool import pool
from lartpc.run.report.figures import ENERGIES, Row, quality
from lartpc.tables.write import read_figures

METHODS = {"graph": "network", "rules": "rules"}
"""The ways from particles to interactions, by the value of `interact.infer.interactions`."""


def interactions_table(measured: Mapping[str, Sequence[Path]], out: Path) -> str:
    """Pool what `lartpc evaluate` wrote of any shards to a page (Markdown), and return its text.

    Parameters
    ----------
    measured
        Files by the way that made them (a key of `METHODS`); both kinds of input can be among them.
    """
    if missing := [name for name in METHODS if not measured.get(name)]:
        raise ValueError(
            f"no figures of {' and '.join(missing)}; give the files of 'lartpc evaluate' of both ways"
        )
    _check_same_events(measured)
    pooled = {name: pool(ds.dataset([str(path) for path in paths])) for name, paths in measured.items()}
    num = {label: _num_events(pooled, label) for label in ("truth", "predicted")}
    head = [
        "",
        *(f"{METHODS[name]}, {given}" for given in ("true input", "chain") for name in METHODS),
        "published",
    ]
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    rows = {name: _rows(figures) for name, figures in pooled.items()}
    for label in dict.fromkeys(label for found in rows.values() for label in found):
        of = [rows[name].get(label, Row(label[1], "")) for name in METHODS]
        cells = [*(row.on_truth for row in of), *(row.chain for row in of), of[0].published]
        lines.append(f"| {' | '.join([label[1], *cells])} |")
    text = "\n".join(
        [
            "# Quality of interactions",
            "",
            f"{num['truth']} events on true input, {num['predicted']} of the chain. Definitions in "
            "docs/reference/metrics.md; energies: bias ± resolution, in all and in bins of the true kinetic energy.",
            "",
            *lines,
            "",
        ]
    )
    with replacing(out) as part:
        part.write_text(text)
    return text


def _check_same_events(measured: Mapping[str, Sequence[Path]]) -> None:
    """Raise ValueError unless the ways were measured on the same events, where they were on the same kind of input."""
    seen: dict[str, dict[str, set[tuple[str, int]]]] = {name: {} for name in measured}
    for name, paths in measured.items():
        for path in paths:
            table = read_figures(path, ["file_uid", "entry", "input"]).to_pydict()
            for uid, entry, given in zip(*table.values(), strict=True):
                seen[name].setdefault(given, set()).add((uid, entry))
    graph, rules = (seen[name] for name in METHODS)
    for given in graph.keys() & rules.keys():
        if odd := graph[given] ^ rules[given]:
            uid, entry = min(odd)
            raise ValueError(
                f"the ways were not measured on the same events: {len(odd)} are of one only, such as {uid}/{entry}; "
                "give the files of the same shards"
            )


def _rows(pooled: Mapping[str, Any]) -> dict[tuple[str, str], Row]:
    """Return the lines of `interact` and of energies by what they are of, and their label."""
    found, stem = {}, ""
    sections = quality(pooled)
    for title in ("interact", ENERGIES):
        for row in sections.get(title, []):
            stem = stem if row.label.startswith("—") else row.label
            found[stem, row.label] = row
    return found


def _num_events(pooled: Mapping[str, Mapping[str, Any]], label: str) -> str:
    counts = sorted({int(figures[label]["num_events"]) for figures in pooled.values() if label in figures})
    return " or ".join(f"{count:,}" for count in counts) or "no"
