"""Products of SPINE's HDF5 files, event by event: layout 1 (region references) and 2 (offsets)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml
from numpy.typing import NDArray

from lartpc.ingest.formats.hdf5 import is_hdf5, open_hdf5

Rows = dict[str, NDArray[Any]]
"""Fields of objects, one row each; those of varying length are arrays of arrays."""


class RegionProducts:
    """Layout 1: the dataset `events` holds a region reference into each product's dataset."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._events = file["events"]
        self.num_events = len(self._events)

    def names(self) -> tuple[str, ...]:
        """Return the names of the products."""
        return tuple(self._events.dtype.names or ())

    def fields(self, name: str) -> tuple[str, ...]:
        """Return the field names of a product of objects, none for arrays and unknown products."""
        found = self._file.get(name) if name in self.names() else None
        return tuple(found.dtype.names or ()) if isinstance(found, h5py.Dataset) else ()

    def array(self, name: str, entry: int) -> NDArray[Any]:
        """Return an array product of an event."""
        data = self._file[name]
        start, stop = self._range(name, entry)
        rows: NDArray[Any] = data[start:stop]
        return rows

    def objects(self, name: str, entry: int, wanted: Iterable[str]) -> Rows:
        """Return those of the wanted fields that a product has, for the objects of an event."""
        has = self.fields(name)
        start, stop = self._range(name, entry)
        return {field: self._file[name].fields(field)[start:stop] for field in wanted if field in has}

    def whole(self, name: str, wanted: Iterable[str]) -> Rows:
        """Return those of the wanted fields that a product has, for the objects of all events."""
        has = self.fields(name)
        return {field: self._file[name].fields(field)[:] for field in wanted if field in has}

    def _range(self, name: str, entry: int) -> tuple[int, int]:
        """Return the rows that an event owns: SPINE appends them in one piece."""
        reference = self._events[entry][name]
        if not reference:
            return 0, 0
        space = h5py.h5r.get_region(reference, self._file[name].id)
        if not space.get_select_npoints():
            return 0, 0
        low, high = space.get_select_bounds()
        return int(low[0]), int(high[0]) + 1


class OffsetProducts:
    """Layout 2: `/products/<name>` has `event_offsets`, and `values`, or `fixed` and pools of arrays."""

    def __init__(self, file: h5py.File) -> None:
        self._products = file["products"]
        self.num_events = len(file["events"])
        self._pools: dict[str, dict[str, tuple[int, int, bool]]] = {}
        for name in self._products:
            if "fixed" in self._products[name]:
                self._pools[name] = self._find_pools(name)

    def names(self) -> tuple[str, ...]:
        """Return the names of the products."""
        return tuple(self._products)

    def fields(self, name: str) -> tuple[str, ...]:
        """Return the field names of a product of objects, none for arrays and unknown products."""
        if name not in self._pools:
            return ()
        fixed = self._products[name]["fixed"].dtype.names
        return (*(field for field in fixed if not field.startswith("_var_offsets_")), *self._pools[name])

    def array(self, name: str, entry: int) -> NDArray[Any]:
        """Return an array product of an event."""
        group = self._products[name]
        start, stop = group["event_offsets"][entry : entry + 2].tolist()
        rows: NDArray[Any] = group["values"][start:stop]
        return rows

    def objects(self, name: str, entry: int, wanted: Iterable[str]) -> Rows:
        """Return those of the wanted fields that a product has, for the objects of an event."""
        group, pools = self._products[name], self._pools[name]
        start, stop = group["event_offsets"][entry : entry + 2].tolist()
        fixed = group["fixed"][start:stop]
        rows: Rows = {}
        for field in wanted:
            if field in pools:
                rows[field] = self._varying(group, fixed, *pools[field])
            elif field in (fixed.dtype.names or ()):
                rows[field] = fixed[field]
        return rows

    def whole(self, name: str, wanted: Iterable[str]) -> Rows:
        """Return those of the wanted fields of fixed length that a product has, for the objects of all events."""
        fixed = self._products[name]["fixed"]
        return {field: fixed.fields(field)[:] for field in wanted if field in fixed.dtype.names}

    def _find_pools(self, name: str) -> dict[str, tuple[int, int, bool]]:
        """Return for each field of varying length its pool, its place there, and whether it is text."""
        found = {}
        for pool in self._products[name].get("variables", {}):
            attrs = self._products[name]["variables"][pool].attrs
            number = int(pool.removeprefix("pool_"))
            for place, field in enumerate(yaml.safe_load(attrs["fields"])):
                found[str(field)] = number, place, attrs["kind"] == "string"
        return found

    @staticmethod
    def _varying(
        group: h5py.Group, fixed: NDArray[Any], pool: int, place: int, is_text: bool
    ) -> NDArray[Any]:
        bounds = fixed[f"_var_offsets_{pool}"][:, place : place + 2]
        values = group["variables"][f"pool_{pool}"]["values"]
        first, last = (int(bounds.min()), int(bounds.max())) if len(bounds) else (0, 0)
        window = values[first:last]
        rows = np.empty(len(fixed), object)
        for row, (start, stop) in enumerate((bounds - first).tolist()):
            rows[row] = window[start:stop].tobytes() if is_text else window[start:stop]
        return rows


def open_products(path: Path, file: h5py.File) -> RegionProducts | OffsetProducts:
    """Return the products of a SPINE file; ValueError if its layout is unknown."""
    version = int(file["info"].attrs.get("format_version", 1))
    if version == 2 and "products" in file:
        return OffsetProducts(file)
    if version == 1 and (file["events"].dtype.names or ()):
        return RegionProducts(file)
    raise ValueError(
        f"{path}: SPINE HDF5 of format_version {version} with {', '.join(file)} is not known; 1 and 2 are"
    )


def is_spine(path: Path) -> bool:
    """Tell whether SPINE wrote the file: it has events, and the configuration beside them."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        info = file.get("info")
        return info is not None and {"cfg", "version"} <= set(info.attrs) and "events" in file
