"""What the verbs share: arguments and options of one meaning, lists of files, errors in one line."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from lartpc import config
from lartpc.extras import missing
from lartpc.faults import EXIT_STATUS, in_one_line, passes
from lartpc.stages import CHAIN, OPTIONAL, upstream_of
from lartpc.steady import watching
from lartpc.text import refuse_special, text_of

LOOK_THEMSELVES = ("train", "reconstruct", "view", "publish", "collect")
"""Verbs that work for long or read thousands of files: they know by digests, or look once, whether one is another."""

ONCE = (".json", ".yaml", ".yml", ".tsv", ".txt")
"""Endings of settings and lists, which are read once, whole, at the start."""

WRITTEN = ("out", "log", "png", "svg", "as_json")
"""Arguments of verbs that name what is written; and `metrics`, where it is one file and not a list of them."""

WHOLE_CHAIN = "chain"
"""What `infer` takes in the place of a stage: all of the chain, one after another."""

P = ParamSpec("P")
R = TypeVar("R")


def plainly(verb: Callable[P, R]) -> Callable[P, R]:
    """Turn a user's error into one line and exit status 2, and a fault that passes into one and status 74.

    That a package is missing which an extra brings is a user's error, too. So is a pipe or a device in the place of a
    file that is read. A file that is replaced while it is read is a fault that passes.
    """
    name = verb.__name__.replace("_", " ")

    @wraps(verb)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            _refuse_special(kwargs)
            read = _refuse_own_inputs(kwargs)
            with watching(() if name in LOOK_THEMSELVES else read):
                return verb(*args, **kwargs)
        except Exception as error:
            said = missing(error, name.partition(" ")[0])
            if isinstance(error, FileNotFoundError) and error.filename is not None:
                said = f"{error.filename} does not exist"
            if isinstance(error, IsADirectoryError) and error.filename is not None:
                said = f"{error.filename} is a folder; name a file in it"
            if said or isinstance(error, ValueError):
                typer.echo(f"lartpc {name}: {said or error}", err=True)
                raise typer.Exit(2) from error
            if not passes(error):
                raise
            remedy = "of this machine at this moment; when it is mended, the same command goes on"
            if isinstance(error, PermissionError):
                remedy = "ask for access to it; then the same command goes on"
            typer.echo(f"lartpc {name}: {in_one_line(error)} ({remedy})", err=True)
            raise typer.Exit(EXIT_STATUS) from error

    return wrapped


def _refuse_special(arguments: Mapping[str, object]) -> None:
    for name, value in arguments.items():
        if name not in WRITTEN:
            for one in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(one, Path) or (isinstance(one, str) and isinstance(value, (list, tuple))):
                    refuse_special(Path(one))


def _refuse_own_inputs(arguments: Mapping[str, object]) -> list[Path]:
    """Return what is read of files and folders, but settings and lists.

    Raises
    ------
    ValueError
        A file is to be written in the place of one that is read, or two to the same place.
    """
    written: dict[str, Path] = {}
    read: list[Path] = []
    for name, value in arguments.items():
        if isinstance(value, Path) and (name in WRITTEN or name == "metrics"):
            option = name.removeprefix("as_")
            for other, path in written.items():
                if _is_same(path, value):
                    raise ValueError(f"--{other} and --{option} are both {value}; name two files")
            written[option] = value
        elif isinstance(value, Path):
            read.append(value)
        elif isinstance(value, (list, tuple)):
            # a word that is no path, of a list or what stands before a file, is none that is there
            read += [one if isinstance(one, Path) else Path(str(one).removeprefix("@")) for one in value]
            read += [path for one in value for path in _listed(str(one))]
            read += [Path(str(one).partition("=")[2]) for one in value if "=" in str(one)]
    there = {name: path for name, path in written.items() if path.is_file()}
    for name, path in there.items():
        if any(_is_same(path, one) for one in read):
            raise ValueError(f"--{name} {path} is a file that is read here, and would be lost; name another")
    return [path for path in dict.fromkeys(read) if path.suffix.lower() not in ONCE]


def _listed(word: str) -> list[Path]:
    """Return the paths in a list that `@` stands before; none where it is no list, which whoever reads it says."""
    try:
        return expand([word]) if word.startswith("@") else []
    except (ValueError, OSError):
        return []


def _is_same(first: Path, second: Path) -> bool:
    try:
        return first.absolute() == second.absolute() or first.samefile(second)
    except (OSError, ValueError):
        return False


def print_json(value: Any) -> None:
    """Print what a verb found, for programs: JSON alone on standard output, for which it has `--json`."""
    typer.echo(json.dumps(value, indent=1, allow_nan=False))


def print_page(page: str, as_json: bool) -> None:
    """Print a page of figures, Markdown as it is or its tables as JSON."""
    if as_json:
        from lartpc.tables.markdown import page_as_data

        print_json(page_as_data(page))
    else:
        typer.echo(page)


def is_given(context: typer.Context, name: str) -> bool:
    """Tell whether the user gave an option, rather than its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def expand(paths: Sequence[str]) -> list[Path]:
    """Replace each `@file` by the paths that the file lists, one a line."""
    found: list[Path] = []
    for path in paths:
        if path.startswith("@"):
            listing = Path(path[1:])
            if not listing.is_file():
                raise ValueError(f"list of files {listing} does not exist")
            found += [Path(line) for line in text_of(listing).split("\n") if line]
        else:
            found.append(Path(path))
    return found


