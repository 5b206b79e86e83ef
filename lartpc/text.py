"""Text that people write: sheets, lists, catalogues and settings, as editors and spreadsheets save it.

Standard library only.
"""

import codecs
import io
import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lartpc.content import reading, refuse_other

POINTER = b"version https://git-lfs"
"""What Git LFS leaves in the place of a file begins so."""


def text_of(path: Path) -> str:
    """Return the text of a file: UTF-8, or UTF-16 with a byte-order mark; lines end with a line feed.

    Raises
    ------
    ValueError
        It is of another encoding; the message names the line. Or it is a pipe or a device.
    """
    refuse_special(path)
    with reading(path):
        content = path.read_bytes()
    refuse_pointer(path, content)
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        refuse_other(path, "text")
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: byte {content[error.start : error.start + 1].hex()} is not "
            f"{encoding.removesuffix('-sig').upper()} text (it may be Latin-1); save it as UTF-8"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(
            f"{path}, line {line}: has zero bytes, as UTF-16 without its mark does; save it as UTF-8"
        )
    return io.StringIO(text, newline=None).read()


def refuse_special(path: Path) -> None:
    """Raise ValueError where a path is a pipe, a device or a socket: to read one may not end, and only goes once."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return  # whoever opens it says why not
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError(
            f"{path} is not a regular file (but a pipe, device or socket); write it to a file first"
        )


def refuse_pointer(path: Path, content: bytes | None = None) -> None:
    """Raise ValueError where a file is what Git LFS leaves in its place; `content` is it, if it was read before."""
    if content is None:
        with reading(path), path.open("rb") as file:
            content = file.read(len(POINTER))
    if content.startswith(POINTER):
        raise ValueError(f"{path} is a Git LFS pointer, not the file: fetch it with 'git lfs pull'")


def json_of(path: Path, remedy: str = "") -> dict[str, Any]:
    """Return the object of a JSON file.

    Raises
    ------
    ValueError
        It is not JSON, no object, or has a key twice; `remedy` ends the message.
    """
    end = f"; {remedy}" if remedy else ""
    try:
        found = json.loads(text_of(path), object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error}){end}") from error
    except KeyError as error:
        raise ValueError(f"{path}: {error.args[0]!r} stands twice{end}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: holds {type(found).__name__}, and must be an object, {{...}}{end}")
    return found


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise KeyError(next(key for key in keys if keys.count(key) > 1))
    return found
