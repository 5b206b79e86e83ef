"""Names of files that a shell would take for something else."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from checkout import REPOSITORY, copy_checkout
from workflow.test_dag import snakemake

BARE = re.compile(r"threads|resources\.(mpi|tasks)|wildcards\.(sample|shard|stage|split)|params\.container")
"""What a shell command takes as it is: numbers, a launcher or container with its options, each quoted where it is
made, and letters, digits, _ and - only."""

HOSTILE = """-a 'b' "c" $(touch x); `touch x` | touch x & #é"""


def test_everything_in_shell_commands_is_quoted() -> None:
    found = []
    for path in REPOSITORY.glob("workflow/rules/*.smk"):
        for command in re.findall(r"    shell:\n((?:        .*\n|\n)+)", path.read_text()):
            for field in re.findall(r"(?<!\{)\{([^{}]+)\}", command):
                found.append(field)
                assert field.endswith(":q") or BARE.fullmatch(field), f"{path.name}: {{{field}}}"
    assert len(found) > 80


def hostile(folder: Path) -> dict:
    """Give a checkout hostile names wherever the configuration takes one, and return that configuration."""
    bad = folder / HOSTILE
    bad.mkdir()
    (bad / f"@{HOSTILE}.root").symlink_to(REPOSITORY / "tests/data/edepsim_5ev.root")
    (folder / f"@{HOSTILE}.root").symlink_to(REPOSITORY / "tests/data/edepsim_5ev.root")
    sheet = f"{HOSTILE}/{HOSTILE}.tsv"
    patterns = ("-a*/*.root", "@*.root")  # a dollar would stand for a variable
    rows = [f"s{number}\treconstruct\t{pattern}\t-\t-" for number, pattern in enumerate(patterns)]
    (folder / sheet).write_text("\n".join(["sample\tsplit\tsource\tnum_events\tnum_shards", *rows]) + "\n")
    for stage in ("segment", "cluster", "interact"):
        shutil.copy(REPOSITORY / f"models/{stage}.pt", bad / f"{stage} {HOSTILE}.pt")
    shutil.copy(REPOSITORY / "models/segment.pt", folder / f"{HOSTILE}.pt")
    weights = {stage: {"weights": f"{HOSTILE}/{stage} {HOSTILE}.pt"} for stage in ("cluster", "interact")}
    return {
        "samples": [sheet],
        "results": f"results {HOSTILE}",
        "segment": {"weights": f"{HOSTILE}.pt"},
        **weights,
    }


@pytest.mark.slow
def test_hostile_names_go_through_the_chain(tmp_path: Path) -> None:
    folder = copy_checkout(tmp_path)
    config = hostile(folder)
    (folder / "hostile.yaml").write_text(yaml.safe_dump(config, allow_unicode=True))
    found = snakemake(folder, "--configfile", "hostile.yaml", "--keep-going")
    assert found.returncode == 0, found.stdout[-8000:] + found.stderr[-8000:]
    assert not [*folder.rglob("x")]
    summary = json.loads((folder / config["results"] / "dataset/summary.json").read_text())
    assert summary["num_events"] == 10
    assert summary["num_ok"] == 6  # two of the five events of the file are made to be set aside
