"""Ingestion: files of steps or of voxels → voxels and truth labels. One module per file format."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from lartpc.ingest.formats import edepsim, edepsim_root, geant4, hits, larcv2, larcv3, pilarnet, spine
from lartpc.ingest.formats.hdf5 import is_hdf5, open_hdf5
from lartpc.ingest.formats.joined import join
from lartpc.ingest.formats.root import contents, is_root, open_root
from lartpc.ingest.source import StepSource, VoxelSource


class Format(NamedTuple):
    """A file format: whether a file is of it, how to open it, and what it is known by."""

    recognises: Callable[[Path], bool]
    open: Callable[[Path], StepSource | VoxelSource]
    looks_for: str


FORMATS = (
    Format(geant4.recognises, geant4.Geant4Reader, geant4.LOOKS_FOR),
    Format(edepsim.recognises, edepsim.EdepSimReader, edepsim.LOOKS_FOR),
    Format(edepsim_root.recognises, edepsim_root.EdepSimRootReader, edepsim_root.LOOKS_FOR),
    Format(larcv2.recognises, larcv2.Larcv2Reader, larcv2.LOOKS_FOR),
    Format(larcv3.recognises, larcv3.Larcv3Reader, larcv3.LOOKS_FOR),
    Format(pilarnet.recognises, pilarnet.PilarnetReader, pilarnet.LOOKS_FOR),
    Format(spine.recognises, spine.SpineReader, spine.LOOKS_FOR),
    Format(hits.recognises_flow, hits.FlowReader, hits.FLOW_LOOKS_FOR),
    Format(hits.recognises_jax, hits.JaxReader, hits.JAX_LOOKS_FOR),
    Format(hits.recognises_packets, hits.refuse_packets, hits.PACKETS_LOOKS_FOR),
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
    raise ValueError(f"{path} is of no known format; it {_describe(path)}; looked for: {marks}")


def open_sources(paths: Sequence[Path]) -> StepSource | VoxelSource:
    """Open one file, or several as one source.

    Raises
    ------
    ValueError
        As `open_source`; or files differ in what they hold.
    """
    return open_source(paths[0]) if len(paths) == 1 else join(paths, open_source)


def _describe(path: Path) -> str:
    if is_root(path):
        with open_root(path) as file:
            held = [f"{name} ({of})" for name, of in contents(path, file).items()]
            return f"is a ROOT file with {', '.join(held) or 'nothing'}"
    if is_hdf5(path):
        with open_hdf5(path) as file:
            return f"is an HDF5 file with {', '.join(sorted(file)) or 'nothing'}"
    return f"is neither HDF5 nor ROOT ({path.stat().st_size} bytes)"
