"""Servers of files: asked what they have, and given what a production publishes.

They are asked by the packages that Snakemake's storage plugins use, with their credentials. Each module of a protocol
has `ask`, `get`, `put` and `remove`; they raise FileNotFoundError where asking again is of no use, and OSError where it
may be of some.
"""

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from lartpc.atomic import FullDiskError, naming
from lartpc.remote import RemoteFile
from lartpc.run.servers import http, s3, xrootd

TRIES = 4
WAIT_S = 1.0
"""After the first failure of a server; twice as long after each further one [s]."""

_PROTOCOLS: dict[str, ModuleType] = {
    "http": http,
    "https": http,
    "root": xrootd,
    "roots": xrootd,
    "xroot": xrootd,
    "s3": s3,
}
T = TypeVar("T")


def files_at(url: str) -> list[RemoteFile]:
    """Return the files of a URL or a pattern, with what their server states of them.

    Raises
    ------
    ValueError
        There is none, or the server does not answer.
    """
    found = patiently(lambda: list(_protocol(url).ask(url)), url)
    if not found:
        raise ValueError(f"no file matches {url}")
    return found


def state_of(url: str) -> RemoteFile | None:
    """Return what a server states of a file; None where it has none."""

    def ask() -> list[RemoteFile]:
        try:
            return list(_protocol(url).ask(url))
        except FileNotFoundError:
            return []

    found = patiently(ask, url)
    return found[0] if found else None


def get(url: str, path: Path) -> None:
    """Copy a file from its server; the copy may be a part of it where this raises ValueError."""

    def copy() -> None:
        with naming(path):
            _protocol(url).get(url, path)

    patiently(copy, url)


def put(path: Path, url: str) -> None:
    """Write a file to a URL, which has its name when all of it is there.

    Raises
    ------
    ValueError
        The server does not take it.
    """
    part = f".{url.rpartition('/')[2]}.{secrets.token_hex(4)}.part"
    patiently(lambda: _protocol(url).put(path, url, part), url)


def remove(url: str) -> None:
    """Remove a file from its server; one that is not there is no error."""
    patiently(lambda: _protocol(url).remove(url), url)


def patiently(ask: Callable[[], T], url: str) -> T:
    """Return what a server answers, asked again after a while where it fails; ValueError at last."""
    for number in range(TRIES):
        try:
            return ask()
        except FullDiskError:
            raise  # of this machine
        except (OSError, RuntimeError) as error:
            if isinstance(error, FileNotFoundError) or number == TRIES - 1:
                raise ValueError(f"{url}: {error}") from error
            time.sleep(WAIT_S * 2**number)
    raise AssertionError


def _protocol(url: str) -> ModuleType:
    return _PROTOCOLS[url.split("://")[0]]
