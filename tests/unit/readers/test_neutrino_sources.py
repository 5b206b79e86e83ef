"""Neutrinos in files of other programs: LArCV 2, SPINE and edep-sim, to the columns of `truth_neutrino`."""

import shutil
from contextlib import closing
from pathlib import Path

import awkward as ak
import h5py
import numpy as np
import pytest
import uproot
from checkout import REPOSITORY
from handmade_nuhepmc import MUON, NEUTRINO

from lartpc.config import Ingest
from lartpc.ingest import open_source
from lartpc.ingest.formats.neutrinos import MEMBERS, of_rows
from lartpc.run.ingest import ingest
from lartpc.store import open_events
from lartpc.vocab import Current, InteractionMode

HERE = REPOSITORY / "tests" / "data"
Q = np.subtract(NEUTRINO, MUON)
Q2_GEV2 = (Q[:3] @ Q[:3] - Q[3] ** 2) * 1e-6


def larsoft(scale: float = 1e-3) -> dict[str, np.ndarray]:
    """Return the attributes of a neutrino, and of a row that is none; energies in GeV, or in MeV."""
    one = {
        "pdg_code": 14,
        "lepton_pdg_code": 13,
        "lepton_track_id": 7,
        "current_type": 0,
        "interaction_mode": 1,
        "interaction_type": 1003,
        "target": 1000180400,
        "nucleon": 2112,
        "quark": -1,
        "energy_init": NEUTRINO[3] * scale,
        "hadronic_invariant_mass": 1232.0 * scale,
        "bjorken_x": 0.4,
        "inelasticity": 0.3,
        "momentum_transfer": Q2_GEV2 * (scale * 1e3) ** 2,
        "momentum_transfer_mag": np.linalg.norm(Q[:3]) * scale,
        "energy_transfer": Q[3] * scale,
        "lepton_p": np.linalg.norm(MUON[:3]) * scale,
        "theta": 0.18,
    }
    rows = {name: np.array([value, -1]) for name, value in one.items()}
    return rows | {"momentum": np.array([NEUTRINO[:3], (0, 0, 0)]) * scale}


@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_energies_in_gev_and_in_mev(scale: float) -> None:
    at = np.array([[1.0, 2.0, 3.0], [9.0, 9.0, 9.0]])
    found = of_rows(larsoft(scale), at, np.array([[50.0, 0, 0], [1.0, 2.0, 3.1]]))
    assert len(found["pdg"]) == 1 and found["interaction"].tolist() == [1]
    assert (found["current"], found["mode"]) == ([Current.CC], [InteractionMode.RESONANCE])
    assert found["target_pdg"] == [1000180400] and found["quark_pdg"] == [0]
    for name, value in (
        ("energy", 900.0),
        ("w", 1232.0),
        ("q2", Q2_GEV2),
        ("energy_transfer", Q[3]),
        ("momentum_transfer", np.linalg.norm(Q[:3])),
        ("lepton_energy", MUON[3]),
        ("lepton_angle", 0.18),
        ("bjorken_x", 0.4),
    ):
        assert found[name][0] == pytest.approx(value, rel=1e-6), name
    np.testing.assert_allclose(found["momentum"][0], NEUTRINO[:3])
    np.testing.assert_array_equal(found["vertex"][0], at[0])
    assert np.isnan(found["weight"][0]) and np.isnan(found["pot"][0])


def test_what_is_not_set_is_not_known() -> None:
    rows = {"pdg_code": np.array([-12]), "theta": np.array([-1.0]), "energy_init": np.array([2.0])}
    found = of_rows(rows, np.zeros((1, 3)), np.zeros((0, 3)))
    assert found["interaction"] == [-1] and found["mode"] == [-1] and found["energy"] == [2000.0]
    assert all(
        np.isnan(found[name]).all() for name in ("lepton_angle", "q2", "w", "momentum", "lepton_energy")
    )


@pytest.mark.parametrize("layout", [1, 2])
def test_spine(tmp_path: Path, layout: int) -> None:
    path = shutil.copy(HERE / f"spine_v{layout}.h5", tmp_path)
    with h5py.File(path, "r+") as file:
        data = file["truth_interactions"] if layout == 1 else file["products/truth_interactions/fixed"]
        rows = data[:]
        for name, values in larsoft().items():
            rows[name] = values[0]
        rows["position"] = rows["vertex"]
        data[:] = rows
    ingest(Path(path), Ingest(voxel_size_cm=0.4), out=tmp_path / "events.h5", file_uid="s/0")
    with open_events(tmp_path / "events.h5") as events:
        for event in events.stream(["truth_neutrino", "truth_interaction"]):
            found = event["truth_neutrino"]
            assert found["pdg"].tolist() == [14] and found["interaction"].tolist() == [0]
            assert found["energy"] == pytest.approx([900.0]) and found["w"] == pytest.approx([1232.0])
            vertex = event.box.to_cm(event["truth_interaction"]["vertex"])
            np.testing.assert_allclose(found["vertex"], vertex, atol=1e-3)


