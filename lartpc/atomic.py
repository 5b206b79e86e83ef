"""Files that appear when they are whole: written beside their final name, made durable, renamed."""

import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def part_of(path: Path) -> Path:
    """Return a new temporary name beside a file, in a folder that exists.

    What killed runs left under such names is removed. A process that such a run left behind loses its
    file with it, and fails without harm when it wants to give it the final name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    clear(path)
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")


def clear(path: Path) -> None:
    """Remove temporary files of a file."""
    for stale in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
        stale.unlink(missing_ok=True)


def complete(part: Path, path: Path) -> None:
    """Make a file that was written under a temporary name durable, and give it its final name."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it becomes `path` if the block ends well, else it goes."""
    part = part_of(path)
    try:
        yield part
        complete(part, path)
    finally:
        part.unlink(missing_ok=True)
