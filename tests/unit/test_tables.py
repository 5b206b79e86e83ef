"""The tables' definition: every column documented, references that lead somewhere, the page in sync."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from lartpc.tables import TABLES, render, schema, to_arrow

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"


@pytest.mark.parametrize("name", TABLES)
def test_every_column_says_what_it_is(name):
    found = schema(name)
    assert found.metadata[b"table"] == name.encode() and found.metadata[b"schema_version"]
    assert set(TABLES[name].key) <= set(found.names)
    for field in found:
        assert field.metadata[b"description"]
        endings = {"_mev_cm": b"MeV/cm", "_cm": b"cm", "_mev": b"MeV", "_ns": b"ns", "_mev_c": b"MeV/c"}
        found_ending = next((ending for ending in endings if field.name.endswith(ending)), None)
        if found_ending:
            assert field.metadata[b"unit"] == endings[found_ending], field.name
        if pa.types.is_dictionary(field.type):
            assert json.loads(field.metadata[b"words"])


def test_references_lead_to_a_key_of_the_same_name():
    for table in TABLES.values():
        for name, field in table.fields.items():
            if field.refers_to:
                assert TABLES[field.refers_to].key[-1] == name


def test_page_is_in_sync():
    assert PAGE.read_text() == render(), "write lartpc.tables.render() to docs/tables.md"


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="'reason'"):
        to_arrow("quarantine", {"file_uid": [], "sample": [], "entry": [], "step": []})
