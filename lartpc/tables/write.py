"""Rows to parquet, in row groups, with bounded memory."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lartpc.atomic import complete, naming, part_of
from lartpc.content import reading, refuse_other
from lartpc.faults import is_passing
from lartpc.tables.arrow import column, flag_array, word_array
from lartpc.tables.fields import Rows
from lartpc.tables.schema import TABLES, schema

PROVENANCE = "provenance"
PAGES = "pages"
"""Metadata of a file: the number of its bytes before the footer, and their digest (BLAKE2b-128, hex)."""
ROW_GROUP = 65_536
"""Rows that are collected before they are written."""
NUM_PIECES = 256
"""Events whose rows wait one by one: arrays of a row or two take ten times the room of what is in them."""


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
            arrays.append(word_array(np.asarray(values, np.int8), field.words))
        elif pa.types.is_boolean(field.type):
            arrays.append(flag_array(np.asarray(values).astype(np.int8)))  # -1: not known
        else:
            arrays.append(column(values, field.type))
    return pa.Table.from_arrays(arrays, schema=schema(table))


def open_table(path: Path | pa.NativeFile, table: str) -> pq.ParquetWriter:
    """Begin a file of a table; its pages have checksums."""
    return pq.ParquetWriter(path, schema(table), compression="zstd", write_page_checksum=True)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a file that `TableWriter` wrote.

    Raises
    ------
    ValueError
        It is missing or damaged.
    """
    with reading_table(path):
        return pq.read_table(path, columns=columns, page_checksum_verification=True)


def read_figures(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a file of figures, which no manifest stands beside: its schema and the digest of its pages are checked.

    Raises
    ------
    ValueError
        It is missing, damaged, or of another version.
    """
    with reading_table(path):
        footer = pq.read_metadata(path)
    if not footer.schema.to_arrow_schema().equals(schema("metrics"), check_metadata=False):
        raise ValueError(f"{path} is damaged or of another version; make it again with 'lartpc evaluate'")
    size, stated = (footer.metadata or {}).get(PAGES.encode(), b"0 -").decode(errors="replace").split(" ", 1)
    if not size.isdigit() or _digest_of_pages(path, int(size)) != stated:
        raise ValueError(f"{path} is damaged: its pages do not have their digest; make it again")
    return read_table(path, columns)


def seal_pages(writer: pq.ParquetWriter, sink: pa.NativeFile, path: Path) -> None:
    """Write the digest of all that was written so far (into `path`) to the metadata; `read_figures` compares it."""
    sink.flush()
    size = sink.tell()
    writer.add_key_value_metadata({PAGES: f"{size} {_digest_of_pages(path, size)}"})


def _digest_of_pages(path: Path, size: int) -> str:
    found, left = hashlib.blake2b(digest_size=16), size
    with reading(path), path.open("rb") as file:
        while left > 0 and (piece := file.read(min(left, 2**20))):
            found.update(piece)
            left -= len(piece)
    return found.hexdigest()


@contextmanager
def reading_table(path: Path) -> Iterator[None]:
    """Turn what is said of damage into ValueError with the file's name."""
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    try:
        yield
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        if is_passing(error):  # Arrow's want of memory is a MemoryError, too
            raise
        if path.is_dir():
            raise ValueError(f"{path} is a folder that has other files than tables; name a table") from error
        refuse_other(path, "Parquet")
        raise ValueError(f"{path} is damaged: {' '.join(str(error).split())}; make it again") from error


class TableWriter:
    """Write one table to one file; leaving it normally completes the file, an exception removes it.

    `about` is kept in the file's metadata, as JSON under the key `provenance`.
    """

    def __init__(self, path: Path, table: str, about: Mapping[str, Any] | None = None) -> None:
        self.path, self.table, self.num_rows = path, table, 0
        self._part = part_of(path)
        self._sink = pa.OSFile(str(self._part), "wb")
        try:
            with naming(path):
                self._file = open_table(self._sink, table)
            if about is not None:
                self._file.add_key_value_metadata({PROVENANCE: json.dumps(about, sort_keys=True)})
        except BaseException:
            self._part.unlink()
            raise
        self._rows: list[Rows] = []
        self._blocks: list[Rows] = []
        self._waiting = 0

    def append(self, rows: Rows) -> None:
        """Add rows, as `tables.event_rows` returns them."""
        num = len(next(iter(rows.values())))
        if num:
            self._rows.append(rows)
            self.num_rows += num
            self._waiting += num
        if len(self._rows) >= NUM_PIECES:
            self._blocks, self._rows = [*self._blocks, _joined(self._rows)], []
        if self._waiting >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            whole = _joined([*self._blocks, *self._rows])
            with naming(self.path):
                self._file.write_table(to_arrow(self.table, whole), row_group_size=ROW_GROUP)
        self._rows, self._blocks, self._waiting = [], [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
                with naming(self.path):
                    seal_pages(self._file, self._sink, self._part)
                    self._file.close()
                    self._sink.close()
                    complete(self._part, self.path)
        finally:
            for file in (self._file, self._sink):
                with suppress(OSError):  # where the disk is full, closing fails, too
                    file.close()
            self._part.unlink(missing_ok=True)


def _joined(pieces: Sequence[Rows]) -> dict[str, Any]:
    return {name: _join([rows[name] for rows in pieces]) for name in pieces[0]}


def _join(pieces: Sequence[Any]) -> Any:
    if all(isinstance(piece, np.ndarray) for piece in pieces):
        return np.concatenate(pieces)
    return [value for piece in pieces for value in piece]
