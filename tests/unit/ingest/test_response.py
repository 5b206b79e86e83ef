"""The detector's response against formulas: recombination, drift, diffusion, noise, thresholds."""

import numpy as np
import pytest
from checkout import REPOSITORY

from lartpc.config import Ingest, Response, Variations
from lartpc.geometry import Box
from lartpc.ingest.detector.response import detect, drift_velocity_cm_us, electrons_per_mev, recombination
from lartpc.ingest.steps import Steps, Trajectories
from lartpc.run.ingest import ingest
from lartpc.store import open_events

DATA = REPOSITORY / "tests" / "data"
BOX = Box((0.0, 0.0, 0.0), 0.3, 768)
ALL_ACTIVE = np.zeros((0, 2, 3))
VELOCITY_CM_US = drift_velocity_cm_us(0.5, 87.17)
ALL_ON = Response(
    recombination="box",
    lifetime_us=2200,
    diffusion_longitudinal_cm2_s=4.0,
    diffusion_transverse_cm2_s=8.8,
    noise_electrons=500,
    voxel_threshold_electrons=1500,
    pixel_threshold_electrons=5000,
)


def steps_of(start, end, energy, time=0.0):
    start, end = np.atleast_2d(np.asarray(start, float)), np.atleast_2d(np.asarray(end, float))
    energy = np.atleast_1d(np.asarray(energy, float))
    track_id = np.ones(len(energy), np.int64)
    time = np.broadcast_to(np.asarray(time, float), energy.shape)
    return Steps(0, 0, 0, start, end, energy, time, track_id, 13 * track_id)


def see(steps, uid="file", entry=0, **settings):
    return detect(steps, BOX, Ingest(response=Response(**settings)), ALL_ACTIVE, (uid, entry))


def accounted(image):
    return image.energy.sum() + image.energy_outside_mev + image.energy_below_mev + image.energy_lost_mev


def test_recombination_of_both_models():
    # by hand, at 0.5 kV/cm and 1.396 g/cm³: 0.800 / (1 + 0.0486 x / 0.698); ln(0.93 + ξ)/ξ, ξ = 0.212 x / 0.698
    def share_of(dedx, model, field_kv_cm, **constants):
        return recombination(dedx, Response(recombination=model, field_kv_cm=field_kv_cm, **constants))

    dedx = [2.1, 10.0]
    np.testing.assert_allclose(share_of(dedx, "birks", 0.5), [0.69795, 0.47162], atol=1e-5)
    np.testing.assert_allclose(share_of(dedx, "box", 0.5), [0.70504, 0.45372], atol=1e-5)
    for model in ("birks", "box"):
        share = share_of(np.geomspace(2, 1e4, 300), model, 0.5)
        assert (np.diff(share) < 0).all()
        assert (share > 0).all() and (share < 1).all()
        assert share_of(0.0, model, 0.5) == share_of(1.0, model, 0.5)
        assert share_of(10.0, model, 1.0) > share_of(10.0, model, 0.5)
        # the two agree where both were fitted
        both = share_of([2.0, 4.0, 8.0], "birks", 0.5) / share_of([2.0, 4.0, 8.0], "box", 0.5)
        assert np.abs(both - 1).max() < 0.06


def test_constants_of_recombination_are_settings():
    """As published: ICARUS A 0.800 ± 0.003, k 0.0486 ± 0.0006; ArgoNeuT α 0.93 ± 0.02, β 0.212 ± 0.002."""
    nominal = Response(recombination="birks")
    assert (nominal.birks_a, nominal.birks_k, nominal.box_alpha, nominal.box_beta) == (
        0.8,
        0.0486,
        0.93,
        0.212,
    )
    shifted = {"birks": {"birks_k": 0.0492}, "box": {"box_alpha": 0.95, "box_beta": 0.214}}
    expected = {
        "birks": 0.8 / (1 + 0.0492 * 20 / 0.698),
        "box": np.log(0.95 + 0.214 * 20 / 0.698) / (0.214 * 20 / 0.698),
    }
    for model, constants in shifted.items():
        assert recombination(20.0, Response(recombination=model, **constants)) == pytest.approx(
            expected[model]
        )
    # the scale is that of a minimum ionising particle: what ionises more moves, by the share of its R to theirs
    steps = steps_of([[1, 1, 1]] * 2, [[1.3, 1, 1]] * 2, [0.63, 6.0])
    charge, _ = see(steps, recombination="birks", birks_k=0.0492)
    np.testing.assert_allclose(
        charge.energy, [0.63, 6.0 * (1 + 0.0492 * 2.1 / 0.698) / (1 + 0.0492 * 20 / 0.698)], rtol=1e-6
    )
    with pytest.raises(
        ValueError, match=r"response\.birks_k without effect: response\.recombination is not birks"
    ):
        Ingest(response=Response(recombination="box", birks_k=0.05))
    Ingest(response=Response(birks_k=0.05), variations=Variations(recombination=("birks", "box")))


