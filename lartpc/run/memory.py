"""How much memory a process may still take, of the machine and of its job, and what the collector leaves alone."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def available_bytes() -> float:
    """Return the memory [B] that is free on this machine and below the limits of this process's job.

    Limits are those of control groups, version 2, by which SLURM, containers and systemd set them. Where
    neither they nor the machine say anything, there is no bound.
    """
    return min([_of_machine(), *_below_limits(CGROUPS, Path("/proc/self/cgroup"))])


@contextmanager
def settled() -> Iterator[None]:
    """Keep the garbage collector from what is there already, which stays as long as the work: libraries, weights.

    With torch loaded these are half a million objects, and to look through them again and again takes 2 ms an event.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _of_machine() -> float:
    path = Path("/proc/meminfo")
    if not path.is_file():
        return float("inf")
    lines = (line.split() for line in path.read_text().splitlines())
    return next((float(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:"), float("inf"))


def _below_limits(root: Path, own: Path) -> list[float]:
    """Return what is left in the process's control group and in each group around it."""
    if not own.is_file():
        return []
    names = [line[3:] for line in own.read_text().splitlines() if line.startswith("0::")]
    found = []
    for group in [root / name.lstrip("/") for name in names]:
        for folder in (group, *group.parents):
            if folder == root or root not in folder.parents:
                break
            limit, used = folder / "memory.max", folder / "memory.current"
            if limit.is_file() and used.is_file() and (text := limit.read_text().strip()) != "max":
                # Cached pages of files count as used, and go when memory is wanted.
                cached = _stat(folder / "memory.stat", "inactive_file")
                found.append(float(text) - float(used.read_text()) + cached)
    return found


def _stat(path: Path, key: str) -> float:
    if not path.is_file():
        return 0.0
    lines = (line.split() for line in path.read_text().splitlines())
    return next((float(words[1]) for words in lines if words[0] == key), 0.0)
