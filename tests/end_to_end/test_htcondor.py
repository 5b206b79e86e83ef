"""The miniature production on a real HTCondor of this machine, by the profile as a user has it."""

import json
import subprocess
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from checkout import copy_checkout, edit
from condor import Pool, missing

pytestmark = pytest.mark.slow


def test_a_production_runs_on_a_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := missing():
        pytest.skip(f"no HTCondor can be started here: {reason}")
    folder = tmp_path / "run"
    folder.mkdir()
    copy_checkout(folder)
    edit(folder / "profiles/htcondor/profile.yaml", gpu="false")
    monkeypatch.chdir(folder)
    with Pool(tmp_path / "pool") as pool:
        snakemake = ("snakemake", "--profile", "profiles/htcondor", "--configfile", "config/test/config.yaml")
        with (folder / "said").open("w") as out:
            done = subprocess.run(
                pool.command(*snakemake), env=pool.environment, stdout=out, stderr=out, timeout=3000
            )
        said = (folder / "said").read_text()
        assert done.returncode == 0, said[-8000:]
        history = json.loads(pool.ask("condor_history", "-json"))
    assert "(100%) done" in said
    # Each rule that is not local was a job of the pool, and each of them ended well at its first try.
    names = Counter(job["JobBatchName"].rpartition("-")[0] for job in history)
    assert names["simulate"] == names["ingest"] == 5 and names["train"] == 3 and names["audit"] == 1, names
    assert {job["ExitCode"] for job in history} == {0}
    # Trainings have two ranks on the CPUs that they ask for.
    cpus = {job["RequestCpus"] for job in history if job["JobBatchName"].startswith("train-")}
    assert cpus == {2}
    memory = {job["RequestMemory"] for job in history if job["JobBatchName"].startswith("segment-")}
    assert memory == {4300}
    assert json.loads((folder / "results/audit.json").read_text())["findings"] == []
    assert len(pd.read_parquet(folder / "results/dataset/events")) == 6
