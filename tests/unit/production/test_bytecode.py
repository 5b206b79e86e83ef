"""What `lartpc doctor` says of bytecode."""

import importlib.util
import os
import py_compile
import sys
from pathlib import Path

import pytest

from lartpc.run.doctor import bytecode


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "module.py"
    path.write_text("value = 1\n")
    return path


def test_bytecode_counts_while_it_is_of_the_source(source: Path) -> None:
    assert not bytecode.is_compiled(source)
    py_compile.compile(str(source), doraise=True)
    assert bytecode.is_compiled(source)
    os.utime(source, (1, 1))
    assert not bytecode.is_compiled(source)
    py_compile.compile(
        str(source), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    assert bytecode.is_compiled(source)


def test_only_what_python_compiles_is_counted(source: Path) -> None:
    spec = importlib.util.spec_from_file_location("module", source)
    assert spec
    assert bytecode.source_files([importlib.util.module_from_spec(spec), sys]) == {source}


def test_doctor_says_what_keeps_jobs_from_their_bytecode(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bytecode.bytecode()  # imports
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    found = bytecode.bytecode()
    assert not found.advice and found.found.startswith("0 of ")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert "PYTHONDONTWRITEBYTECODE is set" in bytecode.bytecode().advice
    for path in bytecode.source_files(sys.modules.values()):
        compiled = Path(importlib.util.cache_from_source(str(path)))
        compiled.parent.mkdir(parents=True, exist_ok=True)
        size = path.stat()
        head = (0, int(size.st_mtime), size.st_size)
        compiled.write_bytes(b"".join(value.to_bytes(4, "little") for value in (0, *head)))
    assert not bytecode.bytecode().advice
