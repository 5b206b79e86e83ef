"""Verbs that measure the networks: released weights with their card, and ways side by side."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lartpc import config
from lartpc.cli.app import app
from lartpc.cli.options import (
    AsJson,
    ConfigFile,
    EventFiles,
    OnTruth,
    Out,
    expand,
    plainly,
    print_json,
    print_page,
)

clustering_app = typer.Typer(
    help="Measure how well fragments become particles, by the network and by simpler ways.",
    no_args_is_help=True,
)
app.add_typer(clustering_app, name="clustering")

quality_app = typer.Typer(
    help="Measure where the chain loses, by putting the truth in for one part of it at a time.",
    no_args_is_help=True,
)
app.add_typer(quality_app, name="quality")


@app.command()
@plainly
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
    detections: Annotated[
        Path | None,
        typer.Option(
            help="Page of 'lartpc detections' that was made with the released weights, for the card."
        ),
    ] = None,
    events: Annotated[
        list[str] | None,
        typer.Option(
            help="Event files like those of the training, to measure the weights' domain from where they do not "
            "state it; repeatable, or @FILE."
        ),
    ] = None,
    generator: Annotated[str, typer.Option(help="What made these events, where they do not state it.")] = "",
) -> None:
    """Write weights in half precision, and the card that says what they are, for what events and how good.

    First with the weights; then, when a production with them gave its figures, again with --dataset alone.
    Released weights given again keep their numbers, and their card its figures.
    """
    from lartpc.run.release import release as run
    from lartpc.run.release import write_card

    if dataset and detections:
        raise ValueError("--dataset and --detections are figures of different weights; give one of them")
    if not (weights or dataset or detections):
        raise ValueError(
            "nothing to do: name weights to release, or with --dataset the figures of released ones"
        )
    written = run(weights or [], out, events=expand(events or []), generator=generator)
    for path in written:
        typer.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB", err=True)
    same = bool(written) and all(written.values())
    typer.echo(f"{write_card(out, dataset, same_numbers=same, detections=detections)}: written", err=True)


@app.command()
@plainly
def average(
    weights: Annotated[
        list[Path], typer.Argument(help="Weights of one network that were trained further from each other.")
    ],
    out: Out,
) -> None:
    """Write the mean of several weights of one network: often better than each of them."""
    from lartpc.run.average import average as run

    run(weights, out)
    typer.echo(f"{out}: mean of {len(weights)} weights", err=True)


@clustering_app.command(name="measure")
@plainly
def clustering_measure(
    events: EventFiles,
    out: Out,
    weights: Annotated[Path, typer.Option(help="Weights of cluster.")],
    config_file: ConfigFile = None,
    on_truth: OnTruth = False,
) -> None:
    """Measure one shard: a row (parquet) per event, class, and way from fragments to particles."""
    from lartpc.run.quality.clustering import measure as run

    section = config.load_section("cluster", config_file)
    num = run(expand(events), section, weights=weights, out=out, on_truth=on_truth)
    typer.echo(f"{out}: {num} events", err=True)


@clustering_app.command(name="table")
@plainly
def clustering_table(
    measured: Annotated[
        list[str], typer.Argument(help="Files of 'lartpc clustering measure'; @FILE names a list.")
    ],
    out: Out,
    as_json: AsJson = False,
) -> None:
    """Pool the figures of all shards (Markdown) and print them."""
    from lartpc.run.quality.clustering import table as run

    print_page(run(expand(measured), out), as_json)


@app.command()
@plainly
def interactions(
    graph: Annotated[
        list[str],
        typer.Option(help="Files of 'lartpc evaluate', interactions by the network; repeatable, or @FILE."),
    ],
    rules: Annotated[list[str], typer.Option(help="The same, interactions by rules; repeatable, or @FILE.")],
    out: Out,
    as_json: AsJson = False,
) -> None:
    """Pool the figures of interactions by the network and by rules side by side (Markdown), and print them."""
    from lartpc.run.report.interactions import interactions_table

    measured = {"graph": expand(graph), "rules": expand(rules)}
    print_page(interactions_table(measured, out), as_json)


@app.command()
@plainly
def neutrinos(
    dataset: Annotated[Path, typer.Argument(help="Folder of tables that 'lartpc collect' wrote.")],
    out: Out,
    as_json: AsJson = False,
) -> None:
    """Compare neutrinos with what was made of them: flavour, final state, vertex, energies (Markdown); print it."""
    from lartpc.run.report.neutrinos import neutrinos_table

    print_page(neutrinos_table(dataset, out), as_json)


@app.command()
@plainly
def explain(
    events: EventFiles,
    weights: Annotated[Path, typer.Option(help="Weights of segment.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for explain.json and explain.png.")],
    entry: Annotated[list[int] | None, typer.Option(help="Entry of an event; repeatable.")] = None,
    num_events: Annotated[int, typer.Option(min=1, help="Without --entry: so many events, the first.")] = 1,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Mask parts of events, segment the rest again, and chart how scores change."""
    from lartpc.run.explain import explain as run

    section = config.load_section("segment", config_file)
    rows = run(expand(events), section, weights, out, entries=entry or (), num_events=num_events)
    if as_json:
        print_json(json.loads((out / "explain.json").read_text()))
    typer.echo(f"{out}: {len(rows)} rows of changes, and a figure", err=True)


