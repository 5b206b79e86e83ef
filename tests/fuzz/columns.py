"""Files with a whole column set to one number: each column of an HDF5 file, and each branch of a ROOT file."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import uproot
from fuzz.baskets import baskets
from fuzz.mutations import NUMBERS, fitting

ALL = slice(None)


def swept(content: bytes, path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the content of a file with each column set to each number, and what was changed; `path` is written to."""
    path.write_bytes(content)
    yield from _branches(content, path) if content.startswith(b"root") else _datasets(content, path)


def _datasets(content: bytes, path: Path) -> Iterator[tuple[str, bytes]]:
    found: list[tuple[str, str, slice]] = []

    def look(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.size:
            found.extend((name, field, ALL) for field in node.dtype.names or ("",))
            found.extend((name, "", every) for every in _steps(node))

    with h5py.File(path) as file:
        file.visititems(look)
    for name, field, every in found:
        for value in NUMBERS:
            path.write_bytes(content)
            with h5py.File(path, "r+") as file:
                rows = file[name][()]
                try:
                    with np.errstate(all="ignore"):
                        _fill(rows[field] if field else rows, value, every)
                    file[name][()] = rows
                except (TypeError, ValueError):
                    continue
            yield f"{name} {field} {every} = {value}", path.read_bytes()


def _steps(node: h5py.Dataset) -> Iterator[slice]:
    """Yield the columns that numbers of rows of any length may be: each so and so many of them."""
    if node.dtype == object and node.ndim == 1:
        lengths = [len(row) for row in node[:] if isinstance(row, np.ndarray) and not row.dtype.names]
        for step in range(4, 10):
            if lengths and any(lengths) and not any(length % step for length in lengths):
                yield from (slice(start, None, step) for start in range(step))


def _fill(rows: Any, value: float, every: slice = ALL) -> None:
    if rows.dtype == object:
        for number, row in enumerate(rows.reshape(-1)):
            if not isinstance(row, np.ndarray):
                raise TypeError("texts and references hold no numbers")
            whole = np.array(row)
            _fill(whole[every], value)
            rows.reshape(-1)[number] = whole
    elif rows.dtype.names:
        for field in rows.dtype.names:
            with suppress(TypeError):
                _fill(rows[field], value)
    else:
        rows[...] = fitting(rows.dtype, value)


def _branches(content: bytes, path: Path) -> Iterator[tuple[str, bytes]]:
    starts = {(tree, name): start + num_key for start, num_key, _, name, tree in baskets(content)}
    with uproot.open(path) as file:
        for tree in file.values():
            for branch in tree.itervalues(recursive=True):
                kind = branch.interpretation
                number = getattr(getattr(kind, "content", kind), "from_dtype", None)
                begin = starts.get((tree.name, branch.name))
                number = number and np.dtype(number).base
                if begin is None or number is None or number.names or not branch.num_baskets:
                    continue
                places = branch.basket(0).byte_offsets
                header = getattr(kind, "header_bytes", 0)
                if places is None:
                    ranges = [(0, branch.basket(0).data.nbytes)]
                else:
                    ranges = [(int(low) + header, int(high)) for low, high in pairwise(places)]
                for value in NUMBERS:
                    changed = bytearray(content)
                    with np.errstate(all="ignore"):
                        one = np.array(fitting(number.newbyteorder("="), value)).astype(number).tobytes()
                    for low, high in ranges:
                        num = max(high - low, 0) // len(one)
                        changed[begin + low : begin + low + num * len(one)] = one * num
                    yield f"{tree.name} {branch.name} = {value}", bytes(changed)
