"""`lartpc compare`: two productions of the same events, figure by figure, with the error of each difference."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lartpc.atomic import make_folder, write_each
from lartpc.run.collect import read_summary
from lartpc.run.quality.pool import pool_rows
from lartpc.run.report.charts import distributions
from lartpc.run.report.figures import FIGURES
from lartpc.tables.metric_fields import INPUT
from lartpc.tables.scenarios import scenario_of
from lartpc.tables.written import written_table

KEY = ("file_uid", "entry", "plane")
"""What makes an event the same one in both datasets."""
ROWS = {"predicted": KEY, "truth": (*KEY, "stages"), "planes": KEY}
"""And what makes it the same row of figures: on true input each stage is judged in a row of its own."""

COUNTED = (
    *("num_voxels", "energy_voxels_mev", "num_points", "num_fragments", "num_particles"),
    *("num_interactions", "num_voxels_shower", "num_voxels_track", "num_voxels_michel", "num_voxels_delta"),
)
"""Columns of `events` whose mean per event is compared; they need no truth."""

INPUTS = {"predicted": "chain", "truth": "on true input", "planes": "images of planes"}
MEANS = "mean per event"
BEYOND = 3.0
"""Errors from which on a difference is marked."""


@dataclass(frozen=True)
class Difference:
    """A figure of two datasets: `difference` is second minus first, `error` one standard deviation of it.

    `input` says what it was measured on: the chain, true input, or the tables (means per event).
    """

    figure: str
    label: str
    input: str
    unit: str
    first: float
    second: float
    difference: float
    error: float

    @property
    def is_beyond(self) -> bool:
        """Tell whether the difference is more than chance between these events makes likely."""
        return abs(self.difference) > BEYOND * self.error


def compare(
    first: Path,
    second: Path,
    out: Path,
    *,
    num_replicas: int = 200,
    seed: int = 1,
    is_quiet: bool = False,
) -> list[Difference]:
    """Compare two datasets on the events that both have, write table, JSON and page, and print the table.

    The error of a difference is its standard deviation over bootstrap replicas: events drawn with
    replacement, the same ones from both datasets, so that what is hard or easy in both cancels.

    Parameters
    ----------
    first, second
        Folders that `lartpc collect` wrote.
    out
        Folder for `compare.md`, `compare.json` and `compare.html`.
    is_quiet
        Do not print the table.

    Raises
    ------
    ValueError
        A folder is not a dataset, or the two have no event in common.
    """
    from lartpc.run.display.page import render  # `show` compares scenarios without what draws pages

    names = _names(first, second)
    summaries = [read_summary(folder) for folder in (first, second)]
    found, counts = differences(first, second, num_replicas=num_replicas, seed=seed)
    texts = {
        "names": names,
        "folders": [str(first), str(second)],
        "versions": [summary["package_version"] for summary in summaries],
        "events": counts,
        "num_replicas": num_replicas,
        "seed": seed,
    }
    make_folder(out)
    rows = [{key: _plain(value) for key, value in asdict(one).items()} for one in found]
    shown = [one for one in found if one.label]
    data = {"charts": [*_difference_charts(shown), *_overlaid(first, second, names)], "displays": []}
    page = render(
        Path(__file__).parent,
        "compare.html",
        "page.js",
        data=data,
        about=texts,
        sections=_sections(shown),
        text=_cells,
    )
    table = json.dumps({**texts, "figures": rows}, indent=1, allow_nan=False) + "\n"
    files = {"compare.json": table, "compare.md": _markdown(shown, texts), "compare.html": page}
    write_each({out / name: content for name, content in files.items()})
    if not is_quiet:
        Console().print(_terminal(shown, texts))
    return found


def differences(
    first: Path, second: Path, *, num_replicas: int, seed: int = 1
) -> tuple[list[Difference], dict[str, int]]:
    """Return the differences of two datasets on the events that both have, and how many these are, as `compare` does.

    Raises
    ------
    ValueError
        The two have no event in common.
    """
    rng = np.random.default_rng(seed)
    events = [_table(folder, "events", [*KEY, "status", *COUNTED]) for folder in (first, second)]
    paired = _paired(*(table.filter(pc.field("status") == "ok") for table in events))
    if not len(paired[0]):
        raise ValueError(
            f"{first} and {second} have no event in common that went through both; compare productions of the same "
            "sample sheet"
        )
    counts = {
        "common": len(paired[0]),
        "only_first": events[0].num_rows - len(paired[0]),
        "only_second": events[1].num_rows - len(paired[0]),
        "same_voxels": int(pc.sum(pc.equal(paired[0]["num_voxels"], paired[1]["num_voxels"])).as_py() or 0),
    }
    found = [*_means(paired, num_replicas, rng)]
    for label in INPUT:
        rows = [
            _table(folder, "metrics", None, pc.field("input").cast(pa.string()) == label)
            for folder in (first, second)
        ]
        found += _figures(_paired(rows[0], rows[1], ROWS[label]), label, num_replicas, rng)
    return found, counts


# -- events --------------------------------------------------------------------------------------


def _table(folder: Path, name: str, columns: Sequence[str] | None, where: Any = None) -> pa.Table:
    columns = list(columns) if columns else None
    return ds.dataset(written_table(folder, name)).to_table(columns=columns, filter=where).combine_chunks()


def _paired(first: pa.Table, second: pa.Table, key: Sequence[str] = KEY) -> tuple[pa.Table, pa.Table]:
    """Return the rows of both tables whose key, some columns, is in both, in the same order."""
    keys = [list(zip(*(table[name].to_pylist() for name in key), strict=True)) for table in (first, second)]
    at = {key: row for row, key in enumerate(keys[1])}
    rows = sorted((key, row, at[key]) for row, key in enumerate(keys[0]) if key in at)
    return (
        first.take(pa.array([row for _, row, _ in rows], pa.int64())).combine_chunks(),
        second.take(pa.array([row for _, _, row in rows], pa.int64())).combine_chunks(),
    )


def _names(first: Path, second: Path) -> list[str]:
    """Return a short name for each dataset: its scenario, or its folder, without what both paths have in common."""
    scenarios = [scenario_of(path)[1] for path in (first, second)]
    if all(scenarios) and scenarios[0] != scenarios[1]:
        return scenarios
    parts = [path.resolve().parts for path in (first, second)]
    while len(parts[0]) > 1 and len(parts[1]) > 1 and parts[0][-1] == parts[1][-1]:
        parts = [part[:-1] for part in parts]
    names = [part[-1] for part in parts]
    return names if names[0] != names[1] else ["first", "second"]


# -- differences ---------------------------------------------------------------------------------


def _means(
    paired: tuple[pa.Table, pa.Table], num_replicas: int, rng: np.random.Generator
) -> Iterator[Difference]:
    num = len(paired[0])
    weights = rng.multinomial(num, np.full(num, 1 / num), num_replicas)  # (R, E)
    for name in COUNTED:
        one, other = (np.asarray(table[name].fill_null(0), np.float64) for table in paired)
        replicas = weights @ (other - one) / num
        label = name.removeprefix("num_").removesuffix("_mev").replace("_", " ")
        unit = "MeV" if name.endswith("_mev") else ""
        yield _difference(name, label, MEANS, unit, one.mean(), other.mean(), replicas)


def _figures(
    paired: tuple[pa.Table, pa.Table], label: str, num_replicas: int, rng: np.random.Generator
) -> list[Difference]:
    num = len(paired[0])
    if not num:
        return []
    one, other = (_flat(pool_rows(table)) for table in paired)
    values = {key: np.full(num_replicas, np.nan) for key in one if key in other}
    for replica in range(num_replicas):
        rows = pa.array(rng.integers(0, num, num))
        drawn = [_flat(pool_rows(table.take(rows))) for table in paired]
        for key, found in values.items():
            found[replica] = drawn[1].get(key, np.nan) - drawn[0].get(key, np.nan)
    known = {figure.key: figure for figure in FIGURES}
    differences = []
    for key, replicas in values.items():
        figure = known.get(key)
        text = f"{figure.stage}: {_spelled(figure.label, key)}" if figure else ""
        unit = figure.unit if figure else ""
        if isfinite(one[key]) and isfinite(other[key]):
            differences.append(_difference(key, text, INPUTS[label], unit, one[key], other[key], replicas))
    order = [figure.key for figure in FIGURES]
    return sorted(differences, key=lambda d: order.index(d.figure) if d.figure in order else len(order))


def _difference(
    key: str, label: str, given: str, unit: str, first: float, second: float, replicas: NDArray[np.float64]
) -> Difference:
    used = replicas[np.isfinite(replicas)]
    error = float(used.std(ddof=1)) if len(used) > 1 else float("nan")
    return Difference(key, label, given, unit, float(first), float(second), float(second - first), error)


def _flat(pooled: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures that are one number, those of energies in bins by the name of their bin; no counts."""
    found = {
        key: float(value)
        for key, value in pooled.items()
        if isinstance(value, float) and not isinstance(value, bool)
    }
    for line in pooled["energies"]:
        high = "" if line["high_mev"] is None else f"{line['high_mev']:.0f}"
        stem = f"{line['what']}_{line['low_mev']:.0f}_{high}_mev"
        found |= {f"{stem}_{key}": float(line[key]) for key in ("bias", "resolution")}
    return found


