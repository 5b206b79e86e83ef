"""What names of files a workflow can take. Standard library only."""

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
