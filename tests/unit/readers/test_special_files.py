"""Pipes and devices in the place of files are refused by each verb that reads, before one waits for them."""

import os
import signal

import pytest
from typer.testing import CliRunner

from lartpc.cli import app
from lartpc.text import text_of

VERBS = (
    "ingest X --out o.h5",
    "ingest steps.h5 --config X --out o.h5",
    "infer points a.h5 X --out o.h5",
    "infer segment a.h5 --weights X --out o.h5",
    "summarize a.h5 --config X --out t",
    "evaluate a.h5 X --out f.parquet",
    "collect tables --metrics X --ingested a.h5 --out d",
    "collect tables --metrics m --ingested X --out d",
    "interactions --graph X --rules a --out i.md",
    "plan X --path {shard}.h5 --split test --out l",
    "train segment a.h5 --validation X --config c --log l --out w.pt",
    "reconstruct X --out mine",
    "release X --out m",
    "audit X",
    "show X",
)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("of", ["pipe", "/dev/zero"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, monkeypatch, verb, of):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    signal.alarm(60)  # rather than to wait for ever
    try:
        said = CliRunner().invoke(app, [of if word == "X" else word for word in verb.split()])
    finally:
        signal.alarm(0)
    assert said.exit_code == 2 and f"{of} is not a regular file" in said.output
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_lists_that_files_name_too(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is not a regular file"):
        text_of(tmp_path / "pipe")
