"""What names of files a workflow can take. Standard library only."""

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
