"""What a file is that is none of the formats: said in a refusal, with what to do about it."""

from pathlib import Path
from typing import Any

from lartpc.ingest.formats.hdf5 import attribute, has, names, open_hdf5
from lartpc.ingest.formats.pilarnet_layout import is_parquet, parquet_columns
from lartpc.ingest.formats.root import contents, is_root, open_root

SHOWN = 10
"""Names of contents that are listed."""


def inside(path: Path) -> str:
    """Say what an HDF5, ROOT or Parquet file holds; continues a sentence that begins with its name."""
    if is_parquet(path):
        columns = _listed(list(parquet_columns(path)))
        return (
            f"is a Parquet table with {columns}; of such files PILArNet-M is read, which has lists 'point' and "
            "'cluster', and tables of ours are what comes out at the end"
        )
    if is_root(path):
        with open_root(path) as file:
            held = contents(path, file)
        return _root(held)
    with open_hdf5(path) as file:
        return _hdf5(path, file, names(path, file))


def _root(held: dict[str, str]) -> str:
    for name, text in (
        ("gst", "is a GENIE summary of generated particles, which deposit nothing yet: simulate them first"),
        (
            "gRooTracker",
            "holds generated particles (rootracker), which deposit nothing yet: simulate them first",
        ),
        ("cafTree", "is a CAF, which holds analysed events and no deposits"),
        ("recTree", "is a CAF, which holds analysed events and no deposits"),
    ):
        if name in held:
            return text
    trees = [name for name, of in held.items() if of in ("TTree", "ROOT::RNTuple")]
    if any(name.endswith("_tree") and name.partition("_")[0] in LARCV_KINDS for name in trees):
        return f"is LArCV 2 without images of deposits, with {_listed(trees)}"
    if any(name.startswith("Events") for name in trees):
        return f"may be art or LArSoft, with {_listed(trees)}: write LArCV 2 of it (Supera)"
    return f"is a ROOT file with {_listed([f'{name} ({of})' for name, of in held.items()])}"


LARCV_KINDS = {
    "particle",
    "neutrino",
    "image2d",
    "sparse2d",
    "sparse3d",
    "cluster2d",
    "cluster3d",
    "partid",
    "bbox2d",
}


def _hdf5(path: Path, file: Any, held: tuple[str, ...]) -> str:
    if attribute(path, file, "file_uid") is not None:
        step = attribute(path, file, "step") or "?"
        return f"is an event file that 'lartpc {step}' wrote; give the file that was ingested"
    if "tracks" in held:
        return (
            "is the output of larnd-sim of 2021 or before: its deposits are in 'tracks', with x and z exchanged; "
            "give the edep-sim file ('segments') that it was made of, or make it again with larnd-sim of 2023 or later"
        )
    if has(path, file, "Data") and "Events" in held:
        products = names(path, file["Data"])
        return f"is LArCV 3 without images of deposits, with {_listed(list(products))}"
    batches = [name for name in held if name.startswith("batch_")]
    if batches:
        has_now = _listed(list(names(path, file[batches[0]])))
        return (
            "seems to be of larnd-sim-jax, but its batches have no 'Q', 'pix_x', 'pix_y' and 'pix_z'; "
            f"{batches[0]} has {has_now}"
        )
    if {"adc", "pixels", "ticks"} <= set(held):
        return (
            "is the output of an early larnd-sim-jax: adc, pixels and ticks, without charges, positions and numbers of "
            "events; make it again with a later version (groups batch_<number>), or give the file that it was made of "
            "('segments')"
        )
    if not held:
        return "is an HDF5 file with nothing in it"
    return f"is an HDF5 file with {_listed(list(held))}"


def _listed(found: list[str]) -> str:
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return (", ".join(sorted(found)[:SHOWN]) or "nothing") + more
