import sys

import numpy as np
import pytest
from conftest import line
from scipy.spatial.distance import cdist

from lartpc.event import empty
from lartpc.kinematics import (
    FEATURES,
    OTHER_SIDE,
    POINTING,
    Clusters,
    closest_voxels,
    connect,
    describe,
    directions,
    end_points,
    features,
    pointing,
    unit,
)
from lartpc.kinematics.clusters import largest_eigenvalue, local_energy, products, symmetric
from lartpc.kinematics.relations import end_features
from lartpc.sparse import build
from lartpc.vocab import PointKind, Semantic


def clusters_of(*coords, energy=None):
    coord = np.concatenate(coords)
    labels = np.repeat(np.arange(len(coords)), [len(c) for c in coords])
    energy = np.ones(len(coord)) if energy is None else energy
    return Clusters.group(coord, energy, labels, len(coords))


def points_of(*rows):
    """Rows of position, class and kind."""
    points = empty("point", len(rows))
    for i, (position, semantic, kind) in enumerate(rows):
        points["position"][i], points["semantic"][i], points["kind"][i] = position, semantic, kind
        points["end_score"][i], points["score"][i] = float(kind == PointKind.END), 1.0
    return points


def test_grouping_leaves_out_negative_labels_and_keeps_empty_clusters():
    clusters = Clusters.group(np.arange(15).reshape(5, 3), np.arange(5.0), np.array([2, -1, 0, 2, 0]), 4)
    assert clusters.size_F.tolist() == [2, 0, 2, 0]
    assert clusters.row_V.tolist() == [2, 4, 0, 3]
    assert clusters.total(clusters.energy_V).tolist() == [6, 0, 3, 0]
    assert clusters.maximum(clusters.energy_V).tolist() == [4, -np.inf, 3, -np.inf]
    assert clusters.argmax(clusters.energy_V)[[0, 2]].tolist() == [1, 3]


def test_moments_match_numpy():
    rng = np.random.default_rng(1)
    one, two = rng.integers(0, 50, (40, 3)), rng.integers(0, 50, (7, 3))
    clusters = clusters_of(one, two)
    np.testing.assert_allclose(clusters.centre_F, [one.mean(0) + 0.5, two.mean(0) + 0.5])
    np.testing.assert_allclose(clusters.covariance_F[1], np.cov(two.T, bias=True))
    value, vector = np.linalg.eigh(np.cov(one.T, bias=True))
    np.testing.assert_allclose(clusters.spread_F[0], value)
    assert abs(clusters.axis_F[0] @ vector[:, 2]) == pytest.approx(1)


def test_straight_line():
    track = line((100, 50, 20), (1, 2, 0), 30)
    clusters = clusters_of(track)
    one, two = end_points(clusters)
    assert sorted([tuple(one[0]), tuple(two[0])]) == [(100.5, 50.5, 20.5), (129.5, 108.5, 20.5)]
    np.testing.assert_allclose(directions(clusters, track[:1] + 0.5)[0], unit(np.array([1, 2, 0])), atol=1e-6)
    np.testing.assert_allclose(
        directions(clusters, track[-1:] + 0.5)[0], unit(np.array([-1, -2, 0])), atol=1e-6
    )


def test_ends_are_the_farthest_pair_of_a_bent_track():
    bent = np.concatenate([line((0, 0, 0), (1, 0, 0), 40), line((40, 1, 0), (1, 1, 0), 30)])
    one, two = end_points(clusters_of(bent))
    assert np.linalg.norm(one - two) == pytest.approx(cdist(bent, bent).max())


def test_direction_ignores_what_bends_away():
    bent = np.concatenate([line((0, 0, 0), (1, 0, 0), 10), line((9, 1, 0), (0, 1, 0), 60)])
    direction = directions(clusters_of(bent), np.array([[0.5, 0.5, 0.5]]))[0]
    assert np.degrees(np.arccos(direction[0])) < 12


