"""Ingestion: files of steps or of voxels → voxels and truth labels. One module per file format."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from lartpc.content import describe
from lartpc.faults import passes
from lartpc.ingest.damage import explain
from lartpc.ingest.formats import (
    edepsim,
    edepsim_root,
    geant4,
    hits,
    jaxtpc,
    larcv2,
    larcv2_images,
    larcv3,
    larcv3_images,
    pilarnet,
    spine,
)
from lartpc.ingest.formats.joined import join
from lartpc.ingest.formats.whatis import inside
from lartpc.ingest.source import AnySource


class Format(NamedTuple):
    """A file format: whether a file is of it, and how to open it."""

    recognises: Callable[[Path], bool]
    open: Callable[[Path], AnySource]


FORMATS = (
    Format(geant4.recognises, geant4.Geant4Reader),
    Format(edepsim.recognises, edepsim.EdepSimReader),
    Format(edepsim_root.recognises, edepsim_root.EdepSimRootReader),
    Format(jaxtpc.recognises, jaxtpc.JaxtpcReader),
    Format(larcv2.recognises, larcv2.Larcv2Reader),
    Format(larcv2_images.recognises, larcv2_images.Larcv2ImageReader),
    Format(larcv3.recognises, larcv3.Larcv3Reader),
    Format(larcv3_images.recognises, larcv3_images.Larcv3ImageReader),
    Format(pilarnet.recognises, pilarnet.PilarnetReader),
    Format(spine.recognises, spine.SpineReader),
    Format(hits.recognises_flow, hits.FlowReader),
    Format(hits.recognises_jax, hits.JaxReader),
    Format(hits.recognises_packets, hits.refuse_packets),
)
"""The first match counts."""


def open_source(path: Path) -> AnySource:
    """Open a file of events; its content says which format it is, not its name.

    Raises
    ------
    ValueError
        The file is missing, damaged, of no known format, or lacks a field of its format.
    """
    try:
        what = describe(path)
        if not what.is_readable:
            raise ValueError(f"{path} {what.text}")
        for known in FORMATS:
            if known.recognises(path):
                return known.open(path)
    except Exception as error:
        if passes(error) or (isinstance(error, ValueError) and str(path) in str(error)):
            raise
        raise ValueError(f"{path} cannot be read ({explain(error)}); copy or make it again") from error
    raise ValueError(
        f"{path} is of no known format: it {inside(path)}; docs/reference/formats lists what is read"
    )


def open_sources(paths: Sequence[Path]) -> AnySource:
    """Open one file, or several as one source.

    Raises
    ------
    ValueError
        As `open_source`; or files differ in what they hold.
    """
    return open_source(paths[0]) if len(paths) == 1 else join(paths, open_source)
