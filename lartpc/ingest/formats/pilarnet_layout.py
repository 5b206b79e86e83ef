"""Layouts of PILArNet-M: its revisions, and the rows of numbers that an HDF5 or a Parquet file holds of each event.

A revision is a set of tables, one flat row of numbers of each table per event. Columns, codes and units are those of
the public decoder (DeepLearnPhysics/particle-imaging-models).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from lartpc.faults import is_passing
from lartpc.ingest.damage import explain
from lartpc.ingest.formats.hdf5 import (
    attribute,
    dataset,
    is_number,
    names,
    positive,
    read,
    readable,
    stated_centre,
)
from lartpc.ingest.source import numbered
from lartpc.ingest.steps import IntArray, integers

POINT = ("x", "y", "z", "value", "energy", "time", "num_electrons", "dx")
CLUSTER = ("num_points", "fragment", "group", "interaction", "semantic")
CLUSTER_2 = (*CLUSTER, "pid")
EXTRA = ("mass", "momentum", "vertex_x", "vertex_y", "vertex_z")
EXTRA_3 = (*EXTRA, "is_primary")
DIRECTION = ("momentum_x", "momentum_y", "momentum_z")
PARENT = ("parent_pdg", "parent_track_id")
INTERACTION = ("interaction", "vertex_x", "vertex_y", "vertex_z")
"""Columns of the tables `point`, `cluster`, `cluster_extra`, `cluster_extra_2` and `interaction_extra`."""

TABLES = ("point", "cluster", "cluster_extra", "cluster_extra_2", "interaction_extra")
"""Tables that are read, where a file has them."""

NUM_PROBED = 64
"""First events that are looked into, to tell the revision and whether there are times."""

WIDEST = 32
"""Most numbers per cluster that are looked for in a file of an unknown layout."""

PARQUET = b"PAR1"
BATCH = 64
"""Events of a Parquet file that are decoded at once."""

T = TypeVar("T")


class Layout(NamedTuple):
    """A revision: its name, and the columns of its tables."""

    name: str
    columns: dict[str, tuple[str, ...]]


def _layout(name: str, cluster: tuple[str, ...], **more: tuple[str, ...]) -> Layout:
    return Layout(name, {"point": POINT, "cluster": cluster, **more})


LAYOUTS = (
    _layout("revision 1", CLUSTER),
    _layout("revision 2", CLUSTER_2, cluster_extra=EXTRA),
    _layout("revision 2 without cluster_extra", CLUSTER_2),
    _layout("revision 3", CLUSTER_2, cluster_extra=EXTRA_3),
    _layout(
        "revision 3 extra",
        CLUSTER_2,
        cluster_extra=EXTRA_3,
        cluster_extra_2=DIRECTION + PARENT,
        interaction_extra=INTERACTION,
    ),
    _layout(
        "revision 3 extra, packed",
        CLUSTER_2,
        cluster_extra=EXTRA_3 + DIRECTION + PARENT,
        interaction_extra=INTERACTION,
    ),
    _layout(
        "revision 3 extra, packed without parents",
        CLUSTER_2,
        cluster_extra=EXTRA_3 + DIRECTION,
        interaction_extra=INTERACTION,
    ),
)
"""The one that fits most events counts; `cluster_extra_2` and `interaction_extra` may each be absent."""


class Rows(Protocol):
    """The rows of a file, whatever it is stored as."""

    path: Path
    num_events: int
    tables: tuple[str, ...]
    voxel_size_cm: float | None
    centre_cm: tuple[float, float, float] | None
    writer: str
    momentum_unit: str
    file: Any

    def row(self, name: str, entry: int) -> NDArray[Any]:
        """Return the row of numbers of an event; ValueError if it cannot be read."""
        ...

    def identities(self) -> IntArray:
        """Return run, subrun and event number of the events (E, 3)."""
        ...


class Hdf5Rows:
    """Rows of an HDF5 file: a dataset of rows of their own lengths per table."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path, self.file = path, file
        self._held = names(path, file)
        self.tables = tuple(name for name in TABLES if name in self._held or name in ("point", "cluster"))
        self._data = {name: dataset(path, file, name) for name in self.tables}
        self.num_events = len(self._data["point"])
        for name, data in self._data.items():
            row_type = h5py.check_vlen_dtype(data.dtype)
            if row_type is None or not is_number(row_type):
                raise ValueError(
                    f"{path}: dataset '{name}' is {data.dtype}; it must be one row of numbers per event"
                )
            if len(data) != self.num_events:
                raise ValueError(f"{path}: '{name}' has {len(data)} events, 'point' has {self.num_events}")
        size_cm = attribute(path, file, "voxel_size_cm")
        self.voxel_size_cm = (
            None if size_cm is None else positive(f"{path}: the attribute 'voxel_size_cm'", size_cm)
        )
        self.centre_cm = stated_centre(path, file)
        self.writer = str(attribute(path, file, "writer") or "")
        self.momentum_unit = str(attribute(path, file, "momentum_unit") or "")

    def row(self, name: str, entry: int) -> NDArray[Any]:
        """Return the row of numbers of an event; ValueError if it cannot be read."""
        with readable(self.path, name):
            row: NDArray[Any] = self._data[name][entry]
        return row

    def identities(self) -> IntArray:
        """Return run, subrun and event number of the events (E, 3)."""
        if "identity" not in self._held:
            return numbered(np.arange(self.num_events))
        data = dataset(self.path, self.file, "identity", ndim=2)
        if data.shape != (self.num_events, 3):
            raise ValueError(
                f"{self.path}: 'identity' has the shape {data.shape}; it must be ({self.num_events}, 3), run, subrun "
                "and event number of each event of 'point'"
            )
        return integers(f"{self.path}: 'identity'", read(self.path, data, 0, self.num_events))