def lines_of(word: str) -> list[str]:
    """Return a word, or the lines of the file that `@` stands before."""
    if not word.startswith("@"):
        return [word]
    if not Path(word[1:]).is_file():
        raise ValueError(f"the list {word[1:]} does not exist")
    return [line for line in text_of(Path(word[1:])).split("\n") if line and not line.startswith("#")]


def settings_of(step: str, path: Path | None, files: Sequence[Path] = ()) -> Any:
    """Return the settings of a step: those of a file, or the defaults, which a production has, too.

    Standard error says where the settings of a production are in whose folder the files lie, if it has others.
    """
    section = config.load_section(step, path)
    for folder in dict.fromkeys(parent for file in files for parent in file.absolute().parents if not path):
        own = folder / "config" / f"{step}.infer.json"
        if own.is_file():
            theirs = config.load_section(step, own)
            if config.slice_of(theirs, "infer") != config.slice_of(section, "infer"):
                typer.echo(
                    f"warning: {step} runs with the defaults, and the production in {folder} has other settings; they "
                    f"come with --config {own}",
                    err=True,
                )
            break
    return section


def what_stages_read() -> str:
    """Return, for the help, the files that each stage takes."""
    lines = [
        f"{row.name}: {', '.join(['ingest', *(other.name for other in upstream_of(row))])}"
        f"{' and its weights' if row.learned else ''}; writes {', '.join(row.writes)}"
        for row in CHAIN
    ]
    for row in OPTIONAL:
        also = ", ".join(other.name for other in upstream_of(row))
        wanted = f"; {also} where interactions are wanted, too" if also else ""
        lines.append(f"{row.name}: ingest, and its weights{wanted}; writes {', '.join(row.writes)}")
    return "Files that each stage takes:\n\n" + "\n\n".join(lines)


def choice(events: str | None, first: int | None) -> str:
    """Return which events --events or --first ask for, as a sample sheet would say it; "" for all."""
    if events and first:
        raise ValueError("takes --first or --events; 'first N' may stand among the events, too")
    return f"first {first}" if first else events or ""


EventFiles = Annotated[
    list[str],
    typer.Argument(
        help="Event files (.h5), those of one shard are overlaid; @FILE names a list, one path a line."
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print it as JSON; all else that is said goes to standard error.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write; it appears when it is complete.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="The step's settings (JSON); default: those of a production without its own.",
    ),
]
StageName = Annotated[str, typer.Argument(help=" or ".join(row.name for row in (*CHAIN, *OPTIONAL)) + ".")]
StageOrChain = Annotated[
    str,
    typer.Argument(
        help=f"{', '.join(row.name for row in (*CHAIN, *OPTIONAL))}, or {WHOLE_CHAIN}: "
        f"{', '.join(row.name for row in CHAIN)} one after another, on the file of ingest."
    ),
]
ChosenEvents = Annotated[
    str | None,
    typer.Option(
        "--events",
        help="Events to read, no others: entries of each file from 0 (0-99, 7), run/subrun/event (1/0/7, 1/0/5-9, "
        "1/*/*), several between commas, or @FILE with a list of them.",
    ),
]
FirstEvents = Annotated[
    int | None, typer.Option("--first", min=1, help="Read the first N events of each file.")
]
OnTruth = Annotated[
    bool, typer.Option("--on-truth", help="Replace the output of earlier stages by the truth.")
]
Chain = Annotated[
    Path | None,
    typer.Option(
        help="Plan of a run of Snakemake: take what an earlier job of the shard left ready, and go on with the jobs "
        "that follow."
    ),
]
