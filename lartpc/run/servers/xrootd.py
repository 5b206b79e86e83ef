"""Files on servers of XRootD: EOS, dCache."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lartpc.remote import RemoteFile, is_pattern, matches

_FINAL = (3010, 3011)  # not permitted, not there


def ask(url: str) -> Iterator[RemoteFile]:
    """Yield the files of a URL, or of a pattern of its path, with sizes and adler32."""
    from XRootD.client.flags import QueryCode

    files, host, path = _place(url)
    begin = host + ("//" if url.removeprefix(host).startswith("//") else "/")
    for one, status in _matching(files, path, is_folder=False):
        known, text = files.query(QueryCode.CHECKSUM, one)
        words = text.decode().strip("\0 ").split() if known.ok and text else []
        checksum = f"{words[0]}:{words[1].lower()}" if len(words) == 2 and words[0] == "adler32" else ""
        yield RemoteFile(f"{begin}{one.lstrip('/')}", status.size, checksum)


def _matching(files: Any, path: str, *, is_folder: bool) -> Iterator[tuple[str, Any]]:
    """Yield the files or the folders that a path or a pattern names, with their status."""
    from XRootD.client.flags import DirListFlags, StatInfoFlags

    if not is_pattern(path):
        yield path, _checked(files.stat(path))
        return
    parent, _, name = path.rpartition("/")
    parents = [one for one, _ in _matching(files, parent, is_folder=True)] if is_pattern(parent) else [parent]
    for folder in parents:
        if not is_pattern(name):
            status, stat = files.stat(f"{folder}/{name}")
            listed = [(name, stat)] if status.ok else []  # not each folder has it
        else:
            entries = _checked(files.dirlist(folder or "/", DirListFlags.STAT))
            listed = [(one.name, one.statinfo) for one in entries if matches(one.name, name)]
        for entry, stat in listed:
            if bool(stat.flags & StatInfoFlags.IS_DIR) == is_folder:
                yield f"{folder}/{entry}", stat


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
