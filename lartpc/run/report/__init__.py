"""`lartpc report` and `lartpc show`: the figures and pictures of a production.

The page is one HTML file with all data and scripts in it; it needs no network.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from lartpc import config
from lartpc.run.collect import read_summary
from lartpc.run.report.charts import calibration_charts, distributions, training_charts
from lartpc.run.report.displays import SEMANTIC_COLOURS, displays
from lartpc.run.report.figures import confusions, figures_table, outside_domain, sections, worst_row
from lartpc.run.report.worst import worst_displays, worst_events
from lartpc.tables.fields import names_of
from lartpc.vocab import PointKind, Semantic

__all__ = ["figures_table", "report", "sections", "show"]


def report(
    dataset: Path,
    event_files: Sequence[Path],
    curves: Sequence[Path],
    out: Path,
    section: config.Report,
    event_path: str | None = None,
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

    Raises
    ------
    ValueError
        The dataset has no summary, or an event file cannot be read.
    """
    from lartpc.run.report.page import write_page  # `show` does without what draws pages

    summary = read_summary(dataset)
    drawn = displays(event_files, section)
    worst = worst_events(dataset, section)
    pictures = worst_displays(worst, event_path, section) if event_path else [None] * len(worst)
    listed = []
    for event, picture in zip(worst, pictures, strict=True):
        listed.append(worst_row(event, len(drawn) if picture else None))
        if picture:
            drawn.append(picture)
    data: dict[str, Any] = {
        "charts": [
            *distributions(dataset),
            *calibration_charts(summary["figures"]),
            *training_charts(curves),
        ],
        "displays": drawn,
        "semantic": {"names": names_of(Semantic), "colours": SEMANTIC_COLOURS},
        "kinds": names_of(PointKind),
    }
    write_page(
        "page.html",
        out,
        summary=summary,
        sections=sections(summary),
        confusions=confusions(summary),
        worst=listed,
        warnings=outside_domain(summary),
        data=data,
        groups=list(dict.fromkeys(chart["group"] for chart in data["charts"])),
    )


def show(results: Path) -> None:
    """Print the figures of a production, and where its tables and its page are."""
    summary = read_summary(results / "dataset")
    console = Console()
    console.print(figures_table(summary))
    for line in outside_domain(summary):
        console.print(f"warning: {line}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if (results / "audit.json").is_file():
        said = json.loads((results / "audit.json").read_text())
        console.print(
            f"audit   {len(said['findings']) or 'no'} findings in {said['num_files']} files, {results / 'audit.json'}",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"tables  {results / 'dataset'}", highlight=False, soft_wrap=True)
    if (results / "report.html").is_file():
        console.print(f"page    {results / 'report.html'}", highlight=False, soft_wrap=True)
