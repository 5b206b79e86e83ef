"""The dataset of all shards: its digests, and whether its rows are those of the shards, in their order."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lartpc.content import reading
from lartpc.provenance import digest
from lartpc.run.audit.crate import check_crate
from lartpc.run.audit.files import check_folder, check_table
from lartpc.run.audit.findings import Audited
from lartpc.run.summarize import EVENT_TABLES
from lartpc.scenarios import FOLDER as SCENARIOS
from lartpc.tables.manifest import NAME
from lartpc.tables.scenarios import of_scenario, table_folder
from lartpc.tables.write import reading_table

FOLDERS = ("tables", "metrics", "events")
"""What stands in a folder of results that a dataset is made from."""


def below(results: Path, path: str) -> Path:
    """Return where a path of a production is now, whatever its folder of results is called."""
    parts = Path(path).parts
    for number in range(len(parts) - 1, -1, -1):
        if parts[number] in FOLDERS:
            is_own = number > 1 and parts[number - 2] == SCENARIOS
            return results.joinpath(*parts[number - 2 * is_own :])
    return Path(path)


def check_dataset(results: Path, planned: Sequence[str] = ()) -> Audited:
    """Check the dataset of a production against its manifest, the shards, and those that were planned."""
    found = Audited()
    folder = results / "dataset"
    manifest: Mapping[str, Any] | None = check_folder(folder, found)
    if manifest is None:
        return found
    is_whole = not found.findings
    check_crate(folder, found)
    has = _check_made_from(results, folder, manifest, is_whole, found)
    for name, one in manifest.get("scenarios", {}).items():
        _check_made_from(results, of_scenario(folder, name), one, is_whole, found)
    for uid in (uid for uid in planned if uid not in has):
        found.add(folder, f"is without the planned shard {uid}: run 'lartpc collect' again")
    return found


def _check_made_from(
    results: Path, folder: Path, said: Mapping[str, Any], is_whole: bool, found: Audited
) -> set[str]:
    """Check the files that a dataset, or a scenario of one, was collected from; return the shards that it has."""
    tables = [below(results, one["path"]) for one in said["tables"]]
    for path, one in zip(tables, said["tables"], strict=True):
        # what is wrong with the shard itself is found there
        if (path / NAME).is_file() and digest(path / NAME) != one["digest"]:
            found.add(path / NAME, f"was changed or made again since {folder} was made from it")
    for one in said["ingested"]:
        path = below(results, one["path"])
        if path.is_file() and digest(path) != one["digest"]:
            found.add(path, f"was changed or made again since {folder} was made from it")
    metrics = [below(results, one["path"]) for one in said["metrics"]]
    are_sound = [
        check_table(path, one["digest"], found) for path, one in zip(metrics, said["metrics"], strict=True)
    ]
    if is_whole:
        for name in EVENT_TABLES:
            _compare(table_folder(folder, name), [path / f"{name}.parquet" for path in tables], found)
        if all(are_sound):
            _compare(table_folder(folder, "metrics"), metrics, found)
    return {f"{path.parent.name}/{path.name}" for path in tables}


def uids_of(results: Path) -> tuple[list[str], list[str]]:
    """Return the shards, `sample/shard`, that a production has planned to collect, and those that have tables."""
    planned = results / "config" / "ingested.gather"
    wanted = [_uid(line) for line in _lines(planned)] if planned.is_file() else []
    folders = sorted(path.parent for path in (results / "tables").glob(f"*/*/{NAME}"))
    return list(dict.fromkeys(wanted)), [f"{path.parent.name}/{path.name}" for path in folders]


def scenarios_of(results: Path) -> dict[str, list[str]]:
    """Return the scenarios of a production that tables are made of, and the shards of each, `sample/shard`."""
    found = {}
    for listed in sorted((results / SCENARIOS).glob("*/config/tables.gather")):
        found[listed.parents[1].name] = [
            f"{Path(line).parent.name}/{Path(line).name}" for line in _lines(listed)
        ]
    return found


def _lines(path: Path) -> list[str]:
    with reading(path):
        return [line for line in path.read_text(errors="replace").split("\n") if line]


def _uid(path: str) -> str:
    return f"{Path(path).parent.name}/{Path(path).stem}"


def _compare(folder: Path, sources: Sequence[Path], found: Audited) -> None:
    """Compare the rows of a table of the dataset with those of files, a row group at a time."""
    try:
        mine, theirs = _batches(sorted(folder.glob("*.parquet"))), _batches(sources)
        number, left, right = 0, next(mine, None), next(theirs, None)
        while left is not None and right is not None:
            num = min(left.num_rows, right.num_rows)
            for name in left.column_names:
                if not _equal(left.column(name).slice(0, num), right.column(name).slice(0, num)):
                    found.add(
                        folder, f"rows {number} to {number + num} are not those of the shards' tables", name
                    )
                    return
            number += num
            left = left.slice(num) if left.num_rows > num else next(mine, None)
            right = right.slice(num) if right.num_rows > num else next(theirs, None)
        if left is not None or right is not None:
            found.add(folder, f"has {'more' if left is not None else 'fewer'} rows than the shards' tables")
    except ValueError as error:
        found.add(folder, str(error))


def _equal(one: pa.ChunkedArray, other: pa.ChunkedArray) -> bool:
    if pa.types.is_dictionary(one.type):
        one, other = one.cast(one.type.value_type), other.cast(other.type.value_type)
    return bool(one.equals(other))


def _batches(paths: Sequence[Path]) -> Iterator[pa.Table]:
    """Yield the row groups of files that have rows."""
    for path in paths:
        with reading_table(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
            for number in range(file.num_row_groups):
                table = file.read_row_group(number, use_threads=False)
                if table.num_rows:
                    yield table
