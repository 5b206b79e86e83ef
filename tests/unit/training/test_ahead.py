"""Work ahead of its use: the same values in order, errors at their step, and nothing left behind."""

import os
import subprocess
import sys
import threading
import time
from multiprocessing import active_children
from pathlib import Path

import pytest

from lartpc.run.training.ahead import ahead


def square(worker: int, step: int) -> tuple[int, int]:
    return worker, step * step


def fail_at_three(worker: int, step: int) -> int:
    if step == 3 and worker == 1:
        raise ValueError("shard 7: events 0 to 15 cannot be read")
    return step


def die_at_two(worker: int, step: int) -> int:
    if step == 2:
        os._exit(9)
    return step


def large(worker: int, step: int) -> bytes:
    return bytes(3_000_000)


@pytest.fixture(autouse=True)
def _nothing_is_left():
    before = threading.active_count()
    yield
    assert not active_children()
    assert threading.active_count() == before


@pytest.mark.parametrize("num_workers", [0, 2])
def test_values_come_in_order(num_workers: int) -> None:
    with ahead(square, list, range(5, 12), num_workers) as values:
        got = list(values)
    assert got == [[(worker, step**2) for worker in range(max(1, num_workers))] for step in range(5, 12)]


def test_an_error_comes_at_its_step_as_it_is() -> None:
    with ahead(fail_at_three, list, range(10), 2) as values:
        assert [next(values) for _ in range(3)] == [[0, 0], [1, 1], [2, 2]]
        with pytest.raises(ValueError, match="shard 7: events 0 to 15"):
            next(values)


def test_a_process_that_died_is_told() -> None:
    with ahead(die_at_two, list, range(10), 1) as values:
        assert [next(values), next(values)] == [[0], [1]]
        with pytest.raises(RuntimeError, match="ended with status 9"):
            next(values)


def test_it_can_be_left_at_any_time() -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        ahead(large, list, range(1000), 1) as values,
    ):
        assert len(next(values)[0]) == 3_000_000
        raise KeyboardInterrupt


def test_what_runs_ahead_is_bounded_and_ends_with_its_master(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from multiprocessing import active_children\n"
        "from lartpc.run.training.ahead import ahead\n"
        "from test_ahead import touch\n"
        "if __name__ == '__main__':\n"
        f"    with ahead(touch, list, range(1000), 1) as values:\n"
        "        next(values)\n"
        "        print(active_children()[0].pid, flush=True)\n"
        "        time.sleep(600)\n"
    )
    (tmp_path / "master.py").write_text(script)
    master = subprocess.Popen(
        [sys.executable, str(tmp_path / "master.py")], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert master.stdout is not None
    worker = int(master.stdout.readline())
    # One is used, two wait, one is held by the thread, one by the process.
    deadline = time.monotonic() + 20
    while not (tmp_path / "4").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    assert len(list(tmp_path.glob("[0-9]*"))) == 5
    os.kill(worker, 15)
    time.sleep(0.1)
    os.kill(worker, 0)
    master.kill()
    master.communicate()
    while time.monotonic() < deadline:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError("the process that reads ahead outlived its master")


def touch(worker: int, step: int) -> bytes:
    Path(str(step)).touch()
    return bytes(3_000_000)
