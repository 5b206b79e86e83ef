"""The command line: one verb per kind of work, the same flags for every stage."""

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

import typer
from typer.core import TyperGroup

from lartpc import __version__, config
from lartpc.stages import CHAIN, upstream_of


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
config_app = typer.Typer(
    help="Show the configuration: its schema, or one step's slice.", no_args_is_help=True
)
app.add_typer(config_app, name="config")
clustering_app = typer.Typer(
    help="Measure how well fragments become particles, by the network and by simpler ways.",
    no_args_is_help=True,
)
app.add_typer(clustering_app, name="clustering")
simulate_app = typer.Typer()
app.add_typer(simulate_app, name="simulate")

P = ParamSpec("P")
R = TypeVar("R")


def _plainly(verb: Callable[P, R]) -> Callable[P, R]:
    """Turn a user's error into one line and exit status 2."""

    @wraps(verb)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return verb(*args, **kwargs)
        except ValueError as error:
            typer.echo(f"lartpc {verb.__name__.replace('_', ' ')}: {error}", err=True)
            raise typer.Exit(2) from error

    return wrapped


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _expand(paths: Sequence[str]) -> list[Path]:
    """Replace each `@file` by the paths that the file lists, one a line."""
    found: list[Path] = []
    for path in paths:
        if path.startswith("@"):
            listing = Path(path[1:])
            if not listing.is_file():
                raise ValueError(f"list of files {listing} does not exist")
            found += [Path(line) for line in listing.read_text().split("\n") if line]
        else:
            found.append(Path(path))
    return found


def _what_stages_read() -> str:
    """Return, for the help, the files that each stage takes."""
    lines = [
        f"{row.name}: {', '.join(['ingest', *(other.name for other in upstream_of(row))])}"
        f"{' and its weights' if row.learned else ''}; writes {', '.join(row.writes)}"
        for row in CHAIN
    ]
    return "Files that each stage takes:\n\n" + "\n\n".join(lines)


