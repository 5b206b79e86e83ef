"""Verbs about the machine, the folder and the configuration: doctor, plan, unlock, resources, config."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lartpc import config
from lartpc.cli.app import app
from lartpc.cli.options import AsJson, Out, plainly, print_json, print_page
from lartpc.text import text_of

config_app = typer.Typer(
    help="Show the configuration: its schema, or one step's slice.", no_args_is_help=True
)
app.add_typer(config_app, name="config")


@app.command()
@plainly
def doctor(as_json: AsJson = False) -> None:
    """Look at this machine: what would be used, and whether it works; exit status 1 where something does not."""
    from lartpc.run.doctor.doctor import doctor as run

    if not run(print_json if as_json else None):
        raise typer.Exit(1)


@app.command()
@plainly
def plan(
    sheets: Annotated[list[Path], typer.Argument(help="Sample sheets (.tsv).")],
    path: Annotated[list[str], typer.Option(help="Path to print for each shard; {shard} is sample/name.")],
    split: Annotated[list[str], typer.Option(help="Splits to list.")],
    out: Out,
    max_shards: Annotated[int, typer.Option(min=1, help="Most shards of a sample.")] = (
        config.Config().max_shards
    ),
) -> None:
    """List the files of a sample sheet's shards, for the verbs that take @FILE."""
    from lartpc.atomic import replacing
    from lartpc.plan import SPLITS
    from lartpc.plan import plan as run

    if unknown := [name for name in split if name not in SPLITS]:
        raise ValueError(f"split '{unknown[0]}' is none; the splits are {', '.join(SPLITS)}")
    if fixed := [one for one in path if "{shard}" not in one]:
        raise ValueError(f"path '{fixed[0]}' is the same for all shards; write {{shard}} where theirs differ")
    shards = [shard for shard in run(sheets, 0, max_shards) if shard.split in split]
    with replacing(out) as part:
        part.write_text("".join(f"{one.replace('{shard}', shard.key)}\n" for shard in shards for one in path))
    if not shards:
        typer.echo(
            f"{out}: empty, as no sample of {', '.join(map(str, sheets))} is for {' or '.join(split)}",
            err=True,
        )


@app.command()
@plainly
def unlock(
    results: Annotated[Path, typer.Argument(help="Folder of the results.")] = Path("results"),
    pid: Annotated[
        int | None,
        typer.Option(help="Process that is to become snakemake, to be recorded as the run at work."),
    ] = None,
) -> None:
    """Remove Snakemake's lock of a run that is proved to be dead; that of a live one stays, and this fails."""
    from lartpc import owner

    if not results.is_dir():
        what = "is a file" if results.exists() else "does not exist"
        raise ValueError(f"{results} {what}; name the folder of a production's results")
    if num := owner.unlock(results):
        typer.echo(f"lartpc unlock: {num} locks of a run that is dead were removed", err=True)
    elif pid is None:
        typer.echo(f"lartpc unlock: nothing is locked in {results}", err=True)
    if pid is not None:
        owner.Owner.of(pid, results).write()


@app.command()
@plainly
def resources(
    results: Annotated[Path, typer.Argument(help="Folder of the results of a production that has ended.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder to write profile.yaml to, for --workflow-profile.")
    ] = Path("learned"),
    num_events: Annotated[
        int | None, typer.Option(min=1, help="Events of a shard to come; default: of the largest one seen.")
    ] = None,
    safety: Annotated[float, typer.Option(min=1.0, help="Times the memory and time that were seen.")] = 1.5,
    sacct: Annotated[
        bool, typer.Option("--sacct", help="Ask SLURM's accounting, too, which knows the most of memory.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Learn from what the jobs of a production took what its rules should ask for: memory [MB] and time [min]."""
    from rich.console import Console
    from rich.table import Table

    from lartpc.run.report.outcome import located
    from lartpc.run.resources import ask_sacct, learn, read_jobs, with_accounting, write_overlay

    jobs = read_jobs(*located(results))
    if sacct:
        jobs = with_accounting(jobs, ask_sacct(), Path.cwd())
    needs = learn(jobs, num_events, safety)
    path = write_overlay(needs, out)
    where = f"{path}: for 'snakemake --workflow-profile {out}', or 'learned: {path}' in profiles/slurm"
    if as_json:
        print_json([asdict(one) for one in needs])
        typer.echo(where, err=True)
        return
    shown = Table("rule", "jobs", "hours", "CPU", "MB seen", "MB to ask", "min to ask")
    for one in needs:
        shown.add_row(
            one.rule + (" *" if one.is_shared else ""),
            str(one.num_jobs),
            f"{one.seconds / 3600:.2f}",
            "" if one.efficiency is None else f"{100 * one.efficiency:.0f} %",
            f"{one.memory_mb:.0f}",
            str(one.mem_mb),
            str(one.runtime),
        )
    Console().print(shown)
    if any(one.is_shared for one in needs):
        typer.echo(
            "* the jobs of a shard shared a process, so each rule asks for what the largest of them took; "
            "a run with 'snakemake --no-hooks', or on a cluster, tells them apart"
        )
    typer.echo(where)


@config_app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration."""
    typer.echo(config.json_schema(), nl=False)


@config_app.command()
def table(as_json: AsJson = False) -> None:
    """Print the page of all settings (Markdown)."""
    if as_json:
        print_page(config.markdown_table(), as_json)
    else:
        typer.echo(config.markdown_table(), nl=False)


@config_app.command(name="slice")
@plainly
def config_slice(
    step: Annotated[str, typer.Argument(help="Section of the configuration, such as points.")],
    file: Annotated[Path | None, typer.Option(help="Configuration (YAML); default: the defaults.")] = None,
    part: Annotated[str, typer.Option(help="train or infer.")] = "infer",
) -> None:
    """Print one step's slice of the configuration, as --config of its verb takes it."""
    import yaml
    from pydantic import ValidationError

    if step not in config.SECTIONS or part not in ("train", "infer"):
        raise ValueError(f"step must be one of {', '.join(config.SECTIONS)}, part train or infer")
    try:
        given = yaml.safe_load(text_of(file)) or {} if file else {}
        if not isinstance(given, dict):
            raise ValueError(
                f"{file}: holds {type(given).__name__}, and must have settings by name, 'key: value'"
            )
        values = config.Config.model_validate(given)
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: not YAML ({' '.join(str(error).split())})") from error
    except ValidationError as error:
        raise ValueError(f"{file}: {config.explain(error)}") from error
    print_json(values.slice_for(step, "train" if part == "train" else "infer"))
