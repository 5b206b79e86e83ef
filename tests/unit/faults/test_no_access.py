"""Files and folders without access, and disks that fail, are told with their name; nothing in them is left out.

Root may read all: what a user may not is tried as the user nobody.
"""

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
from handmade import write_production
from typer.testing import CliRunner

from lartpc.cli import app
from lartpc.faults import EXIT_STATUS
from lartpc.paths import files_in, named_by
from lartpc.run.audit import audit
from lartpc.run.audit.record import LOG, NAME
from lartpc.run.collect import collect

NOBODY = 65534
FAILS = Path("/proc/self/mem")
"""A file that is there and whose first byte cannot be read: errno 5, as on a disk that fails."""


@contextmanager
def nobody():
    """Go on as a user to whom files are closed."""
    if os.geteuid():
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def open_path(tmp_path):
    """A folder that every user can reach."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    return tmp_path


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    root = tmp_path_factory.mktemp("production") / "results"
    collect(*write_production(root, ["beam/0000"]), root / "dataset")
    return root


@pytest.mark.parametrize(
    ("pattern", "closed"),
    [
        ("data/*/*.h5", "data/b"),
        ("data/**/*.h5", "data/b"),
        ("data/**/*.h5", "data/a/c"),
        ("data/b/*.h5", "data/b"),
    ],
)
def test_a_pattern_leaves_out_no_folder(open_path, monkeypatch, pattern, closed):
    monkeypatch.chdir(open_path)
    for name in ("a/c/0", "b/1"):
        path = Path(f"data/{name}.h5")
        path.parent.mkdir(parents=True)
        path.touch()
    there = named_by(pattern)
    assert there == sorted(map(str, Path().glob(pattern)))
    Path(closed).chmod(0)
    try:
        with (
            nobody(),
            pytest.raises(ValueError, match=rf"{closed}/? cannot be looked into \(Permission denied\)"),
        ):
            named_by(pattern)
        with nobody(), pytest.raises(PermissionError, match=closed):
            files_in(Path("data"))
        said = CliRunner()
        with nobody():
            found = said.invoke(app, ["reconstruct", pattern, "--out", "mine"])
        assert found.exit_code in (2, EXIT_STATUS) and closed in found.output
    finally:
        Path(closed).chmod(0o755)
    assert not Path("mine").exists()


def test_locks_that_cannot_be_seen_may_be_of_a_live_run(open_path, monkeypatch):
    monkeypatch.chdir(open_path)
    Path("results").mkdir()
    locks = Path(".snakemake/locks")
    locks.mkdir(parents=True)
    locks.chmod(0)
    with nobody():
        said = CliRunner().invoke(app, ["unlock", "results"])
    locks.chmod(0o755)
    assert said.exit_code == 2 and ".snakemake/locks cannot be read (Permission denied)" in said.output


def test_a_file_without_access_is_told_as_that(open_path, monkeypatch):
    monkeypatch.chdir(open_path)
    Path("samples.tsv").touch(0)
    with nobody():
        said = CliRunner().invoke(
            app, ["plan", "samples.tsv", "--path", "{shard}", "--split", "test", "--out", "o"]
        )
    assert said.exit_code == EXIT_STATUS
    assert "Permission denied: 'samples.tsv' (ask for access to it" in said.output


def test_sources_without_access_are_refused_before_any_job(open_path, monkeypatch):
    """A job that may not read its file would be sent again and again in vain."""
    monkeypatch.chdir(open_path)
    Path("data").mkdir()
    for name in ("a", "b", "c"):
        Path(f"data/{name}.h5").touch()
    Path("samples.tsv").write_text(
        "sample\tsplit\tsource\tnum_events\tnum_shards\nbeam\ttest\tdata/*.h5\t-\t-\n"
    )
    Path("made").mkdir(mode=0o777)
    Path("made").chmod(0o777)
    words = ["plan", "samples.tsv", "--path", "{shard}", "--split", "test", "--out", "made/o"]
    assert (
        CliRunner().invoke(app, words).exit_code == 0
    )  # and all modules are there, where nobody may not read them
    Path("made/o").unlink()
    Path("data/b.h5").chmod(0)
    with nobody():
        said = CliRunner().invoke(app, words)
    assert said.exit_code == 2, said.output
    assert (
        "1 of 3 files may not be read (Permission denied), such as data/b.h5; ask for access" in said.output
    )
    Path("data/b.h5").chmod(0o644)
    with nobody():
        assert CliRunner().invoke(app, words).exit_code == 0


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("show", "dataset/summary.json"),
        ("show", NAME),
        ("show --brief", "dataset/summary.json"),
        ("audit --no-sources", NAME),
        ("audit --no-sources", "config/ingested.gather"),
        ("audit --no-sources", "dataset/configuration.json"),
    ],
)
def test_a_disk_that_fails_is_told_with_the_file(pristine, tmp_path, verb, name):
    results = shutil.copytree(pristine, tmp_path / "results")
    path = results / name
    path.unlink(missing_ok=True)
    path.symlink_to(FAILS)
    said = CliRunner().invoke(app, [*verb.split(), str(results)])
    assert said.exit_code == EXIT_STATUS and f"Input/output error: '{path}'" in said.output, said.output


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"findings": 3}'])
def test_show_says_that_the_audit_is_damaged(pristine, tmp_path, content):
    results = shutil.copytree(pristine, tmp_path / "results")
    (results / NAME).write_text(content)
    said = CliRunner().invoke(app, ["show", str(results)])
    assert said.exit_code == 2 and f"{results / NAME}" in said.output


def test_the_log_of_the_audit_is_compared_with_what_it_said(pristine, tmp_path):
    """In a process of its own, as the workflow runs it."""
    import subprocess
    import sys

    results = shutil.copytree(pristine, tmp_path / "results")
    log = results / LOG
    log.parent.mkdir()
    command = [
        sys.executable,
        "-m",
        "lartpc",
        "audit",
        str(results),
        "--no-sources",
        "--out",
        str(results / NAME),
    ]
    with log.open("w") as file:
        subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
    content = log.read_bytes()
    assert content.splitlines() and json.loads((results / NAME).read_text())["log"]

    def changed():
        return [one for one in audit(results, with_sources=False).findings if one.file == str(log)]

    assert not changed()
    for at in range(0, len(content), len(content) // 7):
        log.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert changed(), at
    log.write_bytes(b"a warning of a library\n" + content)
    assert not changed()
    log.unlink()
    assert changed()
