"""The RO-Crate of a dataset: how it came to be, in a form that archives read (https://w3id.org/ro/crate/1.1).

A production is known by the digest of what decides its tables: code, settings, weights, inputs and installed packages.
"""

import getpass
import hashlib
import json
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from lartpc import __version__
from lartpc.provenance import git_revision
from lartpc.text import text_of

NAME = "ro-crate-metadata.json"
CONFIGURATION = "configuration.json"
ENVIRONMENT = "environment.json"
KEY = "production"
"""Of the summary, the metadata of parquet files and the crate: what the production is known by."""

PREFIX = "urn:lartpc:production:"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
"""What the crate keeps to beside RO-Crate itself: Process Run Crate, a run of an application."""

JSON = {"encodingFormat": "application/json"}


def identity(
    configuration: Mapping[str, Any], weights: Mapping[str, list[str]], inputs: Mapping[str, str]
) -> dict[str, Any]:
    """Return what decides the tables of a production, with its digest as `id`.

    Parameters
    ----------
    configuration
        Settings of all steps, and of scenarios.
    weights
        Digests of the weights that each step took.
    inputs
        Digest of each source by its name: files, or simulated steps.
    """
    packages = installed()
    said = {
        "package_version": __version__,
        "git_revision": git_revision(),
        "configuration": digest_of_text(json.dumps(configuration, sort_keys=True)),
        "weights": dict(sorted(weights.items())),
        "inputs": digest_of_text(json.dumps(sorted(inputs.items()))),
        "num_inputs": len(inputs),
        "environment": digest_of_text("\n".join(packages)),
    }
    return {"id": digest_of_text(json.dumps(said, sort_keys=True)), **said}


def installed() -> list[str]:
    """Return the packages of this environment with their versions, as a lock would."""
    found = {
        one.metadata["Name"].lower(): one.version for one in metadata.distributions() if one.metadata["Name"]
    }
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def write_crate(
    folder: Path,
    said: Mapping[str, Any],
    *,
    configuration: Mapping[str, Any],
    inputs: Mapping[str, str],
    summary: Mapping[str, Any],
) -> None:
    """Write the crate of a dataset that is complete but for this, and the files that it has of settings and packages.

    Parameters
    ----------
    said
        What `identity` returned.
    """
    from rocrate.model import ContextEntity, Person
    from rocrate.rocrate import ROCrate

    (folder / CONFIGURATION).write_text(json.dumps(configuration, indent=1, sort_keys=True) + "\n")
    (folder / ENVIRONMENT).write_text(json.dumps(installed(), indent=1) + "\n")
    now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    crate = ROCrate(version="1.1")  # which the profile is of
    crate.name = f"Reconstruction of {', '.join(summary['samples'])}"
    crate.description = f"Tables of {summary['num_events']} events of a liquid-argon TPC, made by lartpc"
    crate.datePublished = now
    crate.license = "not stated"
    crate.root_dataset["identifier"] = PREFIX + said["id"]

    def thing(key: str, kind: str | list[str], **properties: Any) -> Any:
        return crate.add(ContextEntity(crate, key, properties={"@type": kind, **properties}))

    crate.root_dataset["conformsTo"] = thing(
        PROFILE, ["CreativeWork", "Profile"], name="Process Run Crate", version="0.5"
    )

    def file(name: str, title: str, about: str) -> Any:
        return crate.add_file(folder / name, properties={"name": title, "description": about, **JSON})

    settings = file(CONFIGURATION, "Settings of all steps", "Seed, settings of steps and of scenarios")
    packages = file(ENVIRONMENT, "Packages of the environment", "Installed packages with their versions")
    figures = file("summary.json", "Counts and figures", "Counts of the tables and figures of quality")
    tables = [
        crate.add_directory(
            path,
            f"{path.name}/",
            properties={
                "name": f"Table {path.name}",
                "description": f"Parquet files of the table {path.name}",
            },
        )
        for path in sorted(folder.iterdir())
        if path.is_dir()
    ]
    workflow = thing(
        "#workflow",
        "SoftwareApplication",
        name="lartpc",
        description="Reconstruction of liquid-argon TPC images, as a Snakemake workflow",
        version=__version__,
        softwareRequirements=packages,
        **({"identifier": said["git_revision"]} if said["git_revision"] else {}),
    )
    person = crate.add(Person(crate, f"#{_user()}", properties={"name": _user()}))
    crate.root_dataset["author"] = person
    used = [
        thing(f"#weights-{step}-{digest[:12]}", "CreativeWork", name=f"Weights of {step}", identifier=digest)
        for step, digests in said["weights"].items()
        for digest in digests
    ]
    sources = [
        thing(f"#input-{number}", "CreativeWork", name=name, identifier=digest)
        for number, (name, digest) in enumerate(sorted(inputs.items()))
    ]
    run = thing(
        "#run",
        "CreateAction",
        name="Production",
        description=f"lartpc {__version__} made the tables of these inputs, with these settings and weights",
        identifier=PREFIX + said["id"],
        instrument=workflow,
        agent=person,
        endTime=now,
        object=[settings, *used, *sources],
        result=[figures, *tables],
    )
    crate.mainEntity = workflow
    crate.root_dataset["mentions"] = run
    # the metadata alone: the files are in their places
    content = crate.metadata.generate()
    (folder / NAME).write_text(json.dumps(content, indent=1) + "\n")


def read_crate(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what a crate describes, by its identifiers.

    Raises
    ------
    ValueError
        The folder has no crate, or it is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        raise ValueError(f"{path} does not exist; run 'lartpc collect' again")
    try:
        return {one["@id"]: one for one in json.loads(text_of(path))["@graph"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); run 'lartpc collect' again") from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def digest_of_text(text: str) -> str:
    """Return the BLAKE2b digest (16 bytes, hex) of a text."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
