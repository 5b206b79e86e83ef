"""The tutorial of a cluster, followed word by word on a SLURM of our own, on fewer events."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from checkout import PROFILE, REPOSITORY, edit, run
from tutorials import blocks

from slurm.cluster import Cluster
from slurm.production import hurry

PAGE = "tutorials/cluster.md"


@pytest.mark.slurm
@pytest.mark.slow
def test_the_tutorial_is_followed(cluster: Cluster, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(checkout)
    monkeypatch.chdir(checkout)
    sheet = checkout / "config/samples.tsv"
    sheet.write_text(re.sub(r"(mpvmpr_test\ttest\tgeant4)\t\d+\t\d+", r"\1\t4\t2", sheet.read_text()))
    shutil.copy(REPOSITORY / "tests/data/edepsim_5ev.root", checkout / "one.root")
    text = (REPOSITORY / "docs" / PAGE).read_text()
    (lines,) = re.findall(r"^```yaml\n(.*?)^```$", text, re.M | re.S)
    # this SLURM has no accounting, and the page says what to write there
    edit(checkout / PROFILE, **dict(line.split(": ") for line in lines.splitlines()) | {"account": '""'})
    said = []
    for block in blocks(PAGE):
        if block.language == "python":
            exec(compile(block.code, PAGE, "exec"), {})
            continue
        # what is here: the environment, a terminal that stays, and a file of another name
        code = re.sub(r"^(cd /shared|git clone|make install|source|tmux) ?.*\n", "", block.code, flags=re.M)
        code = code.replace("'/data/*.h5'", "one.root --workflow .")
        if code.strip():
            said.append(run(checkout, "bash", "-euo", "pipefail", "-c", code, seconds=1500))
    looked, produced, reconstructed = said
    assert "Job stats" in looked and not re.search(r"\bproblem\b", looked)
    assert "source " in produced and "lartpc view results" in produced
    assert "tables  mine/dataset" in reconstructed
    assert len(pd.read_parquet(checkout / "results/dataset/events")) == 4
    assert len(pd.read_parquet(checkout / "mine/dataset/events")) == 5
