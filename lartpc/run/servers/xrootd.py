"""Files on servers of XRootD: EOS, dCache."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lartpc.remote import RemoteFile, is_pattern, matches

_FINAL = (3010, 3011)  # not permitted, not there


def ask(url: str) -> Iterator[RemoteFile]:
    """Yield the files of a URL, or of a pattern of the last part of its path, with sizes and adler32."""
    from XRootD.client.flags import DirListFlags, QueryCode, StatInfoFlags

    files, _, path = _place(url)
    folder, _, name = path.rpartition("/")
    if is_pattern(folder):
        raise ValueError(f"{url}: patterns are of the last part of the path only")
    if is_pattern(name):
        listed = _checked(files.dirlist(folder or "/", DirListFlags.STAT))
        found = [
            (one.name, one.statinfo)
            for one in listed
            if matches(one.name, name) and not one.statinfo.flags & StatInfoFlags.IS_DIR
        ]
    else:
        found = [(name, _checked(files.stat(path)))]
    for one, status in found:
        known, text = files.query(QueryCode.CHECKSUM, f"{folder}/{one}")
        words = text.decode().strip("\0 ").split() if known.ok and text else []
        checksum = f"{words[0]}:{words[1].lower()}" if len(words) == 2 and words[0] == "adler32" else ""
        yield RemoteFile(f"{url.rpartition('/')[0]}/{one}", status.size, checksum)


def get(url: str, path: Path) -> None:
    """Copy a file."""
    _, host, source = _place(url)
    _copy(f"{host}/{source}", str(path.absolute()))


def put(path: Path, url: str, part: str) -> None:
    """Write a file to a URL: under the name `part` beside it, then renamed."""
    from XRootD.client.flags import MkDirFlags

    files, host, target = _place(url)
    folder = target.rpartition("/")[0]
    _checked(files.mkdir(folder or "/", MkDirFlags.MAKEPATH))
    temporary = f"{folder}/{part}"
    try:
        _copy(str(path.absolute()), f"{host}/{temporary}")
        if _checked(files.stat(temporary)).size != path.stat().st_size:
            raise OSError(f"{temporary}: not all of {path} arrived")
        files.rm(target)  # not all servers rename onto a file
        _checked(files.mv(temporary, target))
    finally:
        files.rm(temporary)


def remove(url: str) -> None:
    """Remove a file; one that is not there is no error."""
    files, _, path = _place(url)
    try:
        _checked(files.rm(path))
    except FileNotFoundError:
        return


def _copy(source: str, target: str) -> None:
    from XRootD import client

    copies = client.CopyProcess()
    copies.add_job(source, target, force=True, posc="://" in target)
    _checked(copies.prepare())
    status, results = copies.run()
    _checked(results[0]["status"] if results else status)
    _checked(status)


def _place(url: str) -> tuple[Any, str, str]:
    """Return the server, the begin of its URLs, and the path, which begins with one slash."""
    from XRootD import client

    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    return client.FileSystem(f"{scheme}://{host}"), f"{scheme}://{host}", f"/{path.lstrip('/')}"


def _checked(answer: Any) -> Any:
    status, value = answer if isinstance(answer, tuple) else (answer, None)
    if not status.ok:
        kind = FileNotFoundError if status.errno in _FINAL else OSError
        raise kind(str(status.message).strip())
    return value
