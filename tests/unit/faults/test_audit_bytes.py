"""A byte that is changed anywhere in a production is named by its file."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from handmade import write_production
from typer.testing import CliRunner

from lartpc.cli import app
from lartpc.run.audit import audit
from lartpc.run.audit.record import NAME
from lartpc.run.collect import collect

UIDS = ("beam/0000", "beam/0001")
OTHERS = {
    "logs/ingest/beam/0000.log": "ingest beam/0000: 4/4 events in 0 s\n",
    "report.html": "<!DOCTYPE html><title>beam</title>\n",
    "benchmarks/ingest/beam/0000.tsv": "s\th:m:s\n0.1\t0:00:00\n",
    "models/segment/training.jsonl": '{"step": 1, "loss": 1.5}\n',
    "config/points.train.json": "{}\n",
    "on_truth/cluster/beam/0000.h5": None,
}
"""Files of which no other states what they hold; the last is one of events."""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    root = tmp_path_factory.mktemp("production") / "results"
    folders, figures, ingested = write_production(root, UIDS)
    for name, text in OTHERS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            shutil.copy(root / "events/cluster" / f"{UIDS[0]}.h5", root / name)
        else:
            (root / name).write_text(text)
    collect(folders, figures, ingested, root / "dataset")
    said = CliRunner().invoke(app, ["audit", str(root), "--no-sources", "--out", str(root / NAME)])
    assert f"others      {len(OTHERS) + 1 + len(figures)} by the digests in" in said.output
    return root


@pytest.fixture
def results(pristine, tmp_path):
    return Path(shutil.copytree(pristine, tmp_path / "results"))


def found(results):
    """Return the files of findings, without the weights, which these shards do not have."""
    said = audit(results, with_sources=False).findings
    return {str(Path(one.file).relative_to(results)) for one in said if "took these weights" not in one.what}


def flip(results, rng):
    """Change a byte of a file, both drawn, and return the file's name; the same again changes it back."""
    path = rng.choice(sorted(path for path in results.rglob("*") if path.is_file()))
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    return str(path.relative_to(results))


def missed(results, seeds):
    """Return the seeds whose change was not found, each with its file."""
    out = []
    for seed in seeds:
        name = flip(results, np.random.default_rng(seed))
        if name not in found(results):
            out.append((seed, name))
        assert flip(results, np.random.default_rng(seed)) == name
    return out


def test_a_whole_production_with_a_record_has_no_findings(pristine):
    assert found(pristine) == set()


def test_a_byte_that_is_changed_anywhere_is_found(results):
    assert missed(results, range(12)) == []


@pytest.mark.slow
def test_many_bytes_that_are_changed_anywhere_are_found(results):
    assert missed(results, range(100, 700)) == []


@pytest.mark.parametrize("name", [*OTHERS, NAME, "config/ingested.gather"])
def test_files_that_only_the_record_states_are_found(results, name):
    path = results / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert name in found(results)
    if name != NAME:
        path.unlink()
        assert name in found(results) or name == "config/ingested.gather"


def test_without_a_record_what_is_not_looked_at_is_said(results):
    (results / NAME).unlink()
    said = CliRunner().invoke(app, ["audit", str(results), "--no-sources"])
    assert "logs, pages and curves are not looked at: there is no" in said.output


def test_of_logs_on_a_cluster_only_that_of_the_audits_own_job_is_left_out(results, monkeypatch):
    """It is not complete yet, and goes when the job has succeeded; that of an attempt before it stays."""
    logs = results / "logs/slurm/rule_audit"
    logs.mkdir(parents=True)
    for job in ("17", "18"):
        (logs / f"{job}.log").write_text("lartpc\n")
    monkeypatch.setenv("SLURM_JOB_ID", "18")
    audit(results, with_sources=False, out=results / NAME)
    (logs / "18.log").unlink()
    assert found(results) == set()
    (logs / "17.log").write_text("lartpx\n")
    assert found(results) == {"logs/slurm/rule_audit/17.log"}


def test_a_record_is_not_compared_with_the_one_that_it_replaces(results):
    (results / "report.html").write_text("made again")
    verb = ["audit", str(results), "--no-sources"]
    assert "report.html" in CliRunner().invoke(app, verb).output
    CliRunner().invoke(app, [*verb, "--out", str(results / NAME)])
    assert found(results) == set()