class ParquetRows:
    """Rows of a Parquet file: a column of lists per table, one row per event.

    Events are best read in their order: a batch is held at a time, and to go back is to read again from the row
    group's begin.
    """

    def __init__(self, path: Path) -> None:
        from pyarrow import parquet

        self.path = path
        # the bytes of a column as they are needed, not of the whole row group; without threads, as a child reads
        self.file = _decode(path, lambda: parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False))
        schema = _decode(path, lambda: self.file.schema_arrow)
        for name in ("point", "cluster"):
            if name not in schema.names:
                raise ValueError(f"{path}: no column '{name}'; the file has {', '.join(schema.names)}")
        self.tables = tuple(name for name in TABLES if name in schema.names)
        for name in self.tables:
            if not _is_numbers(schema.field(name).type):
                raise ValueError(
                    f"{path}: column '{name}' is {schema.field(name).type}; it must be one list of numbers per event"
                )
        self._schema = schema
        groups = [self.file.metadata.row_group(i).num_rows for i in range(self.file.num_row_groups)]
        if min(groups, default=0) < 0 or sum(groups) != self.file.metadata.num_rows:
            raise ValueError(
                f"{path}: its row groups have {sum(groups)} rows, and it says {self.file.metadata.num_rows}; "
                "copy or make the file again"
            )
        self._first = np.cumsum([0, *groups])
        self.num_events = int(self._first[-1])
        self._group, self._start, self._batch, self._batches = -1, 0, None, iter(())
        stated = {
            key.decode(): value.decode()
            for key, value in (schema.metadata or {}).items()
            if key[:5] != b"ARROW"
        }
        self.writer, self.momentum_unit = stated.get("writer", ""), stated.get("momentum_unit", "")
        self.voxel_size_cm = (
            positive(f"{path}: its 'voxel_size_cm'", _number(path, stated["voxel_size_cm"]))
            if "voxel_size_cm" in stated
            else None
        )
        centre = [_number(path, part) for part in stated.get("centre_cm", "").split()]
        if centre and (len(centre) != 3 or not np.isfinite(centre).all()):
            raise ValueError(f"{path}: its 'centre_cm' is {stated['centre_cm']}; it must be a position in cm")
        self.centre_cm = (centre[0], centre[1], centre[2]) if centre else None

    def row(self, name: str, entry: int) -> NDArray[Any]:
        """Return the row of numbers of an event; ValueError if it cannot be read."""
        self._seek(entry)
        values = self._batch.column(name)[entry - self._start].values if self._batch is not None else None
        if values is None:
            raise ValueError(f"'{name}' is null")
        while hasattr(values, "flatten") and hasattr(values.type, "value_type"):
            values = values.flatten()
        numbers: NDArray[Any] = values.to_numpy(zero_copy_only=False)
        return numbers

    def identities(self) -> IntArray:
        """Return run, subrun and event number of the events (E, 3)."""
        wanted = ["run", "subrun", "event"]
        if not set(wanted) <= set(self._schema.names):
            return numbered(np.arange(self.num_events))
        table = _decode(self.path, lambda: self.file.read(columns=wanted, use_threads=False))
        return np.stack(
            [integers(f"{self.path}: '{name}'", table[name].to_numpy()) for name in wanted], axis=-1
        )

    def _seek(self, entry: int) -> None:
        group = int(np.searchsorted(self._first, entry, side="right")) - 1
        if group != self._group or entry < self._start:
            self._group, self._start, self._batch = group, int(self._first[group]), None
            self._batches = self.file.iter_batches(
                BATCH, row_groups=[group], columns=list(self.tables), use_threads=False
            )
        while self._batch is None or entry >= self._start + len(self._batch):
            self._start += 0 if self._batch is None else len(self._batch)
            self._batch = _decode(self.path, lambda: next(self._batches, None))
            if self._batch is None:
                self._group = -1
                raise ValueError(f"{self.path}: row {entry} is not there; copy or make the file again")


