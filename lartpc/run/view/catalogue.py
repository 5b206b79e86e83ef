"""The events that can be looked at: of a production's results, or of event files; and filters by their tables."""

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from lartpc import config
from lartpc.run.current import Current
from lartpc.run.display.data import display
from lartpc.run.volumes import active_volumes_cm
from lartpc.scenarios import FOLDER
from lartpc.stages import CHAIN, chain_in
from lartpc.store import Events, open_events
from lartpc.tables import TABLES
from lartpc.tables.scenarios import NOMINAL, of_scenario, scenario_of, scenarios_in
from lartpc.tables.written import written_table

KEY = ["file_uid", "entry"]
_BASE = "events"
SHOWN = (
    *("sample", "run", "subrun", "event", "status", "num_voxels", "energy_mev"),
    *("num_particles", "num_interactions", "num_truth_particles", "num_truth_interactions"),
)
"""Columns of the list of events, besides which file and entry they are."""
NUM_ROWS = 500
"""Rows of the list that are sent at a time."""


class Catalogue:
    """Events by their number, in the order of the tables, or of the files where there are none.

    Parameters
    ----------
    paths
        One folder of results, or event files of any shards and steps; those of a shard are overlaid. A scenario of
        results is named by `RESULTS/dataset/scenario=NAME`; without it they are of the nominal production.

    Raises
    ------
    ValueError
        There are no events in them.
    """

    def __init__(self, paths: Sequence[Path], max_voxels: int) -> None:
        self.max_voxels = max_voxels
        self.paths = paths
        self.results: Path | None = None
        self._files: dict[str, list[Path]] = {}
        self.scenarios: list[str] = []
        dataset, self.scenario = scenario_of(paths[0]) if len(paths) == 1 else (Path(), "")
        if len(paths) == 1 and (self.scenario or paths[0].is_dir()):
            self.results = dataset.parent if self.scenario else paths[0]
            self._dataset = self.results / "dataset"
            if not (self._dataset / _BASE).is_dir():
                raise ValueError(
                    f"{paths[0]} is not a folder of results: it has no dataset/{_BASE}; name event files instead"
                )
            self.scenarios = scenarios_in(self._dataset, _BASE)
            if self.scenarios and not self.scenario:
                self.scenario = NOMINAL
            if self.scenario and self.scenario not in self.scenarios:
                known = f"there are {', '.join(self.scenarios)}" if self.scenarios else "it has none"
                raise ValueError(f"{dataset} has no scenario '{self.scenario}'; {known}")
            self.current = Current([self._dataset], self.results, self.scenario)
            kept = pq.ParquetDataset(self._table(_BASE)).schema.names
            self.events = self._read(_BASE, [name for name in SHOWN if name in kept])
            self.tables = [name for name in TABLES if self._is_of_events(name)]
        else:
            self.current = Current(paths)
            self.events = self._of_files(paths)
            self.tables = [_BASE]
        if self.events.empty:
            raise ValueError(f"no events in {', '.join(map(str, paths))}")

    def of_scenario(self, name: str) -> "Catalogue":
        """Return the events of a scenario of the same results; "": these.

        Raises
        ------
        ValueError
            There is no such scenario.
        """
        if name in ("", self.scenario):
            return self
        if not self.results or name not in self.scenarios:
            raise ValueError(f"no scenario '{name}'; there are {', '.join(self.scenarios) or 'none'}")
        return Catalogue([of_scenario(self.results / "dataset", name)], self.max_voxels)

    def columns(self, table: str) -> list[str]:
        """Return the names of the columns that a filter of a table can have."""
        return [*TABLES[table].fields] if self.results else [*self.events.columns]

    def select(self, table: str, where: str) -> list[int]:
        """Return the numbers of the events with a row of a table for which an expression holds; all for none.

        Raises
        ------
        ValueError
            There is no such table or column, or the expression is more than comparisons of columns.
        """
        if not where.strip():
            return [*range(len(self.events))]
        if table not in self.tables:
            raise ValueError(f"no table '{table}'; there are {', '.join(self.tables)}")
        names = names_in(where)
        known = self.columns(table)
        if lost := [name for name in names if name not in known]:
            raise ValueError(f"no column '{lost[0]}' in {table}")
        frame = self._read(table, names) if self.results else self.events
        try:
            found = frame.query(where.strip(), engine="python")
        except Exception as error:
            raise ValueError(f"'{where}' cannot be used as a filter: {error}") from error
        chosen = pd.MultiIndex.from_frame(found[KEY])
        return [int(row) for row in np.flatnonzero(pd.MultiIndex.from_frame(self.events[KEY]).isin(chosen))]

    def found(self, numbers: Sequence[int], text: str) -> list[int]:
        """Return those of some events whose `file_uid/entry` has a text in it, or whose `run/subrun/event` it is."""
        if not (text := text.strip().lower()):
            return [*numbers]
        triple = [name for name in ("run", "subrun", "event") if name in self.events]
        ids = self.events[triple].astype(str).agg("/".join, axis="columns") if len(triple) == 3 else None
        return [
            number
            for number, name in zip(numbers, self.names(numbers), strict=True)
            if text in name.lower() or (ids is not None and ids.iloc[number] == text)
        ]

    def ordered(self, numbers: Sequence[int], column: str, *, descending: bool) -> list[int]:
        """Return some events by the values of a column of the list; "": as they are.

        Raises
        ------
        ValueError
            The list has no such column.
        """
        if not column:
            return [*numbers]
        if column not in self.events:
            raise ValueError(f"no column '{column}' in the list of events")
        values = self.events[column].iloc[[*numbers]].reset_index(drop=True)
        order = values.sort_values(ascending=not descending, kind="stable").index
        return [numbers[int(place)] for place in order]

    def rows(self, numbers: Sequence[int]) -> dict[str, list[Any]]:
        """Return the columns of the list for some events, the first `NUM_ROWS`."""
        frame = self.events.iloc[[*numbers[:NUM_ROWS]]].drop(columns=KEY)
        return {name: [_plain(value) for value in frame[name].tolist()] for name in frame}

    def names(self, numbers: Sequence[int]) -> list[str]:
        """Return `file_uid/entry` of events."""
        rows = self.events.iloc[list(numbers)]
        return [f"{uid}/{entry}" for uid, entry in zip(rows["file_uid"], rows["entry"], strict=True)]

    def number(self, name: str) -> int:
        """Return the number of an event from its `file_uid/entry`; of the first one for "".

        Raises
        ------
        ValueError
            There is no such event.
        """
        names = self.names(range(len(self.events)))
        if name and name not in names:
            raise ValueError(f"no event '{name}'; the first of {len(names)} is '{names[0]}'")
        return names.index(name) if name else 0

    def display(self, number: int) -> dict[str, Any]:
        """Return what is drawn of an event.

        Raises
        ------
        ValueError
            There is no such event, its files are gone, or they are not those that the tables were made of.
        """
        if not 0 <= number < len(self.events):
            raise ValueError(f"no event {number}; there are {len(self.events)}")
        uid, entry = str(self.events["file_uid"].iloc[number]), int(self.events["entry"].iloc[number])
        with open_events(*self._files_of(uid)) as shard:
            self.current.check_events(uid, shard.contents())
            (row,) = np.flatnonzero(shard.entries == entry)
            volumes_cm = active_volumes_cm(shard, config.Summarize())
            reason = shard.quarantined().get(entry)
            return display(shard[int(row)], self.max_voxels, volumes_cm=volumes_cm, quarantined=reason)

    def _files_of(self, uid: str) -> list[Path]:
        if not self.results:
            return self._files[uid]
        nominal = self.results / "events"
        own = self.results / FOLDER / self.scenario / "events" if self.scenario else nominal
        folder = own if (own / "ingest" / f"{uid}.h5").is_file() else nominal
        ingested = folder / "ingest" / f"{uid}.h5"
        if not ingested.is_file():
            raise ValueError(f"{ingested} is not there; the displays need the event files of the production")
        with open_events(ingested) as events:
            steps = [row.name for row in chain_in(events.box.dimension)]
        made = []
        for step in steps:
            if (own / step / f"{uid}.h5").is_file():
                folder = own  # what follows is the scenario's own, too
            made.append(folder / step / f"{uid}.h5")
        return [ingested, *(path for path in made if path.is_file())]

    def _table(self, table: str) -> Path:
        return written_table(of_scenario(self._dataset, self.scenario), table)

    def _is_of_events(self, table: str) -> bool:
        keyed = TABLES[table].key[:2] == tuple(KEY)
        return keyed and any(self._table(table).glob("*.parquet"))

    def _read(self, table: str, names: Sequence[str]) -> pd.DataFrame:
        columns = [*dict.fromkeys([*KEY, *names])]
        return pd.read_parquet(self._table(table), columns=columns)

    def _of_files(self, paths: Sequence[Path]) -> pd.DataFrame:
        frames = {}
        for path in paths:
            with open_events(path) as events:
                self._files.setdefault(events.file_uid, []).append(path)
        for uid, files in self._files.items():
            with open_events(*files) as events:
                _require_image(events, files)
                frames[uid] = pd.DataFrame(
                    {"file_uid": uid, "entry": events.entries, "num_voxels": events.num_voxels()}
                    | {
                        f"num_{name}": events.num_rows(name)
                        for row in CHAIN
                        for name in row.writes
                        if name in events.products and name in _COUNTED
                    }
                )
        return pd.concat(frames.values(), ignore_index=True) if frames else pd.DataFrame(columns=KEY)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: no nan, and floats of five digits."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if np.isfinite(value) else None
    return None if value is pd.NA else value


_COUNTED = ("point", "fragment", "particle", "interaction")


def names_in(where: str) -> list[str]:
    """Return the columns that a filter names, or raise ValueError where it is more than comparisons of them."""
    try:
        tree = ast.parse(where.strip(), mode="eval")
    except SyntaxError as error:
        raise ValueError(f"'{where}' cannot be used as a filter: {error.msg}") from error
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED):
            raise ValueError(f"'{where}' cannot be used as a filter: it may only compare columns")
    return [*dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))]


_ALLOWED = (
    *(ast.Expression, ast.BoolOp, ast.boolop, ast.UnaryOp, ast.unaryop, ast.BinOp, ast.operator),
    *(ast.Compare, ast.cmpop, ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple),
)
"""What a filter may consist of: no calls, no attributes, nothing that does anything."""


def _require_image(events: Events, files: Sequence[Path]) -> None:
    if "voxel" not in events.products:
        raise ValueError(
            f"{', '.join(map(str, files))} have no voxels; name the file that 'lartpc ingest' wrote of "
            f"{events.file_uid}, too"
        )
