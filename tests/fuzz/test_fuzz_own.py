"""The files that we write, changed at random, are refused: see `search`."""

import pytest
from fuzz.cases import OWN
from fuzz.search import search


@pytest.mark.parametrize("name", OWN)
def test_any_changed_file_of_ours_is_refused(name, tmp_path, monkeypatch):
    search(OWN[name], tmp_path, monkeypatch)
