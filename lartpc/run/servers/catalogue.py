"""`lartpc catalogue`: files on servers listed once, with size, checksum and number of events, for sample sheets."""

import json
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lartpc.atomic import replacing
from lartpc.ingest import open_source
from lartpc.remote import (
    COLUMNS,
    HEADER,
    PATTERNS,
    RemoteFile,
    check_copy,
    is_url,
    patterns_of,
    read_catalogue,
)
from lartpc.run.guard import in_child
from lartpc.run.progress import Meter
from lartpc.run.servers import files_at, get
from lartpc.store import CHOICE, NUM_PLANES, SOURCE_FILES, SOURCES, open_events

_VERSION = re.compile(rf"{HEADER}, version (\d+), (\S+)")


@dataclass(frozen=True)
class Listing:
    """What a catalogue has: its files, its version, and how many are new, changed or gone since the one before."""

    files: list[RemoteFile]
    version: int
    num_new: int = 0
    num_changed: int = 0
    num_gone: int = 0

    def __str__(self) -> str:
        size = sum(one.size or 0 for one in self.files)
        known = [one.num_events for one in self.files if one.num_events is not None]
        text = f"version {self.version}, {len(self.files)} files, {size / 1e9:.3g} GB"
        if known:
            text += f", {sum(known)} events" + (
                f" in {len(known)} of them" if len(known) < len(self.files) else ""
            )
        changes = {"new": self.num_new, "changed": self.num_changed, "gone": self.num_gone}
        return text + "".join(f", {num} {name}" for name, num in changes.items() if num)


def catalogue(
    sources: Sequence[str], out: Path, *, count_events: bool = False, results: Path | None = None
) -> Listing:
    """List files on servers, in the order of their URLs, and write a catalogue.

    What an earlier catalogue of the same name knows of files of the same size and checksum, such as the number of their
    events, stays. A catalogue that says something else than the one before gets the next version; the same one is left
    as it is.

    Parameters
    ----------
    sources
        URLs of files; for s3:// and root:// also patterns, with * ? and [...] in any part of the path.
    count_events
        Fetch each file whose number of events is not known, one at a time, and count them.
    results
        Production whose event files say how many events the files have that it ingested.

    Raises
    ------
    ValueError
        A URL is none, names no file, or its server does not answer; or a file cannot be read.
    """
    found: dict[str, RemoteFile] = {}
    for source in sources:
        if not is_url(source):
            raise ValueError(f"'{source}' is not the URL of files; it begins with s3://, root:// or https://")
        found |= {one.url: one for one in files_at(source)}
    version, old = _read(out)
    before = {one.url: one for one in old}
    ingested = _ingested(results) if results else {}
    files = []
    with Meter(f"catalogue {out.name}", len(found), "files") as meter:
        for url in sorted(found):
            one = _same(before.get(url), found[url]) or found[url]
            if one.num_events is None and url in ingested:
                one = replace(one, num_events=ingested[url])
            if one.num_events is None and count_events:
                one = replace(one, num_events=_count(one))
            files.append(one)
            meter.advance(1)
    listing = Listing(
        files,
        version,
        num_new=len(found.keys() - before.keys()) if version else 0,
        num_changed=sum(url in found and not _same(one, found[url]) for url, one in before.items()),
        num_gone=len(before.keys() - found.keys()),
    )
    if version and files == old and patterns_of(out) in ([], list(sources)):
        return listing
    write_catalogue(out, files, version + 1, sources)
    return replace(listing, version=version + 1)


def write_catalogue(
    out: Path, files: Sequence[RemoteFile], version: int = 1, sources: Sequence[str] = ()
) -> None:
    """Write a catalogue, of what it was asked for, whole or not at all."""
    today = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    lines = [f"{HEADER}, version {version}, {today}", f"# {' '.join(COLUMNS)}"]
    if sources:
        lines.insert(1, f"{PATTERNS}{' '.join(sources)}")
    with replacing(out) as part:
        part.write_text("\n".join([*lines, *map(str, files)]) + "\n")


def _read(path: Path) -> tuple[int, list[RemoteFile]]:
    """Return the version of a catalogue and its files; 0 where there is none, and 1 of those that state none."""
    if not path.is_file() or (files := read_catalogue(path)) is None:
        return 0, []
    stated = _VERSION.match(path.read_text())
    return int(stated[1]) if stated else 1, files


def _same(old: RemoteFile | None, new: RemoteFile) -> RemoteFile | None:
    """Return what is known of a file where it is the same still: of its size, and of its checksum if both have one."""
    if (
        old is None
        or old.size != new.size
        or (old.checksum and new.checksum and old.checksum != new.checksum)
    ):
        return None
    return replace(old, checksum=new.checksum or old.checksum)


def _count(file: RemoteFile) -> int:
    """Fetch a file and return the number of its events."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / file.name
        get(file.url, path)
        check_copy(path, file)
        try:
            return in_child(_counting(path), file.url)
        except ValueError as error:
            raise ValueError(f"{file.url}: {str(error).replace(str(path), 'the file')}") from None


def _counting(path: Path) -> Callable[[], int]:
    def count() -> int:
        source = open_source(path)
        try:
            return source.num_events
        finally:
            source.close()

    return count


def _ingested(results: Path) -> dict[str, int]:
    """Return the number of events of each file that a production ingested, by its URL."""
    found: dict[str, int] = {}
    paths = sorted(results.glob("events/ingest/**/*.h5"))
    if not paths:
        raise ValueError(f"{results} holds no ingested events; give the folder of a production's results")
    for path in paths:
        with open_events(path) as events:
            said = events.attributes()["ingest"]
            files = json.loads(str(said.get(SOURCE_FILES, "[]")))
            if parts := said.get(SOURCES):
                found |= dict(json.loads(str(parts)))
            elif len(files) == 1:
                choice = json.loads(str(said.get(CHOICE, "{}")))
                found[files[0]] = choice.get("num_in_files", len(events)) // int(said.get(NUM_PLANES, 1))
    return found
