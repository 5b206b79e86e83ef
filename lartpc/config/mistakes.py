"""What is wrong with a configuration, in words that say what to write instead."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import ValidationError

from lartpc.config.base import Section

_FEW = 12
"""Settings that are all listed where none of them is near."""


def explain(error: ValidationError, root: type[Section] | None, prefix: str = "") -> str:
    """Turn pydantic's report on a section (`root`) into one clause per wrong key; `prefix` stands before the keys."""
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in (*filter(None, [prefix]), *item["loc"]))
        if item["type"] == "extra_forbidden" and root:
            lines.append(f"{key}: there is no such setting{_instead(root, item['loc'])}")
        else:
            lines.append(f"{key}: {item['msg']} (got {item['input']!r})")
    return "; ".join(lines)


def _instead(root: type[Section], keys: Sequence[Any]) -> str:
    """Return what may have been meant by the last of the keys."""
    *path, wrong = map(str, keys)
    inside = list(_sections(root, path))
    names = list(dict.fromkeys(name for section in inside for name in section.model_fields))
    elsewhere = [".".join(place) for place in _places(root) if place[-1] == wrong]
    if near := get_close_matches(wrong, names, n=1, cutoff=0.6 if not elsewhere else 0.85):
        return f"; did you mean '{near[0]}'?"
    if elsewhere:
        return f"; there is {', '.join(elsewhere[:3])}"
    return f"; there are {', '.join(names)}" if len(names) <= _FEW else ""


def _sections(root: type[Section], path: Sequence[str]) -> Iterator[type[Section]]:
    """Yield the sections that may stand at a path, which names kinds of sections, too, where there are several."""
    found = [root]
    for part in path:
        below = [
            kind
            for section in found
            if part in section.model_fields
            for kind in _kinds(section.model_fields[part].annotation)
        ]
        found = below or found
    yield from found


def _kinds(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)


def _places(root: type[Section], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the keys of all settings."""
    for name, item in root.model_fields.items():
        yield (*above, name)
        for kind in _kinds(item.annotation):
            yield from _places(kind, (*above, name))
