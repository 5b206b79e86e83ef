"""Sample sheets to shards: what there is to do, known before the DAG is made. Imports as little as can be."""

import csv
import glob
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from lartpc.choice import asked_for
from lartpc.paths import named_by, usable
from lartpc.remote import ListPattern, RemoteFile, listing_beside, on_servers
from lartpc.text import text_of

SPLITS = ("train", "validation", "test", "reconstruct")
"""What a sample is for. `test` and `reconstruct` are inferred; only `test` has truth to compare with."""

COLUMNS = ("sample", "split", "source", "num_events", "num_shards")
CHOICE = "events"
"""A further column that a sheet may have: which events of files are asked for; see `lartpc.choice`."""

GEANT4 = "geant4"
"""The source that stands for our own simulation; any other source is a path or a pattern."""

GENERATED = ("nuhepmc", "gst", "rootracker")
"""Before a colon and a pattern, the kinds of files of neutrino generators, whose interactions are simulated."""

MAX_FILES = 250
"""Most files of a shard: an event file names them all, in an attribute of HDF5's 64 kB at most."""


LONGEST_NAME = 150
"""Bytes of a shard's name: files have endings behind it, and 255 bytes in all."""


@dataclass(frozen=True)
class Shard:
    """A unit of work: the events of one or several files, or one slice of a simulated sample.

    `sources` are its files; a simulated shard has none, but a seed and a number of events. One of a neutrino
    generator's files (`generated`) has their kind and pattern (`generator`), its `share` (i, n) of the interactions,
    and no number of events where it takes all of these. `events` says which are asked for of its files, which are a
    part of the sample's where `is_part`. Files on servers (`remote`) have their URLs as `sources`.
    """

    sample: str
    name: str
    split: str
    sources: tuple[str, ...]
    num_events: int | None = None
    seed: int | None = None
    generator: str = ""
    generated: tuple[str, ...] = ()
    share: tuple[int, int] = (0, 1)
    events: str = ""
    is_part: bool = False
    remote: tuple[RemoteFile, ...] = ()

    @property
    def key(self) -> str:
        """`sample/shard`: the shard's path below every results folder, and its file uid."""
        return f"{self.sample}/{self.name}"

    @property
    def is_simulated(self) -> bool:
        """Tell whether Geant4 makes the shard's events."""
        return not self.sources


def shard_seed(seed: int, sample: str, index: int) -> int:
    """Return the seed of a shard: a hash, so that it depends on nothing else in the sheet."""
    text = f"{seed}/{sample}/{index}".encode()
    return int.from_bytes(blake2b(text, digest_size=4).digest(), "big") >> 1


def plan(
    sheets: Iterable[str | Path], seed: int, max_shards: int, list_pattern: ListPattern | None = None
) -> tuple[Shard, ...]:
    """Read sample sheets (tab-separated; columns `COLUMNS`, and perhaps `CHOICE`) and return their shards in order.

    A sample of more than `max_shards` files, or asked to be in more shards, is put in `max_shards` of them.
    Which files share a shard depends on their paths and the number of shards alone: a file that is added or
    taken away changes the shard that it belongs to, and no other.

    A pattern on a server is asked for by `list_pattern` once, which writes a catalogue beside the sheet; without it
    that catalogue must be there.

    Raises
    ------
    ValueError
        A sheet or a row cannot be used; the message names the sheet, the line and the remedy.
    """
    shards: list[Shard] = []
    seen: set[str] = set()
    used: dict[str, str] = {}
    for sheet in map(Path, sheets):
        for line, row in _rows(sheet):
            where = f"{sheet}, line {line}"
            if row["sample"] in seen:
                raise ValueError(f"{where}: sample '{row['sample']}' is named twice; give it another name")
            if not row["sample"] or not all(c.isalnum() or c in "_-" for c in row["sample"]):
                raise ValueError(f"{where}: sample '{row['sample']}' may have letters, digits, _ and - only")
            if row["split"] not in SPLITS:
                raise ValueError(f"{where}: split '{row['split']}' is none of {', '.join(SPLITS)}")
            seen.add(row["sample"])
            _check_choice(row, where)
            if row["source"] == GEANT4:
                shards += _simulated(row, seed, max_shards, where)
            elif row["source"].startswith(tuple(f"{kind}:" for kind in GENERATED)):
                found = _generated(row, seed, max_shards, where)
                for path in found[0].generated:
                    if (other := used.setdefault(os.path.realpath(path), row["sample"])) != row["sample"]:
                        raise ValueError(
                            f"{where}: samples '{other}' and '{row['sample']}' both have {path}; each interaction is "
                            "used once: give each sample files of its own"
                        )
                shards += found
            else:
                listing = listing_beside(sheet, row["sample"])
                shards += _files(row, max_shards, where, listing, list_pattern)
    return tuple(shards)


