"""No format has complex numbers: they were cut to their real part, with a warning that few read."""

import re

import h5py
import numpy as np
import pytest

from lartpc.event import conform
from lartpc.ingest.formats.hdf5 import read


@pytest.fixture
def rows(tmp_path):
    """A file with rows of complex numbers, plain, in a field and of any length, and the same of real ones."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, type_ in (("real", "f8"), ("complex", "c16")):
            file[f"{name}/plain"] = np.ones(3, type_)
            file[f"{name}/fields"] = np.ones(3, [("x", "f4"), ("e", type_, (2,))])
            file.create_dataset(f"{name}/any", (3,), h5py.vlen_dtype(np.dtype(type_)))[0] = np.ones(2, type_)
        yield tmp_path / "a.h5", file


@pytest.mark.parametrize(
    ("name", "field", "said"),
    [
        ("plain", None, "'complex/plain'"),
        ("fields", None, "field 'e' of 'complex/fields'"),
        ("fields", "e", "field 'e' of 'complex/fields'"),
        ("any", None, "'complex/any'"),
    ],
)
def test_complex_rows_are_refused(rows, name, field, said):
    path, file = rows
    assert len(read(path, file[f"real/{name}"], 0, 3, field)) == 3
    with pytest.raises(
        ValueError, match=re.escape(f"{path}: {said} is of complex numbers; it must be of real ones")
    ):
        read(path, file[f"complex/{name}"], 0, 3, field)
    assert read(path, file["complex/fields"], 0, 3, "x").tolist() == [1, 1, 1]


def test_no_product_takes_complex_numbers():
    voxel = {"coord": np.zeros((1, 3)), "energy": np.ones(1, complex)}
    with pytest.raises(ValueError, match=r"column 'voxel\.energy' is of complex numbers"):
        conform("voxel", voxel)
