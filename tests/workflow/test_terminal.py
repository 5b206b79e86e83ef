"""What is seen of a run: on a terminal a bar of jobs, in a file a few lines, and its last words in both."""

import os
import pty
import subprocess
from pathlib import Path

import pytest
from checkout import copy_checkout, environment

TARGETS = ["results/config/points.infer.json", "results/config/interact.infer.json"]
ERASE = "\x1b[2K"
QUIET = ("--quiet", "progress", "rules", "host", "--profile", "profiles/local")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("terminal"))


def on_terminal(folder: Path, *command: str) -> str:
    """Return what a command writes to a terminal."""
    ours, theirs = pty.openpty()
    started = subprocess.Popen(
        command, cwd=folder, env=environment() | {"TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 65536):
            said += piece
    except OSError:
        pass  # the other end is closed
    os.close(ours)
    started.wait(timeout=60)
    return said.decode()


def test_a_terminal_has_a_bar_and_keeps_the_last_words(folder: Path) -> None:
    said = on_terminal(folder, "snakemake", *QUIET, "--", *TARGETS)
    assert "Workflow Progress" in said
    assert all((folder / target).is_file() for target in TARGETS)
    (folder / "bad.tsv").write_text(
        "sample\tsplit\tsource\tnum_events\tnum_shards\nreal\treconstruct\tbad.h5\t-\t-\n"
    )
    (folder / "bad.h5").write_bytes(b"no events")
    bad = ("--config", "samples=[bad.tsv]", "--", "results/events/ingest/real/bad.h5")
    said = on_terminal(folder, "snakemake", *QUIET, *bad)
    assert "1 failed in all attempts" in said
    before = said[: said.index("lartpc: 1 failed")]
    assert ERASE in before[-200:], "the bar is taken away before the last words, and not drawn over them"


def test_a_file_has_few_lines(folder: Path) -> None:
    done = subprocess.run(
        ["snakemake", *QUIET, "--forceall", "--", *TARGETS],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert len(said.splitlines()) < 12, said
    assert "Select jobs" not in said and "Execute" not in said, "nor more of them where there are more jobs"
    assert "\x1b[" not in said
