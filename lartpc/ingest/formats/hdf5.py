"""Row tables of simulation files in HDF5: columns by alias, events by row range, bounded memory."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lartpc.ingest.steps import FloatArray, IntArray

WINDOW_ROWS = 65_536
"""Rows of a table held in memory at a time; an event with more rows is read whole."""

CACHE_BYTES = 134_217_728
"""A table up to this size is read once and held, so that memory is bounded all the same."""

Aliases = Mapping[str, tuple[str, ...]]
"""Our name of a column → the names that it has in files, the preferred one first."""


def is_hdf5(path: Path) -> bool:
    """Tell whether a file is HDF5."""
    return bool(h5py.is_hdf5(path))


def open_hdf5(path: Path) -> h5py.File:
    """Open a file for reading; ValueError if it is damaged."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error}); copy or make it again") from error


def fields(file: h5py.File, name: str) -> tuple[str, ...]:
    """Return the field names of a compound dataset, none if there is no such dataset."""
    found = file.get(name)
    return tuple(found.dtype.names or ()) if isinstance(found, h5py.Dataset) else ()


class Table:
    """One compound dataset with an event id in each row; the rows of an event stand together.

    Raises
    ------
    ValueError
        A field that is not `optional` is missing, or the rows cannot be read.
    """

    def __init__(
        self, path: Path, file: h5py.File, name: str, aliases: Aliases, optional: Sequence[str] = ()
    ) -> None:
        self.path = path
        self.name = name
        names = fields(file, name)
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
        self._data = file[name]
        self._first = 0
        self._window: NDArray[Any] = self._data[:0]

    def __len__(self) -> int:
        return int(self._data.shape[0])

    def columns(self, start: int, stop: int) -> dict[str, NDArray[Any]]:
        """Return the columns of the rows `start:stop`; reading forward is cheap."""
        if start < self._first or stop > self._first + len(self._window):
            self._window = self._read(start, max(stop, start + WINDOW_ROWS))
            self._first = start
        rows = self._window[start - self._first : stop - self._first]
        return {column: rows[field] for column, field in self.field.items()}

    def windows(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Go through all rows once, a window at a time."""
        for start in range(0, len(self), WINDOW_ROWS):
            rows = self._read(start, start + WINDOW_ROWS)
            yield {column: rows[field] for column, field in self.field.items()}

    def event_ids(self) -> IntArray:
        """Return the event id of each row."""
        if len(self) * self._data.dtype.itemsize <= CACHE_BYTES:  # keep it: to read it costs decompression
            self._window, self._first = self._read(0, len(self)), 0
            return self._window[self.field["event_id"]].astype(np.int64)
        data = self._data.fields(self.field["event_id"])
        try:
            pieces = [data[i : i + WINDOW_ROWS] for i in range(0, len(self), WINDOW_ROWS)]
        except OSError as error:
            raise self._damaged(error) from error
        return np.concatenate([np.zeros(0, np.int64), *pieces]).astype(np.int64)

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        try:
            rows: NDArray[Any] = self._data[start:stop]
        except OSError as error:
            raise self._damaged(error) from error
        return rows

    def _damaged(self, error: OSError) -> ValueError:
        return ValueError(
            f"{self.path}: dataset '{self.name}' cannot be read ({error}); copy or make it again"
        )


def index_events(tables: Sequence[Table]) -> tuple[IntArray, list[IntArray]]:
    """Find the events of a file: their ids (E,), and for each table their row ranges (E, 2).

    An event may lack rows in some of the tables. An id that comes again after other events is another
    event; this is only possible where all tables list the same events in the same order.

    Raises
    ------
    ValueError
        The ids repeat or descend, and the tables do not agree on them.
    """
    runs = [_runs(table.event_ids()) for table in tables]
    if all((np.diff(ids) > 0).all() for ids, _ in runs):
        ids_E: IntArray = np.unique(np.concatenate([ids for ids, _ in runs]))
        ranges = []
        for ids, bounds in runs:
            range_E2 = np.zeros((len(ids_E), 2), np.int64)
            range_E2[np.searchsorted(ids_E, ids)] = bounds
            ranges.append(range_E2)
        return ids_E, ranges
    for table, (ids, _) in zip(tables, runs, strict=True):
        if not np.array_equal(ids, runs[0][0]):
            raise ValueError(
                f"{table.path}: event ids repeat or are out of order, and the datasets '{tables[0].name}' "
                f"and '{table.name}' list different events; write the rows in ascending order of event id"
            )
    return runs[0][0], [bounds for _, bounds in runs]


def bounds_cm(segments: Table, length_in_cm: float) -> FloatArray | None:
    """Return the lowest and highest finite coordinates of the steps (2, 3) [cm], None without any."""
    low_3, high_3 = np.full(3, np.inf), np.full(3, -np.inf)
    for rows in segments.windows():
        for side in ("start", "end"):
            position_S3 = np.stack([rows[f"{axis}_{side}"] for axis in "xyz"], axis=-1).astype(np.float64)
            position_S3 = position_S3[np.isfinite(position_S3).all(axis=-1)]
            low_3 = np.minimum(low_3, position_S3.min(axis=0, initial=np.inf))
            high_3 = np.maximum(high_3, position_S3.max(axis=0, initial=-np.inf))
    return np.stack([low_3, high_3]) * length_in_cm if np.isfinite(low_3).all() else None


def _runs(ids: IntArray) -> tuple[IntArray, IntArray]:
    """Return the id and the row range of each stretch of equal ids."""
    if not len(ids):
        return ids, np.zeros((0, 2), np.int64)
    start = np.flatnonzero(np.diff(ids, prepend=ids[0] - 1))
    return ids[start], np.stack([start, np.append(start[1:], len(ids))], axis=-1)
