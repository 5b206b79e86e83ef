"""Heaps of HDF5 files, looked at before HDF5 follows them: where they are damaged, it goes round without end.

Rows of any length and references to regions lie in global heaps: `GCOL`, a version, the size, and then objects, each of
which says how many bytes it has. HDF5 goes from one to the next, and the free space (object 0) counts with its
header; where it says 0 bytes, as zeroed bytes do, HDF5 reads it again and again. See "Disk Format: Level 1E - Global
Heap" in the file format specification (support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html).
"""

import os
from functools import lru_cache
from pathlib import Path
from struct import Struct

from lartpc.content import HDF5, PLACES, reading

_MARK = b"GCOL\x01\0\0\0"
_HEADER_BYTES = 16
"""Of a heap and of each object, with numbers of 2 to 8 bytes."""
_SMALLEST_BYTES = 4096
"""HDF5 itself refuses smaller heaps, and those that go past the end of the file."""
_WHOLE_BYTES = 1_073_741_824
"""Larger files, which several jobs may read a part of each, are not looked through."""
_LARGEST_BYTES = 2**63
"""With such sizes the address of the next object goes round to one before."""
_BLOCK_BYTES = 4_194_304
_HEAD = Struct("<HH4x")


def heap_fault(path: Path, *, any_size: bool = False) -> str:
    """Return what is wrong with the heaps of a file in which HDF5 would go round without end; "" where it would not.

    A file is read through for it once by a process, as long as it is the same, at a GB a second; one of more than a
    GiB is not, but for `any_size`, as of our own files, which are read whole by each job.
    """
    with reading(path):
        status = path.stat()
    if status.st_size > _WHOLE_BYTES and not any_size:
        return ""
    return _fault(path, (status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(4096)
def _fault(path: Path, state: tuple[int, int, int]) -> str:
    _, size, _ = state
    with reading(path), path.open("rb") as file:
        descriptor = file.fileno()
        width = _width(file.read(PLACES[-1] + 64))
        start = 0
        while start < size:
            block = os.pread(descriptor, _BLOCK_BYTES, start)
            at = block.find(_MARK)
            if at < 0 and len(block) < _BLOCK_BYTES:
                break
            if at < 0:
                start += len(block) - len(_MARK) + 1
                continue
            fault, end = _walk(descriptor, start + at, size, width)
            if fault:
                return fault
            start = max(end, start + at + 1)
    return ""


def _width(head: bytes) -> int:
    """Return the bytes that a size takes in a file, from its superblock."""
    begin = next((place for place in PLACES if head.startswith(HDF5, place)), 0) + len(HDF5)
    place = begin + (6 if head[begin : begin + 1] in (b"\0", b"\1") else 2)
    return head[place] if len(head) > place and 2 <= head[place] <= 8 else 8


def _walk(descriptor: int, at: int, file_bytes: int, width: int) -> tuple[str, int]:
    """Return what is wrong with the heap at a byte, and where it ends; that byte itself for what is no heap."""
    head = os.pread(descriptor, _HEADER_BYTES, at)
    end = at + int.from_bytes(head[8 : 8 + width], "little")
    if not at + _SMALLEST_BYTES <= end <= file_bytes:
        return "", at
    place, held_from, held = at + _HEADER_BYTES, 0, b""
    while place + _HEADER_BYTES <= end:
        offset = place - held_from
        if not 0 <= offset <= len(held) - _HEADER_BYTES:
            held_from, offset = place, 0
            held = os.pread(descriptor, min(65536, end - place), place)
            if len(held) < _HEADER_BYTES:
                return "", end
        number, _ = _HEAD.unpack_from(held, offset)
        size = int.from_bytes(held[offset + 8 : offset + 8 + width], "little")
        step = _HEADER_BYTES + (size + 7) // 8 * 8 if number else size
        if not step or size >= _LARGEST_BYTES:
            said = f"a size of {size}" if size else "no size"
            return f"of its heap of rows of any length at byte {at}, what is at byte {place} has {said}", end
        place += step
    return "", end
