"""The pieces of branches of a ROOT file that is not packed, and numbers changed in them."""

import struct
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

HEAD = struct.Struct(">ihiihhqq")
"""What a key begins with: its bytes, version, bytes unpacked, date, bytes of itself, cycle, and two places."""


def baskets(content: bytes) -> Iterator[tuple[int, int, int, str, str]]:
    """Yield for each basket that is not packed where it begins, its sizes, its branch, and its tree."""
    at = content.find(b"\x07TBasket")
    while at >= 0:
        start = at - HEAD.size
        num_bytes, version, num_unpacked, _, num_key, *_ = HEAD.unpack_from(content, start)
        if version > 1000 and 0 < num_key < 200 and num_bytes == num_unpacked + num_key:
            name = at + 8
            title = name + 1 + content[name]
            of = content[title + 1 : title + 1 + content[title]].decode()
            yield start, num_key, num_unpacked, content[name + 1 : title].decode(), of
        at = content.find(b"\x07TBasket", at + 1)


KINDS = (">f4", ">f8", ">i4", ">i8", ">u2")


@lru_cache(maxsize=8)
def places(content: bytes) -> tuple[tuple[int, int], ...]:
    """Return where the rows of each basket begin and end."""
    return tuple((start + num_key, start + num_key + num) for start, num_key, num, *_ in baskets(content))


def set_number(content: bytearray, node: float, place: float, value: float) -> None:
    """Set a number somewhere in the rows of a basket: which one, where and of what kind are parts of what there is."""
    found = places(bytes(content))
    if not found:
        return
    begin, end = found[int(node * 997) % len(found)]
    kind = np.dtype(KINDS[int(place * 983) % len(KINDS)])
    at = begin + 2 * int(place * ((end - begin) // 2))
    if at + kind.itemsize <= end:
        with np.errstate(all="ignore"):
            whole = 0 if not np.isfinite(value) else int(value) % 2 ** (8 * kind.itemsize)
            number = np.array([value], kind) if kind.kind == "f" else np.array([whole], f">u{kind.itemsize}")
        content[at : at + kind.itemsize] = number.tobytes()
