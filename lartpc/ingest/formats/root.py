"""ROOT files through uproot: their trees, and branches a basket at a time."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.faults import is_passing

Bytes = NDArray[np.uint8]

BYTE_COUNT = 0x40000000
IS_REFERENCED = 1 << 4
"""TObject::kIsReferenced: two more bytes follow, which are not supported here."""


def is_root(path: Path) -> bool:
    """Tell whether a file is a ROOT file."""
    with path.open("rb") as file:
        return file.read(4) == b"root"


def open_root(path: Path) -> Any:
    """Open a file for reading; ValueError if it is damaged."""
    # half a second of import that other formats need not pay
    from lartpc.rootfile import open_file

    with whole(path):
        return open_file(path)


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """Turn what uproot raises into ValueError: it raises whatever damaged bytes make happen.

    What is the machine's fault, such as a failing disk or too little memory, is passed on.
    """
    try:
        yield
    except Exception as error:
        if is_passing(error):
            raise
        raise ValueError(
            f"{path} cannot be read ({_first_line(error)}); it is damaged or cut off: copy or make it again"
        ) from error


def contents(path: Path, file: Any) -> dict[str, str]:
    """Return the names of what is in an open file, and their classes."""
    with whole(path):
        return dict(sorted(file.classnames(cycle=False).items()))


def trees(path: Path, file: Any) -> set[str]:
    """Return the names of the trees of an open file."""
    return {name for name, of in contents(path, file).items() if of == "TTree"}


def tree(path: Path, file: Any, name: str) -> Any:
    """Return a tree that is in the file."""
    with whole(path):
        return file[name]


def members(path: Path, tree: Any) -> set[str]:
    """Return the names of the branches of a tree, at any depth."""
    with whole(path):
        return {str(key).rpartition("/")[2] for key in tree.iterkeys()}


class Branch:
    """The bytes of a branch, entry by entry; one basket is held in memory.

    Raises
    ------
    ValueError
        The tree has no such branch, or its bytes cannot be read.
    """

    def __init__(self, path: Path, tree: Any, name: str) -> None:
        self.path = path
        self.where = f"{path}: branch '{name}' of tree '{tree.name}'"
        with whole(path):
            self._branch = tree.get(name)
        if self._branch is None:
            has = ", ".join(sorted(members(path, tree))) or "none"
            raise ValueError(f"{path}: tree '{tree.name}' has no branch '{name}'; it has {has}")
        with whole(path):
            self._starts = np.asarray(self._branch.entry_offsets)
        self._basket = -1
        self._data: Bytes = np.zeros(0, np.uint8)
        self._offsets: NDArray[Any] = np.zeros(1, np.int64)

    @property
    def file(self) -> Any:
        """The file that the branch is in."""
        return self._branch.file

    def entry(self, entry: int) -> Bytes:
        """Return the bytes of an entry; reading forward is cheap."""
        basket = int(np.searchsorted(self._starts, entry, side="right")) - 1
        if basket != self._basket:
            self._load(basket)
        row = entry - int(self._starts[basket])
        return self._data[self._offsets[row] : self._offsets[row + 1]]

    def numbers(self, entry: int, dtype: Any = None) -> NDArray[Any]:
        """Return the entry as numbers or objects of one size, by default in the type that the file says."""
        dtype = self.dtype if dtype is None else dtype
        data = self.entry(entry)
        if len(data) % np.dtype(dtype).itemsize:
            raise ValueError(f"{self.where}: entry {entry} has {len(data)} bytes, not a number of {dtype}")
        values: NDArray[Any] = data.view(dtype)
        check_objects(values, f"{self.where}, entry {entry}")
        return values

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the branch's numbers in the file."""
        with whole(self.path):
            interpretation = self._branch.interpretation
        dtype = getattr(getattr(interpretation, "content", interpretation), "from_dtype", None)
        if dtype is None:
            raise ValueError(f"{self.where} holds {self._branch.typename}, not numbers")
        found: np.dtype[Any] = np.dtype(dtype)
        return found

    def all_numbers(self, dtype: Any = None) -> NDArray[Any]:
        """Return the whole branch, for a branch of one number per entry; by default in its own type."""
        dtype = self.dtype if dtype is None else dtype
        pieces = [self._read(basket)[0].view(dtype) for basket in range(len(self._starts) - 1)]
        values = np.concatenate([np.zeros(0, dtype), *pieces])
        if len(values) != self._starts[-1]:
            raise ValueError(f"{self.where} has {len(values)} numbers in {self._starts[-1]} entries")
        return values

    def strings(self, entry: int, num: int) -> list[bytes]:
        """Return the entry as `num` strings: each has a length u1, or 255 and a length u4, before it."""
        data = self.entry(entry).tobytes()
        where = f"{self.where}, entry {entry}"
        position = 6 if data else 0  # byte count and version
        found = []
        for _ in range(num):
            length, position = data[position] if position < len(data) else 0, position + 1
            if length == 255:
                length, position = read_count(np.frombuffer(data, np.uint8), position, where)
            found.append(data[position : position + length])
            position += length
        if position != len(data):
            raise ValueError(f"{where}: {len(data)} bytes, but {num} strings in them take {position}")
        return found

    def _load(self, basket: int) -> None:
        self._data, self._offsets = self._read(basket)
        self._basket = basket

    def _read(self, basket: int) -> tuple[Bytes, NDArray[Any]]:
        try:
            read = self._branch.basket(basket)
            data, offsets = np.asarray(read.data).view(np.uint8), read.byte_offsets
        except Exception as error:
            if is_passing(error):
                raise
            raise ValueError(
                f"{self.where} cannot be read ({_first_line(error)}); copy or make the file again"
            ) from error
        if offsets is None:
            if not 0 <= read.num_entries <= len(data):
                raise ValueError(
                    f"{self.where} has {len(data)} bytes for {read.num_entries} entries; copy or make the file again"
                )
            offsets = np.linspace(0, len(data), read.num_entries + 1).astype(np.int64)
        return data, np.asarray(offsets)


def read_count(data: Bytes, position: int, where: str) -> tuple[int, int]:
    """Return the number u4 at a position of an entry, and the position behind it."""
    if position + 4 > len(data):
        raise ValueError(f"{where}: ends within a vector")
    return int(struct.unpack_from(">I", data.data, position)[0]), position + 4


def check_objects(values: NDArray[Any], where: str) -> None:
    """Check what can be checked of objects: byte counts, and that none is longer than usual."""
    for name in values.dtype.names or ():
        field = values[name]
        if name == "count" and (field != BYTE_COUNT | (values.dtype.itemsize - 4)).any():
            raise ValueError(f"{where}: an object has another length than its class")
        if name == "bits" and (field & IS_REFERENCED).any():
            raise ValueError(f"{where}: an object that others refer to, which is not supported")
        check_objects(field, where)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
