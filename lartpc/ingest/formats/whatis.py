"""What a file is that is none of the formats: said in a refusal, with what to do about it."""

import stat
from pathlib import Path
from typing import Any, NamedTuple

from lartpc.ingest.formats.hdf5 import attribute, has, is_hdf5, names, open_hdf5
from lartpc.ingest.formats.pilarnet_layout import is_parquet, parquet_columns
from lartpc.ingest.formats.root import contents, is_root, open_root

SHOWN = 10
"""Names of contents that are listed."""


class Look(NamedTuple):
    """What the first bytes of a file say; `is_readable` if it may be of a format that is read."""

    is_readable: bool
    text: str


BEGINNINGS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file: get the file with 'git lfs pull'"),
    (b"/annex/objects/", "is a git-annex pointer, not the file: get the file with 'git annex get'"),
    (b"\x1f\x8b", "is compressed with gzip: unpack it with gunzip"),
    (b"BZh", "is compressed with bzip2: unpack it with bunzip2"),
    (b"\xfd7zXZ", "is compressed with xz: unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd: unpack it with unzstd"),
    (
        b"\x93NUMPY",
        "is a numpy array, which says nothing of fields and units: make an HDF5 file of a known format",
    ),
    (b"HepMC::", "is a HepMC record of generated particles, which deposit nothing yet: simulate them first"),
    (b"CDF\x01", "is netCDF: make an HDF5 file of a known format"),
    (b"%PDF", "is a PDF document"),
)
ZIPPED = (
    (b".npy", "is a numpy archive (.npz), which says nothing of units: make an HDF5 file of a known format"),
    (b"data.pkl", "is a file of weights or of Python objects; events go in"),
)


def describe(path: Path) -> Look:
    """Say by its first bytes what a file is; `Look.text` continues a sentence that begins with its name."""
    if path.is_symlink() and not path.exists():
        return Look(False, f"does not exist: it is a link to {path.readlink()}, which is not there")
    if not path.exists():
        return Look(False, "does not exist")
    if not stat.S_ISREG(path.stat().st_mode):
        return Look(False, "is a folder; name the files in it" if path.is_dir() else "is not a regular file")
    with path.open("rb") as file:
        head = file.read(1024)
    if not head:
        return Look(False, "is empty (0 bytes): copy or make it again")
    for begin, text in BEGINNINGS:
        if head.startswith(begin):
            return Look(False, text)
    if head.startswith(b"PK\x03\x04"):
        return Look(
            False, next((text for mark, text in ZIPPED if mark in head), "is a zip archive: unpack it")
        )
    if head[257:262] == b"ustar":
        return Look(False, "is a tar archive: unpack it")
    if is_root(path) or is_hdf5(path) or is_parquet(path):
        return Look(True, "may be read")
    if not head.strip(b"\0"):
        return Look(False, "begins with zeros, as files do of which the copy was cut short: copy it again")
    words = head.lstrip().lower()
    if words.startswith((b"<!doctype", b"<html")):
        return Look(False, "is a web page, such as a login or an error that was saved in place of the file")
    size = path.stat().st_size
    is_text = all(byte >= 32 or byte in b"\t\n\r" for byte in head)
    return Look(
        False, f"is neither HDF5, ROOT nor Parquet, but {'text' if is_text else 'other data'} ({size} bytes)"
    )


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
