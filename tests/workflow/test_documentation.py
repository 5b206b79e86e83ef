"""What the pages say of files and rules is so; that the site itself is without warnings, `make docs` tests."""

import re
from html import unescape
from pathlib import Path

import pytest
from checkout import REPOSITORY, run

PAGES = sorted(
    path.relative_to(REPOSITORY)
    for pattern in (
        "*.md",
        "docs/**/*.md",
        *(f"{name}/*.md" for name in ("config", "envs", "models", "profiles")),
    )
    for path in REPOSITORY.glob(pattern)
)
RULES = REPOSITORY / "docs/reference/rules.md"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_name_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", (REPOSITORY / page).read_text())
    for target in targets:
        assert re.match(r"[a-z]+:", target) or (REPOSITORY / page.parent / target).exists(), target


def test_documents_that_the_code_names_exist() -> None:
    sources = [path for kind in ("py", "smk", "yaml", "html") for path in REPOSITORY.glob(f"*/**/*.{kind}")]
    named = {
        name
        for path in sources
        if not path.relative_to(REPOSITORY).parts[0].startswith((".", "results", "build"))
        for name in re.findall(r"\bdocs/[\w/-]+(?:\.\w+)?", path.read_text())
    }
    assert len(named) > 10
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


def test_pages_of_the_interface_document_modules_that_exist() -> None:
    pages = [path.read_text() for path in REPOSITORY.glob("docs/reference/api/*.md")]
    named = {name for page in pages for name in re.findall(r"automodule:: ([\w.]+)", page)}
    paths = [REPOSITORY / name.replace(".", "/") for name in named]
    assert len(named) > 10
    assert [
        path for path in paths if not (path.with_suffix(".py").exists() or (path / "__init__.py").exists())
    ] == []


def test_page_of_rules_has_each_rule_and_its_file() -> None:
    said = {}
    for names, file in re.findall(r"^\| (`[^|]*`) \|.*\| `([^`]*)` \|$", RULES.read_text(), re.M):
        said |= dict.fromkeys(re.findall(r"`(\w+)`", names), file)
    defined = {
        name: str(path.relative_to(REPOSITORY))
        for path in [REPOSITORY / "workflow/Snakefile", *REPOSITORY.glob("workflow/rules/*.smk")]
        for name in re.findall(r"^ *(?:rule|use rule \w+ as) (\w+)\b", path.read_text(), re.M)
    }
    assert said == defined


def closure(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return which rule needs which, by others too."""
    while True:
        more = edges | {(a, d) for a, b in edges for c, d in edges if b == c}
        if more == edges:
            return edges
        edges = more


def test_rule_graph_is_that_of_the_workflow() -> None:
    """Made by `snakemake --configfile config/config.yaml config/train_demo.yaml --rulegraph dot | tred | dot -Tsvg`."""
    files = ("config/config.yaml", "config/train_demo.yaml")
    dot = run(REPOSITORY, "snakemake", "--configfile", *files, "--quiet", "all", "--rulegraph", "dot")
    names = dict(re.findall(r'(\d+)\[label = "(\w+)"', dot))
    wanted = {(names[a], names[b]) for a, b in re.findall(r"(\d+) -> (\d+)", dot)}

    svg = unescape((REPOSITORY / "docs/reference/rules.svg").read_text())
    drawn = dict(re.findall(r"<title>(\d+)</title>.*?<text [^>]*>(\w+)</text>", svg, re.S))
    found = {(drawn[a], drawn[b]) for a, b in re.findall(r"<title>(\d+)->(\d+)</title>", svg)}
    assert len(found) > 15
    assert closure(found) == closure(wanted)
