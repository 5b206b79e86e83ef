"""Vectors of classes in ROOT files, written member by member.

uproot finds the bytes of a branch and the layout of its class, but does not decode a vector that ROOT
streamed "member-wise": all values of the first member, then all of the second, and so on. The layout of
such bytes follows ROOT's `TStreamerInfo::WriteBufferAux` (case `kSTL`) and `TBufferFile`:

    byte count u4 | version u2 with bit 0x4000 | version of the class u2 (0: then a checksum u4)
    for each vector of the entry: number of items u4, then its members, one column after the other

Shape suffixes: I items of all vectors of an entry, L vectors (lists) of an entry.
"""

import struct
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.ingest.formats.root import BYTE_COUNT, Branch, Bytes, check_objects, read_count, whole
from lartpc.vocab import NONE

Items = dict[str, NDArray[Any]]
Pieces = dict[str, list[NDArray[Any]]]

MEMBERWISE = 0x4000

SCALARS = {1: "i1", 2: ">i2", 3: ">i4", 4: ">i8", 5: ">f4", 8: ">f8", 11: "u1", 12: ">u2", 13: ">u4"}
SCALARS |= {14: ">u8", 16: ">i8", 17: ">u8", 18: "?"}
"""TVirtualStreamerInfo::EReadWrite of plain numbers, as they are on file."""
TOBJECT = np.dtype([("version", ">u2"), ("unique_id", ">u4"), ("bits", ">u4")])
VECTOR = np.dtype([("count", ">u4"), ("version", ">u2"), ("object", TOBJECT), ("xyz", ">f8", (3,))])
LORENTZ_VECTOR = np.dtype(
    [("count", ">u4"), ("version", ">u2"), ("object", TOBJECT), ("vector", VECTOR), ("t", ">f8")]
)
OBJECTS = {"TObject": TOBJECT, "TVector3": VECTOR, "TLorentzVector": LORENTZ_VECTOR}
STL = 500
"""EReadWrite of strings and collections: a byte count u4 and a version u2 go before the column."""


