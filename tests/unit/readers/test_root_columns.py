"""ROOT files packed in each of ROOT's ways are read alike.

ROOT itself wrote the file without packing; its baskets, the pieces of a branch, are packed in their places.
"""

import struct

import pytest
from checkout import REPOSITORY
from fuzz.baskets import baskets
from fuzz.digests import digest_of_events
from uproot.compression import LZ4, LZMA, ZLIB, ZSTD, compress

from lartpc.config import Ingest
from lartpc.run.ingest import ingest
from lartpc.store import open_events

DATA = REPOSITORY / "tests" / "data"
NAME = "edepsim_5ev.root"


def packed(content, method):
    """Return a file with each basket packed that becomes smaller, and how many there are."""
    out, num = bytearray(content), 0
    for start, num_key, num_unpacked, *_ in baskets(content):
        data = content[start + num_key : start + num_key + num_unpacked]
        block = compress(data, method(5))
        if len(block) < len(data):
            struct.pack_into(">i", out, start, num_key + len(block))
            out[start + num_key : start + num_key + num_unpacked] = block.ljust(num_unpacked, b"\0")
            num += 1
    return bytes(out), num


def read(path, folder):
    """Return a digest of what is read of a file, and the events that are set aside."""
    ingest(path, Ingest(), out=folder / "out.h5", file_uid="same")
    with open_events(folder / "out.h5") as events:
        return digest_of_events(events.stream()), {
            entry: why for entry, (_, why) in events.quarantined().items()
        }


@pytest.mark.parametrize("method", [ZLIB, LZMA, LZ4, ZSTD])
def test_each_way_of_packing_gives_the_same(tmp_path, method):
    content, num = packed((DATA / NAME).read_bytes(), method)
    assert num > 3
    (tmp_path / "a.root").write_bytes(content)
    assert read(tmp_path / "a.root", tmp_path) == read(DATA / NAME, tmp_path)
