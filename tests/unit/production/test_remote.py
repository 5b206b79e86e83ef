"""Files on servers: catalogues, plans that ask no server, and copies that must be whole."""

import hashlib
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from handmade_steps import g4_muon, write_geant4
from servers import http_server
from test_plan import HEADER

from lartpc.choice import asked_for
from lartpc.config import Ingest
from lartpc.ingest.formats.geant4 import FORMAT
from lartpc.plan import plan
from lartpc.remote import HEADER as FIRST_LINE
from lartpc.remote import RemoteFile, check_copy, is_pattern, is_url, local_names, patterns_of, read_catalogue
from lartpc.run.ingest import ingest
from lartpc.run.servers.catalogue import catalogue, write_catalogue

URLS = ("https://host/a.h5", "s3://bucket/raw/a.h5", "root://host:1094//eos/b.root", "root://host/eos/b.root")


def sheet(folder: Path, source: str, num_shards: str = "-") -> list[Path]:
    path = folder / "samples.tsv"
    path.write_text(f"{HEADER}data\ttest\t{source}\t-\t{num_shards}\n")
    return [path]


def listed(folder: Path, *lines: str) -> Path:
    path = folder / "files.tsv"
    path.write_text("\n".join([f"{FIRST_LINE}, today", *lines]) + "\n")
    return path


def test_urls_are_told_from_paths() -> None:
    assert all(map(is_url, URLS))
    assert not any(map(is_url, ("a.h5", "/eos/a.h5", "nuhepmc:a", "https://host", "ftp://host/a", "s3:/a/b")))
    assert is_pattern("s3://b/*.h5") and is_pattern("root://h//a[0-9]") and not is_pattern("https://h/a?b=*")
    assert RemoteFile("https://host/a.h5?x=1/2").name == "a.h5"
    assert local_names([RemoteFile(url) for url in (*URLS[:2], "s3://b/c.h5")]) == [
        "0-a.h5",
        "1-a.h5",
        "c.h5",
    ]


def test_a_catalogue_is_what_it_was_written_from(tmp_path: Path) -> None:
    files = [
        RemoteFile(URLS[0], 12, "adler32:00ff00ff", 3),
        RemoteFile(URLS[1]),
        RemoteFile(URLS[2], 5, f"md5:{32 * 'a'}"),
    ]
    assert read_catalogue(listed(tmp_path, *map(str, files), "# a remark")) == files
    (tmp_path / "plain.txt").write_text("a.h5\n")
    assert read_catalogue(tmp_path / "plain.txt") is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("https://host/a.h5", "line 2: must have url, size, checksum, events"),
        ("a.h5\t-\t-\t-", "'a.h5' is not the URL of a file"),
        ("s3://b/*.h5\t-\t-\t-", "is not the URL of a file"),
        ("s3://b/a\tbig\t-\t-", "whole numbers"),
        ("s3://b/a\t1\tcrc:12\t-", "must be ALGORITHM:HEX"),
        ("s3://b/a\t1\t-\t-\ns3://b/a\t1\t-\t-", "names s3://b/a twice"),
    ],
)
def test_a_catalogue_that_cannot_be_used_is_refused(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_catalogue(listed(tmp_path, line))


def test_a_copy_must_be_whole(tmp_path: Path) -> None:
    content = b"some bytes" * 1000
    path = tmp_path / "a"
    path.write_bytes(content)
    for checksum in (
        "",
        f"adler32:{zlib.adler32(content):08x}",
        f"md5:{hashlib.md5(content).hexdigest()}",
        f"sha256:{hashlib.sha256(content).hexdigest()}",
    ):
        check_copy(path, RemoteFile("s3://b/a", len(content), checksum))
    path.write_bytes(content[:-1] + b"x")
    with pytest.raises(ValueError, match=r"s3://b/a: what came has adler32 \w{8}, it has"):
        check_copy(path, RemoteFile("s3://b/a", len(content), f"adler32:{zlib.adler32(content):08x}"))
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="9999 bytes came, it has 10000"):
        check_copy(path, RemoteFile("s3://b/a", len(content)))


def test_plans_ask_no_server(tmp_path: Path) -> None:
    (one,) = plan(sheet(tmp_path, URLS[0]), 1, 500)
    assert (one.sources, one.remote, one.name) == ((URLS[0],), (RemoteFile(URLS[0]),), "a")
    (tmp_path / "urls.txt").write_text("\n".join(URLS) + "\n")
    shards = plan(sheet(tmp_path, f"@{tmp_path}/urls.txt"), 1, 500)
    assert [shard.sources[0] for shard in shards] == list(URLS)
    assert len({shard.name for shard in shards}) == len(URLS)
    with pytest.raises(
        ValueError,
        match=r"line 2: .*samples\.data\.catalogue\.tsv is not the list of s3://b/\*\.h5: run snakemake again",
    ):
        plan(sheet(tmp_path, "s3://b/*.h5"), 1, 500)
    (tmp_path / "urls.txt").write_text("s3://b/*.h5\n")
    with pytest.raises(ValueError, match=r"urls\.txt has the pattern s3://b/\*\.h5; write it in the sheet"):
        plan(sheet(tmp_path, f"@{tmp_path}/urls.txt"), 1, 500)
    (tmp_path / "urls.txt").write_text(f"{URLS[0]}\n{tmp_path}/urls.txt\n")
    with pytest.raises(ValueError, match="names files on servers and others, such as"):
        plan(sheet(tmp_path, f"@{tmp_path}/urls.txt"), 1, 500)