def _spelled(label: str, key: str) -> str:
    """Return a label that can stand alone: the lines below another begin with a dash."""
    return key.replace("_", " ") if label.startswith("—") else label


# -- output --------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value


def _cells(one: Difference) -> tuple[str, str, str, str, str]:
    """Return a line of the table: label, both values, the difference with its error, and a mark."""
    if one.unit == "%":
        values = (f"{100 * one.first:.2f} %", f"{100 * one.second:.2f} %")
        difference = f"{100 * one.difference:+.2f} ± {100 * one.error:.2f} %"
    else:
        unit = f" {one.unit}" if one.unit else ""
        values = (f"{one.first:.4g}{unit}", f"{one.second:.4g}{unit}")
        difference = f"{one.difference:+.3g} ± {one.error:.2g}{unit}"
    if one.difference == 0 and one.error == 0:
        difference = "none"
    return one.label, *values, difference, "*" if one.is_beyond else ""


def shown_as(one: Difference) -> tuple[str, str, str]:
    """Return the first value, the difference with its error, and a mark, as text."""
    _, first, _, difference, mark = _cells(one)
    return first, difference, mark


def _sections(shown: Sequence[Difference]) -> dict[str, list[Difference]]:
    found: dict[str, list[Difference]] = {}
    for one in shown:
        found.setdefault(one.input, []).append(one)
    return found


