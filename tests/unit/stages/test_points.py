"""Decoding of proposals with known answers."""

import numpy as np
import pytest

from lartpc import config
from lartpc.event import PRODUCTS, Columns, Event, conform, empty
from lartpc.geometry import Box
from lartpc.stages import points
from lartpc.vocab import PointKind, Semantic

CFG = config.Points(score_threshold=0.5, start_threshold=0.5)


def proposals(
    rows: list[tuple[tuple[float, float, float], float, Semantic, float]], class_score: float = 0.8
) -> Columns:
    """(position, score, class, end score) of each proposal."""
    scores = np.full((len(rows), len(Semantic)), (1 - class_score) / 4)
    for row, (_, _, kind, _) in enumerate(rows):
        scores[row, kind] = class_score
    return conform(
        "proposal",
        {
            "position": np.reshape([row[0] for row in rows], (-1, 3)),
            "score": [row[1] for row in rows],
            "class_score": scores,
            "end_score": [row[3] for row in rows],
        },
    )


def make_event(proposal: Columns) -> Event:
    """A track along x at y = z = 10, a shower along x at y = z = 30."""
    along = np.arange(10, 40)
    track = np.stack([along, np.full(30, 10), np.full(30, 10)], 1)
    coord = np.concatenate([track, track + np.array([0, 20, 20])])
    label = np.repeat([Semantic.TRACK, Semantic.SHOWER], 30)
    semantic = {**empty("semantic", 60), "label": label.astype("i1")}
    voxel = conform("voxel", {"coord": coord, "energy": np.ones(60)})
    products = {"voxel": voxel, "semantic": semantic, "proposal": proposal}
    return Event("file", 0, Box((0.0, 0.0, 0.0), 0.3, 64), products)


def decode(proposal: Columns, cfg: config.Points = CFG) -> Columns:
    (found,) = points.infer(None, [make_event(proposal)], cfg)
    for name, column in PRODUCTS["point"].columns.items():
        assert found["point"][name].dtype == column.dtype
    return found["point"]


def test_near_proposals_of_one_class_become_one_point() -> None:
    found = decode(
        proposals(
            [
                ((10.0, 10.5, 10.5), 0.6, Semantic.TRACK, 0.1),
                ((11.5, 10.5, 10.5), 0.9, Semantic.TRACK, 0.3),  # 1.5 from the first
                ((13.0, 10.5, 10.5), 0.7, Semantic.TRACK, 0.2),  # linked through the second
                ((39.0, 10.5, 10.5), 0.8, Semantic.TRACK, 0.9),
                ((10.5, 30.5, 30.5), 0.8, Semantic.SHOWER, 0.9),
            ]
        )
    )
    order = np.lexsort((found["position"][:, 0], found["semantic"]))
    assert found["semantic"][order].tolist() == [Semantic.SHOWER, Semantic.TRACK, Semantic.TRACK]
    np.testing.assert_allclose(
        found["position"][order], [[10.5, 30.5, 30.5], [11.5, 10.5, 10.5], [39, 10.5, 10.5]], atol=1e-5
    )
    np.testing.assert_allclose(found["score"][order], [0.8, 0.9, 0.8], atol=1e-6)
    np.testing.assert_allclose(found["end_score"][order], [0.9, 0.2, 0.9], atol=1e-6)
    # A shower has no end, whatever its score.
    assert found["kind"][order].tolist() == [PointKind.START, PointKind.START, PointKind.END]


@pytest.mark.parametrize(
    ("position", "score", "kind", "class_score"),
    [
        ((10.0, 10.5, 10.5), 0.49, Semantic.TRACK, 0.8),  # score
        ((10.0, 10.5, 10.5), 0.9, Semantic.TRACK, 0.45),  # class score
        ((10.0, 10.5, 10.5), 0.9, Semantic.SHOWER, 0.8),  # no shower voxel near
        ((10.0, 13.0, 10.5), 0.9, Semantic.TRACK, 0.8),  # too far from the track
        ((10.0, 10.5, 10.5), 0.9, Semantic.LOW_ENERGY, 0.8),
    ],
)
def test_proposals_that_fail_one_condition_are_dropped(
    position: tuple[float, float, float], score: float, kind: Semantic, class_score: float
) -> None:
    assert len(decode(proposals([(position, score, kind, 0.5)], class_score))["score"]) == 0


