"""The vertex of an interaction, chosen among ends and points on all the evidence."""

import numpy as np
import pytest

from lartpc.kinematics import vertex as module
from lartpc.kinematics.clusters import unit
from lartpc.kinematics.vertex import (
    EVIDENCE,
    Particles,
    Points,
    candidates,
    find_vertex,
    find_vertices,
    wrong_way,
)
from lartpc.vocab import Semantic

TRACK, SHOWER, MICHEL, DELTA = Semantic.TRACK, Semantic.SHOWER, Semantic.MICHEL, Semantic.DELTA
NO_POINTS = Points(np.zeros((0, 3)), np.zeros(0), np.zeros(0))


def particles(*rows, score=None, starts=0.95):
    """Rows of class, start, end; the direction leads from start to end."""
    start, end = (np.array([row[i] for row in rows], np.float64) for i in (1, 2))
    return Particles(
        np.array([row[0] for row in rows], np.int8),
        start,
        end,
        unit(end - start),
        np.full(len(rows), 0.95) if score is None else np.asarray(score, np.float64),
        np.broadcast_to(np.asarray(starts, np.float64), len(rows)).copy(),
    )


def points(*rows):
    """Rows of place and score of end against start."""
    return Points(
        np.array([row[0] for row in rows], np.float64),
        np.full(len(rows), 0.95),
        np.array([row[1] for row in rows], np.float64),
    )


def vertex(*rows, at=NO_POINTS, **kwargs):
    return find_vertex(particles(*rows, **kwargs), at)


def test_three_tracks_from_one_point():
    place = np.array([100.0, 200.0, 300.0])
    rows = [(TRACK, place + offset, place + 50 * np.eye(3)[i]) for i, offset in enumerate(np.eye(3))]
    np.testing.assert_allclose(vertex(*rows), place, atol=1.01)
    # a predicted point there is nearer to the truth than any end
    np.testing.assert_allclose(vertex(*rows, at=points((place + 0.2, 0.05))), place + 0.2)


def test_a_track_the_wrong_way_round_still_meets():
    rows = [
        (TRACK, (0, 0, 0), (50, 0, 0)),
        (TRACK, (50, 60, 0), (50, 1, 0)),
        (TRACK, (50, 0, 1), (50, 0, 80)),
    ]
    np.testing.assert_allclose(vertex(*rows, starts=[0.55, 0.55, 0.95]), [50, 0, 0], atol=1.01)


def test_the_meeting_of_most_wins():
    rows = [
        (TRACK, (0, 0, 0), (50, 0, 0)),
        (TRACK, (0, 0, 0), (0, 50, 0)),
        (TRACK, (0, 0, 0), (0, 0, 50)),
        (TRACK, (50, 1, 0), (90, 50, 0)),
    ]
    np.testing.assert_allclose(vertex(*rows), 0, atol=1e-4)


def test_secondaries_speak_against_where_they_are():
    rows = [(TRACK, (0, 0, 0), (50, 0, 0)), (TRACK, (50, 0, 0), (90, 5, 0)), (TRACK, (50, 0, 0), (90, -5, 0))]
    np.testing.assert_allclose(vertex(*rows, score=[0.9, 0.1, 0.2]), 0, atol=1e-4)


def test_one_particle_starts_at_its_vertex():
    np.testing.assert_allclose(vertex((SHOWER, (5, 6, 7), (9, 9, 9))), [5, 6, 7])
    np.testing.assert_allclose(vertex((MICHEL, (5, 6, 7), (9, 9, 9)), score=[0.0]), [5, 6, 7])
    both = ((MICHEL, (5, 6, 7), (9, 9, 9)), (DELTA, (5, 6, 30), (5, 6, 34)))
    assert vertex(*both, score=[0.0, 0.0]).tolist() in ([5, 6, 7], [5, 6, 30])


def test_showers_point_back_to_the_vertex():
    place = np.array([100.0, 100.0, 100.0])
    rows = [(SHOWER, place + 30 * u, place + 60 * u) for u in (np.eye(3)[0], np.array([0, 0.6, 0.8]))]
    np.testing.assert_allclose(vertex(*rows), place, atol=1e-2)


