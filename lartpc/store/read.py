"""Reading event files: several of one shard as one view, some events or a block of them at a time."""

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lartpc.event import PRODUCTS, TRUTH, Event
from lartpc.geometry import Box
from lartpc.stages import writer_of
from lartpc.store.layer import Layer, open_layer
from lartpc.store.layout import CONTENT, NUM_PLANES, SOURCES

STREAM_VOXELS = 500_000
STREAM_EVENTS = 64
"""Voxels and events that are read at a time where all are read."""


class Events(Sequence[Event]):
    """The events of one shard: an overlay of the files that its steps wrote. Read-only."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = tuple(layers)
        first = layers[0].attributes
        self.file_uid = str(first["file_uid"])
        self.box = Box.from_dict(json.loads(first["box"]))
        self.entries: NDArray[np.int64] = layers[0].entries
        self._home: dict[str, Layer] = {}
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
            # stages write all that is theirs, ingest what the source has
            writers = {writer_of(name) for name in missing} - {"ingest"}
            older = [layer.path for layer in self._layers if layer.step in writers]
            remedy = (
                f"{older[0]} is of an older version: run that step again"
                if older
                else "give that step's file too"
            )
            raise ValueError(f"{self.file_uid}: no product {steps} in {files}; {remedy}")

    def quarantined(self) -> dict[int, tuple[str, str]]:
        """Return the events set aside so far: entry → (step, reason)."""
        found: dict[int, tuple[str, str]] = {}
        for layer in self._layers:
            for row in layer.quarantine:
                found.setdefault(int(row["entry"]), (layer.step, row["reason"].decode()))
        return found

    def origins(self) -> Iterator[tuple[str, int]]:
        """Yield, for each event or image of one, its source file and its number there.

        The file is known by its name; by its path where the shard has several of that name.
        """
        attrs = self.attributes().get("ingest", {})
        num_images = int(attrs.get(NUM_PLANES, 1))
        if SOURCES in attrs:
            sources: list[tuple[str, int]] = json.loads(str(attrs[SOURCES]))  # paths, or URLs
            count = Counter(Path(path).name for path, _ in sources)
            first = [0, *accumulate(num_events for _, num_events in sources)]
            for image in self.entries.tolist():
                index = bisect_right(first, image // num_images) - 1
                path = sources[index][0]
                name = Path(path).name if count[Path(path).name] == 1 else path
                yield name, image // num_images - first[index]
        else:
            name = next(iter(json.loads(str(attrs.get("inputs", "{}")))), "")
            yield from ((name, int(entry) // num_images) for entry in self.entries)

    def attributes(self) -> dict[str, dict[str, Any]]:
        """Return the root attributes of each file by the step that wrote it."""
        return {layer.step: dict(layer.attributes) for layer in self._layers}

    def contents(self) -> dict[str, tuple[Path, str]]:
        """Return the path and the content digest of each file by its name in lineages: `segment of beam/0000`."""
        return {layer.name: (layer.path, str(layer.attributes.get(CONTENT, ""))) for layer in self._layers}

    def check(self) -> None:
        """Read all files through, and raise ValueError (DamagedError) unless all columns have their digests."""
        for layer in self._layers:
            if layer.digests:
                layer.check()

    def num_voxels(self) -> NDArray[np.int64]:
        """Return the number of voxels of each event (events,), without reading the voxels."""
        return self.num_rows("voxel")

    def num_rows(self, product: str) -> NDArray[np.int64]:
        """Return the number of rows of a product of each event (events,), without reading them.

        Raises
        ------
        ValueError
            No file has the product.
        """
        self.require((product,))
        sizes: NDArray[np.int64] = np.diff(self._home[product].offsets(product))
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
        A file is damaged or no event store, is of another major schema version, holds other events, or was
        made from another file than the one that is given beside it.
    """
    layers: list[Layer] = []
    try:
        for path in paths:
            layer = open_layer(path)
            layers.append(layer)
            first, mine = layers[0].attributes, layer.attributes
            if (
                mine["file_uid"] != first["file_uid"]
                or mine["box"] != first["box"]
                or not np.array_equal(layer.entries, layers[0].entries)
            ):
                raise ValueError(
                    f"{path} holds other events ({mine['file_uid']}) than "
                    f"{paths[0]} ({first['file_uid']}); give files of one shard"
                )
        if not layers:
            raise ValueError("no event file was given")
        _check_lineage(layers)
    except BaseException:
        for layer in layers:
            layer.file.close()
        raise
    return Events(layers)


def _check_lineage(layers: Sequence[Layer]) -> None:
    """Raise ValueError where a file states that it was made from another version of one that is given."""
    given = {layer.name: layer for layer in layers}
    for layer in layers:
        for name, content in json.loads(str(layer.attributes.get("inputs", "{}"))).items():
            source = given.get(name)
            if source and source is not layer and str(source.attributes.get(CONTENT, "")) != content:
                raise ValueError(
                    f"{layer.path} was made from another '{name}' than {source.path}: it was made again since "
                    f"(digest {content[:12]} then, {str(source.attributes.get(CONTENT, 'none'))[:12]} now); run "
                    f"'lartpc infer {layer.step}' again, and what follows it"
                )
