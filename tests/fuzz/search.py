"""Files that are changed at random: read rightly, set aside in part, or refused in one line with their name.

The tests run 200 cases of each reader, always the same; `make fuzz` others, see `long`. A failure prints the least
changes that make it: add a test of the fault that they show.
"""

import tempfile
from pathlib import Path

import pytest
from fuzz.cases import Case, refuses
from fuzz.mutations import apply, changes
from hypothesis import HealthCheck, given, settings

from lartpc.run import guard
from lartpc.run.guard import in_child

NUM_CASES = 200
LEAST_S = 5.0
"""Processor time after which a file is given up here [s]: the good ones take hundredths."""


def search(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change a good file again and again, made in `folder`, and raise AssertionError unless each is rightly read."""
    monkeypatch.setattr(guard, "READ_S", LEAST_S)
    monkeypatch.setattr("lartpc.run.progress.LOG_INTERVAL_S", 1e9)
    good = folder / "good"
    case.make(good)
    content = good.read_bytes()
    with monkeypatch.context() as here, tempfile.TemporaryDirectory() as scratch:
        # once in this process: children then have all imports from it, and take a third less time
        here.setattr("lartpc.run.ingest.in_child", lambda work, _: work())
        case.use(good, Path(scratch))

    @settings(
        max_examples=NUM_CASES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn=changes(case.kinds))
    def check(drawn):
        with tempfile.TemporaryDirectory() as scratch:
            path, results = Path(scratch) / "changed", Path(scratch) / "results"
            results.mkdir()
            path.write_bytes(content)
            try:  # HDF5 can end the process where it cannot write a change
                in_child(lambda: apply(path, drawn), str(path))
            except ValueError:
                return
            try:
                case.use(path, results)
            except AssertionError:
                raise
            except Exception as error:
                assert refuses(error, path), f"{type(error).__name__}: {error}"
                assert not list(results.iterdir()), "something is left of a refused file"

    check()
