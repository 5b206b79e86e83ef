"""HDF5 files as they come: opened, looked at and read so that each fault names file and dataset.

What is damaged, declares what it does not hold, or is of another type than numbers is refused before its rows are
read. "Optional" means absent: what is there and cannot be opened is an error.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lartpc.content import describe
from lartpc.faults import is_short, passes
from lartpc.heaps import heap_fault
from lartpc.ingest.damage import explain
from lartpc.ingest.steps import FARTHEST_CM, IntArray

LARGE_BYTES = 268_435_456
"""Datasets and chunks below this size are read whatever they take on disk."""

LARGEST_PACKING = 200
"""No table of physics is packed more than this; deflate reaches 1,000, which is zeros or an attack."""


ELSEWHERE = (
    "lies in another file, and an event is known by the content of its own; copy all into one ('h5copy')"
)


def is_hdf5(path: Path) -> bool:
    """Tell whether a file is HDF5, by its first bytes: HDF5's own look says no where the disk fails, too."""
    return describe(path).kind == "HDF5"


def open_hdf5(path: Path) -> h5py.File:
    """Open a file for reading; ValueError if it is damaged, also where HDF5 would read on without end."""
    with readable(path):
        file = h5py.File(path, "r")
    if fault := heap_fault(path):
        file.close()
        raise ValueError(f"{path} cannot be read ({fault}); copy or make the file again")
    return file


@contextmanager
def readable(path: Path, name: str = "") -> Iterator[None]:
    """Turn whatever HDF5 makes of damaged bytes into ValueError that names file and dataset.

    What is the machine's fault, such as a failing disk or too little memory, is passed on.
    """
    try:
        yield
    except Exception as error:
        where = f"{path}: '{name}'" if name else str(path)
        if is_short(error):
            raise MemoryError(f"{where} cannot be read for want of memory; give the job more") from error
        if passes(error):
            raise
        raise ValueError(f"{where} cannot be read ({explain(error)}); copy or make the file again") from error


def has(path: Path, group: Any, name: str) -> bool:
    """Tell whether a group has an entry of this name, which may be a path, be it whole or damaged."""
    first, _, rest = name.partition("/")
    with readable(path, first):
        if not isinstance(group, h5py.Group) or not group.id.links.exists(first.encode()):
            return False
        is_elsewhere = group.id.links.get_info(first.encode()).type == h5py.h5l.TYPE_EXTERNAL
    if is_elsewhere:
        raise ValueError(f"{path}: '{first}' {ELSEWHERE}")
    return not rest or has(path, node(path, group, first), rest)


def node(path: Path, group: Any, name: str) -> Any:
    """Return a group or dataset, None where there is none; ValueError where there is one, but damaged."""
    if not has(path, group, name):
        return None
    with readable(path, name):
        return group[name]


def names(path: Path, group: Any) -> tuple[str, ...]:
    """Return the names of what a group holds."""
    with readable(path, getattr(group, "name", "") or ""):
        return tuple(group)


def attribute(path: Path, of: Any, name: str) -> Any:
    """Return an attribute, None where there is none; ValueError where there is one, but damaged."""
    with readable(path, name):
        return of.attrs[name] if h5py.h5a.exists(of.id, name.encode()) else None


def fields(path: Path, file: Any, name: str, *, is_ours: bool = False) -> tuple[str, ...]:
    """Return the field names of a compound dataset, none if there is no such dataset.

    With `is_ours`, the format knows nothing else by this name: a group in its place is an error.
    """
    found = node(path, file, name)
    if is_ours and found is not None and not isinstance(found, h5py.Dataset):
        raise ValueError(f"{path}: '{name}' is a group and not a table; the file is damaged, make it again")
    with readable(path, name):
        return tuple(found.dtype.names or ()) if isinstance(found, h5py.Dataset) else ()


def dataset(path: Path, file: Any, name: str, ndim: int | None = 1) -> h5py.Dataset:
    """Return a dataset, the size of which was looked at.

    Raises
    ------
    ValueError
        There is none of this name, it is damaged, of another dimension, or declares more than it holds.
    """
    found = node(path, file, name)
    if not isinstance(found, h5py.Dataset):
        held = ", ".join(names(path, file)[:20]) or "nothing"
        raise ValueError(f"{path}: no dataset '{name}'; the file has {held}")
    with readable(path, name):
        shape, type_ = found.shape, found.dtype
        is_elsewhere = found.is_virtual or bool(found.external)
        packing = found.id.get_create_plist()
        filters = [packing.get_filter(number) for number in range(packing.get_nfilters())]
        unknown = [(number, of) for number, _, _, of in filters if not h5py.h5z.filter_avail(number)]
    if is_elsewhere:
        raise ValueError(f"{path}: '{name}' {ELSEWHERE}")
    if unknown:
        number, of = unknown[0]
        raise ValueError(
            f"{path}: '{name}' is packed by a filter of HDF5 that is not here, {of.decode(errors='replace')} (number "
            f"{number}); pack it by another where it can be read ('h5repack -f GZIP=1'), or set HDF5_PLUGIN_PATH to "
            "the folder of the filter"
        )
    if shape is None or (ndim is not None and len(shape) != ndim):
        raise ValueError(
            f"{path}: dataset '{name}' has the shape {shape}; it must be of dimension {ndim or 1}"
        )
    _check_size(path, found, name, shape, type_.itemsize)
    return found


