"""`lartpc publish`: the results of a production, copied to a server and checked there."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from lartpc.paths import files_in
from lartpc.remote import ALGORITHMS, RemoteFile, check_copy, checksum_of, is_pattern, is_url, read_catalogue
from lartpc.run.collect import read_summary
from lartpc.run.progress import Meter
from lartpc.run.servers import put, remove, state_of
from lartpc.run.servers.catalogue import write_catalogue

CATALOGUE = "catalogue.tsv"
"""Name of the list of what is published, on the server; it is written last, so that where it is all else is, too."""

ALWAYS = ("dataset", "report.html", "audit.json", "config/configuration.json")
WITH_EVENTS = ("events", "on_truth", "models", "scenarios")
LAST = ("summary.json", "manifest.json")
"""Files of a dataset by which it is known to be whole."""

DIGEST = "sha256"
"""Checksum of files of which their server states none."""

NUM_AT_A_TIME = 4
T = TypeVar("T")


@dataclass(frozen=True)
class Published:
    """What was published: all files, and how many of them were copied, and how many that were there removed."""

    files: list[RemoteFile]
    num_copied: int
    num_removed: int

    def __str__(self) -> str:
        size = sum(one.size or 0 for one in self.files)
        text = f"{len(self.files)} files, {size / 1e9:.3g} GB, {self.num_copied} of them copied"
        return text + (
            f", {self.num_removed} that are no part of it any more removed" if self.num_removed else ""
        )


def publish(
    results: Path, to: str, out: Path, *, with_events: bool = False, replace: bool = False
) -> Published:
    """Copy the results of a production to a server, and write which files are there.

    Files that are there already are not copied again. A file has its name on the server when all of it is there, its
    size and its checksum are compared with those that the server states, and `catalogue.tsv` comes last.

    Parameters
    ----------
    results
        Folder of the results of a production that was run to its end.
    to
        URL of a folder: root://, s3:// or https:// (WebDAV).
    out
        Catalogue of what is published. One that is there says what was published there before: those of its files
        that are no part of the results any more are removed from the server, and others are replaced.
    with_events
        Publish event files, scenarios and weights that were trained, too.
    replace
        Replace files that are there and that `out` does not name.

    Raises
    ------
    ValueError
        The results are not whole, the server does not take a file, or has another one of its name.
    """
    if not is_url(f"{to.rstrip('/')}/{CATALOGUE}") or is_pattern(to):
        raise ValueError(f"'{to}' is not the URL of a folder; it begins with s3://, root:// or https://")
    to = to.rstrip("/")
    local = {_url_of(to, path.relative_to(results)): path for path in _files(results, with_events)}
    before = read_catalogue(out) or [] if out.is_file() else []
    ours = {one.url: one for one in before if one.url.startswith(f"{to}/")}
    # What may be on the server from now on, whatever stops this.
    intended = {url: RemoteFile(url, path.stat().st_size) for url, path in local.items()}
    end = f"{to}/{CATALOGUE}"
    last = [url for url, path in local.items() if path.name in LAST]
    first = [url for url, path in local.items() if path.name not in LAST]
    there = dict(_each(state_of, [*local, end]))
    if not replace:
        _refuse_others(local, there, ours, end)
    write_catalogue(out, [*(ours | intended).values()])
    # While files change, nothing says that all of them are there.
    if there[end] is not None and not all(_is_there(local[url], there[url]) for url in local):
        remove(end)
    published: dict[str, RemoteFile] = {}
    num_copied = 0
    with Meter(f"publish {results}", len(local), "files") as meter:
        for some in (first, last):
            for url, (one, is_new) in _each(lambda url: _send(local[url], url, there[url]), some):
                published[url] = one
                num_copied += is_new
                meter.advance(1)
    gone = [url for url in ours if url not in local]
    list(_each(remove, gone))
    files = [published[url] for url in sorted(published)]
    write_catalogue(out, files)
    put(out, end)
    return Published(files, num_copied, len(gone))


def _url_of(to: str, path: Path) -> str:
    text = path.as_posix()
    return f"{to}/{quote(text, safe='/=') if to.startswith('http') else text}"


def _files(results: Path, with_events: bool) -> list[Path]:
    """Return the files to publish, in their order; ValueError where the results are not whole."""
    read_summary(results / "dataset")
    if missing := [name for name in ALWAYS if not (results / name).exists()]:
        raise ValueError(
            f"{results} has no {missing[0]}; give the results of a production that was run to its end"
        )
    names = (*ALWAYS, *WITH_EVENTS) if with_events else ALWAYS
    found: list[Path] = []
    for name in names:
        path = results / name
        found += [path] if path.is_file() else files_in(path)
    # What is being written, and what Snakemake leaves in folders that it makes.
    return [
        path for path in found if not any(part.startswith(".") for part in path.relative_to(results).parts)
    ]


def _refuse_others(
    local: dict[str, Path],
    there: dict[str, RemoteFile | None],
    ours: dict[str, RemoteFile],
    end: str,
) -> None:
    others = [
        url
        for url, path in local.items()
        if there[url] is not None and url not in ours and not _is_there(path, there[url])
    ]
    if not ours and there[end] is not None and not all(_is_there(local[url], there[url]) for url in local):
        others.append(end)
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise ValueError(
            f"{others[0]}{more} is there, and is another file than that of these results; publish to another folder, "
            "or with --replace"
        )


def _is_there(path: Path, state: RemoteFile | None) -> bool:
    """Tell whether a server has a file already: of the same size and checksum, which it must state."""
    if state is None or not state.checksum or state.checksum.partition(":")[0] not in ALGORITHMS:
        return False
    try:
        check_copy(path, state)
    except ValueError:
        return False
    return True


def _send(path: Path, url: str, state: RemoteFile | None) -> tuple[RemoteFile, bool]:
    """Copy a file unless it is there; return what the server says of it, and whether it was copied."""
    size = path.stat().st_size
    is_new = not _is_there(path, state)
    if is_new:
        put(path, url)
        state = state_of(url)
        if state is None or state.size not in (None, size):
            raise ValueError(f"{url}: the server has not all of {path} after it took it")
        try:
            check_copy(path, state)
        except ValueError:
            with contextlib.suppress(ValueError):
                remove(url)
            raise ValueError(
                f"{url}: by its {state.checksum} the server has something else than {path}; that was removed, "
                "publish again"
            ) from None
    assert state is not None
    return RemoteFile(url, size, state.checksum or f"{DIGEST}:{checksum_of(path, DIGEST)}"), is_new


def _each(work: Callable[[str], T], urls: Iterable[str]) -> Iterator[tuple[str, T]]:
    """Yield what is done for each URL, some at a time; after an error no other is begun."""
    urls = list(urls)
    pool = ThreadPoolExecutor(NUM_AT_A_TIME)
    try:
        yield from zip(urls, pool.map(work, urls), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)
