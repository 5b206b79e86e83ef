"""Who is at work in a folder is proved before anything of an earlier run is removed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lartpc.owner import LOCKS, RECORDS, SILENT_S, Owner, others, owners, take, unlock


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen]:
    """Work in a folder that two productions have locked; return a process that may be a run."""
    monkeypatch.chdir(tmp_path)
    LOCKS.mkdir(parents=True)
    for number, results in enumerate(("mine", "theirs")):
        (LOCKS / f"{number}.output.lock").write_text(f"config/samples.tsv\n{results}/events/a/0000.h5\n")
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def locks() -> list[str]:
    return sorted(path.name for path in LOCKS.glob("*"))


def test_a_live_run_keeps_its_lock(process: subprocess.Popen) -> None:
    Owner.of(process.pid, "mine").write()
    with pytest.raises(ValueError, match=rf"process {process.pid} on .*it is at work\); nothing was removed"):
        unlock("mine")
    with pytest.raises(ValueError, match="nothing was removed or cancelled"):
        take("mine", "")
    assert locks() == ["0.output.lock", "1.output.lock"]


def test_a_dead_run_loses_its_lock_and_no_other(process: subprocess.Popen) -> None:
    Owner.of(process.pid, "mine").write()
    process.kill()
    process.wait()
    assert unlock("mine") == 1
    assert locks() == ["1.output.lock"]


@pytest.mark.parametrize("theirs", ["mine/part", "."])
def test_a_live_run_with_results_below_or_above_keeps_its_lock(
    process: subprocess.Popen, theirs: str
) -> None:
    """Its files are among those of the folder, though a dead run had just this one."""
    Owner.of(process.pid, theirs).write()
    replace(Owner.of(process.pid, "mine"), start="1").write()
    with pytest.raises(ValueError, match=r"it is at work.*nothing was removed or cancelled"):
        unlock("mine")
    assert locks() == ["0.output.lock", "1.output.lock"]
    Owner.of(process.pid, "mine2").write()  # not below it, though its name begins so
    assert unlock("mine") == 1


def test_a_record_that_cannot_be_read_may_be_of_a_live_run(process: subprocess.Popen) -> None:
    replace(Owner.of(process.pid, "mine"), start="1").write()
    (RECORDS / "far-1-1.json").mkdir()  # what the system cannot read
    with pytest.raises(ValueError, match=r"far-1-1\.json cannot be read.*nothing was removed or cancelled"):
        unlock("mine")
    assert locks() == ["0.output.lock", "1.output.lock"]


def test_a_zombie_is_dead(process: subprocess.Popen) -> None:
    one = Owner.of(process.pid, "mine")
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # its parent has not asked for its end yet
    assert not one.is_alive()


def test_a_process_of_the_same_number_is_another(process: subprocess.Popen) -> None:
    replace(Owner.of(process.pid, "mine"), start="1").write()
    assert unlock("mine") == 1


def test_runs_with_other_results_are_no_matter(process: subprocess.Popen) -> None:
    Owner.of(process.pid, "theirs").write()
    replace(Owner.of(process.pid, "mine"), has_ended=True).write()
    assert [one.has_ended for one in owners()] == [True], "a process has one record"
    Owner.of(os.getpid(), "theirs").write()
    assert unlock("mine") == 1 and locks() == ["1.output.lock"]


@pytest.mark.parametrize(("silence_s", "alive"), [(0.0, True), (SILENT_S - 20, True), (SILENT_S + 20, False)])
def test_on_another_machine_signs_of_life_decide(
    process: subprocess.Popen, silence_s: float, alive: bool
) -> None:
    far = replace(Owner.of(process.pid, "mine"), host="far", boot="another")
    far.write()
    before = time.time() - silence_s
    os.utime(far.path, (before, before))
    if alive:
        with pytest.raises(
            ValueError, match=r"on far, .*last sign of life .*works 300 s after its last sign"
        ):
            unlock("mine")
    else:
        assert unlock("mine") == 1


def test_a_lock_without_a_record_is_of_nobody_known(process: subprocess.Popen) -> None:
    with pytest.raises(ValueError, match=r"left no record.*snakemake --unlock"):
        unlock("mine")
    assert unlock("elsewhere") == 0
    RECORDS.mkdir(parents=True)
    (RECORDS / "half.json").write_text("{")
    with pytest.raises(ValueError, match="left no record"):
        unlock("mine")


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    code = f"import time; from lartpc import owner; {code}"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_run_that_ended_is_known_to_have_ended_on_each_machine(tmp_path: Path) -> None:
    assert run("owner.take('mine', 'lartpc_1')", tmp_path).returncode == 0
    (record,) = (tmp_path / RECORDS).glob("*.json")
    assert json.loads(record.read_text())["has_ended"]


def test_a_run_renews_its_record_and_ends_when_another_took_over(tmp_path: Path) -> None:
    code = (
        "owner.INTERVAL_S = .05; owner.take('mine', ''); path = owner.owners()[0].path; old = path.stat().st_mtime_ns; "
        "time.sleep(.4); print(path.stat().st_mtime_ns > old, flush=True); path.unlink(); time.sleep(30)"
    )
    done = run(code, tmp_path)
    assert done.stdout == "True\n"
    assert done.returncode == -15 and "took this folder over" in done.stderr


def test_records_of_the_dead_go_when_all_is_cleared(process: subprocess.Popen) -> None:
    replace(Owner.of(process.pid, "mine"), start="1", jobs="lartpc_1").write()
    alive, dead = others("mine")
    assert not alive and [one.jobs for one in dead] == ["lartpc_1"]
    code = "clear = owner.take('mine', 'lartpc_2'); print(len(owner.owners())); clear(); print(len(owner.owners()))"
    assert run(code, Path.cwd()).stdout == "2\n1\n"
    assert [(one.jobs, one.has_ended) for one in owners()] == [("lartpc_2", True)]
