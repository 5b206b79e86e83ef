"""`lartpc catalogue`: files on servers listed once, with size and checksum, for sample sheets.

Servers are asked by the packages that Snakemake's storage plugins use, with their credentials.
"""

import fnmatch
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from lartpc.atomic import replacing
from lartpc.remote import COLUMNS, HEADER, RemoteFile, is_pattern, is_url, read_catalogue

TRIES = 4
WAIT_S = 1.0
"""After the first failure of a server; twice as long after each further one [s]."""

TIMEOUT_S = 60
T = TypeVar("T")


def catalogue(sources: Sequence[str], out: Path) -> list[RemoteFile]:
    """List files on servers, in the order of their URLs, and write a catalogue.

    What an earlier catalogue of the same name knows of files of the same size and checksum, such as the number of their
    events, stays.

    Parameters
    ----------
    sources
        URLs of files; for s3:// and root:// also patterns, with * ? and [...] in the last part of the path.

    Raises
    ------
    ValueError
        A URL is none, names no file, or its server does not answer.
    """
    found: dict[str, RemoteFile] = {}
    for source in sources:
        if not is_url(source):
            raise ValueError(f"'{source}' is not the URL of files; it begins with s3://, root:// or https://")
        ask = _ASK[source.split("://")[0]]
        files = patiently(lambda source=source, ask=ask: list(ask(source)), source)  # type: ignore[misc]
        if not files:
            raise ValueError(f"no file matches {source}")
        found |= {one.url: one for one in files}
    before = {one.url: one for one in (read_catalogue(out) or ())} if out.is_file() else {}
    kept = []
    for url in sorted(found):
        one, old = found[url], before.get(url)
        is_same = old is not None and (old.size, old.checksum) == (one.size, one.checksum)
        kept.append(old if is_same and old else one)
    with replacing(out) as part:
        lines = [f"{HEADER}, {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}", f"# {' '.join(COLUMNS)}"]
        part.write_text("\n".join([*lines, *map(str, kept)]) + "\n")
    return kept


def patiently(ask: Callable[[], T], url: str) -> T:
    """Return what a server answers, asked again after a while where it fails; ValueError at last."""
    for number in range(TRIES):
        try:
            return ask()
        except (OSError, RuntimeError) as error:
            is_final = isinstance(error, FileNotFoundError) or number == TRIES - 1
            if is_final:
                raise ValueError(f"{url}: {error}") from error
            time.sleep(WAIT_S * 2**number)
    raise AssertionError


def _http(url: str) -> Iterator[RemoteFile]:
    if is_pattern(url):
        raise ValueError(f"{url}: servers of HTTP list no files; name each, or a file of their names with @")
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT_S) as answer:
            size = answer.headers.get("Content-Length")
            digest = answer.headers.get("Digest", "")  # RFC 3230, as dCache and XRootD state it
    except urllib.error.HTTPError as error:
        if error.code in (401, 403, 404, 410):
            raise FileNotFoundError(f"{error.code} {error.reason}") from None
        raise
    known = dict(part.strip().lower().partition("=")[::2] for part in digest.split(",") if "=" in part)
    checksum = f"adler32:{known['adler32']}" if "adler32" in known else ""
    yield RemoteFile(url, int(size) if size else None, checksum)


def _s3(url: str) -> Iterator[RemoteFile]:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, key = url.removeprefix("s3://").partition("/")
    settings = {
        name: os.environ.get(f"SNAKEMAKE_STORAGE_S3_{name.upper()}")
        for name in ("endpoint_url", "access_key", "secret_key", "region")
    }
    try:
        client = boto3.client(
            "s3",
            endpoint_url=settings["endpoint_url"],
            aws_access_key_id=settings["access_key"],
            aws_secret_access_key=settings["secret_key"],
            region_name=settings["region"],
        )
        stem = key[: min((key.index(c) for c in "*?[" if c in key), default=len(key))]
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=stem):
            for one in page.get("Contents", ()):
                tag = one["ETag"].strip('"')  # of an upload in one part, its MD5
                if _matches(one["Key"], key):
                    checksum = f"md5:{tag}" if len(tag) == 32 else ""
                    yield RemoteFile(f"s3://{bucket}/{one['Key']}", one["Size"], checksum)
    except ClientError as error:
        kind = FileNotFoundError if error.response["Error"]["Code"] in _FINAL else OSError
        raise kind(str(error)) from None
    except BotoCoreError as error:
        raise OSError(str(error)) from None


_FINAL = ("NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403", "404")


def _root(url: str) -> Iterator[RemoteFile]:
    from XRootD import client
    from XRootD.client.flags import DirListFlags, QueryCode, StatInfoFlags

    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    files = client.FileSystem(f"{scheme}://{host}")

    def checked(answer: tuple[object, T]) -> T:
        status, value = answer
        if not status.ok:  # type: ignore[attr-defined]
            kind = FileNotFoundError if status.errno in (3010, 3011) else OSError  # type: ignore[attr-defined]
            raise kind(str(status.message).strip())  # type: ignore[attr-defined]
        return value

    folder, _, name = path.rpartition("/")
    if is_pattern(folder):
        raise ValueError(f"{url}: patterns are of the last part of the path only")
    if is_pattern(name):
        listed = checked(files.dirlist(f"/{folder}".replace("//", "/"), DirListFlags.STAT))
        found = [
            (one.name, one.statinfo)
            for one in listed
            if _matches(one.name, name) and not one.statinfo.flags & StatInfoFlags.IS_DIR
        ]
    else:
        found = [(name, checked(files.stat(f"/{path}".replace("//", "/"))))]
    for one, status in found:
        known, text = files.query(QueryCode.CHECKSUM, f"/{folder}/{one}".replace("//", "/"))
        words = text.decode().strip("\0 ").split() if known.ok and text else []
        checksum = f"{words[0]}:{words[1].lower()}" if len(words) == 2 and words[0] == "adler32" else ""
        yield RemoteFile(f"{scheme}://{host}/{folder}/{one}", status.size, checksum)


def _matches(name: str, pattern: str) -> bool:
    """Tell whether a path matches a pattern, in which * does not go beyond a slash."""
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


_ASK: dict[str, Callable[[str], Iterator[RemoteFile]]] = {
    **dict.fromkeys(("http", "https"), _http),
    **dict.fromkeys(("root", "roots", "xroot"), _root),
    "s3": _s3,
}
