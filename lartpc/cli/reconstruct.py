"""The verb that runs the whole chain on files."""

from pathlib import Path
from typing import Annotated

import typer

from lartpc.cli.app import app
from lartpc.cli.options import AsJson, ChosenEvents, FirstEvents, choice, plainly, print_json


@app.command()
@plainly
def reconstruct(
    files: Annotated[
        list[str],
        typer.Argument(help="Files of events of any format that is read, or patterns of them in quotes."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")],
    detector: Annotated[
        str | None, typer.Option(help="Detector (ingest.detector): generic, 2x2 or icarus.")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="STAGE=FILE, or a folder with files STAGE.pt; repeatable. Default: the released ones."
        ),
    ] = None,
    sample: Annotated[str, typer.Option(help="Name of the sample in the tables.")] = "given",
    truth: Annotated[
        bool, typer.Option("--truth", help="Compare with the truth that the files hold.")
    ] = False,
    events: ChosenEvents = None,
    first: FirstEvents = None,
    config_file: Annotated[
        list[Path] | None, typer.Option("--config", help="Settings of a production (YAML); repeatable.")
    ] = None,
    profile: Annotated[
        str, typer.Option(help="local, slurm, or the path of a profile of Snakemake.")
    ] = "local",
    workflow: Annotated[
        Path | None,
        typer.Option(help="Clone of lartpc; default: that of this package, or the working folder."),
    ] = None,
    cores: Annotated[
        int | None, typer.Option(min=1, help="Cores to use; default: those of the profile.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be done.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the whole chain on files: tables in OUT/dataset, a page of figures and pictures in OUT/report.html."""
    from lartpc.run.reconstruct import reconstruct as run

    status = run(
        files,
        out,
        sample=sample,
        detector=detector,
        weights=weights or (),
        has_truth=truth,
        events=choice(events, first),
        settings=config_file or (),
        profile=profile,
        workflow=workflow,
        said_to=2 if as_json else None,
        options=[*(["--cores", str(cores)] if cores else []), *(["--dry-run"] if dry_run else [])],
    )
    if status:
        raise typer.Exit(status)
    if as_json:
        made = {} if dry_run else {"tables": "dataset", "page": "report.html", "audit": "audit.json"}
        print_json({name: str(out / place) for name, place in made.items()})
    elif not dry_run:
        typer.echo(
            f"tables  {out / 'dataset'}/<table>, as pandas.read_parquet('{out / 'dataset' / 'particles'}')"
        )