def _rows(sheet: Path) -> Iterable[tuple[int, dict[str, str]]]:
    if not sheet.is_file():
        what = "is a folder, and a file is wanted" if sheet.is_dir() else "does not exist"
        raise ValueError(f"sample sheet {sheet} {what}; set 'samples' in the configuration")
    numbered = enumerate(text_of(sheet).splitlines(), 1)
    lines = [(line, text) for line, text in numbered if text.strip() and not text.startswith("#")]
    reader = csv.DictReader((text for _, text in lines), delimiter="\t", quoting=csv.QUOTE_NONE)
    columns = tuple(name.strip() for name in reader.fieldnames or ())
    if columns not in (COLUMNS, (*COLUMNS, CHOICE)):
        found = f"; its first line is {lines[0][1]!r}" if lines else "; it is empty"
        raise ValueError(
            f"{sheet}: the columns must be {', '.join(COLUMNS)} and perhaps {CHOICE}, separated by tabs{found}"
        )
    reader.fieldnames = columns
    for row in reader:
        line = lines[reader.line_num - 1][0]
        if None in row or None in row.values():
            raise ValueError(f"{sheet}, line {line}: must have {len(columns)} fields; use '-' for none")
        yield line, {CHOICE: "-"} | {key: value.strip() for key, value in row.items()}


def _check_choice(row: dict[str, str], where: str) -> None:
    """Raise ValueError where the events of a sample cannot be chosen as its row says."""
    try:
        asked = asked_for(row[CHOICE])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    is_simulated = row["source"] == GEANT4 or row["source"].startswith(
        tuple(f"{kind}:" for kind in GENERATED)
    )
    if asked and is_simulated:
        raise ValueError(f"{where}: {CHOICE} are chosen of files; a simulated sample has num_events")
    if not is_simulated and row["num_events"] != "-":
        remedy = f"; write 'first {row['num_events']}' in a column '{CHOICE}' for so many of each file"
        raise ValueError(f"{where}: num_events of files is '-'{remedy}")


def _simulated(row: dict[str, str], seed: int, max_shards: int, where: str) -> list[Shard]:
    try:
        num_events, num_shards = int(row["num_events"]), int(row["num_shards"])
    except ValueError:
        raise ValueError(f"{where}: a geant4 sample needs whole num_events and num_shards") from None
    if not 1 <= num_shards <= num_events:
        raise ValueError(f"{where}: num_shards must be between 1 and num_events")
    return _slices(row, num_events, min(num_shards, max_shards), seed)


def shares(shards: Sequence[Shard]) -> dict[str, tuple[int, int]]:
    """Return the share of the generator's files of each simulated shard, by its key.

    Shards of the source `geant4` share the files that the configuration names, all samples together: no
    interaction is in two of them.
    """
    alike = [shard for shard in shards if shard.is_simulated and not shard.generator]
    return {
        **{shard.key: shard.share for shard in shards},
        **{shard.key: (index, len(alike)) for index, shard in enumerate(alike)},
    }


def _generated(row: dict[str, str], seed: int, max_shards: int, where: str) -> list[Shard]:
    kind, _, pattern = row["source"].partition(":")
    pattern, paths = _matching(pattern, row, where)
    numbers = {name: row[name] for name in ("num_events", "num_shards")}
    if bad := [
        name for name, text in numbers.items() if text != "-" and not (text.isdecimal() and int(text) > 0)
    ]:
        raise ValueError(f"{where}: {bad[0]} of a generator's files is a number above 0, or '-'")
    num_events = None if numbers["num_events"] == "-" else int(numbers["num_events"])
    num_shards = min(1 if numbers["num_shards"] == "-" else int(numbers["num_shards"]), max_shards)
    if num_events is not None and num_shards > num_events:
        raise ValueError(f"{where}: num_shards must be between 1 and num_events")
    return [
        replace(shard, generator=f"{kind}:{pattern}", generated=tuple(paths), share=(index, num_shards))
        for index, shard in enumerate(_slices(row, num_events, num_shards, seed))
    ]


def _slices(row: dict[str, str], num_events: int | None, num_shards: int, seed: int) -> list[Shard]:
    share, rest = divmod(num_events or 0, num_shards)
    return [
        Shard(
            row["sample"],
            f"{index:04d}",
            row["split"],
            (),
            None if num_events is None else share + (index < rest),
            shard_seed(seed, row["sample"], index),
        )
        for index in range(num_shards)
    ]