EventFiles = Annotated[
    list[str],
    typer.Argument(
        help="Event files (.h5), those of one shard are overlaid; @FILE names a list, one path a line."
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write; it appears when it is complete.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="The step's slice of the configuration (JSON); default: its defaults."),
]
StageName = Annotated[str, typer.Argument(help="segment, points, cluster or interact.")]
OnTruth = Annotated[
    bool, typer.Option("--on-truth", help="Replace the output of earlier stages by the truth.")
]


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Handle the options that belong to no verb."""
    if version:
        typer.echo(f"lartpc {__version__}")
        raise typer.Exit


@simulate_app.callback(invoke_without_command=True)
@_plainly
def simulate(
    context: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File of steps to write, required; it appears when it is complete."),
    ] = None,
    num_events: Annotated[int, typer.Option(min=1, help="Events to simulate.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed; the same seed gives the same events.")] = 1,
    config_file: ConfigFile = None,
    log: Annotated[Path | None, typer.Option(help="Where Geant4's own output goes.")] = None,
) -> None:
    """Simulate events with Geant4: energy-depositing steps and trajectories (mm, MeV, ns)."""
    if subcommand := context.invoked_subcommand:
        if given := [name for name in context.params if _is_given(context, name)]:
            raise ValueError(f"--{given[0].replace('_', '-')} goes behind {subcommand}")
        return
    if out is None:
        raise ValueError("needs --out, the file of steps to write")
    from lartpc.run.simulate import simulate as run

    section = config.load_section("simulate", config_file)
    run(section, num_events=num_events, seed=seed, out=out, log=log)


@simulate_app.command(name="validate")
@_plainly
def simulate_validate(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for validation.json and validation.html.")
    ] = Path("validation"),
    precision: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=20,
            help="Statistical error aimed at for the shower figures [%]; the number of events goes with "
            "its inverse square. 1 takes some 7 minutes of one core, 3 takes 1.",
        ),
    ] = 1.0,
    num_processes: Annotated[
        int | None, typer.Option(min=1, help="Geant4 processes at a time; default: the processors.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed; the same seed gives the same figures.")] = 1,
    config_file: ConfigFile = None,
) -> None:
    """Measure the simulation against published values.

    Ranges of muons and protons (cm), dE/dx (MeV/cm), Michel spectrum (MeV), electron showers (cm) and the
    material, with the production cut and the step of the configuration. Writes a table and a page of plots.
    """
    from lartpc.run.validate import default_processes
    from lartpc.run.validate import validate as run

    section = config.load_section("simulate", config_file)
    num_processes = num_processes or default_processes()
    run(section, out, precision_percent=precision, seed=seed, num_processes=num_processes)


@app.command()
@_plainly
def ingest(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Files of steps or voxels, of one format, which is found by their content; their events "
            "are joined. @FILE names a list."
        ),
    ],
    out: Out,
    config_file: ConfigFile = None,
    uid: Annotated[
        str | None, typer.Option(help="Unique name of the file; default: digest of the content.")
    ] = None,
) -> None:
    """Turn steps into voxels, with truth labels where the source has truth."""
    from lartpc.run.ingest import ingest as run

    section = config.load_section("ingest", config_file)
    summary = run(_expand(sources), section, out=out, file_uid=uid)
    typer.echo(f"{out}: {summary}", err=True)


@app.command()
@_plainly
def export(
    events: Annotated[
        list[str], typer.Argument(help="Files of 'lartpc ingest', of any shards; @FILE names a list.")
    ],
    out: Out,
    to: Annotated[
        Literal["pilarnet-m-v1", "pilarnet-m-v2"],
        typer.Option(help="Format: PILArNet-M, revision 1, or 2 with species, momenta [MeV/c] and vertices."),
    ] = "pilarnet-m-v2",
) -> None:
    """Write events with truth as PILArNet-M (HDF5), for others to train on and compare.

    Coordinates are voxels of 768 per side, energies MeV. The number of voxels of each event goes to a file
    *_points.npy beside it, as the public loaders expect.
    """
    from lartpc.run.export import export as run

    typer.echo(f"{out}: {run(_expand(events), out, to=to)}", err=True)


@app.command()
@_plainly
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
    from lartpc.run.train import train as run
    from lartpc.stages import stage as row_of

    section = config.load_section(row_of(stage).name, config_file)
    run(row_of(stage), _expand(events), _expand(validation), section, out=out, log=log, num_ranks=ranks)


@app.command(epilog=_what_stages_read())
@_plainly
def infer(
    stage: StageName,
    events: EventFiles,
    out: Out,
    config_file: ConfigFile = None,
    weights: Annotated[Path | None, typer.Option(help="Weights of a learned stage.")] = None,
    on_truth: OnTruth = False,
) -> None:
    """Run a stage over the events of one shard."""
    from lartpc.run.infer import infer as run
    from lartpc.stages import stage as row_of

    section = config.load_section(row_of(stage).name, config_file)
    summary = run(row_of(stage), _expand(events), section, out=out, weights=weights, on_truth=on_truth)
    typer.echo(f"{out}: {summary}", err=True)


@app.command()
@_plainly
def summarize(
    events: EventFiles,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the shard's tables.")],
    config_file: ConfigFile = None,
) -> None:
    """Write the tables of one shard (parquet)."""
    from lartpc import config
    from lartpc.run.summarize import summarize as run

    section = config.load_section("summarize", config_file)
    typer.echo(f"{out}: {run(_expand(events), out, section)}", err=True)


@app.command()
@_plainly
def evaluate(events: EventFiles, out: Out, config_file: ConfigFile = None, on_truth: OnTruth = False) -> None:
    """Compare one shard with its truth, event by event (parquet). --config is that of summarize: energies (MeV)."""
    from lartpc.run.evaluate import evaluate as run

    section = config.load_section("summarize", config_file)
    run(_expand(events), out, section, input_label="truth" if on_truth else "predicted")


@app.command()
@_plainly
def collect(
    tables: Annotated[list[str], typer.Argument(help="Folders of shards' tables; @FILE names a list.")],
    metrics: Annotated[list[str], typer.Option(help="Files of 'lartpc evaluate'; repeatable, or @FILE.")],
    ingested: Annotated[
        list[str], typer.Option(help="Event files of 'lartpc ingest', to count by; repeatable, or @FILE.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the dataset.")],
    num_workers: Annotated[int, typer.Option(min=1, help="Threads (dask).")] = 1,
) -> None:
    """Join the tables of all shards into one dataset, and check that nothing is lost."""
    from lartpc.run.collect import collect as run

    run(_expand(tables), _expand(metrics), _expand(ingested), out, num_workers=num_workers)


@app.command()
@_plainly
def report(
    dataset: Annotated[Path, typer.Argument(help="Folder that 'lartpc collect' wrote.")],
    out: Out,
    events: Annotated[
        list[str] | None, typer.Option(help="Event files to draw events from; repeatable, or @FILE.")
    ] = None,
    curve: Annotated[list[Path] | None, typer.Option(help="Training curve of a stage (JSON lines).")] = None,
    event_path: Annotated[
        str | None,
        typer.Option(
            help="Where the event files of any shard are, with {step} and {shard} in it: draws the worst events."
        ),
    ] = None,
    config_file: ConfigFile = None,
) -> None:
    """Make the page of figures and pictures: one HTML file that needs no network."""
    from lartpc.run.report import report as run

    section = config.load_section("report", config_file)
    run(dataset, _expand(events or []), curve or [], out, section, event_path)


@app.command()
@_plainly
def show(results: Annotated[Path, typer.Argument(help="Folder of the results.")] = Path("results")) -> None:
    """Print the figures of a production and where its tables and its page are."""
    from lartpc.run.report import show as run

    run(results)


@app.command()
@_plainly
def release(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the released weights and their card.")],
    weights: Annotated[
        list[Path] | None, typer.Argument(help="Weights that 'lartpc train' wrote, one file a stage.")
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(
            help="Folder that 'lartpc collect' wrote: figures of the released weights, for the card."
        ),
    ] = None,
) -> None:
    """Write weights in half precision, and the card that says what they are and how good.

    First with the weights; then, when a production with them gave its figures, again with --dataset alone.
    """
    from lartpc.run.release import release as run
    from lartpc.run.release import write_card

    for path in run(weights or [], out):
        typer.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB", err=True)
    typer.echo(f"{write_card(out, dataset)}: written", err=True)


@app.command()
def doctor() -> None:
    """Look at this machine: what would be used, and whether it works."""
    from lartpc.run.doctor import doctor as run

    if not run():
        raise typer.Exit(1)


@app.command()
@_plainly
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
    from lartpc.plan import plan as run

    shards = [shard for shard in run(sheets, 0, max_shards) if shard.split in split]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(f"{one.format(shard=shard.key)}\n" for shard in shards for one in path))


@clustering_app.command(name="measure")
@_plainly
def clustering_measure(
    events: EventFiles,
    out: Out,
    weights: Annotated[Path, typer.Option(help="Weights of cluster.")],
    config_file: ConfigFile = None,
    on_truth: OnTruth = False,
) -> None:
    """Measure one shard: a row (parquet) per event, class, and way from fragments to particles."""
    from lartpc.run.clustering import measure as run

    section = config.load_section("cluster", config_file)
    num = run(_expand(events), section, weights=weights, out=out, on_truth=on_truth)
    typer.echo(f"{out}: {num} events", err=True)


@clustering_app.command(name="table")
@_plainly
def clustering_table(
    measured: Annotated[
        list[str], typer.Argument(help="Files of 'lartpc clustering measure'; @FILE names a list.")
    ],
    out: Out,
) -> None:
    """Pool the figures of all shards (Markdown) and print them."""
    from lartpc.run.clustering import table as run

    typer.echo(run(_expand(measured), out))


@app.command()
@_plainly
def interactions(
    graph: Annotated[
        list[str],
        typer.Option(help="Files of 'lartpc evaluate', interactions by the network; repeatable, or @FILE."),
    ],
    meetings: Annotated[
        list[str], typer.Option(help="The same, interactions by rules; repeatable, or @FILE.")
    ],
    out: Out,
) -> None:
    """Pool the figures of interactions by the network and by rules side by side (Markdown), and print them."""
    from lartpc.run.quality import interactions_table

    typer.echo(interactions_table({"graph": _expand(graph), "meetings": _expand(meetings)}, out))


@config_app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration."""
    typer.echo(config.json_schema(), nl=False)


@config_app.command()
def table() -> None:
    """Print the page of all settings."""
    typer.echo(config.markdown_table(), nl=False)


@config_app.command(name="slice")
@_plainly
def config_slice(
    step: Annotated[str, typer.Argument(help="Section of the configuration, such as points.")],
    file: Annotated[Path | None, typer.Option(help="Configuration (YAML); default: the defaults.")] = None,
    part: Annotated[str, typer.Option(help="train or infer.")] = "infer",
) -> None:
    """Print one step's slice of the configuration, as --config of its verb takes it."""
    import json

    import yaml
    from pydantic import ValidationError

    if step not in config.SECTIONS or part not in ("train", "infer"):
        raise ValueError(f"step must be one of {', '.join(config.SECTIONS)}, part train or infer")
    try:
        values = config.Config.model_validate(yaml.safe_load(file.read_text()) or {} if file else {})
    except ValidationError as error:
        raise ValueError(f"{file}: {config.explain(error)}") from error
    typer.echo(json.dumps(values.slice_for(step, "train" if part == "train" else "infer"), indent=2))
