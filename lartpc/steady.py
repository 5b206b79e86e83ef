"""Files that stay as they are while a job reads them: else what it writes is not made from what it says."""

from collections.abc import Iterable
from pathlib import Path

from lartpc.faults import PassingError


class Steady:
    """Files as they were when this was made: where each is, its size and its time."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._states = {path: _state(path) for path in paths}

    def check(self) -> None:
        """Raise PassingError if a file was replaced or changed since."""
        for path, before in self._states.items():
            if _state(path) != before:
                raise PassingError(f"{path} was changed while it was read; give the same command again")


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
