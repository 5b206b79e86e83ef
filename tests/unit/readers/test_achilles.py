"""Achilles as a process: what is missing is named with its remedy, and what it makes is taken only when it is whole."""

import stat
import sys
from pathlib import Path

import pytest
from handmade_nuhepmc import Written, text

from lartpc.neutrinos import nuhepmc
from lartpc.simulate import achilles
from lartpc.simulate.achilles import NEEDED, Beam, card, generate

NUMU = Beam(14, "cc", energy_mev=1000.0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in NEEDED:
        (tmp_path / "made" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "made" / name).touch()
    return tmp_path / "made"


def program(folder: Path, num: int, said: str) -> None:
    """Put a program in the place of Achilles that writes some interactions and says something."""
    (folder / "events").write_text(text(Written(), num))
    path = folder / "achilles"
    path.write_text(f"#!/bin/sh\ncp '{folder}/events' events.hepmc3\necho '{said}'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_what_is_missing_is_named(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"not installed: pip install \"lartpc\[achilles\]\""):
        generate(NUMU, 2, 1, tmp_path / "a.hepmc3.gz", data)
    program(tmp_path, 2, achilles.SUCCESS)
    (data / NEEDED[0]).unlink()
    monkeypatch.setenv("ACHILLES_DATA_DIR", str(data))
    with pytest.raises(ValueError, match=r"1 files of Achilles' data are missing.*achilles-data get"):
        generate(NUMU, 2, 1, tmp_path / "a.hepmc3.gz")


@pytest.mark.parametrize(
    ("num", "said", "message"),
    [
        (2, achilles.SUCCESS, ""),
        (1, achilles.SUCCESS, "wrote 1 of 2 interactions"),
        (2, "no such node", "it said last:\nno such node"),
    ],
)
def test_only_whole_files_are_taken(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, num: int, said: str, message: str
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    program(tmp_path, num, said)
    out = tmp_path / "a.hepmc3.gz"
    if message:
        with pytest.raises(ValueError, match=message):
            generate(NUMU, 2, 1, out, data)
        assert not out.exists()
    else:
        generate(NUMU, 2, 1, out, data)
        assert len(list(nuhepmc.read(out))) == 2


def test_what_it_is_asked_for(tmp_path: Path) -> None:
    flux = tmp_path / "flux.yaml"
    asked = card(Beam(-12, "nc", flux=flux), 7, 3)
    assert asked["Processes"] == [{"Leptons": [-12, [-12]]}]
    assert asked["Beams"][0]["Beam"]["Beam Params"] == {"Type": "Spectrum", "HepData": str(flux)}
    for beam, message in (
        (Beam(16, "cc", energy_mev=5000.0), "neutrinos are 12, 14, -12 and -14"),
        (Beam(14, "cc"), "either an energy or a flux"),
        (Beam(14, "cc", flux=flux), "no such file of a flux"),
    ):
        with pytest.raises(ValueError, match=message):
            generate(beam, 1, 1, tmp_path / "a.hepmc3.gz")
