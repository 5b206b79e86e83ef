"""Files that are replaced while a job reads them end it: what it wrote would not be made from what it says."""

import os

import pytest
from handmade import write_production, write_shard

from lartpc import config
from lartpc.faults import PassingError
from lartpc.run.collect import collect
from lartpc.run.infer import infer
from lartpc.run.summarize import summarize
from lartpc.stages import stage
from lartpc.steady import Steady

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