def test_one_voxel_has_no_direction():
    clusters = clusters_of(np.array([[5, 6, 7]]))
    np.testing.assert_array_equal(directions(clusters, np.array([[5.5, 6.5, 7.5]])), 0)
    one, two = end_points(clusters)
    np.testing.assert_array_equal(one, two)


def test_track_takes_ends_and_order_from_points():
    track = line((100, 50, 20), (1, 0, 0), 30)
    points = points_of(
        ((130.7, 50.6, 20.2), Semantic.TRACK, PointKind.START),
        ((99.8, 50.5, 20.5), Semantic.TRACK, PointKind.END),
    )
    found = describe(clusters_of(track), np.array([Semantic.TRACK]), points)
    np.testing.assert_allclose(found["start_point"][0], [130.7, 50.6, 20.2], rtol=1e-6)
    np.testing.assert_allclose(found["end_point"][0], [99.8, 50.5, 20.5], rtol=1e-6)
    assert found["start_direction"][0, 0] < -0.99
    assert found["num_voxels"][0] == 30


def test_track_without_points_stops_where_it_ionises_most():
    track = line((100, 50, 20), (1, 0, 0), 30)
    for dense_first in (True, False):
        energy = np.where(np.arange(30) < 4 if dense_first else np.arange(30) >= 26, 3.0, 0.6)
        found = describe(clusters_of(track, energy=energy), np.array([Semantic.TRACK]), points_of())
        assert found["end_point"][0, 0] == (100.5 if dense_first else 129.5)
        assert found["energy"][0] == pytest.approx(energy.sum())


def test_shower_starts_at_the_point_of_its_class_or_where_it_is_narrow():
    rng = np.random.default_rng(2)
    cone = np.unique(
        np.concatenate(
            [
                line((100, 50, 20 + i), (0, 0, 1), 1) + rng.integers(-i, i + 1, (i, 3)) // 4
                for i in range(1, 40)
            ]
        ),
        axis=0,
    )
    semantic = np.array([Semantic.SHOWER])
    found = describe(clusters_of(cone), semantic, points_of())
    assert found["start_point"][0, 2] < 24
    assert found["start_direction"][0, 2] > 0.85
    points = points_of(
        ((100.4, 50.4, 21.4), Semantic.SHOWER, PointKind.START),
        ((100.5, 50.5, 40.5), Semantic.TRACK, PointKind.START),
    )
    found = describe(clusters_of(cone), semantic, points)
    np.testing.assert_allclose(found["start_point"][0], [100.4, 50.4, 21.4], rtol=1e-6)
    given = describe(clusters_of(cone), semantic, points, start_F=np.array([[1.0, 2.0, 3.0]]))
    np.testing.assert_allclose(given["start_point"][0], [1, 2, 3])


def test_closest_voxels_are_the_nearest():
    rng = np.random.default_rng(3)
    pieces = [
        np.unique(
            np.rint(rng.uniform(0, 60, 3) + np.arange(size)[:, None] * unit(rng.normal(size=3))).astype(int),
            axis=0,
        )
        for size in (2, 5, 16, 40, 90, 200)
    ]
    clusters = clusters_of(*pieces)
    pairs = np.stack(np.triu_indices(len(pieces), 1), axis=1)
    one, two = closest_voxels(clusters, pairs)
    for (i, j), a, b in zip(pairs, one, two, strict=True):
        assert clusters.label_V[a] == i
        assert clusters.label_V[b] == j
        assert np.linalg.norm(clusters.point_V[a] - clusters.point_V[b]) == pytest.approx(
            cdist(pieces[i], pieces[j]).min()
        )


def test_edges_obey_class_length_and_number():
    pieces = [line((10 * i, 0, 0), (0, 1, 0), 5) for i in range(6)]
    clusters = clusters_of(*pieces)
    semantic = np.array([0, 0, 0, 1, 1, 1], np.int8)
    longest = np.zeros((5, 5))
    longest[0, 0], longest[1, 1] = 100.0, 10.0
    pairs, one, two = connect(clusters, semantic, longest, 100)
    assert pairs.tolist() == [[0, 1], [0, 2], [1, 2], [3, 4], [4, 5]]
    np.testing.assert_allclose(np.linalg.norm(one - two, axis=1), [10, 20, 10, 10, 10])
    assert connect(clusters, semantic, longest, 4)[0].tolist() == [[0, 1], [1, 2], [3, 4], [4, 5]]


