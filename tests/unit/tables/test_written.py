"""Verbs that read a dataset do not take a table for good that is not what was collected."""

import shutil

import pytest
from handmade import write_production
from typer.testing import CliRunner

from lartpc.cli import app
from lartpc.run.collect import collect
from lartpc.tables.written import written_table

UIDS = ("beam/0000", "other/0000")
READ = {
    "compare": ("events", "metrics"),
    "report": ("events", "metrics", "interactions", "throughput"),
}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    root = tmp_path_factory.mktemp("production") / "results"
    collect(*write_production(root, UIDS), root / "dataset")
    return root / "dataset"


def words(verb, dataset, out):
    more = {"compare": [str(dataset), "--replicas", "2", "--out", str(out)], "report": ["--out", str(out)]}
    return [verb, str(dataset), *more[verb]]


def change(dataset, table):
    """Change a bit near the end of a table: in its footer, of which Parquet keeps no checksum."""
    (path,) = (dataset / table).rglob("*.parquet")
    content = bytearray(path.read_bytes())
    content[-len(content) // 4] ^= 1
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("verb", "table"), [(verb, table) for verb in READ for table in READ[verb]])
def test_a_changed_byte_of_a_table_is_named_by_each_verb(pristine, tmp_path, verb, table):
    dataset = shutil.copytree(pristine, tmp_path / "dataset")
    path = change(dataset, table)
    said = CliRunner().invoke(app, words(verb, dataset, tmp_path / "out"))
    assert said.exit_code == 2 and f"{path}: it is damaged" in said.output, said.output
    assert "run 'lartpc collect' again" in said.output


def test_a_table_that_lost_a_file_is_named(pristine, tmp_path):
    dataset = shutil.copytree(pristine, tmp_path / "dataset")
    assert list(written_table(dataset, "particles").rglob("*.parquet"))
    (path,) = (dataset / "particles").rglob("*.parquet")
    path.unlink()
    with pytest.raises(ValueError, match=f"{path}: it is missing; run"):
        written_table(dataset, "particles")


def test_a_dataset_of_an_older_version_is_read(pristine, tmp_path):
    dataset = shutil.copytree(pristine, tmp_path / "dataset")
    (dataset / "manifest.json").unlink()
    assert written_table(dataset, "events") == dataset / "events"
