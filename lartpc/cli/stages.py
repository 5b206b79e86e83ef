"""Verbs of the stages: training, and a stage over the events of a shard."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lartpc import config
from lartpc.cli.app import app
from lartpc.cli.options import (
    WHOLE_CHAIN,
    Chain,
    ConfigFile,
    EventFiles,
    OnTruth,
    Out,
    StageName,
    StageOrChain,
    expand,
    plainly,
    settings_of,
    what_stages_read,
)


@app.command()
@plainly
def train(
    stage: StageName,
    events: EventFiles,
    out: Out,
    validation: Annotated[
        list[str], typer.Option(help="Event files of the validation split; repeatable, or @FILE.")
    ],
    log: Annotated[Path, typer.Option(help="Training curve to write (JSON lines).")],
    config_file: ConfigFile = None,
    ranks: Annotated[
        int | None, typer.Option(min=1, help="MPI ranks expected; fewer found is an error.")
    ] = None,
) -> None:
    """Train a stage; under mpiexec or srun, on all ranks together."""
    from lartpc.run.training.train import train as run
    from lartpc.stages import stage as row_of

    section = config.load_section(row_of(stage).name, config_file)
    run(row_of(stage), expand(events), expand(validation), section, out=out, log=log, num_ranks=ranks)


@app.command(epilog=what_stages_read())
@plainly
def infer(
    stage: StageOrChain,
    events: EventFiles,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="File to write; it appears when it is complete. Of chain: a folder, for STAGE.h5 of each stage and "
            "tables.",
        ),
    ],
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="The step's settings (JSON); default: those of a production without its own. Of chain: a folder with "
            "STAGE.infer.json of each stage and of summarize, as the config of results.",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Weights of a learned stage. Of chain: a folder with STAGE.pt, as models."),
    ] = None,
    on_truth: OnTruth = False,
    chain: Chain = None,
) -> None:
    """Run a stage over the events of one shard, or the chain and its tables (`infer chain INGEST`) in one process.

    The files of chain are those of the single stages, and the folder `tables` is that of summarize. What is there,
    whole, and of the same events, settings, weights and versions is kept, so that the same command goes on after an
    interruption.
    """
    if stage == WHOLE_CHAIN:
        _infer_chain(expand(events), out, config_file, weights, is_single=on_truth or chain is not None)
        return
    from lartpc.run.chain import go_on, stage_origin, take
    from lartpc.stages import stage as row_of

    row, files = row_of(stage), expand(events)
    section = settings_of(row.name, config_file, files)
    if chain and take(out, lambda: stage_origin(row, files, section, weights, on_truth)):
        return
    # only now: what lies ready is taken without waiting for it
    from lartpc.run.infer import infer as run

    summary = run(row, files, section, out=out, weights=weights, on_truth=on_truth)
    typer.echo(f"{out}: {summary}", err=True)
    if chain:
        go_on(chain, out)


def _infer_chain(
    files: list[Path], out: Path, config_file: Path | None, weights: Path | None, *, is_single: bool
) -> None:
    from lartpc.run.chain import jobs_after, stages_for, work_through

    if is_single:
        raise ValueError("--on-truth and --chain are of single stages; leave them out")
    if len(files) != 1:
        raise ValueError(f"chain takes one file of 'lartpc ingest', and was given {len(files)}")
    if config_file and not config_file.is_dir():
        raise ValueError(
            f"{config_file} is no folder; chain takes one with STAGE.infer.json of each stage and of summarize"
        )

    def settings(step: str) -> Any:
        return settings_of(step, config_file and config_file / f"{step}.infer.json", files)

    sections = {row.name: settings(row.name) for row in stages_for(files[0])}
    for job, summary in work_through(jobs_after(files[0], out, sections, settings("summarize"), weights)):
        typer.echo(f"{job.out}: {summary or 'there already, of the same input and settings; kept'}", err=True)


@app.command()
@plainly
def backproject(
    points: Annotated[
        Path, typer.Argument(help="Points of wire planes: of 'lartpc ingest', wires.space_points.")
    ],
    images: Annotated[
        list[str],
        typer.Option(help="The planes' images and what 'segment' made of them; repeatable, or @FILE."),
    ],
    out: Out,
    ghosts: Annotated[
        list[Path] | None,
        typer.Option(
            help="Weights of a 'segment' of 3D points that tells ghosts, or of 'flow'; repeatable: their logits are "
            "added; default: their charge tells them."
        ),
    ] = None,
    config_file: ConfigFile = None,
    chain: Chain = None,
) -> None:
    """Give 3D points of wire planes the classes of the planes' pixels, in the place of 'segment'."""
    from lartpc.run.backproject import backproject as run

    files = expand(images)
    section = settings_of("segment", config_file, [points])
    summary = run(points, files, section, out=out, ghosts=ghosts or ())
    typer.echo(f"{out}: {summary}", err=True)
    if chain:
        from lartpc.run.chain import go_on

        go_on(chain, out)


@app.command(name="export-model")
@plainly
def export_model(
    weights: Annotated[
        Path,
        typer.Argument(help="Weights of 'lartpc train' of segment, cluster or interact, or released ones."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Program to write: .ts TorchScript, .pt2 ExportedProgram, .onnx ONNX."
        ),
    ],
) -> None:
    """Write a network as a program that torch or ONNX runs without lartpc.

    That of segment takes voxels and energies [MeV] and gives scores of classes and points; those of cluster and
    interact take graphs of clusters with their features. docs/how-to/deployment.md has all of it.
    """
    from lartpc.run.export.model import export_model as run

    typer.echo(f"{out}: {run(weights, out)}", err=True)