def test_many_clusters_keep_their_nearest_neighbours():
    num = 400
    clusters = clusters_of(*(np.array([[3 * i, 0, 0]]) for i in range(num)))
    pairs, one, two = connect(clusters, np.zeros(num, np.int8), np.full((5, 5), 500.0), num - 1)
    assert pairs.tolist() == [[i, i + 1] for i in range(num - 1)]
    np.testing.assert_allclose(np.linalg.norm(one - two, axis=1), 3)


@pytest.mark.parametrize("num", [0, 1, 3])
def test_features_are_finite_and_of_order_one(num):
    coord = np.concatenate(
        [np.zeros((0, 3), int), *(line((100 * i, 700, 3), (0, -1, 2), 1 + 40 * i) for i in range(num))]
    )
    labels = np.repeat(np.arange(num), [1 + 40 * i for i in range(num)])
    clusters = Clusters.group(coord, np.full(len(coord), 0.6), labels, num)
    semantic = np.arange(num, dtype=np.int8)
    found = features(clusters, {"semantic": semantic, **describe(clusters, semantic, points_of())}, 768)
    assert found.shape == (num, len(FEATURES))
    assert np.abs(found).max(initial=0) < 5


def test_pointing_of_one_cluster_at_the_side_of_another():
    columns = {
        "start_point": np.array([[0.0, 0, 0], [20, 0, 0]]),
        "end_point": np.array([[10.0, 0, 0], [20, 10, 0]]),
        "start_direction": np.array([[1.0, 0, 0], [0, 1, 0]]),
    }
    pairs, one, two = np.array([[0, 1]]), np.array([[10.0, 0, 0]]), np.array([[20.0, 0, 0]])
    (found,) = pointing(columns, pairs, one, two)
    by_name = dict(zip(POINTING, found.tolist(), strict=True))
    assert by_name["start_to_start"] == pytest.approx(np.log(21) - 5)
    assert by_name["one_start_gap"] == pytest.approx(np.log(11) - 1.7)
    assert by_name["one_end_gap"] == by_name["two_start_gap"] == pytest.approx(-1.7)
    assert by_name["one_points_to_gap"] == by_name["one_points_to_start"] == pytest.approx(1.5)
    assert by_name["one_points_to_end"] == pytest.approx(1.5 * 2 / np.sqrt(5))
    assert by_name["two_points_to_end"] == by_name["cos_opening"] == 0
    (back,) = pointing(columns, pairs[:, ::-1], two, one)
    np.testing.assert_array_equal(back, found[list(OTHER_SIDE)])


def test_nearest_voxels_do_not_depend_on_the_blocks_and_are_those_of_the_kernel(monkeypatch):
    rng = np.random.default_rng(5)
    rows = [np.unique(rng.integers(low, low + 30, (60, 3)), axis=0) for low in (0, 35, 60, 100)]
    clusters, pairs = clusters_of(*rows), np.stack(np.triu_indices(4, 1), axis=1)
    build.load()
    by_kernel = closest_voxels(clusters, pairs)
    monkeypatch.setattr("lartpc.kinematics.neighbours.is_built", lambda: False)
    whole = closest_voxels(clusters, pairs)
    assert all(np.array_equal(*places) for places in zip(whole, by_kernel, strict=True))
    monkeypatch.setattr("lartpc.kinematics.neighbours._DISTANCE_BLOCK", 100)
    assert all(np.array_equal(*places) for places in zip(whole, closest_voxels(clusters, pairs), strict=True))


