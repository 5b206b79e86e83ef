"""Text that is read: sample sheets, settings, and generators' records."""

import hashlib
from pathlib import Path
from typing import Any

from handmade_nuhepmc import Written, write

from lartpc.config import load_section
from lartpc.neutrinos import files
from lartpc.plan import plan

SHEET = (
    "sample\tsplit\tsource\tnum_events\tnum_shards\tevents\n"
    "beam\ttest\tgeant4\t40\t4\t-\nshort\tvalidation\tgeant4\t7\t1\t-\n# a note\nother\ttrain\tgeant4\t100\t10\t-\n"
)
SETTINGS = (
    '{"voxel_size_cm": 0.4, "num_voxels": 640, "centre_cm": [0.0, 1.5, -2.0], "voxel_threshold_mev": 0.05}\n'
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


def use_record(path: Path) -> str:
    """Read the interactions."""
    return _digest(list(files.read("nuhepmc", [path])))
