"""Arrow arrays made from their buffers are those that pyarrow makes."""

import numpy as np
import pyarrow as pa
import pytest

from lartpc.tables.arrow import column, flag_array, word_array

LONG = 2**60 + 1
CASES = {
    "nothing": (np.zeros(0, np.float32), pa.float32()),
    "nothing of strings": ([], pa.string()),
    "nothing of lists": ([], pa.list_(pa.float32())),
    "numbers": (np.array([1.5, np.nan, -0.0, np.inf], np.float32), pa.float32()),
    "double to single": (np.array([0.1, np.nan]), pa.float32()),
    "integers": (np.arange(70, dtype=np.int64), pa.int32()),
    "not contiguous": (np.arange(30, dtype=np.float32).reshape(10, 3)[:, 1], pa.float32()),
    "of a list": ([1, None, 2.5, float("nan")], pa.float64()),
    "whole ones": ([LONG, None, -1], pa.int64()),
    "whole as floats": ([3.0, float("nan"), 4], pa.int32()),
    "strings": (["νμ", "", None, "a" * 100], pa.string()),
    "no null": (["a", "b"], pa.string()),
    "flags": ([True, None, False, np.True_], pa.bool_()),
    "lists": ([[1.0, float("nan")], None, [], np.array([2.0, 3.0])], pa.list_(pa.float32())),
    "lists of codes": ([np.array([1, 2], np.int8), []], pa.list_(pa.field("element", pa.int8()))),
    "lists of flags": ([[True, False], []], pa.list_(pa.bool_())),
    "of a fixed size": ([[1.0, 2.0, 3.0], None], pa.list_(pa.float32(), 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_arrays_are_those_of_pyarrow(name):
    values, kind = CASES[name]
    if isinstance(values, np.ndarray):
        wanted = pa.array(values, from_pandas=True).cast(kind)
    else:
        wanted = pa.array(values, kind, from_pandas=True)
    found = column(values, kind)
    found.validate(full=True)
    assert found.equals(wanted) and found.null_count == wanted.null_count


def test_codes_below_0_are_null():
    codes = np.array([1, -1, 0] * 20, np.int8)
    assert flag_array(codes).equals(pa.array(codes > 0, mask=codes < 0))
    words = pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(["no", "yes"]))
    assert word_array(codes, ("no", "yes")).equals(words)


def test_what_a_type_cannot_hold_is_refused():
    with pytest.raises(pa.ArrowInvalid, match="not in range"):
        column(np.array([2**40]), pa.int32())
    with pytest.raises(OverflowError):
        column([2**40], pa.int32())
    with pytest.raises(ValueError, match="3 numbers"):
        column([[1.0]], pa.list_(pa.float32(), 3))
