"""Generators' files: hand-made ones in every convention, genuine ones event by event, damaged ones refused."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from handmade_nuhepmc import MUON, NEUTRINO, PION, PROTON, Written, text, write

from lartpc.neutrinos import files, genie, nuhepmc
from lartpc.neutrinos.record import current_of, is_particle, mode_of, of_reaction, table
from lartpc.vocab import Current, InteractionMode

LAB = (100.0, -200.0, 300.0)
"""A position in the laboratory [mm]."""
CONVENTIONS = {
    "MeV and mm": Written(),
    "GeV and cm": Written(energy="GEV", length="CM", lab_mm_s=LAB),
    "MeV and cm, time": Written(length="CM", lab_mm_s=(*LAB, 2.5e-6)),
    "GeV and mm": Written(energy="GEV", lab_mm_s=LAB),
    "weight among others": Written(weights=("up", "CV", "down"), values=(9.0, -0.25, 7.0)),
    "lepton copied": Written(lepton_status=3),
    "version 0.1": Written(version=(0, 1, 0), target_status=11),
    "no primary vertex": Written(primary_status=5),
    "units of the cross section": Written(
        header={
            "NuHepMC.FluxAveragedTotalCrossSection": "1.5",
            "NuHepMC.Units.CrossSection.Unit": "1e-38 cm2",
            "NuHepMC.Units.CrossSection.TargetScale": "PerTargetNucleon",
            "NuHepMC.Exposure.POT": "1e19",
        }
    ),
    "extra": Written(
        extra=((14, (1.0, 2.0, 3.0, 14**0.5), 1), (22, (0.0, 0.0, 0.0, 0.0), 1), (2112, PROTON, 29))
    ),
}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_the_same_interaction_comes_out_of_every_convention(tmp_path: Path, name: str) -> None:
    how = CONVENTIONS[name]
    found = list(nuhepmc.read(write(tmp_path / "a.hepmc3", how)))
    assert len(found) == 2
    for number, interaction in enumerate(found):
        row = interaction.columns
        assert (row["pdg"], row["current"], row["mode"]) == (14, Current.CC, InteractionMode.RESONANCE)
        assert (row["target_pdg"], row["process"], row["lepton_pdg"]) == (1000180400, 400, 13)
        assert (row["entry"], row["event"]) == (number, 10 + number)
        assert row["energy"] == pytest.approx(900.0, rel=1e-12)
        q = np.subtract(NEUTRINO, MUON)
        assert row["q2"] == pytest.approx((q[:3] @ q[:3] - q[3] ** 2) * 1e-6, rel=1e-9)
        assert row["inelasticity"] == pytest.approx(q[3] / 900.0, rel=1e-9)
        mass = 938.918755685  # mean of the published masses of proton and neutron
        assert row["w"] ** 2 == pytest.approx(mass**2 + 2 * mass * q[3] - row["q2"] * 1e6, rel=1e-9)
        assert row["weight"] == (-0.25 if len(how.weights) > 1 else 1.0)
        shot = {particle.pdg: particle for particle in interaction.particles if particle.pdg != 14}
        assert list(shot) == [13, 2212, 211], "final state only: no copies, remnants, particles at rest"
        for pdg, momentum in ((13, MUON), (2212, PROTON), (211, PION)):
            np.testing.assert_allclose(shot[pdg].momentum_mev_c, momentum[:3], rtol=1e-12)
            mass = {13: 105.6583755, 2212: 938.272088, 211: 139.57039}[pdg]
            assert shot[pdg].kinetic_energy_mev == pytest.approx(momentum[3] - mass, rel=1e-5)
        if how.lab_mm_s:
            np.testing.assert_allclose(interaction.position_cm, (10.0, -20.0, 30.0))
            assert interaction.time_ns == (pytest.approx(2500.0) if len(how.lab_mm_s) > 3 else None)
        else:
            assert interaction.position_cm is None
        if how.header:
            assert row["cross_section"] == pytest.approx(1.5e-2 * 40) and row["pot"] == 1e19
        else:
            assert np.isnan(row["cross_section"]) and np.isnan(row["pot"])


def test_the_cross_section_of_a_file_is_its_last_estimate(tmp_path: Path) -> None:
    content = text(Written())
    first, second = "A 0 GenCrossSection 7.0e-01 -nan 1 1", "A 0 GenCrossSection 1.5e-01 2.0e-03 2 2"
    content = content.replace("U MEV MM\nW", f"U MEV MM\n{first}\nW", 1)
    content = content[::-1].replace("U MEV MM\nW"[::-1], f"U MEV MM\n{second}\nW"[::-1], 1)[::-1]
    (tmp_path / "a.hepmc3").write_text(content)
    for interaction in nuhepmc.read(tmp_path / "a.hepmc3"):
        assert interaction.columns["cross_section"] == pytest.approx(0.15)
        assert interaction.columns["cross_section_error"] == pytest.approx(0.002)


def damaged() -> dict[str, tuple[bytes, str]]:
    good = text(Written(), 3).encode()
    packed = gzip.compress(good)
    lines = good.splitlines(keepends=True)
    without = [line for i, line in enumerate(lines) if not (line.startswith(b"P 6") and i > 20)]
    return {
        "cut": (good[:-200], "cut short"),
        "cut at an event": (good[: good.rindex(b"\nE ") + 1], "cut short"),
        "cut gzip": (packed[: len(packed) // 2], "cannot be read after line"),
        "another format": (b"hello\nworld\n", "not HepMC3 text"),
        "HepMC2": (b"HepMC::Version 2.06\nHepMC::IO_GenEvent-START_EVENT_LISTING\n", "HepMC2"),
        "a particle less": (b"".join(without), "cannot be read by pyhepmc|incoming"),
        "two neutrinos": (good.replace(b" 1000180400 ", b" 14 "), "2 incoming leptons"),
    }


@pytest.mark.parametrize("name", damaged())
def test_a_damaged_file_is_refused(tmp_path: Path, name: str) -> None:
    content, message = damaged()[name]
    path = tmp_path / "bad.hepmc3"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(nuhepmc.read(path))


def test_shares_have_no_interaction_in_common_and_miss_none(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.hepmc3.gz", Written(), num) for name, num in (("a", 5), ("b", 4))]
    taken = [
        (row.columns["file"], row.columns["entry"])
        for share in range(3)
        for row in files.read("nuhepmc", paths, (share, 3))
    ]
    assert sorted(taken) == [(0, i) for i in range(5)] + [(1, i) for i in range(4)]


@pytest.mark.parametrize(
    ("pdg", "leptons", "current"),
    [
        (14, [13], Current.CC),
        (-14, [-13], Current.CC),
        (-12, [-11, 11], Current.CC),
        (12, [12, 11], Current.NC),
        (14, [14], Current.NC),
        (16, [15], Current.CC),
        (14, [], None),
    ],
)
def test_the_current_is_that_of_the_leptons(pdg: int, leptons: list[int], current: Current | None) -> None:
    assert current_of(pdg, leptons)[0] == current


def test_modes_by_name_and_by_number() -> None:
    assert mode_of(200) == InteractionMode.QUASIELASTIC and mode_of(350) == InteractionMode.MESON_EXCHANGE
    assert mode_of(700, "MEC_CC") == InteractionMode.MESON_EXCHANGE
    assert mode_of(800, "HyperonQE") == InteractionMode.HYPERON
    assert mode_of(705) == InteractionMode.OTHER and mode_of(None) == mode_of(-5) == -1
    assert mode_of(600) == mode_of(7, "CCDIS") == InteractionMode.DEEP_INELASTIC
    found = of_reaction("nu:-14;tgt:1000180400;N:2212;q:2(v);proc:Weak[NC],RES;res:3")
    assert found == {
        "pdg": -14,
        "target_pdg": 1000180400,
        "nucleon_pdg": 2212,
        "quark_pdg": 2,
        "current": Current.NC,
        "mode": InteractionMode.RESONANCE,
    }


def test_what_is_a_particle() -> None:
    assert all(map(is_particle, (13, -211, 2212, 1000180400, 3122, 310, 411)))
    assert not any(map(is_particle, (2009900000, 2000000101, 2000000002, 21, 92, 2)))


GENUINE = {
    # file: neutrino, current, mean energy, mean Q² of docs, number of events
    "numu_cc_bnb_200ev": (14, Current.CC, InteractionMode.QUASIELASTIC),
    "nue_cc_bnb_200ev": (12, Current.CC, InteractionMode.QUASIELASTIC),
    "nc_numu_bnb_200ev": (14, Current.NC, InteractionMode.QUASIELASTIC),
    "nc_coherent_bnb_200ev": (14, Current.NC, InteractionMode.COHERENT),
}


@pytest.mark.parametrize("name", GENUINE)
def test_genuine_files(name: str, data_folder: Path) -> None:
    pdg, current, mode = GENUINE[name]
    interactions = list(nuhepmc.read(data_folder / f"nuhepmc/{name}.hepmc3.gz"))
    columns = table([interaction.columns for interaction in interactions])
    assert len(interactions) == 200
    assert set(columns["pdg"]) == {pdg} and set(columns["current"]) == {current}
    assert set(columns["mode"]) == {mode} and set(columns["target_pdg"]) == {1000180400}
    assert 0.7e3 < columns["energy"].mean() < 1.3e3 and np.isfinite(columns["cross_section"]).all()
    # what leaves the vertex carries the transferred energy, but for binding and Fermi motion
    if mode == InteractionMode.QUASIELASTIC:
        hadrons = [
            sum(p.kinetic_energy_mev for p in i.particles if p.pdg in (2212, 2112)) for i in interactions
        ]
        assert np.median(np.array(hadrons) / columns["energy_transfer"]) == pytest.approx(0.9, abs=0.15)


def gst(path: Path) -> Path:
    import awkward as ak
    import uproot

    with uproot.recreate(path) as file:
        one = {
            name: np.array([value]) for name, value in {"neu": 14, "tgt": 1000180400, "hitnuc": 2112}.items()
        }
        flags = {
            name: np.array([name in ("cc", "res")])
            for name in ("cc", "nc", "qel", "res", "dis", "mec", "coh")
        }
        gev = {
            "Ev": 0.9,
            "pxv": 0.0,
            "pyv": 0.0,
            "pzv": 0.9,
            "wght": 0.5,
            "vtxx": 1.0,
            "vtxy": 2.0,
            "vtxz": 3.0,
        }
        gev |= {"vtxt": 1e-6}
        gev |= dict(zip(("pxl", "pyl", "pzl", "El"), np.multiply(MUON, 1e-3), strict=True))
        hadrons = {
            name: ak.Array([[PROTON[i] * 1e-3, PION[i] * 1e-3]])
            for i, name in enumerate(("pxf", "pyf", "pzf", "Ef"))
        }
        columns = {
            **one,
            **flags,
            **{name: np.array([value]) for name, value in gev.items()},
            **hadrons,
            "pdgf": ak.Array([[2212, 211]]),
        }
        kinds = {
            name: str(values.type.content) if isinstance(values, ak.Array) else values.dtype
            for name, values in columns.items()
        }
        file.mktree("gst", kinds).extend(columns)
    return path


def rootracker(path: Path) -> Path:
    import uproot

    rows = [
        (14, 0, NEUTRINO),
        (1000180400, 0, (0, 0, 0, 37215.5)),
        (2112, 11, (10, 0, 0, 930)),
        (13, 1, MUON),
        (2212, 14, PROTON),
        (2212, 1, PROTON),
        (211, 1, PION),
        (2000000101, 1, (0, 0, 0.5, 30)),
    ]
    with uproot.recreate(path) as file:
        tree = file.mktree(
            "gRooTracker",
            {
                "EvtNum": np.int32,
                "EvtWght": np.float64,
                "EvtVtx": (np.float64, (4,)),
                "StdHepPdg": (np.int32, (len(rows),)),
                "StdHepStatus": (np.int32, (len(rows),)),
                "StdHepP4": (np.float64, (len(rows), 4)),
            },
        )
        tree.extend(
            {
                "EvtNum": np.array([0], np.int32),
                "EvtWght": np.array([0.5]),
                "EvtVtx": np.array([[1.0, 2.0, 3.0, 1e-6]]),
                "StdHepPdg": np.array([[row[0] for row in rows]], np.int32),
                "StdHepStatus": np.array([[row[1] for row in rows]], np.int32),
                "StdHepP4": np.array([[np.multiply(row[2], 1e-3) for row in rows]]),
            }
        )
    return path


@pytest.mark.parametrize(("kind", "make"), [("gst", gst), ("rootracker", rootracker)])
def test_trees_of_genie_say_the_same(tmp_path: Path, kind: str, make) -> None:
    (found,) = genie.read(make(tmp_path / "a.root"), kind)
    row = found.columns
    assert (row["pdg"], row["current"], row["lepton_pdg"]) == (14, Current.CC, 13)
    assert (row["target_pdg"], row["nucleon_pdg"], row["weight"]) == (1000180400, 2112, 0.5)
    (same, _) = nuhepmc.read(write(tmp_path / "a.hepmc3", Written()))
    for name in ("energy", "q2", "w", "bjorken_x", "inelasticity", "lepton_energy"):
        assert row[name] == pytest.approx(same.columns[name], rel=1e-9), name
    assert [p.pdg for p in found.particles] == [13, 2212, 211]
    np.testing.assert_allclose(found.particles[1].momentum_mev_c, PROTON[:3])
    np.testing.assert_allclose(found.position_cm, (100, 200, 300))
    assert found.time_ns == pytest.approx(1000)


def test_a_file_without_the_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no tree gRooTracker or nRooTracker; it has gst"):
        list(genie.read(gst(tmp_path / "a.root"), "rootracker"))
    with pytest.raises(ValueError, match="does not exist"):
        list(genie.read(tmp_path / "none.root", "gst"))
