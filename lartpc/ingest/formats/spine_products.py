"""Products of SPINE's HDF5 files, event by event: layout 1 (region references) and 2 (offsets)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml
from numpy.typing import NDArray

from lartpc.ingest.damage import explain
from lartpc.ingest.formats.hdf5 import (
    attribute,
    dataset,
    fields,
    has,
    is_hdf5,
    names,
    node,
    open_hdf5,
    read,
    readable,
    tile,
)
from lartpc.ingest.steps import IntArray, integers

MAX_TEXT = 65_536
"""No list of names is longer [characters]."""

Rows = dict[str, NDArray[Any]]
"""Fields of objects, one row each; those of varying length are arrays of arrays."""


class RegionProducts:
    """Layout 1: the dataset `events` holds a region reference into each product's dataset."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self._path, self._file = path, file
        self._events = dataset(path, file, "events")
        self.num_events = len(self._events)
        self._known: dict[str, IntArray] = {}
        self._opened: dict[str, h5py.Dataset] = {}
        # a type of a hundred fields takes two milliseconds each time that it is asked for
        self._names = tuple(self._events.dtype.names or ())
        self._fields: dict[str, tuple[str, ...]] = {}

    def names(self) -> tuple[str, ...]:
        """Return the names of the products."""
        return self._names

    def fields(self, name: str) -> tuple[str, ...]:
        """Return the field names of a product of objects, none for arrays and unknown products."""
        if name not in self._fields:
            self._fields[name] = fields(self._path, self._file, name) if name in self._names else ()
        return self._fields[name]

    def array(self, name: str, entry: int) -> NDArray[Any]:
        """Return an array product of an event."""
        start, stop = self._range(name, entry)
        return read(self._path, self._data(name), start, stop)

    def objects(self, name: str, entry: int, wanted: Iterable[str]) -> Rows:
        """Return those of the wanted fields that a product has, for the objects of an event."""
        held = self.fields(name)
        start, stop = self._range(name, entry)
        return {
            field: read(self._path, self._data(name), start, stop, field) for field in wanted if field in held
        }

    def whole(self, name: str, wanted: Iterable[str]) -> Rows:
        """Return those of the wanted fields that a product has, for the objects of all events."""
        held, data = self.fields(name), self._data(name)
        return {field: read(self._path, data, 0, len(data), field) for field in wanted if field in held}

    def check(self, name: str) -> None:
        """Raise ValueError unless each row of a product belongs to one event."""
        range_E2 = self._ranges(name)
        count_E = range_E2[:, 1] - range_E2[:, 0]
        tile(self._path, f"events.{name}", range_E2[:, 0], count_E, name, len(self._data(name)))

    def _data(self, name: str) -> h5py.Dataset:
        if name not in self._opened:
            self._opened[name] = dataset(self._path, self._file, name, ndim=None)
        return self._opened[name]

    def _range(self, name: str, entry: int) -> tuple[int, int]:
        start, stop = self._ranges(name)[entry].tolist()
        return start, stop

    def _ranges(self, name: str) -> IntArray:
        """Return the rows that each event owns (E, 2): SPINE appends them in one piece."""
        if name not in self._known:
            data = self._data(name)
            with readable(self._path, "events"):
                found = [self._selected(reference, data) for reference in self._events.fields(name)[:]]
            self._known[name] = np.array(found, np.int64).reshape(-1, 2)
        return self._known[name]

    @staticmethod
    def _selected(reference: h5py.RegionReference, data: h5py.Dataset) -> tuple[int, int]:
        if not reference:
            return 0, 0
        space = h5py.h5r.get_region(reference, data.id)
        if not space.get_select_npoints():
            return 0, 0
        low, high = space.get_select_bounds()
        return int(low[0]), int(high[0]) + 1


