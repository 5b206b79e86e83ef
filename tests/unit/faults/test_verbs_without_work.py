"""A verb that has nothing to do, or is given the wrong thing, says so in a line and exits non-zero."""

import shutil

import pytest
from handmade import write_shard
from typer.testing import CliRunner

from lartpc.cli import app
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.summarize import summarize

UIDS = ("beam/0000", "beam/0001")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two shards with tables and figures, an empty list, an empty folder, and a sample sheet."""
    folder = tmp_path_factory.mktemp("verbs")
    for number, uid in enumerate(UIDS):
        paths = write_shard(folder, uid)
        shutil.copy(paths[0], folder / f"ingest_{number}.h5")
        summarize(paths, folder / "tables" / uid)
        evaluate(paths, folder / f"figures_{number}.parquet")
    (folder / "none.list").touch()
    (folder / "empty").mkdir()
    (folder / "samples.tsv").write_text(
        "sample\tsplit\tsource\tnum_events\tnum_shards\nbeam\ttest\tgeant4\t4\t2\n"
    )
    return folder


WRONG = {
    "plan samples.tsv --path {shard} --split tset --out out": "split 'tset' is none; the splits are train, validation",
    "plan samples.tsv --path {sharrd} --split test --out out": "'{sharrd}' is the same for all shards; write {shard}",
    "unlock nowhere": "nowhere does not exist; name the folder",
    "infer points ingest_0.h5 --config no.json --out out": "no.json does not exist",
    "report dataset --out out --events @none.list": "@none.list name no event file",
    "collect {tables} --metrics figures_1.parquet --ingested ingest_0.h5 --out out": (
        "beam/0001: has metrics but no tables"
    ),
    "clustering table figures_0.parquet --out out": "is not a file that 'lartpc clustering measure'",
    "clustering table ingest_0.h5 --out out": "ingest_0.h5 is an HDF5 file, and a Parquet table is wanted",
    "interactions --graph figures_0.parquet --rules figures_1.parquet --out out": (
        "not measured on the same events: 8 are of one only, such as beam/0000/0"
    ),
    "interactions --graph ingest_0.h5 --rules figures_1.parquet --out out": (
        "ingest_0.h5 is an HDF5 file, and a Parquet table is wanted"
    ),
    "ingest @none.list --out out": "no source was given",
    "infer points @none.list --out out": "no event file was given",
    "summarize @none.list --out out": "no event file was given",
    "evaluate @none.list --out out": "no event file was given",
    "evaluate ingest_0.h5 --out out": "nothing to compare",
    "export @none.list --out out": "no event file was given",
    "collect @none.list --metrics figures_0.parquet --ingested ingest_0.h5 --out out": "has no tables",
    "train segment @none.list --validation ingest_0.h5 --log log --out out": "no event to train segment on in no files",
    "train segment ingest_0.h5 --validation @none.list --log log --out out": (
        "no event to validate segment on in no files; give a sample with the split validation"
    ),
    "reconstruct '' --out out": "a name of a file is empty",
    "release --out out": "nothing to do: name weights",
    "audit empty": "holds no tables of shards",
    "show empty": "has no dataset",
    "view empty --no-browser": "is not a folder of results",
    "compare empty empty": "does not exist; give the folder",
    "simulate": "needs --out",
}


@pytest.mark.parametrize("words", WRONG)
def test_no_verb_does_nothing_in_silence(folder, monkeypatch, words):
    monkeypatch.chdir(folder)
    verb = ["" if word == "''" else word.replace("{tables}", f"tables/{UIDS[0]}") for word in words.split()]
    said = CliRunner().invoke(app, verb)
    assert said.exit_code == 2 and WRONG[words] in said.output, said.output
    assert "Traceback" not in said.output and not (folder / "out").exists()


def test_a_split_without_a_sample_is_an_empty_list_and_said(folder, monkeypatch):
    """As the figures of a production of samples without truth."""
    monkeypatch.chdir(folder)
    said = CliRunner().invoke(
        app, ["plan", "samples.tsv", "--path", "{shard}", "--split", "validation", "--out", "shards"]
    )
    assert said.exit_code == 0 and (folder / "shards").read_text() == ""
    assert "shards: empty, as no sample of samples.tsv is for validation" in said.output


def test_a_folder_without_a_lock_is_said(folder):
    said = CliRunner().invoke(app, ["unlock", str(folder / "empty")])
    assert said.exit_code == 0 and "nothing is locked" in said.output