def read(path: Path, data: h5py.Dataset, start: int, stop: int, field: str | None = None) -> NDArray[Any]:
    """Return rows of a dataset, or of one field of it; ValueError if there are fewer, they are damaged, or complex."""
    name = str(data.name).removeprefix("/")
    held = [one for one in data.dtype.names or () if field in (None, one)]
    types = {f"field '{one}' of '{name}'": data.dtype[one] for one in held} or {f"'{name}'": data.dtype}
    if wrong := [what for what, type_ in types.items() if _is_complex(type_)]:
        raise ValueError(f"{path}: {wrong[0]} is of complex numbers; it must be of real ones")
    if not 0 <= start <= stop <= len(data):
        raise ValueError(f"{path}: '{name}' has {len(data)} rows, rows {start} to {stop} are referred to")
    with readable(path, name):
        rows: NDArray[Any] = (data.fields(field) if field else data)[start:stop]
    return rows


def _is_complex(type_: np.dtype[Any]) -> bool:
    """Tell whether a type is of complex numbers, by itself or in rows of any length: no format has such."""
    return np.dtype(h5py.check_vlen_dtype(type_.base) or type_.base).base.kind == "c"


def is_number(type_: np.dtype[Any]) -> bool:
    """Tell whether a type is real numbers of up to 8 bytes: no text, no complex ones, no damaged ones."""
    return type_.kind in "fiu" and type_.itemsize <= 8


def positive(where: str, value: Any) -> float:
    """Return a number above 0; ValueError if it is none."""
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiu" or not 0 < array.ravel()[0] < np.inf:
        raise ValueError(f"{where} is {value}; it must be a number above 0")
    return float(array.ravel()[0])


def tile(path: Path, name: str, first_N: IntArray, count_N: IntArray, of: str, num: int) -> None:
    """Check that an index gives each row of what it points to once: ranges of rows `first` to `first + count`.

    Raises
    ------
    ValueError
        A row belongs to nothing, or is given twice, or there are too few.
    """
    used = np.flatnonzero(count_N)
    order = used[np.argsort(first_N[used], kind="stable")]
    first, stop = first_N[order], (first_N + count_N)[order]
    if (count_N < 0).any() or len(order) == 0:
        bad, row = len(order) > 0 or num > 0, int(np.argmax(count_N < 0)) if len(count_N) else 0
    else:
        wrong = np.append(first[0] != 0, first[1:] != stop[:-1])
        bad, row = (
            bool(wrong.any() or stop[-1] != num),
            int(order[np.argmax(wrong)] if wrong.any() else order[-1]),
        )
    if bad:
        raise ValueError(
            f"{path}: '{name}' does not give each of the {num} rows of '{of}' once (see its row {row}); the file is "
            "damaged, make it again"
        )


def stated_centre(path: Path, file: Any) -> tuple[float, float, float] | None:
    """Return the attribute `centre_cm` of a file, None if it has none; ValueError if it is not a position."""
    found = attribute(path, file, "centre_cm")
    if found is None:
        return None
    centre = np.asarray(found)
    if centre.shape != (3,) or centre.dtype.kind not in "fiu" or not (np.abs(centre) <= FARTHEST_CM).all():
        raise ValueError(f"{path}: the attribute 'centre_cm' is {found}; it must be a position in cm")
    x, y, z = centre.astype(np.float64).tolist()
    return x, y, z


def _check_size(path: Path, data: h5py.Dataset, name: str, shape: tuple[int, ...], row_bytes: int) -> None:
    with readable(path, name):
        stored = data.id.get_storage_size()
        declared = int(np.prod(shape, dtype=object)) * row_bytes
        chunks = data.chunks
        filled = data.id.get_num_chunks() if chunks and declared else 0
    largest = declared
    if chunks:
        num_chunks = int(
            np.prod([-(-size // step) for size, step in zip(shape, chunks, strict=True)], dtype=object)
        )
        if declared and filled < num_chunks:
            raise ValueError(
                f"{path}: dataset '{name}' declares {shape[0]} rows in {num_chunks} chunks, and {filled} of these "
                "are there; copy or make the file again"
            )
        largest = max(declared, int(np.prod(chunks, dtype=object)) * row_bytes)
    elif declared and not stored:
        raise ValueError(
            f"{path}: dataset '{name}' declares {shape[0]} rows, and none was written; copy or make the file again"
        )
    if largest > LARGE_BYTES and largest > LARGEST_PACKING * stored:
        raise ValueError(
            f"{path}: dataset '{name}' declares {largest / 1e6:,.0f} MB, and takes {stored / 1e6:,.3g} MB on disk; "
            "no table of events is packed like that, so it is not read"
        )
