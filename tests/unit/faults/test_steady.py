"""Files that are replaced while a job reads them end it: what it wrote would not be made from what it says."""

import os
import shutil
from contextlib import contextmanager

import pytest
from handmade import write_production, write_shard
from training import section, train_here, write_events
from typer.testing import CliRunner

from lartpc import config
from lartpc.cli import app
from lartpc.faults import EXIT_STATUS, PassingError
from lartpc.run.collect import collect
from lartpc.run.infer import infer
from lartpc.run.summarize import summarize
from lartpc.run.training.sample import Sample
from lartpc.stages import stage
from lartpc.steady import Steady, watching

UID = "beam/0000"


def touching(monkeypatch, target, path):
    """Let a function that is called on the way make a file another one first."""
    module, _, name = target.rpartition(".")
    work = getattr(__import__(module, fromlist=[name]), name)

    def first(*words, **more):
        os.utime(path, ns=(1, 1))
        return work(*words, **more)

    monkeypatch.setattr(target, first)


def test_a_stage_ends(tmp_path, monkeypatch):
    ingested, segmented, *_ = write_shard(tmp_path, UID)
    touching(monkeypatch, "lartpc.run.infer.check_finite", segmented)
    out = tmp_path / "points.h5"
    with pytest.raises(PassingError, match=f"{segmented} was changed while it was read; give the same"):
        infer(stage("points"), [ingested, segmented], config.Points(), out=out, weights=None)
    assert not list(tmp_path.glob("points.h5*"))


def test_tables_of_a_shard_are_not_written(tmp_path, monkeypatch):
    paths = write_shard(tmp_path, UID)
    touching(monkeypatch, "lartpc.run.summarize.event_rows", paths[-1])
    with pytest.raises(PassingError, match=f"{paths[-1]} was changed"):
        summarize(paths, tmp_path / "tables")
    assert not list(tmp_path.glob("tables*"))


def test_a_dataset_is_not_written(tmp_path, monkeypatch):
    parts = write_production(tmp_path, [UID])
    touching(monkeypatch, "lartpc.run.collect.write_crate", parts[0][0] / "manifest.json")
    with pytest.raises(PassingError, match=r"manifest\.json was changed"):
        collect(*parts, tmp_path / "dataset")
    assert not list(tmp_path.glob("dataset*"))


def test_a_file_that_comes_or_goes_is_another(tmp_path):
    path = tmp_path / "a"
    steady = Steady([path])
    steady.check()
    path.touch()
    with pytest.raises(PassingError, match="a was changed"):
        steady.check()


DATASET, INGESTED = "dataset/manifest.json", f"events/ingest/{UID}.h5"
READERS = {
    "show .": DATASET,
    "show . --json": DATASET,
    "show dataset --json": DATASET,
    "audit .": DATASET,
    "report dataset --out {out}": DATASET,
    "compare dataset dataset --out {out}": DATASET,
    "michels one=dataset --out {out}": DATASET,
    "report dataset --events @all --out {out}": INGESTED,
    f"evaluate {INGESTED} events/segment/{UID}.h5 --out {{out}}": f"events/segment/{UID}.h5",
    f"evaluate {INGESTED} @list --out {{out}}": f"events/segment/{UID}.h5",
    f"export {INGESTED} --out {{out}}": INGESTED,
    f"interactions --graph metrics/chain/{UID}.parquet --rules metrics/chain/{UID}.parquet --out {{out}}": (
        f"metrics/chain/{UID}.parquet"
    ),
}


@pytest.fixture(scope="module")
def production(tmp_path_factory):
    folder = tmp_path_factory.mktemp("production") / "results"
    collect(*write_production(folder, [UID]), folder / "dataset")
    (folder / "list").write_text(f"events/segment/{UID}.h5\n")
    steps = ("ingest", "segment", "points", "cluster", "interact")
    (folder / "all").write_text("".join(f"{folder}/events/{step}/{UID}.h5\n" for step in steps))
    return folder


@pytest.mark.parametrize("words", READERS)
def test_verbs_that_print_and_write_pages_end(production, tmp_path, monkeypatch, words):
    monkeypatch.chdir(production)
    path = production / READERS[words]
    verb = words.format(out=tmp_path / "out").split()

    @contextmanager
    def and_changed(paths):
        with watching(paths):
            os.utime(path, ns=(1, path.stat().st_mtime_ns + 10**9))
            yield

    whole = CliRunner().invoke(app, verb)
    assert whole.exit_code == 0 or "audit" in words, whole.output
    for one in tmp_path.iterdir():
        shutil.rmtree(one) if one.is_dir() else one.unlink()
    monkeypatch.setattr("lartpc.cli.options.watching", and_changed)
    said = CliRunner().invoke(app, verb)
    assert said.exit_code == EXIT_STATUS and "was changed while it was read" in said.output, said.output
    assert not [one for one in tmp_path.rglob("*") if one.is_file()]


def test_a_training_ends_where_its_events_are_made_again(tmp_path):
    path = write_events(tmp_path / "ingest.h5")
    sample = Sample(stage("segment"), [path], section("segment"))
    assert sample.event(0).num_voxels
    again = Sample(stage("segment"), [path], section("segment"))
    other = write_events(tmp_path / "other.h5", first=1)
    other.replace(path)
    assert sample.event(1).num_voxels, "a file that is open stays what it was"
    with pytest.raises(PassingError, match=r"ingest\.h5 was changed since the training began"):
        again.event(0)


def test_a_training_from_other_weights_does_not_go_on_from_its_checkpoint(tmp_path, capfd):
    events = write_events(tmp_path / "ingest.h5")
    for seed in (1, 2):
        train_here(tmp_path / str(seed), events, "segment", seed=seed)
    begin = tmp_path / "begin.pt"

    def go_on(seed, num_steps):
        begin.write_bytes((tmp_path / str(seed) / "weights.pt").read_bytes())
        with pytest.MonkeyPatch.context() as here:
            if num_steps == 3:
                here.setattr("lartpc.run.training.train._finish", lambda *_: None)
            train_here(tmp_path / "run", events, "segment", init_from=str(begin))
        return capfd.readouterr().err

    go_on(1, 3)
    assert "goes on from the checkpoint of step 6" in go_on(1, 3)
    said = go_on(2, 6)
    assert "belongs to another configuration (weights to start from: " in said, said
