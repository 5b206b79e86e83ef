"""A scheduler that is a command: the profile for `cluster-generic` of the manual, with the commands of SLURM."""

import importlib.util
import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from checkout import REPOSITORY, run

from slurm.cluster import Cluster
from slurm.production import hurry

STATUS = """#!/bin/sh
case $(scontrol --oneliner show job "$1" | grep -o 'JobState=[A-Z_]*') in
  JobState=COMPLETED) echo success ;;
  JobState=PENDING | JobState=CONFIGURING | JobState=RUNNING | JobState=COMPLETING) echo running ;;
  *) echo failed ;;
esac
"""


@pytest.mark.slurm
@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("snakemake_executor_plugin_cluster_generic") is None,
    reason="no plugin cluster-generic: pip install snakemake-executor-plugin-cluster-generic",
)
def test_a_production_runs_by_commands(cluster: Cluster, checkout: Path) -> None:
    hurry(checkout)
    page = (REPOSITORY / "docs/how-to/htcondor.md").read_text()
    (text,) = re.findall(r"^```yaml\n(executor: cluster-generic\n.*?)^```$", page, re.M | re.S)
    profile = yaml.safe_load(text)
    assert profile["cluster-generic-submit-cmd"].startswith("qsub ")
    status = checkout / "status"
    status.write_text(STATUS)
    status.chmod(0o755)
    profile |= {
        "cluster-generic-submit-cmd": "sbatch --parsable --cpus-per-task={threads} --mem={resources.mem_mb} "
        "--time={resources.runtime} --job-name=lartpc_{rule} --output=.snakemake/%j.out",
        "cluster-generic-status-cmd": str(status),
        "cluster-generic-cancel-cmd": "scancel",
    }
    (checkout / "profiles/generic").mkdir()
    (checkout / "profiles/generic/profile.yaml").write_text(yaml.safe_dump(profile))
    snakemake = ("snakemake", "--profile", "profiles/generic", "--configfile", "config/test/config.yaml")
    assert "(100%) done" in run(checkout, *snakemake, seconds=3000)
    assert list((checkout / ".snakemake").glob("*.out"))
    assert json.loads((checkout / "results/audit.json").read_text())["findings"] == []
    assert len(pd.read_parquet(checkout / "results/dataset/events")) == 6
