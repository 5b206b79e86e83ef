"""Work in a child process that may die: a library that crashes or hangs on damaged input ends the child only."""

import os
import pickle
import resource
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from lartpc.faults import PassingError, passes
from lartpc.run.memory import available_bytes

T = TypeVar("T")

READ_S = 30.0
"""Processor time that reading one event may take, beside what goes with the size of the file [s]."""

SLOWEST_BYTES_PER_S = 2e6
"""Compressed HDF5 is read ten times as fast and more."""

_PR_SET_PDEATHSIG = 1


def in_child(work: Callable[[], T], name: str) -> T:
    """Return what `work` returns, done in a process forked from this one; its exceptions are raised here.

    `name` is what is worked on.

    Raises
    ------
    ValueError
        The child was ended by a signal, as when a library crashes, or it took longer than `within` allows.
    MemoryError
        The system ended it for want of memory.
    """
    receive, send = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # the child neither takes locks nor starts threads
        child = os.fork()
    if not child:
        os.close(receive)
        _work(work, send)
    os.close(send)
    try:
        with os.fdopen(receive, "rb") as pipe:
            content = pipe.read()
        _, status = os.waitpid(child, 0)
        child = 0
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if content and os.WIFEXITED(status):
        done, value = pickle.loads(content)
        if done:
            result: T = value
            return result
        raise value
    raise _died(name, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0)


@contextmanager
def within(path: Path) -> Iterator[None]:
    """Let the process be ended if the block takes more processor time than any whole file of this size does."""
    size = path.stat().st_size
    signal.setitimer(signal.ITIMER_PROF, READ_S + size / SLOWEST_BYTES_PER_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _work(work: Callable[[], Any], send: int) -> None:
    """Do the work, send its result or exception, and end the process."""
    code = 1
    try:
        _end_with_parent()
        _bound_memory()
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        try:
            content = pickle.dumps((True, work()))
        except BaseException as error:  # the parent raises it
            error.add_note("".join(traceback.format_exception(error)))
            content = _pickled(error)
        with os.fdopen(send, "wb") as pipe:
            pipe.write(content)
        code = 0
    finally:
        os._exit(code)


def _pickled(error: BaseException) -> bytes:
    other = PassingError if passes(error) else RuntimeError
    error.__cause__ = error.__context__ = error.__traceback__ = None
    try:
        content = pickle.dumps((False, error))
        pickle.loads(content)
    except Exception:  # an exception of a library may pickle or unpickle to anything
        content = pickle.dumps((False, other(f"{type(error).__name__}: {error}")))
    return content


def _end_with_parent() -> None:
    """Let the system end this process with its parent, where it can (Linux)."""
    import ctypes

    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    except (AttributeError, OSError):
        return


def _bound_memory() -> None:
    """Let what is asked for beyond the memory there is fail, rather than bring the machine down."""
    free = available_bytes()
    status = Path("/proc/self/statm")
    if free == float("inf") or not status.is_file():
        return
    now = int(status.read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = now + int(free)
    resource.setrlimit(
        resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
    )


def _died(name: str, number: int) -> Exception:
    if number == signal.SIGPROF:
        return ValueError(
            f"{name} cannot be read: reading does not end; it is damaged, copy or make it again"
        )
    if number == signal.SIGKILL:
        return MemoryError(
            f"{name}: its process was killed, as the system does for want of memory; give the job more"
        )
    what = signal.Signals(number).name if number else "no message"
    return ValueError(
        f"{name} cannot be read: the library that reads it crashed ({what}); it is damaged, copy or make it again"
    )
