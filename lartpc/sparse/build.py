"""Compile the kernels for this machine, once, into the user's cache.

The file's name in the cache says what it was made from and for: source, compiler options, processor and C
library. A home folder shared by different machines so holds one build for each kind.
"""

import ctypes
import errno
import fcntl
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).with_name("kernels")
COMPILERS = ("g++", "c++", "clang++")
OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared", "-fvisibility=hidden")
MORE_OPTIONS = tuple(shlex.split(os.environ.get("LARTPC_BUILD_OPTIONS", "")))
"""They come last. For sanitizers, with which -O3 takes an hour and -O0 a minute."""
LONGEST_BUILD_S = float(os.environ.get("LARTPC_LONGEST_BUILD_S", "600"))
"""The compiler takes half a minute, with sanitizers and on a busy machine minutes; what has not finished by then, in
this process or another one, is not waited for."""


def compiled_path() -> Path:
    """Return where the library for this machine is, or will be: below $XDG_CACHE_HOME or ~/.cache."""
    sources = (path.read_text() for path in sorted(FOLDER.glob("*.*")))
    compiler = [os.environ["CXX"]] if os.environ.get("CXX") else []
    made_for = (*sources, *compiler, *OPTIONS, *MORE_OPTIONS, _processor(), *platform.libc_ver())
    digest = hashlib.sha256("\0".join(made_for).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lartpc"
    return folder / f"convolution-{digest}.so"


@cache
def load() -> ctypes.CDLL:
    """Load the library, after building it where it is not there yet.

    Any number of processes may do so at once: one builds, the others wait for it.

    Raises
    ------
    RuntimeError
        There is no compiler, or it fails, or its product cannot be loaded.
    """
    path = compiled_path()
    if not _is_trusted(path):
        sys.stderr.write(
            f"lartpc: warning: {path.parent} is another user's, or anybody can write there: the kernels are built for "
            "this process alone; set XDG_CACHE_HOME to a folder of your own\n"
        )
        return _build_for_this_process(path.name)
    if path.exists():
        try:
            return ctypes.CDLL(str(path))
        except OSError:
            path.unlink(missing_ok=True)  # damaged: build it again
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_suffix(".lock")), tempfile.TemporaryDirectory(dir=path.parent) as folder:
            if not path.exists():
                fresh = Path(folder) / path.name
                _compile(fresh)
                fresh.replace(path)
        return ctypes.CDLL(str(path))
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            raise RuntimeError(f"cannot build {path}: {error}") from error
    return _build_for_this_process(path.name)


def is_built() -> bool:
    """Tell whether the library is loaded, or lies built in the cache.

    What is as right without it, and takes a little longer, does not wait for a compiler.
    """
    return bool(load.cache_info().currsize) or _place().exists()


@cache
def _place() -> Path:
    return compiled_path()


def call(name: str, *arguments: Any) -> None:
    """Call a function of the library: arrays and tensors by their address, integers as int64, floats as double."""
    function = getattr(load(), name)
    if function.argtypes is None:
        # once: to wrap each argument of each call takes as long as a small convolution
        function.argtypes = [_KINDS.get(type(argument), ctypes.c_void_p) for argument in arguments]
    function(*[value if value is None or type(value) in _KINDS else _address(value) for value in arguments])


_KINDS = {int: ctypes.c_int64, float: ctypes.c_double}


def num_threads() -> int:
    """Return how many threads to work on: those that torch has where it is there, else what OpenMP would take.

    That is its setting, or one for each core that the process has.
    """
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    return _num_openmp_threads()


@cache
def _num_openmp_threads() -> int:
    chosen = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(chosen) if chosen.isdigit() and int(chosen) else len(os.sched_getaffinity(0))


def _address(values: Any) -> int:
    """Return where the numbers of a tensor or an array lie."""
    if type(values) is np.ndarray:  # asked first: an exception takes longer than the rest of a small call
        return int(values.__array_interface__["data"][0])
    try:
        pointer = values.data_ptr()
    except AttributeError:
        if isinstance(values, Number):
            # a number of numpy has an address, too, which is not what was meant
            raise TypeError(
                f"{values!r} is {type(values).__name__}; give the kernel an int or a float"
            ) from None
        pointer = values.__array_interface__["data"][0]
    return int(pointer)


def _build_for_this_process(name: str) -> ctypes.CDLL:
    """Build where the cache cannot be written, or others can write it: in a folder that only this process knows."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            fresh = Path(folder) / name
            _compile(fresh)
            return ctypes.CDLL(str(fresh))
    except OSError as error:
        raise RuntimeError(f"cannot build {name}: {error}") from error


def _is_trusted(path: Path) -> bool:
    """Tell whether the library and its folder are this user's or root's, and not for anybody to write."""
    for place in (path, path.parent):
        if place.exists():
            status = place.stat()
            if status.st_uid not in (0, os.getuid()) or status.st_mode & stat.S_IWOTH:
                return False
    return True


def _processor() -> str:
    """Describe what `-march=native` depends on: the model of the processor and its instructions."""
    wanted = (
        "vendor_id",
        "cpu family",
        "model",
        "model name",
        "flags",
        "cpu implementer",
        "cpu part",
        "features",
    )
    found: dict[str, str] = {}
    try:
        with Path("/proc/cpuinfo").open() as file:
            for line in file:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                if name in wanted:
                    found.setdefault(name, " ".join(sorted(value.split())))
    except OSError:
        found["processor"] = platform.processor()
    return platform.machine() + repr(sorted(found.items()))


def _compiler() -> list[str]:
    """Return the C++ compiler's command: $CXX, or the first known one on the PATH."""
    if chosen := os.environ.get("CXX"):
        return shlex.split(chosen)
    for name in COMPILERS:
        if found := shutil.which(name):
            return [found]
    raise RuntimeError(f"no C++ compiler ({', '.join(COMPILERS)}) is installed and CXX is not set")


def _compile(path: Path) -> None:
    sources = map(str, sorted(FOLDER.glob("*.cpp")))
    command = [*_compiler(), *OPTIONS, *sources, *MORE_OPTIONS, "-o", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_BUILD_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"{shlex.join(command)}: {error}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        said = next((line for line in lines if "error" in line), lines[-1])
        raise RuntimeError(f"{command[0]} cannot compile {FOLDER}: {said}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock on a file. Without one (some file systems have none) nothing breaks: all build."""
    with path.open("w") as file:
        last = time.monotonic() + LONGEST_BUILD_S
        while time.monotonic() < last:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.1)
            except OSError:
                break
            else:
                break
        yield
