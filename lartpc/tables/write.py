"""Rows to parquet, in row groups, with bounded memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lartpc.atomic import complete, part_of
from lartpc.tables.fields import Rows
from lartpc.tables.schema import TABLES, schema

ROW_GROUP = 65_536
"""Rows that are collected before they are written."""


def to_arrow(table: str, rows: Mapping[str, Any]) -> pa.Table:
    """Turn columns into an Arrow table of the given schema; nan becomes null.

    Null, since filters on parquet files go by the least and largest value of a row group, and nan is
    neither.

    Raises
    ------
    ValueError
        A column is missing or unknown.
    """
    fields = TABLES[table].fields
    if set(rows) != set(fields):
        raise ValueError(f"table '{table}' has other columns: {sorted(set(rows) ^ set(fields))}")
    arrays = []
    for name, field in fields.items():
        values = rows[name]
        if field.words:
            codes = np.asarray(values, np.int8)
            indices = pa.array(codes, mask=codes < 0)
            arrays.append(pa.DictionaryArray.from_arrays(indices, pa.array(field.words, pa.string())))
        elif pa.types.is_boolean(field.type):
            codes = np.asarray(values).astype(np.int8)  # -1: not known
            arrays.append(pa.array(codes > 0, mask=codes < 0))
        elif isinstance(values, np.ndarray) and values.dtype != object:
            arrays.append(pa.array(values, from_pandas=True).cast(field.type))
        else:
            arrays.append(pa.array(list(values), field.type, from_pandas=True))
    return pa.Table.from_arrays(arrays, schema=schema(table))


class TableWriter:
    """Write one table to one file; leaving it normally completes the file, an exception removes it."""

    def __init__(self, path: Path, table: str) -> None:
        self.path, self.table, self.num_rows = path, table, 0
        self._part = part_of(path)
        self._file = pq.ParquetWriter(self._part, schema(table), compression="zstd")
        self._rows: list[Rows] = []
        self._waiting = 0

    def append(self, rows: Rows) -> None:
        """Add rows, as `tables.event_rows` returns them."""
        num = len(next(iter(rows.values())))
        if num:
            self._rows.append(rows)
            self.num_rows += num
            self._waiting += num
        if self._waiting >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            whole = {name: _join([rows[name] for rows in self._rows]) for name in self._rows[0]}
            self._file.write_table(to_arrow(self.table, whole), row_group_size=ROW_GROUP)
        self._rows, self._waiting = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._file.close()
        if kind is None:
            complete(self._part, self.path)
        else:
            self._part.unlink(missing_ok=True)


def _join(pieces: Sequence[Any]) -> Any:
    if all(isinstance(piece, np.ndarray) for piece in pieces):
        return np.concatenate(pieces)
    return [value for piece in pieces for value in piece]
