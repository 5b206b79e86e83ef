"""The tables as pandas, polars and duckdb see them."""

import json

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest
from handmade import write_shard

from lartpc.run.collect import collect
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.summarize import summarize
from lartpc.tables import TABLES

KEY = ["file_uid", "entry"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two shards, one of which has no truth, as `lartpc collect` leaves them."""
    root = tmp_path_factory.mktemp("readers")
    ingested, folders, figures = [], [], []
    for uid in ("beam/0000", "beam/0001"):
        paths = write_shard(root, uid)
        ingested.append(paths[0])
        folders.append(root / "tables" / uid)
        figures.append(root / "metrics" / f"{uid}.parquet")
        summarize(paths, folders[-1])
        evaluate(paths, figures[-1])
    collect(folders, figures, ingested, root / "dataset")
    return root / "dataset"


READERS = {
    "pandas": lambda folder: pd.read_parquet(folder).to_dict("list"),
    "polars": lambda folder: pl.read_parquet(folder).to_dict(as_series=False),
    "duckdb": lambda folder: duckdb.sql(f"SELECT * FROM '{folder}/*.parquet'").pl().to_dict(as_series=False),
}


@pytest.mark.parametrize("name", TABLES)
def test_all_readers_find_the_same_rows(dataset, name):
    num = ds.dataset(dataset / name).count_rows()
    key = list(TABLES[name].key)
    rows = {}
    for reader, read in READERS.items():
        found = read(dataset / name)
        assert list(found) == list(TABLES[name].fields), reader
        rows[reader] = sorted(zip(*(map(str, found[column]) for column in key), strict=True))
        assert len(rows[reader]) == num == len(set(rows[reader])), reader
    assert rows["pandas"] == rows["polars"] == rows["duckdb"]


@pytest.mark.parametrize("reader", READERS)
def test_words_are_words(dataset, reader):
    found = READERS[reader](dataset / "particles")
    assert found["species"] == ["muon", "electron", "electron", "pion"] * 2
    assert found["semantic"][:2] == ["track", "delta"] and found["energy_mev"][0] == 36.0
    status = READERS[reader](dataset / "events")["status"]
    assert status.count("quarantined") == 2 and status.count("ok") == 8


def test_joins_by_name(dataset):
    keys = [*KEY, "interaction_id"]
    folders = {name: dataset / name for name in ("particles", "interactions")}
    frames = {name: pd.read_parquet(folder) for name, folder in folders.items()}
    by_pandas = frames["particles"].merge(frames["interactions"], on=keys, suffixes=("", "_all"))
    by_polars = pl.read_parquet(folders["particles"]).join(pl.read_parquet(folders["interactions"]), on=keys)
    by_duckdb = duckdb.sql(
        f"SELECT p.species, i.topology FROM '{folders['particles']}/*.parquet' p "
        f"JOIN '{folders['interactions']}/*.parquet' i USING (file_uid, entry, interaction_id)"
    ).fetchall()
    assert len(by_pandas) == len(by_polars) == len(by_duckdb) == 8
    expected = sorted([("muon", "1e1mu"), ("electron", "1e1mu"), ("electron", "1e1mu"), ("pion", "1pi")] * 2)
    assert sorted(by_duckdb) == expected
    assert sorted(by_polars.select("species", "topology").rows()) == expected
    assert (
        sorted(by_pandas[["species", "topology"]].astype(str).itertuples(index=False, name=None)) == expected
    )


def test_units_and_version_are_in_the_files(dataset):
    schema = ds.dataset(dataset / "particles").schema
    assert schema.field("energy_mev").metadata[b"unit"] == b"MeV"
    assert "muon" in json.loads(schema.field("species").metadata[b"words"])
    found = duckdb.sql(
        f"SELECT key, value FROM parquet_kv_metadata('{dataset}/particles/*.parquet')"
    ).fetchall()
    assert dict(found)[b"schema_version"] == schema.metadata[b"schema_version"]
    assert pl.read_parquet_metadata(next((dataset / "particles").glob("*.parquet")))["table"] == "particles"
