"""Heaps of HDF5 files: refused exactly where HDF5 would go round in them without end."""

import os
import signal

import h5py
import numpy as np
import pytest
from handmade import write_shard

from lartpc.heaps import heap_fault
from lartpc.run import guard
from lartpc.store import open_events


@pytest.fixture
def good(tmp_path):
    """A file with rows of any length, one of which made their heap longer."""
    path = tmp_path / "good.h5"
    with h5py.File(path, "w", userblock_size=512) as file:
        rows = file.create_dataset("rows", (60,), h5py.vlen_dtype("i4"))
        for number in range(60):
            rows[number] = np.arange(3 * number % 100)
        rows[7] = np.arange(5000)
    return path


def read(path):
    """Read the rows in a process that is ended after a while; tell what became of it."""

    def work():
        signal.setitimer(signal.ITIMER_PROF, 0.5)
        with h5py.File(path) as file:
            return len(file["rows"][:])

    try:
        return str(guard.in_child(work, "it"))
    except Exception as error:
        return str(error)


def test_zeroed_bytes_anywhere_in_heaps(good, tmp_path):
    content = good.read_bytes()
    first = content.index(b"GCOL")
    assert heap_fault(good) == "" and read(good) == "60"
    ends = []
    for at in range(first, first + 4096, 136):
        bad = tmp_path / f"{at}.h5"
        bad.write_bytes(content[:at] + bytes(64) + content[at + 64 :])
        ends.append("does not end" in read(bad))
        assert bool(heap_fault(bad)) == ends[-1], at
    assert 3 < sum(ends) < len(ends) - 3


def test_sizes_that_go_round_to_an_address_before(good):
    content = bytearray(good.read_bytes())
    first = content.index(b"GCOL\1") + 16
    content[first + 8 : first + 16] = (2**64 - 16).to_bytes(8, "little")
    good.write_bytes(content)
    assert f"what is at byte {first} has a size of {2**64 - 16}" in heap_fault(good)
    assert "does not end" in read(good)


def test_bytes_that_look_like_a_heap(good):
    with h5py.File(good, "a") as file:
        file["bytes"] = np.frombuffer(b"GCOL\1\0\0\0" + (2**40).to_bytes(8, "little") + bytes(80), np.uint8)
        file["small"] = np.frombuffer(b"GCOL\1\0\0\0" + (64).to_bytes(8, "little") + bytes(80), np.uint8)
    assert heap_fault(good) == "" and read(good) == "60"


def test_heaps_on_either_side_of_what_is_read_at_a_time(good, monkeypatch):
    content = bytearray(good.read_bytes())
    last = content.rindex(b"GCOL\1")
    content[last + 16 : last + 32] = bytes(16)
    good.write_bytes(content)
    for size in (*range(64, 80), len(content)):  # the mark of each heap is cut at some size
        monkeypatch.setattr("lartpc.heaps._BLOCK_BYTES", size)
        os.utime(good, ns=(size, size))  # another file, as far as is known
        assert f"byte {last}, what is at byte {last + 16} has no size" in heap_fault(good)


def test_files_that_many_jobs_read_parts_of_are_not_read_through(good, monkeypatch):
    content = bytearray(good.read_bytes())
    at = content.index(b"GCOL\1") + 16
    content[at : at + 16] = bytes(16)
    good.write_bytes(content)
    assert heap_fault(good)
    monkeypatch.setattr("lartpc.heaps._WHOLE_BYTES", len(content) - 1)
    assert heap_fault(good) == ""
    assert heap_fault(good, any_size=True)


def test_event_files_with_a_heap_without_end(tmp_path):
    path = write_shard(tmp_path, "beam/0000")[0]
    content = bytearray(path.read_bytes())
    at = content.index(b"GCOL\1") + 16
    content[at : at + 16] = bytes(16)
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"is damaged: of its heap of rows of any length .* remove it and make it again"
    ):
        open_events(path)
