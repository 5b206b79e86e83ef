"""Files that stay as they are while a job reads them: else what it writes is not made from what it says."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lartpc.faults import PassingError

MANIFEST = "manifest.json"
"""File of a folder of tables that is another one when they are; that of a dataset may lie in a folder of results."""


class Steady:
    """Files as they were when this was made: where each is, its size and its time; of folders, their tables."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._states = {path: _state(path) for path in paths}

    def check(self) -> None:
        """Raise PassingError if a file was replaced or changed since."""
        for path, before in self._states.items():
            if _state(path) != before:
                raise PassingError(f"{path} was changed while it was read; give the same command again")


_watched: list[Steady] = []


@contextmanager
def watching(paths: Iterable[Path]) -> Iterator[None]:
    """Raise PassingError if files are replaced or changed in the block: before what it writes has its name, or last."""
    steady = Steady(path for path in paths if _is_there(path))
    _watched.append(steady)
    try:
        yield
        steady.check()
    except Exception:  # what is wrong with a file may be that it is another one now
        steady.check()
        raise
    finally:
        _watched.remove(steady)


def check_watched() -> None:
    """Raise PassingError if a file that is watched was replaced or changed."""
    for steady in _watched:
        steady.check()


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False  # whoever opens it says why not


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if path.is_dir():  # what is written beside the tables is none of theirs
        tables = (path / MANIFEST, path / "dataset" / MANIFEST)
        return status.st_ino, *(number for one in tables for number in _state(one) or (0,))
    return status.st_ino, status.st_size, status.st_mtime_ns
