"""`lartpc report` and `lartpc show`: the figures and pictures of a production.

The page is one HTML file with all data and scripts in it; it needs no network.
"""

import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from lartpc import config
from lartpc.run.collect import read_summary
from lartpc.run.current import Current
from lartpc.run.display.data import displays, open_shards
from lartpc.run.report.charts import calibration_charts, distributions, training_charts
from lartpc.run.report.dedx import dedx_charts
from lartpc.run.report.figures import figures_table, flagged, outside_domain, sections
from lartpc.run.report.matrices import confusions, matrix, worst_row
from lartpc.run.report.origin import origins, timing, topologies
from lartpc.run.report.outcome import audited, located
from lartpc.run.report.performance import performance_charts
from lartpc.run.report.took import took
from lartpc.run.report.variations import scenario_lines, scenarios_of, scenarios_table
from lartpc.run.report.worst import Worst, worst_displays, worst_events

__all__ = ["figures_table", "report", "sections", "show"]


def report(
    dataset: Path,
    event_files: Sequence[Path],
    curves: Sequence[Path],
    out: Path,
    section: config.Report,
    event_path: str | None = None,
    results: Path | None = None,
) -> None:
    """Write the page of figures, distributions, training curves and event displays.

    Parameters
    ----------
    dataset
        Folder that `collect` wrote.
    event_files
        Event files of the shards to draw events from, in the order of the chain; those of a shard are
        overlaid. Samples without truth are drawn without it.
    curves
        Training curves (JSON lines), each in the folder of its stage.
    event_path
        Where the event files of any shard are, with `{step}` and `{shard}` in it: the worst events of all
        are then drawn, too. Without it they are listed only.
    results
        Folder of the results, whose benchmark files say what the jobs took; without it the page does not.

    Raises
    ------
    ValueError
        The dataset has no summary, or an event file cannot be read, or is not the one that its tables were made of.
    """
    from lartpc.run.display.page import WORDS, write_page  # `show` does without what draws pages

    if results and not results.is_dir():
        what = "is a file" if results.exists() else "does not exist"
        raise ValueError(f"{results} {what}; name the folder of a production's results")
    summary = read_summary(dataset)
    current = Current.of(dataset)
    shards = open_shards(event_files)
    try:
        for shard in shards:
            current.check_events(shard.file_uid, shard.contents())
        drawn = displays(shards, section)
        dedx, made_with = dedx_charts(shards), origins(shards)
    finally:
        for shard in shards:
            shard.close()
    worst = worst_events(dataset, section)
    pictures = worst_displays(worst, event_path, section, current) if event_path else [None] * len(worst)
    listed = []
    for event, picture in zip(worst, pictures, strict=True):
        names = [(one["file_uid"], one["entry"]) for one in drawn]
        number = (
            names.index((event.file_uid, event.entry)) if picture and picture_of(event) in names else None
        )
        if picture and number is None:
            number = len(drawn)
            drawn.append(picture)
        elif picture and number is not None:
            drawn[number] = picture  # the same event, with all its mistakes
        listed.append(worst_row(event, number))
    topology = topologies(dataset)
    data: dict[str, Any] = {
        "charts": [
            *performance_charts(dataset),
            *dedx,
            *distributions(dataset),
            *calibration_charts(summary["figures"]),
            *training_charts(curves),
        ],
        "displays": drawn,
        "words": WORDS,
    }
    write_page(
        Path(__file__).parent,
        "page.html",
        "page.js",
        out,
        summary=summary,
        sections=sections(summary),
        confusions=[
            *confusions(summary),
            *([{"title": topology["title"], **_topology(topology)}] if topology else []),
        ],
        scenarios=scenarios_of(summary),
        varied=scenario_lines(dataset),
        worst=listed,
        warnings=outside_domain(summary),
        data=data,
        groups=list(dict.fromkeys(chart["group"] for chart in data["charts"])),
        timing=timing(dataset),
        jobs=took(results, dataset) if results else [],
        origins=made_with,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=shlex.join(["lartpc", *sys.argv[1:]]),
    )


def _topology(found: dict[str, Any]) -> dict[str, Any]:
    return matrix(found["names"], found["counts"], found["columns"])


def picture_of(event: Worst) -> tuple[str, int]:
    """Return what an event's display is found by."""
    return event.file_uid, event.entry


def show(results: Path) -> None:
    """Print the figures of a production, and where its tables and its page are.

    Its dataset may be named as well, and a scenario of it, DATASET/scenario=NAME.

    Raises
    ------
    ValueError
        There is no dataset.
    """
    results, dataset = located(results)
    summary = read_summary(dataset)
    console = Console()
    console.print(figures_table(summary))
    if names := scenarios_of(summary):
        console.print(scenarios_table(summary))
        console.print(
            f"one     lartpc show {dataset}/scenario={names[0]}\nerrors  of the differences: lartpc compare {dataset}",
            highlight=False,
            soft_wrap=True,
        )
    for line in outside_domain(summary):
        console.print(f"warning: {line}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    console.print(f"flags   {flagged(summary)}", highlight=False, soft_wrap=True)
    for line in audited(results):
        console.print(f"audit   {line}", highlight=False, soft_wrap=True)
    console.print(f"tables  {dataset}", highlight=False, soft_wrap=True)
    if (results / "report.html").is_file():
        console.print(f"page    {results / 'report.html'}", highlight=False, soft_wrap=True)
