"""What `lartpc doctor` finds of MPI."""

import shutil
import sys
from pathlib import Path

import pytest

from lartpc.run.doctor.doctor import _mpi

pytestmark = [pytest.mark.mpi, pytest.mark.skipif(not shutil.which("mpiexec"), reason="no mpiexec in PATH")]


def test_doctor_starts_two_ranks() -> None:
    found, problem, _ = _mpi()
    assert not problem
    assert "MPICH Version" in found or "Open MPI v" in found
    assert "two ranks: gradients over" in found


def test_doctor_tells_a_launcher_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launcher of another MPI starts ranks that know nothing of each other, as this one does."""
    launcher = tmp_path / "mpiexec"
    launcher.write_text('#!/bin/sh\n[ "$1" = --version ] && exec echo foreign\nshift 2\nexec "$@"\n')
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path(sys.executable).parent}:/usr/bin:/bin")
    found, problem, _ = _mpi()
    assert str(launcher) in found
    assert "2 ranks were asked for, but MPI found 1" in problem
