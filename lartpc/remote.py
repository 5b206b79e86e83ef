"""Files on servers: which URLs are known, catalogues of them, and whether a copy is whole. Standard library only."""

import fnmatch
import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath

from lartpc.text import json_of, text_of

SCHEMES = ("https", "http", "s3", "root", "roots", "xroot")
"""What URLs of files begin with."""

HEADER = "# lartpc catalogue 1"
"""First line of a catalogue; its other lines are `COLUMNS`, separated by tabs."""

PATTERNS = "# of "
"""Begin of the line of a catalogue that names what it was asked for: URLs and patterns, separated by blanks."""

COLUMNS = ("url", "size", "checksum", "events")
ALGORITHMS = ("adler32", "md5", "sha1", "sha256", "blake2b")
_READ_BYTES = 2**22
_URL = re.compile(rf"({'|'.join(SCHEMES)})://[^\s/]+/.+")
_PATTERN = re.compile(r"[*?\[]")
ListPattern = Callable[[str, Path], object]
"""Asks servers for the files of a pattern, and writes a catalogue of them, or brings it up to date."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server: what a catalogue states of it, as far as it is known.

    Parameters
    ----------
    url
        Where it is.
    size
        Bytes; None: not stated.
    checksum
        `ALGORITHM:HEX`, of `ALGORITHMS`; "": not stated.
    num_events
        Number of its events; None: not stated.
    """

    url: str
    size: int | None = None
    checksum: str = ""
    num_events: int | None = None

    @property
    def name(self) -> str:
        """Its name without folders and without what follows a question mark."""
        return PurePosixPath(self.url.split("://", 1)[1].split("?")[0]).name

    def __str__(self) -> str:
        """Return its line in a catalogue."""
        known = (self.url, self.size, self.checksum or None, self.num_events)
        return "\t".join("-" if value is None else str(value) for value in known)


def is_url(path: str) -> bool:
    """Tell whether a path is the URL of a file."""
    return bool(_URL.fullmatch(path))


def is_pattern(url: str) -> bool:
    """Tell whether the path of a URL has * ? or [ in it; what follows a question mark of HTTP is no pattern."""
    return bool(_PATTERN.search(url.split("?")[0] if url.startswith("http") else url))


