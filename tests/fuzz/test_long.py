"""The account of a long run: what is wrong is found, with the least change, and a run goes on where it was ended."""

import json
import os
import signal
import sys

import pytest
from fuzz import long
from fuzz.cases import Case, Seen

NUM = 40


def _use(path, folder):
    """Read 100 bytes as a reader with a fault of each kind would."""
    content = path.read_bytes()
    if len(content) < 50:
        raise ValueError(f"{path} is too short")
    if len(content) < 100:
        raise KeyError("a field")  # which names no file
    if any(content[:10]):
        os.kill(os.getpid(), signal.SIGSEGV)
    if any(content[10:20]):
        os._exit(0)
    return Seen(content[20:70].hex(), sum(content[50:70]) > 0)


@pytest.fixture
def faulty(monkeypatch):
    monkeypatch.setitem(
        long.ALL, "faulty", Case(lambda path: path.write_bytes(bytes(100)), _use, ("set", "cut"))
    )


def _run(monkeypatch, folder, *words):
    monkeypatch.setattr(sys, "argv", ["long", "faulty", "--seed", "7", "--into", str(folder), *words])
    with pytest.raises(SystemExit) as ended:
        long.main()
    return bool(ended.value.code), json.loads((folder / "faulty.json").read_text())


def test_what_became_of_each_case_is_told(faulty, monkeypatch, tmp_path, capfd):
    is_wrong, account = _run(monkeypatch, tmp_path, "--cases", str(NUM))
    assert is_wrong and account["cases"] == NUM == sum(account["outcomes"].values())
    assert all(account["outcomes"].values()), account["outcomes"]
    assert len(account["findings"]) == account["outcomes"]["finding"]
    said = {one["said"].split(":")[0].split("\n")[0] for one in account["findings"]}
    assert said == {"KeyError", "its process waited or worked without end, or ended itself (signal 0)"}
    assert any(len(one["changes"]) == 1 for one in account["findings"])
    assert f"{'faulty':24}{NUM:>9}" in capfd.readouterr().out


def test_a_run_goes_on_where_it_was_ended(faulty, monkeypatch, tmp_path):
    whole = _run(monkeypatch, tmp_path / "whole", "--cases", str(NUM))[1]
    assert _run(monkeypatch, tmp_path / "parts", "--cases", "15")[1]["cases"] == 15
    parts = _run(monkeypatch, tmp_path / "parts", "--cases", str(NUM))[1]
    assert parts["outcomes"] == whole["outcomes"]
    assert [one["number"] for one in parts["findings"]] == [one["number"] for one in whole["findings"]]


def test_an_unknown_reader_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["long", "none", "--into", str(tmp_path)])
    with pytest.raises(SystemExit):
        long.main()
    assert "no reader ['none']; there are: edep-sim HDF5" in capsys.readouterr().err
