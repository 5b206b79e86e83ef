"""Files by themselves: whether they hold what was written, and if not, where."""

from pathlib import Path

import pyarrow.parquet as pq

from lartpc.provenance import digest
from lartpc.run.audit.findings import Audited
from lartpc.run.guard import within
from lartpc.store import open_layer
from lartpc.tables.manifest import NAME, changed, read_manifest
from lartpc.tables.write import reading_table


def check_event_file(path: Path, found: Audited, stated: str = "") -> bool:
    """Read an event file through; `stated` is the digest of its bytes that tables were made from.

    Return whether it holds what was written.
    """
    before = len(found.findings)
    if not path.is_file():
        found.add(path, "is missing")
        return False
    found.num_files += 1
    found.num_bytes += path.stat().st_size
    try:
        with within(path):
            layer = open_layer(path)
            try:
                for where, error in layer.damaged().items():
                    found.add(path, str(error), where)
            finally:
                layer.file.close()
    except ValueError as error:
        found.add(path, str(error))
    is_sound = len(found.findings) == before
    if is_sound and stated and digest(path) != stated:
        found.add(
            path,
            "its bytes are not those that tables were made from, though all columns and attributes are as "
            "they were written: it was made again, or bytes were changed that hold nothing",
        )
    return is_sound


def check_folder(folder: Path, found: Audited) -> dict[str, object] | None:
    """Check the files of a folder of tables against its manifest; return what that says, None if it cannot be used."""
    try:
        manifest = read_manifest(folder, "make it again")
    except ValueError as error:
        found.add(folder / NAME, str(error))
        return None
    files = manifest["files"]
    found.num_files += len(files) + 1
    found.num_bytes += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    for name, what in changed(folder, manifest).items():
        path = folder / name
        columns = damaged_columns(path) if path.suffix == ".parquet" and path.is_file() else []
        for column in columns or [""]:
            found.add(path, what, column)
    return manifest


def check_table(path: Path, stated: str, found: Audited) -> bool:
    """Check a file of a table that stands by itself; return whether it has the digest that is stated."""
    if not path.is_file():
        found.add(path, "is missing")
        return False
    found.num_files += 1
    found.num_bytes += path.stat().st_size
    if digest(path) == stated:
        return True
    columns = damaged_columns(path)
    for column in columns or [""]:
        found.add(
            path,
            "it is damaged" if columns else "it was changed or made again since 'lartpc collect'",
            column,
        )
    return False


def damaged_columns(path: Path) -> list[str]:
    """Return the columns of a parquet file that cannot be read with the checksums of their pages."""
    bad: list[str] = []
    try:
        with reading_table(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
            for name in file.schema_arrow.names:
                try:
                    with reading_table(path):
                        for number in range(file.num_row_groups):
                            file.read_row_group(number, columns=[name], use_threads=False)
                except ValueError:
                    bad.append(name)
    except ValueError:
        return ["(its footer)"]
    return bad
