"""What a file is, by its first bytes, and said in a refusal: with what to do about it. Standard library only."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

READ = {"HDF5": "is an HDF5 file", "ROOT": "is a ROOT file", "Parquet": "is a Parquet table"}
"""Kinds of files that are read, and how they are told of where another one is wanted."""

HDF5 = b"\x89HDF\r\n\x1a\n"
PLACES = (0, 512, 1024, 2048, 4096, 8192)
"""Where the signature of HDF5 may be: what stands before it is the user's."""


class Look(NamedTuple):
    """What the first bytes of a file say: its kind, "" where they say nothing, and words for it."""

    kind: str
    text: str

    @property
    def is_readable(self) -> bool:
        """Tell whether the file may be of a format that is read."""
        return self.kind in READ


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
    (b"data.pkl", "is a file of weights or of Python objects"),
)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name the file in what the system says while it is read: of a disk that fails, it does not say of which file."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def describe(path: Path) -> Look:
    """Say by its first bytes what a file is; `Look.text` continues a sentence that begins with its name."""
    if path.is_symlink() and not path.exists():
        return Look("none", f"does not exist: it is a link to {path.readlink()}, which is not there")
    if not path.exists():
        return Look("none", "does not exist")
    if not stat.S_ISREG(path.stat().st_mode):
        return Look("none", "is a folder; name the files in it" if path.is_dir() else "is not a regular file")
    with reading(path), path.open("rb") as file:
        head = file.read(PLACES[-1] + len(HDF5))
    if not head:
        return Look("none", "is empty (0 bytes): copy or make it again")
    for begin, text in BEGINNINGS:
        if head.startswith(begin):
            return Look("other", text)
    if head.startswith(b"PK\x03\x04"):
        return Look(
            "other", next((text for mark, text in ZIPPED if mark in head), "is a zip archive: unpack it")
        )
    if head[257:262] == b"ustar":
        return Look("other", "is a tar archive: unpack it")
    kind = "ROOT" if head.startswith(b"root") else "Parquet" if head.startswith(b"PAR1") else ""
    if any(head.startswith(HDF5, place) for place in PLACES):
        kind = "HDF5"
    if kind:
        return Look(kind, READ[kind])
    if not head[:1024].strip(b"\0"):
        return Look("", "begins with zeros, as files do of which the copy was cut short: copy it again")
    words = head[:1024].lstrip().lower()
    if words.startswith((b"<!doctype", b"<html")):
        return Look("other", "is a web page, such as a login or an error that was saved in place of the file")
    size = path.stat().st_size
    is_text = all(byte >= 32 or byte in b"\t\n\r" for byte in head[:1024])
    return Look(
        "", f"is neither HDF5, ROOT nor Parquet, but {'text' if is_text else 'other data'} ({size} bytes)"
    )


def refuse_other(path: Path, wanted: str) -> None:
    """Raise ValueError where a file is plainly of another kind than `wanted`, a key of `READ` or "text"."""
    look = describe(path)
    if look.kind and look.kind not in ("none", wanted):
        remedy = "" if ":" in look.text else f", and {READ.get(wanted, wanted).removeprefix('is ')} is wanted"
        raise ValueError(f"{path} {look.text}{remedy}")
