"""Reading event files: several of one shard as one view, some events or a block of them at a time."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from lartpc.event import PRODUCTS, SCHEMA_VERSION, TRUTH, Columns, Event, empty
from lartpc.geometry import Box
from lartpc.stages import writer_of
from lartpc.store.layout import CONTENT, NUM_PLANES, SOURCES

CACHE_BYTES = 2**20
"""Unpacked chunks that an open dataset keeps."""
STREAM_VOXELS = 500_000
STREAM_EVENTS = 64
"""Voxels and events that are read at a time where all are read."""


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
