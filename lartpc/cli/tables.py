"""Verbs from events to tables, datasets and pages."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lartpc.cli.app import app
from lartpc.cli.options import (
    AsJson,
    Chain,
    ConfigFile,
    EventFiles,
    OnTruth,
    Out,
    expand,
    plainly,
    print_json,
    settings_of,
)
from lartpc.text import json_of


@app.command()
@plainly
def summarize(
    events: EventFiles,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the shard's tables.")],
    config_file: ConfigFile = None,
    metrics: Annotated[
        Path | None, typer.Option(help="Write there what 'lartpc evaluate' writes of the same files, too.")
    ] = None,
    chain: Chain = None,
) -> None:
    """Write the tables of one shard (parquet)."""
    from lartpc.run.chain import tables_origin, take

    files = expand(events)
    section = settings_of("summarize", config_file, files)
    if chain and take(out, lambda: tables_origin(files, section)):
        return
    from lartpc.run.summarize import summarize as run

    typer.echo(f"{out}: {run(files, out, section, metrics=metrics)}", err=True)


@app.command()
@plainly
def evaluate(
    events: EventFiles,
    out: Out,
    config_file: ConfigFile = None,
    on_truth: OnTruth = False,
    planes: Annotated[
        bool, typer.Option("--planes", help="Of images of wire planes that 3D points are made of.")
    ] = False,
    chain: Chain = None,
) -> None:
    """Compare one shard with its truth, event by event (parquet). --config is that of summarize: energies (MeV)."""
    from lartpc.run.chain import figures_origin, take

    files = expand(events)
    section = settings_of("summarize", config_file, files)
    if chain and take(out, lambda: figures_origin(files, section, on_truth)):
        return
    from lartpc.run.quality.evaluate import evaluate as run

    run(files, out, section, input_label="planes" if planes else "truth" if on_truth else "predicted")


@app.command()
@plainly
def collect(
    tables: Annotated[list[str], typer.Argument(help="Folders of shards' tables; @FILE names a list.")],
    metrics: Annotated[list[str], typer.Option(help="Files of 'lartpc evaluate'; repeatable, or @FILE.")],
    ingested: Annotated[
        list[str], typer.Option(help="Event files of 'lartpc ingest', to count by; repeatable, or @FILE.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the dataset.")],
    num_workers: Annotated[int, typer.Option(min=1, help="Threads (dask).")] = 1,
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FOLDER with lists of a scenario's files: tables.gather, metrics.gather, ingested.gather; "
            "repeatable."
        ),
    ] = None,
    configuration: Annotated[
        Path | None,
        typer.Option(help="Settings of all steps (JSON), for the record that the dataset carries."),
    ] = None,
) -> None:
    """Join the tables of all shards into one dataset, and check that nothing is lost."""
    from lartpc.run.collect import Parts
    from lartpc.run.collect import collect as run

    parts = {}
    for word in scenario or []:
        name, _, folder = word.partition("=")
        if not name or not folder:
            raise ValueError(f"--scenario must be NAME=FOLDER, got '{word}'")
        parts[name] = Parts(*(expand([f"@{folder}/{kind}.gather"]) for kind in Parts._fields))
    settings = json_of(configuration) if configuration else {}
    run(
        expand(tables),
        expand(metrics),
        expand(ingested),
        out,
        num_workers=num_workers,
        scenarios=parts,
        configuration=settings,
    )


@app.command()
@plainly
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
    results: Annotated[
        Path | None, typer.Option(help="Folder of the results: the page then says what the jobs took.")
    ] = None,
    config_file: ConfigFile = None,
) -> None:
    """Make the page of figures and pictures: one HTML file that needs no network."""
    from lartpc.run.report import report as run

    section, files = settings_of("report", config_file, [dataset]), expand(events or [])
    if events and not files:
        raise ValueError(f"{', '.join(events)} name no event file to draw events from; leave --events out")
    run(dataset, files, curve or [], out, section, event_path, results)


@app.command()
@plainly
def compare(
    first: Annotated[
        Path,
        typer.Argument(help="Dataset that 'lartpc collect' wrote; DATASET/scenario=NAME is one scenario."),
    ],
    second: Annotated[
        Path | None,
        typer.Argument(
            help="Another one, of the same events; default: each scenario of the first is compared with its nominal "
            "production."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for compare.md, compare.json and compare.html.")
    ] = Path("compare"),
    num_replicas: Annotated[
        int, typer.Option("--replicas", min=2, help="Bootstrap replicas over events.")
    ] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Compare two datasets of the same events: each figure, its difference, and the error of that."""
    if second is None:
        from lartpc.run.report.variations import compare_scenarios

        compare_scenarios(first, out, num_replicas=num_replicas, seed=seed, is_quiet=as_json)
        if as_json:
            print_json(json.loads((out / "scenarios.json").read_text()))
        typer.echo(f"table   {out / 'scenarios.md'}", err=True)
        return
    from lartpc.run.report.compare import compare as run

    run(first, second, out, num_replicas=num_replicas, seed=seed, is_quiet=as_json)
    if as_json:
        print_json(json.loads((out / "compare.json").read_text()))
    typer.echo(f"page    {out / 'compare.html'}", err=True)


