"""Which events of files are asked for, by their place in a file or by run, subrun and event. Light."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lartpc.text import text_of

FORMS = (
    "'first N', an entry (7, from 0), entries (0-99, 100-), or run/subrun/event (1/0/7, 1/0/5-9, 1/*/*), several of "
    "them between commas, or @ and a file of them"
)
"""What can be written, for messages."""

_FIRST = re.compile(r"first\s+(\d+)")
_ENTRIES = re.compile(r"(\d+)(-(\d*))?")
_EVENTS = re.compile(r"(\d+)/(\d+|\*)/(?:(\d+)(?:-(\d+))?|\*)")


@dataclass(frozen=True)
class Asked:
    """One thing that is asked for: entries of each file, or events by their numbers; both ends of a range count.

    Parameters
    ----------
    text
        How it is written.
    low, high
        First and last entry, or event number; `high` None for all from `low` on.
    run
        Run number; None where entries are asked for.
    subrun
        Subrun number; None for any.
    """

    text: str
    low: int
    high: int | None
    run: int | None = None
    subrun: int | None = None

    @property
    def is_single(self) -> bool:
        """Tell whether it is one entry, or one number of run, subrun and event."""
        return self.low == self.high and (self.run is None or self.subrun is not None)


def asked_for(text: str) -> tuple[Asked, ...]:
    """Return what is asked for, each once, in the order that it is written; nothing for `-` or nothing.

    Raises
    ------
    ValueError
        Something is in none of the forms, asks for nothing, or its file does not exist.
    """
    if text.strip() in ("", "-"):
        return ()
    if not text.startswith("@"):
        return _each(text.split(","), "")
    path = Path(text[1:])
    if not path.is_file():
        raise ValueError(f"the list of events {path} does not exist")
    lines = (line.partition("#")[0] for line in text_of(path).splitlines())
    found = _each((word for line in lines for word in line.split(",") if word.strip()), f"{path}: ")
    if not found:
        raise ValueError(f"the list of events {path} names none")
    return found


def _each(words: Iterable[str], where: str) -> tuple[Asked, ...]:
    found: dict[str, Asked] = {}
    for word in words:
        one = _one(word.strip())
        if one is None:
            raise ValueError(f"{where}events {word.strip()!r} must be {FORMS}")
        found.setdefault(one.text, one)
    return tuple(found.values())


def _one(word: str) -> Asked | None:
    """Return what a word asks for, None if it cannot be understood or asks for nothing."""
    if first := _FIRST.fullmatch(word):
        num = int(first[1])
        return Asked(f"first {num}", 0, num - 1) if num else None
    if entries := _ENTRIES.fullmatch(word):
        low = int(entries[1])
        high = low if entries[2] is None else int(entries[3]) if entries[3] else None
        return Asked(word, low, high) if high is None or high >= low else None
    if events := _EVENTS.fullmatch(word):
        low, high = int(events[3] or 0), int(events[4] or events[3]) if events[3] else None
        subrun = None if events[2] == "*" else int(events[2])
        return Asked(word, low, high, int(events[1]), subrun) if high is None or high >= low else None
    return None
