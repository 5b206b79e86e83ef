"""Productions of files on real servers of this machine: fetched for their jobs, whole or not at all, and removed."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from checkout import copy_checkout, environment
from handmade_steps import g4_muon, write_geant4
from servers import cutting_proxy, http_server, s3_server, xrootd_server

from lartpc.ingest.formats.geant4 import FORMAT
from lartpc.remote import RemoteFile, read_catalogue
from lartpc.run.servers.catalogue import catalogue
from lartpc.store import open_events

pytestmark = pytest.mark.slow
NUM = {"a.h5": 2, "b.h5": 3}
needs_xrootd = pytest.mark.skipif(not shutil.which("xrootd"), reason="needs Debian's xrootd-server")


@pytest.fixture(scope="module")
def files() -> Path:
    """A folder that all users can read, with `data/a.h5` and `data/b.h5`."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "data").mkdir()
    for name, num in NUM.items():
        muons = [g4_muon(number, y=10.0 * number) for number in range(num)]
        rows = [list(rows) for rows in zip(*muons, strict=True)]
        write_geant4(
            folder / "data" / name, *rows, events=range(num), format=FORMAT, centre_cm=(0.0, 0.0, 0.0)
        )
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = copy_checkout(tmp_path)
    monkeypatch.chdir(folder)
    return folder


