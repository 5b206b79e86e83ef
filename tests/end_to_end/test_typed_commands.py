"""The commands of README and of how-to pages, typed one after another as a newcomer would, after a small production."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from checkout import REPOSITORY, copy_checkout, run

PAGES = [
    "README.md",
    *(
        f"docs/how-to/{name}.md"
        for name in ("audit", "deployment", "events", "production", "scenarios", "view", "workflow")
    ),
]

NOT_HERE = {
    r"^make ": "makes an environment first: what CI does",
    r"^pip ": "changes the environment",
    r"--profile slurm": "needs a cluster: tests/slurm",
    r"^lartpc view results($| *#| --no-browser|/scenario)": "serves until it is stopped: test_view.py",
    r"scenario=|compare results/dataset --out": "needs a production with scenarios: test_scenarios.py",
    r"benchmarks/": "needs minutes to hours, or another checkout",
    r"--sacct": "needs a cluster with accounting: tests/slurm",
    r"loose/dataset": "needs a second production: test_compare.py",
}
"""Commands that this test does not type, and why."""

INSTEAD = {"'/data/*.h5'": "one.root", "run_*.h5": "one.root", "0-99,1/0/345,1/2/17-20": "0-1,4"}
"""What stands on the pages for files and events of the reader, and what is here."""


def typed(page: str) -> list[str]:
    """Return the commands of the blocks of a page, each in one line, without those that are not for here."""
    text = (REPOSITORY / page).read_text()
    text = re.sub(r"<!-- not run here:[^>]*-->\n```.*?^```$", "", text, flags=re.M | re.S)
    blocks = re.findall(r"^```([^\n]*)\n(.*?)^```$", text, re.M | re.S)
    shell = [code.replace("\\\n", " ") for language, code in blocks if language in ("", "bash")]
    lines = [line.strip() for code in shell for line in code.splitlines()]
    lines = [line for line in lines if re.match(r"(lartpc|snakemake|python|make|pip) ", line)]
    return [line for line in lines if not any(re.search(reason, line) for reason in NOT_HERE)]


@pytest.mark.slow
def test_commands_of_the_pages_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_checkout(tmp_path)
    monkeypatch.chdir(folder)
    sheet = folder / "config/samples.tsv"
    sheet.write_text(re.sub(r"(mpvmpr_test\ttest\tgeant4)\t\d+\t\d+", r"\1\t8\t2", sheet.read_text()))
    run(folder, "snakemake", "--profile", "profiles/local", "--cores", "2", seconds=900)
    shutil.copy(REPOSITORY / "tests/data/edepsim_5ev.root", folder / "one.root")
    shutil.copytree(folder / "results/dataset", folder / "archived/dataset")
    (folder / "worst.txt").write_text("1\n3\n")
    commands = [command for page in PAGES for command in typed(page)]
    assert len(commands) >= 20
    for command in commands:
        for there, here in INSTEAD.items():
            command = command.replace(there, here)
        words = shlex.split(command, comments=True)
        if words[0] == "snakemake" and "--cores" not in words:
            words += ["--cores", "2"]
        run(folder, *words, seconds=600)
