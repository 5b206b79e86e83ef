"""Signs of life between the ranks of a job, so that none waits for ever for one that is gone.

Each rank holds a connection to rank 0. The kernel closes it when the process ends, however it ends; a node
that fails or hangs is known by its silence. Who learns of a lost rank says so and ends its process:
a reduction that waits for that rank could not be left otherwise. Launchers differ in this (mpiexec ends
the others, srun by default does not), so this works without them. Before the ranks have found each other
there are no signs, but a limit.
"""

import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self, cast

from lartpc import last_words

LAUNCHER_VARIABLES = ("PMI_SIZE", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")
"""Environment variables that mpiexec and srun set for each rank (MPICH, PMIx, Open MPI, Hydra)."""

INTERVAL_S = 5.0
"""Time between two signs of life."""

MAX_MISSED = 8
"""Intervals without a sign after which a rank is lost. They are counted, not timed: a job that was
suspended as a whole, such as a sleeping laptop, goes on."""

START_S = 600.0
"""Time in which all ranks must join. They start together, but on a slow disk imports take minutes."""

CONNECT_S = 30.0
"""Time in which all ranks must find each other when MPI has joined them."""

BEAT, FAREWELL, LOST = b".", b"q", b"!"


@contextmanager
def limit(seconds: float, complaint: str) -> Iterator[None]:
    """End this process, with a message, if what is done within takes longer than some seconds.

    Another process watches, as no thread of this one can: a rank that waits in `MPI_Init` for one that died
    holds Python's lock, and no signal handler runs.
    """
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", last_words.__file__, str(seconds), f"lartpc: {complaint}\n"],
        stdin=subprocess.PIPE,
    )
    with guard:
        yield


class Heartbeat:
    """One rank's part in the watch over all: rank 0 watches the others, and each of them rank 0."""

    def __init__(self, connections: dict[socket.socket, str], num_ranks: int) -> None:
        self._peers, self._num_ranks = connections, num_ranks
        self._missed = dict.fromkeys(connections, 0)
        self._leaving: set[socket.socket] = set()
        self._ended = threading.Event()
        self._wake, self._alarm = socket.socketpair()
        self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)
        self._thread.start()

    @classmethod
    def listen(cls, server: socket.socket, num_ranks: int) -> Self:
        """Wait on rank 0 for the other ranks, and begin."""
        server.settimeout(CONNECT_S)
        connections = {}
        with server:
            for _ in range(num_ranks - 1):
                connection, _ = server.accept()
                connection.settimeout(CONNECT_S)
                with connection.makefile("r") as hello:
                    rank, host, process = json.loads(hello.readline())
                connections[connection] = f"rank {rank} (process {process} on {host})"
        return cls(connections, num_ranks)

    @classmethod
    def call(cls, address: tuple[str, int], rank: int, num_ranks: int) -> Self:
        """Connect a rank to rank 0, and begin."""
        connection = socket.create_connection(address, timeout=CONNECT_S)
        connection.sendall(json.dumps([rank, socket.gethostname(), os.getpid()]).encode() + b"\n")
        return cls({connection: f"rank 0 (on {address[0]})"}, num_ranks)

    def close(self) -> None:
        """Take leave, so that the others do not miss this rank."""
        self._ended.set()
        self._alarm.send(BEAT)
        self._thread.join()
        for peer in self._peers:
            _send(peer, FAREWELL)
            peer.close()
        self._wake.close()
        self._alarm.close()

    def _watch(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._wake, selectors.EVENT_READ)
        for peer in self._peers:
            peer.setblocking(False)
            selector.register(peer, selectors.EVENT_READ)
        due = time.monotonic() + INTERVAL_S
        while not self._ended.is_set():
            for key, _ in selector.select(max(0.0, due - time.monotonic())):
                if key.fileobj is not self._wake:
                    self._hear(cast(socket.socket, key.fileobj), selector)
            if time.monotonic() >= due:
                due = time.monotonic() + INTERVAL_S
                self._beat()
        selector.close()

    def _hear(self, peer: socket.socket, selector: selectors.BaseSelector) -> None:
        try:
            said = peer.recv(4096)
        except OSError:
            said = b""
        if LOST in said:
            self._end()
        if FAREWELL in said:
            self._leaving.add(peer)
        self._missed[peer] = 0
        if not said:
            selector.unregister(peer)
            if peer not in self._leaving:
                self._lose(peer, "is gone: it was killed, or it crashed")

    def _beat(self) -> None:
        for peer in self._peers:
            _send(peer, BEAT)
            self._missed[peer] += 1
            if self._missed[peer] > MAX_MISSED and peer not in self._leaving:
                self._lose(peer, f"gave no sign of life for {MAX_MISSED * INTERVAL_S:.0f} s")

    def _lose(self, peer: socket.socket, what: str) -> None:
        last_words.say(
            f"lartpc: {self._peers[peer]} of {self._num_ranks} {what}; ending all ranks. "
            "Why may stand in the system's log of its node (out of memory?)\n"
        )
        for other in self._peers:
            _send(other, LOST)
        self._end()

    def _end(self) -> None:
        # The main thread may wait in a reduction, which no exception can reach.
        os._exit(1)


def _send(peer: socket.socket, what: bytes) -> None:
    try:
        peer.send(what)
    except OSError:
        return  # it is gone, which its connection tells the reader
