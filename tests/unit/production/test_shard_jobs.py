"""The jobs of a shard in one process: what lies ready is what each job would make, or it is not taken."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from handmade import write_shard
from typer.testing import CliRunner, Result

from lartpc import config
from lartpc.cli import app
from lartpc.run import chain
from lartpc.run.summarize import EVENT_TABLES

SHARD = "beam/0000"
BY_RULES = config.Interact(infer=config.Interact().infer.model_copy(update={"interactions": "rules"}))


def lartpc(*words: object, fails: bool = False) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert (result.exit_code != 0) == fails, result.output
    return result


class Shard:
    """A shard up to `cluster`, the plan of the jobs that follow, and their files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = write_shard(root, SHARD)[:-1]
        self.interact = root / "interact.h5"
        self.tables, self.figures = root / "tables", root / "figures.parquet"
        self.settings = {"interact": config.slice_of(BY_RULES, "infer"), "summarize": {}}
        for name, values in self.settings.items():
            (root / f"{name}.json").write_text(json.dumps(values))
        self.plan = root / "plan.json"
        before = [str(path) for path in (self.files[0], self.files[2], self.files[3])]
        events = [*map(str, self.files), str(self.interact)]
        jobs = [
            {"step": "interact", "events": before, "out": str(self.interact)},
            {"step": "summarize", "events": events, "out": str(self.tables)},
            {"step": "evaluate", "events": events, "out": str(self.figures)},
        ]
        self.plan.write_text(json.dumps({"settings": self.settings, "shards": {SHARD: jobs}}))

    def run_interact(self, *more: object) -> Result:
        settings = self.root / "interact.json"
        given = (self.files[0], self.files[2], self.files[3], "--config", settings, "--out", self.interact)
        return lartpc("infer", "interact", *given, *more)

    def run_tables(self, *more: object) -> Result:
        given = (*self.files, self.interact, "--config", self.root / "summarize.json")
        return lartpc("summarize", *given, "--out", self.tables, *more)

    def run_figures(self, *more: object) -> Result:
        given = (*self.files, self.interact, "--config", self.root / "summarize.json")
        return lartpc("evaluate", *given, "--out", self.figures, *more)

    def ready(self) -> set[str]:
        return {path.name for path in self.root.glob(".*.ready*")}


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    return Shard(tmp_path)


def test_what_follows_lies_ready_and_is_what_the_jobs_make(shard: Shard, tmp_path: Path) -> None:
    shard.run_interact("--chain", shard.plan)
    assert {".tables.ready", ".figures.parquet.ready"} <= shard.ready()
    assert not shard.tables.exists() and not shard.figures.exists()
    for run in (shard.run_tables, shard.run_figures):
        assert "made by an earlier job" in run("--chain", shard.plan).output
    assert not shard.ready()
    shard.tables.rename(tmp_path / "taken")
    shard.figures.rename(tmp_path / "taken.parquet")
    shard.run_tables()
    shard.run_figures()
    assert pq.read_table(shard.figures).equals(pq.read_table(tmp_path / "taken.parquet"))
    assert pq.read_table(shard.figures).num_rows
    # what they were made from has its final names, though it lay ready when they were made
    assert (shard.tables / "manifest.json").read_text() == (tmp_path / "taken" / "manifest.json").read_text()
    for name in EVENT_TABLES:
        made, taken = (
            pq.read_table(folder / f"{name}.parquet") for folder in (shard.tables, tmp_path / "taken")
        )
        assert made.equals(taken), name


def test_tables_made_of_what_lies_ready_name_it_as_it_will_be_called(shard: Shard) -> None:
    chain.go_on(shard.plan, shard.files[3])
    assert not shard.interact.exists()
    for run in (shard.run_interact, shard.run_tables, shard.run_figures):
        assert "made by an earlier job" in run("--chain", shard.plan).output
    inputs = json.loads((shard.tables / "manifest.json").read_text())["inputs"]
    assert {one["path"] for one in inputs.values()} == {str(path) for path in (*shard.files, shard.interact)}


@pytest.mark.parametrize("change", ["settings", "input", "nothing but a note"])
def test_what_a_job_would_make_otherwise_is_not_taken(shard: Shard, change: str) -> None:
    shard.run_interact("--chain", shard.plan)
    if change == "settings":
        (shard.root / "summarize.json").write_text('{"shower_scale": 2.0}')
    elif change == "input":
        # the same events, by another way
        values = config.slice_of(BY_RULES, "infer")
        values["infer"]["vertex_radius"] = 1.0
        (shard.root / "interact.json").write_text(json.dumps(values))
        shard.interact.unlink()
        shard.run_interact()
    else:
        chain._origin_path(shard.tables).write_text("{}")
    said = shard.run_tables("--chain", shard.plan).output
    assert "made by an earlier job" not in said
    assert (shard.tables / "particles.parquet").is_file()
    assert not {name for name in shard.ready() if "tables" in name}


def test_a_job_that_cannot_be_done_is_left_to_itself_and_those_after_it(shard: Shard) -> None:
    plan = json.loads(shard.plan.read_text())
    cluster = {"step": "cluster", "events": [str(shard.root / "points.h5")], "out": str(shard.root / "no.h5")}
    after = {**plan["shards"][SHARD][1], "events": [str(shard.root / "no.h5")]}
    cluster["events"].append(str(shard.interact))
    plan["shards"][SHARD] = [cluster, after]
    plan["settings"]["cluster"] = {}
    shard.plan.write_text(json.dumps(plan))
    said = shard.run_interact("--chain", shard.plan).output
    assert "cluster of beam/0000 is left to its own job: ValueError: stage 'cluster' needs --weights" in said
    assert not shard.ready()
    assert shard.interact.is_file()


def test_a_spoilt_plan_costs_nothing_but_the_time_it_saves(shard: Shard) -> None:
    shard.plan.write_text('{"shards": ')
    assert "is not the plan of a run" in shard.run_interact("--chain", shard.plan).output
    assert shard.interact.is_file() and not shard.ready()


def test_without_a_plan_each_job_does_its_own(shard: Shard) -> None:
    shard.run_interact("--chain", shard.root / "none.json")
    assert shard.interact.is_file() and not shard.ready()
