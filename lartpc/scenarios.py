"""Scenarios: variations of detector and models in one production, and which of its jobs each has of its own."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lartpc.config import SCENARIO_SECTIONS, Config, listed, shared_slice, slice_of
from lartpc.stages import CHAIN, OPTIONAL, is_enabled, upstream_of

NOMINAL = "nominal"
"""Name of what the configuration says without a scenario."""

FOLDER = "scenarios"
"""Folder of the results below which each scenario has one for what it does not share."""

Digest = Callable[[str], str]


@dataclass(frozen=True)
class Branch:
    """One scenario: its whole configuration, and the jobs that are its own (`own`); all others it shares.

    Jobs are named by their step, those of figures `evaluate`, `images` those of figures of wire planes, and
    `STAGE on truth` those of stages on true input.
    """

    name: str
    config: Config
    own: frozenset[str]

    @property
    def folder(self) -> str:
        """Folder of what is its own, below the results, with a slash at its end; "" of the nominal production."""
        return "" if self.name == NOMINAL else f"{FOLDER}/{self.name}/"

    def folder_of(self, job: str) -> str:
        """Return the folder below the results, "" or with a slash at its end, where what a job makes lies."""
        return self.folder if job in self.own else ""


def branches(nominal: Config, scenarios: Mapping[str, Config], digest: Digest) -> list[Branch]:
    """Return the nominal production and all scenarios, in the order of their table.

    `digest` tells what a file holds, as weights of equal content are no change.

    Raises
    ------
    ValueError
        A scenario changes what cannot be varied, changes nothing, or is another one again.
    """
    found = [Branch(NOMINAL, nominal, frozenset())]
    for name, config in scenarios.items():
        _check(name, nominal, config)
        said = _said(config, digest)
        for other in found:
            if said == _said(other.config, digest):
                same = "changes nothing" if other.name == NOMINAL else f"is '{other.name}' again"
                raise ValueError(f"scenario '{name}' {same}; change its settings, or take it out")
        found.append(Branch(name, config, frozenset(_own(nominal, config, digest))))
    return found


def _check(name: str, nominal: Config, config: Config) -> None:
    if _kind(config) != _kind(nominal):
        raise ValueError(f"scenario '{name}': 2D and 3D images are productions of their own")
    for row in OPTIONAL:
        if is_enabled(row, getattr(config, row.name)) != is_enabled(row, getattr(nominal, row.name)):
            raise ValueError(
                f"scenario '{name}': {row.name}.enabled is for a whole production; set it outside scenarios"
            )
    for row in (*CHAIN, *OPTIONAL):
        before, now = getattr(nominal, row.name), getattr(config, row.name)
        if row.learned and not now.weights and (before.weights or _of_training(now) != _of_training(before)):
            raise ValueError(
                f"scenario '{name}': {row.name} would be trained for it, and networks are trained once a production; "
                f"give {row.name}.weights"
            )


def _kind(config: Config) -> tuple[int, bool]:
    return config.segment.dimension, config.ingest.wires.make_points


def _of_training(section: Any) -> Any:
    return [shared_slice(section), slice_of(section, "train")]


def _own(nominal: Config, config: Config, digest: Digest) -> Iterator[str]:
    """Yield the jobs that a scenario changes, or whose input it changes."""
    before, now = _said(nominal, digest), _said(config, digest)
    changed = {step for step in SCENARIO_SECTIONS if before[step] != now[step]}
    own = set(changed)
    if "simulate" in own:
        own.add("ingest")
    rows = [row for row in (*CHAIN, *OPTIONAL) if is_enabled(row, getattr(nominal, row.name))]
    for row in rows:
        if own & {"ingest", *(other.name for other in upstream_of(row))}:
            own.add(row.name)
    if own & {"ingest", *(row.name for row in rows)}:
        own.add("summarize")
    if "summarize" in own:
        own.add("evaluate")
    if "points" in own or "summarize" in changed:
        own.add("images")
    yield from own
    for row in CHAIN:
        if row.name in changed or "ingest" in own or "summarize" in changed:
            yield f"{row.name} on truth"


def _said(config: Config, digest: Digest) -> dict[str, Any]:
    """Return what decides the output of each step beside its input: settings, and what the weights hold."""
    found = {}
    for step in SCENARIO_SECTIONS:
        section = getattr(config, step)
        names = ("weights", "ghost_weights")
        weights = [[digest(path) for path in listed(getattr(section, name, None))] for name in names]
        found[step] = (slice_of(section, "infer"), *weights)
    return found
