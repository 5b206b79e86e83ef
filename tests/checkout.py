"""A copy of the checkout to run in, as a user would."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
CONTENTS = ("Snakefile", "workflow", "config", "envs", "models", "profiles", "slurm")
"""What snakemake reads of a clone."""

PROFILE = Path("profiles/slurm/profile.yaml")


def copy_checkout(folder: Path) -> Path:
    """Copy what snakemake reads of the repository; the link `slurm` stays a link."""
    for name in CONTENTS:
        source, target = REPOSITORY / name, folder / name
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy(source, target)
    return folder


def environment() -> dict[str, str]:
    """Return the environment of a user who activated this Python's environment."""
    scripts = Path(sys.executable).parent
    return {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def run(folder: Path, *command: str, seconds: float = 120) -> str:
    """Run a command in a folder, and return what it said; it must succeed within the time."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-8000:]}"
    return done.stdout


def edit(file: Path, **values: str) -> None:
    """Set keys of a YAML file that stand once in it with an old value, as a user's editor would."""
    lines = file.read_text().splitlines(keepends=True)
    for key, value in values.items():
        (at,) = (number for number, line in enumerate(lines) if line.startswith(f"  {key}: "))
        lines[at] = f"  {key}: {value}\n"
    file.write_text("".join(lines))
