"""The validation of the simulation: its estimators on known answers, and all of it with real Geant4."""

import json
import math

import numpy as np
import pytest
from scipy.stats import landau
from typer.testing import CliRunner

from lartpc import config
from lartpc.cli import app
from lartpc.masses import ELECTRON_MASS_MEV, MUON_MASS_MEV
from lartpc.run import validate as verb
from lartpc.run.report.validation import LANDAU_PEAK
from lartpc.simulate import steps
from lartpc.simulate.validation import SAMPLES, Figure, Verdict
from lartpc.simulate.validation import references as ref
from lartpc.simulate.validation.figures import mean, michel_rho, peak
from lartpc.simulate.validation.showers import (
    DEPTH_EDGES_CM,
    NUM_GROUPS,
    RADIUS_EDGES_CM,
    contains,
    jackknife,
    mean_of,
    shower_tally,
)
from lartpc.simulate.validation.tracks import RESIDUAL_CM, TrackTally, track_tally

# -- references ---------------------------------------------------------------------------------


def test_the_muon_table_is_its_own_integral():
    # The range is the integral of 1 / stopping power over the energy: a slip in a number would show.
    energy = np.geomspace(2.0, 1000.0, 4000)
    dedx = ref.muon_dedx(ref.muon_range_cm(energy))
    length = np.trapezoid(energy / dedx, np.log(energy))
    assert length == pytest.approx(np.ptp(ref.muon_range_cm([2.0, 1000.0])), rel=2e-3)
    inner = np.abs(np.gradient(np.log(ref.muon_dedx(ref.muon_range_cm(energy))), np.log(energy)))
    assert inner.max() < 0.85
    np.testing.assert_allclose(ref.muon_energy_mev(ref.muon_range_cm(energy)), energy, rtol=1e-3)


def test_proton_and_muon_of_one_speed_have_ranges_as_their_masses():
    # R/M is a function of the speed alone, but for shells and the radiation of fast muons.
    for proton_mev, range_g_cm2 in ref.PROTON_RANGE_G_CM2.items():
        muon_mev = proton_mev * MUON_MASS_MEV / 938.272
        expected = float(ref.muon_range_cm(muon_mev)) * ref.DENSITY_G_CM3 * 938.272 / MUON_MASS_MEV
        assert range_g_cm2 == pytest.approx(expected, rel=0.02)


def test_most_probable_loss_of_the_pdg():
    # 1.6 MeV/cm in 3 mm, and slowly more in thicker layers (PDG 2024, fig. 34.8: ln of the thickness).
    thin, _ = ref.landau(270.0, 0.3)
    thick, _ = ref.landau(270.0, 0.6)
    assert float(thin) / 0.3 == pytest.approx(1.6, rel=0.02)
    assert 1.0 < float(thick) / (2 * float(thin)) < 1.1


def test_michel_spectrum():
    energy = np.linspace(0, ref.MICHEL_END_MEV - ELECTRON_MASS_MEV, 20001)
    for rho in (0.0, 0.75):
        assert np.trapezoid(ref.michel_density(energy, rho), energy) == pytest.approx(1, abs=1e-3)
    found = np.trapezoid(energy * ref.michel_density(energy), energy)
    assert found == pytest.approx(ref.MICHEL_MEAN_MEV, rel=1e-3)
    assert ref.michel_density(60.0) == 0


def test_penelope_is_consistent():
    showers = ref.penelope()
    assert sorted(showers) == sorted(s.particles[0][1] for s in SAMPLES if s.is_shower)
    for shower in showers.values():
        share = np.array(shower.depth_share)
        assert 0.97 < share.sum() <= 1.0001
        edges = np.array(shower.depth_cm)
        assert mean_of(edges, share) == pytest.approx(shower.mean_depth_cm[0], rel=0.1)
        inside = np.interp(shower.contains_radius_cm[0], shower.radius_cm, shower.inside_radius)
        assert inside == pytest.approx(0.9, abs=0.01)
        for value, error in shower[:3]:
            assert 0 < error < 0.01 * value


# -- estimators ---------------------------------------------------------------------------------


def test_peak_of_a_landau_distribution():
    values = 0.48 + 0.05 * (landau.rvs(size=40_000, random_state=1) - LANDAU_PEAK)
    found, error = peak(values, 0.005)
    assert found == pytest.approx(0.48, rel=0.01)
    assert abs(found - 0.48) < 4 * error
    assert 1e-4 < error < 3e-3
    assert math.isnan(peak(values[:100], 0.005)[0])


