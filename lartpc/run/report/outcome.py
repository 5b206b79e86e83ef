"""What a production came to, on one screen of the terminal: the end of a run."""

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

from lartpc.run.collect import read_summary
from lartpc.run.report.figures import flagged, outside_domain, quality
from lartpc.stages import CHAIN
from lartpc.tables.scenarios import scenario_of
from lartpc.text import json_of

_MOST_WARNINGS = 5
_LONGEST = 140
"""Letters of a warning; `lartpc show` and the page have all of it."""


def outcome(results: Path) -> list[str]:
    """Return the lines: events, first figure of each stage, what is to be looked at, where all is, what is next.

    Raises
    ------
    ValueError
        The production has no dataset.
    """
    results, dataset = located(results)
    summary = read_summary(dataset)
    rows = summary["rows"]
    lost = summary["num_quarantined"]
    names = [*summary.get("scenarios", {})]
    said = [
        (
            "events",
            f"{summary['num_events']:,} of {', '.join(summary['samples'])}; {lost:,} set aside, see quarantine",
        ),
        *(("chosen", line) for line in _chosen(summary)),
        (
            "found",
            f"{rows['points']:,} points, {rows['particles']:,} particles, {rows['interactions']:,} interactions in "
            f"{summary['num_voxels']:,} voxels",
        ),
        *(
            [("varied", f"{len(names)} scenarios: {shorten(', '.join(names), _LONGEST, placeholder=' …')}")]
            if names
            else []
        ),
        *(("quality" if not number else "", line) for number, line in enumerate(_figures(summary))),
        ("flags", flagged(summary)),
        *(("audit", line) for line in audited(results)),
        *(("warning", line) for line in _warnings(summary)),
        ("tables", f"{dataset}/<table>"),
    ]
    if (results / "report.html").is_file():
        said.append(("page", str(results / "report.html")))
    where = "" if results == Path("results") else f" {shlex.quote(str(results))}"
    particles = str(dataset / "particles")
    if activate := activation():
        said.append(("next", f"{activate:<46s} this environment, in a new shell first"))
    said += [
        ("" if activate else "next", f"{f'lartpc show{where}':<46s} all figures, beside published ones"),
        ("", f"{f'lartpc view {shlex.quote(str(results))}':<46s} events in a browser, with filters"),
        ("", f"python -c 'import pandas; print(pandas.read_parquet({json.dumps(particles)}))'"),
    ]
    return [f"{name:8s}{line}" for name, line in said]


def located(results: Path) -> tuple[Path, Path]:
    """Return the folder of a production's results and its dataset; the dataset may be named instead, or a scenario.

    Raises
    ------
    ValueError
        There is no dataset; the message says what to name.
    """
    folder, scenario = scenario_of(results)
    if scenario and (folder / "summary.json").is_file():
        return located(folder)[0], results
    if (results / "summary.json").is_file():
        return (results.parent if results.name == "dataset" else results), results
    if not (results / "dataset").is_dir():
        raise ValueError(f"{results} {_instead_of_results(results)}")
    return results, results / "dataset"


def audited(results: Path) -> list[str]:
    """Return what the audit of a production found, in a line; none without an audit."""
    path = results / "audit.json"
    if not path.is_file():
        return []
    said = json_of(path, "make it again with 'lartpc audit'")
    if not isinstance(said.get("findings"), list):
        raise ValueError(f"{path} is not what 'lartpc audit' writes; make it again")
    return [f"{len(said['findings']) or 'no'} findings in {said.get('num_files')} files, {path}"]


def activation() -> str:
    """Return the command that activates the environment that runs this, an empty string if nothing is to be done."""
    script = Path(sys.prefix) / "bin/activate"
    if not script.is_file() or os.environ.get("VIRTUAL_ENV") == sys.prefix:
        return ""
    near = os.path.relpath(script)
    return f"source {shlex.quote(str(script) if near.startswith('..') else near)}"


def _chosen(summary: Mapping[str, Any]) -> list[str]:
    """Return how many events of a sample were chosen, and of how many, one line each."""
    return [
        f"{one['num_events']:,} of the {one['num_in_files']:,} events in the files of {sample}: "
        + shorten(", ".join(one["asked"]), _LONGEST // 2, placeholder=" …")
        for sample, one in summary.get("chosen", {}).items()
    ]


def _figures(summary: Mapping[str, Any]) -> list[str]:
    """Return the first figure of each stage of the chain that was compared with the truth."""
    measured = quality(summary["figures"], summary.get("errors", {}))
    found = []
    for stage in CHAIN:
        known = [line for line in measured.get(stage.name, []) if line.chain]
        found += [
            f"{line.label}: {line.chain} (of {line.num:,})" if line.num else f"{line.label}: {line.chain}"
            for line in known[:1]
        ]
    return found


def _warnings(summary: Mapping[str, Any]) -> list[str]:
    lines = [shorten(line, _LONGEST, placeholder=" …") for line in outside_domain(summary)]
    more = len(lines) - _MOST_WARNINGS
    return lines[:_MOST_WARNINGS] + ([f"and {more} more, on the page"] if more > 0 else [])


def _instead_of_results(path: Path) -> str:
    """Say what a path is that is not a folder of results, and what to name instead."""
    if not path.exists():
        return "does not exist; name the folder of a production's results"
    if path.is_file():
        return "is a file; name the folder of a production's results"
    above = next(
        (one for one in path.resolve().parents if (one / "dataset" / "summary.json").is_file()), None
    )
    if above:
        return f"is a part of the results in {above}; name that folder"
    if (path / "results" / "dataset").is_dir():
        return f"is the folder of a production; name {path / 'results'}"
    return "has no dataset; it is made at the end of a production, or by 'lartpc collect'"
