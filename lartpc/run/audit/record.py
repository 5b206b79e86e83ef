"""`audit.json`: what an audit found, with the digests of files that nothing else states, such as logs and pages.

The first audit, at the end of the production, writes it; later ones compare the files with it. It seals itself: `seal`
is the digest of all else that it says.
"""

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lartpc.atomic import replacing
from lartpc.content import reading
from lartpc.paths import files_in
from lartpc.provenance import digest
from lartpc.run.audit.findings import Audited
from lartpc.tables.manifest import seal_of
from lartpc.text import text_of

NAME = "audit.json"
STATED = ("tables", "dataset")
"""Folders that have a manifest of their own."""

PASSING = ("config/chain.json", "logs/failed.txt")
"""Files that come and go with a run."""

LOG = "logs/audit.log"
"""Where the workflow has the audit write what it says, after the record: this has the lines themselves."""

SOURCES = "steps"


def write_record(
    out: Path, results: Path, said: Mapping[str, Any], files: Mapping[str, str], lines: Sequence[str]
) -> None:
    """Write what an audit found, with the digests of files of the results.

    Parameters
    ----------
    said
        What it found.
    files
        The digests, by the names of the files in the results.
    lines
        What it says in words.
    """
    content = {**said, "files": files}
    if _is_spoken_to(results / LOG):
        content["log"] = lines
    with replacing(out) as part:
        part.write_text(json.dumps({**content, "seal": seal_of(content)}, indent=1) + "\n")


def digests_of_others(results: Path, known: Collection[Path]) -> dict[str, str]:
    """Return the digests of all files of the results but those whose digests are `known`, by their names in them."""
    return {str(path.relative_to(results)): digest(path) for path in _others(results, known)}


def _is_spoken_to(log: Path) -> bool:
    """Tell whether what this process says goes to a file."""
    try:
        return os.path.samestat(os.fstat(1), log.stat())
    except OSError:
        return False


def check_record(results: Path, found: Audited, *, with_sources: bool) -> None:
    """Compare the files of a production with the record of its audit, where there is one."""
    path = results / NAME
    if not path.is_file():
        return
    try:
        content = json.loads(text_of(path))
        is_whole = content.pop("seal") == seal_of(content)
        files: dict[str, str] = content["files"]
        log: list[str] | None = content.get("log")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        found.add(path, f"is damaged ({error}), or of an earlier version; remove it, and make it again")
        return
    if not is_whole:
        found.add(path, "is damaged: it does not have the digest that it ends with; make it again")
        return
    for name, stated in files.items():
        if not with_sources and Path(name).parts[0] == SOURCES:
            continue
        one = results / name
        found.num_recorded += 1
        if not one.is_file():
            found.add(one, f"is missing: it was there when {path} was written")
        elif digest(one) != stated:
            found.add(
                one,
                f"was changed, or made again by other means than the production's, since {path} was written",
            )

    if log is not None:
        _check_log(results / LOG, log, found)


def _check_log(path: Path, said: Sequence[str], found: Audited) -> None:
    """Compare a log with the lines that the audit said; warnings of libraries may stand between them."""
    found.num_recorded += 1
    if not path.is_file():
        found.add(path, "is missing: the audit wrote it")
        return
    with reading(path):
        lines = iter(path.read_bytes().decode(errors="replace").split("\n"))
    if not all(line in lines for line in said):
        found.add(path, "was changed since the audit wrote it")


def _others(results: Path, known: Collection[Path]) -> Iterable[Path]:
    passing = {results / name for name in (*PASSING, NAME)}
    for path in files_in(results):
        parts = path.relative_to(results).parts
        # the log of this job on a cluster is not complete yet, and goes when it has succeeded
        is_own = parts[:2] == ("logs", "slurm") and path.stem == os.environ.get("SLURM_JOB_ID")
        is_hidden = any(part.startswith(".") for part in parts)
        is_own |= path == results / LOG and _is_spoken_to(path)
        is_other = not (parts[0] in STATED or is_own or is_hidden or path in passing or path in known)
        if is_other and not path.is_symlink():
            yield path