def test_rho_of_drawn_positrons():
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 1, 400_000)
    for rho in (0.6, 0.75):
        energy = x * ref.MICHEL_END_MEV - ELECTRON_MASS_MEV
        density = ref.michel_density(energy, rho) * ref.MICHEL_END_MEV
        drawn = energy[(energy > 0) & (rng.uniform(0, 2.5, len(x)) < density)]
        found, error = michel_rho(drawn)
        assert 0 < error < 0.01
        assert found == pytest.approx(rho, abs=4 * error)
    assert math.isnan(michel_rho(np.empty(0))[0])


def test_mean_and_jackknife():
    assert mean(np.array([1.0, np.nan, 3.0])) == (2.0, 1.0)
    assert np.isnan(mean(np.empty(0))).all()
    # Of independent groups, the jackknife's error of a mean is the standard error.
    rng = np.random.default_rng(1)
    edges = np.arange(101.0)
    position = rng.normal(50, 10, (NUM_GROUPS, 500))
    groups = np.array([np.histogram(row, edges)[0] for row in position]).astype(float)
    value, error = jackknife(groups, lambda energy: mean_of(edges, energy))
    assert value == pytest.approx(50, abs=0.5)
    assert error == pytest.approx(10 / np.sqrt(position.size), rel=0.6)
    assert contains(edges, groups.sum(0)) == pytest.approx(62.8, abs=1)
    assert math.isnan(jackknife(groups[:1], lambda energy: mean_of(edges, energy))[1])


@pytest.mark.parametrize(
    ("value", "error", "verdict"),
    [
        (1.01, 0.001, Verdict.WITHIN),
        (0.97, 0.001, Verdict.OUTSIDE),
        (1.03, 0.02, Verdict.UNCLEAR),
        (1.0, math.nan, Verdict.UNCLEAR),
        (math.nan, math.nan, Verdict.UNCLEAR),
    ],
)
def test_verdict(value, error, verdict):
    figure = Figure("ranges", "muon", "cm", value, error, 1.0, 0.0, "somewhere", 0.02)
    assert figure.verdict == verdict
    assert verb.counts([figure]).startswith("1 figures:")
    assert len(verb.texts(figure)) == 5


# -- what is measured in a file of steps ----------------------------------------------------------


def table(name: str, **columns: object) -> np.ndarray:
    num = max(len(value) for value in columns.values() if isinstance(value, list))
    rows = np.zeros(num, steps.DATASETS[name])
    for column, value in columns.items():
        rows[column] = value
    return rows


def test_a_track_by_hand():
    # A muon of 24 MeV in four steps of 30 mm with 5 MeV each, a delta ray of 4 MeV after the second, and a
    # positron at the end; a second one that decays in flight.
    made = {
        "event": table("event", event_id=[3]),
        "primaries": table("primaries", event_id=[3, 3], pdg_id=[-13, -13], ke=[24, 50]),
        "segments": table(
            "segments",
            event_id=[3] * 6,
            traj_id=[1, 1, 1, 1, 2, 4],
            dE=[5, 5, 5, 5, 10, 3],
            dx=[30, 30, 30, 30, 10, 7],
            t0=[0.0, 1.0, 2.0, 3.0, 0.0, 2.5],
        ),
        "trajectories": table(
            "trajectories",
            event_id=[3] * 5,
            traj_id=[1, 2, 3, 4, 5],
            parent_id=[0, 0, 2, 1, 1],
            pdg_id=[-13, -13, -11, 11, -11],
            process=[b"primary", b"primary", b"Decay", b"muIoni", b"Decay"],
            ke=[24, 50, 30, 4, 40],
            t_start=[0.0, 0.0, 1.0, 2.0, 2200.0],
        ),
    }
    found = track_tally(made, max_step_mm=30.0)
    np.testing.assert_allclose(found.path_cm, [12, 1])
    assert found.stopped.tolist() == [True, False]
    assert found.michel_mev.tolist() == [40]
    at = RESIDUAL_CM.index(5.0)  # 4.5 to 5.5 cm before the end: in the third step, after the delta ray
    assert found.dedx[0, at] == pytest.approx(5 / 3)
    at = RESIDUAL_CM.index(10.0)
    assert found.dedx[0, at] == pytest.approx(5 / 3)
    assert np.isnan(found.dedx[0, RESIDUAL_CM.index(20.0)])
    assert found.of(13, 24.0).tolist() == [12]
    both = TrackTally.joined([TrackTally.empty(), found, found])
    assert both.path_cm.tolist() == [12, 1, 12, 1]
    # With other steps, the delta ray is born 5 cm before the end, and counts there.
    made["segments"]["dx"][:4] = [40, 30, 25, 25]
    moved = track_tally(made, max_step_mm=30.0)
    at = RESIDUAL_CM.index(5.0)
    assert moved.dedx_deposited[0, at] == pytest.approx(0.5 * 5 / 3 + 0.5 * 5 / 2.5)
    assert moved.dedx[0, at] == pytest.approx(moved.dedx_deposited[0, at] + 4)