def _said(about: Mapping[str, Any]) -> str:
    counts = about["events"]
    return (
        f"{counts['common']:,} events went through both, {counts['same_voxels']:,} of them with as many voxels; "
        f"{counts['only_first']:,} others are in the first, {counts['only_second']:,} in the second. Differences are "
        "second minus first, with one standard deviation of the paired difference "
        f"({about['num_replicas']} bootstrap replicas over events); * marks more than {BEYOND:.0f} of them."
    )


def _markdown(shown: Sequence[Difference], about: Mapping[str, Any]) -> str:
    lines = ["# Two productions of the same events", "", _said(about), ""]
    for title, rows in _sections(shown).items():
        lines += [
            f"| {title} | {' | '.join(about['names'])} | difference | |",
            "| --- | ---: | ---: | ---: | --- |",
        ]
        lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
        lines.append("")
    return "\n".join(lines)


def _terminal(shown: Sequence[Difference], about: Mapping[str, Any]) -> Table:
    table = Table(title=_said(about), title_justify="left", show_edge=False)
    for name, style in (("", ""), *((name, "") for name in about["names"]), ("difference", "bold"), ("", "")):
        table.add_column(name, style=style, justify="left" if not name else "right")
    for title, rows in _sections(shown).items():
        table.add_row(f"[bold]{title}[/bold]")
        for row in rows:
            label, *cells = _cells(row)
            table.add_row(f"  {label}", *cells)
        table.add_section()
    return table


def _difference_charts(shown: Sequence[Difference]) -> list[dict[str, Any]]:
    """Return the differences of shares with their errors, a chart for each kind of input and stage."""
    groups: dict[tuple[str, str], list[Difference]] = {}
    for one in shown:
        if one.unit == "%" and isfinite(one.error):
            groups.setdefault((one.label.split(":")[0], one.input), []).append(one)
    charts = []
    for (stage, given), rows in groups.items():
        names = [row.label.split(": ", 1)[1] for row in rows]
        series = [
            {
                "name": "difference",
                "x": names,
                "y": [round(100 * row.difference, 4) for row in rows],
                "error": [round(100 * row.error, 4) for row in rows],
            },
            {"name": "none", "x": names, "y": [0.0] * len(rows), "quiet": True},
        ]
        title = f"{stage}, {given}: difference of the figures"
        charts.append(
            {"title": title, "x": "", "y": "[%]", "series": series, "free_y": True, "categories": True}
        )
    return charts


def _overlaid(first: Path, second: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the distributions of both datasets in the same charts."""
    of = [{chart["title"]: chart for chart in distributions(folder)} for folder in (first, second)]
    charts = []
    for title, chart in of[0].items():
        both = [chart, of[1].get(title, {**chart, "series": []})]
        series = [
            {**one, "name": f"{name}: {one['name']}"}
            for name, of_one in zip(names, both, strict=True)
            for one in of_one["series"]
            if one["name"] != "truth" or of_one is chart  # the truth is the same in both
        ]
        charts.append({**chart, "series": series})
    return charts
