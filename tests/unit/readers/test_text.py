"""Text that people write, as editors and spreadsheets save it: read, or refused with file, line and remedy."""

import json
from pathlib import Path

import pytest
from test_edepsim import muon, write
from typer.testing import CliRunner

from lartpc.cli import app
from lartpc.text import json_of, text_of

ENCODINGS = {"utf-8": "utf-8", "a mark": "utf-8-sig", "UTF-16": "utf-16", "Latin-1": "latin-1"}
TEXTS = {
    "sheet.tsv": (
        "# é\nsample\tsplit\tsource\tnum_events\tnum_shards\nbeam\ttest\té.h5\t-\t-\n",
        "plan sheet.tsv --path {shard}.h5 --split test --out list.out",
    ),
    "list.txt": ("é.h5\r\n", "ingest @list.txt --out out.h5"),
    "events.txt": ("# é\n0\n", "ingest é.h5 --events @events.txt --out out.h5"),
    "catalogue.tsv": (
        "# lartpc catalogue 1\n# é\nhttp://127.0.0.1/a.h5\t10\t-\t3\n",
        "plan other.tsv --path {shard}.h5 --split test --out list.out",
    ),
    "settings.json": (
        '{"detector": "2x2",\n "centre_cm": [0, 0, 0], "é": 1}',
        "ingest é.h5 --config settings.json --out out.h5",
    ),
    "settings.yaml": ("# é\ningest: {detector: 2x2}\n", "config slice ingest --file settings.yaml"),
    "origins.json": ('{"é.h5": {"url": "http://a/é.h5"}}', "ingest é.h5 --origins origins.json --out out.h5"),
}
OTHER = {"settings.json": "settings.json: ingest.é: there is no such setting"}
"""What is said of it in every encoding, as it has a mistake."""


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(
        tmp_path / "é.h5",
        segments=[muon(event)[0] for event in (1, 2)],
        trajectories=[muon(e)[1] for e in (1, 2)],
    )
    sheet = "sample\tsplit\tsource\tnum_events\tnum_shards\nbeam\ttest\t@catalogue.tsv\t-\t-\n"
    (tmp_path / "other.tsv").write_text(sheet)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", TEXTS)
def test_files_of_text_are_read_or_refused_with_line_and_remedy(
    there: Path, name: str, encoding: str
) -> None:
    text, words = TEXTS[name]
    (there / name).write_bytes(text.encode(ENCODINGS[encoding]))
    said = CliRunner().invoke(app, words.split())
    if encoding == "Latin-1":
        line = text[: text.index("é")].count("\n") + 1
        assert said.exit_code == 2 and said.output.count("\n") == 1
        assert (
            f"{name}, line {line}: byte e9 is not UTF-8 text (it may be Latin-1); save it as UTF-8"
            in said.output
        )
    elif name in OTHER:
        assert said.exit_code == 2 and OTHER[name] in said.output
    else:
        assert said.exit_code == 0, said.output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ("[1]", "holds list, and must be an object"),
        ('{"a": ', "not JSON"),
        ("", "not JSON"),
        ("version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer, not the file"),
        ("a\0b", "line 1: has zero bytes"),
    ],
)
def test_what_is_wrong_with_json_is_said(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=words) as error:
        json_of(tmp_path / "a.json", "write it again")
    assert str(tmp_path / "a.json") in str(error.value)


@pytest.mark.parametrize("text", ["a:\n\t- b", '{"a": ', "\1", "3", "[1]"])
def test_what_is_no_settings_is_said_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    said = CliRunner().invoke(app, ["config", "slice", "ingest", "--file", str(path)])
    assert said.exit_code == 2 and said.output.count("\n") == 1 and f"{path}: " in said.output
    said = CliRunner().invoke(
        app, ["ingest", "a.h5", "--origins", str(path), "--out", str(tmp_path / "o.h5")]
    )
    assert said.exit_code == 2 and said.output.count("\n") == 1 and f"{path}: " in said.output


def test_origins_of_other_fields_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content in ({"a.h5": {"link": "x"}}, {"a.h5": 3}):
        path.write_text(json.dumps(content))
        said = CliRunner().invoke(
            app, ["ingest", "a.h5", "--origins", str(path), "--out", str(tmp_path / "o.h5")]
        )
        assert said.exit_code == 2 and "must have url, size, checksum" in said.output


def test_line_ends_of_all_systems(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a\r\nb\rc\n")
    assert text_of(tmp_path / "a") == "a\nb\nc\n"


@pytest.mark.parametrize(
    "words",
    [
        "ingest a.h5 --out out.h5",
        "ingest a.root --out out.h5",
        "ingest a.parquet --out out.h5",
        "infer points a.h5 a.h5 --out out.h5",
        "summarize a.h5 --out out",
        "plan a.tsv --path {shard} --split test --out list.out",
        "ingest a.h5 --config a.json --out out.h5",
        "config slice ingest --file a.yaml",
        "quality budget a.parquet --out out.md",
        "clustering table a.parquet --out out.md",
        "interactions --graph a.parquet --rules a.parquet --out out.md",
        "export-model a.pt --out out.ts",
    ],
)
def test_pointers_of_git_lfs_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    for suffix in ("h5", "root", "parquet", "pt", "yaml", "tsv", "json"):
        Path(f"a.{suffix}").write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
        )
    said = CliRunner().invoke(app, words.split())
    assert said.exit_code == 2 and "is a Git LFS pointer, not the file" in said.output and "a." in said.output
    assert not list(tmp_path.glob("out*"))


def test_an_output_without_a_name_is_refused(there: Path) -> None:
    said = CliRunner().invoke(app, ["ingest", "é.h5", "--out", ""])
    assert said.exit_code == 2 and "'.' is no name of a file or a folder to write" in said.output
    said = CliRunner().invoke(app, ["unlock", "é.h5"])
    assert said.exit_code == 2 and "é.h5 is a file; name the folder" in said.output
