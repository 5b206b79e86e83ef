"""A file of another kind than the one that is wanted: the refusal says what it is."""

import errno
from pathlib import Path

import h5py
import pyarrow as pa
import pytest
from pyarrow import parquet
from test_edepsim import segment, write
from test_weights import write_weights_file
from typer.testing import CliRunner

from lartpc.cli import app
from lartpc.content import reading
from lartpc.faults import in_one_line, passes
from lartpc.ingest import open_source

KINDS = {
    "a.h5": "is an HDF5 file",
    "a.parquet": "is a Parquet table",
    "a.pt": "is a file of weights or of Python objects",
    "a.html": "is a web page",
    "a.gz": "is compressed with gzip",
    "folder": "is a folder",
}
VERBS = {
    "infer points {} {}": "a.h5",
    "infer segment a.h5 --weights {}": "a.pt",
    "ingest a.h5 --config {}": "",
    "classes {}": "a.h5",
    "quality budget {}": "a.parquet",
    "interactions --graph {} --rules {}": "a.parquet",
    "plan {} --path {{shard}} --split test": "",
}
"""Words, and the kind of file that they want."""

OF_TEXT = ("ingest", "plan")
"""Verbs that want text here, which a web page is."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("kinds")
    with h5py.File(made / "a.h5", "w", userblock_size=512) as file:
        file["x"] = [1]
    parquet.write_table(pa.table({"x": [1]}), made / "a.parquet")
    write_weights_file(made / "a.pt")
    (made / "a.html").write_text("<!doctype html><html></html>")
    (made / "a.gz").write_bytes(b"\x1f\x8b\x08\x00")
    (made / "folder").mkdir()
    (made / "folder/notes.txt").write_text("a")
    return made


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("words", VERBS)
def test_a_refusal_says_what_the_file_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: str, name: str
) -> None:
    if name == VERBS[words] or (name == "a.html" and words.startswith(OF_TEXT)):
        pytest.skip("this is what is wanted")
    monkeypatch.chdir(folder)
    said = CliRunner().invoke(app, [*words.format(name, name).split(), "--out", "out"])
    kind = KINDS[name].replace("is a", "are a") if "--weights" in words and name == "folder" else KINDS[name]
    assert said.exit_code == 2 and f"{name} {kind}" in said.output, f"{said.output} {said.exception!r}"


def test_a_table_of_another_verb_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    said = CliRunner().invoke(app, ["quality", "budget", "a.parquet", "--out", "out"])
    assert said.exit_code == 2 and "is not a file that 'lartpc quality measure' wrote" in said.output


HDF5_SAYS = """Can't synchronously read data (file read failed: time = Sun Nov 29 22:41:00 2026
, filename = '/data/a.h5', file descriptor = 3, errno = 5, error message = 'Input/output error', buf = 0x55, total read
size = 48, bytes this sub-read = 48, offset = 48)"""


def test_a_disk_that_fails_is_told_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"Errno 5.*a\.json"), reading(tmp_path / "a.json"):
        raise OSError(errno.EIO, "Input/output error")  # as reading says it, which knows no name
    with pytest.raises(FileNotFoundError, match=r"b\.json"), reading(tmp_path / "a.json"):
        (tmp_path / "b.json").read_bytes()
    error = OSError(HDF5_SAYS)
    assert passes(error) and in_one_line(error) == "Input/output error: '/data/a.h5'"
    assert in_one_line(MemoryError()) == "MemoryError" and in_one_line(OSError("a\nb")) == "a b"


@pytest.mark.parametrize("name", ["trajectories", "mc_hdr", "vertices"])
def test_a_group_in_the_place_of_a_table_is_not_one_that_is_absent(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.h5", segments=segment(1, (0, 0, 0), (0, 12, 0), 25.0))
    assert not open_source(path).truth
    with h5py.File(path, "r+") as file:
        file.create_group(name)
    with pytest.raises(ValueError, match=rf"a\.h5: '{name}' is a group and not a table"):
        open_source(path)
