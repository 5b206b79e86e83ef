"""The tutorials that make productions of their own; the first one is run in test_released.py."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from checkout import REPOSITORY, copy_checkout, environment
from tutorials import blocks, follow


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a clone to work in."""
    monkeypatch.setenv("PATH", environment()["PATH"])
    copy_checkout(tmp_path)
    (tmp_path / "tests/data").mkdir(parents=True)
    shutil.copy(REPOSITORY / "tests/data/edepsim_5ev.root", tmp_path / "tests/data")
    return tmp_path


def test_a_file_of_edepsim_becomes_a_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert follow("tutorials/edep-sim.md", folder, monkeypatch, seconds=600) == 5
    events = pd.read_parquet("mine/dataset/events")
    assert events.status.tolist() == ["ok"] * 3 + ["quarantined"] * 2
    assert len(pd.read_parquet("mine/dataset/particles")) > 0
    quarantine = pd.read_parquet("mine/dataset/quarantine")
    page = (REPOSITORY / "docs/tutorials/edep-sim.md").read_text()
    assert [reason for reason in quarantine.reason if reason not in page] == []


@pytest.mark.slow
def test_a_training_on_another_detector(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert follow("tutorials/training.md", folder, monkeypatch, seconds=1800) == 7
    assert len(pd.read_parquet("small/dataset/events")) == 2


def test_what_is_not_run_says_why() -> None:
    whys = {block.why for block in blocks("tutorials/cluster.md") if block.language == "bash"}
    assert whys == {"needs a cluster"}
