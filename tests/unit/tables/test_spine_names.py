"""docs/reference/spine-names.md against the schema of the tables."""

import re

import pytest
from checkout import REPOSITORY

from lartpc.tables import TABLES

PAGE = REPOSITORY / "docs" / "reference" / "spine-names.md"
COUNTS = {
    "RecoFragment": 28,
    "RecoParticle": 55,
    "RecoInteraction": 40,
    "TruthParticle": 98,
    "TruthInteraction": 79,
}
"""Attributes of the output classes of SPINE 1.4.3, as an instance of each has them."""


def rows(name: str) -> list[tuple[str, str, str]]:
    section = PAGE.read_text().split(f"## {name}\n")[1].split("\n## ")[0]
    cells = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")][1:]
    return [tuple(cell.strip() for cell in row) for row in cells]


SECTIONS = [line[3:] for line in PAGE.read_text().splitlines() if line.startswith("## ")]


@pytest.mark.parametrize("name", SECTIONS)
def test_every_name_is_mapped_or_out_with_a_reason(name):
    found = rows(name)
    assert len({spine for spine, _, _ in found}) == len(found) == COUNTS.get(name, len(found))
    for spine, ours, remark in found:
        columns = re.findall(r"`(\w+)\.(\w+)`", ours)
        assert columns or (ours == "—" and remark), spine
        for table, column in columns:
            assert column in TABLES[table].fields, f"{spine}: {table}.{column}"
