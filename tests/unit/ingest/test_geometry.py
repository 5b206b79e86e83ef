import numpy as np
import pytest

from lartpc.config import Config, Ingest, Volume
from lartpc.detectors import PRESETS
from lartpc.event import TRUTH
from lartpc.geometry import Box, volume_of
from lartpc.ingest.labels.labels import label
from lartpc.ingest.steps import Steps, Trajectories
from lartpc.ingest.voxelize import voxelize
from lartpc.vocab import CreationProcess, Semantic

BOX = Box((0.0, 0.0, 0.0), 1.0, 16)
# two volumes with a gap of 1 cm; their faces are not those of voxels
TWO = [[(0.5, 0, 0), (6.25, 16, 16)], [(7.25, 0, 0), (12, 16, 16)]]


def track(start, end, energy):
    zero = np.zeros(1)
    ids = np.ones(1, np.int64)
    muon = Trajectories(
        ids, -ids, 13 * ids, 0 * ids + CreationProcess.PRIMARY, zero + 100, np.zeros((1, 3)),
        np.array([start], float), zero, 0 * ids,
    )  # fmt: skip
    return Steps(
        0, 0, 0, np.array([start], float), np.array([end], float), zero + energy, zero, ids, 13 * ids, muon
    )


def test_deposits_outside_every_volume_are_outside():
    image = voxelize(track((0, 3.5, 3.5), (16, 3.5, 3.5), 32.0), BOX, volumes_cm=TWO)
    # 5.75 + 4.75 cm of 16 are active, at 2 MeV/cm
    assert image.energy.sum() == pytest.approx(21.0)
    assert image.energy_outside_mev == pytest.approx(11.0)
    assert image.coord[:, 0].tolist() == list(range(12))
    at_faces = dict(zip(image.coord[:, 0].tolist(), image.energy, strict=True))
    assert at_faces[0] == pytest.approx(1.0) and at_faces[1] == pytest.approx(2.0)
    assert at_faces[6] == pytest.approx(0.5) and at_faces[7] == pytest.approx(1.5)
    assert at_faces[11] == pytest.approx(2.0)


def test_backward_and_oblique_steps_are_cut_at_the_same_faces():
    forward = voxelize(track((-3, 1, 2), (15, 9, 4), 10.0), BOX, volumes_cm=TWO)
    backward = voxelize(track((15, 9, 4), (-3, 1, 2), 10.0), BOX, volumes_cm=TWO)
    assert np.array_equal(forward.coord, backward.coord)
    assert np.allclose(forward.energy, backward.energy)
    assert forward.energy.sum() == pytest.approx(10.0 * (5.75 + 4.75) / 18)


def test_a_point_on_a_face_belongs_to_one_of_two_volumes_that_share_it():
    shared = [[(0, 0, 0), (5, 16, 16)], [(5, 0, 0), (9, 16, 16)]]
    image = voxelize(track((5, 1, 1), (5, 1, 1), 1.0), BOX, volumes_cm=shared)
    assert image.energy.tolist() == [1.0]
    assert volume_of([[5, 1, 1], [4.9, 1, 1], [9, 1, 1], [-1, 1, 1]], shared).tolist() == [1, 0, -1, -1]
    assert volume_of(np.zeros((2, 0, 3)), shared).shape == (2, 0)


def test_a_track_through_two_volumes_is_one_particle_of_two_fragments():
    wide = [[(0, 0, 0), (6, 16, 16)], [(9, 0, 0), (16, 16, 16)]]
    steps = track((1.5, 3.5, 3.5), (14.5, 3.5, 3.5), 26.0)
    image = voxelize(steps, BOX, volumes_cm=wide)
    products = label(steps, image, BOX, Ingest(num_voxels=16, voxel_size_cm=1.0))
    assert set(products) == {*TRUTH, "truth_neutrino", "truth_primary"}
    assert products["truth_particle"]["semantic"].tolist() == [Semantic.TRACK]
    assert products["truth_fragment"]["num_voxels"].tolist() == [5, 6]
    assert np.allclose(products["truth_particle"]["start_point"], [[1.5, 3.5, 3.5]])
    assert np.allclose(products["truth_particle"]["end_point"], [[14.5, 3.5, 3.5]])


