"""The compiled kernels: how they are built, once, and what stands in where they cannot be."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_sparse import need

from lartpc import sparse
from lartpc.sparse import build


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Use a cache without a build, and forget what this process has loaded."""
    need("fused")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build.load.cache_clear()
    sparse.resolve.cache_clear()
    yield tmp_path / "lartpc"
    build.load.cache_clear()
    sparse.resolve.cache_clear()


def test_without_a_compiler_torch_takes_over_and_one_line_says_why(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(fresh_cache))
    assert sparse.resolve("auto") == sparse.resolve("auto") == "torch"
    (record,) = caplog.records
    assert "no C++ compiler" in record.getMessage()
    with pytest.warns(RuntimeWarning, match=r"falls back to torch.*fused: .*no C\+\+ compiler"):
        assert sparse.resolve("fused") == "torch"


def test_a_compiler_that_fails_is_quoted(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(RuntimeError, match=r"false cannot compile .*kernels: exit status 1"):
        build.load()
    assert not list(fresh_cache.glob("*.so"))


def test_processes_that_start_at_once_share_one_build(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The compiler leaves a line in a file each time it is called.
    calls, wrapper = fresh_cache.parent / "calls", fresh_cache.parent / "compiler"
    compiler = shlex.join(build._compiler())
    wrapper.write_text(f'#!/bin/sh\necho called >> {calls}\nexec {compiler} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("CXX", str(wrapper))
    code = "from lartpc.sparse import build; print(build.load().vector_bytes())"
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = [process.communicate()[0].strip() for process in started]
    assert len(set(said)) == 1 and int(said[0]) in (16, 32, 64)
    assert calls.read_text().split() == ["called"]
    assert [path.suffix for path in sorted(fresh_cache.iterdir())] == [".lock", ".so"]


def test_a_damaged_build_is_made_again(fresh_cache: Path) -> None:
    fresh_cache.mkdir()
    build.compiled_path().write_bytes(b"no code")
    assert build.load().vector_bytes() in (16, 32, 64)


def test_importing_compiles_nothing(fresh_cache: Path) -> None:
    code = "import lartpc.cli, lartpc.stages.segment"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not fresh_cache.exists()


@pytest.mark.parametrize("value", [np.int64(3), np.float64(0.5)])
def test_a_number_of_numpy_is_not_taken_for_an_address(value: object) -> None:
    with pytest.raises(TypeError, match="give the kernel an int or a float"):
        build._address(value)