def test_both_ends_of_a_short_track_stay() -> None:
    def kinds(length: float, end_score: float) -> list[int]:
        rows = [((10.5, 10.5, 10.5), 0.9, Semantic.TRACK, 0.1)]
        rows += [((10.5 + length, 10.5, 10.5), 0.8, Semantic.TRACK, end_score)]
        return [int(kind) for kind in decode(proposals(rows))["kind"]]

    assert kinds(4.0, 0.9) == [PointKind.START, PointKind.END]
    assert kinds(1.8, 0.2) == [PointKind.START]
    # so near, they are two views of one point
    assert kinds(1.5, 0.9) == [PointKind.START]


def test_settings_have_their_effect() -> None:
    proposal = proposals(
        [((10.0, 13.0, 10.5), 0.4, Semantic.TRACK, 0.5), ((10.0, 13.0, 13.0), 0.4, Semantic.TRACK, 0.5)]
    )
    loose = config.Points(score_threshold=0.3, class_distance=5.0, merge_distance=1.0)
    assert len(decode(proposal, loose)["score"]) == 2
    assert len(decode(proposal, loose.model_copy(update={"merge_distance": 2.5}))["score"]) == 1


def test_a_connected_shower_has_one_start_and_a_track_as_many_as_proposed() -> None:
    proposal = proposals(
        [
            ((x, y, y), score, kind, 0.1)
            for y, kind in ((30.5, Semantic.SHOWER), (10.5, Semantic.TRACK))
            for x, score in ((10.5, 0.7), (25.0, 0.9), (39.0, 0.8))
        ]
    )
    found = decode(proposal)
    assert found["position"][found["semantic"] == Semantic.SHOWER].tolist() == [[25.0, 30.5, 30.5]]
    assert np.count_nonzero(found["semantic"] == Semantic.TRACK) == 3
    # without its twenty-first voxel the shower is two pieces, of 20 and 9 voxels
    event = make_event(proposal)
    event["semantic"]["label"][50] = Semantic.LOW_ENERGY
    (two,) = points.infer(None, [event], CFG)
    assert np.count_nonzero(two["point"]["semantic"] == Semantic.SHOWER) == 2
    (one,) = points.infer(None, [event], CFG.model_copy(update={"min_piece_voxels": 10}))
    assert np.count_nonzero(one["point"]["semantic"] == Semantic.SHOWER) == 1
    as_proposed = decode(proposal, CFG.model_copy(update={"piece_distance": 0.0}))
    assert np.count_nonzero(as_proposed["semantic"] == Semantic.SHOWER) == 3


def test_candidates_are_the_other_places_of_a_point() -> None:
    shower = [
        ((x, 30.5, 30.5), score, Semantic.SHOWER, 0.1) for x, score in ((10.5, 0.6), (25.0, 0.9), (39.0, 0.4))
    ]
    track = [((x, 10.5, 10.5), 0.7, Semantic.TRACK, 0.1) for x in (10.5, 25.0)]
    event = make_event(proposals([*track, *shower]))
    (found,) = points.infer(None, [event], config.Points(score_threshold=0.6, candidate_threshold=0.5))
    (row,) = np.flatnonzero(found["point"]["semantic"] == Semantic.SHOWER)
    # one reaches the threshold of candidates, and tracks have none
    np.testing.assert_allclose(found["candidate"]["position"], [[10.5, 30.5, 30.5]])
    np.testing.assert_allclose(found["candidate"]["score"], [0.6], atol=1e-6)
    assert found["candidate"]["point"].tolist() == [row]
    # without a start there is nothing to be another place of
    (none,) = points.infer(None, [event], config.Points(score_threshold=0.6, start_threshold=0.95))
    assert len(none["candidate"]["score"]) == 0 and set(none["point"]["semantic"]) == {Semantic.TRACK}