def matches(path: str, pattern: str) -> bool:
    """Tell whether a path on a server matches a pattern, in which * does not go beyond a slash."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def read_catalogue(path: Path) -> list[RemoteFile] | None:
    """Read a catalogue; None if the file is none.

    Raises
    ------
    ValueError
        A line of it cannot be used.
    """
    lines = text_of(path).splitlines()
    if not lines or not lines[0].startswith(HEADER):
        return None
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            try:
                found.append(_entry(line.split("\t")))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
    count = Counter(one.url for one in found)
    if twice := [url for url, num in count.items() if num > 1]:
        raise ValueError(f"{path} names {twice[0]} twice")
    return found


def read_origins(path: Path) -> dict[str, RemoteFile]:
    """Read where files that were fetched come from (JSON): what is known of each, by its name here.

    Raises
    ------
    ValueError
        It does not say that.
    """
    try:
        return {name: RemoteFile(**said) for name, said in json_of(path).items()}
    except TypeError as error:
        raise ValueError(
            f"{path}: must have {', '.join(field.name for field in fields(RemoteFile))} for each file ({error})"
        ) from None


def patterns_of(path: Path) -> list[str]:
    """Return the URLs and patterns that a catalogue was asked for; [] where it does not say."""
    for line in text_of(path).splitlines():
        if line.startswith(PATTERNS):
            return line.removeprefix(PATTERNS).split()
        if not line.startswith("#"):
            break
    return []


def listing_beside(sheet: Path, sample: str) -> Path:
    """Return where the catalogue of a sample lies whose source is a pattern on a server: beside its sheet."""
    return sheet.with_name(f"{sheet.stem}.{sample}.catalogue.tsv")


def on_servers(source: str, listing: Path, list_pattern: ListPattern | None) -> dict[str, RemoteFile]:
    """Return the files on servers that a source names, by their URLs: a URL, a pattern, a list; {} for other files.

    No server is asked but for a pattern that `listing` is not the catalogue of: whether files are there is found when
    they are fetched.

    Raises
    ------
    ValueError
        The source names no file, or what it names cannot be used.
    """
    if is_url(source):
        found = _of_pattern(source, listing, list_pattern) if is_pattern(source) else [RemoteFile(source)]
    elif source.startswith("@") and Path(source[1:]).is_file():
        found = _in_list(Path(source[1:]))
    else:
        return {}
    return {one.url: one for one in found}


def _of_pattern(pattern: str, listing: Path, list_pattern: ListPattern | None) -> list[RemoteFile]:
    if not listing.is_file() or patterns_of(listing) != [pattern]:
        if list_pattern is None:
            raise ValueError(
                f"{listing} is not the list of {pattern}: run snakemake again, or lartpc catalogue '{pattern}' "
                f"--out {listing}"
            )
        list_pattern(pattern, listing)
    found = read_catalogue(listing)
    if not found:
        raise ValueError(f"{listing} names no file; remove it, and {pattern} is asked for again")
    return found


def _in_list(path: Path) -> list[RemoteFile]:
    found = read_catalogue(path)
    if found is not None:
        if not found:
            raise ValueError(f"{path} names no file")
        return found
    lines = [line for line in text_of(path).split("\n") if line]
    are_remote = [is_url(line) for line in lines]
    if any(are_remote) and not all(are_remote):
        other = lines[are_remote.index(False)]
        raise ValueError(
            f"{path} names files on servers and others, such as {other}; give each kind its sample"
        )
    if patterns := [line for line in lines if is_url(line) and is_pattern(line)]:
        raise ValueError(
            f"{path} has the pattern {patterns[0]}; write it in the sheet, or into a catalogue: "
            f"lartpc catalogue '{patterns[0]}' --out FILE"
        )
    return [RemoteFile(line) for line in lines] if any(are_remote) else []


def _entry(words: Sequence[str]) -> RemoteFile:
    if len(words) != len(COLUMNS):
        raise ValueError(f"must have {', '.join(COLUMNS)}, separated by tabs; use '-' for what is not known")
    url, size, checksum, events = (word.strip() for word in words)
    if not is_url(url) or is_pattern(url):
        raise ValueError(f"'{url}' is not the URL of a file; it begins with {', '.join(SCHEMES)} and ://")
    if any(word != "-" and not word.isdecimal() for word in (size, events)):
        raise ValueError("size and events are whole numbers, or '-'")
    if checksum != "-" and checksum.partition(":")[0] not in ALGORITHMS:
        raise ValueError(f"checksum '{checksum}' must be ALGORITHM:HEX, with one of {', '.join(ALGORITHMS)}")
    return RemoteFile(
        url,
        None if size == "-" else int(size),
        "" if checksum == "-" else checksum.lower(),
        None if events == "-" else int(events),
    )


def local_names(files: Sequence[RemoteFile]) -> list[str]:
    """Return a name for the copy of each file of a shard, its own where no other has it."""
    names = [one.name for one in files]
    return [name if names.count(name) == 1 else f"{number}-{name}" for number, name in enumerate(names)]


def check_copy(path: Path, file: RemoteFile) -> None:
    """Check that a copy is all of a file, as far as its catalogue says.

    Raises
    ------
    ValueError
        It has another size or checksum.
    """
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise ValueError(f"{file.url}: {size} bytes came, it has {file.size}")
    if file.checksum:
        algorithm, _, wanted = file.checksum.partition(":")
        if (found := checksum_of(path, algorithm)) != wanted:
            raise ValueError(f"{file.url}: what came has {algorithm} {found}, it has {wanted}")


def checksum_of(path: Path, algorithm: str) -> str:
    """Return the checksum (hex) of a file by one of `ALGORITHMS`."""
    with path.open("rb") as file:
        if algorithm != "adler32":
            return hashlib.file_digest(file, algorithm).hexdigest()
        value = 1
        while block := file.read(_READ_BYTES):
            value = zlib.adler32(block, value)
        return f"{value:08x}"
