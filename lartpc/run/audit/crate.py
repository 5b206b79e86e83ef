"""The provenance that a dataset carries: whether crate, summary, tables and settings name one production."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from lartpc.run.audit.findings import Audited
from lartpc.run.crate import CONFIGURATION, ENVIRONMENT, KEY, NAME, PREFIX, digest_of_text, read_crate
from lartpc.tables.write import reading_table
from lartpc.text import text_of


def check_crate(dataset: Path, found: Audited) -> None:
    """Compare the identifiers of a dataset's crate with those of its summary, its tables, and what it holds itself."""
    try:
        said = json.loads(text_of(dataset / "summary.json")).get(KEY)
        crate = read_crate(dataset)
    except ValueError as error:
        found.add(dataset / NAME, str(error))
        return
    except FileNotFoundError:
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
        try:
            with reading_table(path):
                footer = pq.read_metadata(path).metadata or {}
        except ValueError as error:
            found.add(path, str(error))
            continue
        stated = footer.get(KEY.encode(), b"").decode(errors="replace")
        if stated != said["id"]:
            found.add(path, f"is of another production ({stated or 'none stated'})", KEY)
    _check_content(dataset, said, crate, found)


def _check_content(
    dataset: Path, said: dict[str, str], crate: dict[str, dict[str, object]], found: Audited
) -> None:
    texts: dict[str, Callable[[Any], str]] = {
        CONFIGURATION: lambda content: json.dumps(content, sort_keys=True),
        ENVIRONMENT: lambda content: "\n".join(content),
    }
    for name, text in texts.items():
        path = dataset / name
        if not path.is_file():
            continue
        try:
            is_same = digest_of_text(text(json.loads(text_of(path)))) == said[path.stem]
        except (ValueError, TypeError) as error:
            found.add(path, f"is damaged: {error}")
            continue
        if not is_same:
            found.add(path, f"is not the {path.stem} of the production")
    inputs = [(one["name"], one["identifier"]) for key, one in crate.items() if key.startswith("#input-")]
    if digest_of_text(json.dumps(sorted(inputs))) != said["inputs"]:
        found.add(dataset / NAME, "names other inputs than those of the production", "#run")
    for key, one in crate.items():
        if one.get("@type") in ("File", "Dataset") and key != "./" and not (dataset / key).exists():
            found.add(dataset / NAME, f"describes {key}, which is not there", key)
