"""The event store: HDF5 files that each hold what one step adds to the events of one shard.

A product is a group of flat columns with `offsets` (events + 1): event `i` owns the rows
`offsets[i]:offsets[i + 1]`. Files of the same shard are overlaid by `open_events`. A file is written
beside its final name and renamed when whole, so what exists is complete.
"""

import errno
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from lartpc.atomic import complete, part_of
from lartpc.event import PRODUCTS, SCHEMA_VERSION, TRUTH, Columns, Event, conform, empty, num_rows
from lartpc.geometry import Box
from lartpc.stages import writer_of

CHUNK_ROWS = 16_384
FLUSH_ROWS = 262_144
CACHE_BYTES = 2**20
"""Unpacked chunks that an open dataset keeps."""
SOURCES = "sources"
"""Root attribute of an ingested file of several sources: their paths and numbers of events, in order."""

NUM_PLANES = "num_planes"
"""Root attribute of images of wire planes: how many there are of an event, one after another."""

STREAM_VOXELS = 500_000
STREAM_EVENTS = 64
"""Voxels and events that are read at a time where all are read."""
QUARANTINE = np.dtype([("entry", "i8"), ("reason", h5py.string_dtype())])

CONTENT = "content_digest"
"""Root attribute: BLAKE2b (16 bytes, hex) of what a file says, in the order of writing.

Neither times nor the package's version count: the same events give the same digest.
"""

VERSIONS = ("package_version", "git_revision")
"""Attributes that say which code wrote a file, and nothing of what it says."""

FULL = "No space left on device"
"""What the system says where a disk is full (ENOSPC)."""
ROOM_BYTES = 2**25
"""Free space that writing needs beside the rows: chunks and metadata that HDF5 holds back until it closes."""
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
        self._file = h5py.File(self._part, "w")
        self._file.attrs.update(dict(attrs))
        self._file.attrs["file_uid"] = file_uid
        self._file.attrs["box"] = json.dumps(box.as_dict())
        said = {name: value for name, value in attrs.items() if name not in VERSIONS}
        said |= {"file_uid": file_uid, "box": box.as_dict(), "products": products}
        self._content = hashlib.blake2b(json.dumps(said, default=str).encode(), digest_size=16)
        self._products = tuple(products)
        self._buffer: dict[str, list[Columns]] = {name: [] for name in self._products}
        self._offsets: dict[str, list[int]] = {name: [0] for name in self._products}
        self._entries: list[int] = []
        self._quarantine: list[tuple[int, str]] = []
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
        self._quarantine.append((entry, reason))

    def set_attribute(self, name: str, value: Any) -> None:
        """Set a further root attribute, such as a timing known only at the end."""
        self._file.attrs[name] = value

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
        """Remove what was written; raise ValueError where the disk is full."""
        with suppress(OSError):
            os.truncate(self._part, 0)  # HDF5 must write even to close a file: this gives it the space back
        with suppress(OSError, RuntimeError):
            self._file.close()
        self._part.unlink(missing_ok=True)
        if FULL in str(error):
            raise self._full() from error

    def _full(self) -> ValueError:
        return ValueError(
            f"{self.path}: {FULL}; make room ({ROOM_BYTES >> 20} MB and more), and give the same command again"
        )

    def _need_room(self) -> None:
        """Raise OSError where what is in memory may not fit on the disk: HDF5 was seen to crash there."""
        if shutil.disk_usage(self.path.parent).free < ROOM_BYTES + ROW_BYTES * self._buffered:
            raise OSError(errno.ENOSPC, FULL, str(self.path))

    def _finish(self) -> None:
        self._flush()
        index = {f"{name}/offsets": np.asarray(offsets, "i8") for name, offsets in self._offsets.items()}
        index["entry"] = np.asarray(self._entries, "i8")
        index["quarantine"] = np.array(self._quarantine, QUARANTINE)
        for name, rows in index.items():
            self._file.create_dataset(name, data=rows)
        self._content.update(json.dumps([rows.tolist() for rows in index.values()], default=str).encode())
        self._file.attrs[CONTENT] = self._content.hexdigest()
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
                **packing,
            )
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
                self._content.update(np.ascontiguousarray(rows).data)
            pieces.clear()
        self._buffered = 0


