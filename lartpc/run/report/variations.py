"""`lartpc compare DATASET`: each scenario of a dataset against the nominal production, and all in one table."""

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

from lartpc.atomic import write_each
from lartpc.run.collect import read_summary
from lartpc.run.report.compare import Difference, compare, shown_as
from lartpc.tables.scenarios import NOMINAL, of_scenario


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
    names = list(read_summary(dataset).get("scenarios", {}))
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
    rows: dict[tuple[str, str], dict[str, Difference]] = {}
    for name, differences in found.items():
        for one in differences:
            if one.label:
                rows.setdefault((one.label, one.input), {})[name] = one
    for (label, given), of in rows.items():
        cells = [shown_as(of[name]) if name in of else ("", "", "") for name in found]
        nominal = next(value for value, _, _ in cells if value)
        differences_ = [f"{difference}{' *' if mark else ''}" for _, difference, mark in cells]
        lines.append(f"| {label} | {given} | {nominal} | {' | '.join(differences_)} |")
    return "\n".join([*lines, ""])


def _plain(value: float) -> float | None:
    return value if isfinite(value) else None
