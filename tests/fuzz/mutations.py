"""Changes to files that hypothesis draws: of bytes, for any format, and of the structure of HDF5.

A change is plain data, so that hypothesis can shrink what failed to the least that does. Draw a list of them with
`changes()`, and apply it to a file with `apply()`.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from fuzz.baskets import set_number
from hypothesis import strategies as st

NUMBERS = (
    *(0, 1, -1, 2, 127, 255, 2**15, 2**31 - 1, -(2**31), 2**32 + 13, 2**63 - 1),
    *(float("nan"), float("inf"), float("-inf"), 1e-300, 1e30, 1e38, 1e308, -1e9),
)
BYTE_KINDS = ("flip", "set", "zeros", "copy", "cut")
TREE_KINDS = ("number", "rows", "shorter", "longer", "remove", "retype", "exchange", "attribute", "empty")
BASKET_KINDS = ("basket",) * 5
"""For ROOT files that are not packed, as often as all of bytes."""
TYPES = ("S4", "c16", "f4", "f8", "i1", "u8", "f2")


@dataclass(frozen=True)
class Change:
    """One change: what is done, and where, as parts of what there is; `value` is a number of `NUMBERS`."""

    kind: str
    node: float
    place: float
    value: int


def changes(kinds: tuple[str, ...]) -> st.SearchStrategy[list[Change]]:
    """Return the strategy of one to three changes of the given kinds."""
    part = st.floats(0, 1, exclude_max=True)
    one = st.builds(Change, st.sampled_from(kinds), part, part, st.integers(0, len(NUMBERS) - 1))
    return st.lists(one, min_size=1, max_size=3)


def apply(path: Path, drawn: list[Change]) -> None:
    """Change a file in place: first its structure, then numbers, then bytes."""
    tree = [change for change in drawn if change.kind in TREE_KINDS]
    if tree:
        with h5py.File(path, "r+") as file:
            for change in tree:
                _change_tree(file, change)
    content = bytearray(path.read_bytes())
    for change in drawn:
        if change.kind in BASKET_KINDS:  # before other bytes: then the baskets are where they were
            set_number(content, change.node, change.place, NUMBERS[change.value])
    for change in drawn:
        if change.kind in BYTE_KINDS:
            _change_bytes(content, change)
    path.write_bytes(content)


def _change_bytes(content: bytearray, change: Change) -> None:
    at = int(change.place * len(content))
    if change.kind == "flip":
        content[at] ^= 1 << int(change.node * 8)
    elif change.kind == "set":
        content[at] = change.value * 12 % 256
    elif change.kind == "zeros":
        content[at : at + 64] = bytes(len(content[at : at + 64]))
    elif change.kind == "copy":
        source = int(change.node * len(content))
        piece = content[source : source + 256]
        content[at : at + len(piece)] = piece
    else:
        del content[max(at, 1) :]


def _change_tree(file: h5py.File, change: Change) -> None:
    """Change a dataset, or leave it where it cannot be changed so."""
    found: list[str] = []
    file.visititems(lambda name, node: found.append(name) if isinstance(node, h5py.Dataset) else None)
    if not found:
        return
    name = found[int(change.node * len(found))]
    try:
        _rewrite(file, name, change)
    except (AttributeError, TypeError, ValueError, OSError, KeyError, IndexError, RuntimeError):
        return  # not every change fits every dataset


def _rewrite(file: h5py.File, name: str, change: Change) -> None:
    data = file[name]
    value = NUMBERS[change.value]
    if change.kind == "remove":
        del file[name]
        return
    if change.kind == "attribute":
        for attribute in list(file.attrs):
            file.attrs[attribute] = value
        return
    if change.kind == "exchange":
        other = sorted(file[data.parent.name])[0]
        file.move(name, "moved")
        file.move(f"{data.parent.name}/{other}", name)
        file.move("moved", f"{data.parent.name}/{other}")
        return
    rows = data[:]
    at = int(change.place * len(rows)) if len(rows) else 0
    if change.kind == "number":
        with np.errstate(all="ignore"):
            _set(rows, at, change, value)
        data[:] = rows
        return
    if change.kind == "rows":
        data[:] = np.roll(rows, 1 + at, axis=0)
        return
    if change.kind == "shorter":
        rows = rows[:at]
    elif change.kind == "longer":
        rows = np.concatenate([rows, rows[: at + 1]])
    elif change.kind == "empty":
        rows = rows[:0]
    else:
        with np.errstate(all="ignore"):
            rows = _retyped(rows, change)
    kind, attributes = data.dtype, dict(data.attrs)
    del file[name]
    again = file.create_dataset(name, data=rows, dtype=kind if change.kind != "retype" else None)
    again.attrs.update(attributes)


def _set(rows: Any, at: int, change: Change, value: float) -> None:
    """Set a number of one row: of a field of it, of a vector, or of an array of any length."""
    if rows.dtype.names:
        field = rows.dtype.names[int(change.node * 997) % len(rows.dtype.names)]
        rows[field][at] = fitting(rows[field].dtype, value)
    elif rows.dtype == object:
        row = np.array(rows[at])
        place = int(change.node * 991) % max(len(row), 1)
        if row.dtype.names:
            field = row.dtype.names[int(change.node * 983) % len(row.dtype.names)]
            row[field][place] = fitting(row[field].dtype, value)
        else:
            row[place] = fitting(row.dtype, value)
        rows[at] = row
    else:
        rows.reshape(len(rows), -1)[at] = fitting(rows.dtype, value)


def fitting(kind: np.dtype[Any], value: float) -> Any:
    """Return a number as one that a type holds: of integers the low bits, as a damaged file would have."""
    if kind.kind in "iu":
        whole = 0 if not np.isfinite(value) else int(value)
        return np.array([whole % 2 ** (8 * kind.itemsize)], f"u{kind.itemsize}").view(kind)[0]
    return value


def _retyped(rows: Any, change: Change) -> Any:
    """Return the rows with another type, or with one of their fields so; a complex number leaves its real part."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
        return _as_type(rows, change)


def _as_type(rows: Any, change: Change) -> Any:
    kind = TYPES[change.value % len(TYPES)]
    if not rows.dtype.names:
        return rows.astype(kind)
    chosen = rows.dtype.names[int(change.node * 997) % len(rows.dtype.names)]
    other = np.zeros(
        len(rows), [(name, kind if name == chosen else rows.dtype[name]) for name in rows.dtype.names]
    )
    for name in rows.dtype.names:
        if name != chosen or kind != "S4":
            other[name] = rows[name]
    return other
