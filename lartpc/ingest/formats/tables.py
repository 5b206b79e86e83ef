"""Row tables of simulation files in HDF5: columns by alias, events by rows, bounded memory."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.ingest.formats.hdf5 import dataset, fields, is_number, read
from lartpc.ingest.keys import order_of
from lartpc.ingest.steps import IntArray, integers
from lartpc.vocab import NONE

WINDOW_ROWS = 65_536
"""Rows of a table held in memory at a time; an event with more rows is read whole."""

CACHE_BYTES = 134_217_728
"""A table up to this size is read once and held, so that memory is bounded all the same."""

LARGEST_SPAN = 4_194_304
"""Rows of an event that is in pieces lie no farther from each other, so that memory is bounded."""

INTEGERS = frozenset({"event_id", "track_id", "parent_id", "pdg", "process", "subprocess", "interaction"})
VECTORS = frozenset({"position", "momentum", "lepton_momentum", "vertex"})
FOUR_VECTORS = frozenset({"four_momentum"})
"""Our names of columns that must be whole numbers, and of those with three or four numbers a row; others have one."""

Aliases = Mapping[str, tuple[str, ...]]
"""Our name of a column → the names that it has in files, the preferred one first."""


class Table:
    """One compound dataset, with an event id in each row where `aliases` has one.

    Parameters
    ----------
    optional
        Columns that may be absent.
    text
        Columns that hold text.

    Raises
    ------
    ValueError
        A field that is not `optional` is missing or of the wrong type, or the rows cannot be read.
    """

    def __init__(
        self,
        path: Path,
        file: Any,
        name: str,
        aliases: Aliases,
        optional: Sequence[str] = (),
        text: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.name = name
        names = fields(path, file, name)
        self.field: dict[str, str] = {}
        for column, choices in aliases.items():
            found = next((choice for choice in choices if choice in names), None)
            if found is not None:
                self.field[column] = found
            elif column not in optional:
                raise ValueError(
                    f"{path}: dataset '{name}' has no field {' or '.join(map(repr, choices))} "
                    f"({column}); it has {', '.join(names) or 'no fields'}"
                )
        self._data = dataset(path, file, name)
        for column, found in self.field.items():
            self._check_type(column, found, column in text)
        self._first = 0
        self._window: NDArray[Any] = self._data[:0]
        self._order: IntArray | None = None

    def __len__(self) -> int:
        return int(self._data.shape[0])

    def columns(self, start: int, stop: int) -> dict[str, NDArray[Any]]:
        """Return the columns of the rows `start:stop`, in the order of `arrange`; reading forward is cheap."""
        if self._order is None:
            rows = self._rows(start, stop)
        else:
            row = self._order[start:stop]
            low, high = (int(row.min()), int(row.max()) + 1) if len(row) else (0, 0)
            if high - low > LARGEST_SPAN:
                raise ValueError(
                    f"rows of this event lie {high - low} rows apart in '{self.name}'; sort them by event"
                )
            rows = self._rows(low, high)[row - low]
        return {column: rows[field] for column, field in self.field.items()}

    def windows(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Go through all rows once, a window at a time."""
        for start in range(0, len(self), WINDOW_ROWS):
            rows = read(self.path, self._data, start, min(start + WINDOW_ROWS, len(self)))
            yield {column: rows[field] for column, field in self.field.items()}

    def event_ids(self) -> IntArray:
        """Return the event id of each row."""
        return self.whole("event_id")

    def whole(self, column: str) -> IntArray:
        """Return a column of whole numbers for all rows."""
        where = f"{self.path}: field '{self.field[column]}' of '{self.name}'"
        if len(self) * self._data.dtype.itemsize <= CACHE_BYTES:  # keep it: to read it costs decompression
            if len(self._window) != len(self):
                self._window, self._first = read(self.path, self._data, 0, len(self)), 0
            return integers(where, self._window[self.field[column]])
        pieces = [
            read(self.path, self._data, i, min(i + WINDOW_ROWS, len(self)), self.field[column])
            for i in range(0, len(self), WINDOW_ROWS)
        ]
        return np.concatenate([np.zeros(0, np.int64), *(integers(where, piece) for piece in pieces)])

    def arrange(self, order: IntArray) -> None:
        """Let `columns` count rows in this order (N,), so that those of an event stand together."""
        self._order = order

    def _rows(self, start: int, stop: int) -> NDArray[Any]:
        if start < self._first or stop > self._first + len(self._window):
            self._window = read(self.path, self._data, start, min(max(stop, start + WINDOW_ROWS), len(self)))
            self._first = start
        return self._window[start - self._first : stop - self._first]

    def _check_type(self, column: str, field: str, is_text: bool) -> None:
        base, shape = self._data.dtype[field].base, self._data.dtype[field].shape
        wanted = (3,) if column in VECTORS else (4,) if column in FOUR_VECTORS else ()
        if is_text:
            fits, what = base.kind in "SUO", "text"
        elif column.startswith("is_"):
            fits, what = base.kind in "biu", "true or false"
        elif column in INTEGERS:
            fits, what = base.kind in "iu", "a whole number"
        else:
            fits, what = is_number(base), "a real number"
        if not fits or shape != wanted:
            what = f"{'three' if wanted == (3,) else 'four'} of {what}" if wanted else what
            raise ValueError(
                f"{self.path}: field '{field}' of dataset '{self.name}' is {self._data.dtype[field]}; it must be {what}"
            )