@dataclass(frozen=True)
class _Layer:
    """One file under the overlay, and its datasets once they were read from.

    A dataset that stays open keeps its last chunks unpacked, and costs no search by name.
    """

    path: Path
    file: h5py.File
    opened: dict[str, tuple[h5py.Dataset, dict[str, h5py.Dataset]]] = field(default_factory=dict)

    def block(self, product: str, start: int, stop: int) -> list[Columns]:
        """Read the rows of the events `start:stop` at once and cut them into events."""
        if product not in self.opened:
            group = self.file[product]
            # A file of an older minor version lacks what was added since.
            columns = {name: group[name] for name in PRODUCTS[product].columns if name in group}
            self.opened[product] = group["offsets"], columns
        offset, columns = self.opened[product]
        offsets: NDArray[np.int64] = offset[start : stop + 1]
        bounds = (offsets - offsets[0]).tolist()
        pieces = {name: column[offsets[0] : offsets[-1]] for name, column in columns.items()}
        if missing := PRODUCTS[product].columns.keys() - pieces.keys():
            added = empty(product, bounds[-1])
            pieces |= {name: added[name] for name in missing}
        return [{name: rows[first:last] for name, rows in pieces.items()} for first, last in pairwise(bounds)]


class Events(Sequence[Event]):
    """The events of one shard: an overlay of the files that its steps wrote. Read-only."""

    def __init__(self, layers: Sequence[_Layer]) -> None:
        self._layers = tuple(layers)
        first = layers[0].file
        self.file_uid = str(first.attrs["file_uid"])
        self.box = Box.from_dict(json.loads(first.attrs["box"]))
        self.entries: NDArray[np.int64] = first["entry"][:]
        self._home: dict[str, _Layer] = {}
        for layer in layers:
            for name in layer.file:
                if name in PRODUCTS:
                    self._home[name] = layer

    @property
    def products(self) -> tuple[str, ...]:
        """Names of the products there are."""
        return tuple(self._home)

    def require(self, products: Iterable[str]) -> None:
        """Raise ValueError if a product is missing, naming the step that writes it."""
        missing = [name for name in products if name not in self._home]
        if unknown := [name for name in missing if name in TRUTH]:
            has = [name for name in TRUTH if name in self._home]
            raise ValueError(
                f"{self.file_uid}: the source of these events does not state {', '.join(unknown)} "
                f"(it states {', '.join(has) or 'no truth'}); this needs a sample whose source does"
            )
        if missing:
            steps = ", ".join(f"'{name}' (written by {writer_of(name)})" for name in missing)
            files = ", ".join(str(layer.path) for layer in self._layers)
            raise ValueError(f"{self.file_uid}: no product {steps} in {files}; give that step's file too")

    def quarantined(self) -> dict[int, tuple[str, str]]:
        """Return the events set aside so far: entry → (step, reason)."""
        found: dict[int, tuple[str, str]] = {}
        for layer in self._layers:
            step = str(layer.file.attrs["step"])
            for row in layer.file["quarantine"][:]:
                found.setdefault(int(row["entry"]), (step, row["reason"].decode()))
        return found

    def origins(self) -> Iterator[tuple[str, int]]:
        """Yield, for each event or image of one, its source file and its number there.

        The file is known by its name; by its path where the shard has several of that name.
        """
        attrs = self.attributes().get("ingest", {})
        num_images = int(attrs.get(NUM_PLANES, 1))
        if SOURCES in attrs:
            sources = [(Path(path), num) for path, num in json.loads(str(attrs[SOURCES]))]
            count = Counter(path.name for path, _ in sources)
            for path, num_events in sources:
                name = path.name if count[path.name] == 1 else str(path)
                yield from ((name, image // num_images) for image in range(num_events * num_images))
        else:
            name = next(iter(json.loads(str(attrs.get("inputs", "{}")))), "")
            yield from ((name, int(entry) // num_images) for entry in self.entries)

    def attributes(self) -> dict[str, dict[str, Any]]:
        """Return the root attributes of each file by the step that wrote it."""
        return {str(layer.file.attrs["step"]): dict(layer.file.attrs) for layer in self._layers}

    def num_voxels(self) -> NDArray[np.int64]:
        """Return the number of voxels of each event (events,), without reading the voxels."""
        sizes: NDArray[np.int64] = np.diff(self._home["voxel"].file["voxel"]["offsets"][:])
        return sizes

    def block(self, start: int, stop: int, products: Sequence[str] | None = None) -> list[Event]:
        """Read the events `start:stop` with some products (all of them by default)."""
        names = self.products if products is None else products
        self.require(names)
        columns = {name: self._home[name].block(name, start, stop) for name in names}
        return [
            Event(
                self.file_uid,
                int(self.entries[start + i]),
                self.box,
                {name: columns[name][i] for name in names},
            )
            for i in range(stop - start)
        ]

    def packs(self, max_voxels: int, max_events: int) -> list[tuple[int, int]]:
        """Return ranges of consecutive events up to a number of voxels; a larger event is one by itself."""
        packed: list[tuple[int, int]] = []
        ends = np.cumsum(self.num_voxels())
        start = 0
        while start < len(self):
            before = ends[start - 1] if start else 0
            within = int(np.searchsorted(ends, before + max_voxels, side="right"))
            stop = min(max(within, start + 1), start + max_events)
            packed.append((start, stop))
            start = stop
        return packed

    def stream(self, products: Sequence[str] | None = None) -> Iterator[Event]:
        """Read all events in order, some at a time: memory is bounded by the largest event."""
        for start, stop in self.packs(STREAM_VOXELS, STREAM_EVENTS):
            yield from self.block(start, stop, products)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        return self.block(index, index + 1)[0]

    def close(self) -> None:
        """Close the files."""
        for layer in self._layers:
            layer.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_events(*paths: Path) -> Events:
    """Open files of one shard as one view; of two files with the same product the later one counts.

    Raises
    ------
    ValueError
        A file is not an event store, is of another major schema version, or holds other events.
    """
    layers: list[_Layer] = []
    for path in paths:
        layer = _Layer(path, _open(path))
        layers.append(layer)
        first = layers[0].file
        if (
            layer.file.attrs["file_uid"] != first.attrs["file_uid"]
            or layer.file.attrs["box"] != first.attrs["box"]
            or not np.array_equal(layer.file["entry"][:], first["entry"][:])
        ):
            raise ValueError(
                f"{path} holds other events ({layer.file.attrs['file_uid']}) than "
                f"{paths[0]} ({first.attrs['file_uid']}); give files of one shard"
            )
    if not layers:
        raise ValueError("no event file was given")
    return Events(layers)


def content_of(path: Path) -> tuple[str, str] | None:
    """Return the step and shard of an event file and the digest of what it says, or None of another file."""
    if not h5py.is_hdf5(path):
        return None
    with _hdf5(path) as file:
        if CONTENT not in file.attrs:
            return None
        return f"{file.attrs['step']} of {file.attrs['file_uid']}", str(file.attrs[CONTENT])


def _hdf5(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", rdcc_nbytes=CACHE_BYTES)
    except OSError as error:
        raise ValueError(f"{path} is not a readable HDF5 file ({error}); make it again") from error


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    file = _hdf5(path)
    version = str(file.attrs.get("schema_version", ""))
    if "file_uid" not in file.attrs or not version:
        raise ValueError(f"{path} is not an event store; make one with 'lartpc ingest'")
    if version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
        raise ValueError(f"{path} has schema {version}, this lartpc reads {SCHEMA_VERSION}; ingest it again")
    return file
