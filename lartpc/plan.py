"""Sample sheets to shards: what there is to do, known before the DAG is made. Standard library only."""

import csv
import glob
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

SPLITS = ("train", "validation", "test", "reconstruct")
"""What a sample is for. `test` and `reconstruct` are inferred; only `test` has truth to compare with."""

COLUMNS = ("sample", "split", "source", "num_events", "num_shards")
GEANT4 = "geant4"
"""The source that stands for our own simulation; any other source is a path or a pattern."""


@dataclass(frozen=True)
class Shard:
    """A unit of work: the events of one file, or one slice of a simulated sample."""

    sample: str
    name: str
    split: str
    source: str
    num_events: int | None
    seed: int | None

    @property
    def key(self) -> str:
        """`sample/shard`: the shard's path below every results folder, and its file uid."""
        return f"{self.sample}/{self.name}"

    @property
    def is_simulated(self) -> bool:
        """Tell whether Geant4 makes the shard's events."""
        return self.source == GEANT4


def shard_seed(seed: int, sample: str, index: int) -> int:
    """Return the seed of a shard: a hash, so that it depends on nothing else in the sheet."""
    text = f"{seed}/{sample}/{index}".encode()
    return int.from_bytes(blake2b(text, digest_size=4).digest(), "big") >> 1


def plan(sheets: Iterable[str | Path], seed: int) -> tuple[Shard, ...]:
    """Read sample sheets (tab-separated; columns `COLUMNS`) and return their shards in order.

    Raises
    ------
    ValueError
        A sheet or a row cannot be used; the message names the sheet, the line and the remedy.
    """
    shards: list[Shard] = []
    seen: set[str] = set()
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
            shards += _simulated(row, seed, where) if row["source"] == GEANT4 else _files(row, where)
    return tuple(shards)


def _rows(sheet: Path) -> Iterable[tuple[int, dict[str, str]]]:
    if not sheet.is_file():
        raise ValueError(f"sample sheet {sheet} does not exist; set 'samples' in the configuration")
    with sheet.open(newline="") as file:
        reader = csv.DictReader((text for text in file if not text.startswith("#")), delimiter="\t")
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{sheet}: the columns must be {', '.join(COLUMNS)}, separated by tabs")
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(
                    f"{sheet}, line {reader.line_num}: must have {len(COLUMNS)} fields; use '-' for none"
                )
            yield reader.line_num, {key: value.strip() for key, value in row.items()}


def _simulated(row: dict[str, str], seed: int, where: str) -> list[Shard]:
    try:
        num_events, num_shards = int(row["num_events"]), int(row["num_shards"])
    except ValueError:
        raise ValueError(f"{where}: a geant4 sample needs whole num_events and num_shards") from None
    if not 1 <= num_shards <= num_events:
        raise ValueError(f"{where}: num_shards must be between 1 and num_events")
    share, rest = divmod(num_events, num_shards)
    return [
        Shard(
            row["sample"],
            f"{index:04d}",
            row["split"],
            GEANT4,
            share + (index < rest),
            shard_seed(seed, row["sample"], index),
        )
        for index in range(num_shards)
    ]


def _files(row: dict[str, str], where: str) -> list[Shard]:
    pattern = os.path.expandvars(row["source"])
    if "$" in pattern:
        raise ValueError(f"{where}: the environment variable in '{row['source']}' is not set")
    paths = sorted(glob.glob(pattern, recursive=True))
    if not paths:
        raise ValueError(f"{where}: no file matches '{pattern}'")
    stems = Counter(_stem(path) for path in paths)
    return [
        Shard(
            row["sample"],
            _stem(path) if stems[_stem(path)] == 1 else f"{_stem(path)}-{_tag(path)}",
            row["split"],
            path,
            None,
            None,
        )
        for path in paths
    ]


def _stem(path: str) -> str:
    """Return a file's name without its ending, in the letters a shard's name may have."""
    return "".join(c if c.isalnum() or c in "_-" else "-" for c in Path(path).stem)


def _tag(path: str) -> str:
    return blake2b(path.encode(), digest_size=4).hexdigest()