def index_events(tables: Sequence[Table]) -> tuple[IntArray, list[IntArray]]:
    """Find the events of a file: their ids (E,), and for each table their row ranges (E, 2).

    An event may lack rows in some of the tables. Rows of an id that are not together are one event, and the
    tables are arranged to have them together; unless all tables agree on the events and the tracks of an id come
    again with it, as where files were joined: then each stretch is an event.

    Raises
    ------
    ValueError
        Ids come again, and it cannot be told whether as the same event.
    """
    ids = [table.event_ids() for table in tables]
    runs = [_runs(id_N) for id_N in ids]
    if not any(len(_comes_again(id_R)) for id_R, _ in runs):
        same = all(np.array_equal(id_R, runs[0][0]) for id_R, _ in runs)
        if same:
            return runs[0][0], [bounds for _, bounds in runs]
        return _match(runs)
    again = next(id_ for id_R, _ in runs for id_ in _comes_again(id_R)[:1].tolist())
    if _tracks_come_again(tables, ids, runs):
        for table, (id_R, _) in zip(tables, runs, strict=True):
            if not np.array_equal(id_R, runs[0][0]):
                raise ValueError(
                    f"{table.path}: event {again} comes again with the same tracks, so it is another event, and "
                    f"'{tables[0].name}' and '{table.name}' list different events; number the events anew"
                )
        return runs[0][0], [bounds for _, bounds in runs]
    has_tracks = len(tables) > 1 and "parent_id" in tables[1].field
    if not has_tracks and _looks_joined(*runs[0]):
        raise ValueError(
            f"{tables[0].path}: event {again} comes again in '{tables[0].name}' after other events, and so do most; "
            "if these are joined files, give these files themselves; if they are one event each, sort the rows by "
            "event"
        )
    first = np.concatenate([id_N for id_N in ids if len(id_N)])
    id_E, at_E = np.unique(first, return_index=True)
    rank = np.argsort(at_E, kind="stable")  # events in the order of the file
    id_E = id_E[rank]
    ranges = []
    for table, id_N in zip(tables, ids, strict=True):
        sorted_E = np.argsort(id_E, kind="stable")
        place_N = sorted_E[np.searchsorted(id_E[sorted_E], id_N)]
        order_N = order_of(place_N)
        table.arrange(order_N)
        stop_E = np.cumsum(np.bincount(place_N, minlength=len(id_E)))
        ranges.append(np.stack([np.append(0, stop_E[:-1]), stop_E], axis=-1))
    return id_E, ranges


def _match(runs: Sequence[tuple[IntArray, IntArray]]) -> tuple[IntArray, list[IntArray]]:
    """Put together the events of tables, each of which names an event once, ascending."""
    ids_E: IntArray = np.unique(np.concatenate([ids for ids, _ in runs]))
    ranges = []
    for ids, bounds in runs:
        range_E2 = np.zeros((len(ids_E), 2), np.int64)
        range_E2[np.searchsorted(ids_E, ids)] = bounds
        ranges.append(range_E2)
    return ids_E, ranges


def _runs(ids: IntArray) -> tuple[IntArray, IntArray]:
    """Return the id and the row range of each stretch of equal ids."""
    if not len(ids):
        return ids, np.zeros((0, 2), np.int64)
    start = np.append(0, np.flatnonzero(ids[1:] != ids[:-1]) + 1)
    return ids[start], np.stack([start, np.append(start[1:], len(ids))], axis=-1)


def _comes_again(id_R: IntArray) -> IntArray:
    """Return the ids of stretches that come again."""
    if (id_R[1:] > id_R[:-1]).all():
        return id_R[:0]
    ids, count = np.unique(id_R, return_counts=True)
    return ids[count > 1]


def _tracks_come_again(
    tables: Sequence[Table], ids: Sequence[IntArray], runs: Sequence[tuple[IntArray, IntArray]]
) -> bool:
    """Tell whether trajectories have a track twice in stretches of one event id."""
    for table, id_N, (_, bounds_R2) in zip(tables, ids, runs, strict=True):
        if "parent_id" not in table.field:
            continue
        run_N = np.repeat(np.arange(len(bounds_R2)), np.diff(bounds_R2, axis=-1)[:, 0])
        track_N = table.whole("track_id")
        order = np.lexsort((run_N, track_N, id_N))
        same = (np.diff(id_N[order]) == 0) & (np.diff(track_N[order]) == 0) & (np.diff(run_N[order]) != 0)
        if same.any():
            return True
    return False


def _looks_joined(id_R: IntArray, bounds_R2: IntArray) -> bool:
    """Tell whether most events come again in stretches of several rows."""
    num_again = len(_comes_again(id_R))
    num_rows = int(bounds_R2[-1, 1]) if len(bounds_R2) else NONE
    return 2 * num_again > len(np.unique(id_R)) and num_rows > 2 * len(id_R)
