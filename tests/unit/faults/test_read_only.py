"""A disk that takes nothing, or takes nothing any more, is told in one line with the file that was to be written."""

import errno
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from handmade import good_event
from test_full_disk import UID, VERBS, folder  # noqa: F401
from typer.testing import CliRunner

from lartpc.atomic import FullDiskError, naming
from lartpc.cli import app
from lartpc.geometry import Box
from lartpc.stages import CHAIN
from lartpc.store import EventWriter

SAID = "Read-only file system"


@pytest.mark.parametrize("words", VERBS)
def test_each_verb_names_what_it_cannot_write(folder, monkeypatch, words):  # noqa: F811
    monkeypatch.chdir(folder)
    closed = folder / "closed"
    closed.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(closed)], check=True)
    try:
        out = closed / VERBS[words]
        files = {step: f"results/events/{step}/{UID}.h5" for step in ("ingest", *(row.name for row in CHAIN))}
        verb = words.format(**files).split()
        said = CliRunner().invoke(app, [*verb, *([] if verb[-1] == "--json" else ["--out"]), str(out)])
    finally:
        subprocess.run(["umount", str(closed)], check=True)
    assert said.exit_code == 2 and "Traceback" not in said.output, f"{said.output} {said.exception!r}"
    assert str(out) in said.output and f"cannot be written ({SAID}); name another place" in said.output


def test_a_file_on_a_disk_that_becomes_read_only_is_named(tmp_path):
    with pytest.raises(FullDiskError, match=rf"{SAID}: '{tmp_path}/a'"), naming(tmp_path / "a"):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_an_event_file_there_is_named(tmp_path):
    """What HDF5 says then has the number of the system's error in brackets, and no file."""
    box = Box.centred(np.zeros(3), 0.3, 768)
    products = {name: good_event()[name] for name in ("event", "voxel")}
    with (
        pytest.raises(ValueError, match=rf"{tmp_path}/a\.h5: {SAID}; name a place on another disk"),
        EventWriter(tmp_path / "a.h5", tuple(products), file_uid="a", box=box, attrs={}) as writer,
    ):
        writer.append(0, products)
        raise OSError(
            f"Can't synchronously write data (file write failed: errno = 30, error message = '{SAID}')"
        )
    assert not list(Path(tmp_path).iterdir())
