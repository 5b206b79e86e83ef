"""What a process of an MPI job says before it ends the job, said so that the launcher hears it.

A launcher that hears of the end of a rank ends the others, and drops what it has not yet read of what they wrote
(MPICH's was seen to, where its process had been waiting for a processor). The cause of a failure would be lost.

This file is also run by its path, as the process that watches over another, so it imports Python's library only.
"""

import fcntl
import os
import select
import signal
import stat
import sys
import termios
import time
from contextlib import suppress
from typing import IO, Any

READ_S = 20.0
"""Time in which the launcher should have read what was written; later the job is ended all the same."""


def say(message: str) -> None:
    """Write a message to stderr, and wait until all that was written there has been read, if it is a pipe."""
    try:
        sys.stderr.write(message)
        sys.stderr.flush()
    except OSError:  # stderr is closed, or nobody reads it any more
        drop(sys.stderr)
    deadline = time.monotonic() + READ_S
    while _num_unread(2) and time.monotonic() < deadline:
        time.sleep(0.01)


def drop(stream: IO[Any]) -> None:
    """Let what a stream could not write go nowhere: at its end Python would try again, and end with status 120."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _num_unread(descriptor: int) -> int:
    """Return how many bytes a pipe holds; 0 of what is no pipe: of files and terminals the number is another."""
    try:
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return 0
        found = fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4))
    except OSError:
        return 0
    return int.from_bytes(found, sys.byteorder)


def _watch(seconds: float, complaint: str) -> None:
    """Wait for the end of the input, and end the parent with a complaint if that takes too long."""
    if not select.select([0], [], [], seconds)[0]:
        say(complaint)
        os.kill(os.getppid(), signal.SIGKILL)


if __name__ == "__main__":
    _watch(float(sys.argv[1]), sys.argv[2])
