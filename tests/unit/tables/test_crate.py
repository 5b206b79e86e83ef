"""The provenance that a dataset carries, and the audit of a dataset alone."""

import json
import shutil
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from handmade import WEIGHTS, write_shard
from typer.testing import CliRunner

from lartpc.cli import app
from lartpc.run.audit import audit
from lartpc.run.collect import collect
from lartpc.run.crate import NAME, PREFIX, read_crate
from lartpc.run.summarize import summarize
from lartpc.tables.manifest import read_manifest, write_manifest

SETTINGS = {"seed": 1, "nominal": {"points": {"score_threshold": 0.9}}}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("production")
    paths = write_shard(root, "beam/0000")
    summarize(paths, root / "tables", metrics=root / "metrics.parquet")
    collect(
        [root / "tables"],
        [root / "metrics.parquet"],
        paths[:1],
        root / "dataset",
        configuration=SETTINGS,
    )
    return root / "dataset"


@pytest.fixture
def dataset(pristine: Path, tmp_path: Path) -> Path:
    """A dataset that a test may spoil, away from its production."""
    return Path(shutil.copytree(pristine, tmp_path / "archived"))


def seal(folder: Path) -> None:
    """Put the manifest in step with files that were changed."""
    said = read_manifest(folder, "")
    del said["files"]
    write_manifest(folder, said)


def findings(dataset: Path) -> dict[str, str]:
    return {
        f"{Path(one.file).relative_to(dataset)} {one.where}".strip(): one.what
        for one in audit(dataset).findings
    }


def test_a_dataset_says_how_it_came_to_be(pristine: Path) -> None:
    summary = json.loads((pristine / "summary.json").read_text())
    identity = summary["production"]
    assert identity["weights"].keys() == WEIGHTS.keys()
    files = list(pristine.rglob("*.parquet"))
    assert {pq.read_metadata(path).metadata[b"production"].decode() for path in files} == {identity["id"]}
    crate = read_crate(pristine)
    run = crate["#run"]
    assert run["identifier"] == PREFIX + identity["id"] == crate["./"]["identifier"]
    named = {one["@id"] for one in run["object"]}
    assert "configuration.json" in named and sum(key.startswith("#weights-") for key in named) == len(WEIGHTS)
    assert crate[run["agent"]["@id"]]["@type"] == "Person" and run["endTime"]
    assert crate["#workflow"]["softwareRequirements"] == {"@id": "environment.json"}
    assert "lartpc==" in (pristine / "environment.json").read_text()
    assert json.loads((pristine / "configuration.json").read_text()) == SETTINGS


def test_archives_can_read_it(pristine: Path) -> None:
    from rocrate.rocrate import ROCrate

    crate = ROCrate(pristine)
    assert crate.mainEntity["name"] == "lartpc"
    # what Process Run Crate 0.5 and RO-Crate 1.1 require of it
    profile = crate.get("https://w3id.org/ro/wfrun/process/0.5")
    assert crate.root_dataset["conformsTo"] == profile and set(profile.type) == {"CreativeWork", "Profile"}
    assert crate.mainEntity.type == "SoftwareApplication"
    assert crate.root_dataset["mentions"] == crate.get("#run")
    assert datetime.fromisoformat(crate.get("#run")["endTime"]).tzinfo
    assert all(
        one["encodingFormat"] == "application/json" for one in crate.data_entities if one.type == "File"
    )
    assert {"particles/", "events/"} <= {one.id for one in crate.data_entities}


def test_an_archived_dataset_is_audited_by_itself(dataset: Path) -> None:
    found = audit(dataset)
    assert (found.findings, found.num_events) == ([], 5)
    assert CliRunner().invoke(app, ["audit", str(dataset)]).exit_code == 0


def test_what_is_of_another_production_is_found(dataset: Path) -> None:
    path = dataset / "configuration.json"
    path.write_text(path.read_text().replace("0.9", "0.8"))
    assert "configuration.json" in findings(dataset)  # by the manifest
    seal(dataset)
    assert findings(dataset) == {"configuration.json": "is not the configuration of the production"}


def test_a_table_of_another_production_is_found(dataset: Path) -> None:
    path = next((dataset / "points").glob("*.parquet"))
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"production": "other"}), path)
    crate = json.loads((dataset / NAME).read_text())
    next(one for one in crate["@graph"] if one["@id"] == "#run")["identifier"] = PREFIX + "other"
    (dataset / NAME).write_text(json.dumps(crate))
    seal(dataset)
    said = findings(dataset)
    assert said[f"{path.relative_to(dataset)} production"].endswith("of another production (other)")
    assert said[f"{NAME} #run"].startswith("is not of the production of the summary")
    (dataset / NAME).unlink()
    seal(dataset)
    assert "does not exist" in findings(dataset)[NAME]
