"""The provenance that a dataset carries: whether crate, summary, tables and settings name one production."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from lartpc.run.audit.findings import Audited
from lartpc.run.crate import CONFIGURATION, ENVIRONMENT, KEY, NAME, PREFIX, digest_of_text, read_crate


def check_crate(dataset: Path, found: Audited) -> None:
    """Compare the identifiers of a dataset's crate with those of its summary, its tables, and what it holds itself."""
    try:
        said = json.loads((dataset / "summary.json").read_text()).get(KEY)
        crate = read_crate(dataset)
    except ValueError as error:
        found.add(dataset / NAME, str(error))
        return
    except OSError:
        return  # a missing file of the dataset is found by its manifest
    if not isinstance(said, dict) or "id" not in said:
        found.add(
            dataset / "summary.json",
            "does not say which production it is of; run 'lartpc collect' again",
            KEY,
        )
        return
    wanted = PREFIX + said["id"]
    for entity in ("./", "#run"):
        if crate.get(entity, {}).get("identifier") != wanted:
            found.add(dataset / NAME, f"is not of the production of the summary ({said['id']})", entity)
    if digest_of_text(json.dumps({k: v for k, v in said.items() if k != "id"}, sort_keys=True)) != said["id"]:
        found.add(dataset / "summary.json", "has another identifier than what it says of its production", KEY)
    for path in sorted(dataset.rglob("*.parquet")):
        stated = (pq.read_metadata(path).metadata or {}).get(KEY.encode(), b"").decode()
        if stated != said["id"]:
            found.add(path, f"is of another production ({stated or 'none stated'})", KEY)
    _check_content(dataset, said, crate, found)


def _check_content(
    dataset: Path, said: dict[str, str], crate: dict[str, dict[str, object]], found: Audited
) -> None:
    configuration, environment = dataset / CONFIGURATION, dataset / ENVIRONMENT
    if configuration.is_file():
        text = json.dumps(json.loads(configuration.read_text()), sort_keys=True)
        if digest_of_text(text) != said["configuration"]:
            found.add(configuration, "is not the configuration of the production")
    if (
        environment.is_file()
        and digest_of_text("\n".join(json.loads(environment.read_text()))) != said["environment"]
    ):
        found.add(environment, "is not the environment of the production")
    inputs = [(one["name"], one["identifier"]) for key, one in crate.items() if key.startswith("#input-")]
    if digest_of_text(json.dumps(sorted(inputs))) != said["inputs"]:
        found.add(dataset / NAME, "names other inputs than those of the production", "#run")
    for key, one in crate.items():
        if one.get("@type") in ("File", "Dataset") and key != "./" and not (dataset / key).exists():
            found.add(dataset / NAME, f"describes {key}, which is not there", key)
