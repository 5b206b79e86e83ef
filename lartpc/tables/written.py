"""Tables of a dataset, read as they were written: first each file is compared with the digest in the manifest.

Parquet's own checksums are of pages alone, and readers do not ask for them; a changed byte elsewhere, as in the least
and largest values that filters go by, would give other rows without a word.
"""

from functools import lru_cache
from pathlib import Path

from lartpc.tables.manifest import NAME, changed, read_manifest
from lartpc.tables.scenarios import scenario_of, table_folder

_REMEDY = "run 'lartpc collect' again"


def written_table(dataset: Path, table: str) -> Path:
    """Return the folder of a table of a dataset, or of the scenario that the path names, all files of which are sound.

    A dataset of an older version, without a manifest, is taken as it is.

    Raises
    ------
    ValueError
        A file of the table, or the manifest, is damaged, or a file is missing.
    """
    folder, root = table_folder(dataset, table), scenario_of(dataset)[0]
    if (root / NAME).is_file() and folder.is_dir():
        files = sorted(path for path in (root / NAME, *folder.rglob("*")) if path.is_file())
        states = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files)
        for name, what in _changed(root, folder, states).items():
            raise ValueError(f"{root / name}: {what}; {_REMEDY}")
    return folder


@lru_cache(maxsize=256)
def _changed(root: Path, folder: Path, states: tuple[tuple[str, int, int], ...]) -> dict[str, str]:
    """Return what `changed` does, once for files that stay as they are."""
    return changed(root, read_manifest(root, _REMEDY), folder)
