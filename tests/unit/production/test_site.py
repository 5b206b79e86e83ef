"""What `lartpc doctor` says of a site, on machines without SLURM and with a SLURM that answers badly."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lartpc.run.doctor import doctor, site

PROFILE = """\
__variables__:
  partition: {partition}
  gpu: {gpu}
  launcher: {launcher}
  max_minutes: 1440
slurm-init-seconds-before-status-checks: 30
"""
SCONTROL = "AccountingStorageType   = accounting_storage/none\nMinJobAge               = {age} sec\n"
SINFO = {
    "%P": "day*\nnight\n",
    "%G": "(null)\n",
    "%P|%l|%m": "day*|04:00:00|64000\nnight|infinite|64000\n",
}


def command(folder: Path, name: str, script: str) -> None:
    """Put a command of a site into a folder of commands."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport sys\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder of commands the whole PATH, and stand in a checkout."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def a_site(commands: Path, age: int = 300, partition: str = "''", gpu: str = "false") -> None:
    profile = commands.parent / "slurm/profile.yaml"
    profile.parent.mkdir()
    profile.write_text(PROFILE.format(partition=partition, gpu=gpu, launcher="srun --mpi=pmi2"))
    command(commands, "sbatch", "print('slurm 23.11.4')")
    command(commands, "scontrol", f"print({SCONTROL.format(age=age)!r})")
    command(
        commands,
        "sinfo",
        f"said = {SINFO!r}\n"
        "word = next(w for w in sys.argv if '%' in w)\n"
        "print(said[word.removeprefix('--format=')])",
    )


def test_a_machine_without_slurm_is_fine(commands: Path) -> None:
    found, problem, _ = site.slurm()
    assert "no sbatch" in found
    assert not problem and not site.slurm_ranks().problem


def test_a_site_that_fits(commands: Path) -> None:
    a_site(commands)
    found, problem, advice = site.slurm()
    assert found == "slurm 23.11.4, accounting: none, MinJobAge 300 s"
    assert not problem
    assert advice == "jobs may run 240 minutes: set max_minutes of the profile to that"


@pytest.mark.parametrize(
    ("differs", "remedy"),
    [
        ({"age": 60}, "set slurm-init-seconds-before-status-checks to 20"),
        ({"partition": "week"}, "partition 'week' of the profile is none of day, night"),
        ({"gpu": "true"}, "set gpu: false in the profile"),
    ],
)
def test_what_does_not_fit_is_named_with_the_remedy(
    commands: Path, differs: dict[str, str], remedy: str
) -> None:
    a_site(commands, **differs)  # type: ignore[arg-type]
    assert remedy in site.slurm().problem


def test_a_controller_that_does_not_answer(commands: Path) -> None:
    command(commands, "sbatch", "print('slurm 23.11.4')")
    command(commands, "scontrol", "sys.exit(1)")
    assert "the controller does not answer" in site.slurm().problem


def test_a_pmi_that_is_not_offered(commands: Path) -> None:
    command(commands, "srun", "sys.stderr.write('MPI plugin types are...\\n\\tnone\\n\\tpmix\\n')")
    found, problem, _ = site.slurm_ranks()
    assert "srun offers none, pmix" in found
    assert problem == "--mpi=pmi2 is not offered: set launcher in the profile to 'srun --mpi=pmix'"


def test_a_folder_that_can_hold_results(tmp_path: Path) -> None:
    found, problem, _ = site.file_system(tmp_path)
    assert str(tmp_path) in found
    assert not problem
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc")
def test_a_folder_that_cannot_be_written() -> None:
    found, problem, _ = site.file_system(Path("/proc/self"))
    assert "proc" in found
    assert "cannot be written" in problem


def test_locks_that_hdf5_cannot_have_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "unable to lock file, errno = 38, error message = 'Function not implemented'")

    monkeypatch.setattr(site.h5py, "File", refuse)  # type: ignore[attr-defined]
    assert "export HDF5_USE_FILE_LOCKING=FALSE" in site.file_system(tmp_path).problem


def test_temporary_space_in_memory_is_remarked(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/shm").is_dir() or site.mounted_as(Path("/dev/shm")) != "tmpfs":
        pytest.skip("no file system in memory here")
    monkeypatch.setattr(site.tempfile, "gettempdir", lambda: "/dev/shm")  # type: ignore[attr-defined]
    found, problem, advice = site.temporary_space()
    assert found.startswith("/dev/shm: tmpfs")
    assert "count as memory" in advice or problem


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("04:00:00", 240), ("2-00:00:00", 2880), ("30:00", 30), ("infinite", None)],
)
def test_limits_of_partitions(limit: str, minutes: float | None) -> None:
    assert site.minutes_of(limit) == minutes


def test_the_status_tells_what_is_essential(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    advised = {"disk": lambda: site.Finding("a [slow] one", advice="buy another")}
    failing = {"disk": lambda: site.Finding("none", "buy one")}
    assert doctor._look(advised)
    assert not doctor._look(failing)
    said = capsys.readouterr().out
    assert "a [slow] one" in said and "buy another" in said and "buy one" in said


@pytest.mark.mpi
def test_one_rank_speaks_for_all(tmp_path: Path) -> None:
    launcher = Path(sys.executable).parent / "mpiexec"
    if not launcher.exists():
        pytest.skip("no mpiexec beside this Python")
    script = (
        "from lartpc.run.doctor import doctor, site\n"
        "doctor.CHECKS = {'MPI': doctor._mpi, 'disk': lambda: site.Finding('none', 'buy one')}\n"
        "raise SystemExit(not doctor.doctor())\n"
    )
    done = subprocess.run(
        [str(launcher), "-n", "2", sys.executable, "-c", script],
        env={**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("lartpc doctor") == 1
    assert "2 ranks of the launcher" in done.stdout
