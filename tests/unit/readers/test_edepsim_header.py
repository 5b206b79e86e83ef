"""Neutrinos of the 2x2 simulation's `mc_hdr`, with the faults that versions of its converter have."""

import numpy as np
import pytest
from test_edepsim import MC_HDR, VERTICES, muon, trajectory, write

from lartpc.config import Ingest
from lartpc.ingest import open_source
from lartpc.run.ingest import ingest
from lartpc.store import open_events
from lartpc.vocab import Current, InteractionMode

HEADER = [
    *VERTICES,
    *(("t_vert", "f8"), ("target", "u4"), ("reaction", "i4")),
    *((name, "?") for name in ("isCC", "isQES", "isMEC", "isRES", "isDIS", "isCOH")),
    *(("Enu", "f4"), ("nu_4mom", "f4", (4,)), ("nu_pdg", "i4"), ("Elep", "f4"), ("lep_mom", "f4")),
    *(
        ("lep_ang", "f4"),
        ("lep_pdg", "i4"),
        ("q0", "f4"),
        ("q3", "f4"),
        ("Q2", "f4"),
        ("x", "f4"),
        ("y", "f4"),
    ),
]
LEPTON_MEV = float(np.hypot(200.0, 105.6583755))


def head(event: int, vertex: int, **values: object) -> np.ndarray:
    row = np.zeros(1, HEADER)
    row["event_id"], row["vertex_id"], row["target"], row["reaction"] = event, vertex, 18, 4
    row["nu_pdg"], row["lep_pdg"], row["Enu"], row["isRES"] = 14, 13, 900.0, True
    row["nu_4mom"], row["Elep"] = (0, 0, 900.0, 900.0), LEPTON_MEV
    # as a converter filled them: of two components, and of another beam
    row["lep_mom"], row["lep_ang"], row["isCC"] = 1.0, 123.0, False
    row["t_vert"] = 2.0
    for name, value in values.items():
        row[name] = value
    return row


def tables(*heads: np.ndarray) -> dict:
    rows = [muon(1), muon(1, track=1, x=30.0)]
    proton = trajectory(1, 2, pdg=2212, momentum=(0, 0, 300.0), vertex=1000)
    return {
        "segments": [row[0] for row in rows],
        "trajectories": [*(row[1] for row in rows), proton],
        "mc_hdr": np.concatenate(heads),
    }


def test_neutrinos_of_a_header_end_in_the_truth_of_their_interactions(tmp_path) -> None:
    numu = head(1, 1000)
    anti = head(
        1, 1001, nu_pdg=-14, lep_pdg=-14, isRES=False, isQES=True, nu_4mom=(0, 600.0, 0, 600.0), Enu=600.0
    )
    path = write(tmp_path / "2x2.h5", **tables(numu, anti))
    ingest(path, Ingest(), out=tmp_path / "out.h5")
    with open_events(tmp_path / "out.h5") as events:
        event = events[0]
    found, primary = event["truth_neutrino"], event["truth_primary"]
    assert found["pdg"].tolist() == [14, -14]
    assert found["current"].tolist() == [Current.CC, Current.NC], "whatever isCC says"
    assert found["mode"].tolist() == [InteractionMode.RESONANCE, InteractionMode.QUASIELASTIC]
    assert found["interaction"].tolist() == [0, 1] and found["process"].tolist() == [4, 4]
    assert found["target_pdg"].tolist() == [0, 0], "a charge is no nucleus"
    assert found["time"].tolist() == [2000.0, 2000.0]
    np.testing.assert_allclose(found["vertex"], [[0, 0, 0], [30, 0, 0]])
    # the lepton is that of its trajectory: 200 MeV/c along y, from a neutrino along z
    assert found["lepton_track_id"].tolist() == [0, -1]
    assert found["lepton_energy"][0] == pytest.approx(LEPTON_MEV, rel=1e-5)
    assert found["lepton_angle"][0] == pytest.approx(np.pi / 2)
    transfer = 900.0 - LEPTON_MEV
    assert found["q2"][0] == pytest.approx((900.0**2 + 200.0**2 - transfer**2) * 1e-6, rel=1e-5)
    assert found["energy_transfer"][0] == pytest.approx(transfer, rel=1e-5)
    assert found["num_final"].tolist() == [2, 1]
    assert primary["neutrino"].tolist() == [0, 1, 0] and primary["pdg"].tolist() == [13, 13, 2212]
    np.testing.assert_allclose(found["energy_deposited"], 25.0)


def test_without_the_lepton_there_is_what_the_header_says(tmp_path) -> None:
    nue = head(1, 1000, nu_pdg=12, lep_pdg=11, Q2=250_000.0)
    path = write(tmp_path / "2x2.h5", **tables(nue))
    found = open_source(path).read(0).neutrinos
    assert found["current"].tolist() == [Current.CC] and found["lepton_track_id"].tolist() == [-1]
    assert found["q2"][0] == pytest.approx(0.25) and np.isnan(found["lepton_angle"][0])


def test_a_header_that_says_too_little_only_lists_events(tmp_path) -> None:
    short = np.zeros(1, [field for field in MC_HDR if field[0] != "nu_pdg"])
    short["event_id"] = 1
    path = write(tmp_path / "2x2.h5", **(tables(head(1, 1000)) | {"mc_hdr": short}))
    assert open_source(path).read(0).neutrinos is None
    strange = head(1, 1000, nu_pdg=13)
    path = write(tmp_path / "muon.h5", **tables(strange))
    assert len(open_source(path).read(0).neutrinos["pdg"]) == 0, "a muon is no neutrino"
