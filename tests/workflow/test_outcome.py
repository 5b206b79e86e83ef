"""What a run that failed says at its end."""

import re
import shlex
from pathlib import Path

from checkout import copy_checkout
from workflow.test_dag import snakemake

CONFIG = ("--profile", "profiles/local", "--config", "samples=[bad.tsv]")


def test_failed_jobs_are_named_with_log_reason_and_command(tmp_path: Path) -> None:
    folder = copy_checkout(tmp_path)
    (folder / "bad.h5").write_bytes(b"not a file of steps")
    (folder / "bad.tsv").write_text(
        "sample\tsplit\tsource\tnum_events\tnum_shards\nreal\treconstruct\tbad.h5\t-\t-\n"
    )
    target = "results/events/ingest/real/bad.h5"
    failed = snakemake(folder, *CONFIG, "--", target)
    said = failed.stdout + failed.stderr
    assert failed.returncode == 1
    assert "1 failed in all attempts" in said
    log, reason, command = re.findall(r"^  (?:log|said|again): +(.+)$", said, re.M)
    assert log == "results/logs/ingest/real/bad.log"
    assert reason.startswith("lartpc ingest: ") and "bad.h5" in reason
    assert shlex.split(command) == ["snakemake", "--cores", "2", *CONFIG, "--", target]
    assert reason in (folder / "results/logs/failed.txt").read_text()
