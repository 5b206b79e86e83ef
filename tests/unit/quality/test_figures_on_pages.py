"""Figures of merit stand on the cards of the weights, which are generated; pages repeat none that could go stale."""

import re

import pytest
from checkout import REPOSITORY

CARD = REPOSITORY / "models/README.md"
RESULTS = REPOSITORY / "docs/reference/results.md"
WITHOUT = [
    REPOSITORY / "README.md",
    *(REPOSITORY / f"docs/{name}.md" for name in ("index", "contributing")),
    *sorted(REPOSITORY.glob("docs/tutorials/*.md")),
    *sorted(REPOSITORY.glob("docs/how-to/*.md")),
]


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells of the lines of all tables by the first one."""
    lines = re.findall(r"^\| ([^|]+) \|(.*)\|$", text, re.M)
    return {name.strip(): [cell.strip() for cell in cells.split("|")] for name, cells in lines}


def test_the_summary_of_the_results_is_that_of_the_card() -> None:
    said = rows(RESULTS.read_text().partition("### How they were trained")[0])
    known = rows(CARD.read_text().partition("## Figures")[2])
    said.pop("---", None)
    assert len(said) >= 12
    assert {name: cells for name, cells in said.items() if known.get(name) != cells} == {}


@pytest.mark.parametrize("page", WITHOUT, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_pages_to_begin_with_link_figures(page) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    assert re.findall(r".{0,30}\d ?%.{0,20}", text) == [], (
        "figures are on the card: link docs/reference/results.md"
    )
