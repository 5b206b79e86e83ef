"""The tables' definition: every column documented, references that lead somewhere, the page in sync."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from checkout import REPOSITORY
from handmade import BOX, good_event, write_shard

from lartpc.config import Summarize
from lartpc.event import Event
from lartpc.run.summarize import summarize
from lartpc.tables import TABLES, render, schema, to_arrow
from lartpc.tables.measured import measured
from lartpc.tables.particle_fields import MEASURED, MEASURED_PREFIX, PLACE
from lartpc.tables.particles import truth_particle_rows
from lartpc.tables.rows import match_objects
from lartpc.truth import completed

PAGE = REPOSITORY / "docs" / "reference" / "tables.md"


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


TWINS = {"particles": "truth_particles", "interactions": "truth_interactions", "fragments": "truth_fragments"}


@pytest.mark.parametrize(("table", "twin"), TWINS.items())
def test_one_name_has_one_meaning(table, twin):
    """Of a true object, what is measured has the prefix, and no reconstructed object has it."""
    found, true = TABLES[table].fields, TABLES[twin].fields
    measured = {name for name in true if name.startswith(MEASURED_PREFIX)}
    assert {name.removeprefix(MEASURED_PREFIX) for name in measured} <= set(found)
    assert not {name.removeprefix(MEASURED_PREFIX) for name in measured} & set(true)
    assert not set(MEASURED) & set(true)
    assert not any(name.startswith(MEASURED_PREFIX) or "_initial" in name for name in found)
    for name in measured:
        assert true[name].unit == found[name.removeprefix(MEASURED_PREFIX)].unit


def test_no_measurement_stands_under_a_name_of_truth():
    """With other measurements of the same true particles, only columns with the prefix and the place differ."""
    event = completed(Event("a/0", 0, BOX, good_event()))
    true = measured(event, event.box.to_cm([[(0, 0, 0), event.box.shape]]), Summarize())[1]
    rows = []
    for value in (0, 1):
        columns = {name: np.full_like(values, value) for name, values in true.columns.items()}
        rows.append(truth_particle_rows(event, replace(true, columns=columns), match_objects(event)[0]))
    one, two = (to_arrow("truth_particles", _with_keys(event, found)) for found in rows)
    differ = {name for name in one.column_names if one[name] != two[name]}
    assert {f"{MEASURED_PREFIX}{name}" for name in ("kinetic_energy_mev", "direction_x")} <= differ
    assert {name for name in differ if not name.startswith(MEASURED_PREFIX)} == set(PLACE)


def _with_keys(event, rows):
    num = len(rows["truth_particle_id"])
    return {"file_uid": [event.file_uid] * num, "sample": ["a"] * num, "entry": [event.entry] * num, **rows}


def test_page_is_in_sync():
    assert PAGE.read_text() == render(), "write lartpc.tables.render() to docs/reference/tables.md"


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="'reason'"):
        to_arrow("quarantine", {"file_uid": [], "sample": [], "entry": [], "step": []})


def test_rows_that_wait_in_blocks_make_the_same_files(tmp_path, monkeypatch):
    files = write_shard(tmp_path, "beam/0000", [good_event() for _ in range(7)])
    summarize(files, tmp_path / "one")
    monkeypatch.setattr("lartpc.tables.write.NUM_PIECES", 2)
    summarize(files, tmp_path / "two")
    for path in (tmp_path / "one").glob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name
