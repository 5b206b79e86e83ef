"""What `make sanitize` looks for races with: it finds one, finds none where none is, and stands for all of OpenMP."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from checkout import REPOSITORY

from lartpc.sparse import build

FOLDER = REPOSITORY / "tests" / "sanitize"
COMPILER = shutil.which("g++")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("race") / "race"
    sources = [str(FOLDER / name) for name in ("race.cpp", "openmp.cpp")]
    command = [
        COMPILER or "g++",
        *build.OPTIONS[:2],
        "-fopenmp",
        "-fsanitize=thread",
        *sources,
        "-o",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no g++ with the sanitizer of threads: {done.stderr[-200:]}")
    return out


@pytest.mark.skipif(COMPILER is None, reason="there is no g++")
def test_a_race_is_found_and_nothing_else(program: Path) -> None:
    clean = subprocess.run([program], capture_output=True, text=True, check=False)
    if "unexpected memory mapping" in clean.stderr:
        pytest.skip("the sanitizer of threads does not run on this system")
    assert (clean.returncode, clean.stderr) == (0, "")
    racing = subprocess.run([program, "race"], capture_output=True, text=True, check=False)
    assert racing.returncode == 66 and "data race" in racing.stderr


def test_all_that_the_kernels_need_of_openmp_is_there() -> None:
    """Else the kernels would go to libgomp for a part of it, where threads are others."""
    if not (nm := shutil.which("nm")):
        pytest.skip("there is no nm")
    try:
        build.load()
    except RuntimeError as error:
        pytest.skip(f"the compiled kernel cannot be built: {error}")
    command = [nm, "--dynamic", "--undefined-only", str(build.compiled_path())]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    needed = set(re.findall(r"\bU ((?:GOMP|omp)_\w+)", listed))  # what follows is its version
    assert needed
    assert needed <= set(re.findall(r"\b(?:GOMP|omp)_\w+(?=\()", (FOLDER / "openmp.cpp").read_text()))