def test_largest_eigenvalue_is_that_of_an_iteration():
    vector = np.random.default_rng(3).normal(size=(3, 200))
    vector[:, :50] *= np.array([[1e3], [1.0], [1e-3]])
    matrix = products(vector) + products(vector[:, ::-1])
    matrix[:, 0] = 0.0
    matrix[:, 1] = [2.0, 2.0, 2.0, 0.0, 0.0, 0.0]
    expected = np.linalg.eigvalsh(symmetric(matrix.T))[:, 2]
    assert np.allclose(largest_eigenvalue(matrix), expected, rtol=1e-9, atol=1e-12)


def test_some_of_the_clusters_and_several_labels_at_once():
    voxel = {"coord": line((0, 0, 0), (1, 0, 0), 6), "energy": np.arange(6.0)}
    one, two = np.array([1, 0, -1, 1, 2, 0]), np.array([0, 0, 1, 1, -1, -1])
    clusters = Clusters.side_by_side(voxel["coord"], voxel["energy"], (one, two), (4, 2))
    assert clusters.size_F.tolist() == [2, 2, 1, 0, 2, 2]
    assert clusters.total(clusters.energy_V).tolist() == [6, 3, 4, 0, 1, 5]
    some = clusters.only(np.array([False, True, False, True, True, False]))
    assert some.size_F.tolist() == [2, 0, 2] and some.label_V.tolist() == [0, 0, 2, 2]
    assert some.total(some.energy_V).tolist() == [3, 0, 1]
    assert some.centre_F[0].tolist() == clusters.centre_F[1].tolist()


def some_clusters(seed):
    """Walks, lines, single voxels and an empty cluster, with energies, and voxels of none."""
    rng = np.random.default_rng(seed)
    walks = [np.cumsum(rng.integers(-1, 2, (size, 3)), axis=0) + 300 for size in (400, 60, 20, 9)]
    lines = [line((10, 20, 30 * i), (1, 0, i % 2), 5 * i + 1) for i in range(4)]
    coord, first = np.unique(np.concatenate([*walks, *lines]), axis=0, return_index=True)
    label = np.repeat([0, 1, 2, 3, 5, 6, 7, 8], [len(piece) for piece in (*walks, *lines)])[first]
    label[rng.random(len(label)) < 0.02] = -1
    return coord, rng.gamma(2.0, 0.4, len(coord)), label


def test_the_kernel_finds_of_clusters_what_numpy_finds(monkeypatch):
    build.load()
    coord, energy, label = some_clusters(4)
    rng = np.random.default_rng(5)
    num, semantic = 9, np.array([0, 1, 0, 2, 0, 1, 1, 0, 3], np.int8)
    places = coord[rng.integers(0, len(coord), 12)] + rng.uniform(0, 1, (12, 3))
    points = points_of(
        *((place, kind % 4, PointKind.START) for kind, place in enumerate(places.astype(np.float32)))
    )
    points["score"] = np.repeat(np.float32([0.3, 0.9, 0.9]), 4)

    def found():
        clusters = Clusters.group(coord, energy, label, num)
        described = describe(clusters, semantic, points)
        start = described["start_point"].astype(np.float64)
        return {
            "row": clusters.row_V,
            "label": clusters.label_V,
            "size": clusters.size_F,
            "axis": clusters.axis_F,
            "along": clusters.along_V,
            "farthest": clusters.farthest(start + 0.3),
            "end": np.stack(end_points(clusters)),
            "direction": directions(clusters, start + 0.3),
            "dedx": local_energy(clusters, start),
            "shells": end_features(clusters, described),
            **described,
        }

    by_kernel = found()
    for module in ("clusters", "describe", "relations"):
        monkeypatch.setattr(sys.modules[f"lartpc.kinematics.{module}"], "is_built", lambda: False)
    for name, values in found().items():
        np.testing.assert_allclose(by_kernel[name], values, rtol=1e-6, atol=1e-9, err_msg=name)
    assert len(by_kernel["row"]) < len(coord)
    assert (by_kernel["start_point"] != by_kernel["end"][0]).any()
