import numpy as np
import pytest

from lartpc.geometry import Box
from lartpc.ingest.steps import Steps
from lartpc.ingest.voxelize import voxelize

BOX = Box((0.0, 0.0, 0.0), 1.0, 16)


def steps_of(start, end, energy):
    start, end = np.atleast_2d(np.asarray(start, float)), np.atleast_2d(np.asarray(end, float))
    energy = np.atleast_1d(np.asarray(energy, float))
    track_id = np.ones(len(energy), np.int64)
    return Steps(0, 0, 0, start, end, energy, np.zeros(len(energy)), track_id, 13 * track_id)


def total(image):
    return image.energy.sum() + image.energy_outside_mev + image.energy_below_mev


def test_straight_step_splits_evenly():
    image = voxelize(steps_of([0.0, 0.5, 0.5], [10.0, 0.5, 0.5], 20.0), BOX)
    assert np.array_equal(image.coord, [[x, 0, 0] for x in range(10)])
    assert np.allclose(image.energy, 2.0, rtol=1e-12)


def test_backward_step_gives_the_same_voxels_as_forward():
    forward = voxelize(steps_of([0.3, 2.7, 5.1], [9.9, 8.2, 0.4], 7.0), BOX)
    backward = voxelize(steps_of([9.9, 8.2, 0.4], [0.3, 2.7, 5.1], 7.0), BOX)
    assert np.array_equal(forward.coord, backward.coord)
    assert np.allclose(forward.energy, backward.energy, rtol=1e-9)


def test_diagonal_through_corners_touches_diagonal_voxels_only():
    image = voxelize(steps_of([1.0, 1.0, 1.0], [5.0, 5.0, 5.0], 8.0), BOX)
    assert np.array_equal(image.coord, [[i, i, i] for i in range(1, 5)])
    assert np.allclose(image.energy, 2.0)


def test_plane_diagonal_has_the_known_path_lengths():
    # from (0, 0) to (2, 1): crosses x = 1 at half way, y = 1 only at the end
    image = voxelize(steps_of([0.0, 0.0, 0.5], [2.0, 1.0, 0.5], 4.0), BOX)
    assert np.array_equal(image.coord, [[0, 0, 0], [1, 0, 0]])
    assert np.allclose(image.energy, 2.0)
    # shifted by 1/4 in y: y = 1 is crossed at 3/4 of the way
    image = voxelize(steps_of([0.0, 0.25, 0.5], [2.0, 1.25, 0.5], 4.0), BOX)
    assert np.array_equal(image.coord, [[0, 0, 0], [1, 0, 0], [1, 1, 0]])
    assert np.allclose(image.energy, [2.0, 1.0, 1.0])


def test_step_leaving_the_box_counts_what_is_outside():
    image = voxelize(steps_of([14.0, 0.5, 0.5], [24.0, 0.5, 0.5], 10.0), BOX)
    assert np.array_equal(image.coord, [[14, 0, 0], [15, 0, 0]])
    assert image.energy_outside_mev == pytest.approx(8.0)
    assert total(image) == pytest.approx(10.0, rel=1e-12)


def test_step_through_the_whole_box_from_far_away():
    image = voxelize(steps_of([-1e6, 3.5, 3.5], [1e6, 3.5, 3.5], 1e6), BOX)
    assert len(image.energy) == 16
    assert np.allclose(image.energy, 0.5, rtol=1e-6)
    assert len(image.deposits.step) == 18


def test_point_step_goes_whole_to_its_voxel():
    image = voxelize(steps_of([3.0, 4.9, 5.5], [3.0, 4.9, 5.5], 1.5), BOX)
    assert np.array_equal(image.coord, [[3, 4, 5]])
    assert image.energy.tolist() == [1.5]


def test_voxels_are_unique_and_sorted_and_energy_is_conserved():
    rng = np.random.default_rng(3)
    start = rng.uniform(-2, 18, (3000, 3))
    end = start + rng.normal(0, 4, (3000, 3)) * (rng.random((3000, 1)) > 0.2)
    image = voxelize(steps_of(start, end, rng.exponential(1.0, 3000)), BOX)
    key = np.ravel_multi_index(tuple(image.coord.T), (16, 16, 16))
    assert (np.diff(key) > 0).all()
    assert total(image) == pytest.approx(image.energy_mev, rel=1e-12)
    assert np.allclose(
        np.bincount(
            image.deposits.voxel[image.deposits.inside], image.deposits.energy[image.deposits.inside]
        ),
        image.energy,
    )


def test_split_agrees_with_fine_sampling():
    rng = np.random.default_rng(5)
    start, end = rng.uniform(0, 16, (2, 20, 3))
    image = voxelize(steps_of(start, end, np.ones(20)), BOX)
    t = (np.arange(20_000) + 0.5) / 20_000
    sampled = np.zeros((16, 16, 16))
    for a, b in zip(start, end, strict=True):
        np.add.at(sampled, tuple(np.floor(a + t[:, None] * (b - a)).astype(int).T), 1 / 20_000)
    dense = np.zeros((16, 16, 16))
    dense[tuple(image.coord.T)] = image.energy
    assert np.abs(dense - sampled).max() < 1e-3


def test_threshold_drops_voxels_and_counts_their_energy():
    image = voxelize(steps_of([[1, 1, 1], [2, 2, 2]], [[1, 1, 1], [2, 2, 2]], [0.05, 1.0]), BOX, 0.1)
    assert np.array_equal(image.coord, [[2, 2, 2]])
    assert image.energy_below_mev == pytest.approx(0.05)
    assert image.deposits.voxel.tolist() == [-1, 0]
    assert image.deposits.inside.all()


def test_no_steps_give_no_voxels():
    image = voxelize(steps_of(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0)), BOX)
    assert image.coord.shape == (0, 3)
    assert total(image) == 0.0


def test_steps_without_energy_make_no_voxels():
    assert len(voxelize(steps_of([1, 1, 1], [2, 2, 2], 0.0), BOX).energy) == 0


@pytest.mark.parametrize(
    ("start", "energy", "reason"),
    [
        ([np.nan, 0, 0], 1.0, "start of step 0 is not finite"),
        ([0, 0, 0], np.inf, "energy of step 0 is not finite"),
        ([0, 0, 0], -1.0, "energy of step 0 is negative"),
    ],
)
def test_senseless_steps_are_refused(start, energy, reason):
    with pytest.raises(ValueError, match=reason):
        voxelize(steps_of(start, [1, 1, 1], energy), BOX)
