"""Who is at work in a folder: a record of each run, so that nothing of a live one is removed or cancelled.

A record is a file below `.snakemake/lartpc`, named by machine and process. Whether its run is at work is proved by
the process itself on the machine that it runs on, and elsewhere by signs of life: the time of the file, which
the run renews. Standard library only, as each job of a workflow reads this.
"""

import atexit
import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

RECORDS = Path(".snakemake/lartpc")
LOCKS = Path(".snakemake/locks")
"""Where Snakemake keeps its locks: files that list the files in use."""

INTERVAL_S = 20.0
"""Time between two signs of life."""

SILENT_S = 300.0
"""Silence after which a run on another machine is dead. Clocks do not matter: the file server's is asked."""


@dataclass(frozen=True)
class Owner:
    """A run: its machine and process, the folder of its results, and the name of its jobs in SLURM's queue."""

    host: str
    boot: str
    pid_space: str
    pid: int
    start: str
    results: str
    jobs: str = ""
    has_ended: bool = False

    @classmethod
    def of(cls, pid: int, results: str | Path) -> Self:
        """Return the owner that a process of this machine is."""
        start = started(pid)
        if not start:
            raise ValueError(f"there is no process {pid} on this machine")
        return cls(socket.gethostname(), _boot(), _pid_space(), pid, start, os.path.realpath(results))

    @property
    def path(self) -> Path:
        """The file of the record, below the working folder."""
        return RECORDS / f"{self.host}-{self.pid}-{self.start}.json"

    def write(self) -> None:
        """Write the record, whole or not at all."""
        RECORDS.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(f".{secrets.token_hex(4)}.part")
        part.write_text(json.dumps(asdict(self)))
        part.replace(self.path)

    def is_here(self) -> bool:
        """Tell whether the process can be seen from here: the same kernel since its start, the same container."""
        return (self.boot, self.pid_space) == (_boot(), _pid_space())

    def is_alive(self) -> bool:
        """Tell whether the run is at work, or may be as far as can be proved."""
        if self.has_ended:
            return False
        if self.is_here():
            return started(self.pid) == self.start
        return self.silence_s() < SILENT_S

    def silence_s(self) -> float:
        """Return the time since the last sign of life, by the clock that sets the times of files here [s]."""
        probe = RECORDS / f".now.{secrets.token_hex(4)}"
        try:
            probe.touch()
            return probe.stat().st_mtime - self.path.stat().st_mtime
        except FileNotFoundError:
            return float("inf")
        finally:
            probe.unlink(missing_ok=True)

    def __str__(self) -> str:
        """Say which run this is, and how old its last sign of life is."""
        seen = "it is at work" if self.is_here() else f"last sign of life {self.silence_s():.0f} s ago"
        return f"process {self.pid} on {self.host}, results in {self.results}; {seen}"


def owners() -> list[Owner]:
    """Return the runs that left a record in this folder; a record that is none of ours is of none.

    Raises
    ------
    ValueError
        The system fails to read a record, which may be of a live run.
    """
    found = []
    for path in _files(RECORDS, ".json"):
        try:
            found.append(Owner(**json.loads(path.read_text())))
        except FileNotFoundError:  # its run has just been cleared away
            continue
        except OSError as error:
            raise ValueError(
                f"{path} cannot be read ({error.strerror}), and may be of a run that is at work; nothing was removed "
                "or cancelled. Try again when it can be read, or remove it if no run is at work in this folder"
            ) from error
        except (ValueError, TypeError):
            continue
    return found


def _files(folder: Path, ending: str) -> list[Path]:
    """Return the files of a folder whose names end so, none where it is not there; `Path.glob` hides other reasons."""
    try:
        found = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ValueError(
            f"{folder} cannot be read ({error.strerror}), and a run may be at work here; nothing was removed or "
            "cancelled. Try again as the user who started it"
        ) from error
    return [path for path in found if path.name.endswith(ending)]


def others(results: str | Path) -> tuple[list[Owner], list[Owner]]:
    """Return the live runs, other than this process, with results in a folder, above or below, and the dead in it."""
    folder = os.path.realpath(results)
    found = [one for one in owners() if not (one.is_here() and one.pid == os.getpid())]
    near = [one for one in found if os.path.commonpath([one.results, folder]) in (one.results, folder)]
    alive = [one for one in near if one.is_alive()]
    return alive, [one for one in near if one.results == folder and one not in alive]


def refuse(alive: Iterable[Owner]) -> None:
    """Raise a ValueError that names the runs that are at work, if any."""
    for one in alive:
        wait = (
            ""
            if one.is_here()
            else f" If that machine is gone, this works {SILENT_S:.0f} s after its last sign."
        )
        raise ValueError(
            f"another run is at work here ({one}); nothing was removed or cancelled. Wait for its end, or choose "
            f"another folder for the results.{wait}"
        )


def unlock(results: str | Path) -> int:
    """Remove the locks that dead runs left on a folder of results, and return their number.

    Raises
    ------
    ValueError
        A run is at work there, or who set a lock cannot be proved to be dead.
    """
    alive, dead = others(results)
    refuse(alive)
    locks = [path for path in _files(LOCKS, ".lock") if _locks(path, os.path.realpath(results))]
    if locks and not dead:
        raise ValueError(
            f"Snakemake's lock is on {results}, and the run that set it left no record, so that it may be at work "
            "on this or another machine. If none is (pgrep -af snakemake, on each of them): snakemake --unlock"
        )
    for path in locks:
        path.unlink(missing_ok=True)
    return len(locks)


def take(results: str | Path, jobs: str) -> Callable[[], None]:
    """Record this process as the one at work on a folder of results, and give signs of life until it ends.

    Returns
    -------
    What to call when everything that dead runs left is cleared away: their records go.

    Raises
    ------
    ValueError
        Another run is at work there.
    """
    alive, dead = others(results)
    refuse(alive)
    me = replace(Owner.of(os.getpid(), results), jobs=jobs)
    me.write()
    atexit.register(_end, me)
    threading.Thread(target=_live, args=(me.path.absolute(),), name="owner", daemon=True).start()

    def clear() -> None:
        for one in dead:
            one.path.unlink(missing_ok=True)

    return clear


def _end(me: Owner) -> None:
    if me.path.exists():
        replace(me, has_ended=True).write()


def _live(record: Path) -> None:
    while True:
        time.sleep(INTERVAL_S)
        try:
            os.utime(record)
        except FileNotFoundError:
            sys.stderr.write(
                "lartpc: another run took this folder over, as this one gave no sign of life; this one ends\n"
            )
            os.kill(os.getpid(), signal.SIGTERM)
            return
        except OSError:  # a file server that is away comes back
            continue


def _locks(lock: Path, results: str) -> bool:
    """Tell whether a lock of Snakemake has a file below a folder."""
    try:
        lines = lock.read_text(errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return False
    return any(os.path.realpath(line).startswith(f"{results}{os.sep}") for line in lines)


def started(pid: int) -> str:
    """Return when a process of this machine started, in the kernel's ticks, or '' where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _pid_space() -> str:
    return str(Path("/proc/self/ns/pid").readlink())
