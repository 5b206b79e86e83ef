"""A file in the place of another is refused before anything is written: by each verb that reads, and that writes."""

import json
import shutil
from pathlib import Path

import pytest
from handmade import write_production
from training import section
from typer.testing import CliRunner

from lartpc.cli import app
from lartpc.config import slice_of
from lartpc.run.collect import collect
from lartpc.run.weights import read_weights

A, B = "beam/0000", "other/0000"
CHAIN = "summarize {ingest} {segment} {points} {cluster} {interact}"
TRAIN = "train segment {ingest} --validation {ingest_b} --config s.json"
WRONG = {
    "infer points {ingest} {segment_b} --out o.h5": "{segment_b} holds other events (other/0000) than {ingest}",
    "summarize {ingest} {segment} {points_b} {cluster} {interact} --out o": "{points_b} holds other events",
    "evaluate {ingest} {segment} {points} {cluster} {interact_b} --out o.parquet": "{interact_b} holds other events",
    "infer points {ingest} {segment} --out {ingest}": "--out {ingest} is a file that is read here",
    "infer points {ingest} @list --out list": "--out list is a file that is read here",
    "infer points {ingest} @list --out {segment}": "--out {segment} is a file that is read here",
    "infer points {ingest} {segment} --config s.json --out link.json": "--out link.json is a file that is read here",
    CHAIN + " --out o --metrics {cluster}": "--metrics {cluster} is a",
    TRAIN + " --log l.jsonl --out {ingest_b}": "--out {ingest_b} is",
    TRAIN + " --log {ingest} --out w.pt": "--log {ingest} is a file",
    TRAIN + " --log w --out w": "--out and --log are both w",
    "view {ingest} --json {ingest}": "--json {ingest} is a file that is read here",
    CHAIN + " --out r/dataset": "is not a folder of such tables",
    "collect r/tables/beam/0000 {of_a} --out r/tables/other/0000": "is not a folder of such tables",
    "collect r/tables/beam/0000 {of_a} --metrics copy.parquet --out o": (
        "beam/0000: its figures on input 'predicted' are given twice, by {figures} and copy.parquet"
    ),
    "collect r/tables/beam/0000 {of_a} --ingested {ingest} --out o": (
        "beam/0000: its ingested event file is given twice"
    ),
    "report r/dataset --curve s.json --out o.html": "s.json is no training curve",
    "report r/dataset --results s.json --out o.html": "s.json is a file; name the folder",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swapped")
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        collect(*write_production(Path("r"), [A, B]), Path("r/dataset"))
        settings = section("segment", num_steps=1, validate_every=1, num_workers=0)
        Path("s.json").write_text(json.dumps(slice_of(settings, "train")))
        Path("link.json").symlink_to("s.json")
        Path("list").write_text(f"r/events/segment/{A}.h5\n")
        shutil.copy(f"r/metrics/chain/{A}.parquet", "copy.parquet")
    return folder


def names():
    """Return the files of both shards by their steps."""
    steps = ("ingest", "segment", "points", "cluster", "interact")
    files = {step: f"r/events/{step}/{A}.h5" for step in steps}
    files |= {f"{step}_b": f"r/events/{step}/{B}.h5" for step in steps}
    files["figures"] = f"r/metrics/chain/{A}.parquet"
    return files | {"of_a": f"--metrics {files['figures']} --ingested {files['ingest']}"}


def there(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("words", WRONG)
def test_it_is_refused_and_nothing_is_changed(folder, monkeypatch, words):
    monkeypatch.chdir(folder)
    before = there(folder)
    said = CliRunner().invoke(app, words.format(**names()).split())
    assert said.exit_code == 2 and WRONG[words].format(**names()) in said.output, said.output
    assert there(folder) == before


@pytest.mark.parametrize("validation", ["ingest", "ingest_b"])
def test_events_of_the_training_in_its_validation_are_said(folder, tmp_path, monkeypatch, validation):
    monkeypatch.chdir(folder)
    files = names()
    verb = ["train", "segment", files["ingest"], "--validation", files[validation], "--config", "s.json"]
    out = tmp_path / "w.pt"
    said = CliRunner().invoke(app, [*verb, "--log", str(tmp_path / "l.jsonl"), "--out", str(out)])
    assert said.exit_code == 0, said.output
    warning = json.loads(read_weights(out)["provenance"]).get("warning", "")
    if validation == "ingest_b":
        assert "warning" not in said.output and not warning
    else:
        assert "warning: the validation has events of the training (beam/0000)" in said.output
        assert "its figures say nothing of other events" in warning
