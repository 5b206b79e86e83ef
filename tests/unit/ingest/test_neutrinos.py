"""Interactions of generators' files through Geant4 and ingestion to the tables, event by event."""

import json
import os
import re
import sys
from itertools import chain
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from handmade_nuhepmc import Written, text, write

from lartpc import config
from lartpc.event import GENERATED, blank
from lartpc.faults import PassingError
from lartpc.neutrinos import files, nuhepmc
from lartpc.neutrinos.record import Interaction, Outgoing
from lartpc.plan import plan, shares
from lartpc.provenance import digest
from lartpc.run.ingest import ingest
from lartpc.run.simulate import simulate
from lartpc.simulate.generators import check
from lartpc.simulate.neutrinos import draw_vertex, shoot, spills
from lartpc.stages import CHAIN
from lartpc.store import open_events
from lartpc.tables import event_rows, to_arrow

BOX_CM = 230.4


def from_files(**settings) -> config.Simulate:
    return config.Simulate.model_validate({"generator": {"kind": "nuhepmc", **settings}})


def numbers(num: int) -> list[Interaction]:
    muon = Outgoing(13, (0.0, 0.0, 300.0), 200.0)
    return [Interaction({"event": number, "lepton_pdg": 13}, (muon,)) for number in range(num)]


def test_one_interaction_an_event_or_a_poisson_number() -> None:
    assert [len(spill) for spill in spills(numbers(5), None, None, 1)] == [1] * 5
    dealt = spills(numbers(4000), 2.5, None, 1)
    sizes = [len(spill) for spill in dealt]
    assert np.mean(sizes) == pytest.approx(2.5, abs=0.15) and np.var(sizes) == pytest.approx(2.5, abs=0.35)
    order = [interaction.columns["event"] for interaction in chain(*dealt)]
    assert order == list(range(len(order))), "each once, in order"
    assert spills(numbers(4000), 2.5, 100, 1) == dealt[:100], "a longer run begins with the same events"
    with pytest.raises(ValueError, match="6 events need more than the 5 interactions"):
        spills(numbers(5), None, 6, 1)
    with pytest.raises(ValueError, match="no interaction for this shard"):
        spills([], None, None, 1)


def test_vertices_are_uniform_or_by_a_density() -> None:
    rng = np.random.default_rng(1)
    place = config.Placement(low_cm=(-10, 0, -100), high_cm=(10, 50, 100), density_z=(1, 0, 3))
    at = np.array([draw_vertex(place, BOX_CM, rng) for _ in range(6000)])
    assert (at >= (-10, 0, -100)).all() and (at <= (10, 50, 100)).all()
    np.testing.assert_allclose(at[:, :2].mean(axis=0), (0, 25), atol=1.0)
    share = np.histogram(at[:, 2], [-100, -100 / 3, 100 / 3, 100])[0] / len(at)
    np.testing.assert_allclose(share, (0.25, 0, 0.75), atol=0.03)
    everywhere = np.array([draw_vertex(config.Placement(), BOX_CM, rng) for _ in range(6000)])
    np.testing.assert_allclose(everywhere.std(axis=0), BOX_CM / 12**0.5, rtol=0.03)


