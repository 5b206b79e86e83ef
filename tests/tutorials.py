"""The commands and the Python of a page, run one after another as its reader would."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from checkout import REPOSITORY, run

_FENCE = re.compile(
    r"(?:^<!-- not run here: (?P<why>[^\n]+) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S
)


class Block(NamedTuple):
    """A fenced block: what it is in, what it says, and why it is not run ("": it is)."""

    language: str
    code: str
    why: str


def blocks(page: str) -> Iterator[Block]:
    """Yield what a reader of a page below docs/ is asked to run."""
    for found in _FENCE.finditer((REPOSITORY / "docs" / page).read_text()):
        if found["language"] in ("bash", "python"):
            yield Block(found["language"], found["code"], found["why"] or "")


def follow(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, seconds: float = 120) -> int:
    """Run what a page says in a folder, and return the number of blocks that were run."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names: dict[str, object] = {}
    count = 0
    for block in blocks(page):
        if block.why:
            continue
        count += 1
        if block.language == "bash":
            run(folder, "bash", "-euo", "pipefail", "-c", block.code, seconds=seconds)
        else:
            exec(compile(block.code, f"{page}, block {count}", "exec"), names)
    return count
