"""Want of memory and disks that fail are told as that, and never as damage: else events are lost for good."""

import errno
import os
import subprocess
import sys
import zlib

import h5py
import pyarrow as pa
import pytest
import test_nuhepmc
from checkout import REPOSITORY
from handmade import write_shard
from typer.testing import CliRunner

from lartpc.cli import app
from lartpc.config import Ingest
from lartpc.faults import EXIT_STATUS, passes
from lartpc.ingest.formats.hdf5 import readable
from lartpc.neutrinos import genie, nuhepmc
from lartpc.provenance import fingerprint
from lartpc.run.ingest import ingest
from lartpc.run.training.ahead import ahead
from lartpc.store import open_events
from lartpc.store.seal import reading
from lartpc.tables.write import reading_table

DATA = REPOSITORY / "tests" / "data"
MB = 2**20
FAULTS = [MemoryError("no room"), OSError(errno.EIO, os.strerror(errno.EIO))]


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Write 61 MB in one packed chunk: HDF5 unpacks it to as much again, beside the array."""
    path = tmp_path_factory.mktemp("packed") / "packed.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (8_000_000,), "i8", chunks=(8_000_000,), compression="gzip")
        file["x"].id.write_direct_chunk((0,), zlib.compress(bytes(64_000_000), 1))
    return path


IN_ROOM = """
import sys
import h5py
from lartpc.run import guard
{imported}

guard.available_bytes = lambda: {room_mb} * 2**20

def work():
    with h5py.File({path!r}) as file, {context}({path!r}):
        return len(file["x"][:])

try:
    print(guard.in_child(work, "it"))
except MemoryError:
    print("MemoryError")
"""
"""A process of its own: one that gave memory back keeps it, and reads with it beyond the limit of its child."""


@pytest.mark.parametrize("context", [readable, reading], ids=lambda context: context.__name__)
@pytest.mark.parametrize("room_mb", [40, 80, 4000])
def test_hdf5_without_memory(packed, context, room_mb):
    imported = f"from {context.__module__} import {context.__name__}"
    code = IN_ROOM.format(imported=imported, room_mb=room_mb, path=str(packed), context=context.__name__)
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert said.stdout == ("8000000\n" if room_mb > 200 else "MemoryError\n"), said.stderr


def test_packed_bytes_that_are_damaged_are_no_want_of_memory(packed, tmp_path):
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(packed.read_bytes())
    with h5py.File(damaged) as file:
        place = file["x"].id.get_chunk_info(0).byte_offset
    with damaged.open("r+b") as file:
        file.seek(place + 10)
        file.write(b"\xff" * 20)
    with (
        pytest.raises(ValueError, match=f"{damaged}: 'x' cannot be read .*filter returned failure"),
        h5py.File(damaged) as file,
        readable(damaged, "x"),
    ):
        file["x"][:]


@pytest.mark.parametrize("fault", FAULTS, ids=["memory", "disk"])
@pytest.mark.parametrize("name", ["edepsim_5ev.root", "larcv2_4ev.root", "larcv2_images_3ev.root"])
@pytest.mark.parametrize("num_reads", [0, 6])
def test_root_files(tmp_path, monkeypatch, name, fault, num_reads):
    from lartpc.rootfile import _Bounded

    left = [None] * num_reads
    work = _Bounded.chunk

    def chunk(self, start, stop):
        if not left:
            raise fault
        left.pop()
        return work(self, start, stop)

    monkeypatch.setattr(_Bounded, "chunk", chunk)
    with pytest.raises(type(fault)) as told:
        ingest(DATA / name, Ingest(), out=tmp_path / "out.h5")
    assert passes(told.value) and "damaged" not in str(told.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault", FAULTS, ids=["memory", "disk"])
def test_generators(tmp_path, monkeypatch, fault):
    def fails(*_):
        raise fault

    test_nuhepmc.gst(tmp_path / "a.root")
    monkeypatch.setattr("lartpc.rootfile._Bounded.chunk", fails)
    with pytest.raises(type(fault)):
        list(genie.read(tmp_path / "a.root", "gst"))
    (tmp_path / "a.hepmc3").write_text("HepMC::Version 3\n")
    monkeypatch.setattr(nuhepmc, "_text", fails)
    for read in (nuhepmc.recognises, nuhepmc.listing):
        with pytest.raises(type(fault)):
            read(tmp_path / "a.hepmc3")


@pytest.mark.parametrize("fault", [pa.lib.ArrowMemoryError("malloc of size 64 failed"), *FAULTS[1:]])
def test_tables(tmp_path, fault):
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(type(fault)), reading_table(tmp_path / "t.parquet"):
        raise fault


def test_event_files_on_a_disk_that_fails(tmp_path, monkeypatch):
    path = write_shard(tmp_path, "beam/0000")[0]

    def fails(*_, **__):
        raise OSError(errno.EIO, "Unable to synchronously open file (file read failed: errno = 5)")

    monkeypatch.setattr("h5py.File", fails)
    with pytest.raises(OSError, match="file read failed"):
        open_events(path)
    said = CliRunner().invoke(app, ["summarize", str(path), "--out", str(tmp_path / "tables")])
    assert said.exit_code == EXIT_STATUS and "make it again" not in said.output, said.output


def test_the_digest_of_an_event_file_is_not_that_of_another_file_on_such_a_disk(tmp_path, monkeypatch):
    path = write_shard(tmp_path, "beam/0000")[0]
    whole = fingerprint(path)
    monkeypatch.setattr("h5py.is_hdf5", lambda _: False)  # what it says of a file that it cannot open
    assert fingerprint(path) == whole and whole[0] == "ingest of beam/0000"


def be_killed(_: int, __: int) -> None:
    os.kill(os.getpid(), 9)


def test_a_process_that_reads_ahead_and_is_killed():
    with (
        ahead(be_killed, list, range(3), 1) as values,
        pytest.raises(MemoryError, match="killed, as the system does for want of memory"),
    ):
        next(values)