def test_charge_is_in_mev_of_a_minimum_ionising_particle():
    # 3 mm of a MIP keep their energy, a stopping proton loses a third of its; a point recombines least
    steps = steps_of([[1, 1, 1]] * 3, [[1.3, 1, 1], [1.3, 1, 1], [1, 1, 1]], [0.63, 6.0, 0.01])
    charge, image = see(steps, recombination="birks")
    at = recombination([2.1, 20.0, 1.0], Response(recombination="birks"))
    np.testing.assert_allclose(charge.energy, [0.63, 6.0 * at[1] / at[0], 0.01 * at[2] / at[0]], rtol=1e-6)
    assert image.energy_lost_mev == pytest.approx(6.64 - 0.01 - charge.energy.sum(), abs=0.01 + 1e-9)
    assert accounted(image) == pytest.approx(image.energy_mev) == pytest.approx(6.64)
    per_mev = electrons_per_mev(Response(recombination="birks"))
    assert per_mev == pytest.approx(1e6 / 23.6 * 0.69795, rel=1e-4)


def test_drift_velocity_as_measured():
    # MicroBooNE at 0.2739 kV/cm and 89.4 K: 0.1098 cm/us
    assert drift_velocity_cm_us(0.2739, 89.4) == pytest.approx(0.1098, rel=0.01)
    assert 0.155 < VELOCITY_CM_US < 0.165


def test_a_lifetime_takes_charge_by_the_time_of_drift():
    way = np.array([0.0, 16.0, 160.0])
    start = np.stack([way, np.full(3, 50.0), np.full(3, 50.0)], axis=1)
    charge, image = see(steps_of(start, start, [1.0, 1.0, 1.0]), lifetime_us=1000.0)
    np.testing.assert_allclose(charge.energy, np.exp(-way / VELOCITY_CM_US / 1000.0), rtol=1e-12)
    assert image.energy_lost_mev == pytest.approx(3 - charge.energy.sum())
    # a long step: the mean over its way, either direction
    x = np.linspace(10, 110, 100_001)
    mean = np.exp(-x / VELOCITY_CM_US / 300).mean()
    for start, end in (([10, 5, 5], [110, 5, 5]), ([110, 5, 5], [10, 5, 5])):
        charge, _ = see(steps_of(start, end, 100.0), lifetime_us=300.0)
        assert charge.energy[0] == pytest.approx(100 * mean, rel=1e-5)


def test_charge_drifts_to_the_nearest_anode():
    start = np.array([[10.0, 5, 5], [60, 5, 5], [110, 5, 5]])
    charge, _ = see(steps_of(start, start, [1.0] * 3), lifetime_us=500.0, anode_x_cm=(20.0, 100.0))
    np.testing.assert_allclose(charge.energy, np.exp(-np.array([10, 40, 10]) / VELOCITY_CM_US / 500.0))


def test_diffusion_has_the_width_of_the_drift_time():
    way_cm = 100.0
    steps = steps_of([way_cm, 50, 50], [way_cm, 50, 50], 200.0)
    charge, image = see(steps, diffusion_longitudinal_cm2_s=4.0, diffusion_transverse_cm2_s=8.8)
    assert len(charge) == np.ceil(200e6 / 23.6 / 600)
    drift_s = way_cm / VELOCITY_CM_US * 1e-6
    width = charge.start.std(axis=0)
    expected = np.sqrt(2 * np.array([4.0, 8.8, 8.8]) * drift_s)
    np.testing.assert_allclose(width, expected, rtol=4 / np.sqrt(2 * len(charge)))
    np.testing.assert_allclose(
        charge.start.mean(0), [way_cm, 50, 50], atol=4 * width.max() / np.sqrt(len(charge))
    )
    assert charge.energy.sum() == pytest.approx(200.0)
    assert len(image.energy) > 20
    assert image.energy.sum() == pytest.approx(200.0)
    # none at the anode itself
    charge, _ = see(steps_of([0.0, 5, 5], [0.0, 5, 5], 1.0), diffusion_transverse_cm2_s=8.8)
    assert np.ptp(charge.start, axis=0).tolist() == [0, 0, 0]


def test_a_step_diffuses_from_all_along_it():
    charge, _ = see(steps_of([1, 50, 50], [1, 50, 90], 80.0), diffusion_transverse_cm2_s=8.8)
    assert charge.start[:, 2].mean() == pytest.approx(70, abs=0.1)
    assert charge.start[:, 2].std() == pytest.approx(40 / np.sqrt(12), rel=0.01)


def test_late_deposits_seem_farther_from_the_anode():
    trajectories = Trajectories(
        *(np.array([1]), np.array([-1]), np.array([13]), np.array([0]), np.array([1.0])),
        *(np.zeros((1, 3)), np.array([[50.0, 5, 5]]), np.array([1e5]), np.array([0])),
    )
    steps = steps_of([[50, 5, 5]] * 2, [[52, 5, 5]] * 2, [1.0, 1.0], [1e5, -1e5])
    steps = Steps(**{**vars(steps), "trajectories": trajectories})
    charge, _ = see(steps, shift_by_time=True)
    moved = VELOCITY_CM_US * 100
    np.testing.assert_allclose(charge.start[:, 0], [50 + moved, 50 - moved])
    np.testing.assert_allclose(charge.end[:, 0], [52 + moved, 52 - moved])
    np.testing.assert_allclose(charge.trajectories.position[0], [50 + moved, 5, 5])
    charge, _ = see(steps, shift_by_time=True, anode_x_cm=(80.0,))
    np.testing.assert_allclose(charge.start[:, 0], [50 - moved, 50 + moved])


