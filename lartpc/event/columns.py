"""What products are described with: columns with their dtype, shape, unit and meaning, and makers of the usual ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from math import nan
from typing import Any

from numpy.typing import NDArray

from lartpc.vocab import NONE

Columns = dict[str, NDArray[Any]]
"""The columns of one product of one event, all of the same length."""


@dataclass(frozen=True)
class Column:
    """One column: numpy dtype, unit, meaning, shape of a row, enumeration and value for "none".

    Not `packed` are the outputs of a network per voxel, whose last bits are noise: packing would save a
    seventh of their size and cost a seventh of the network's time.
    """

    dtype: str
    unit: str
    description: str
    shape: tuple[int, ...] = ()
    codes: type[IntEnum] | None = None
    none: float = 0
    packed: bool = True


@dataclass(frozen=True)
class Product:
    """One product: what a row is, its columns, and the product it is aligned with row by row."""

    row: str
    columns: Mapping[str, Column]
    per: str | None = None


def scalar(dtype: str, unit: str, description: str) -> Column:
    """Return a column of one number a row."""
    return Column(dtype, unit, description)


def index(of: str) -> Column:
    """Return a column of rows of another product; -1: none."""
    return Column("i4", "", f"row of the {of} in this event; -1: none", none=NONE)


def code(codes: type[IntEnum], description: str) -> Column:
    """Return a column of the codes of an enumeration; -1: none."""
    return Column("i1", "", description, codes=codes, none=NONE)


def vector(unit: str, description: str) -> Column:
    """Return a column of three numbers a row, in single precision."""
    return Column("f4", unit, description, shape=(3,))


def pdg(description: str) -> Column:
    """Return a column of PDG codes (PDG); 0: not known."""
    return Column("i4", "", f"{description}; 0: not known")


def record(unit: str, description: str) -> Column:
    """Return a column of what a generator recorded, in double precision; nan: not known."""
    return Column("f8", unit, f"{description}; nan: not known", none=nan)
