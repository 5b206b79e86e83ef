"""Shards joined into one dataset, and the counts that must add up."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from handmade import good_event, write_shard

from lartpc.event import TRUTH
from lartpc.run.collect import collect, read_summary
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.quality.pool import pool
from lartpc.run.summarize import summarize
from lartpc.tables import TABLES

UIDS = ("beam/0000", "beam/0001", "real/a")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    root = tmp_path_factory.mktemp("shards")
    ingest, folders, figures = [], [], []
    for uid in UIDS:
        events = [good_event()] if uid == "real/a" else None
        paths = write_shard(root, uid, events, truth=() if uid == "real/a" else TRUTH)
        folders.append(root / "tables" / uid)
        summarize(paths, folders[-1])
        figures.append(root / "metrics" / f"{uid}.parquet")
        evaluate(paths, figures[-1])
        ingest.append(paths[0])
    return root, {"shard_dirs": folders, "metric_files": figures, "ingest_files": ingest}


@pytest.fixture
def shards(pristine, tmp_path):
    """Files that a test may spoil."""
    root, paths = pristine
    shutil.copytree(root, tmp_path / "shards")
    return {name: [tmp_path / "shards" / p.relative_to(root) for p in found] for name, found in paths.items()}


def rewrite(path, change):
    table = pq.read_table(path)
    pq.write_table(change(table).cast(table.schema), path)


def test_dataset_opens_in_one_line(shards, tmp_path):
    summary = collect(**shards, out_dir=tmp_path / "dataset")
    for name in TABLES:
        assert len(pd.read_parquet(tmp_path / "dataset" / name)) == summary["rows"][name]
    particles = pd.read_parquet(tmp_path / "dataset" / "particles")
    assert set(particles["sample"]) == {"beam", "real"} and len(particles) == 12
    assert particles["semantic"].dtype == "category"
    assert particles["semantic"].tolist()[:4] == ["track", "delta", "shower", "track"]
    joined = particles.merge(
        pd.read_parquet(tmp_path / "dataset" / "truth_particles"),
        on=["file_uid", "entry", "truth_particle_id"],
    )
    assert len(joined) == 8


def test_figures_are_those_of_the_whole_table(shards, tmp_path):
    summary = collect(**shards, out_dir=tmp_path / "dataset", rows_per_file=2)
    assert len(list((tmp_path / "dataset" / "metrics").iterdir())) > 1
    whole = pool(pq.read_table(tmp_path / "dataset" / "metrics"))
    assert whole["predicted"]["num_events"] > 2
    assert summary["figures"] == json.loads(
        json.dumps(whole).replace("NaN", "null").replace("Infinity", "null")
    )


def test_units_are_kept(shards, tmp_path):
    collect(**shards, out_dir=tmp_path / "dataset")
    field = ds.dataset(tmp_path / "dataset" / "particles").schema.field("energy_mev")
    assert field.metadata[b"unit"] == b"MeV"


def test_summary(shards, tmp_path):
    summary = collect(**shards, out_dir=tmp_path / "dataset")
    assert summary == read_summary(tmp_path / "dataset")
    assert (summary["num_events"], summary["num_ok"], summary["num_quarantined"]) == (11, 9, 2)
    assert summary["samples"]["beam"] == {"events": 10, "quarantined": 2, "voxels": 194}
    assert summary["throughput"]["ingest"]["voxels_per_s"] == pytest.approx((97 + 97 + 47) / 6)
    assert summary["quarantine"] == [
        {"step": "cluster", "reason": "ValueError: drawn to fail", "num_events": 2}
    ]
    assert summary["figures"]["predicted"]["particle_efficiency"] == pytest.approx(0.725)
    assert "NaN" not in json.dumps(summary)


def test_large_tables_get_several_files(shards, tmp_path):
    collect(**shards, out_dir=tmp_path / "dataset", rows_per_file=4)
    assert len(list((tmp_path / "dataset" / "particles").iterdir())) == 3
    assert len(pd.read_parquet(tmp_path / "dataset" / "particles")) == 12


def test_a_dataset_is_replaced_whole(shards, tmp_path):
    out = tmp_path / "dataset"
    collect(**shards, out_dir=out, rows_per_file=4)
    collect(**shards, out_dir=out)
    assert len(list((out / "particles").iterdir())) == 1
    assert sorted(path.name for path in tmp_path.glob("dataset*")) == ["dataset"]


def test_no_shard_at_all(tmp_path):
    summary = collect([], [], [], tmp_path / "dataset")
    assert summary["num_events"] == 0 and pd.read_parquet(tmp_path / "dataset" / "events").empty


def test_threads_of_dask_make_the_same(shards, tmp_path):
    collect(**shards, out_dir=tmp_path / "one")
    collect(**shards, out_dir=tmp_path / "two", num_workers=2)
    for path in (tmp_path / "one").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_a_lost_event_is_named(shards, tmp_path):
    rewrite(shards["shard_dirs"][1] / "events.parquet", lambda table: table.slice(0, 4))
    with pytest.raises(ValueError, match=r"beam/0001: 5 events were ingested, but events has 4 rows"):
        collect(**shards, out_dir=tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


def test_a_lost_shard_is_named(shards, tmp_path):
    del shards["shard_dirs"][0]
    with pytest.raises(ValueError, match="beam/0000: was ingested but has no tables"):
        collect(**shards, out_dir=tmp_path / "dataset")


def test_a_shard_given_twice_is_named(shards, tmp_path):
    shards["shard_dirs"].append(shards["shard_dirs"][0])
    with pytest.raises(ValueError, match="beam/0000: its tables are given twice"):
        collect(**shards, out_dir=tmp_path / "dataset")


def test_a_lost_particle_and_its_references_are_named(shards, tmp_path):
    rewrite(shards["shard_dirs"][0] / "particles.parquet", lambda table: table.slice(1))
    with pytest.raises(ValueError, match=r"truth_particles.particle_id: not in particles \(entries 0\)"):
        collect(**shards, out_dir=tmp_path / "dataset")


def test_a_doubled_row_is_named(shards, tmp_path):
    def twice(table):
        return table.take(np.r_[0, np.arange(table.num_rows)])

    rewrite(shards["shard_dirs"][0] / "points.parquet", twice)
    with pytest.raises(ValueError, match=r"beam/0000: points: rows with the same key \(entries 0\)"):
        collect(**shards, out_dir=tmp_path / "dataset")


def test_lost_figures_are_named(shards, tmp_path):
    rewrite(shards["metric_files"][1], lambda table: table.slice(1))
    with pytest.raises(ValueError, match=r"beam/0001: 4 events went through the chain, but metrics has 3"):
        collect(**shards, out_dir=tmp_path / "dataset")


def test_tables_of_another_version_are_refused(shards, tmp_path):
    path = shards["shard_dirs"][0] / "points.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["score"]), path)
    with pytest.raises(ValueError, match="other columns than table 'points'"):
        collect(**shards, out_dir=tmp_path / "dataset")
