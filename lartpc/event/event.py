"""An event with the products it has so far, and whether they keep the contract."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lartpc.event.columns import Columns
from lartpc.event.products import PRODUCTS
from lartpc.geometry import Box


@dataclass(frozen=True)
class Event:
    """One event: its identity (`file_uid`, `entry`), its box, and the products it has so far."""

    file_uid: str
    entry: int
    box: Box
    products: Mapping[str, Columns] = field(default_factory=dict)

    def __getitem__(self, product: str) -> Columns:
        return self.products[product]

    def __contains__(self, product: str) -> bool:
        return product in self.products

    def __iter__(self) -> Iterator[str]:
        return iter(self.products)

    @property
    def num_voxels(self) -> int:
        """Number of voxels."""
        return len(self.products["voxel"]["energy"])

    def with_products(self, products: Mapping[str, Columns]) -> "Event":
        """Return the event with further products, or with others of the same name."""
        return Event(self.file_uid, self.entry, self.box, {**self.products, **products})


def num_rows(columns: Columns) -> int:
    """Return the number of rows of a product."""
    return len(next(iter(columns.values())))


def empty(product: str, rows: int = 0) -> Columns:
    """Return `rows` rows of a product that say nothing: zeros, and -1 for indices and codes."""
    return {
        name: np.full((rows, *column.shape), column.none, column.dtype)
        for name, column in PRODUCTS[product].columns.items()
    }


def blank(event: Event, products: Iterable[str]) -> Event:
    """Return the event with products that say nothing, as long as what they are aligned with, if that is there."""
    made: dict[str, Columns] = {}
    for name in products:
        per = PRODUCTS[name].per
        aligned = (made.get(per) or event.products.get(per)) if per else None
        made[name] = empty(name, num_rows(aligned) if aligned else 0)
    return event.with_products(made)


def conform(product: str, columns: Mapping[str, Any]) -> Columns:
    """Check a product against the contract and return it with the contract's dtypes.

    Raises
    ------
    ValueError
        A column is missing, unknown, of the wrong shape, of complex numbers, or of another length than the rest.
    """
    expected = PRODUCTS[product].columns
    if set(columns) != set(expected):
        raise ValueError(
            f"product '{product}' must have the columns {sorted(expected)}, got {sorted(columns)}"
        )
    out: Columns = {}
    length: int | None = None
    for name, column in expected.items():
        value = np.asarray(columns[name])
        if value.shape[1:] != column.shape or (length is not None and len(value) != length):
            raise ValueError(
                f"column '{product}.{name}' must have shape "
                f"({length if length is not None else 'N'}, *{column.shape}), got {value.shape}"
            )
        if value.dtype.kind == "c":
            raise ValueError(f"column '{product}.{name}' is of complex numbers; it must be of real ones")
        length = len(value)
        out[name] = np.ascontiguousarray(value, column.dtype)
    return out


def check_finite(product: str, columns: Columns) -> None:
    """Raise ValueError unless all numbers of a product are finite; nan where it is a column's word for "none".

    An integer of which a network's nan was made cannot be told; its score stands beside it.
    """
    for name, column in PRODUCTS[product].columns.items():
        values = columns[name]
        if values.dtype.kind != "f":
            continue
        bad = np.isinf(values) if np.isnan(column.none) else ~np.isfinite(values)
        if bad.any():
            row = int(np.argwhere(bad)[0, 0])
            raise ValueError(f"{product}.{name} of row {row} is {values[row].tolist()}, not a finite number")
