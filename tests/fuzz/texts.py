"""Text that is read: sample sheets, settings, catalogues, and generators' records, also in ROOT."""

import hashlib
from pathlib import Path
from typing import Any

from handmade_nuhepmc import Written, write

from lartpc.config import load_section
from lartpc.neutrinos import files
from lartpc.plan import plan
from lartpc.remote import HEADER, read_catalogue

SHEET = (
    "sample\tsplit\tsource\tnum_events\tnum_shards\tevents\n"
    "beam\ttest\tgeant4\t40\t4\t-\nshort\tvalidation\tgeant4\t7\t1\t-\n# a note\nother\ttrain\tgeant4\t100\t10\t-\n"
)
SETTINGS = (
    '{"voxel_size_cm": 0.4, "num_voxels": 640, "centre_cm": [0.0, 1.5, -2.0], "voxel_threshold_mev": 0.05}\n'
)
CATALOGUE = (
    f"{HEADER}\nroot://eos.example//data/a.h5\t1000\tadler32:0a1b2c3d\t20\n"
    "https://dav.example/b.h5?x=1\t-\t-\t-\ns3://bucket/c.h5\t7\tsha256:" + "0f" * 32 + "\t-\n"
)


def _digest(said: Any) -> str:
    return hashlib.blake2b(repr(said).encode(), digest_size=16).hexdigest()


def make_sheet(path: Path) -> None:
    """Write a sheet of three samples."""
    path.write_text(SHEET)


def use_sheet(path: Path) -> str:
    """Plan its shards: each event of a sample is in one of them."""
    shards = plan([path], 1, 100)
    assert len({shard.key for shard in shards}) == len(shards)
    return _digest(shards)


def make_settings(path: Path) -> None:
    """Write settings of `ingest`."""
    path.write_text(SETTINGS)


def use_settings(path: Path) -> str:
    """Read them."""
    return _digest(load_section("ingest", path))


def make_record(path: Path) -> None:
    """Write three interactions."""
    write(path, Written(), num=3)


def use_record(path: Path, kind: str = "nuhepmc") -> str:
    """Read the interactions."""
    return _digest(list(files.read(kind, [path])))


def make_catalogue(path: Path) -> None:
    """Write a catalogue of three files on servers."""
    path.write_text(CATALOGUE)


def use_catalogue(path: Path) -> str:
    """Read it; a text that is no catalogue is none."""
    found = read_catalogue(path)
    assert found is None or len({one.url for one in found}) == len(found)
    return _digest(found)
