"""The long run, `make fuzz`: 10,000 other cases of each reader than the tests have, with an account of them.

A case is known by the reader, the seed of the run and its number. Many are read in one process, which is made anew when
a file ends it; events go to memory (`recorder`). What is wrong is tried again by itself, in a process of its own that
writes files, and with fewer changes. Each reader's account is kept in a file, and a run that was ended goes on there.
"""

import argparse
import faulthandler
import gc
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz.cases import CASES, OWN, Case, Seen, refuses
from fuzz.mutations import NUMBERS, Change, apply
from fuzz.recorder import IN_MEMORY

from lartpc.run import guard

ALL = CASES | OWN
BATCH = 400
"""Cases that a process reads before another is made."""
TURN_S = 20.0
"""Time that one reader has before the next one's turn [s]."""
ROOM_BYTES = 2**30
"""Memory that a case may take beside what the process had."""
LONGEST_S = 20.0
"""Processor time that a case may take [s]."""
ENDED_S = 1.0
"""And the reading of a file [s]: the good ones take hundredths, and one case of some hundred does not end."""
STUCK_S = 600.0
"""Time without an answer after which a process waits for what does not come [s]."""
IN_MEMORY_FOLDER = "/dev/shm"
"""Files of cases go there where it is: making and removing them on a disk takes as long as reading them."""
OUTCOMES = ("same", "aside", "other", "refused", "ended", "finding")
"""What became of a case: the same was read, events were set aside, other numbers were read, refused, or refused as its
process was ended by a crash or the time limit; else it is a finding."""


@dataclass
class Account:
    """What became of the cases of a reader so far."""

    seed: int
    cases: int = 0
    seconds: float = 0.0
    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    findings: list[dict[str, Any]] = field(default_factory=list)