def _settings(stage: str) -> Any:
    return typer.Option(f"--{stage}", help=f"Settings of {stage} (JSON); left out: the default ones.")


@quality_app.command(name="measure")
@plainly
def quality_measure(
    events: EventFiles,
    out: Out,
    cluster_weights: Annotated[Path, typer.Option(help="Weights of cluster.")],
    interact_weights: Annotated[
        Path | None, typer.Option(help="Weights of interact; none where its interactions are made by rules.")
    ] = None,
    points: Annotated[Path | None, _settings("points")] = None,
    cluster: Annotated[Path | None, _settings("cluster")] = None,
    interact: Annotated[Path | None, _settings("interact")] = None,
    num_events: Annotated[
        int | None, typer.Option(min=1, help="Only the first events of the shard; left out: all.")
    ] = None,
) -> None:
    """Measure one shard (files of ingest and segment): a row (parquet) per event and part with the truth in it."""
    from lartpc.run.quality.budget import Networks
    from lartpc.run.quality.budget import measure as run

    files = {"points": points, "cluster": cluster, "interact": interact}
    sections = {name: config.load_section(name, file) for name, file in files.items()}
    networks = Networks.load(**sections, cluster_weights=cluster_weights, interact_weights=interact_weights)
    num = run(expand(events), networks, out, num_events=num_events)
    typer.echo(f"{out}: {num} events", err=True)


@quality_app.command(name="budget")
@plainly
def quality_budget(
    measured: Annotated[
        list[str], typer.Argument(help="Files of 'lartpc quality measure'; @FILE names a list.")
    ],
    out: Out,
    as_json: AsJson = False,
) -> None:
    """Pool the figures of all shards into the table of what the truth in each part brings (Markdown), and print it."""
    from lartpc.run.quality.budget import table as run

    print_page(run(expand(measured), out), as_json)


@app.command()
@plainly
def michels(
    datasets: Annotated[
        list[str],
        typer.Argument(help="NAME=FOLDER, or FOLDER, that 'lartpc collect' wrote; several are compared."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for michels.md, michels.json, michels.png.")
    ],
    as_json: AsJson = False,
) -> None:
    """Select Michel electrons, fit their spectrum, and state purities and efficiencies, of datasets side by side."""
    from lartpc.run.michels import michels as run

    named = [text.partition("=") for text in datasets]
    folders = {
        (name if equal else Path(text).name): Path(path if equal else text)
        for text, (name, equal, path) in zip(datasets, named, strict=True)
    }
    if len(folders) != len(datasets):
        raise ValueError("two datasets have one name; give each its own, as NAME=FOLDER")
    text = run(folders, out)
    if as_json:
        print_json(json.loads((out / "michels.json").read_text()))
    else:
        typer.echo(text)


@app.command()
@plainly
def detections(
    events: EventFiles,
    out: Out,
    chain: Annotated[
        list[str] | None,
        typer.Option(
            help="Files of the chain on 3D images or points of the same events, ingest to interact: its interactions "
            "are put beside the boxes; repeatable, or @FILE."
        ),
    ] = None,
    curve: Annotated[
        Path | None,
        typer.Option(help="Also draw purity over efficiency, for each least score of a box (PNG)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare what 'detect' found in images of any shards with the truth (Markdown), and print it."""
    from lartpc.run.quality.detections import detections as run

    print_page(run(expand(events), out, expand(chain or []), curve=curve), as_json)


@app.command()
@plainly
def classes(events: EventFiles, out: Out, as_json: AsJson = False) -> None:
    """Compare the classes that 'classify' gave images of any shards with the truth (Markdown), and print it."""
    from lartpc.run.quality.classes import classes as run

    print_page(run(expand(events), out), as_json)
