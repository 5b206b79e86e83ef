"""What `lartpc doctor` says of compiled modules: without them each job compiles again all that it imports."""

import importlib
import os
import sys
from collections.abc import Iterable
from importlib.machinery import SourceFileLoader
from importlib.util import cache_from_source
from pathlib import Path
from types import ModuleType

from lartpc.run.doctor.site import Finding

JOBS = (
    *("lartpc.run.ingest", "lartpc.run.infer", "lartpc.run.weights", "lartpc.run.summarize"),
    *("lartpc.run.quality.evaluate", "lartpc.stages.segment", "lartpc.stages.points"),
    *("lartpc.stages.cluster", "lartpc.stages.interact"),
)
"""What the jobs of a shard import."""

FEW = 20
"""As many modules, edited since, or made by a program, cost a job too little to be named."""


def bytecode() -> Finding:
    """Count the modules of jobs whose bytecode is missing or older than their source."""
    for name in JOBS:
        importlib.import_module(name)
    sources = sorted(source_files(sys.modules.values()))
    bare = [source for source in sources if not is_compiled(source)]
    found = f"{len(sources) - len(bare)} of {len(sources)} modules of jobs are compiled"
    if len(bare) <= FEW:
        return Finding(found)
    why = _never_kept(bare)
    if not why:
        return Finding(f"{found}; the next job keeps the others")
    return Finding(
        found,
        advice=f"each job compiles {len(bare)} modules again, which takes seconds, as {why}: give "
        "'make install' again, or PYTHONPYCACHEPREFIX a folder that can be written, and unset "
        "PYTHONDONTWRITEBYTECODE",
    )


def source_files(modules: Iterable[ModuleType]) -> set[Path]:
    """Return the files of those modules that Python compiles from their source."""
    found = set()
    for module in list(modules):
        spec = getattr(module, "__spec__", None)
        if spec and isinstance(spec.loader, SourceFileLoader) and spec.origin and Path(spec.origin).is_file():
            found.add(Path(spec.origin))
    return found


def is_compiled(source: Path) -> bool:
    """Tell whether Python finds bytecode of a source file that is as old as the file."""
    try:
        header = Path(cache_from_source(str(source))).read_bytes()[:16]
    except OSError:
        return False
    flags, seconds, size = (int.from_bytes(header[i : i + 4], "little") for i in (4, 8, 12))
    if flags:  # by the content of the source, not by its age
        return True
    now = source.stat()
    return (seconds, size) == (int(now.st_mtime) & 0xFFFFFFFF, now.st_size & 0xFFFFFFFF)


def _never_kept(sources: Iterable[Path]) -> str:
    """Return why Python does not keep the bytecode of these files when it has compiled them; empty: it does."""
    if sys.dont_write_bytecode:
        return "PYTHONDONTWRITEBYTECODE is set"
    for source in sources:
        folder = Path(cache_from_source(str(source))).parent
        # the nearest folder that exists is where Python would make the others
        folder = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
        if not os.access(folder, os.W_OK):
            return f"{folder} cannot be written"
    return ""