class Vectors:
    """A branch of vectors of a class, streamed member by member; the file says what the members are."""

    def __init__(self, branch: Branch, class_name: str, wanted: Sequence[str]) -> None:
        self.branch = branch
        self._class = class_name
        self._wanted = wanted

    @cached_property
    def _members(self) -> Mapping[str, np.dtype[Any] | None]:
        """Members in the order of the file; None for strings and collections."""
        with whole(self.branch.path):
            versions = self.branch.file.streamers.get(self._class)
        if versions is None:
            raise ValueError(f"{self.branch.where}: the file does not describe the class '{self._class}'")
        if len(versions) > 1:
            raise ValueError(
                f"{self.branch.where}: the file has {len(versions)} versions of the class '{self._class}'; "
                "write files of one version"
            )
        members: dict[str, np.dtype[Any] | None] = {}
        for element in next(iter(versions.values())).elements:
            code, of = int(element.member("fType")), element.name if element.typename == "BASE" else None
            if code in SCALARS:
                members[element.name] = np.dtype(SCALARS[code])
            elif (known := of or element.typename) in OBJECTS:
                members[element.name] = OBJECTS[known]
            elif code == STL:
                members[element.name] = None
            else:
                raise ValueError(
                    f"{self.branch.where}: member '{element.name}' of '{self._class}' is a "
                    f"{element.typename}, which is not known here"
                )
        if lacking := [name for name in self._wanted if name not in members]:
            raise ValueError(
                f"{self.branch.where}: class '{self._class}' has no member '{lacking[0]}'; "
                f"it has {', '.join(members)}"
            )
        return members

    def read(self, entry: int) -> tuple[Items, NDArray[np.int64]]:
        """Return the wanted members of all items (I,) of an entry, and the items of each vector (L,).

        Of collections and strings, which are of any length, the bytes (I, ...) are returned vector by
        vector behind one another.
        """
        data = self.branch.entry(entry)
        where = f"{self.branch.where}, entry {entry}"
        position = self._header(data, where)
        pieces: Pieces = {name: [] for name in self._wanted}
        counts = []
        while position < len(data):
            count, position = self._one(data, position, where, pieces)
            counts.append(count)
        return self._joined(pieces), np.array(counts, np.int64)

    def read_nested(self, data: Bytes, counts: NDArray[np.int64]) -> tuple[Items, NDArray[np.int64]]:
        """Return the wanted members, and items, of vectors (bytes `data`) within vectors of `counts` (L,) items."""
        where = f"{self.branch.where}, its {self._class}"
        pieces: Pieces = {name: [] for name in self._wanted}
        found, position = [], 0
        for outer in counts.tolist():
            position += 2 if outer else 0  # the version of the class
            for _ in range(outer):
                count, position = self._one(data, position, where, pieces)
                found.append(count)
        if position != len(data):
            raise ValueError(f"{where}: {len(data)} bytes, but the vectors in them take {position}")
        return self._joined(pieces), np.array(found, np.int64)

    def _one(self, data: Bytes, position: int, where: str, pieces: Pieces) -> tuple[int, int]:
        """Add the wanted members of one vector to the pieces; return its items and where it ends."""
        count, position = read_count(data, position, where)
        if not count:
            return 0, position
        for name, dtype in self._members.items():
            if dtype is None:
                column, position = _variable(data, position, where)
            else:
                column, position = _fixed(data, position, dtype, count, where)
            if name in pieces:
                pieces[name].append(column)
        return count, position

    def _joined(self, pieces: Pieces) -> Items:
        nothing = {name: np.zeros(0, dtype or np.uint8) for name, dtype in self._members.items()}
        return {name: np.concatenate([nothing[name], *found]) for name, found in pieces.items()}

    def read_first(self, entry: int, num_vectors: int) -> Items:
        """Return the wanted members of the first item of each vector (L,); no vector may be empty.

        For classes all of whose members have one size, so that vectors can be stepped over.
        """
        data = self.branch.entry(entry)
        where = f"{self.branch.where}, entry {entry}"
        dtypes = list(self._members.values())
        sizes = [dtype.itemsize for dtype in dtypes if dtype is not None]
        if len(sizes) < len(dtypes):
            raise ValueError(f"{self.branch.where}: class '{self._class}' has members of any length")
        item_bytes = sum(sizes)
        position = self._header(data, where)
        starts, counts = [], []
        unpack, content = struct.Struct(">I").unpack_from, data.data
        try:
            for _ in range(num_vectors):
                (count,) = unpack(content, position)
                starts.append(position + 4)
                counts.append(count)
                position += 4 + count * item_bytes
        except struct.error as error:
            raise ValueError(f"{where}: ends within a vector") from error
        if position != len(data):
            raise ValueError(f"{where}: {len(data)} bytes, but the vectors in them take {position}")
        if 0 in counts:
            raise ValueError(f"{where}: vector {counts.index(0)} is empty")
        start_L, count_L = np.array(starts, np.int64), np.array(counts, np.int64)
        found: Items = {}
        before = 0
        for (name, dtype), size in zip(self._members.items(), sizes, strict=True):
            if name in self._wanted:
                at_L = start_L + count_L * before
                found[name] = data[at_L[:, None] + np.arange(size)].view(dtype)[:, 0]
                check_objects(found[name], where)
            before += size
        return found

    def _header(self, data: Bytes, where: str) -> int:
        if not len(data):
            return 0
        try:
            count, version, class_version = struct.unpack_from(">IHH", data.data)
        except struct.error as error:
            raise ValueError(f"{where}: {error}") from error
        if count != BYTE_COUNT | (len(data) - 4):
            raise ValueError(f"{where}: {len(data)} bytes, but their header says {count & ~BYTE_COUNT} + 4")
        if not version & MEMBERWISE:
            raise ValueError(f"{where}: not streamed member by member, as ROOT does unless told otherwise")
        return 8 if class_version else 12


def first_numbers(data: Bytes, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first number of each `vector<int>` (I,), NONE of an empty one.

    `data` are the bytes of such a member from `Vectors.read`, `counts` (L,) the items of each vector.
    """
    words = data.view(">i4")
    if len(words) == 2 * counts.sum() and (words[::2] == 1).all():
        return words[1::2].astype(np.int64)
    listed = words.tolist()
    starts: list[int] = []
    position = 0
    try:
        for _ in range(int(counts.sum())):
            starts.append(position)
            position += 1 + listed[position]
    except IndexError:
        position = NONE
    if position != len(listed):
        raise ValueError(f"{counts.sum()} vectors of numbers do not fill {len(data)} bytes")
    start_I = np.array(starts, np.int64)
    filled_I = words[start_I] > 0
    return np.where(filled_I, words[np.where(filled_I, start_I + 1, start_I)], NONE).astype(np.int64)


def _fixed(
    data: Bytes, position: int, dtype: np.dtype[Any], count: int, where: str
) -> tuple[NDArray[Any], int]:
    end = position + count * dtype.itemsize
    if end > len(data):
        raise ValueError(f"{where}: ends within a vector of {count} items")
    column = data[position:end].view(dtype)
    check_objects(column, where)
    return column, end


def _variable(data: Bytes, position: int, where: str) -> tuple[Bytes, int]:
    count, start = read_count(data, position, where)
    end = start + (count & ~BYTE_COUNT)
    if not count & BYTE_COUNT or end > len(data) or end < start + 2:
        raise ValueError(f"{where}: the byte count at {position} is invalid")
    return data[start + 2 : end], end
