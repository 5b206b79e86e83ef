"""Files and folders that appear when they are whole: written beside their final name, made durable, renamed."""

import errno
import glob
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from lartpc.steady import check_watched

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What the system says where a disk is full, or the user's share of it, or became read-only, as one that fails does."""

ROOM_BYTES = 2**25
"""Free space that writing HDF5 needs beside the rows: chunks and metadata that it holds back until it closes."""

NOT_A_PLACE = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG),
    *(errno.EEXIST, errno.EINVAL),
)
"""What the system says of a path where nothing can ever be written, other than of a disk that is full at the moment."""


class FullDiskError(OSError):
    """A disk, or the user's share of it, is full or read-only now; the error names the file that was to be written."""


def part_of(path: Path, *, is_folder: bool = False) -> Path:
    """Return a new temporary name beside a file or folder to be written, in a folder that exists.

    What killed runs left under such names is removed. A process that such a run left behind loses its
    file with it, and fails without harm when it wants to give it the final name.

    Raises
    ------
    ValueError
        Nothing can be written there, or there is a folder in the place of the file, or a file in that of the folder.
    """
    if not path.name:
        raise ValueError(f"'{path}' is no name of a file or a folder to write; name one")
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    with _possible(path):
        if path.is_dir() and not is_folder:
            raise ValueError(f"{path} is a folder, and a file is to be written; name a file in it")
        if path.is_file() and is_folder:
            raise ValueError(f"{path} is a file, and a folder is to be written; name another one")
        path.parent.mkdir(parents=True, exist_ok=True)
        clear(path)
        part.touch(exist_ok=False)
        part.unlink()
    return part


def make_folder(path: Path) -> Path:
    """Make a folder to write to, and those that it is in, where it is not there; ValueError where none can be."""
    with _possible(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def _possible(path: Path) -> Iterator[None]:
    """Turn what the system says of a place where nothing can be written into ValueError that names what was to be."""
    try:
        yield
    except OSError as error:
        if error.errno in NOT_A_PLACE:
            raise ValueError(f"{path} cannot be written ({error.strerror}); name another place") from error
        raise


def ready_path(path: Path) -> Path:
    """Return where a file or a folder that is whole waits for the job that gives it its name."""
    return path.with_name(f".{path.name}.ready")


def final_path(path: Path) -> Path:
    """Return the name that a file will have in the end: its own, unless it lies ready for a job to name it."""
    name = path.name
    is_ready = name.startswith(".") and name.endswith(".ready")
    return path.with_name(name[1:].removesuffix(".ready")) if is_ready else path


def clear(path: Path) -> None:
    """Remove temporary files of a file."""
    for stale in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
        if stale.is_dir():
            shutil.rmtree(stale, ignore_errors=True)
        else:
            stale.unlink(missing_ok=True)


def complete(part: Path, path: Path) -> None:
    """Make a file that was written under a temporary name durable, and give it its final name.

    Raises
    ------
    PassingError
        A file that is read meanwhile was replaced or changed (`steady.watching`).
    """
    with part.open("rb") as file:
        os.fsync(file.fileno())
    check_watched()
    part.replace(path)


def need_room(path: Path, num_bytes: int = 0) -> None:
    """Raise OSError (ENOSPC) where so many bytes, and what HDF5 needs to close, may not fit: it crashes there."""
    if shutil.disk_usage(path.parent).free < ROOM_BYTES + num_bytes:
        raise FullDiskError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def abandon(part: Path, close: Callable[[], None]) -> None:
    """Close an HDF5 file that is not to be finished, and remove it, also where the disk is full."""
    with suppress(OSError):
        os.truncate(part, 0)  # HDF5 must write even to close a file: this gives it the space back
    with suppress(OSError, RuntimeError):
        close()
    part.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in what the system says of a full disk."""
    try:
        yield
    except FullDiskError:
        raise  # it names its file, and this one may be written together with that
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise FullDiskError(error.errno, os.strerror(error.errno), str(path)) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it becomes `path` if the block ends well, else it goes."""
    part = part_of(path)
    try:
        with naming(path):
            yield part
            complete(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_each(contents: Mapping[Path, str | bytes]) -> None:
    """Write files that belong together: all have their names in the end, or none."""
    with ExitStack() as stack:
        for path, content in contents.items():
            part = stack.enter_context(replacing(path))
            with naming(path), part.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())  # a disk without room says so before the first of them has its name


@contextmanager
def replacing_folder(path: Path, known_by: str) -> Iterator[Path]:
    """Yield a new folder to fill; it becomes `path`, in place of an older one, if the block ends well, else it goes.

    Parameters
    ----------
    known_by
        A file that each such folder has.

    Raises
    ------
    ValueError
        As `part_of`; or the older one is of another kind, as a folder is that was named by mistake: it has files, and
        not that one, or others than tables.
    """
    part = part_of(path, is_folder=True)
    there = [one for one in path.rglob("*") if one.is_file()]
    foreign = [one for one in there if not _is_ours(one)]
    if not foreign and not (path / known_by).is_file():
        foreign = [one for one in there if one.suffix]
    if foreign:
        raise ValueError(
            f"{path} would be replaced, and is not a folder of such tables: it has {foreign[0]}; name a new folder"
        )
    old = path.with_name(f"{path.name}.old")
    part.mkdir()
    try:
        with naming(path):
            yield part
        for folder in (found for found in (part, *part.rglob("*")) if found.is_dir()):
            _sync(folder)
        check_watched()
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
        part.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _is_ours(file: Path) -> bool:
    return file.suffix in (".parquet", ".json") or file.name == ".snakemake_timestamp"


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