def ingested(folder: Path, source: str, shards: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    """Ingest the shards of a sample of a source."""
    (folder / "files.tsv").write_text(
        f"sample\tsplit\tsource\tnum_events\tnum_shards\nfar\treconstruct\t{source}\t-\t-\n"
    )
    targets = [f"results/events/ingest/far/{name}.h5" for name in shards]
    command = ["snakemake", "--cores", "1", "--config", "samples=[files.tsv]", "--keep-going", "--", *targets]
    return subprocess.run(
        command, cwd=folder, env=environment() | more, capture_output=True, text=True, check=False
    )


def check(folder: Path, urls: list[str]) -> None:
    for url in urls:
        name = url.rpartition("/")[2]
        with open_events(folder / "results/events/ingest/far" / name) as events:
            assert len(events) == NUM[name]
            assert url in str(events.attributes()["ingest"]["source_files"])
    assert not list(folder.glob("results/fetched/**/*.h5*")), "copies are left"
    assert not (folder / ".snakemake" / "storage").exists() or not list(
        (folder / ".snakemake" / "storage").rglob("*.h5")
    )


def test_http_that_fails_in_mid_transfer(files: Path, work: Path) -> None:
    with http_server(files / "data", num_faults=4) as (host, asked):
        urls = [f"{host}/{name}" for name in NUM]
        (work / "urls.txt").write_text("\n".join(urls) + "\n")
        done = ingested(work, "@urls.txt", ["a", "b"])
        assert done.returncode == 0, done.stderr
        check(work, urls)
        assert all(asked[name] == 5 for name in NUM)


def test_a_server_that_always_fails_ends_its_shard_alone(files: Path, work: Path) -> None:
    with http_server(files / "data") as (host, _), http_server(files / "data", num_faults=99) as (bad, _):
        (work / "urls.txt").write_text(f"{host}/a.h5\n{bad}/b.h5\n")
        done = ingested(work, "@urls.txt", ["a", "b"])
    assert done.returncode != 0
    assert "fetch far, b" in done.stderr and "try 2 of 2" in done.stderr
    check(work, [f"{host}/a.h5"])
    assert not (work / "results/events/ingest/far/b.h5").exists()


def test_a_file_other_than_in_the_catalogue_is_refused(files: Path, work: Path) -> None:
    with http_server(files / "data") as (host, _):
        url = f"{host}/a.h5"
        size = (files / "data" / "a.h5").stat().st_size
        (work / "catalogue.tsv").write_text(
            f"# lartpc catalogue 1\n{RemoteFile(url, size, 'adler32:00000001')}\n"
        )
        done = ingested(work, "@catalogue.tsv", ["a"])
    assert done.returncode != 0 and "what came has adler32" in done.stderr
    assert not (work / "results/events/ingest/far/a.h5").exists()


def test_s3(files: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    with s3_server() as settings:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        client = boto3.client(
            "s3",
            endpoint_url=settings["SNAKEMAKE_STORAGE_S3_ENDPOINT_URL"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
        )
        client.create_bucket(Bucket="lar")
        for name in NUM:
            client.upload_file(str(files / "data" / name), "lar", f"raw/{name}")
        client.put_object(Bucket="lar", Key="raw/deep/c.h5", Body=b"")
        found = catalogue(["s3://lar/raw/*.h5"], work / "catalogue.tsv").files
        assert [one.url for one in found] == ["s3://lar/raw/a.h5", "s3://lar/raw/b.h5"]
        assert all(one.checksum.startswith("md5:") and one.size for one in found)
        done = ingested(work, "@catalogue.tsv", ["a", "b"], **settings)
        assert done.returncode == 0, done.stderr
        check(work, [one.url for one in found])
        with pytest.raises(ValueError, match="no file matches"):
            catalogue(["s3://lar/raw/x*.h5"], work / "none.tsv")
        with pytest.raises(ValueError, match="NoSuchBucket"):
            catalogue(["s3://other/raw/*.h5"], work / "none.tsv")


def test_s3_that_fails_in_mid_transfer(files: Path, work: Path) -> None:
    import boto3

    with s3_server() as settings:
        name = "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL"
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=settings[name], **keys)
        client.create_bucket(Bucket="lar")
        client.upload_file(str(files / "data" / "a.h5"), "lar", "a.h5")
        with cutting_proxy(int(settings[name].rpartition(":")[2]), 2) as (port, cuts):
            done = ingested(work, "s3://lar/a.h5", ["a"], **{**settings, name: f"http://127.0.0.1:{port}"})
    assert done.returncode == 0, done.stderr
    assert len(cuts) == 2 and max(cuts) < (files / "data" / "a.h5").stat().st_size
    check(work, ["s3://lar/a.h5"])


@needs_xrootd
def test_xrootd_that_fails_in_mid_transfer(files: Path, work: Path) -> None:
    with (
        xrootd_server(files) as host,
        cutting_proxy(int(host.rstrip("/").rpartition(":")[2]), 2) as (port, cuts),
    ):
        url = f"root://127.0.0.1:{port}//a.h5"
        done = ingested(work, url, ["a"], XRD_STREAMERRORWINDOW="1", XRD_CONNECTIONRETRY="1")
    assert done.returncode == 0, done.stderr
    assert len(cuts) == 2 and max(cuts) < (files / "data" / "a.h5").stat().st_size
    check(work, [url])


@needs_xrootd
def test_xrootd(files: Path, work: Path) -> None:
    with xrootd_server(files) as host:
        found = catalogue([f"{host}/*.h5"], work / "catalogue.tsv").files
        assert [one.url for one in found] == [f"{host}/{name}" for name in NUM]
        assert all(one.size for one in found)
        assert read_catalogue(work / "catalogue.tsv") == found
        done = ingested(work, "@catalogue.tsv", ["a", "b"])
        assert done.returncode == 0, done.stderr
        check(work, [one.url for one in found])
        with pytest.raises(ValueError, match=r"c\.h5: .*[Nn]o such file"):
            catalogue([f"{host}/c.h5"], work / "none.tsv")
        for run in ("run1", "run2", "other"):
            (files / "data" / run).mkdir()
            shutil.copy(files / "data/a.h5", files / "data" / run / "d.h5")
        (files / "data/run3").mkdir()
        for pattern in ("run*/d.h5", "run?/*.h5", "r*[12]/*"):
            found = catalogue([f"{host}/{pattern}"], work / "runs.tsv").files
            assert [one.url for one in found] == [f"{host}/run1/d.h5", f"{host}/run2/d.h5"]
            assert all(one.checksum.startswith("adler32:") and one.size for one in found)
    assert os.environ.get("XRD_LOGLEVEL") is None
