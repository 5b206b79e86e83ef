"""One event file: opened with its attributes and index checked, read in blocks with its columns checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lartpc.content import describe, refuse_other
from lartpc.event import PRODUCTS, SCHEMA_VERSION, Columns, empty
from lartpc.faults import passes
from lartpc.heaps import heap_fault
from lartpc.stages import CHAIN
from lartpc.store.layout import CONTENT, SEAL
from lartpc.store.seal import DamagedError, Digest, check_seal, digest_of, reading

CACHE_BYTES = 2**20
"""Unpacked chunks that an open dataset keeps."""
CHECK_ROWS = 262_144
"""Rows that are read at a time where a file is only checked."""
SEALED_SINCE = (1, 4)
"""Schema version from which all files have digests."""


@dataclass(frozen=True)
class Layer:
    """One file under the overlay, and its datasets once they were read from.

    A dataset that stays open keeps its last chunks unpacked, and costs no search by name. Columns that are
    read from their first to their last row are checked against their digests.
    """

    path: Path
    file: h5py.File
    attributes: Mapping[str, Any]
    digests: Mapping[str, str]
    entries: NDArray[np.int64]
    quarantine: NDArray[Any]
    opened: dict[str, tuple[NDArray[np.int64], dict[str, h5py.Dataset]]] = field(default_factory=dict)
    running: dict[str, tuple[int, dict[str, Digest]]] = field(default_factory=dict)

    @property
    def step(self) -> str:
        """The step that wrote the file."""
        return str(self.attributes["step"])

    @property
    def name(self) -> str:
        """What the file is called in the lineage of others."""
        return f"{self.step} of {self.attributes['file_uid']}"

    def offsets(self, product: str) -> NDArray[np.int64]:
        """Return where the rows of each event begin (events + 1)."""
        return self._open(product)[0]

    def block(self, product: str, start: int, stop: int) -> list[Columns]:
        """Read the rows of the events `start:stop` at once and cut them into events."""
        offset, columns = self._open(product)
        offsets = offset[start : stop + 1]
        bounds = (offsets - offsets[0]).tolist()
        with reading(self.path):
            pieces = {name: column[offsets[0] : offsets[-1]] for name, column in columns.items()}
        self._check(product, int(offsets[0]), int(offsets[-1]), int(offset[-1]), pieces)
        if missing := PRODUCTS[product].columns.keys() - pieces.keys():
            added = empty(product, bounds[-1])
            pieces |= {name: added[name] for name in missing}
        return [{name: rows[first:last] for name, rows in pieces.items()} for first, last in pairwise(bounds)]

    def check(self) -> None:
        """Read all columns, and raise DamagedError unless each of them has its digest."""
        for error in self.damaged().values():
            raise error

    def damaged(self) -> dict[str, DamagedError]:
        """Read all columns, and return what is wrong by `product/column`; nothing is wrong where it is empty."""
        found: dict[str, DamagedError] = {}
        with reading(self.path):
            products = [name for name in self.file if name in PRODUCTS]
        for product in products:
            try:
                offset, columns = self._open(product)
            except DamagedError as error:
                found[f"{product}/offsets"] = error
                continue
            for name, column in columns.items():
                try:
                    self._compare(product, {name: self._digest(column, int(offset[-1]))})
                except DamagedError as error:
                    found[f"{product}/{name}"] = error
        return found

    def _digest(self, column: h5py.Dataset, num_rows: int) -> Digest:
        found = Digest()
        for first in range(0, num_rows, CHECK_ROWS):
            with reading(self.path):
                found.update(column[first : min(first + CHECK_ROWS, num_rows)])
        return found

    def _open(self, product: str) -> tuple[NDArray[np.int64], dict[str, h5py.Dataset]]:
        if product not in self.opened:
            with reading(self.path):
                group = self.file[product]
                offset: NDArray[np.int64] = group["offsets"][:]
                columns = {name: group[name] for name in PRODUCTS[product].columns if name in group}
                sizes = {len(column) for column in columns.values()}
            self._require(product, columns)
            self._expect_kinds(product, offset, columns)
            self.expect(f"{product}/offsets", offset)
            if (
                sizes != {int(offset[-1])}
                or len(offset) != len(self.entries) + 1
                or (np.diff(offset) < 0).any()
            ):
                raise DamagedError.of(self.path, f"the rows of '{product}' do not fit its offsets")
            self.opened[product] = offset, columns
        return self.opened[product]

    def _expect_kinds(self, product: str, offset: NDArray[Any], columns: Mapping[str, h5py.Dataset]) -> None:
        """Raise DamagedError where numbers are of another kind: their digests are of bytes, which can be the same."""
        wanted = {"offsets": "i8", **{name: PRODUCTS[product].columns[name].dtype for name in columns}}
        for name, rows in {"offsets": offset, **columns}.items():
            if rows.dtype.kind != np.dtype(wanted[name]).kind:
                raise DamagedError.of(
                    self.path, f"'{product}/{name}' has numbers of another type than were written"
                )

    def _require(self, product: str, columns: Mapping[str, Any]) -> None:
        """Raise ValueError unless a stage's product has all its columns.

        What a source lacks is not known, and is read as that (files of older minor versions); what a stage of an older
        version did not work out is no "not known": its file is to be made again.
        """
        missing = [name for name in PRODUCTS[product].columns if name not in columns]
        if missing and any(product in row.writes for row in CHAIN):
            raise ValueError(
                f"{self.path} has no column '{product}/{missing[0]}': an older '{self.step}' made it (schema "
                f"{self.attributes['schema_version']}, this is {SCHEMA_VERSION}); make it again with "
                f"'lartpc infer {self.step}'"
            )

    def expect(self, name: str, rows: NDArray[Any]) -> None:
        """Raise DamagedError unless a dataset that was read whole has its digest."""
        if self.digests and digest_of(rows) != self.digests.get(name):
            raise DamagedError.of(self.path, f"'{name}' does not have the digest that it was written with")

    def _check(self, product: str, first: int, last: int, end: int, pieces: Columns) -> None:
        """Go on with the digests where the rows follow those read before; compare them at the last row."""
        if not self.digests or first == last:
            return
        at, found = self.running.get(product, (0, {}))
        if first == 0:
            at, found = 0, {name: Digest() for name in pieces}
        if at != first:
            self.running.pop(product, None)
            return
        for name, rows in pieces.items():
            found[name].update(rows)
        self.running[product] = last, found
        if last == end:
            self._compare(product, found)
            del self.running[product]

    def _compare(self, product: str, found: Mapping[str, Digest]) -> None:
        for name, one in found.items():
            if one.hexdigest() != self.digests.get(f"{product}/{name}"):
                raise DamagedError.of(
                    self.path, f"'{product}/{name}' does not have the digest that it was written with"
                )


def content_of(path: Path) -> tuple[str, str] | None:
    """Return the name of an event file in lineages and the digest of what it says, or None of another file."""
    if describe(path).kind != "HDF5":  # HDF5's own look says no where the disk fails, too
        return None
    with _hdf5(path) as file, reading(path):
        attributes = dict(file.attrs)
        if CONTENT not in attributes:
            return None
        if SEAL in attributes:
            check_seal(path, attributes)
        return f"{attributes['step']} of {attributes['file_uid']}", str(attributes[CONTENT])


def _hdf5(path: Path) -> h5py.File:
    try:
        file = h5py.File(path, "r", rdcc_nbytes=CACHE_BYTES)
    except OSError as error:
        if passes(error):
            raise
        refuse_other(path, "HDF5")
        raise ValueError(f"{path} is not a readable HDF5 file ({error}); make it again") from error
    if fault := heap_fault(path, any_size=True):
        file.close()
        raise DamagedError.of(path, fault)
    return file


def open_layer(path: Path) -> Layer:
    """Open a file, and check its attributes and its index.

    Raises
    ------
    ValueError
        The file is missing, damaged or no event store, or of another major schema version.
    """
    if not path.is_file():
        raise ValueError(f"{path} {describe(path).text}")
    file = _hdf5(path)
    try:
        with reading(path):
            attributes = dict(file.attrs)
            version = str(attributes.get("schema_version", ""))
            is_store = "file_uid" in attributes and bool(version)
        if not is_store:
            raise ValueError(f"{path} is not an event store; make one with 'lartpc ingest'")
        if version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
            raise ValueError(
                f"{path} has schema {version}, this lartpc reads {SCHEMA_VERSION}; ingest it again"
            )
        with reading(path):
            is_sealed = SEAL in attributes or tuple(map(int, version.split("."))) >= SEALED_SINCE
            digests = check_seal(path, attributes) if is_sealed else {}
            if missing := [name for name in digests if name not in file]:
                raise DamagedError.of(path, f"'{missing[0]}' is missing")
            layer = Layer(path, file, attributes, digests, file["entry"][:], file["quarantine"][:])
            if layer.entries.dtype.kind != "i":
                raise DamagedError.of(path, "'entry' has numbers of another type than were written")
            layer.expect("entry", layer.entries)
            layer.expect("quarantine", layer.quarantine)
        return layer
    except BaseException:
        file.close()
        raise
