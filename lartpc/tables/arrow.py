"""Columns to Arrow arrays, from their buffers (as the Arrow columnar format 1.5 lays them out).

`pyarrow.array` does the same, and imports pandas first, for which each job would wait as long as for all else that it
imports.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def number_array(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Return numbers (rows,); nan becomes null.

    Raises
    ------
    pyarrow.ArrowInvalid
        The type cannot hold one of them.
    """
    known = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(len(values), bool)
    dtype = np.dtype(kind.to_pandas_dtype())
    if values.dtype.kind == dtype.kind:
        with np.errstate(over="ignore"):
            cast = values.astype(dtype, copy=False)
        # what Arrow's own cast gives where all fit, which imports `pyarrow.compute` first
        if ((cast == values) if dtype.kind != "f" else (np.isinf(cast) == np.isinf(values))).all():
            return _primitive(kind, cast, known)
    return _primitive(pa.from_numpy_dtype(values.dtype), values, known).cast(kind)


def flag_array(codes: NDArray[Any]) -> pa.Array:
    """Return yes (1) and no (0) of codes (rows,); below 0 is null."""
    bits = pa.py_buffer(np.packbits(codes > 0, bitorder="little"))
    return pa.Array.from_buffers(pa.bool_(), len(codes), [_validity(codes >= 0), bits])


def word_array(codes: NDArray[np.int8], words: Sequence[str]) -> pa.Array:
    """Return words by their codes (rows,); below 0 is null."""
    return pa.DictionaryArray.from_arrays(_primitive(pa.int8(), codes, codes >= 0), text_array(words))


def text_array(values: Sequence[str | None]) -> pa.Array:
    """Return strings; None is null."""
    texts = [(value or "").encode() for value in values]
    known = np.array([value is not None for value in values], bool)
    buffers = [_validity(known), _offsets(texts), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(pa.string(), len(texts), buffers)


def list_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return lists of numbers; a list that is None is null, and so is nan in one.

    Raises
    ------
    ValueError
        A list does not have the size that its type fixes.
    """
    known = np.array([value is not None for value in values], bool)
    fixed = pa.types.is_fixed_size_list(kind)
    blank: list[Any] = [np.nan] * kind.list_size if fixed else []
    lists = [blank if value is None else value for value in values]
    if fixed and any(len(value) != kind.list_size for value in lists):
        raise ValueError(f"a list does not have {kind.list_size} numbers")
    items = column(list(chain.from_iterable(lists)), kind.value_type)
    buffers = [_validity(known)] if fixed else [_validity(known), _offsets(lists)]
    return pa.Array.from_buffers(kind, len(lists), buffers, children=[items])


def column(values: Any, kind: pa.DataType) -> pa.Array:
    """Return values (rows,), of a type that is none of words: numbers, or a sequence where any may be None."""
    if pa.types.is_boolean(kind):
        known = np.array([value is not None for value in values], bool)
        return flag_array(np.where(known, np.asarray(values, object).astype(bool), -1).astype(np.int8))
    if pa.types.is_string(kind):
        return text_array(values)
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return list_array(values, kind)
    if isinstance(values, np.ndarray) and values.dtype != object:
        return number_array(values, kind)
    # integers stay whole: through double precision those above 2^53 would not
    known = np.array([value is not None and value == value for value in values], bool)
    dtype = np.dtype(kind.to_pandas_dtype())
    filled = [value if there else 0 for value, there in zip(values, known, strict=True)]
    if dtype.kind in "iu" and any(isinstance(value, float | np.floating) for value in filled):
        return _primitive(pa.float64(), np.array(filled, np.float64), known).cast(kind)
    return _primitive(kind, np.array(filled, dtype), known)


def _primitive(kind: pa.DataType, values: NDArray[Any], known: NDArray[np.bool_]) -> pa.Array:
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(kind, len(values), [_validity(known), pa.py_buffer(values)])


def _validity(known: NDArray[np.bool_]) -> pa.Buffer | None:
    return None if known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))


def _offsets(pieces: Sequence[Any]) -> pa.Buffer:
    return pa.py_buffer(np.cumsum([0, *map(len, pieces)], dtype=np.int32))
