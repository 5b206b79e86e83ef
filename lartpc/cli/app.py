"""The program and its own options; the verbs register themselves with it."""

import atexit
import gc
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lartpc import __version__

# A job makes up to half a million objects when it imports, all to stay. Going through them again and again for
# unreachable cycles took a tenth of its start, and once more at its end a tenth.
gc.set_threshold(20_000, 50, 50)
atexit.register(gc.freeze)


class InOrder(TyperGroup):
    """List `simulate` first, where it stands in the chain; Typer lists verbs with subcommands last."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the verbs in the order of the help."""
        return sorted(super().list_commands(ctx), key=lambda name: name != "simulate")


app = typer.Typer(
    name="lartpc",
    cls=InOrder,
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
