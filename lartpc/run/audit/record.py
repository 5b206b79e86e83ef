"""`audit.json`: what an audit found, with the digests of files that nothing else states, such as logs and pages.

The first audit, at the end of the production, writes it; later ones compare the files with it. It seals itself: `seal`
is the digest of all else that it says.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from lartpc.atomic import replacing
from lartpc.provenance import digest
from lartpc.run.audit.findings import Audited
from lartpc.tables.manifest import seal_of

NAME = "audit.json"
STATED = ("tables", "dataset")
"""Folders that have a manifest of their own."""

PASSING = ("config/chain.json", "logs/failed.txt", "logs/audit.log")
"""Files that come and go with a run."""

SOURCES = "steps"


def write_record(out: Path, results: Path, said: Mapping[str, Any], known: Collection[Path]) -> int:
    """Write what an audit found, with the digests of all files of the results but those whose digests are `known`.

    Return the number of these files.
    """
    files = {str(path.relative_to(results)): digest(path) for path in _others(results, known)}
    content = {**said, "files": files}
    with replacing(out) as part:
        part.write_text(json.dumps({**content, "seal": seal_of(content)}, indent=1) + "\n")
    return len(files)


def check_record(results: Path, found: Audited, *, with_sources: bool) -> None:
    """Compare the files of a production with the record of its audit, where there is one."""
    path = results / NAME
    if not path.is_file():
        return
    try:
        content = json.loads(path.read_text())
        is_whole = content.pop("seal") == seal_of(content)
        files: dict[str, str] = content["files"]
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


def _others(results: Path, known: Collection[Path]) -> Iterable[Path]:
    passing = {results / name for name in (*PASSING, NAME)}
    for path in sorted(results.rglob("*")):
        parts = path.relative_to(results).parts
        # the log of the audit's own job on a cluster is not complete yet
        is_own = parts[:2] == ("logs", "slurm") and any("audit" in part for part in parts)
        is_hidden = any(part.startswith(".") for part in parts)
        is_other = not (parts[0] in STATED or is_own or is_hidden or path in passing or path in known)
        if is_other and path.is_file() and not path.is_symlink():
            yield path
