"""Signals that ask a training to end: it finishes its step, saves its state and says how to go on."""

import signal
from types import FrameType
from typing import Self

GO_ON = 75
"""Exit status of a training that was asked to end: a failure after which the same command goes on
(EX_TEMPFAIL of sysexits.h), so that Snakemake keeps nothing for finished and tries again."""

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""What asks for it: schedulers before they kill, SLURM's `--signal=USR1@...`, and the keyboard."""


class Interrupt:
    """Take note of signals; a second Ctrl-C ends the process. A context manager of the main thread."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
