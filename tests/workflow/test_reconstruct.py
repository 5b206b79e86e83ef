"""`lartpc reconstruct`: what is asked for in one line is what the workflow plans."""

import json
import re
import shutil
from pathlib import Path

import pytest
from checkout import REPOSITORY, environment
from typer.testing import CliRunner

from lartpc.cli import app
from lartpc.plan import plan
from lartpc.run.reconstruct import chosen_weights, logs_of_cluster, matching, workflow_folder

EVENTS = REPOSITORY / "tests/data/edepsim_5ev.root"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two files of events in a folder whose name is not plain."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", environment()["PATH"])
    (tmp_path / "a $b [1]").mkdir()
    for name in ("one.root", "two.root"):
        shutil.copy(EVENTS, tmp_path / "a $b [1]" / name)
    return tmp_path


def lartpc(*words: object) -> tuple[int, str]:
    found = CliRunner().invoke(app, [str(word) for word in words])
    return found.exit_code, found.output


def test_each_file_is_a_shard_of_the_chain(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copy(REPOSITORY / "models/segment.pt", folder / "mine.pt")
    (folder / "settings.yaml").write_text("points: {score_threshold: 0.7}\nresults: elsewhere\n")
    status, printed = lartpc(
        *("reconstruct", "a $b [1]/one.root", "a $b [[]1]/*.root", "--out", "out dir", "--detector", "2x2"),
        *("--weights", "segment=mine.pt", "--config", "settings.yaml", "--sample", "beam", "--dry-run"),
        "--json",
    )
    said = capfd.readouterr()
    assert status == 0, said.out + said.err
    assert (json.loads(printed), said.out) == ({}, ""), (
        "a dry run makes nothing; Snakemake speaks on standard error"
    )
    found = dict(re.findall(r"^(\w+) +(\d+)$", said.err, re.M))
    for rule in ("ingest", "segment", "points", "cluster", "interact", "summarize"):
        assert found[rule] == "2", rule
    assert not {"simulate", "train", "evaluate_chain"} & set(found)
    asked = json.loads((folder / "out dir/asked/config.yaml").read_text())
    assert asked["ingest"] == {"detector": "2x2"}
    assert asked["segment"] == {"weights": str(folder / "mine.pt")}
    shards = plan(asked["samples"], 1, 500)
    assert [shard.key for shard in shards] == ["beam/one", "beam/two"]
    assert [shard.sources for shard in shards] == [
        (str(folder / "a $b [1]" / f"{name}.root"),) for name in ("one", "two")
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.h5"], "none.h5 does not exist"),
        (["a $b [1]"], "is a folder; name the files in it"),
        ([str(EVENTS), "--weights", "points=x.pt"], "neither STAGE=FILE, with a stage of segment, cluster"),
        ([str(EVENTS), "--weights", "segment=x.pt"], "weights x.pt of segment do not exist"),
        ([str(EVENTS), "--workflow", "."], "name a clone of lartpc with --workflow"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(folder: Path, words: list[str], message: str) -> None:
    status, said = lartpc("reconstruct", *words, "--out", "out")
    assert status == 2
    assert message in said and len(said.splitlines()) == 1


def test_what_snakemake_refuses_has_its_exit_status(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, said = lartpc("reconstruct", EVENTS, "--out", "out", "--detector", "3x3")
    assert status == 1 and "tables" not in said
    assert "ingest.detector" in capfd.readouterr().err


def test_a_folder_of_weights_gives_those_that_it_has(folder: Path) -> None:
    assert chosen_weights([str(REPOSITORY / "models")]) == {
        name: str(REPOSITORY / "models" / f"{name}.pt") for name in ("segment", "cluster", "interact")
    }
    with pytest.raises(ValueError, match="has none of"):
        chosen_weights(["a $b [1]"])


def test_files_are_taken_once_and_the_clone_is_found(folder: Path) -> None:
    assert matching(["a $b [1]/one.root", "a $b [[]1]/one.root"]) == [str(folder / "a $b [1]/one.root")]
    assert workflow_folder(None) == REPOSITORY


def test_output_of_slurm_lies_beside_the_results() -> None:
    assert logs_of_cluster(REPOSITORY / "profiles/slurm", Path("mine")) == [
        "--slurm-logdir",
        "mine/logs/slurm",
    ]
    assert logs_of_cluster(REPOSITORY / "profiles/local", Path("mine")) == []
    assert logs_of_cluster(Path("a name of a profile elsewhere"), Path("mine")) == []