def test_points_of_different_classes_stay_apart() -> None:
    event = make_event(
        proposals(
            [((12, 10.5, 10.5), 0.9, Semantic.TRACK, 0.9), ((12, 10.5, 10.5), 0.9, Semantic.MICHEL, 0.1)]
        )
    )
    event["semantic"]["label"][5] = Semantic.MICHEL
    event["voxel"]["coord"][5] = (12, 11, 10)
    (found,) = points.infer(None, [event], CFG)
    assert sorted(found["point"]["semantic"]) == [Semantic.TRACK, Semantic.MICHEL]


def test_empty_events_and_events_without_proposals() -> None:
    nothing = Event(
        "file",
        1,
        Box((0.0, 0.0, 0.0), 0.3, 64),
        {name: empty(name) for name in ("voxel", "semantic", "proposal")},
    )
    found = points.infer(None, [nothing, make_event(proposals([]))], CFG)
    assert [len(row["point"]["score"]) for row in found] == [0, 0]


def test_metrics_leave_deltas_out_on_both_sides() -> None:
    point, true = empty("point", 3), empty("truth_point", 3)
    point["position"][:] = [[0, 0, 0], [20, 0, 0], [40, 0, 0]]
    point["semantic"][:] = [Semantic.TRACK, Semantic.SHOWER, Semantic.DELTA]
    true["position"][:] = [[1, 0, 0], [40, 0, 0], [26, 0, 0]]
    true["semantic"][:] = [Semantic.TRACK, Semantic.DELTA, Semantic.SHOWER]
    event = Event("file", 0, Box((0.0, 0.0, 0.0), 0.3, 64), {"point": point, "truth_point": true})
    assert points.metrics(event, event, CFG) == {
        "found_3": (1, 2),
        "right_3": (1, 2),
        "found_10": (2, 2),
        "right_10": (2, 2),
    }


def test_a_point_is_where_its_proposals_are_densest() -> None:
    rows = [
        ((10.0, 10.5, 10.5), 0.9, Semantic.TRACK, 0.1),  # the strongest, by itself
        ((10.0, 10.9, 10.5), 0.5, Semantic.TRACK, 0.9),  # an end: of another kind
        ((11.0, 10.5, 10.5), 0.8, Semantic.TRACK, 0.1),
        ((11.3, 10.5, 10.5), 0.6, Semantic.TRACK, 0.1),
        ((11.7, 10.5, 10.5), 0.7, Semantic.TRACK, 0.1),  # within 0.5 of the one before alone
    ]
    found = decode(proposals(rows))
    # that at 11.3 has most around it: (0.8 * 11.0 + 0.6 * 11.3 + 0.7 * 11.7) / 2.1
    np.testing.assert_allclose(found["position"], [[11.319048, 10.5, 10.5]], atol=1e-5)
    assert found["score"] == pytest.approx(0.9)
    wide = decode(proposals(rows), CFG.model_copy(update={"mean_distance": 2.0}))
    np.testing.assert_allclose(wide["position"], [[(9 + 8.8 + 6.78 + 8.19) / 3, 10.5, 10.5]], atol=1e-5)
    alone = decode(proposals(rows), CFG.model_copy(update={"mean_distance": 0.0}))
    np.testing.assert_allclose(alone["position"], [[10.0, 10.5, 10.5]], atol=1e-5)


def test_each_point_is_the_mean_of_its_own_proposals() -> None:
    rows = [
        ((10.0 + 8 * number + 0.1 * step, 10.5, 10.5), 0.9 - 0.1 * step, Semantic.TRACK, 0.1)
        for number in range(3)
        for step in (0, 1)
    ]
    order = np.random.default_rng(1).permutation(len(rows))
    found = decode(proposals([rows[row] for row in order]))
    mean = (0.9 * 0.0 + 0.8 * 0.1) / 1.7
    assert sorted(found["position"][:, 0].tolist()) == pytest.approx(
        [10 + mean, 18 + mean, 26 + mean], abs=1e-5
    )