class OffsetProducts:
    """Layout 2: `/products/<name>` has `event_offsets`, and `values`, or `fixed` and pools of arrays."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self._path, self._file = path, file
        self._names = names(path, node(path, file, "products"))
        self._opened: dict[str, h5py.Dataset] = {}
        self.num_events = len(dataset(path, file, "events"))
        self._pools: dict[str, dict[str, tuple[int, int, bool]]] = {}
        for name in self._names:
            if has(path, file, f"products/{name}/fixed"):
                self._pools[name] = self._find_pools(name)
        self._known: dict[str, IntArray] = {}

    def names(self) -> tuple[str, ...]:
        """Return the names of the products."""
        return self._names

    def fields(self, name: str) -> tuple[str, ...]:
        """Return the field names of a product of objects, none for arrays and unknown products."""
        if name not in self._pools:
            return ()
        fixed = self._data(name, "fixed").dtype.names or ()
        return (*(field for field in fixed if not field.startswith("_var_offsets_")), *self._pools[name])

    def array(self, name: str, entry: int) -> NDArray[Any]:
        """Return an array product of an event."""
        start, stop = self._offsets(name)[entry : entry + 2].tolist()
        return read(self._path, self._data(name, "values"), start, stop)

    def objects(self, name: str, entry: int, wanted: Iterable[str]) -> Rows:
        """Return those of the wanted fields that a product has, for the objects of an event."""
        pools = self._pools.get(name, {})
        start, stop = self._offsets(name)[entry : entry + 2].tolist()
        fixed = read(self._path, self._data(name, "fixed"), start, stop)
        rows: Rows = {}
        for field in wanted:
            if field in pools:
                rows[field] = self._varying(name, fixed, *pools[field])
            elif field in (fixed.dtype.names or ()):
                rows[field] = fixed[field]
        return rows

    def whole(self, name: str, wanted: Iterable[str]) -> Rows:
        """Return those of the wanted fields of fixed length that a product has, for the objects of all events."""
        fixed = self._data(name, "fixed")
        held = fixed.dtype.names or ()
        return {field: read(self._path, fixed, 0, len(fixed), field) for field in wanted if field in held}

    def check(self, name: str) -> None:
        """Raise ValueError unless each row of a product belongs to one event."""
        offsets = self._offsets(name)
        of = "fixed" if name in self._pools else "values"
        where = f"products/{name}"
        num = len(self._data(name, of))
        if len(offsets) != self.num_events + 1:
            raise ValueError(
                f"{self._path}: '{where}/event_offsets' has {len(offsets)} numbers, {self.num_events + 1} are needed"
            )
        tile(self._path, f"{where}/event_offsets", offsets[:-1], np.diff(offsets), f"{where}/{of}", num)

    def _data(self, name: str, part: str) -> h5py.Dataset:
        full = f"products/{name}/{part}"
        if full not in self._opened:
            self._opened[full] = dataset(self._path, self._file, full, ndim=None)
        return self._opened[full]

    def _offsets(self, name: str) -> IntArray:
        if name not in self._known:
            data = self._data(name, "event_offsets")
            where = f"{self._path}: 'products/{name}/event_offsets'"
            self._known[name] = integers(where, read(self._path, data, 0, len(data)))
        return self._known[name]

    def _find_pools(self, name: str) -> dict[str, tuple[int, int, bool]]:
        """Return for each field of varying length its pool, its place there, and whether it is text."""
        found = {}
        folder = f"products/{name}/variables"
        variables = node(self._path, self._file, folder)
        for pool in names(self._path, variables) if variables is not None else ():
            number = pool.removeprefix("pool_")
            if not number.isdecimal():
                raise ValueError(f"{self._path}: '{folder}/{pool}' is not named 'pool_<number>'")
            kind = attribute(self._path, variables[pool], "kind")
            listed = _names_in(
                f"{self._path}: '{folder}/{pool}'", attribute(self._path, variables[pool], "fields")
            )
            for place, field in enumerate(listed):
                found[field] = int(number), place, kind == "string"
        return found

    def _varying(self, name: str, fixed: NDArray[Any], pool: int, place: int, is_text: bool) -> NDArray[Any]:
        values = self._data(name, f"variables/pool_{pool}/values")
        offsets = (
            fixed[f"_var_offsets_{pool}"] if f"_var_offsets_{pool}" in (fixed.dtype.names or ()) else None
        )
        if offsets is None or offsets.ndim != 2 or offsets.shape[1] < place + 2:
            raise ValueError(f"'products/{name}/fixed' has no offsets of pool {pool}")
        flat = integers(f"'products/{name}/fixed._var_offsets_{pool}'", offsets)
        # the pieces of all objects and fields follow one another
        if len(flat) and ((np.diff(flat, axis=1) < 0).any() or (flat[1:, 0] != flat[:-1, -1]).any()):
            raise ValueError(f"the offsets of 'products/{name}' into pool {pool} do not follow one another")
        bounds = flat[:, place : place + 2]
        first, last = (int(bounds[0, 0]), int(bounds[-1, 1])) if len(bounds) else (0, 0)
        window = read(self._path, values, first, last)
        rows = np.empty(len(fixed), object)
        for row, (start, stop) in enumerate((bounds - first).tolist()):
            rows[row] = window[start:stop].tobytes() if is_text else window[start:stop]
        return rows


def _names_in(where: str, listed: Any) -> list[str]:
    """Return the names in an attribute, a list in YAML; aliases, by which a short text grows, are refused."""
    text = listed.decode() if isinstance(listed, bytes) else listed
    if not isinstance(text, str) or len(text) > MAX_TEXT or any(mark in text for mark in "&*!"):
        raise ValueError(f"{where} has no attribute 'fields' with a plain list of names")
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: its attribute 'fields' is not YAML ({explain(error)})") from error
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{where} has no attribute 'fields' with a plain list of names")
    return found


def open_products(path: Path, file: h5py.File) -> RegionProducts | OffsetProducts:
    """Return the products of a SPINE file; ValueError if its layout is unknown."""
    found = attribute(path, node(path, file, "info"), "format_version")
    version = 1 if found is None else int(integers(f"{path}: 'info.format_version'", found))
    if version == 2 and has(path, file, "products"):
        return OffsetProducts(path, file)
    if version == 1 and fields(path, file, "events"):
        return RegionProducts(path, file)
    raise ValueError(
        f"{path}: SPINE HDF5 of format_version {version} with {', '.join(names(path, file))} is not known; 1 and 2 are"
    )


def is_spine(path: Path) -> bool:
    """Tell whether SPINE wrote the file: it has events, and the configuration beside them."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        if not {"info", "events"} <= set(names(path, file)):
            return False
        info = node(path, file, "info")
        return all(attribute(path, info, name) is not None for name in ("cfg", "version"))
