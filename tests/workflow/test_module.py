"""The workflow as a module of another one, and from another folder: it brings its own files, and tells them apart."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from checkout import REPOSITORY, copy_checkout
from workflow.test_dag import jobs, snakemake

from lartpc.config import Config

SHEET = "sample\tsplit\tsource\tnum_events\tnum_shards\nmine\ttest\tgeant4\t4\t2\n"
USER = """
module lartpc:
    snakefile: {snakefile!r}
    config: {config}
    {more}

use rule * from lartpc as lartpc_*

rule all:
    default_target: True
    input:
        rules.lartpc_all.input
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of somebody else, in which names of our files stand for others."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/samples.tsv").write_text("theirs\n")
    (tmp_path / "mine.tsv").write_text(SHEET)
    return tmp_path


def use(folder: Path, config: str, more: str = "", root: Path = REPOSITORY) -> None:
    text = USER.format(snakefile=str(root / "Snakefile"), config=config, more=more)
    (folder / "Snakefile").write_text(text)


def dry_run(folder: Path, *arguments: str) -> str:
    """Return the numbers of jobs and the commands of a dry run."""
    found = snakemake(folder, *arguments, "--dry-run", "--printshellcmds")
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout + found.stderr


def test_a_module_is_merged_over_our_defaults_and_finds_our_files(folder: Path) -> None:
    use(
        folder,
        "{'samples': ['mine.tsv'], 'points': {'class_threshold': 0.4}, "
        "'cluster': {'weights': 'models/graph_spice/cluster.pt'}}",
    )
    said = dry_run(folder)
    for rule in ("simulate", "segment", "summarize"):
        assert re.search(rf"^lartpc_{rule} +2$", said, re.M)
    assert "train" not in said
    assert f"--weights={REPOSITORY}/models/segment.pt" in said
    assert f"--weights={REPOSITORY}/models/graph_spice/cluster.pt" in said
    assert "cluster.weights: models/graph_spice/cluster.pt is not in the working folder" in said
    assert '"class_threshold": 0.4' in said
    # ours stay beside theirs
    assert f'"score_threshold": {Config().points.score_threshold}' in said
    assert "-- mine.tsv" in said


def test_a_module_without_configuration_is_the_default_production(folder: Path) -> None:
    use(folder, "{}")
    said = dry_run(folder)
    assert re.search(r"^lartpc_simulate +2$", said, re.M)
    assert f"-- {REPOSITORY}/config/samples.tsv" in said


@pytest.mark.parametrize(
    ("config", "more", "where"),
    [
        ("", "pathvars:\n        results='of lartpc'", "'of lartpc"),
        ("", "prefix: 'sub'", "sub/results"),
        ("'results': 'deep/er'", "", "deep/er"),
    ],
    ids=["pathvars", "prefix", "results"],
)
def test_results_go_where_the_module_is_told(folder: Path, config: str, more: str, where: str) -> None:
    (folder / "taken.h5").write_bytes(b"x")
    (folder / "mine.tsv").write_text(SHEET + "given\treconstruct\ttaken.h5\t-\t-\n")
    use(folder, f"{{'samples': ['mine.tsv'], {config}}}", more)
    said = dry_run(folder)
    assert f"{where}/events/ingest/mine/0001.h5" in said
    assert f"--path={where.strip(chr(39))}/tables/{{shard}}" in said
    assert f"{where.strip(chr(39))}/events/{{step}}/{{shard}}.h5" in said
    assert "taken.h5" in said  # where it is, whatever the prefix


def test_the_workflow_runs_from_another_folder(folder: Path) -> None:
    found = jobs(folder, "--snakefile", str(REPOSITORY / "Snakefile"), "--config", "samples=[mine.tsv]")
    assert found["segment"] == 2 and not found["train"]


@pytest.mark.slow
def test_the_miniature_production_as_a_module(tmp_path: Path) -> None:
    root, folder = tmp_path / "lartpc", tmp_path / "mine"
    root.mkdir()
    folder.mkdir()
    copy_checkout(root)
    config = (root / "config/test/config.yaml").read_text()
    (folder / "mini.yaml").write_text(f"{config}results: far/away\n")
    use(folder, "config", root=root)
    found = snakemake(folder, "--configfile", "mini.yaml")
    assert found.returncode == 0, found.stdout[-5000:] + found.stderr[-5000:]
    summary = json.loads((folder / "far/away/dataset/summary.json").read_text())
    assert summary["num_ok"] == len(pd.read_parquet(folder / "far/away/dataset/events")) == 6
    assert not (folder / "results").exists() and not (root / "results").exists()
    again = snakemake(folder, "--configfile", "mini.yaml")
    assert "Nothing to be done" in again.stdout + again.stderr