@app.command()
@plainly
def show(
    results: Annotated[Path, typer.Argument(help="Folder of the results.")] = Path("results"),
    brief: Annotated[bool, typer.Option("--brief", help="One screen, as at the end of a run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the figures of a production and where its tables and its page are; as JSON: dataset/summary.json."""
    if as_json:
        from lartpc.run.collect import read_summary
        from lartpc.run.report.outcome import located

        print_json(read_summary(located(results)[1]))
        return
    if brief:
        from lartpc.run.report.outcome import outcome

        for line in outcome(results):
            typer.echo(line)
        return
    from lartpc.run.report import show as run

    run(results)


@app.command()
@plainly
def view(
    paths: Annotated[list[Path], typer.Argument(help="Folder of the results, or event files (.h5).")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0: a free one.")] = 0,
    max_voxels: Annotated[
        int, typer.Option(min=100, help="Voxels drawn; larger events are thinned.")
    ] = 100_000,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    png: Annotated[
        Path | None, typer.Option(help="Write a picture of an event instead, by Chromium.")
    ] = None,
    svg: Annotated[
        Path | None,
        typer.Option(help="The same as SVG, of vectors. Its name ends with .svg."),
    ] = None,
    as_json: Annotated[
        Path | None, typer.Option("--json", help="Write what is drawn of an event instead, as JSON.")
    ] = None,
    event: Annotated[
        str, typer.Option(help="Event of the picture, FILE_UID/ENTRY; default: the first.")
    ] = "",
    mode: Annotated[str, typer.Option(help="Colours of the picture, a button of the page.")] = "particle",
    picture_view: Annotated[
        str,
        typer.Option(
            "--view",
            help="View of the picture: 3d, zy (side), zx (top), xy (front), u or v (wires at +60 and -60 degrees).",
        ),
    ] = "3d",
) -> None:
    """Look at events on a page of this machine, until Ctrl-C: filters, links, keys."""
    import webbrowser

    from lartpc.atomic import replacing
    from lartpc.run.view.catalogue import Catalogue
    from lartpc.run.view.server import Server

    if sum(map(bool, (png, svg, as_json))) > 1:
        raise ValueError("takes one of --png, --svg and --json at a time")
    if svg and svg.suffix.lower() != ".svg":
        raise ValueError(f"--svg {svg} must end with .svg")
    if png and png.suffix.lower() == ".svg":
        raise ValueError(f"--png {png} ends with .svg; use --svg for that")
    catalogue = Catalogue(paths, max_voxels)
    if as_json:
        with replacing(as_json) as part:
            part.write_text(json.dumps(catalogue.display(catalogue.number(event))))
        typer.echo(f"{as_json}", err=True)
        return
    with Server(catalogue, ", ".join(map(str, paths)), port) as server:
        if picture := png or svg:
            from lartpc.run.view.picture import save_picture

            save_picture(server, picture, event, mode, picture_view)
            typer.echo(f"{picture}", err=True)
            return
        typer.echo(server.address)
        if browser:
            webbrowser.open(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("", err=True)


@app.command()
@plainly
def audit(
    results: Annotated[Path, typer.Argument(help="Folder of the results.")] = Path("results"),
    as_json: AsJson = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File to write it to, as JSON with the digests of logs and pages; later audits compare these with "
            "audit.json in the folder.",
        ),
    ] = None,
    sources: Annotated[bool, typer.Option(help="Read the sources, too, and compare them.")] = True,
    num_workers: Annotated[int, typer.Option(min=1, help="Shards that are checked at a time.")] = 1,
) -> None:
    """Prove from the files of a production that nothing is lost or changed; exit status 1 where something is."""
    from lartpc.run.audit import as_dict, lines
    from lartpc.run.audit import audit as run

    found = run(results, with_sources=sources, num_workers=num_workers, out=out)
    said = lines(results, found)
    if as_json:
        print_json(as_dict(results, found))
        said = [line for line in said if line.startswith("FINDING")]
    for line in said:
        typer.echo(line, err=as_json)
    if found.findings:
        raise typer.Exit(1)


@app.command()
@plainly
def publish(
    results: Annotated[Path, typer.Argument(help="Folder of the results of a production.")],
    to: Annotated[
        str, typer.Argument(help="URL of a folder: root://..., s3://BUCKET/..., https://... (WebDAV).")
    ],
    out: Annotated[
        Path | None, typer.Option(help="List of what is published; default: published.tsv in the results.")
    ] = None,
    with_events: Annotated[
        bool, typer.Option("--with-events", help="Publish event files, scenarios and weights, too.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace files of other results that are there.")
    ] = False,
) -> None:
    """Copy the results of a production to a server, and check them there by size and checksum."""
    from lartpc.run.servers.publish import publish as run

    done = run(results, to, out or results / "published.tsv", with_events=with_events, replace=replace)
    typer.echo(f"{to}: {done}", err=True)
