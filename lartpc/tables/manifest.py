"""`manifest.json` of a folder of tables: the digest of each of its files, and what they were made from.

The file seals itself: `seal` is the digest of all else that it says.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lartpc.content import reading
from lartpc.paths import files_in
from lartpc.provenance import digest

NAME = "manifest.json"


def write_manifest(folder: Path, said: Mapping[str, Any]) -> None:
    """Write the manifest of a folder that is complete; `said` is what it says beside `files`."""
    files = {str(path.relative_to(folder)): digest(path) for path in _files(folder)}
    content = {**said, "files": files}
    (folder / NAME).write_text(
        json.dumps(content | {"seal": seal_of(content)}, indent=1, sort_keys=True) + "\n"
    )


def read_manifest(folder: Path, remedy: str) -> dict[str, Any]:
    """Return what a manifest says, or raise ValueError if it is missing or damaged; `remedy` ends the message."""
    path = folder / NAME
    if not path.is_file():
        raise ValueError(f"{path} does not exist; {remedy}")
    try:
        with reading(path):
            content: dict[str, Any] = json.loads(path.read_text())
        sealed = content.pop("seal")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); {remedy}") from error
    if seal_of(content) != sealed:
        raise ValueError(f"{path} is damaged: it does not have the digest that it ends with; {remedy}")
    return content


def changed(folder: Path, manifest: Mapping[str, Any], below: Path | None = None) -> dict[str, str]:
    """Return what is wrong with files of a folder, or of one in it, by their names in it, as its manifest says."""
    start = below or folder
    files: dict[str, str] = {
        name: stated for name, stated in manifest["files"].items() if (folder / name).is_relative_to(start)
    }
    there = {str(path.relative_to(folder)) for path in _files(start)}
    found = {name: "it is missing" for name in sorted(files.keys() - there)}
    found |= {name: "it is not of this folder" for name in sorted(there - files.keys())}
    found |= {
        name: "it is damaged: its bytes do not have the digest that they were written with"
        for name in sorted(files.keys() & there)
        if digest(folder / name) != files[name]
    }
    return found


def _files(folder: Path) -> list[Path]:
    # Snakemake marks the folders that its rules make with a file of its own.
    hidden = {NAME, ".snakemake_timestamp"}
    return [path for path in files_in(folder) if path.name not in hidden]


def seal_of(content: Mapping[str, Any]) -> str:
    """Return the digest of what a file in JSON says, which it states itself."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
