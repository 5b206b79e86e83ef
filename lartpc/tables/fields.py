"""What tables are made of: the makers of columns with their types, units, words and references, and rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_ENDINGS = {"cm": "_cm", "MeV/c": "_mev_c"}


Rows = dict[str, Any]
"""Columns of a table by name, all of the same length; words as codes (row of `Field.words`, -1: none)."""


@dataclass(frozen=True)
class Field:
    """One column: Arrow type, meaning, unit, the words it may hold, and the table it refers to."""

    type: pa.DataType
    description: str
    unit: str = ""
    words: tuple[str, ...] = ()
    refers_to: str = ""


@dataclass(frozen=True)
class Table:
    """One table: what a row is, the columns that identify it, and all columns in order."""

    row: str
    key: tuple[str, ...]
    fields: Mapping[str, Field]


def number(description: str, unit: str = "") -> Field:
    """Return a column of single-precision numbers."""
    return Field(pa.float32(), description, unit)


def count(description: str) -> Field:
    """Return a column of 32-bit integers."""
    return Field(pa.int32(), description)


def flag(description: str) -> Field:
    """Return a column of yes and no."""
    return Field(pa.bool_(), description)


def text(description: str) -> Field:
    """Return a column of strings."""
    return Field(pa.string(), description)


def word(words: tuple[str, ...] | type[IntEnum], description: str) -> Field:
    """Return a dictionary column of the words of an enumeration."""
    names = words if isinstance(words, tuple) else names_of(words)
    return Field(pa.dictionary(pa.int8(), pa.string()), description, words=names)


def identifier(of: str, description: str = "") -> Field:
    """Return a column of the numbers of objects in their event."""
    return Field(pa.int32(), description or f"the {of}'s number in its event")


def refer(table: str, description: str) -> Field:
    """Return a column of numbers of objects in another table, named as that table's key."""
    return Field(pa.int32(), f"{description}; -1: none", refers_to=table)


def xyz(name: str, what: str, unit: str = "cm") -> dict[str, Field]:
    """Return three columns for a vector."""
    stem = f"{name}_" if name else ""
    return {f"{stem}{axis}{_ENDINGS.get(unit, '')}": number(f"{what}, {axis}", unit) for axis in "xyz"}


def xyz_rows(name: str, vector: NDArray[np.floating], ending: str = "_cm") -> Rows:
    """Return the three columns of a vector."""
    stem = f"{name}_" if name else ""
    return {f"{stem}{axis}{ending}": vector[:, i] for i, axis in enumerate("xyz")}


def per(
    enum: type[IntEnum] | tuple[IntEnum, ...], name: str, make: Callable[[str], Field], what: str
) -> dict[str, Field]:
    """Return a column for each word of an enumeration, or for some of them."""
    words = names_of(enum) if isinstance(enum, type) else tuple(code.name.lower() for code in enum)
    return {name.format(word): make(what.format(word)) for word in words}


def values(item: pa.DataType, description: str, unit: str = "", size: int = -1) -> Field:
    """Return a column of lists, of a fixed size if one is given."""
    # parquet gives the items back under this name
    return Field(pa.list_(pa.field("element", item), size), description, unit)


@cache
def names_of(enum: type[IntEnum]) -> tuple[str, ...]:
    """Return the names of an enumeration in small letters, in the order of its codes from 0 on."""
    assert [int(code) for code in enum] == list(range(len(enum)))
    return tuple(code.name.lower() for code in enum)
