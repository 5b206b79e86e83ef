"""Weights files read without torch: the archives that `torch.save` writes, of which tensors and plain values are taken.

Such an archive is a zip file: a pickle that names tensors, and their numbers, one file for each storage. Only what
`lartpc.run.weights` writes is made of it; a pickle that names anything else is refused, and nothing of it runs.
"""

import io
import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc import sealed
from lartpc.config import completed, shared_slice
from lartpc.content import reading, refuse_other
from lartpc.faults import passes
from lartpc.stages import Stage
from lartpc.text import refuse_pointer

_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
"""Kinds of numbers that numpy has, too."""


def read_content(
    path: Path, remedy: str = "name a file that 'lartpc train' wrote", *, unsealed: bool = False
) -> dict[str, Any]:
    """Return the content of a weights file: stage, versions, settings, provenance and domain (JSON), and state.

    The state has arrays by the names of parameters and buffers.

    Raises
    ------
    ValueError
        The file is missing, damaged or no weights file; `remedy` ends the message. Or it is of a version that
        set no seal, unless `unsealed` allows that.
    """
    if not path.is_file():
        what = "are a folder; name a file in it" if path.is_dir() else f"do not exist; {remedy}"
        raise ValueError(f"weights {path} {what}")
    with reading(path):
        payload = path.read_bytes()
    refuse_pointer(path, payload)
    if not payload.startswith(b"PK"):
        refuse_other(path, "a weights file of lartpc")
        raise ValueError(f"{path} is not a weights file of lartpc; {remedy}")
    if not unsealed or sealed.is_sealed(payload):
        try:
            sealed.check(path, payload)
        except ValueError as error:
            raise ValueError(
                f"{error}; {remedy}, or, if it is older than seals, write it anew with 'lartpc release'"
            ) from error
    try:
        content = _unpickled(payload)
    except Exception as error:
        if passes(error):
            raise
        raise ValueError(f"{path} is not a weights file of lartpc ({error})") from error
    if not isinstance(content, dict) or "stage" not in content:
        raise ValueError(f"{path} is not a weights file of lartpc")
    return content


def check_fits(path: Path, stage: Stage, section: Any, content: Mapping[str, Any]) -> None:
    """Raise ValueError unless a file's content is of a stage's network, with settings like these, and finite.

    The message says which settings differ. A setting that the file does not have yet counts as its default.
    """
    if (content["stage"], content["stage_version"]) != (stage.name, stage.network):
        raise ValueError(
            f"{path} holds weights of stage '{content['stage']}' version {content['stage_version']}, "
            f"not of '{stage.name}' version {stage.network}; train them again"
        )
    trained = completed(stage.name, json.loads(content["settings"]))
    wanted = shared_slice(section)
    if trained != wanted:
        differing = [
            key for key in sorted(trained.keys() | wanted.keys()) if trained.get(key) != wanted.get(key)
        ]
        detail = "; ".join(
            f"{stage.name}.{key}: {trained.get(key)} there, {wanted.get(key)} here" for key in differing
        )
        raise ValueError(
            f"{path} was trained with other settings ({detail}); set them so, or "
            f"train anew ({stage.name}.weights: null)"
        )
    check_finite(path, content["state"])


def check_finite(path: Path, state: Mapping[str, Any]) -> None:
    """Raise ValueError if arrays or tensors of a state hold numbers that are not finite."""
    if bad := [name for name, values in state.items() if not np.isfinite(np.asarray(values)).all()]:
        raise ValueError(f"{path}: {', '.join(bad)} hold numbers that are not finite; train them again")


def _unpickled(payload: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        (listed,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        root = listed.removesuffix("data.pkl")
        order = f"{root}byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise ValueError("its numbers are in the byte order of another kind of machine")
        return _Reader(archive, root).load()


class _Reader(pickle.Unpickler):
    """Make what a pickle of torch says, of dictionaries, plain values and arrays alone."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}data.pkl")))
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _array
        if module == "torch" and name in _DTYPES:
            return np.dtype(_DTYPES[name])
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which weights have none of")

    def persistent_load(self, pid: Any) -> NDArray[Any]:
        kind, dtype, key, _, num = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError("it holds what is no storage of numbers")
        return np.frombuffer(self._archive.read(f"{self._root}data/{key}"), dtype, int(num))


def _array(
    storage: NDArray[Any], offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> NDArray[Any]:
    """Return the array of some numbers of a storage; those beyond its end are an error."""
    steps = [step * (num - 1) for num, step in zip(size, stride, strict=True)]
    is_inside = min(offset, *size, *stride, 0) >= 0 and offset + sum(steps) < len(storage)
    if 0 not in size and not is_inside:
        raise pickle.UnpicklingError("a tensor reaches beyond its numbers")
    strides = [step * storage.itemsize for step in stride]
    first = storage[offset:] if 0 not in size else storage[:0]
    # a copy: what lies in the file cannot be written
    return np.lib.stride_tricks.as_strided(first, size, strides).copy()
