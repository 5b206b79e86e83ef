"""Progress on long work: a bar on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

LOG_INTERVAL_S = 15.0

T = TypeVar("T")


class Meter:
    """Count work done out of `total`, with free text beside it. Use as a context manager.

    Parameters
    ----------
    label, unit
        What is done, and what is counted.
    quiet
        Show nothing, as on all ranks but one.
    done
        What an earlier run has done; the time that is left is judged by what this one does.
    """

    def __init__(self, label: str, total: int, unit: str, quiet: bool = False, done: int = 0) -> None:
        self._label, self._total, self._unit, self._quiet = label, total, unit, quiet
        self._done = self._first = done
        self._start = self._last = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty() and not quiet:
            self._bar = _bar(unit)
            self._task = self._bar.add_task(label, total=total, completed=done, note="")

    def __enter__(self) -> "Meter":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()
        elif not self._quiet:
            self._line("")

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Count `amount` more as done."""
        self._done += amount
        if self._bar:
            self._bar.update(self._task, advance=amount, note=note)
        elif not self._quiet and time.monotonic() - self._last > LOG_INTERVAL_S:
            self._last = time.monotonic()
            self._line(note)

    def _line(self, note: str) -> None:
        seconds = time.monotonic() - self._start
        left, here = self._total - self._done, self._done - self._first
        ahead = f", {_clock(seconds / here * left)} left" if left and here else ""
        text = f"{self._label}: {self._done}/{self._total} {self._unit} in {_clock(seconds)}{ahead} {note}"
        sys.stderr.write(text.rstrip() + "\n")
        sys.stderr.flush()


def _bar(unit: str) -> "Progress":
    # here, so that jobs, which write to a log, start without it
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit} {{task.fields[note]}}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _clock(seconds: float) -> str:
    """Return a time as it is read: 45 s, 12 min, 3 h 05 min."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def follow(items: Iterable[T], label: str, total: int, unit: str = "events") -> Iterator[T]:
    """Yield the items while showing how many are done."""
    with Meter(label, total, unit) as meter:
        for item in items:
            yield item
            meter.advance()