def test_noise_and_thresholds_count_what_they_change():
    # 5000 voxels, a pixel each, of 1e6/23.6 electrons per MeV
    z, y = np.divmod(np.arange(5000), 100)
    start = np.stack([np.full(5000, 5.0), 0.15 + 0.3 * y, 0.15 + 0.3 * z], axis=1)
    steps = steps_of(start, start, np.full(5000, 0.5))
    _, image = see(steps, noise_electrons=1000)
    per_mev = 1e6 / 23.6
    assert image.energy.std() * per_mev == pytest.approx(1000, rel=4 / np.sqrt(1e4))
    assert image.energy.mean() == pytest.approx(0.5, abs=4 * 1000 / per_mev / np.sqrt(5000))
    assert accounted(image) == pytest.approx(2500.0)
    # a threshold at the mean takes half of them
    _, image = see(steps, noise_electrons=1000, voxel_threshold_electrons=0.5 * per_mev)
    assert len(image.energy) == pytest.approx(2500, abs=4 * np.sqrt(1250))
    assert image.energy.min() >= 0.5
    assert accounted(image) == pytest.approx(2500.0)
    assert (np.bincount(image.deposits.voxel[image.deposits.voxel >= 0]) == 1).all()


def test_a_pixel_sees_the_charge_of_its_column():
    # two voxels of 0.2 MeV behind each other, and one of 0.3 alone: 16949 and 12712 electrons
    start = np.array([[5.0, 5, 5], [7, 5, 5], [5, 8, 8]])
    steps = steps_of(start, start, [0.2, 0.2, 0.3])
    _, image = see(steps, pixel_threshold_electrons=14_000)
    np.testing.assert_allclose(image.energy, [0.2, 0.2])
    assert image.energy_below_mev == pytest.approx(0.3)
    _, image = see(steps, voxel_threshold_electrons=10_000)
    np.testing.assert_allclose(image.energy, [0.3])


def test_off_by_default():
    steps = steps_of([1, 1, 1], [4, 4, 4], 6.0)
    charge, image = detect(steps, BOX, Ingest(voxel_threshold_mev=0.1), ALL_ACTIVE, ("file", 0))
    assert charge is steps
    assert image.energy_lost_mev == 0


def test_the_same_event_gets_the_same_response():
    steps = steps_of([[10, 10, 10]] * 2, [[40, 20, 10], [10, 60, 10]], [60.0, 100.0])
    settings = ALL_ON.model_dump()
    one, again = (see(steps, **settings)[1] for _ in range(2))
    assert np.array_equal(one.coord, again.coord) and np.array_equal(one.energy, again.energy)
    for other in (see(steps, uid="other", **settings)[1], see(steps, entry=1, **settings)[1]):
        assert not np.array_equal(one.energy, other.energy)


@pytest.mark.parametrize("num", [0, 1])
def test_small_events_pass(num):
    steps = steps_of(np.full((num, 3), 9.0), np.full((num, 3), 9.1), np.full(num, 1e-4))
    _, image = see(steps, **ALL_ON.model_dump())
    assert accounted(image) == pytest.approx(num * 1e-4)


def test_ingestion_accounts_for_the_energy_of_a_detector(tmp_path):
    source = DATA / "edepsim_5ev.root"
    seen_summary = ingest(source, Ingest(response=ALL_ON), out=tmp_path / "seen.h5")
    true_summary = ingest(source, Ingest(), out=tmp_path / "true.h5")
    assert seen_summary.energy_mev == true_summary.energy_mev > 40
    assert seen_summary.energy_lost_mev > 5 and true_summary.energy_lost_mev == 0
    with open_events(tmp_path / "seen.h5") as seen, open_events(tmp_path / "true.h5") as true:
        # two events of this file are broken on purpose
        assert list(seen.quarantined()) == list(true.quarantined()) == [3, 4]
        for event, before in list(zip(seen, true, strict=True))[:3]:
            row = event["event"]
            parts = ("energy_outside_mev", "energy_below_mev", "energy_lost_mev")
            total_mev = event["voxel"]["energy"].sum(dtype=np.float64) + sum(row[name][0] for name in parts)
            assert total_mev == pytest.approx(row["energy_mev"][0], rel=1e-5)
            assert row["energy_mev"][0] == before["event"]["energy_mev"][0]
            assert before["event"]["energy_lost_mev"][0] == 0
            assert len(event["truth_voxel"]["semantic"]) == event.num_voxels


def test_an_image_has_no_steps_to_respond_to(tmp_path):
    with pytest.raises(ValueError, match=r"ingest\.response acts on steps of energy, and .* holds voxels"):
        ingest(DATA / "larcv3_6ev.h5", Ingest(response=ALL_ON), out=tmp_path / "out.h5")