@pytest.mark.parametrize(
    ("vertex", "message"),
    [
        ({"low_cm": (0, 0, 0), "high_cm": (-1, 1, 1)}, "must be below"),
        ({"high_cm": (300, 1, 1)}, "within ±115.2 cm"),
        ({"density_y": (0, 0)}, "density_y is 0 everywhere"),
        ({"origin_cm": (1, 0, 0)}, "origin_cm has no effect"),
        ({"mode": "file", "density_x": (1,)}, "have no effect with mode 'file'"),
    ],
)
def test_vertices_that_cannot_be_drawn_are_refused(vertex, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(from_files(vertex=vertex))


def test_the_place_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hepmc3", Written(length="CM", lab_mm_s=(1100.0, 0.0, -50.0, 1e-6)))
    (interaction, _) = nuhepmc.read(path)
    rng = np.random.default_rng(1)
    cfg = from_files(vertex={"mode": "file", "origin_cm": (100, 0, 0)}).generator
    shot, (row,) = shoot(cfg, BOX_CM, [interaction], rng, lambda pdg: pdg != 211)
    assert row["vertex"] == pytest.approx((10, 0, -5)) and row["time"] == pytest.approx(1000)
    assert [p.pdg for p in shot] == [13, 2212] and row["num_not_shot"] == 1 and row["lepton_track_id"] == 1
    assert all(p.position_cm == row["vertex"] and p.time_ns == row["time"] for p in shot)
    cfg = from_files(vertex={"mode": "file", "origin_cm": (-20, 0, 0)}).generator
    with pytest.raises(ValueError, match=r"outside it; set simulate\.generator\.vertex\.origin_cm"):
        shoot(cfg, BOX_CM, [interaction], rng, lambda pdg: True)
    with pytest.raises(ValueError, match="has no position in its file"):
        shoot(cfg, BOX_CM, numbers(1), rng, lambda pdg: True)


def test_settings_of_an_overlay_count_only_with_it() -> None:
    few = config.Simulate.model_fields["mpr"].default.model_copy(update={"num_particles": (1, 1)})
    assert from_files(overlay=("mpr",)).reads == ("mpr",)
    config.Simulate.model_validate({"generator": {"overlay": ("mpr",)}, "mpr": few.model_dump()})
    with pytest.raises(ValueError, match="mpr has no effect with generator 'nuhepmc'"):
        config.Simulate.model_validate({"generator": {"kind": "nuhepmc"}, "mpr": few.model_dump()})


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for settings, message in (
        ({}, "simulate.generator.files names no file"),
        ({"files": (str(tmp_path / "*.hepmc3"),)}, "no file of generated events matches"),
    ):
        with pytest.raises(ValueError, match=message):
            simulate(from_files(**settings), num_events=None, seed=1, out=tmp_path / "a.h5")


HEADER = "sample\tsplit\tsource\tnum_events\tnum_shards\n"


def test_samples_of_generators_files_are_shared_out(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.hepmc3", Written())
    sheet = tmp_path / "samples.tsv"
    sheet.write_text(f"{HEADER}nu\ttest\tnuhepmc:{tmp_path}/a*\t-\t2\nmc\ttrain\tgeant4\t4\t2\n")
    shards = plan([sheet], 1, 500)
    assert [shard.key for shard in shards] == ["nu/0000", "nu/0001", "mc/0000", "mc/0001"]
    assert all(shard.is_simulated for shard in shards)
    assert [shard.num_events for shard in shards] == [None, None, 2, 2]
    assert shards[0].generator == f"nuhepmc:{tmp_path}/a*" and shards[0].generated == (
        f"{tmp_path}/a.hepmc3",
    )
    assert shares(shards) == {"nu/0000": (0, 2), "nu/0001": (1, 2), "mc/0000": (0, 2), "mc/0001": (1, 2)}
    for row, message in (
        (f"other\ttrain\tnuhepmc:{tmp_path}/*\t-\t-", "samples 'nu' and 'other' both have .*a.hepmc3"),
        (f"more\ttrain\tgst:{tmp_path}/*.root\t-\t-", "no file matches"),
        (f"more\ttrain\tnuhepmc:{tmp_path}/b*\tall\t-", "num_events of a generator's files"),
        (f"more\ttrain\tnuhepmc:{tmp_path}/b*\t1\t2", "between 1 and num_events"),
    ):
        sheet.write_text(f"{HEADER}nu\ttest\tnuhepmc:{tmp_path}/a*\t-\t2\n{row}\n")
        with pytest.raises(ValueError, match=message):
            plan([sheet], 1, 500)


@pytest.fixture(scope="module")
def overlaid(tmp_path_factory, data_folder):
    """Return the records of a generator's file and the tables of its events: spills with isolated particles."""
    folder = tmp_path_factory.mktemp("neutrinos")
    path = data_folder / "nuhepmc" / "numu_cc_bnb_200ev.hepmc3.gz"
    still = data_folder / "nuhepmc" / "nc_coherent_bnb_200ev.hepmc3.gz"
    cfg = from_files(files=(str(path), str(still)), mean_interactions=1.5, spill_us=10.0, overlay=("mpr",))
    cfg = cfg.model_copy(update={"mpr": cfg.mpr.model_copy(update={"num_particles": (1, 1)})})
    # share 10 of 40: 5 interactions of the first file, then 5 of the other
    share = (10, 40)
    num = simulate(cfg, num_events=None, seed=5, share=share, out=folder / "steps.h5", on_event=lambda: None)
    ingest(folder / "steps.h5", config.Ingest(), out=folder / "events.h5", file_uid="nu/0")
    records = list(files.read("nuhepmc", [path, still], share))
    tables: dict[str, list[pd.DataFrame]] = {}
    with open_events(folder / "events.h5") as events:
        assert len(events) == num and set(GENERATED) <= set(events.products)
        for event in events.stream(list(events.products)):
            rows = event_rows(blank(event, [name for stage in CHAIN for name in stage.writes]), ("a", 0))
            for name, columns in rows.items():
                tables.setdefault(name, []).append(to_arrow(name, columns).to_pandas())
    return records, {name: pd.concat(frames) for name, frames in tables.items()}, folder / "steps.h5"


def test_neutrinos_that_leave_nothing_are_kept(tmp_path: Path) -> None:
    """Events without a step have their neutrino in the truth, and are not set aside."""
    path = tmp_path / "still.hepmc3"
    # all that leaves the vertex is neutrinos
    path.write_text(re.sub(r"(?m)^(P \d+ -\d) (?:13|211|2212) ", r"\1 14 ", text(Written())))
    cfg = from_files(files=(str(path),))
    simulate(cfg, num_events=None, seed=5, out=tmp_path / "steps.h5", on_event=lambda: None)
    ingest(tmp_path / "steps.h5", config.Ingest(), out=tmp_path / "events.h5", file_uid="nu/0")
    with open_events(tmp_path / "events.h5") as events:
        found = list(events.stream(list(events.products)))
        assert len(found) == 2 and not events.quarantined()
    for event in found:
        assert not len(event["voxel"]["energy"])
        assert event["truth_neutrino"]["energy_deposited"].tolist() == [0.0]


def test_truth_is_the_generators_record_event_by_event(overlaid) -> None:
    records, tables, _ = overlaid
    found = tables["truth_neutrinos"]
    assert 5 < len(found) <= len(records)
    for row, record in zip(found.to_dict("records"), records, strict=False):
        want = record.columns
        assert row["generator_event"] == want["event"] and row["generator_entry"] == want["entry"]
        assert row["generator_file"] == want["file"]
        for column, name in (
            ("neutrino_energy_mev", "energy"),
            ("q2_gev2", "q2"),
            ("w_mev", "w"),
            ("bjorken_x", "bjorken_x"),
            ("inelasticity", "inelasticity"),
            ("energy_transfer_mev", "energy_transfer"),
            ("lepton_energy_mev", "lepton_energy"),
            ("weight", "weight"),
            ("cross_section_pb", "cross_section"),
        ):
            assert row[column] == want[name], column
        assert row["neutrino_pdg"] == 14 and row["target_pdg"] == 1000180400
        assert row["current"] == ("CC" if want["current"] == 0 else "NC").lower()
        lepton = np.array([row[f"lepton_momentum_{axis}_mev_c"] for axis in "xyz"])
        np.testing.assert_allclose(lepton, want["lepton_momentum"], rtol=1e-6)
        cosine = lepton[2] / np.linalg.norm(lepton)
        assert np.cos(row["lepton_angle_rad"]) == pytest.approx(cosine, abs=1e-6)
        assert 0 <= row["time_ns"] <= 10_000
        out = tables["truth_primaries"].query(
            f"entry == {row['entry']} and truth_neutrino_id == {row['truth_neutrino_id']}"
        )
        shot = [p for p in record.particles if abs(p.pdg) not in (12, 14, 16)]
        assert out["pdg"].tolist() == [p.pdg for p in shot] and row["num_not_shot"] == 0
        momentum = out[[f"momentum_initial_{axis}_mev_c" for axis in "xyz"]].to_numpy()
        np.testing.assert_allclose(momentum, [p.momentum_mev_c for p in shot], rtol=2e-4, atol=0.05)
        kinetic = [p.kinetic_energy_mev for p in shot]
        np.testing.assert_allclose(out["kinetic_energy_initial_mev"], kinetic, rtol=1e-4, atol=1e-3)
        hadrons = [p.kinetic_energy_mev for p in shot if p.pdg in (2212, 211, -211)]
        assert row["available_energy_mev"] == pytest.approx(sum(hadrons), rel=1e-4)
        assert row["num_protons_above"] == sum(p.pdg == 2212 and p.kinetic_energy_mev >= 50 for p in shot)
        assert row["num_neutrons_above"] == sum(p.pdg == 2112 and p.kinetic_energy_mev >= 50 for p in shot)


def test_steps_state_the_digests_of_the_generator_s_files(overlaid, data_folder) -> None:
    with h5py.File(overlaid[2]) as file:
        stated = json.loads(file.attrs["inputs"])
    assert stated == {name: digest(data_folder / "nuhepmc" / name) for name in stated} and len(stated) == 2


@pytest.mark.parametrize("when", ["lartpc.run.simulate._num_events", "lartpc.run.simulate._environment"])
def test_a_file_of_a_generator_that_is_replaced_ends_the_job(
    tmp_path, data_folder, monkeypatch, when
) -> None:
    path = tmp_path / "numu.hepmc3.gz"
    path.write_bytes((data_folder / "nuhepmc" / "numu_cc_bnb_200ev.hepmc3.gz").read_bytes())
    module, _, name = when.rpartition(".")
    work = getattr(sys.modules[module], name)

    def and_changed(*words):
        os.utime(path, ns=(1, 1))
        return work(*words)

    monkeypatch.setattr(when, and_changed)
    with pytest.raises(PassingError, match=r"numu\.hepmc3\.gz was changed while it was read"):
        simulate(
            from_files(files=(str(path),)),
            num_events=None,
            seed=1,
            share=(0, 100),
            out=tmp_path / "out" / "a.h5",
        )
    assert not list((tmp_path / "out").glob("a.h5"))


def test_energy_is_conserved(overlaid) -> None:
    """All that is shot is deposited at most, with the masses that decays and captures set free."""
    _, tables, path = overlaid
    with h5py.File(path) as file:
        deposited = pd.Series(file["segments"]["dE"]).groupby(file["segments"]["event_id"][:]).sum()
    events = tables["events"].set_index("entry")
    for entry, energy in deposited.items():
        assert events["energy_mev"][entry] == pytest.approx(energy, rel=1e-6)
    visible = tables["truth_neutrinos"].groupby("entry")["visible_energy_mev"].sum()
    assert (visible <= events["energy_mev"][visible.index] * (1 + 1e-9)).all()
    seen = tables["truth_neutrinos"].query("truth_interaction_id >= 0")
    shot = (
        tables["truth_primaries"].groupby(["entry", "truth_neutrino_id"])["kinetic_energy_initial_mev"].sum()
    )
    for row in seen.to_dict("records"):
        # a stopped muon gives up to its mass, captured neutrons and nuclei some MeV each
        assert row["visible_energy_mev"] <= shot[row["entry"], row["truth_neutrino_id"]] + 300


def test_interactions_point_to_their_neutrinos_and_rain_to_none(overlaid) -> None:
    _, tables, _ = overlaid
    interactions, neutrinos = tables["truth_interactions"], tables["truth_neutrinos"]
    joined = interactions.merge(neutrinos, on=["entry", "truth_neutrino_id"], suffixes=("", "_nu"))
    assert (joined["truth_interaction_id"] == joined["truth_interaction_id_nu"]).all() and len(joined) >= 4
    for axis in "xyz":
        np.testing.assert_allclose(joined[f"vertex_{axis}_cm"], joined[f"vertex_{axis}_cm_nu"], atol=1e-3)
    assert (interactions["truth_neutrino_id"] == -1).any(), "isolated particles"
    assert tables["events"]["num_truth_neutrinos"].sum() == len(neutrinos)
    # coherent scattering leaves a nucleus of some keV: an interaction that is not seen, and counts
    coherent = neutrinos.query("mode == 'coherent'")
    assert len(coherent) and (coherent["current"] == "nc").all()
    muons = neutrinos.query("lepton_id >= 0 and current == 'cc'").merge(
        tables["truth_particles"], left_on=["entry", "lepton_id"], right_on=["entry", "truth_particle_id"]
    )
    assert len(muons) >= 3 and (muons["pdg"] == 13).all()
    np.testing.assert_allclose(
        muons["kinetic_energy_initial_mev"] + 105.658, muons["lepton_energy_mev"], rtol=1e-3, atol=0.1
    )
