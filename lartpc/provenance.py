"""How a file came to be: the code, the settings, and the content of its inputs."""

import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lartpc import __version__, sealed
from lartpc.content import reading
from lartpc.event import SCHEMA_VERSION
from lartpc.store import content_of


def digest(path: Path) -> str:
    """Return the BLAKE2b digest (16 bytes, hex) of a file's content."""
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def fingerprint(path: Path) -> tuple[str, str]:
    """Return the name of an input in provenance, and the digest of its content.

    An event file knows its digest since it was written, and is not read again; weights know that of their
    content, too.

    Raises
    ------
    ValueError
        An event file or a weights file is damaged.
    """
    return content_of(path) or (path.name, _of_archive(path) or digest(path))


def _of_archive(path: Path) -> str:
    """Return the digest of what a sealed archive says, or an empty string of another file."""
    with reading(path), path.open("rb") as file:
        if file.read(2) != b"PK":
            return ""
        file.seek(0)
        payload = file.read()
    return sealed.check(path, payload) if sealed.is_sealed(payload) else ""


def git_revision() -> str:
    """Return the git revision of the package's checkout, or an empty string outside one."""
    try:
        found = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.stdout.strip()


def provenance(
    step: str,
    version: int,
    *,
    config: Mapping[str, Any],
    inputs: Iterable[Path] = (),
    weights: Path | None = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """Return the root attributes that say how a file came to be."""
    return {
        "step": step,
        "schema_version": SCHEMA_VERSION,
        "step_version": version,
        "package_version": __version__,
        "git_revision": git_revision(),
        "config": json.dumps(config, sort_keys=True),
        "inputs": json.dumps(fingerprints(inputs)),
        "weights": fingerprint(weights)[1] if weights else "",
        "seed": -1 if seed is None else seed,
    }


def fingerprints(paths: Iterable[Path]) -> dict[str, str]:
    """Return the digests of inputs by name; of those with the same name, the later ones by their path."""
    found: dict[str, str] = {}
    for path in paths:
        name, content = fingerprint(path)
        found[str(path) if name in found else name] = content
    return found