def test_a_shower_by_hand():
    # 3 MeV 10 cm ahead on the axis and 1 MeV 20 cm ahead and 5 cm beside it, from a start off the origin.
    made = {
        "event": table("event", event_id=[0, 1]),
        "primaries": table(
            "primaries", event_id=[0, 1], xyz=[(10, 20, 30)] * 2, direction=[(0, 0, 1), (1, 0, 0)]
        ),
        "segments": table(
            "segments",
            event_id=[0, 0, 1],
            x_start=[10, 60, 110],
            x_end=[10, 60, 110],
            y_start=[20, 20, 20],
            y_end=[20, 20, 20],
            z_start=[129, 230, 30],
            z_end=[131, 230, 30],
            dE=[3, 1, 2],
        ),
    }
    found = shower_tally(made)
    assert found.deposited_mev.tolist() == [4, 2]
    assert mean_of(DEPTH_EDGES_CM, found.depth_mev[0]) == pytest.approx(12.5, abs=0.2)
    assert mean_of(DEPTH_EDGES_CM, found.depth_mev[1]) == pytest.approx(10, abs=0.2)
    assert mean_of(RADIUS_EDGES_CM, found.radius_mev[0]) == pytest.approx(1.25, abs=0.1)
    assert found.plus(found).depth_mev.sum() == pytest.approx(12)


def test_runs_do_not_depend_on_processes_and_cover_the_events():
    runs = verb.planned(1.0, seed=1)
    for sample in SAMPLES:
        own = [run for run in runs if run.sample is sample]
        assert sum(run.num_events for run in own) == sample.num_events(1.0)
        assert all(0 < run.num_events <= sample.num_per_run for run in own)
    assert len({run.seed for run in runs}) == len(runs)
    assert {run.seed for run in runs}.isdisjoint(run.seed for run in verb.planned(1.0, seed=2))


# -- Geant4 -------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Keep the tables out of the user's cache, and never take official data by chance."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("GEANT4_DATA_DIR", raising=False)


def test_the_simulation_in_reduced_form(tmp_path):
    found = CliRunner().invoke(
        app,
        [
            *("simulate", "validate", "--out", str(tmp_path / "out")),
            *("--precision", "8", "--num-processes", "1", "--seed", "1", "--json"),
        ],
        catch_exceptions=False,
    )
    assert found.exit_code == 0
    content = json.loads((tmp_path / "out" / "validation.json").read_text())
    assert json.loads(found.stdout) == content
    figures = content["figures"]
    assert content["geant4_data"].startswith("argon")
    assert len({(row["group"], row["quantity"]) for row in figures}) == len(figures) > 30
    known = [row for row in figures if row["ratio"] is not None and row["ratio_error"] is not None]
    assert len(known) > len(figures) - 3
    off = {
        (row["group"], row["quantity"]): (row["ratio"], row["ratio_error"])
        for row in known
        if abs(row["ratio"] - 1) > row["goal"] + 3 * row["ratio_error"]
    }
    assert not off
    # Even six events make the ranges of muons sharp enough to see a stopping power that is 6 % off.
    for row in figures:
        if row["group"] == "ranges" and row["ratio_error"] is not None:
            assert row["ratio_error"] < 0.02
    page = (tmp_path / "out" / "validation.html").read_text()
    data = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    assert len(data["charts"]) == 4 + 2 * sum(sample.is_shower for sample in SAMPLES)
    assert all(chart["series"] for chart in data["charts"])
    for row in figures:
        assert row["quantity"].replace("'", "&#39;") in page
    assert "within their goals" in page
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "validation.html",
        "validation.json",
    ]


def test_a_crash_of_geant4_leaves_its_log(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("GEANT4_DATA_DIR", str(tmp_path / "data"))
    with pytest.raises(RuntimeError, match=r"see .*out/geant4-\d+\.log"):
        verb.validate(config.Simulate(), tmp_path / "out", precision_percent=20)
    logs = list((tmp_path / "out").iterdir())
    assert logs
    assert all(path.suffix == ".log" for path in logs)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("simulate",), "needs --out"),
        (("simulate", "--num-events", "3", "validate"), "--num-events goes behind validate"),
        (("simulate", "validate", "--precision", "0"), "--precision"),
    ],
)
def test_what_the_command_line_refuses(arguments, said):
    found = CliRunner().invoke(app, list(arguments))
    assert found.exit_code == 2
    assert said in found.output
