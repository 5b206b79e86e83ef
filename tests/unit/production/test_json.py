"""`--json`: verbs that print what they found print JSON alone on standard output, for programs."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from handmade import good_event, write_shard
from typer.testing import CliRunner

from lartpc import cli
from lartpc.cli import app
from lartpc.run.collect import collect
from lartpc.run.doctor import doctor, site
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.summarize import summarize
from lartpc.tables.markdown import page_as_data

PRINTS_OTHERWISE = {
    "main": "the version, in one line",
    "schema": "JSON, always",
    "config_slice": "JSON, always",
    "view": "the address of a page; its --json FILE writes an event",
}
"""Functions of verbs that print on standard output and need no `--json`, and what they print."""


def commands(group: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, object]]:
    """Yield all verbs, those below others, too, by their words."""
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        yield " ".join([*path, name]), command
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


FLAGS = {
    name
    for name, command in commands(typer.main.get_command(app))
    for option in command.params  # type: ignore[attr-defined]
    if "--json" in option.opts and option.is_flag
}
WORDS = {
    "audit": ["{results}", "--no-sources"],
    "compare": ["{results}/dataset", "{results}/dataset", "--replicas", "2"],
    "config table": [],
    "doctor": [],
    "interactions": [
        "--graph",
        "{results}/metrics.parquet",
        "--rules",
        "{results}/metrics.parquet",
        "--out",
        "page.md",
    ],
    "michels": ["mine={results}/dataset", "--out", "michels"],
    "resources": ["{results}"],
    "show": ["{results}"],
}
ELSEWHERE = {
    "classes": "as interactions",
    "clustering table": "its page is printed as that of interactions is, by print_page",
    "detections": "the same",
    "explain": "its explain.json, as michels prints its own",
    "neutrinos": "as interactions",
    "quality budget": "test_budget.py",
    "reconstruct": "test_reconstruct.py",
    "simulate validate": "test_validation.py",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("json")
    paths = write_shard(root, "beam/0000", [good_event() for _ in range(3)])
    summarize(paths, root / "tables" / "beam" / "0000")
    evaluate(paths, root / "metrics.parquet")
    collect([root / "tables" / "beam" / "0000"], [root / "metrics.parquet"], [paths[0]], root / "dataset")
    jobs = root / "benchmarks" / "ingest" / "beam"
    jobs.mkdir(parents=True)
    head = (
        "s",
        "h:m:s",
        "max_rss",
        "max_vms",
        "max_uss",
        "max_pss",
        "io_in",
        "io_out",
        "mean_load",
        "cpu_time",
    )
    (jobs / "0000.tsv").write_text("\t".join(head) + "\n2\t0:00:02\t300\t1\t1\t1\t0\t0\t50\t1\n")
    return root


@pytest.mark.parametrize("verb", sorted(WORDS))
def test_json_stands_alone(verb: str, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "CHECKS", {"disk": lambda: site.Finding("a slow one", advice="buy another")})
    words = [word.format(results=results) for word in WORDS[verb]]
    done = CliRunner().invoke(app, [*verb.split(), *words, "--json"])
    # the handmade production has no records of its jobs, which the audit says
    assert done.exit_code == (1 if verb == "audit" else 0), done.stderr
    found = json.loads(done.stdout)
    first = found[0] if isinstance(found, list) else found
    expected = {
        "audit": {"findings"},
        "compare": {"figures", "events", "num_replicas"},
        "config table": {"title", "tables"},
        "doctor": {"name", "found", "problem", "advice"},
        "interactions": {"title", "text", "tables"},
        "michels": {"mine"},
        "resources": {"rule", "num_jobs", "mem_mb", "runtime"},
        "show": {"figures", "num_events", "rows"},
    }
    assert expected[verb] <= first.keys()


def test_every_verb_that_prints_has_it() -> None:
    assert {*WORDS, *ELSEWHERE} == FLAGS
    without = {}
    for file in Path(cli.__file__).parent.glob("*.py"):
        for verb in ast.parse(file.read_text()).body:
            is_verb = isinstance(verb, ast.FunctionDef) and any(
                isinstance(one, ast.Call) and ast.unparse(one).split("(")[0].endswith(("command", "callback"))
                for one in verb.decorator_list
            )
            if not is_verb:
                continue
            echoes = [
                node
                for node in ast.walk(verb)
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "typer.echo"
            ]
            to_output = [node for node in echoes if not any(word.arg == "err" for word in node.keywords)]
            if to_output and "as_json" not in [one.arg for one in verb.args.args]:
                without[verb.name] = ast.unparse(to_output[0])
    assert without.keys() == PRINTS_OTHERWISE.keys() - {"config_slice", "view"}, without


def test_a_page_of_figures_is_data() -> None:
    page = """# Quality of neutrinos

120 events.

## Found

| | N | value | published |
| --- | ---: | ---: | --- |
| ν, CC | 1,200 | 97.9 ± 0.4 % | − |
| its energy | 7 | −1.20 −0.30 +0.50 MeV | 3 |
| of none | 0 | - | |
"""
    found = page_as_data(page)
    assert (found["title"], found["text"]) == ("Quality of neutrinos", ["120 events."])
    ((title, rows),) = [one.values() for one in found["tables"]]
    assert title == "Found"
    assert rows[0]["what"] == "ν, CC" and rows[0]["N"] == 1200
    assert rows[0]["value"] == {"value": 97.9, "error": 0.4, "unit": "%"}
    assert rows[1]["value"] == {"value": -1.2, "below": 0.3, "above": 0.5, "unit": "MeV"}
    assert (rows[1]["published"], rows[2]["value"], rows[2]["published"]) == (3, None, None)
