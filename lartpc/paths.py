"""What names of files a workflow can take, and the files that patterns and folders have. Standard library only."""

import glob
import os
from pathlib import Path

SPECIAL = "{}<>\n\r\0"
"""What no path of a workflow may hold: Snakemake puts wildcards in braces and folders in angle brackets, and lists
of files have a path in each line."""


def usable(path: str) -> str:
    """Return a path that Snakemake can take as it is.

    Raises
    ------
    ValueError
        It is empty, or has a character of `SPECIAL`.
    """
    if not path:
        raise ValueError("a path cannot be empty")
    if found := [character for character in SPECIAL if character in path]:
        raise ValueError(
            f"a path of a workflow cannot have {' '.join(map(repr, found))} in it; rename it, or use a link"
        )
    return path


def at_home(path: str) -> str:
    """Return a path with the home folder in the place of `~`, but as it is where a file has that name."""
    if not path.startswith("~") or Path(path).exists():
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:  # no user has that name
        return path


def named_by(pattern: str) -> list[str]:
    """Return what a pattern names, in order: `*`, `?`, `[...]` and `**`.

    Raises
    ------
    ValueError
        A folder that it leads to cannot be looked into, so that files would be left out; `glob` takes it for empty.
    """
    parts = pattern.split("/")
    wild = [number for number, part in enumerate(parts) if glob.has_magic(part)]
    for number in wild:
        above = "/".join(parts[:number])
        # what `**` leads to are the folders at any depth, those at the end among them
        ends = [f"{above}/" if above else "./"] + (
            [f"{above}/**/" if above else "**/"] * (parts[number] == "**")
        )
        for folder in (found for end in ends for found in glob.iglob(end, recursive=True)):
            try:
                os.scandir(folder).close()
            except OSError as error:
                raise ValueError(
                    f"{folder} cannot be looked into ({error.strerror}), and may have files that '{pattern}' names; "
                    "ask for access to it, or name the others"
                ) from error
    return sorted(glob.glob(pattern, recursive=True))


def files_in(folder: Path) -> list[Path]:
    """Return the files in a folder, at any depth, in order; none where it is not there.

    Raises
    ------
    OSError
        A folder in it cannot be looked into; `Path.rglob` takes it for empty.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    return sorted(
        path
        for above, _, names in os.walk(folder, onerror=refuse)
        for path in (Path(above, name) for name in names)
        if path.is_file()
    )
