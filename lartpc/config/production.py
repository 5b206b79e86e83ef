"""The configuration of a workflow: what is given, over the workflow's own, and the files that both name."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import ValidationError

from lartpc.config import SCENARIO_SECTIONS, Config, explain
from lartpc.config.base import NamesFile, Section
from lartpc.paths import at_home

Values = Mapping[str, Any]


class Production(NamedTuple):
    """A configuration, notes about the files that it names, and the configuration of each scenario by its name."""

    config: Config
    notes: list[str]
    scenarios: dict[str, Config]


def production(own: Values, given: Values, find_own: Callable[[str], str]) -> Production:
    """Return the configuration of a workflow, what to tell the user about the files that it names, and scenarios.

    Parameters
    ----------
    own
        Values of the workflow's own configuration file; its files lie beside the workflow.
    given
        Values of the user, or of the workflow that this one is a module of. They win; sections are merged
        key by key, lists and plain values are replaced. A relative path is looked for in the working
        folder, then beside the workflow; `~` is the home folder.
    find_own
        Where a file of the workflow is, from its path relative to the workflow's folder.

    Raises
    ------
    ValueError
        A key is unknown or out of bounds (pydantic's ValidationError), or a file does not exist.
    """
    notes: list[str] = []

    def find(key: str, path: str) -> str:
        path = at_home(path)
        if Path(path).exists() or not Path(found := find_own(path)).exists():
            return path
        if found != path:
            notes.append(f"{key}: {path} is not in the working folder; taking the workflow's own, {found}")
        return found

    values = merged(
        _with_files(own, lambda key, path: find_own(path)),
        # Keys of Snakemake itself are not ours to judge.
        _with_files({key: value for key, value in given.items() if key != "pathvars"}, find),
    )
    config = Config.model_validate(values)
    overrides = {
        name: _with_files(settings, lambda key, path, name=name: find(f"scenarios.{name}.{key}", path))  # type: ignore[misc]
        for name, settings in config.scenarios.items()
    }
    for name, settings in overrides.items():
        for key, path in _given_files(settings):
            _check(f"scenarios.{name}.{key}", path)
    for key, path in files_of(config):
        _check(key, path)
    scenarios = {name: _scenario(name, values, settings) for name, settings in overrides.items()}
    return Production(config, notes, scenarios)


def merged(below: Values, above: Values) -> dict[str, Any]:
    """Return values with others over them, key by key down to what is not a mapping."""
    result = dict(below)
    for key, value in above.items():
        under = result.get(key)
        result[key] = (
            merged(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
        )
    return result


def files_of(config: Section, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the key and the path of each file that a configuration names."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Section):
            yield from files_of(value, f"{prefix}{name}.")
        elif _names_file(field.annotation) or any(isinstance(mark, NamesFile) for mark in field.metadata):
            paths = (value,) if isinstance(value, str) else value or ()
            yield from ((f"{prefix}{name}", path) for path in paths)


@lru_cache
def digest_of_file(path: str) -> str:
    """Return a short digest of what a file holds, to make a job depend on that and not on its time."""
    with Path(path).open("rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=8)).hexdigest()


def _names_file(annotation: Any) -> bool:
    return any(isinstance(arg, NamesFile) or _names_file(arg) for arg in get_args(annotation))


def _keys(section: type[Section], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the keys of all settings that name files."""
    for name, field in section.model_fields.items():
        if _names_file(field.annotation) or any(isinstance(mark, NamesFile) for mark in field.metadata):
            yield (*prefix, name)
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, Section):
                yield from _keys(kind, (*prefix, name))


FILES = tuple(dict.fromkeys(_keys(Config)))
"""Keys of all settings that name files."""


def _with_files(values: Values, find: Callable[[str, str], str]) -> dict[str, Any]:
    """Return values with each file that they name replaced by what `find` makes of its key and path."""
    result: dict[str, Any] = json.loads(json.dumps(values))
    for keys in FILES:
        section: Any = result
        for key in keys[:-1]:
            section = section.get(key) if isinstance(section, dict) else None
        if not isinstance(section, dict) or keys[-1] not in section:
            continue
        value, name = section[keys[-1]], ".".join(keys)
        if isinstance(value, str):
            section[keys[-1]] = find(name, value)
        elif isinstance(value, list):
            section[keys[-1]] = [find(name, one) if isinstance(one, str) else one for one in value]
    return result


def _scenario(name: str, values: Values, settings: Values) -> Config:
    """Return the configuration of a scenario: settings over the values of the production."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or name == "nominal":
        raise ValueError(f"scenario '{name}': a name has letters, digits, _ and - only, and is not 'nominal'")
    if fixed := [key for key in settings if key not in SCENARIO_SECTIONS]:
        kind = "is of the whole production" if fixed[0] in Config.model_fields else "is no section"
        raise ValueError(
            f"scenario '{name}': {fixed[0]} {kind}; a scenario changes {', '.join(SCENARIO_SECTIONS)}"
        )
    try:
        return Config.model_validate({**merged(values, settings), "scenarios": {}})
    except ValidationError as error:
        raise ValueError(f"scenario '{name}': {explain(error)}") from None


def _given_files(values: Values) -> Iterator[tuple[str, str]]:
    """Yield the key and the path of each file that settings name."""
    found: list[tuple[str, str]] = []
    _with_files(values, lambda key, path: found.append((key, path)) or path)  # type: ignore[func-returns-value]
    yield from found


def _check(key: str, path: str) -> None:
    if not Path(path).exists():
        raise ValueError(
            f"{key}: the file {path} does not exist, neither in the working folder ({Path.cwd()}) nor beside the "
            "workflow; correct the path in the configuration"
        )
    if not Path(path).is_file():
        raise ValueError(f"{key}: {path} is a folder, not a file; name a file in the configuration")
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise ValueError(f"{key}: {path} cannot be read ({error.strerror}); see its permissions") from None
