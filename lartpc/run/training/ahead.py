"""Work done ahead by processes, handed over in order.

Processes and not threads: unpacking HDF5 holds Python's lock, and the training needs it to launch its own work.
"""

import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

T = TypeVar("T")
U = TypeVar("U")

DEPTH = 2
"""Finished values that wait; each process holds one more, and a part of it is in its pipe."""


@contextmanager
def ahead(
    work: Callable[[int, int], U], join: Callable[[Sequence[U]], T], steps: range, num_workers: int
) -> Iterator[Iterator[T]]:
    """Give `join([work(worker, step) for each worker])` of some steps in order, worked out ahead.

    Parameters
    ----------
    work
        A function of worker and step that can be pickled.
    num_workers
        Processes, each of which works out its part of every step; 0 works in the caller's own.

    Raises
    ------
    MemoryError
        A process was killed, as the system does for want of memory.
    RuntimeError
        A process ended before its time otherwise. An exception of `work` is raised as it is, at its step.
    """
    if not num_workers:
        yield (join([work(0, step)]) for step in steps)
        return
    workers = [_start(work, worker, steps) for worker in range(num_workers)]
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(DEPTH)
    stopped = threading.Event()
    thread = threading.Thread(target=_hand_over, args=(workers, join, steps, ready, stopped), daemon=True)
    thread.start()
    try:
        yield _taken(ready, steps)
    finally:
        stopped.set()
        for process, _ in workers:
            process.kill()
        while thread.is_alive():
            # A thread that waits for room is let go.
            while not ready.empty():
                ready.get_nowait()
            thread.join(0.01)
        for process, connection in workers:
            process.join()
            connection.close()


def _start(work: Callable[[int, int], Any], worker: int, steps: range) -> tuple[BaseProcess, Connection]:
    """Start a process that sends its parts of the steps; it ends when nobody is left to read them."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(work, worker, steps, theirs), daemon=True)
    # Signals to the job's processes are for the training, which ends this one in its own time. A blocked
    # signal stays blocked in the process from its first moment on.
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1))
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
    theirs.close()
    return process, ours


def _send(work: Callable[[int, int], Any], worker: int, steps: range, connection: Connection) -> None:
    for step in steps:
        try:
            done: tuple[Any, BaseException | None] = work(worker, step), None
        except Exception as error:
            done = None, error
        try:
            connection.send(done)
        except BrokenPipeError:
            return
        if done[1] is not None:
            return


def _hand_over(
    workers: Sequence[tuple[BaseProcess, Connection]],
    join: Callable[[Sequence[Any]], Any],
    steps: range,
    ready: "queue.Queue[tuple[Any, BaseException | None]]",
    stopped: threading.Event,
) -> None:
    """Take the parts from the pipes, join them, and wait while there is no room."""
    try:
        for _ in steps:
            parts = [_receive(process, connection) for process, connection in workers]
            ready.put((join(parts), None))
            if stopped.is_set():
                return
    except BaseException as error:
        ready.put((None, error))


def _receive(process: BaseProcess, connection: Connection) -> Any:
    try:
        part, error = connection.recv()
    except (EOFError, OSError):
        process.join()
        if process.exitcode == -signal.SIGKILL:
            raise MemoryError(
                "a process that reads ahead was killed, as the system does for want of memory; give the job more, or "
                "lower train.num_workers"
            ) from None
        raise RuntimeError(f"a process that reads ahead ended with status {process.exitcode}") from None
    if error is not None:
        raise error
    return part


def _taken(ready: "queue.Queue[tuple[T | None, BaseException | None]]", steps: range) -> Iterator[T]:
    for _ in steps:
        value, error = ready.get()
        if error is not None:
            raise error
        yield value  # type: ignore[misc]