def test_a_pattern_is_listed_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def list_pattern(pattern: str, path: Path) -> None:
        asked.append(pattern)
        write_catalogue(path, [RemoteFile(pattern.replace("*", name), 5) for name in "ab"], 1, [pattern])

    for pattern in ("s3://b/*.h5", "s3://b/*.h5", "root://h//run/*.h5"):
        shards = plan(sheet(tmp_path, pattern), 1, 500, list_pattern)
        assert [shard.remote for shard in shards] == [
            (RemoteFile(pattern.replace("*", name), 5),) for name in "ab"
        ]
        assert plan(sheet(tmp_path, pattern), 1, 500) == shards  # as the jobs do, from what is written
    assert asked == ["s3://b/*.h5", "root://h//run/*.h5"]
    listing = tmp_path / "samples.data.catalogue.tsv"
    assert patterns_of(listing) == ["root://h//run/*.h5"]
    with http_server(tmp_path) as (host, _), pytest.raises(ValueError, match="list no files"):
        plan(sheet(tmp_path, f"{host}/*.h5"), 1, 500, lambda one, path: catalogue([one], path))


def test_ten_thousand_files_are_planned(tmp_path: Path) -> None:
    files = [RemoteFile(f"root://eos//data/run{n}.h5", 10**9, f"adler32:{n:08x}", 100) for n in range(10_000)]
    catalogue_file = listed(tmp_path, *map(str, files))
    shards = plan(sheet(tmp_path, f"@{catalogue_file}"), 1, 500)
    assert len(shards) == 500
    assert sorted(one.url for shard in shards for one in shard.remote) == sorted(one.url for one in files)


def test_a_catalogue_states_sizes_and_keeps_what_it_knows(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.h5").write_bytes(b"abc")
    out = tmp_path / "files.tsv"
    with http_server(tmp_path / "files") as (host, asked):
        url = f"{host}/a.h5"
        assert catalogue([url], out).files == [RemoteFile(url, 3)]
        assert read_catalogue(out) == [RemoteFile(url, 3)]
        out.write_text(f"{FIRST_LINE}\n{RemoteFile(url, 3, '', 7)}\n")
        assert catalogue([url], out).files == [RemoteFile(url, 3, "", 7)]
        (tmp_path / "files" / "a.h5").write_bytes(b"abcd")
        assert catalogue([url], out).files == [RemoteFile(url, 4)]
        with pytest.raises(ValueError, match=r"b\.h5: 404"):
            catalogue([f"{host}/b.h5"], out)
    assert not asked  # no file was read
    with pytest.raises(ValueError, match="is not the URL of files"):
        catalogue(["a.h5"], out)
    with pytest.raises(ValueError, match="servers of HTTP list no files"):
        catalogue(["https://host/*.h5"], out)


def test_a_catalogue_has_versions(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for name in "ab":
        (files / name).write_bytes(b"abc")
    out = tmp_path / "files.tsv"
    with http_server(files) as (host, _):
        first = catalogue([f"{host}/a", f"{host}/b"], out)
        assert str(first) == "version 1, 2 files, 6e-09 GB"
        before = out.read_text()
        assert before.startswith(f"{FIRST_LINE}, version 1, 20")
        assert catalogue([f"{host}/a", f"{host}/b"], out) == first and out.read_text() == before
        (files / "b").write_bytes(b"abcd")
        (files / "c").write_bytes(b"")
        second = catalogue([f"{host}/b", f"{host}/c"], out)
    assert str(second) == "version 2, 2 files, 4e-09 GB, 1 new, 1 changed, 1 gone"
    assert out.read_text().startswith(f"{FIRST_LINE}, version 2, 20")


def steps(path: Path, num: int) -> Path:
    """Write a file of muons."""
    muons = [g4_muon(number, y=10.0 * number) for number in range(num)]
    rows = [list(rows) for rows in zip(*muons, strict=True)]
    return write_geant4(path, *rows, events=range(num), format=FORMAT, centre_cm=(0.0, 0.0, 0.0))


def test_events_of_files_are_counted_and_checked(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    out = tmp_path / "files.tsv"
    paths = [steps(tmp_path / "files" / name, num) for name, num in (("a.h5", 2), ("b.h5", 3))]
    with http_server(tmp_path / "files") as (host, asked):
        urls = [f"{host}/{path.name}" for path in paths]
        counted = catalogue(urls, out, count_events=True)
        assert [one.num_events for one in counted.files] == [2, 3] and "5 events" in str(counted)
        again = catalogue(urls, out, count_events=True)
        assert again == counted and asked == {"a.h5": 1, "b.h5": 1}  # what is known is not fetched again
        (tmp_path / "files" / "c.h5").write_bytes(b"no events")
        with pytest.raises(ValueError, match=r"http://127.*/c\.h5: the file"):
            catalogue([f"{host}/c.h5"], tmp_path / "other.tsv", count_events=True)
        # what a production read says it, too
        known = {
            path.name: replace(one, num_events=None) for path, one in zip(paths, counted.files, strict=True)
        }
        events = tmp_path / "results" / "events" / "ingest" / "far"
        ingest(paths, Ingest(), out=events / "0000.h5", file_uid="far/0000", origins=known)
        out.unlink()
        assert catalogue(urls, out, results=tmp_path / "results").files == counted.files
        ingest(
            paths[:1],
            Ingest(),
            out=events / "0000.h5",
            file_uid="far/0000",
            origins=known,
            events=asked_for("first 1"),
        )
        found = catalogue(urls, tmp_path / "new.tsv", results=tmp_path / "results").files
        assert [one.num_events for one in found] == [2, None]
    other = {"a.h5": replace(counted.files[0], num_events=7)}
    with pytest.raises(ValueError, match=r"http://127.*/a\.h5 has 2 events, and 7 by its catalogue"):
        ingest(paths, Ingest(), out=tmp_path / "a.h5", file_uid="a", origins=other)
