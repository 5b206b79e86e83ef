"""Events in memory in the place of an event file, whose writing is most of the time of a small case."""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from lartpc.event import Columns, Event, conform, empty
from lartpc.geometry import Box


class Recorder:
    """What `EventWriter` does, in memory; `open_recorded` gives it as `open_events` does the file."""

    last: "Recorder"

    def __init__(
        self, path: Path, products: Sequence[str], *, file_uid: str, box: Box, attrs: Mapping[str, Any]
    ) -> None:
        self.file_uid, self.box, self._products = file_uid, box, products
        self.events: list[Event] = []
        self.aside: dict[int, tuple[str, str]] = {}

    def append(self, entry: int, products: Mapping[str, Mapping[str, Any]]) -> None:
        """Add an event."""
        assert set(products) == set(self._products)
        conformed = {name: conform(name, columns) for name, columns in products.items()}
        self.events.append(Event(self.file_uid, entry, self.box, conformed))

    def quarantine(self, entry: int, reason: str, products: Mapping[str, Columns] | None = None) -> None:
        """Add an event that cannot be used."""
        self.append(entry, products or {name: empty(name) for name in self._products})
        self.aside[entry] = ("ingest", reason)

    def set_attribute(self, name: str, value: Any) -> None:
        """Take an attribute, which says nothing of events."""

    def quarantined(self) -> dict[int, tuple[str, str]]:
        """Return the events set aside."""
        return self.aside

    def stream(self) -> Iterator[Event]:
        """Yield the events."""
        yield from self.events

    def __len__(self) -> int:
        return len(self.events)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            Recorder.last = self


def in_this_process(work: Callable[[], Any], name: str) -> Any:
    """Do what `in_child` does, here: what is raised loses what it came of."""
    try:
        return work()
    except Exception as error:
        lines = [
            f"{frame.f_code.co_filename}:{line}" for frame, line in traceback.walk_tb(error.__traceback__)
        ]
        error.add_note("\n".join(lines))  # whole tracebacks take longer than the case
        error.__cause__ = error.__context__ = error.__traceback__ = None
        raised = error
    raise raised


IN_MEMORY: dict[str, Any] = {
    "lartpc.run.ingest.EventWriter": Recorder,
    "lartpc.run.ingest.in_child": in_this_process,
    "lartpc.provenance.git_revision": lambda: "",
    "fuzz.own_files.in_child": in_this_process,
    "fuzz.cases.open_events": lambda _: Recorder.last,
}
"""What stands in the place of what, so that `ingest` writes to memory in this process, and cases read from there."""
