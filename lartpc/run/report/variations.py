"""`lartpc compare DATASET`: each scenario of a dataset against the nominal production, and all in one table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from rich.table import Table

from lartpc.atomic import write_each
from lartpc.run.collect import read_summary
from lartpc.run.report.compare import Difference, compare, differences, shown_as
from lartpc.run.report.figures import quality
from lartpc.tables.scenarios import NOMINAL, of_scenario

NUM_REPLICAS = 50
"""Bootstrap replicas behind the errors of the page: enough to see what moves; `lartpc compare` draws more."""


@dataclass(frozen=True)
class Line:
    """A line of the table of scenarios: a figure, its nominal value, and its difference in each, with a mark."""

    label: str
    input: str
    nominal: str
    differences: Sequence[tuple[str, str]]


def scenarios_of(summary: Mapping[str, Any]) -> list[str]:
    """Return the names of the scenarios beside the nominal production."""
    return [*summary.get("scenarios", {})]


def scenario_lines(dataset: Path) -> list[Line]:
    """Return what each scenario of a dataset changes, on the events that went through both; [] without scenarios."""
    names = scenarios_of(read_summary(dataset))
    nominal = of_scenario(dataset, NOMINAL)
    return _lines(
        {
            name: differences(nominal, of_scenario(dataset, name), num_replicas=NUM_REPLICAS)[0]
            for name in names
        }
    )


def scenarios_table(summary: Mapping[str, Any]) -> Table:
    """Return the figures of quality of all scenarios as a table for the terminal."""
    summaries = {NOMINAL: summary, **summary.get("scenarios", {})}
    table = Table(title="Scenarios", title_justify="left", show_edge=False)
    for name in ("", *summaries):
        table.add_column(name, justify="right" if name else "left")
    num = {name: one["num_events"] for name, one in summaries.items()}
    table.add_row("events", *(f"{one:,}" for one in num.values()))
    for what in ("particles", "interactions"):
        table.add_row(what, *(f"{one['rows'][what]:,}" for one in summaries.values()))
    found = {name: quality(one["figures"], one.get("errors", {})) for name, one in summaries.items()}
    for stage, lines in found[NOMINAL].items():
        for place, line in enumerate(lines):
            if line.chain and not line.is_bin and not line.label.startswith("—"):
                others = [found[name].get(stage, []) for name in summaries]
                cells = [
                    one[place].chain if place < len(one) and one[place].label == line.label else ""
                    for one in others
                ]
                table.add_row(line.label, *cells)
    return table


def compare_scenarios(
    dataset: Path, out: Path, *, num_replicas: int = 200, seed: int = 1, is_quiet: bool = False
) -> dict[str, list[Difference]]:
    """Compare each scenario of a dataset with the nominal production, event by event.

    Parameters
    ----------
    dataset
        Folder that `lartpc collect` wrote, of a production with scenarios.
    out
        Folder for `scenarios.md` and `scenarios.json`, and a folder for each scenario as `compare` writes it.
    is_quiet
        Do not print the tables.

    Raises
    ------
    ValueError
        The folder is not a dataset, or has no scenarios.
    """
    names = scenarios_of(read_summary(dataset))
    if not names:
        raise ValueError(f"{dataset} has no scenarios; name a second dataset to compare it with")
    nominal = of_scenario(dataset, NOMINAL)
    found = {
        name: compare(
            nominal,
            of_scenario(dataset, name),
            out / name,
            num_replicas=num_replicas,
            seed=seed,
            is_quiet=is_quiet,
        )
        for name in names
    }
    rows = [
        {
            "scenario": name,
            "figure": one.figure,
            "input": one.input,
            "unit": one.unit,
            **{key: _plain(getattr(one, key)) for key in ("first", "second", "difference", "error")},
        }
        for name, differences in found.items()
        for one in differences
    ]
    table = json.dumps(rows, indent=1, allow_nan=False) + "\n"
    write_each({out / "scenarios.json": table, out / "scenarios.md": _markdown(found)})
    return found


def _markdown(found: Mapping[str, Sequence[Difference]]) -> str:
    """Return a table of the figures that have a name: the nominal value, and the difference of each scenario."""
    lines = [
        "# Scenarios",
        "",
        "Differences are scenario minus nominal on the events that went through both, with one standard deviation of "
        "the paired difference; * marks more than 3 of them.",
        "",
        f"| figure | on | {NOMINAL} | {' | '.join(found)} |",
        f"| --- | --- | ---: | {' | '.join(['---:'] * len(found))} |",
    ]
    for line in _lines(found):
        cells = [f"{difference}{' *' if mark else ''}" for difference, mark in line.differences]
        lines.append(f"| {line.label} | {line.input} | {line.nominal} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _lines(found: Mapping[str, Sequence[Difference]]) -> list[Line]:
    """Return the figures that have a name, one line each for what they are measured on."""
    rows: dict[tuple[str, str], dict[str, Difference]] = {}
    for name, of_one in found.items():
        for one in of_one:
            if one.label:
                rows.setdefault((one.label, one.input), {})[name] = one
    lines = []
    for (label, given), of in rows.items():
        cells = [shown_as(of[name]) if name in of else ("", "", "") for name in found]
        nominal = next(value for value, _, _ in cells if value)
        lines.append(Line(label, given, nominal, [(difference, mark) for _, difference, mark in cells]))
    return lines


def _plain(value: float) -> float | None:
    return value if isfinite(value) else None
