"""`lartpc simulate validate`: measure the simulation against published values."""

import json
import math
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from lartpc import __version__, config
from lartpc.atomic import make_folder, write_each
from lartpc.run.display.page import render
from lartpc.run.progress import Meter
from lartpc.run.report.validation import charts
from lartpc.run.simulate import simulate
from lartpc.simulate.validation import SAMPLES, Figure, Measured, Sample, Verdict, compare, measure, merge

TABLE, PAGE = "validation.json", "validation.html"
LEAST_ERROR = 1e-6
TABLE_WIDTH = 150
STYLES = {Verdict.WITHIN: "green", Verdict.OUTSIDE: "bold red", Verdict.UNCLEAR: "yellow"}


class Run(NamedTuple):
    """One run of Geant4."""

    sample: Sample
    num_events: int
    seed: int


def validate(
    cfg: config.Simulate,
    out: Path,
    *,
    precision_percent: float = 1.0,
    seed: int = 1,
    num_processes: int = 1,
    is_quiet: bool = False,
) -> list[Figure]:
    """Simulate particles with known properties, and write and print how they compare.

    What is measured depends on settings, seed and precision, not on the number of processes.

    Parameters
    ----------
    cfg
        Settings of the simulation; its production cut and greatest step are used.
    out
        Folder for the table (`validation.json`) and the page of plots (`validation.html`).
    precision_percent
        Statistical error aimed at for the shower figures [%]; the other figures come out better.
    seed
        Seed of all runs.
    num_processes
        Runs of Geant4 at a time.
    is_quiet
        Print nothing.

    Raises
    ------
    ValueError
        The settings or GEANT4_DATA_DIR cannot be used.
    RuntimeError
        Geant4 failed.
    """
    if not precision_percent > 0 or num_processes < 1:
        raise ValueError(
            "needs a precision above 0 % and at least 1 process, "
            f"got {precision_percent:g} % and {num_processes} processes"
        )
    make_folder(out)
    runs = planned(precision_percent, seed)
    measured = merge(_measured(cfg, runs, num_processes, out))
    found = compare(measured, cfg.max_step_mm)
    content = {
        "package_version": __version__,
        "geant4_version": str(measured.attrs["geant4_version"]),
        "geant4_data": str(measured.attrs["geant4_data"]),
        "production_cut_mm": cfg.production_cut_mm,
        "max_step_mm": cfg.max_step_mm,
        "seed": seed,
        "precision_percent": precision_percent,
        "num_events": {sample.name: sample.num_events(precision_percent) for sample in SAMPLES},
        "figures": [_as_json(figure) for figure in found],
    }
    groups = {
        group: [f for f in found if f.group == group] for group in dict.fromkeys(f.group for f in found)
    }
    page = render(
        Path(__file__).parent / "report",
        "validation.html",
        "page.js",
        data={"charts": charts(found, measured, cfg.max_step_mm), "displays": []},
        content=content,
        groups=groups,
        texts=texts,
        counts=counts(found),
    )
    write_each({out / TABLE: json.dumps(content, indent=2) + "\n", out / PAGE: page})
    if is_quiet:
        return found
    console = Console()
    # Where nobody can widen the window, as in a log, lines are as long as they need to be.
    Console(width=None if console.is_terminal else TABLE_WIDTH).print(_table(found))
    console.print(counts(found), highlight=False)
    console.print(f"table  {out / TABLE}\npage   {out / PAGE}", highlight=False, soft_wrap=True)
    return found


def planned(precision_percent: float, seed: int) -> list[Run]:
    """Return the runs of Geant4 for a precision, the longest first; each has a seed of its own."""
    runs = []
    for number, sample in reversed(list(enumerate(SAMPLES))):
        num_left = sample.num_events(precision_percent)
        for part in range(math.ceil(num_left / sample.num_per_run)):
            (own_seed,) = np.random.SeedSequence(seed, spawn_key=(number, part)).generate_state(1)
            runs.append(Run(sample, min(num_left, sample.num_per_run), int(own_seed)))
            num_left -= sample.num_per_run
    return runs


def _measured(cfg: config.Simulate, runs: Sequence[Run], num_processes: int, logs: Path) -> list[Measured]:
    """Run Geant4 and measure its files, which go again; return what each run gave, in order.

    What Geant4 prints stays in the folder `logs` if it fails.
    """
    lock = Lock()
    with (
        tempfile.TemporaryDirectory(prefix="lartpc-validate-") as folder,
        Meter("validate", sum(run.num_events for run in runs), "events") as meter,
        ThreadPoolExecutor(num_processes) as pool,
    ):

        def advance() -> None:
            with lock:
                meter.advance()

        def one(number: int) -> Measured:
            run = runs[number]
            path, log = Path(folder) / f"{number}.h5", logs / f"geant4-{number}.log"
            settings = run.sample.settings(cfg)
            simulate(settings, num_events=run.num_events, seed=run.seed, out=path, log=log, on_event=advance)
            found = measure(run.sample, path, cfg)
            path.unlink()
            log.unlink()
            return found

        try:
            return list(pool.map(one, range(len(runs))))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def default_processes() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def counts(found: Sequence[Figure]) -> str:
    """Return how many figures met their goals, in words."""
    within, outside, unclear = (sum(f.verdict == verdict for f in found) for verdict in Verdict)
    return f"{len(found)} figures: {within} within their goals, {outside} outside, {unclear} unclear"


def texts(figure: Figure) -> tuple[str, str, str, str, str]:
    """Return a figure's value, reference, ratio, goal and verdict as they are printed."""
    return (
        f"{with_error(figure.value, figure.error)} {figure.unit}".rstrip(),
        f"{with_error(figure.reference, figure.reference_error)} {figure.unit}".rstrip(),
        with_error(figure.ratio, figure.ratio_error),
        f"{100 * figure.goal:g} %",
        str(figure.verdict),
    )


def with_error(value: float, error: float) -> str:
    """Return a value with its error, to two figures of the error; without errors that do not show."""
    if not math.isfinite(value):
        return "–"
    if not error > LEAST_ERROR * abs(value):
        return f"{value:.5g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def _table(found: Sequence[Figure]) -> Table:
    table = Table(title="Simulation against published values", title_justify="left", box=None, pad_edge=False)
    table.add_column("quantity")
    for name in ("lartpc", "reference", "ratio", "goal"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("source of the reference", style="dim")
    group = None
    for figure in found:
        if figure.group != group:
            group = figure.group
            table.add_row(f"[bold]{group}[/bold]")
        *columns, verdict = texts(figure)
        style = STYLES[figure.verdict]
        table.add_row(f"  {figure.quantity}", *columns, f"[{style}]{verdict}[/{style}]", figure.source)
    return table


def _as_json(figure: Figure) -> dict[str, Any]:
    values = {
        **figure._asdict(),
        "ratio": figure.ratio,
        "ratio_error": figure.ratio_error,
        "verdict": str(figure.verdict),
    }
    # JSON has no NaN.
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
