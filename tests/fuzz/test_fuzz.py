"""Files of each format, changed at random, go through `ingest`: see `search`."""

import pytest
from fuzz.cases import CASES
from fuzz.search import search


@pytest.mark.parametrize("name", CASES)
def test_any_changed_file_is_read_rightly_or_refused(name, tmp_path, monkeypatch):
    search(CASES[name], tmp_path, monkeypatch)
