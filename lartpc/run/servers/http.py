"""Files on servers of HTTP(S), and their WebDAV: dCache, EOS, XRootD."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from lartpc.remote import RemoteFile, is_pattern

TIMEOUT_S = 60
_REFUSED = (401, 403, 404, 410)
_NO_MOVE = (400, 403, 404, 405, 501)
_HAS_FOLDER = (200, 201, 204, 301, 405, 409)


def ask(url: str) -> Iterator[RemoteFile]:
    """Yield the file of a URL, with its size and checksum as far as the server states them."""
    if is_pattern(url):
        raise ValueError(f"{url}: servers of HTTP list no files; name each, or a file of their names with @")
    answer = _request("HEAD", url, headers={"Want-Digest": "adler32"})
    size = answer.headers.get("Content-Length")
    digest = answer.headers.get("Digest", "")  # RFC 3230, as dCache and XRootD state it
    known = dict(part.strip().lower().partition("=")[::2] for part in digest.split(",") if "=" in part)
    checksum = f"adler32:{known['adler32']:0>8}" if "adler32" in known else ""
    yield RemoteFile(url, int(size) if size else None, checksum)


def get(url: str, path: Path) -> None:
    """Copy a file."""
    with _request("GET", url, stream=True) as answer, path.open("wb") as file:
        blocks = answer.iter_content(2**20)
        while block := _next(blocks):
            file.write(block)
    stated = answer.headers.get("Content-Length")
    if stated and not answer.headers.get("Content-Encoding") and path.stat().st_size != int(stated):
        raise OSError(f"{path.stat().st_size} bytes came of {stated}")


def _next(blocks: Iterator[bytes]) -> bytes:
    """Return what comes next, nothing at the end; what is wrong with the server is an OSError that says so."""
    try:
        return next(blocks, b"")
    except OSError as error:  # requests' own errors are of that kind
        raise OSError(str(error)) from None


def put(path: Path, url: str, part: str) -> None:
    """Write a file to a URL: under the name `part` beside it, then renamed where the server can do that.

    Servers differ in how they read the quoted name of a destination; such files are written to their name at once.
    """
    _make_folders(url)
    if "%" in urlsplit(url).path:
        _send(path, url)
        return
    temporary = urlunsplit(urlsplit(url)._replace(path=f"{urlsplit(url).path.rpartition('/')[0]}/{part}"))
    _send(path, temporary)
    try:
        if next(ask(temporary)).size != path.stat().st_size:
            raise OSError(f"{temporary}: not all of {path} arrived")
        answer = _asked("MOVE", temporary, headers={"Destination": url, "Overwrite": "T"})
        if answer.status_code == 412 or (answer.status_code in _NO_MOVE and _is_there(url)):
            remove(url)  # a server that does not write over a file
            answer = _asked("MOVE", temporary, headers={"Destination": url, "Overwrite": "T"})
        if answer.ok:
            return
    finally:
        with contextlib.suppress(OSError):
            if _is_there(temporary):
                remove(temporary)
    if answer.status_code not in _NO_MOVE:
        raise OSError(f"{answer.status_code} {answer.reason}")
    _send(path, url)


def remove(url: str) -> None:
    """Remove a file; one that is not there is no error."""
    with contextlib.suppress(FileNotFoundError):
        _request("DELETE", url)


def _send(path: Path, url: str) -> None:
    with path.open("rb") as file:
        # An empty file would be sent in chunks, without its length.
        _request("PUT", url, data=file if path.stat().st_size else b"")


def _is_there(url: str) -> bool:
    try:
        next(ask(url))
    except FileNotFoundError:
        return False
    return True


def _make_folders(url: str) -> None:
    """Make the folders of a file where the server does not make them by itself; all that lack, from above."""
    parts = urlsplit(url)
    names = [name for name in parts.path.split("/")[:-1] if name]
    for num in range(1, len(names) + 1):
        folder = urlunsplit(parts._replace(path=f"/{'/'.join(names[:num])}/"))
        if (folder, os.getpid()) not in _MADE:
            _asked("MKCOL", folder)  # what it cannot make, PUT says
            _MADE.add((folder, os.getpid()))


_MADE: set[tuple[str, int]] = set()


def _request(method: str, url: str, **more: Any) -> Any:
    answer = _asked(method, url, **more)
    if answer.status_code in _REFUSED:
        raise FileNotFoundError(f"{answer.status_code} {answer.reason}")
    if not answer.ok:
        raise OSError(f"{answer.status_code} {answer.reason}")
    return answer


def _asked(method: str, url: str, headers: Any = None, **more: Any) -> Any:
    import requests

    try:
        return requests.request(
            method,
            url,
            headers={**(headers or {}), **_token()},
            timeout=TIMEOUT_S,
            allow_redirects=True,
            verify=os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("X509_CERT_DIR") or True,
            **more,
        )
    except requests.RequestException as error:
        raise OSError(str(error)) from None


def _token() -> dict[str, str]:
    """Return the bearer token of the environment, as WLCG's token discovery finds it; without one `.netrc` is taken."""
    token = os.environ.get("BEARER_TOKEN", "")
    if not token and (path := os.environ.get("BEARER_TOKEN_FILE")):
        token = Path(path).read_text()
    return {"Authorization": f"Bearer {token.strip()}"} if token.strip() else {}
