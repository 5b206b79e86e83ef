"""What a run that failed says at its end."""

import re
import shlex
from pathlib import Path

import pytest
from checkout import copy_checkout
from workflow.test_dag import snakemake

CONFIG = ("--profile", "profiles/local", "--config", "samples=[bad.tsv]")


def test_failed_jobs_are_named_with_log_reason_and_command(tmp_path: Path) -> None:
    folder = copy_checkout(tmp_path)
    (folder / "bad.h5").write_bytes(b"not a file of steps")
    (folder / "bad.tsv").write_text(
        "sample\tsplit\tsource\tnum_events\tnum_shards\nreal\treconstruct\tbad.h5\t-\t-\n"
    )
    target = "results/events/ingest/real/bad.h5"
    failed = snakemake(folder, *CONFIG, "--", target)
    said = failed.stdout + failed.stderr
    assert failed.returncode == 1
    assert "1 failed in all attempts" in said
    log, reason, command = re.findall(r"^  (?:log|said|again): +(.+)$", said, re.M)
    assert log == "results/logs/ingest/real/bad.log"
    assert reason.startswith("lartpc ingest: ") and "bad.h5" in reason
    assert shlex.split(command) == ["snakemake", "--cores", "2", *CONFIG, "--", target]
    assert reason in (folder / "results/logs/failed.txt").read_text()


@pytest.mark.parametrize("has_commands", [False, True])
def test_a_machine_without_slurm_is_told_from_one_with_it(tmp_path: Path, monkeypatch, has_commands) -> None:
    (tmp_path / "checkout").mkdir()
    folder = copy_checkout(tmp_path / "checkout")
    programs = tmp_path / "bin"
    programs.mkdir()
    for path in Path("/usr/bin").iterdir():
        if not path.name.startswith(("sbatch", "squeue", "sacct", "sinfo", "scontrol", "scancel", "srun")):
            (programs / path.name).symlink_to(path)
    for name in ("sbatch", "squeue") if has_commands else ():
        (programs / name).write_text(
            "#!/bin/sh\necho 'squeue: fatal: Could not establish a configuration source' >&2\nexit 1\n"
        )
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    done = snakemake(folder, "--profile", "profiles/slurm")
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1
    reason = (
        "SLURM's commands, but no SLURM that they know" if has_commands else "no SLURM (sbatch is not found)"
    )
    assert f"this machine has {reason}. Give the command on a login node" in said
    assert "(profiles/local)" in said and not (folder / "results/events").exists()