def drawn(name: str, kinds: Sequence[str], seed: int, number: int) -> list[Change]:
    """Return the changes of a case: one to three."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), seed, number])
    return [
        Change(kinds[rng.integers(len(kinds))], rng.random(), rng.random(), int(rng.integers(len(NUMBERS))))
        for _ in range(rng.integers(1, 4))
    ]


def outcome(case: Case, content: bytes, good: Seen, changes: Sequence[Change]) -> tuple[str, str]:
    """Return what became of a case, and what was said."""
    with tempfile.TemporaryDirectory() as scratch:
        path, results = Path(scratch) / "changed", Path(scratch) / "results"
        results.mkdir()
        path.write_bytes(content)
        apply(path, list(changes))
        try:
            seen = case.use(path, results)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            if isinstance(error, AssertionError) or not refuses(error, path):
                notes = getattr(error, "__notes__", None) or traceback.format_exception(error)
                return "finding", said + "\n" + "".join(notes)[-1500:]
            if list(results.iterdir()):
                return "finding", f"something is left of a refused file ({said})"
            return "refused", said
        if seen == good:
            return "same", ""
        return ("aside" if seen.num_aside > good.num_aside else "other"), ""


def in_process(work: Callable[[Any], None]) -> Iterator[Any]:
    """Yield what a process says by the function that it is given, and last the number of the signal that ended it."""
    receive, send = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        os.close(receive)
        faulthandler.disable()
        gc.freeze()  # what is there already need not be looked through after each case
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        room = pages * resource.getpagesize() + ROOM_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        try:  # nothing of the parent's is unwound here: its folders would go
            work(lambda said: os.write(send, json.dumps(said).encode() + b"\n"))
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb", buffering=0) as pipe:
        rest = b""
        while True:
            if not select.select([pipe], [], [], STUCK_S)[0]:
                os.kill(child, signal.SIGKILL)
            piece = pipe.read(65536)
            if not piece:
                break
            *lines, rest = (rest + piece).split(b"\n")
            yield from map(json.loads, lines)
    _, status = os.waitpid(child, 0)
    yield os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def of_signal(number: int) -> tuple[str, str]:
    """Return what a case is that ended its process: `in_child` makes a refusal of a crash, and of the time limit."""
    if number in (signal.SIGKILL, signal.SIGVTALRM) or not number:
        return "finding", f"its process waited or worked without end, or ended itself (signal {number})"
    return "ended", signal.Signals(number).name


def batch(name: str, content: bytes, good: Seen, account: Account, stop: int) -> None:
    """Read the cases up to `stop` in one process, and add them to the account."""
    case = ALL[name]

    def work(say: Callable[[Any], None]) -> None:
        for number in range(account.cases, stop):
            signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST_S)
            say(outcome(case, content, good, drawn(name, case.kinds, account.seed, number)))
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    for said in in_process(work):
        if isinstance(said, int):
            if account.cases == stop:
                return
            said = of_signal(said)
        what, words = said
        if what == "finding":
            what = _confirmed(name, content, good, account, words)
        account.outcomes[what] += 1
        account.cases += 1


def alone(name: str, content: bytes, good: Seen, changes: Sequence[Change]) -> tuple[str, str]:
    """Return what becomes of a case by itself, as a user would read it."""
    for said in in_process(lambda say: say(outcome(ALL[name], content, good, changes))):
        return of_signal(said) if isinstance(said, int) else (said[0], said[1])
    raise AssertionError


def _confirmed(name: str, content: bytes, good: Seen, account: Account, words: str) -> str:
    """Keep a finding with the least of its changes, if it is one by itself, too; return what it is."""
    changes = drawn(name, ALL[name].kinds, account.seed, account.cases)
    with pytest.MonkeyPatch.context() as whole:
        for target, value in AS_USERS.items():
            whole.setattr(target, value)
        what, said = alone(name, content, good, changes)
        if what == "finding":
            for change in changes:
                less, said_less = alone(name, content, good, [change])
                if less == "finding":
                    changes, said = [change], said_less
                    break
    if what != "finding":
        sys.stderr.write(f"{name} {account.cases}: only among others: {words}\n")
        return what
    account.findings.append(
        {"number": account.cases, "changes": [asdict(one) for one in changes], "said": said}
    )
    sys.stderr.write(f"{name} {account.cases}: {changes}\n{said}\n")
    return what


def table(accounts: dict[str, Account]) -> str:
    """Return the accounts as a table."""
    head = ("reader", "cases", *OUTCOMES, "ms/case")
    rows = [
        (name, one.cases, *one.outcomes.values(), f"{1e3 * one.seconds / max(one.cases, 1):.0f}")
        for name, one in accounts.items()
    ]
    total = Counter[str]()
    for one in accounts.values():
        total.update(one.outcomes)
    rows.append(("all", sum(total.values()), *(total[what] for what in OUTCOMES), ""))
    return "\n".join(f"{row[0]:24}" + "".join(f"{cell!s:>9}" for cell in row[1:]) for row in [head, *rows])


def prepare(name: str, folder: Path) -> tuple[bytes, Seen]:
    """Return the good file of a reader, and what is read of it."""
    good = folder / "good"
    ALL[name].make(good)
    (folder / "results").mkdir()
    return good.read_bytes(), ALL[name].use(good, folder / "results")


def main() -> None:
    """Run, print the table, and end with status 1 where there are findings."""
    parser = argparse.ArgumentParser(prog="fuzz.long", description=__doc__)
    parser.add_argument("readers", nargs="*", help="names of readers; all unless given")
    parser.add_argument(
        "--cases", type=int, default=10_000, help="of each reader, those of earlier runs counted"
    )
    parser.add_argument(
        "--seed", type=int, help="of the run; drawn, or that of the run that goes on, unless given"
    )
    parser.add_argument("--into", type=Path, default=Path("build/fuzz"), help="folder of the accounts")
    parser.add_argument("--seconds", type=float, default=1e9, help="time after which to stop")
    asked = parser.parse_args()
    if unknown := set(asked.readers) - set(ALL):
        parser.error(f"no reader {sorted(unknown)}; there are: {', '.join(ALL)}")
    warnings.simplefilter("error")
    asked.into.mkdir(parents=True, exist_ok=True)
    accounts, files, ready = {}, {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in asked.readers or ALL:
            files[name] = asked.into / f"{name.replace(' ', '_').replace(',', '')}.json"
            seed = int.from_bytes(os.urandom(4), "big") if asked.seed is None else asked.seed
            accounts[name] = Account(seed)
            if files[name].is_file():
                before = Account(**json.loads(files[name].read_text()))
                if asked.seed in (None, before.seed):
                    accounts[name] = before
            folder = Path(scratch, files[name].stem)
            folder.mkdir()
            ready[name] = prepare(name, folder)
        end = time.monotonic() + asked.seconds
        # those whose cases took least go first
        waiting = sorted(accounts, key=lambda name: accounts[name].seconds / max(accounts[name].cases, 1))
        while waiting and time.monotonic() < end:
            name = waiting.pop(0)
            account, start = accounts[name], time.monotonic()
            while account.cases < asked.cases and time.monotonic() < min(start + TURN_S, end):
                begin = sum(os.times()[:4])
                batch(name, *ready[name], account, min(account.cases + BATCH, asked.cases))
                account.seconds += sum(os.times()[:4]) - begin
                part = files[name].with_suffix(".part")
                part.write_text(json.dumps(asdict(account)))
                part.replace(files[name])
            if account.cases < asked.cases:
                waiting.append(name)
            else:
                sys.stderr.write(f"{name}: {account.cases} cases, {account.outcomes}\n")
    sys.stdout.write(table(accounts) + "\n")
    sys.exit(any(one.findings for one in accounts.values()))


AS_USERS: dict[str, Any] = {}
"""What users have where the cases have what is in memory."""

if __name__ == "__main__":
    if os.access(IN_MEMORY_FOLDER, os.W_OK):
        tempfile.tempdir = IN_MEMORY_FOLDER
    monkeys = pytest.MonkeyPatch()
    for target, value in IN_MEMORY.items():
        module, _, attribute = target.rpartition(".")
        AS_USERS[target] = getattr(sys.modules[module], attribute)
        monkeys.setattr(target, value)
    monkeys.setattr(guard, "READ_S", ENDED_S)
    monkeys.setattr("lartpc.run.progress.LOG_INTERVAL_S", 1e9)
    main()