def is_parquet(path: Path) -> bool:
    """Tell whether a file is Parquet."""
    with path.open("rb") as file:
        return file.read(len(PARQUET)) == PARQUET


def parquet_columns(path: Path) -> tuple[str, ...]:
    """Return the names of the columns of a Parquet file; ValueError if it is damaged."""
    from pyarrow import parquet

    return tuple(_decode(path, lambda: parquet.read_schema(path)).names)


def find_layout(rows: Rows) -> Layout:
    """Tell the revision by the first events, in which points must add up and the tables of clusters be equally long.

    Raises
    ------
    ValueError
        None of the first events fits any revision.
    """
    candidates = [
        layout
        for layout in LAYOUTS
        if ("cluster_extra" in layout.columns) == ("cluster_extra" in rows.tables)
        and all(
            name in layout.columns for name in rows.tables if name in ("cluster_extra_2", "interaction_extra")
        )
    ]
    seen = ""
    votes = [0] * len(candidates)
    for entry in range(min(rows.num_events, NUM_PROBED)):
        try:
            found = {name: rows.row(name, entry) for name in rows.tables}
        except ValueError:
            continue  # the event will be set aside
        if not len(found["cluster"]):
            continue
        fits = [_fits(layout, found) for layout in candidates]
        votes = [sum(pair) for pair in zip(votes, fits, strict=True)]
        seen = seen or ("" if any(fits) else _widths(found))
    if candidates and (any(votes) or not seen):
        best = candidates[votes.index(max(votes))]
        return Layout(best.name, {name: best.columns[name] for name in rows.tables})
    known = "; ".join(
        f"{layout.name} ({', '.join(f'{name} {len(columns)}' for name, columns in list(layout.columns.items())[1:])})"
        for layout in LAYOUTS
    )
    raise ValueError(
        f"{rows.path} is PILArNet-M of an unknown layout: it has {', '.join(rows.tables)}{seen and f', {seen}'}; "
        f"read are, with the numbers of a row: {known}"
    )


def _fits(layout: Layout, found: dict[str, NDArray[Any]]) -> bool:
    num_points, rest = divmod(len(found["point"]), len(POINT))
    width = len(layout.columns["cluster"])
    if rest or len(found["cluster"]) % width or found["cluster"][::width].sum() != num_points:
        return False
    num_clusters = len(found["cluster"]) // width
    return all(
        len(row) == num_clusters * len(layout.columns[name])
        for name, row in found.items()
        if name.startswith("cluster_")
    ) and not len(found.get("interaction_extra", ())) % len(INTERACTION)


def _widths(found: dict[str, NDArray[Any]]) -> str:
    """Say how many numbers per cluster an event has, as far as that can be told."""
    num_points, rest = divmod(len(found["point"]), len(POINT))
    if rest:
        return f"and the rows of 'point' are not of {len(POINT)} numbers"
    row = found["cluster"]
    for width in range(1, WIDEST + 1):
        if not len(row) % width and row[::width].sum() == num_points:
            num = len(row) // width
            each = {name: len(row) / num for name, row in found.items() if name.startswith("cluster")}
            return (
                "with "
                + ", ".join(f"{value:.6g} numbers of '{name}'" for name, value in each.items())
                + " per cluster"
            )
    return "and its clusters do not count its points"


def _is_numbers(type_: Any) -> bool:
    import pyarrow as pa

    depth = 0
    while pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        type_, depth = type_.value_type, depth + 1
    return depth > 0 and bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))


def _number(path: Path, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{path}: its metadata has '{text}' where a number is") from None


def _decode(path: Path, read: Callable[[], T]) -> T:
    """Read something of a Parquet file; ValueError, which no fault of the machine is behind, if it is damaged."""
    try:
        return read()
    except Exception as error:
        if is_passing(error):
            raise
        text = explain(error)
    raise ValueError(f"{path} cannot be read ({text}); copy or make the file again")