def _matching(source: str, row: dict[str, str], where: str) -> tuple[str, list[str]]:
    """Return a pattern with its variables replaced, and the files that it names."""
    pattern = source
    if source.startswith("~"):
        try:
            pattern = str(Path(source).expanduser())
        except RuntimeError as error:
            raise ValueError(f"{where}: '{source}' cannot be resolved ({error})") from None
    if not _exists(pattern) and not (
        pattern.startswith("@") and _exists(pattern[1:])
    ):  # a name with $, [ or * in it is taken as it is where there is such a file
        pattern = os.path.expandvars(pattern)
        if "$" in pattern:
            raise ValueError(f"{where}: the environment variable in '{row['source']}' is not set")
    found = [pattern] if _exists(pattern) else named_by(pattern)
    if pattern.startswith("@") and (not found or (Path(pattern[1:]).is_file() and not _exists(pattern))):
        found = _listed(pattern[1:], where)
    paths = [path for path in found if not _exists(f"{path}/")]
    if not paths:
        remedy = ""
        if found:
            remedy = f" but folders: name the files in them, such as '{found[0].rstrip('/')}/*.h5'"
        elif "{" in pattern:
            remedy = ": braces are not expanded, give each its row, or use * and [...]"
        elif "[" in pattern:
            remedy = ": brackets mean one letter of those in them, write [[] for one"
        raise ValueError(f"{where}: no file matches '{pattern}'{remedy}")
    if closed := [
        path for path in paths if not os.access(path, os.R_OK, effective_ids=True) and _is_closed(path)
    ]:
        # Now, and not in jobs that are sent again in vain
        raise ValueError(
            f"{where}: {len(closed)} of {len(paths)} files may not be read (Permission denied), such as {closed[0]}; "
            "ask for access to them, or take them out"
        )
    for path in paths:
        try:
            usable(path)
        except ValueError as error:
            raise ValueError(f"{where}: sample '{row['sample']}', file {path!r}: {error}") from None
    return pattern, paths


def _is_closed(path: str) -> bool:
    """Tell whether a file may not be opened; what the system says of access before is wrong on some servers."""
    try:
        with Path(path).open("rb"):
            return False
    except PermissionError:
        return True


def _listed(path: str, where: str) -> list[str]:
    """Return the files that a list names, one a line; each must exist."""
    if not Path(path).is_file():
        raise ValueError(f"{where}: the list of files {path} does not exist")
    names = [line for line in text_of(Path(path)).split("\n") if line]
    if lost := [name for name in names if not _exists(name)]:
        raise ValueError(f"{where}: {path} names {len(lost)} files that do not exist, such as {lost[0]}")
    return names


def _exists(path: str) -> bool:
    return bool(glob.glob(glob.escape(path)))


def _files(
    row: dict[str, str], max_shards: int, where: str, listing: Path, list_pattern: ListPattern | None
) -> list[Shard]:
    source = os.path.expandvars(row["source"])
    try:
        found = {} if _exists(source) else on_servers(source, listing, list_pattern)
        remote = {usable(url): one for url, one in found.items()}
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    paths = list(remote) if remote else _matching(row["source"], row, where)[1]
    if (text := row["num_shards"]) != "-" and not (text.isdecimal() and int(text) > 0):
        raise ValueError(
            f"{where}: num_shards of files is the number of shards to put them in, or '-' for a shard each"
        )
    num_shards = min(len(paths) if text == "-" else int(text), max_shards)
    is_one_each = text == "-" and num_shards == len(paths)
    grouped: dict[str, tuple[str, ...]] = (
        dict(zip(_names(paths), ((path,) for path in paths), strict=True))
        if is_one_each
        else _grouped(paths, num_shards)
    )
    for name, group in grouped.items():
        if len(group) > MAX_FILES:
            raise ValueError(
                f"{where}: shard {name} would have {len(group)} files, more than {MAX_FILES}; use more shards "
                "(num_shards, and max_shards in the configuration), or several samples"
            )
    choice: dict[str, Any] = (
        {"events": row[CHOICE], "is_part": len(grouped) > 1} if asked_for(row[CHOICE]) else {}
    )
    return [
        Shard(
            row["sample"],
            name,
            row["split"],
            group,
            remote=tuple(remote[path] for path in group) if remote else (),
            **choice,
        )
        for name, group in grouped.items()
    ]


def _grouped(paths: Iterable[str], num_shards: int) -> dict[str, tuple[str, ...]]:
    """Deal files to shards by a digest of their path, and return those of each shard, in order."""
    dealt: dict[int, list[str]] = {}
    for path in paths:
        digest = blake2b(os.fsencode(path), digest_size=8).digest()
        dealt.setdefault(int.from_bytes(digest, "big") % num_shards, []).append(path)
    return {f"{index:04d}": tuple(dealt[index]) for index in sorted(dealt)}


def _names(paths: Sequence[str]) -> list[str]:
    """Return a name for each file: its stem, with a tag of its path where that is not enough."""
    stems = [_stem(path) for path in paths]
    count = Counter(stems)
    return [
        stem
        if count[stem] == 1 and len(os.fsencode(stem)) <= LONGEST_NAME
        else f"{os.fsencode(stem)[:LONGEST_NAME].decode(errors='ignore')}-{_tag(path)}"
        for stem, path in zip(stems, paths, strict=True)
    ]


def _stem(path: str) -> str:
    """Return a file's name without its ending, in the letters a shard's name may have."""
    return "".join(c if c.isalnum() or c in "_-" else "-" for c in Path(path).stem)


def _tag(path: str) -> str:
    return blake2b(os.fsencode(path), digest_size=4).hexdigest()
