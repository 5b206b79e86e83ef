"""Ingestion: files of steps or of voxels → voxels and truth labels. One module per file format."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lartpc.ingest import edepsim, geant4
from lartpc.ingest.source import StepSource, VoxelSource


class Format(NamedTuple):
    """A file format: whether a file is of it, how to open it, and what it is known by."""

    recognises: Callable[[Path], bool]
    open: Callable[[Path], StepSource | VoxelSource]
    looks_for: str


FORMATS = (
    Format(geant4.recognises, geant4.Geant4Reader, geant4.LOOKS_FOR),
    Format(edepsim.recognises, edepsim.EdepSimReader, edepsim.LOOKS_FOR),
)
"""The first match counts."""


def open_source(path: Path) -> StepSource | VoxelSource:
    """Open a file of events; its content says which format it is, not its name.

    Raises
    ------
    ValueError
        The file is missing, damaged, of no known format, or lacks a field of its format.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    for known in FORMATS:
        if known.recognises(path):
            return known.open(path)
    marks = "; ".join(known.looks_for for known in FORMATS)
    raise ValueError(f"{path} ({path.stat().st_size} bytes) is of no known format; looked for: {marks}")
