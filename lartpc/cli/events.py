"""Verbs that make event files: simulation, ingestion, and export to other formats."""

import json
import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from lartpc import config
from lartpc.choice import asked_for
from lartpc.cli.app import app
from lartpc.cli.options import (
    AsJson,
    Chain,
    ChosenEvents,
    ConfigFile,
    FirstEvents,
    Out,
    choice,
    expand,
    is_given,
    lines_of,
    plainly,
    print_json,
)
from lartpc.remote import read_origins

DEFAULT_EVENTS = 10

simulate_app = typer.Typer()
app.add_typer(simulate_app, name="simulate")


@simulate_app.callback(invoke_without_command=True)
@plainly
def simulate(
    context: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File of steps to write, required; it appears when it is complete."),
    ] = None,
    num_events: Annotated[
        int | None,
        typer.Option(min=1, help="Events to simulate; default: 10, or all that the generator's files give."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed; the same seed gives the same events.")] = 1,
    generator: Annotated[
        str | None,
        typer.Option(
            help="Files of a neutrino generator, nuhepmc:PATTERN, gst:PATTERN or rootracker:PATTERN."
        ),
    ] = None,
    share: Annotated[
        str, typer.Option(help="Share i/n of the interactions in the generator's files, i from 0.")
    ] = "0/1",
    config_file: ConfigFile = None,
    log: Annotated[Path | None, typer.Option(help="Where Geant4's own output goes.")] = None,
) -> None:
    """Simulate events with Geant4: energy-depositing steps and trajectories (mm, MeV, ns)."""
    if subcommand := context.invoked_subcommand:
        if given := [name for name in context.params if is_given(context, name)]:
            raise ValueError(f"--{given[0].replace('_', '-')} goes behind {subcommand}")
        return
    if out is None:
        raise ValueError("needs --out, the file of steps to write")
    from lartpc.run.simulate import simulate as run

    section = config.load_section("simulate", config_file)
    if generator:
        section = section.reading(generator)
    elif num_events is None and isinstance(section.generator, str):
        num_events = DEFAULT_EVENTS
    run(section, num_events=num_events, seed=seed, share=_share(share), out=out, log=log)


def _share(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found:
        raise ValueError(f"--share must be i/n, such as 0/4, got '{text}'")
    return int(found[1]), int(found[2])


@simulate_app.command(name="validate")
@plainly
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
    as_json: AsJson = False,
) -> None:
    """Measure the simulation against published values.

    Ranges of muons and protons (cm), dE/dx (MeV/cm), Michel spectrum (MeV), electron showers (cm) and the
    material, with the production cut and the step of the configuration. Writes a table and a page of plots.
    """
    from lartpc.run.validate import default_processes
    from lartpc.run.validate import validate as run

    section = config.load_section("simulate", config_file)
    num_processes = num_processes or default_processes()
    run(
        section,
        out,
        precision_percent=precision,
        seed=seed,
        num_processes=num_processes,
        is_quiet=as_json,
    )
    if as_json:
        print_json(json.loads((out / "validation.json").read_text()))


@app.command()
@plainly
def generate(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write, NuHepMC packed by gzip: name it .hepmc3.gz.")
    ],
    neutrino: Annotated[int, typer.Option(help="PDG code: 14 or 12, -14 or -12.")] = 14,
    current: Annotated[Literal["cc", "nc"], typer.Option(help="Charged or neutral current.")] = "cc",
    energy_mev: Annotated[
        float | None, typer.Option(min=1, help="Energy of the neutrinos [MeV], instead of a flux.")
    ] = None,
    flux: Annotated[Path | None, typer.Option(help="Flux as HepData YAML, bins in GeV or MeV.")] = None,
    num_events: Annotated[int, typer.Option(min=1, help="Interactions to generate.")] = 1000,
    seed: Annotated[int, typer.Option(min=1, help="Seed; the same seed gives the same interactions.")] = 1,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with Achilles' data/; default: $ACHILLES_DATA_DIR, or its own."),
    ] = None,
) -> None:
    """Generate neutrino interactions on argon with Achilles (GPL, extra 'achilles'), for 'lartpc simulate'."""
    from lartpc.simulate.achilles import Beam
    from lartpc.simulate.achilles import generate as run

    run(Beam(neutrino, current, energy_mev, flux), num_events, seed, out, data)
    typer.echo(f"{out}: {num_events} interactions; lartpc simulate --generator nuhepmc:{out}", err=True)


@app.command()
@plainly
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
    events: ChosenEvents = None,
    first: FirstEvents = None,
    is_part: Annotated[
        bool,
        typer.Option("--part", help="The files are a part of those asked: what they lack may be in others."),
    ] = False,
    origins: Annotated[
        Path | None,
        typer.Option(
            help="Where files that were fetched come from (JSON): what is known of each, by its name here."
        ),
    ] = None,
    chain: Chain = None,
) -> None:
    """Turn steps into voxels, with truth labels where the source has truth."""
    from lartpc.run.ingest import ingest as run

    section = config.load_section("ingest", config_file)
    asked = asked_for(choice(events, first))
    if is_part and not asked:
        raise ValueError("--part is of --events or --first")
    urls = read_origins(origins) if origins else {}
    summary = run(
        expand(sources), section, out=out, file_uid=uid, events=asked, is_part=is_part, origins=urls
    )
    typer.echo(f"{out}: {summary}", err=True)
    if chain:
        from lartpc.run.chain import go_on

        go_on(chain, out)


@app.command()
@plainly
def export(
    events: Annotated[
        list[str], typer.Argument(help="Files of 'lartpc ingest', of any shards; @FILE names a list.")
    ],
    out: Out,
    to: Annotated[
        Literal["pilarnet-m-v1", "pilarnet-m-v2", "pilarnet-m-v3"],
        typer.Option(
            help="Format: PILArNet-M, revision 1, 2 with species, masses [MeV], momenta [GeV/c] and vertices, "
            "or 3 with primaries, too."
        ),
    ] = "pilarnet-m-v3",
) -> None:
    """Write events with truth as PILArNet-M, for others to train on and compare.

    A name that ends with .parquet makes a Parquet file, others HDF5. Coordinates are voxels of 768 per side,
    energies MeV. The number of voxels of each event goes to a file *_points.npy beside an HDF5 file, as the public
    loaders expect.
    """
    from lartpc.run.export import export as run

    typer.echo(f"{out}: {run(expand(events), out, to=to)}", err=True)


@app.command()
@plainly
def catalogue(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="URLs of files, or patterns of s3:// and root:// in quotes; @FILE names a list, one a line."
        ),
    ],
    out: Out,
    count_events: Annotated[
        bool,
        typer.Option("--count-events", help="Fetch each file, one at a time, and count its events."),
    ] = False,
    results: Annotated[
        Path | None,
        typer.Option(
            help="Results of a production that ingested the files: it knows their numbers of events."
        ),
    ] = None,
) -> None:
    """List files on servers once, with size, checksum and events; a sample sheet takes the list as @FILE."""
    from lartpc.run.servers.catalogue import catalogue as run

    urls = [line for source in sources for line in lines_of(source)]
    listing = run(urls, out, count_events=count_events, results=results)
    typer.echo(f"{out}: {listing}", err=True)