def test_spine_without_neutrinos_has_none(tmp_path: Path) -> None:
    ingest(HERE / "spine_v2.h5", Ingest(voxel_size_cm=0.4), out=tmp_path / "events.h5", file_uid="s/0")
    with open_events(tmp_path / "events.h5") as events:
        assert all(len(event["truth_neutrino"]["pdg"]) == 0 for event in events.stream(["truth_neutrino"]))


BEFORE = b"a reaction with a name of some length"
REACTION = b"nu:14;tgt:1000180400;proc:W[CC],RES;."
"""As long as what the file has, so that it can stand in its place."""


def test_edepsim_root(tmp_path: Path) -> None:
    assert len(BEFORE) == len(REACTION)
    path = tmp_path / "genie.root"
    content = (HERE / "edepsim_5ev.root").read_bytes()
    assert BEFORE in content
    path.write_bytes(content.replace(BEFORE, REACTION))
    before, reader = open_source(HERE / "edepsim_5ev.root"), open_source(path)
    assert len(before.read(0).neutrinos["pdg"]) == 0, "a reaction without a neutrino"
    found = reader.read(0).neutrinos
    assert found["pdg"].tolist() == [14, 14] and found["interaction"].tolist() == [0, 1]
    assert set(found["current"]) == {Current.CC} and set(found["mode"]) == {InteractionMode.RESONANCE}
    assert found["target_pdg"].tolist() == [1000180400] * 2 and found["weight"].tolist() == [1.0, 1.0]
    np.testing.assert_allclose(found["vertex"][1], (30, 30, 30))
    reader.close()
    before.close()


GOOD = (0, 1)
"""Entries of the file of LArCV 2 that are not damaged."""


def test_larcv2(tmp_path: Path) -> None:
    """A tree of neutrinos beside LArCV's own: branches as ROOT splits `EventNeutrino`, one neutrino and another row."""
    path = Path(shutil.copy(HERE / "larcv2_4ev.root", tmp_path))
    with closing(open_source(path)) as source:
        identity, particles = source.identities(), source._particles.name
        at = [source.read(entry).truth["truth_interaction"]["vertex"] for entry in GOOD]
        grids = [source._base.meta.grid(entry) for entry in GOOD]
        unit_cm = source.unit_cm
    vectors = {
        f"_{MEMBERS.get(name, name)}": values for name, values in larsoft().items() if values.ndim == 1
    }
    vectors |= {f"_p{axis}": larsoft()["momentum"][:, i] for i, axis in enumerate("xyz")}
    with uproot.update(path) as file:
        of = {name: ak.Array([values] * 4) for name, values in vectors.items()}
        for i, axis in enumerate("xyz"):
            rows = [
                [(grid.origin + vertex[0] * grid.pitch)[i] if len(vertex) else 0.0, 0.0]
                for grid, vertex in zip(grids, at, strict=True)
            ]
            rows += [[0.0, 0.0]] * 2
            of[f"_vtx._{axis}"] = ak.Array(rows)
        numbers = {name: identity[:, i] for i, name in enumerate(("_run", "_subrun", "_event"))}
        name = particles.replace("particle_", "neutrino_")
        columns = numbers | {f"_part_v.{branch}": values for branch, values in of.items()}
        file.mktree(
            name,
            {
                key: str(values.type.content) if isinstance(values, ak.Array) else values.dtype
                for key, values in columns.items()
            },
        ).extend(columns)
    with closing(open_source(path)) as source:
        assert "truth_neutrino" in source.truth and "neutrino_" in source.selection
        for entry in GOOD:
            found = source.read(entry).truth["truth_neutrino"]
            assert found["pdg"].tolist() == [14] and found["energy"] == pytest.approx([900.0])
            assert found["w"] == pytest.approx([1232.0]) and found["bjorken_x"] == pytest.approx([0.4])
            assert found["interaction"].tolist() == ([0] if len(at[entry]) else [-1])
            np.testing.assert_allclose(found["momentum"][0], NEUTRINO[:3])
            if len(at[entry]):
                want = (grids[entry].origin + at[entry][0] * grids[entry].pitch) * unit_cm
                np.testing.assert_allclose(found["vertex"][0], want)
