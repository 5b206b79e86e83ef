"""A whole production whose files lie on servers, one of which fails, and whose tables are published to another."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from checkout import copy_checkout, run
from handmade_steps import g4_muon, write_geant4
from servers import cutting_proxy, s3_server, xrootd_server

from lartpc.ingest.formats.geant4 import FORMAT
from lartpc.remote import check_copy, patterns_of, read_catalogue
from lartpc.run.servers import get
from lartpc.run.servers.catalogue import catalogue

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("xrootd"), reason="needs Debian's xrootd-server"),
]
FILES = {"root": {"a": 2, "b": 3}, "s3": {"c": 1, "d": 2}}
"""Number of events of the files on each server."""


def write(path: Path, num_events: int) -> Path:
    """Write a file of muons, which is long enough to be cut in its middle."""
    muons = [g4_muon(number, y=10.0 * number) for number in range(num_events)]
    rows = [list(rows) for rows in zip(*muons, strict=True)]
    return write_geant4(path, *rows, events=range(num_events), format=FORMAT, centre_cm=(0.0, 0.0, 0.0))


def client_of(settings: dict[str, str]) -> Any:
    import boto3

    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=settings["SNAKEMAKE_STORAGE_S3_ENDPOINT_URL"], **keys)


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[int], Any]]:
    """Files on an XRootD server, the first two transfers of which end in the middle, and on one of S3."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "data").mkdir()
    for name, num in FILES["root"].items():
        write(folder / "data" / f"{name}.h5", num)
    with (
        xrootd_server(folder) as whole,
        cutting_proxy(int(whole.rstrip("/").rpartition(":")[2]), 2) as (port, cuts),
        s3_server() as settings,
    ):
        client = client_of(settings)
        client.create_bucket(Bucket="lar")
        for name, num in FILES["s3"].items():
            client.upload_file(str(write(tmp_path / f"{name}.h5", num)), "lar", f"raw/run1/{name}.h5")
        for name, value in {**settings, "XRD_STREAMERRORWINDOW": "1", "XRD_CONNECTIONRETRY": "1"}.items():
            monkeypatch.setenv(name, value)
        yield f"root://127.0.0.1:{port}/", cuts, client
    shutil.rmtree(folder)


def produced(folder: Path, *options: str, to: str) -> str:
    command = ("snakemake", "--cores", "2", "--config", "samples=[files.tsv]", f"publish={to}", *options)
    return run(folder, *command, seconds=900)


@pytest.mark.parametrize("published_on", ["root", "s3"])
def test_files_of_servers_become_tables_on_a_server(
    servers: tuple[str, list[int], Any], tmp_path: Path, published_on: str
) -> None:
    host, cuts, client = servers
    to = f"{host}/made/production" if published_on == "root" else "s3://lar/made/production"
    folder = copy_checkout(tmp_path)
    patterns = {"far": f"{host}/*.h5", "near": "s3://lar/raw/run*/*.h5"}
    rows = [f"{name}\treconstruct\t{pattern}\t-\t-\n" for name, pattern in patterns.items()]
    header = "sample\tsplit\tsource\tnum_events\tnum_shards\n"
    (folder / "files.tsv").write_text(header + "".join(rows))
    said = produced(folder, to=to)

    # Each pattern was asked for once, and what was found is kept beside the sheet.
    listings = {name: folder / f"files.{name}.catalogue.tsv" for name in patterns}
    found = {name: read_catalogue(path) or [] for name, path in listings.items()}
    for name, path in listings.items():
        assert patterns_of(path) == [patterns[name]]
        assert said.count(f"lartpc: {patterns[name]}: version 1, 2 files") == 1
    # One server failed in the middle of files; they came all the same, and no copy is left.
    assert len(cuts) == 2 and max(cuts) < min(one.size or 0 for one in found["far"])
    assert not list(folder.glob("results/fetched/**/*.h5*"))

    events = pd.read_parquet(folder / "results/dataset/events")
    num = {f"{name}.h5": num for files in FILES.values() for name, num in files.items()}
    assert events.groupby("source", observed=True).size().to_dict() == num

    # What is on the server is what is here.
    published = read_catalogue(folder / "results/published.tsv") or []
    get(f"{to}/catalogue.tsv", tmp_path / "copy")
    assert read_catalogue(tmp_path / "copy") == published
    for one in published:
        path = tmp_path / "published" / one.url.removeprefix(f"{to}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        get(one.url, path)
        check_copy(path, one)
    for table in ("events", "particles"):
        there = pd.read_parquet(tmp_path / "published/dataset" / table)
        pd.testing.assert_frame_equal(there, pd.read_parquet(folder / "results/dataset" / table))
    assert (tmp_path / "published/report.html").read_bytes() == (folder / "results/report.html").read_bytes()

    # Nothing is left to do, also where no server is asked; a new file is a new shard once it is listed.
    assert "Nothing to be done" in produced(folder, "--dry-run", to=to)
    client.upload_file(str(write(tmp_path / "e.h5", 1)), "lar", "raw/run2/e.h5")
    assert "Nothing to be done" in produced(folder, "--dry-run", to=to)
    assert str(catalogue([patterns["near"]], listings["near"])).endswith("1 new")
    said = produced(folder, "--dry-run", "--quiet", "rules", to=to)
    jobs = dict(
        line.split() for line in said.splitlines() if len(line.split()) == 2 and line.split()[1].isdigit()
    )
    assert jobs["fetch"] == jobs["ingest"] == jobs["segment"] == jobs["summarize"] == "1", jobs
    assert os.environ.get("XRD_LOGLEVEL") is None
