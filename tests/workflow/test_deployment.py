"""Software of the jobs: what each rule names, and where containers start.

A stand-in takes the place of Apptainer, but for the slow test, which runs a production in a real image.
"""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import copy_checkout, run

from lartpc.config import Config
from lartpc.run.doctor.doctor import software
from lartpc.store import open_events

STAND_IN = """#!/bin/sh
# Runs what Apptainer would, outside of any image, and writes down how it was called.
if [ "$1" = --version ]; then echo "apptainer version 1.3.6"; exit; fi
echo "$@" >> "$APPTAINER_LOG"
while [ "$1" != lartpc.sif ]; do shift; done
shift
exec "$@"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    command = tmp_path / "bin/apptainer"
    command.parent.mkdir()
    command.write_text(STAND_IN)
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("APPTAINER_LOG", str(tmp_path / "called"))
    home = tmp_path / "home"
    home.mkdir()
    (home / "lartpc.sif").touch()
    return copy_checkout(home)


def in_image(folder: Path, *arguments: str) -> str:
    return run(
        folder, "snakemake", "--sdm", "apptainer", "--configfile", "config/test/config.yaml", *arguments
    )


def test_ranks_start_their_containers_and_all_others_are_in_one(folder: Path) -> None:
    said = in_image(
        folder, "--apptainer-args=--nv", "--cores", "2", "--dry-run", "--printshellcmds", "models"
    )
    start = re.search(r"(\S+) -n 2 (.*) lartpc train segment", said)
    assert start and start[2].endswith(f"apptainer exec --home {folder} --nv lartpc.sif"), said
    assert "lartpc.sif lartpc infer" not in said


def test_a_job_runs_in_the_image(folder: Path) -> None:
    in_image(folder, "--cores", "1", "results/config/points.infer.json")
    assert (folder / "results/config/points.infer.json").read_text().startswith("{")
    (called,) = (folder.parent / "called").read_text().splitlines()[:1]
    assert called.startswith("exec --home") and " lartpc.sif " in called


@pytest.fixture
def image(tmp_path: Path) -> tuple[Path, list[str]]:
    """An image by the real Apptainer, of folders in which those of this machine are seen, and options to run it with.

    Where a container may not have all capabilities of root, it runs without.
    """
    if not shutil.which("apptainer"):
        pytest.skip("needs Apptainer")
    tree = tmp_path / "tree"
    scripts, root = Path(sys.executable).parent, Path(__file__).parents[2]
    bound = {"/usr", *(f"/{path.resolve().parts[1]}" for path in (scripts, Path(sys.executable), root))}
    for name in ("usr", "etc", "proc", "sys", "dev", "tmp", "var/tmp", "root", "home", ".singularity.d/env"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (tree / name).symlink_to(f"usr/{name}")
    for name in bound:
        (tree / name[1:]).mkdir(exist_ok=True)
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (tree / "etc/lartpc-image").write_text("in the image")
    (tree / ".singularity.d/env/90-environment.sh").write_text(
        f"export PATH={scripts}:$PATH PYTHONPATH={root} OMP_NUM_THREADS=1\n"
    )
    made = subprocess.run(
        ["apptainer", "build", tmp_path / "image.sif", tree], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    options = ["--bind", ",".join(sorted(bound))]
    for more in ([], ["--no-privs"]):
        command = [
            "apptainer",
            "exec",
            *more,
            *options,
            str(tmp_path / "image.sif"),
            "cat",
            "/etc/lartpc-image",
        ]
        said = subprocess.run(command, capture_output=True, text=True)
        if said.stdout == "in the image":
            return tmp_path / "image.sif", [*more, *options]
    pytest.skip(f"Apptainer starts no container here: {said.stderr[-300:]}")


@pytest.mark.slow
def test_jobs_and_ranks_run_in_a_real_image(image: tuple[Path, list[str]], tmp_path: Path) -> None:
    path, options = image
    home = tmp_path / "home"
    home.mkdir()
    folder = copy_checkout(home)
    said = run(
        folder,
        *("snakemake", "--sdm", "apptainer", f"--apptainer-args={' '.join(options)}", "--cores", "2"),
        *("--configfile", "config/test/config.yaml", "--config", f"image={path}", "--"),
        *("results/models/segment/weights.pt", "results/events/segment/mini_test/0000.h5"),
        seconds=1500,
    )
    assert "Activating singularity image" in said and "16 of 16 steps (100%) done" in said
    with open_events(folder / "results/events/segment/mini_test/0000.h5") as events:
        assert len(events) == 3


def test_environments_install_lartpc_when_they_are_made() -> None:
    root = Path(__file__).parents[2]
    assert (root / Config().environment).is_file()
    for name in ("cpu", "gpu"):
        script = (root / f"envs/{name}.post-deploy.sh").read_text()
        assert "--editable" in script and "LARTPC_SOURCE" in script
    assert "LARTPC_SOURCE" in (root / "workflow/rules/common.smk").read_text()


def test_doctor_says_which_software_a_job_would_get(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    found = software().found
    assert f"jobs take {Path(sys.executable).parent}/lartpc" in found
    assert "--sdm apptainer: apptainer version 1.3.6 with lartpc.sif" in found
    (folder / "lartpc.sif").unlink()
    assert "lartpc.sif is not here: make image" in software().found
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert "--sdm apptainer: neither apptainer nor singularity is here" in software().found
