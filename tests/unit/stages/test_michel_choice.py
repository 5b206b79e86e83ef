"""Which particles are Michel electrons."""

import numpy as np
import pytest

from lartpc.kinematics.michels import FEWEST_VOXELS, MOST_MEV, decide, regroup
from lartpc.vocab import Semantic

SHOWER, TRACK, MICHEL, DELTA = Semantic.SHOWER, Semantic.TRACK, Semantic.MICHEL, Semantic.DELTA


def line(x, num):
    """Voxels (num, 3) along x."""
    return np.stack([x + np.arange(num), np.full(num, 10), np.full(num, 10)], axis=1)


def grouped(*rows):
    """Regroup fragments of rows: class, energy, first voxel along x, number of voxels, particle."""
    semantic, energy, first, num, particle = (np.array(column) for column in zip(*rows, strict=True))
    coord = np.concatenate([line(x, n) for x, n in zip(first, num, strict=True)])
    fragment = {"semantic": semantic.astype(np.int8), "energy": energy.astype(np.float32), "num_voxels": num}
    first_of = np.unique(particle, return_index=True)[1]
    return regroup(fragment, particle, first_of, np.repeat(np.arange(len(num)), num), coord).tolist()


@pytest.mark.parametrize(("energy", "expected"), [(20.0, [0, 1, 1, 1]), (80.0, [0, 2, 1, 2])])
def test_a_michel_with_more_energy_than_one_can_have_is_apart_from_the_shower(energy, expected):
    rows = [
        (TRACK, 200.0, 0, 50, 0),
        (MICHEL, 25.0, 50, 20, 1),
        (SHOWER, energy, 90, 30, 1),
        (MICHEL, 3.0, 71, 5, 1),
    ]
    assert grouped(*rows) == expected


def test_a_shower_that_begins_as_such_keeps_its_pieces():
    assert grouped((SHOWER, 300.0, 0, 80, 0), (MICHEL, 9.0, 90, 20, 0)) == [0, 0]


@pytest.mark.parametrize(
    ("num", "first", "of", "expected"),
    [
        (FEWEST_VOXELS - 1, 50, TRACK, [0, 0, 1]),
        (FEWEST_VOXELS, 50, TRACK, [0, 2, 1]),
        (FEWEST_VOXELS - 1, 55, TRACK, [0, 2, 1]),
        (FEWEST_VOXELS - 1, 50, SHOWER, [0, 2, 1]),
    ],
)
def test_few_voxels_at_a_track_are_of_it(num, first, of, expected):
    assert grouped((of, 90.0, 0, 50, 0), (MICHEL, 1.0, first, num, 2), (TRACK, 50.0, 300, 50, 1)) == expected


def test_nothing_stays_nothing():
    empty = {"semantic": np.zeros(0, np.int8), "energy": np.zeros(0), "num_voxels": np.zeros(0, np.int64)}
    none = np.zeros(0, np.int64)
    assert regroup(empty, none, none, np.full(3, -1), line(0, 3)).shape == (0,)
    found = decide(none, np.zeros((0, 5)), np.zeros(0), none)
    assert found.shape == (0,)


@pytest.mark.parametrize(
    ("semantic", "share", "energy", "num", "expected"),
    [
        (MICHEL, (0.7, 0.0, 0.3, 0.0), 40.0, 50, MICHEL),
        (MICHEL, (0.8, 0.0, 0.2, 0.0), MOST_MEV + 1, 150, SHOWER),
        (MICHEL, (0.1, 0.2, 0.7, 0.0), 1.0, FEWEST_VOXELS - 1, TRACK),
        (MICHEL, (0.1, 0.2, 0.7, 0.0), 1.0, FEWEST_VOXELS, MICHEL),
        (SHOWER, (0.4, 0.0, 0.6, 0.0), 80.0, 3, SHOWER),
    ],
)
def test_what_cannot_be_a_michel_is_of_the_class_that_scores_most_beside(
    semantic, share, energy, num, expected
):
    share = np.array([[*share, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0]])
    found = decide(np.array([semantic, TRACK]), share, np.array([energy, 100.0]), np.array([num, 80]))
    assert found.tolist() == [expected, TRACK]
