"""Shards joined into one dataset, and the counts that must add up."""

import json
import shutil
import subprocess
from contextlib import suppress

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from handmade import good_event, write_shard

from lartpc.event import TRUTH
from lartpc.run.collect import collect, read_summary
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.quality.pool import pool
from lartpc.run.report.figures import outside_domain
from lartpc.run.shards import check_shard
from lartpc.run.summarize import summarize
from lartpc.tables import TABLES
from lartpc.tables.manifest import read_manifest, write_manifest
from lartpc.tables.write import read_figures, seal_pages

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
    """Change a table, as a fault in its making would: with the manifest of its folder in step."""
    table = pq.read_table(path)
    with pa.OSFile(str(path), "wb") as sink, pq.ParquetWriter(sink, table.schema) as writer:
        writer.write_table(change(table).cast(table.schema))
        seal_pages(writer, sink, path)
    seal(path.parent)


def seal(folder):
    if (folder / "manifest.json").is_file():
        said = read_manifest(folder, "")
        del said["files"]
        write_manifest(folder, said)


def with_column(name, change):
    def changed(table):
        return table.set_column(table.schema.get_field_index(name), name, change(table[name]))

    return changed


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
    beam = summary["samples"]["beam"]
    assert {key: beam[key] for key in ("events", "quarantined", "voxels")} == {
        "events": 10,
        "quarantined": 2,
        "voxels": 194,
    }
    assert beam["energy_mev"] == pytest.approx(2 * (96 + 0.3)) and beam["energy_outside_mev"] == 2 * 3.0
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
    with_time = {"ro-crate-metadata.json", "manifest.json"}
    for path in (path for path in (tmp_path / "one").rglob("*.*") if path.name not in with_time):
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
    seal(path.parent)
    with pytest.raises(ValueError, match="other columns than table 'points'"):
        collect(**shards, out_dir=tmp_path / "dataset")


def test_energies_that_do_not_add_up_are_named(shards, tmp_path):
    """A particle of 20 GeV in an event of 98 MeV; an event that lost energy; an interaction that gained some."""
    folder = shards["shard_dirs"][0]
    for table, column, said in (
        (
            "particles",
            "energy_mev",
            r"beam/0000: particles: more energy than the voxels of their event \(entries 0\)",
        ),
        (
            "events",
            "energy_below_mev",
            r"beam/0000: events: energies do not add up to energy_mev \(entries 0, 1, 3, 4\)",
        ),
        (
            "interactions",
            "energy_mev",
            r"interactions: energy_mev is not that of their particles \(entries 0, 0\)",
        ),
    ):
        spoilt = tmp_path / table
        shutil.copytree(folder, spoilt)
        rewrite(spoilt / f"{table}.parquet", with_column(column, lambda values: pc.add(values, 20_000.0)))
        with pytest.raises(ValueError, match=said):
            collect(
                **{**shards, "shard_dirs": [spoilt, *shards["shard_dirs"][1:]]}, out_dir=tmp_path / "dataset"
            )


def test_events_ingested_again_are_not_those_of_the_tables(shards, tmp_path):
    events = [good_event() for _ in range(5)]
    paths = write_shard(tmp_path / "again", "beam/0000", events)
    shards["ingest_files"][0] = paths[0]
    with pytest.raises(
        ValueError, match="beam/0000: its events were ingested again since its tables were made"
    ):
        collect(**shards, out_dir=tmp_path / "dataset")
    evaluate(paths, shards["metric_files"][0])
    with pytest.raises(
        ValueError, match=r"0000.parquet was made from another '.* of beam/0000' than the tables"
    ):
        collect(**shards, out_dir=tmp_path / "dataset")


def test_a_changed_byte_of_a_shards_tables_is_named(shards, tmp_path):
    rng = np.random.default_rng(1)
    folder = shards["shard_dirs"][0]
    for path in (*sorted(folder.iterdir()), shards["metric_files"][0]):
        whole = path.read_bytes()
        for place in rng.integers(0, len(whole), 4):
            spoilt = bytearray(whole)
            spoilt[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(spoilt)
            if path in shards["metric_files"]:
                try:
                    read_figures(path)
                except ValueError as error:
                    assert path.name in str(error)
                continue
            with pytest.raises(ValueError, match=rf"{path.name}"):
                check_shard(folder)
        path.write_bytes(whole)
    collect(**shards, out_dir=tmp_path / "dataset")


def test_a_sample_without_events_and_warnings_stay_in_the_summary(shards, tmp_path):
    paths = write_shard(tmp_path / "none", "nothing/0000", [])
    summarize(paths, tmp_path / "none" / "tables")
    shards["shard_dirs"].append(tmp_path / "none" / "tables")
    shards["ingest_files"].append(paths[0])
    folder = shards["shard_dirs"][1]
    said = [f"voxels of 0.{i} cm" if i == 2 else "" for i in range(5)]
    rewrite(folder / "throughput.parquet", with_column("warnings", lambda _: pa.array(said)))
    summary = collect(**shards, out_dir=tmp_path / "dataset")
    assert summary["samples"]["nothing"]["events"] == 0
    assert summary["warnings"] == [
        {"sample": "beam", "step": "points", "warning": "voxels of 0.2 cm", "num_shards": 1}
    ]
    assert outside_domain(summary) == ["beam, points: voxels of 0.2 cm (1 shard)"]


def test_a_changed_byte_of_the_summary_is_named(shards, tmp_path):
    collect(**shards, out_dir=tmp_path / "dataset")
    path = tmp_path / "dataset" / "summary.json"
    path.write_text(path.read_text().replace('"num_events": 11', '"num_events": 12'))
    with pytest.raises(ValueError, match=r"summary\.json is damaged"):
        read_summary(tmp_path / "dataset")


def test_a_full_disk_leaves_no_tables_and_no_parts(pristine, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        paths = write_shard(tmp_path, "beam/0000")
        for verb, name in ((summarize, "tables"), (evaluate, "metrics.parquet")):
            if verb is evaluate:
                with suppress(OSError):
                    (disk / "other").write_bytes(bytes(65_536))
            with pytest.raises(OSError, match="No space left on device"):
                verb(paths, disk / name)
            assert {path.name for path in disk.iterdir()} <= {"other"}
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