def test_parallel_showers_have_no_crossing():
    rows = [(SHOWER, (0, 0, 0), (0, 0, 30)), (SHOWER, (40, 0, 0), (40, 0, 60))]
    assert vertex(*rows).tolist() in ([0, 0, 0], [40, 0, 0])


@pytest.mark.parametrize("end", [0, 60])
def test_a_shower_tells_the_end_of_a_track(end):
    track = (TRACK, (0, 0, 0), (60, 0, 0))
    found = vertex(track, (SHOWER, (end, 30, 0), (end, 60, 0)), starts=0.5)
    np.testing.assert_allclose(found, [end, 0, 0])


def test_a_point_that_is_an_end_is_not_the_vertex():
    track = (TRACK, (0, 0, 0), (60, 0, 0))
    both = (track, (TRACK, (0, 100, 0), (0, 120, 0)))
    at = points(((0.2, 0, 0), 0.95), ((60.2, 0, 0), 0.05))
    np.testing.assert_allclose(vertex(*both, at=at, starts=0.5), [60.2, 0, 0])


def test_each_interaction_has_its_own_particles_and_points():
    rows = [
        (TRACK, (0, 0, 0), (50, 0, 0)),
        (TRACK, (300, 0, 0), (300, 60, 0)),
        (TRACK, (0, 0, 0), (0, 50, 0)),
    ]
    rows += [(SHOWER, (9, 9, 9), (20, 20, 20)), (TRACK, (300, 0, 0), (330, 0, 0))]
    at = points(((0.3, 0, 0), 0.0), ((300.3, 0, 0), 0.0), ((49.0, 0, 0), 0.0))
    found = find_vertices(particles(*rows), np.array([0, 1, 0, -1, 1]), at, np.array([0, 1, -1]))
    np.testing.assert_allclose(found, [[0.3, 0, 0], [300.3, 0, 0]])
    none = particles(*rows).only(np.zeros(0, np.int64))
    assert find_vertices(none, np.zeros(0, np.int64), NO_POINTS, np.zeros(0, np.int64)).shape == (0, 3)


def test_points_belong_to_the_voxel_that_they_touch():
    coord, owner = np.array([[10, 10, 10], [20, 10, 10]]), np.array([4, -1])
    at = points(((11.0, 10.5, 10.5), 0.0), ((20.0, 10.5, 10.5), 0.0), ((15.5, 10.5, 10.5), 0.0))
    assert at.owners(coord, owner).tolist() == [4, -1, -1]
    assert at.owners(coord[:0], owner[:0]).tolist() == [-1] * 3
    assert NO_POINTS.owners(coord, owner).shape == (0,)


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    rows = [((TRACK, SHOWER)[i % 2], *rng.uniform(0, 300, (2, 3))) for i in range(30)]
    at = points(*((rng.uniform(0, 300, 3), 0.3) for _ in range(10)))
    whole = candidates(particles(*rows), at)
    monkeypatch.setattr(module, "_BLOCK", 100)
    for one, two in zip(whole, candidates(particles(*rows), at), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-9)
    assert whole[1].shape == (len(whole[0]), len(EVIDENCE)) and np.isfinite(whole[1]).all()


def test_a_primary_track_starts_at_its_vertex():
    rows = [(TRACK, (50, 0, 0), (0, 0, 0)), (TRACK, (0, 0, 1), (0, 40, 0)), (TRACK, (1, 0, 0), (0, 0, 2))]
    rows += [(TRACK, (0, 0, 60), (0, 0, 0)), (SHOWER, (9, 0, 60), (0, 0, 0)), (TRACK, (0, 70, 0), (0, 1, 0))]
    found = particles(*rows, score=[0.9, 0.9, 0.9, 0.2, 0.9, 0.9], starts=[0.9, 0.9, 0.9, 0.9, 0.9, 0.99])
    # not one that starts there, too, a secondary, a shower, or one of which the direction is sure
    assert wrong_way(found, np.zeros((6, 3))).tolist() == [True] + [False] * 5
