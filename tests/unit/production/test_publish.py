"""Results published to real servers of this machine: whole or not at all, again, and never over those of others."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import http_server, s3_server, xrootd_server

from lartpc.remote import check_copy, read_catalogue
from lartpc.run import servers
from lartpc.run.servers import get, state_of
from lartpc.run.servers.publish import publish

needs_xrootd = pytest.mark.skipif(not shutil.which("xrootd"), reason="needs Debian's xrootd-server")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Files of the names that a production has, some of them empty or with names that URLs quote."""
    contents = {
        "dataset/summary.json": b"{}",
        "dataset/particles/scenario=nominal/part 0.parquet": 300_000 * b"particles",
        "dataset/events/part+0.parquet": b"events",
        "dataset/empty": b"",
        "dataset/.snakemake_timestamp": b"",
        "report.html": b"<html>",
        "audit.json": b"{}",
        "config/configuration.json": b"{}",
        "events/ingest/a/0000.h5": b"voxels",
    }
    for name, content in contents.items():
        path = tmp_path / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "results"


@pytest.fixture(
    params=["http", "s3", pytest.param("root", marks=needs_xrootd), pytest.param("dav", marks=needs_xrootd)]
)
def to(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder on a server: a plain one of HTTP, S3, XRootD, and XRootD by WebDAV."""
    monkeypatch.setattr(servers, "WAIT_S", 0.01)
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "data").mkdir()
    try:
        if request.param == "http":
            with http_server(folder / "data") as (host, _):
                yield f"{host}/deep/production"
        elif request.param == "s3":
            import boto3

            with s3_server() as settings:
                for name, value in settings.items():
                    monkeypatch.setenv(name, value)
                endpoint = settings["SNAKEMAKE_STORAGE_S3_ENDPOINT_URL"]
                keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
                boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys).create_bucket(
                    Bucket="lar"
                )
                yield "s3://lar/deep/production"
        else:
            with xrootd_server(folder, "http" if request.param == "dav" else "root") as host:
                yield f"{host}/deep/production"
    finally:
        shutil.rmtree(folder)


def test_results_are_published_and_kept_up_to_date(results: Path, to: str, tmp_path: Path) -> None:
    out = tmp_path / "published.tsv"
    done = publish(results, to, out)
    assert (len(done.files), done.num_copied, done.num_removed) == (7, 7, 0)
    assert read_catalogue(out) == done.files and all(one.checksum for one in done.files)
    copy = tmp_path / "copy"
    for one in done.files:
        get(one.url, copy)
        check_copy(copy, one)
    get(f"{to}/catalogue.tsv", copy)
    assert copy.read_text() == out.read_text()
    assert state_of(f"{to}/events/ingest/a/0000.h5") is None

    again = publish(results, to, out, with_events=True)
    states_checksums = not to.startswith("http://127") or "adler32" in str(done.files)
    assert again.num_copied == (1 if states_checksums else 8)

    (results / "dataset" / "events" / "part+0.parquet").rename(results / "dataset" / "events" / "part 1")
    (results / "report.html").write_text("<html>other")
    changed = publish(results, to, out)
    assert changed.num_removed == 2  # the events are not asked for any more
    if states_checksums:
        assert changed.num_copied == 2
    assert state_of(done.files[[one.name for one in done.files].index("report.html")].url).size == 11
    assert not [one for one in done.files if "part" in one.name and "+" in one.url and state_of(one.url)]

    out.unlink()
    (results / "audit.json").write_text("other results")
    with pytest.raises(ValueError, match=r" is there, and is another file .*--replace"):
        publish(results, to, out)
    assert not out.exists()
    publish(results, to, out, replace=True)
    get(f"{to}/audit.json", copy)
    assert copy.read_text() == "other results"


def test_a_server_that_fails_in_the_middle(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "WAIT_S", 0.01)
    out = tmp_path / "published.tsv"
    (tmp_path / "served").mkdir()
    with http_server(tmp_path / "served", num_faults=1) as (host, asked):
        publish(results, f"{host}/p", out)
        assert asked["report.html"] >= 2
        assert (tmp_path / "served/p/report.html").read_bytes() == b"<html>"
    assert not list((tmp_path / "served").rglob("*.part"))
    with (
        http_server(tmp_path / "served", num_faults=99) as (host, _),
        pytest.raises(ValueError, match=r"/other/.*: "),
    ):
        publish(results, f"{host}/other", out)
    assert not (tmp_path / "served/other/catalogue.tsv").exists()


@pytest.mark.parametrize(
    ("name", "to", "message"),
    [
        ("", "/eos/folder", "is not the URL of a folder"),
        ("", "s3://bucket/a*", "is not the URL of a folder"),
        ("audit.json", "s3://bucket/a", r"has no audit\.json; give the results"),
        ("dataset/summary.json", "s3://bucket/a", r"summary\.json does not exist"),
    ],
)
def test_what_cannot_be_published_is_refused(
    results: Path, name: str, to: str, message: str, tmp_path: Path
) -> None:
    if name:
        (results / name).unlink()
    with pytest.raises(ValueError, match=message):
        publish(results, to, tmp_path / "published.tsv")
