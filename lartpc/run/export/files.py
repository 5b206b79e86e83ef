"""Files of PILArNet-M as they are written: HDF5 or Parquet, with what the format itself lacks.

That is: voxel size and centre of the box [cm], run, subrun and event number, and the unit of momenta. Loaders do not
mind.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from lartpc import __version__
from lartpc.atomic import abandon, need_room
from lartpc.ingest.formats.pilarnet import UNIT, WRITER
from lartpc.ingest.formats.pilarnet_layout import POINT
from lartpc.run.export.rows import ROW_TYPES, Format, tables_of

BLOCK = 256
"""Events written at once."""

Box = tuple[float, tuple[float, ...] | None]
"""Voxel size [cm], and the centre [cm] if the boxes have one."""

Rows = Sequence[Mapping[str, NDArray[Any]]]


class Hdf5Writer:
    """A dataset of rows of their own lengths for each table, and `identity`."""

    def __init__(self, path: Path, to: Format, box: Box) -> None:
        need_room(path)
        self._path = path
        self._file = h5py.File(path, "w")
        self._rows = {
            name: self._file.create_dataset(
                name, (0,), maxshape=(None,), dtype=h5py.vlen_dtype(ROW_TYPES[name]), chunks=(BLOCK,)
            )
            for name in tables_of(to)
        }
        self._identity = self._file.create_dataset(
            "identity", (0, 3), "i8", maxshape=(None, 3), chunks=(BLOCK, 3)
        )
        attrs = self._file.attrs
        attrs["writer"], attrs["momentum_unit"] = f"{WRITER} {__version__}", UNIT
        attrs["voxel_size_cm"] = box[0]
        if box[1] is not None:
            attrs["centre_cm"] = np.array(box[1])

    def append(self, rows: Rows, identities: Sequence[tuple[int, ...]]) -> None:
        """Write the rows and the run, subrun and event numbers of some events."""
        need_room(self._path, sum(table.nbytes for row in rows for table in row.values()))
        for name, data in self._rows.items():
            start = len(data)
            data.resize(start + len(rows), axis=0)
            for place, row in enumerate(rows):
                data[start + place] = row[name]
        if rows:
            start = len(self._identity)
            self._identity.resize(start + len(rows), axis=0)
            self._identity[start:] = np.array(identities)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._file.close()
        else:
            abandon(self._path, self._file.close)


class ParquetWriter:
    """A column of lists for each table, and `n_points`, `event_id`, `run`, `subrun` and `event`; a row per event."""

    def __init__(self, path: Path, to: Format, box: Box) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        stated = {
            "writer": f"{WRITER} {__version__}",
            "momentum_unit": UNIT,
            "voxel_size_cm": repr(box[0]),
        }
        if box[1] is not None:
            stated["centre_cm"] = " ".join(map(repr, box[1]))
        self._names = tables_of(to)
        lists = [(name, pa.list_(pa.from_numpy_dtype(ROW_TYPES[name]))) for name in self._names]
        numbers = [(name, pa.int64()) for name in ("n_points", "run", "subrun", "event")]
        self._schema = pa.schema([*lists, *numbers, ("event_id", pa.string())], metadata=stated)
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")

    def append(self, rows: Rows, identities: Sequence[tuple[int, ...]]) -> None:
        """Write the rows and the run, subrun and event numbers of some events, as a row group."""
        import pyarrow as pa

        if not rows:
            return
        columns: list[Any] = []
        for name in self._names:
            offsets = np.cumsum([0, *(len(row[name]) for row in rows)]).astype(np.int32)
            columns.append(pa.ListArray.from_arrays(offsets, np.concatenate([row[name] for row in rows])))
        columns.append(pa.array([len(row["point"]) // len(POINT) for row in rows]))
        columns += [pa.array(numbers) for numbers in zip(*identities, strict=True)]
        columns.append(pa.array(["_".join(map(str, numbers)) for numbers in identities]))
        self._writer.write_table(pa.table(columns, schema=self._schema))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
