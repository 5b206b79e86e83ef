"""Writing event files: in bounded memory, whole or not at all, also where the disk is full."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from lartpc.atomic import ROOM_BYTES, abandon, complete, need_room, part_of
from lartpc.event import PRODUCTS, Columns, conform, empty, num_rows
from lartpc.geometry import Box
from lartpc.store.layout import CONTENT, DIGESTS, SEAL, VERSIONS
from lartpc.store.seal import Digest, digest_of, seal_of

CHUNK_ROWS = 16_384
FLUSH_ROWS = 262_144
QUARANTINE = np.dtype([("entry", "i8"), ("reason", h5py.string_dtype())])

FULL = "No space left on device"
"""What the system says where a disk is full (ENOSPC)."""
READ_ONLY = "Read-only file system"
"""And where it does not take anything any more (EROFS), as one that fails."""
ROW_BYTES = 256
"""No row of a product is larger."""


class EventWriter:
    """Write the products of one step, event by event, with bounded memory.

    Use as a context manager: leaving it normally completes the file, an exception removes it.
    """

    def __init__(
        self,
        path: Path,
        products: Sequence[str],
        *,
        file_uid: str,
        box: Box,
        attrs: Mapping[str, Any],
    ) -> None:
        self.path = path
        self._part = part_of(path)
        self._buffered = 0
        try:
            self._need_room()
        except OSError as error:
            raise self._full() from error
        attrs = {name: _without_zeros(value) for name, value in attrs.items()}
        # From this version on HDF5 keeps checksums of its own structure, too.
        self._file = h5py.File(self._part, "w", libver=("v110", "v110"))
        self._file.attrs.update(attrs)
        self._file.attrs["file_uid"] = file_uid
        self._file.attrs["box"] = json.dumps(box.as_dict())
        said = {name: value for name, value in attrs.items() if name not in VERSIONS}
        self._said = said | {"file_uid": file_uid, "box": box.as_dict(), "products": list(products)}
        self._products = tuple(products)
        self._buffer: dict[str, list[Columns]] = {name: [] for name in self._products}
        self._offsets: dict[str, list[int]] = {name: [0] for name in self._products}
        self._entries: list[int] = []
        self._quarantine: list[tuple[int, str]] = []
        self._digests: dict[str, Digest] = {}
        for name in self._products:
            self._create(name)

    def append(self, entry: int, products: Mapping[str, Mapping[str, Any]]) -> None:
        """Add an event: its entry number in the source and all products of the step.

        Raises
        ------
        ValueError
            A product is missing, or does not conform to `event.PRODUCTS`.
        """
        if set(products) != set(self._products):
            raise ValueError(
                f"entry {entry}: expected products {sorted(self._products)}, got {sorted(products)}"
            )
        conformed = {name: conform(name, products[name]) for name in self._products}
        self._entries.append(entry)
        for name, columns in conformed.items():
            rows = num_rows(columns)
            self._buffer[name].append(columns)
            self._offsets[name].append(self._offsets[name][-1] + rows)
            self._buffered += rows
        if self._buffered >= FLUSH_ROWS:
            self._flush()

    def quarantine(self, entry: int, reason: str, products: Mapping[str, Columns] | None = None) -> None:
        """Record that an event cannot be used and why; it keeps its place, with empty products.

        `products` replaces the emptiness where a product must stay aligned with another one.
        """
        self.append(entry, products or {name: empty(name) for name in self._products})
        self._quarantine.append((entry, _without_zeros(reason)))

    def set_attribute(self, name: str, value: Any) -> None:
        """Set a further root attribute, such as a timing known only at the end."""
        self._file.attrs[name] = _without_zeros(value)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                self._finish()
            except BaseException as failed:
                self._abandon(failed)
                raise
            complete(self._part, self.path)
        else:
            self._abandon(error)

    def _abandon(self, error: BaseException | None) -> None:
        """Remove what was written; raise ValueError where the disk is full or read-only."""
        abandon(self._part, self._file.close)
        if FULL in str(error):
            raise self._full() from error
        if READ_ONLY in str(error):
            raise ValueError(f"{self.path}: {READ_ONLY}; name a place on another disk") from error

    def _full(self) -> ValueError:
        return ValueError(
            f"{self.path}: {FULL}; make room ({ROOM_BYTES >> 20} MB and more), and give the same command again"
        )

    def _need_room(self) -> None:
        """Raise OSError where what is in memory may not fit on the disk."""
        need_room(self.path, ROW_BYTES * self._buffered)

    def _finish(self) -> None:
        self._flush()
        index = {f"{name}/offsets": np.asarray(offsets, "i8") for name, offsets in self._offsets.items()}
        index["entry"] = np.asarray(self._entries, "i8")
        index["quarantine"] = np.array(self._quarantine, QUARANTINE)
        for name, rows in index.items():
            self._file.create_dataset(name, data=rows)
        digests = {name: found.hexdigest() for name, found in self._digests.items()}
        digests |= {name: digest_of(rows) for name, rows in index.items()}
        said = json.dumps([self._said, digests], sort_keys=True, default=str)
        self._file.attrs[CONTENT] = hashlib.blake2b(said.encode(), digest_size=16).hexdigest()
        self._file.attrs[DIGESTS] = json.dumps(digests, sort_keys=True)
        self._file.attrs[SEAL] = seal_of(dict(self._file.attrs))
        self._file.close()

    def _create(self, product: str) -> None:
        group = self._file.create_group(product)
        group.attrs["row"] = PRODUCTS[product].row
        for name, column in PRODUCTS[product].columns.items():
            packing = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if column.packed else {}
            data = group.create_dataset(
                name,
                shape=(0, *column.shape),
                maxshape=(None, *column.shape),
                chunks=(CHUNK_ROWS, *column.shape),
                dtype=column.dtype,
                fletcher32=True,
                **packing,
            )
            self._digests[f"{product}/{name}"] = Digest()
            data.attrs["unit"] = column.unit
            data.attrs["description"] = column.description
            if column.codes:
                data.attrs["codes"] = json.dumps({code.name.lower(): int(code) for code in column.codes})

    def _flush(self) -> None:
        self._need_room()
        for product, pieces in self._buffer.items():
            if not pieces:
                continue
            for name in PRODUCTS[product].columns:
                rows = np.concatenate([piece[name] for piece in pieces])
                data = self._file[product][name]
                start = data.shape[0]
                data.resize(start + len(rows), axis=0)
                data[start:] = rows
                self._digests[f"{product}/{name}"].update(rows)
            pieces.clear()
        self._buffered = 0


def _without_zeros(value: Any) -> Any:
    """Return a text as HDF5 can hold it: zero bytes, as damaged files have them in names, are written out."""
    return value.replace("\0", "\\0") if isinstance(value, str) else value
