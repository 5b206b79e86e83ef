"""Wires and their electronics: shapes of signals, what deconvolution gives back, noise and dead wires."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from test_project import BOX, WIRES, line, write_steps

from lartpc import config
from lartpc.event import Columns
from lartpc.ingest.detector.project import Plane, View, flat_box, project
from lartpc.ingest.detector.readout import WireReadout, nearest_on_wire, readouts_of, shape
from lartpc.ingest.detector.response import electrons_per_mev
from lartpc.run.ingest import ingest
from lartpc.store import open_events
from lartpc.vocab import GHOST, NONE, Semantic

SLANTED = (4.0, 3.0, 5.0)


def settings(**readout: object) -> config.Ingest:
    return config.Ingest.model_validate(
        {"num_voxels": 64, "wires": {**WIRES, "readout": {"shaping_us": 2.0, **readout}}}
    )


def view(cfg: config.Ingest, number: int, truth: dict[str, Columns] | None = None) -> View:
    plane = Plane(cfg.wires.angles_deg[number], BOX, flat_box(BOX, cfg))
    readouts = readouts_of(cfg, ("file", 0))
    return project(line(SLANTED), truth or {}, plane, 0.0, is_grid=False, wires=readouts[number])


def dense(seen: View) -> np.ndarray:
    image = np.zeros((128, 128))
    image[seen.coord[:, 0], seen.coord[:, 1]] = seen.energy
    return image


PLAIN = config.Ingest.model_validate({"num_voxels": 64, "wires": WIRES})


def test_the_shaper_is_semi_gaussian_and_ends() -> None:
    time_us = np.linspace(0, 20, 4001)
    found = shape(time_us, 2.0)
    assert found[0] == 0 and found.max() == pytest.approx(1, abs=1e-4) and found.min() > -0.02
    assert 1.9 < time_us[found.argmax()] < 2.5 and np.abs(found[time_us > 10]).max() < 1e-3
    # the peaking time only scales the time
    np.testing.assert_allclose(shape(time_us / 2, 1.0), found, atol=1e-9)


def test_collection_has_one_sign_and_induction_two() -> None:
    cfg = settings()
    arrived = np.zeros((1, 6 * 128))
    arrived[0, 300] = 2.0
    collected, induced, _ = (readout.waveforms(arrived)[0] for readout in readouts_of(cfg, ("file", 0)))
    assert 1.5 < collected.max() < 2.0 and collected.min() > -0.05
    assert abs(induced.sum()) < 0.01 * np.abs(induced).sum()
    assert induced.max() == pytest.approx(-induced.min(), rel=0.3) and induced.argmax() < induced.argmin()
    assert (
        np.abs(collected[:300]).max() < 1e-12 and np.abs(induced[:300]).max() < 1e-12
    )  # nothing before it arrives


def test_a_deconvolved_collection_plane_is_the_image_again() -> None:
    arrived, back = view(PLAIN, 0), view(settings(low_pass_mhz=None), 0)
    assert back.coord.tolist() == arrived.coord.tolist()
    np.testing.assert_allclose(back.energy, arrived.energy, rtol=1e-6)
    # with the filter charge moves by a pixel or so, and none is lost
    soft = dense(view(settings(), 0))
    assert soft.sum() == pytest.approx(arrived.energy.sum(), rel=1e-3)
    np.testing.assert_allclose(soft.sum(axis=0), dense(arrived).sum(axis=0), rtol=0.02, atol=1e-6)
    assert np.abs(soft - dense(arrived)).sum() < 0.6 * soft.sum()


@pytest.mark.parametrize("number", [1, 2])
def test_a_deconvolved_induction_plane_lacks_a_little(number: int) -> None:
    arrived, back = dense(view(PLAIN, number)), dense(view(settings(), number))
    # without the low frequencies some charge is negative, around it, which is no pixel
    assert 0.8 * arrived.sum() < back.sum() < arrived.sum()
    weight = np.average(np.arange(128), weights=back.sum(axis=1))
    assert weight == pytest.approx(np.average(np.arange(128), weights=arrived.sum(axis=1)), abs=0.3)


def test_noise_has_its_charge_and_follows_the_event() -> None:
    cfg = settings(noise_electrons=400.0, threshold_sigma=3.0)
    readout = WireReadout(cfg, 0, ("file", 3))
    num = 1024
    noise = np.fft.irfft(readout._gaussian(500, readout._noise_amplitude(num)), num)
    assert noise.std() * electrons_per_mev(cfg.response) == pytest.approx(400, rel=0.02)
    spectrum = (np.abs(np.fft.rfft(noise)) ** 2).mean(axis=0)
    assert spectrum[:50].mean() > 50 * spectrum[-50:].mean()  # as the shaper lets through
    nothing = np.zeros(0, np.int64)
    one, again, other = (
        WireReadout(cfg, 0, ("file", entry)).read(nothing, nothing, np.zeros(0), 0.0) for entry in (3, 3, 4)
    )
    np.testing.assert_array_equal(one.energy, again.energy)
    assert not np.array_equal(one.energy, other.energy)
    # 0.13 % of 16,384 pixels are above 3 standard deviations
    assert 5 < len(one.energy) < 50
    assert len(WireReadout(settings(), 0, ("file", 3)).read(nothing, nothing, np.zeros(0), 0.0).energy) == 0


@pytest.mark.parametrize("number", [0, 1])
def test_noise_of_pixels_is_that_of_waveforms(number: int) -> None:
    """Made at once, or by finely digitized waveforms: the same width, and correlations along the drift."""
    at_once = WireReadout(settings(noise_electrons=400.0), number, ("file", 0))
    by_ticks = WireReadout(settings(noise_electrons=400.0, adc_electrons=0.1), number, ("file", 1))
    one_WX, sigma = at_once._noise_of_pixels(4000)
    charge_WT, measured = by_ticks._deconvolved(np.zeros((4000, 6 * 128)))
    other_WX = by_ticks._in_pixels(charge_WT)
    assert one_WX.shape == other_WX.shape == (4000, 128)
    assert sigma == pytest.approx(measured, rel=0.01)
    for apart in range(6):
        found, wanted = ((seen[:, : 128 - apart] * seen[:, apart:]).mean() for seen in (one_WX, other_WX))
        assert found == pytest.approx(wanted, abs=0.02 * sigma**2)


def test_counts_of_the_digitizer_are_noise() -> None:
    fine, coarse = (dense(view(settings(adc_electrons=step), 0)) for step in (10.0, 2000.0))
    true = dense(view(settings(), 0))
    errors = [np.abs(found - true).sum() / true.sum() for found in (fine, coarse)]
    assert errors[0] < 0.02 < errors[1]


def test_dead_wires_see_nothing_with_and_without_waveforms() -> None:
    for shaping_us in (None, 2.0):
        cfg = settings(shaping_us=shaping_us, dead_share=0.3)
        dead = readouts_of(cfg, ("file", 0))[0].dead_W
        assert 0.15 < dead.mean() < 0.45
        seen, all_seen = view(cfg, 0), view(PLAIN if shaping_us is None else settings(), 0)
        assert set(seen.coord[:, 1]) == set(all_seen.coord[:, 1]) - set(np.flatnonzero(dead))
        lost = all_seen.energy[dead[all_seen.coord[:, 1]]].sum()
        assert seen.energy.sum() == pytest.approx(all_seen.energy.sum() - lost, rel=1e-6)
    assert readouts_of(PLAIN, ("file", 0)) == [None, None, None]


def test_pixels_that_are_seen_have_labels_of_their_wire() -> None:
    # charge at drift 10 and 20 of wire 3, and 11 of wire 4
    key = np.array([10 * 64 + 3, 11 * 64 + 4, 20 * 64 + 3])
    seen = np.array([[9, 3, 0], [10, 4, 0], [12, 3, 0], [15, 3, 0], [19, 3, 0], [11, 5, 0]])
    assert nearest_on_wire(seen, key, 64).tolist() == [0, 1, 0, NONE, 2, NONE]
    assert nearest_on_wire(seen, np.zeros(0, np.int64), 64).tolist() == [NONE] * 6


def test_ingestion_reads_wires_out(tmp_path: Path) -> None:
    cfg = settings(noise_electrons=300.0, dead_share=0.05, threshold_sigma=3.5)
    out = tmp_path / "views.h5"
    summary = ingest(write_steps(tmp_path / "steps.h5"), cfg, out=out, file_uid="s/0")
    assert summary.num_quarantined == 3
    with open_events(out) as events:
        found = events[:]
    for event in found[:3]:
        label, energy = event["truth_voxel"]["semantic"], event["voxel"]["energy"]
        assert set(label.tolist()) <= {int(Semantic.TRACK), GHOST}
        assert (event["truth_voxel"]["particle"][label == GHOST] == NONE).all()
        assert 20 < energy[label == Semantic.TRACK].sum() < 34
        assert energy[label == GHOST].sum() < 0.3 * energy.sum()
    # an event without deposits has noise, and no class
    assert all((event["truth_voxel"]["semantic"] == GHOST).all() for event in found[6:])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"shaping_us": None, "noise_electrons": 400.0}, "noise_electrons without effect"),
        ({"collection_deg": 30.0}, "not one of angles_deg"),
    ],
)
def test_settings_without_sense_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        settings(**wrong)
