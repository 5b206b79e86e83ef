"""The program and its own options; the verbs register themselves with it."""

import atexit
import errno
import gc
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lartpc import __version__
from lartpc.faults import EXIT_STATUS
from lartpc.last_words import drop

# A job makes up to half a million objects when it imports, all to stay. Going through them again and again for
# unreachable cycles took a tenth of its start, and once more at its end a tenth.
gc.set_threshold(20_000, 50, 50)
atexit.register(gc.freeze)


class Program(TyperGroup):
    """List `simulate` first, where it stands in the chain; Typer lists verbs with subcommands last.

    Where standard output goes to a full disk, that is said in one line, of `--help` and `--version`, too.
    """

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the program with the words of the command line."""
        try:
            try:
                return super().main(*args, **options)
            except SystemExit as end:
                if not end.code:
                    typer.echo(nl=False)
                raise
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            sys.stderr.write(f"lartpc: {error.strerror}; make room, and give the same command again\n")
            sys.exit(EXIT_STATUS)
        finally:
            try:
                typer.echo(nl=False)
            except OSError:  # it has been told
                drop(sys.stdout)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the verbs in the order of the help."""
        return sorted(super().list_commands(ctx), key=lambda name: name != "simulate")


app = typer.Typer(
    name="lartpc",
    cls=Program,
    help="Reconstruct liquid-argon TPC images with deep learning. Usually run through Snakemake; "
    "each verb can be run by hand on its files.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Handle the options that belong to no verb."""
    if version:
        typer.echo(f"lartpc {__version__}")
        raise typer.Exit