def test_energy_is_kept_whatever_the_volumes():
    rng = np.random.default_rng(1)
    start = rng.uniform(-2, 18, (2000, 3))
    end = start + rng.normal(0, 4, (2000, 3)) * (rng.random((2000, 1)) > 0.2)
    energy, ids = rng.exponential(1.0, 2000), np.ones(2000, np.int64)
    steps = Steps(0, 0, 0, start, end, energy, 0 * energy, ids, 13 * ids)
    low = rng.uniform(0, 8, (6, 3))
    volumes = np.stack([low, low + rng.uniform(1, 8, (6, 3))], axis=1)
    image = voxelize(steps, BOX, volumes_cm=volumes)
    assert image.energy.sum() + image.energy_outside_mev == pytest.approx(energy.sum(), rel=1e-12)
    # the same by sampling: deposits within the volumes
    t = (np.arange(400) + 0.5) / 400
    points = start[:, None] + t[:, None] * (end - start)[:, None]
    inside = (volume_of(points, volumes) >= 0) & BOX.contains(points)
    assert image.energy.sum() == pytest.approx((energy * inside.mean(axis=1)).sum(), rel=2e-3)


def test_no_volumes_mean_the_whole_box():
    steps = track((-4, 3.5, 3.5), (20, 3.5, 3.5), 24.0)
    whole = voxelize(steps, BOX, volumes_cm=[[(-5, -5, -5), (30, 30, 30)]])
    assert np.allclose(whole.energy, voxelize(steps, BOX).energy)
    assert whole.energy_outside_mev == pytest.approx(8.0)


def test_a_volume_outside_the_box_is_refused():
    with pytest.raises(ValueError, match=r"\(20, 0, 0\) to \(30, 5, 5\) cm lies outside the imaged box"):
        BOX.clip([[(0, 0, 0), (5, 5, 5)], [(20, 0, 0), (30, 5, 5)]])


def test_presets_hold_their_volumes():
    for name in ("2x2", "icarus"):
        cfg = Ingest(detector=name)
        box = Box.centred(cfg.centre_cm, cfg.voxel_size_cm, cfg.num_voxels)
        corners = np.array([(volume.low_cm, volume.high_cm) for volume in cfg.volumes])
        assert np.allclose(box.clip(corners), box.to_voxel(corners)), "the box cuts a volume"
        sides = np.ptp(corners, axis=1)
        assert np.allclose(sides, sides[0])
        middle = 0.5 * (corners.min(axis=(0, 1)) + corners.max(axis=(0, 1)))
        assert np.allclose(middle, cfg.centre_cm, atol=1e-6)
        Config(ingest={"detector": name})  # the networks fit the grid


def test_dimensions_of_the_presets():
    # 2x2: 4 modules of 2 TPCs; the gap between the two halves of a module is its cathode
    cfg = Ingest(detector="2x2")
    assert (len(cfg.volumes), cfg.voxel_size_cm, cfg.num_voxels) == (8, 0.4434, 320)
    x = sorted({(volume.low_cm[0], volume.high_cm[0]) for volume in cfg.volumes})
    assert np.allclose(x, [(-64.0898, -33.6588), (-33.3413, -2.9103), (2.9103, 33.3413), (33.6588, 64.0898)])
    # ICARUS: the faces that its analyses quote, x 61.94 to 358.49 cm and z -894.95 to 894.95 cm
    volumes = Ingest(detector="icarus").volumes
    assert len(volumes) == 4
    assert volumes[0].low_cm == pytest.approx((-358.49, -181.86, -894.951))
    assert volumes[2].low_cm[0] == pytest.approx(61.94)
    assert volumes[3].high_cm == pytest.approx((358.49, 134.96, 894.951))


def test_settings_of_the_user_come_before_those_of_the_detector():
    mine = Volume(low_cm=(0, 0, 0), high_cm=(10, 10, 10))
    cfg = Ingest(detector="2x2", voxel_size_cm=0.5, volumes=(mine,))
    assert cfg.voxel_size_cm == 0.5 and cfg.volumes == (mine,)
    assert cfg.num_voxels == 320 and cfg.centre_cm == (0.0, 0.0, 0.0)
    # what a job gets is complete, and means the same
    assert Ingest.model_validate(cfg.model_dump(mode="json")) == cfg
    assert Ingest() == Ingest(detector="generic") and set(PRESETS) == {"generic", "2x2", "icarus"}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"detector": "dune"}, "generic.*2x2.*icarus"),
        ({"volumes": [{"low_cm": (0, 0, 0), "high_cm": (1, 0, 1)}]}, "low_cm must lie below high_cm"),
        ({"precedence": (0, 1, 2, 3, 3)}, "each class 0 to 4 once"),
    ],
)
def test_senseless_settings_are_refused(settings, reason):
    with pytest.raises(ValueError, match=reason):
        Ingest(**settings)
