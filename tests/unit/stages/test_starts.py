"""The second choice of starts, with known answers."""

import numpy as np
import pytest

from lartpc import config
from lartpc.event import Columns, Event, conform, empty
from lartpc.geometry import Box
from lartpc.kinematics.starts import choose_again, started_at
from lartpc.stages import interact
from lartpc.vocab import NONE, PointKind, Semantic

VERTEX = np.array([[10.0, 30.5, 30.5]])


def row_of_voxels(first: int, last: int, y: int) -> np.ndarray:
    return np.stack([np.arange(first, last), np.full(last - first, y), np.full(last - first, 30)], axis=1)


def make_event(kind: Semantic = Semantic.SHOWER, *, candidates: bool = True) -> Event:
    """One particle of two pieces along x, the first at y = 30, the other at y = 34; both points are at the far ends."""
    coord = np.concatenate([row_of_voxels(20, 40, 30), row_of_voxels(44, 60, 34)])
    fragment_V = np.repeat([0, 1], [20, 16])
    scores = np.tile(np.eye(len(Semantic))[kind], (2, 1))
    point = {
        "position": [[39.5, 30.5, 30.5], [59.5, 34.5, 30.5]],
        "score": [0.9, 0.9],
        "class_score": scores,
        "semantic": [kind, kind],
        "end_score": [0.0, 0.0],
        "kind": [PointKind.START, PointKind.START],
    }
    candidate = {
        "position": [[20.5, 30.5, 30.5], [44.5, 34.5, 30.5]],
        "score": [0.6, 0.6],
        "point": [0, 1],
    }
    fragment: Columns = {
        "semantic": np.array([kind, kind]),
        "particle": np.array([0, 0]),
        "primary_score": np.array([0.9, 0.1]),
        "num_voxels": np.array([20, 16]),
        "energy": np.array([20.0, 16.0]),
        "start_point": np.array(point["position"]),
        "end_point": np.array(candidate["position"]),
    }
    particle = {
        "semantic": [kind],
        "num_voxels": [36],
        "class_score": scores[:1],
        "num_fragments": [2],
        "energy": [36.0],
        "start_point": [[39.5, 30.5, 30.5]],
        "end_point": [[20.5, 30.5, 30.5]],
        "start_direction": [[-1.0, 0.0, 0.0]],
    }
    return Event(
        "file",
        0,
        Box((0.0, 0.0, 0.0), 0.3, 64),
        {
            "voxel": conform("voxel", {"coord": coord, "energy": np.ones(36)}),
            "point": conform("point", point),
            "candidate": conform("candidate", candidate) if candidates else empty("candidate"),
            "group": conform("group", {"fragment": fragment_V, "particle": np.zeros(36)}),
            "fragment": conform("fragment", fragment),
            "particle": conform("particle", particle),
        },
    )


def test_pieces_start_on_the_side_that_they_come_from() -> None:
    event = make_event()
    found = choose_again(event, np.array([0]), VERTEX)
    np.testing.assert_allclose(found.position_P, event["candidate"]["position"])
    np.testing.assert_allclose(found.score_P, 0.6)
    np.testing.assert_allclose(found.start_A3, [[20.5, 30.5, 30.5]])
    moved = started_at(event, found.start_A3)
    assert moved is not None
    np.testing.assert_allclose(moved["start_point"], [[20.5, 30.5, 30.5]])
    assert moved["start_direction"][0, 0] > 0.9 and moved["end_point"][0, 0] == pytest.approx(59.5)
    # what it was made from is untouched
    assert event["particle"]["start_point"][0, 0] == np.float32(39.5)


@pytest.mark.parametrize("case", ["no candidates", "no interaction", "a Michel"])
def test_without_a_choice_the_first_piece_keeps_its_point(case: str) -> None:
    event = make_event(
        Semantic.MICHEL if case == "a Michel" else Semantic.SHOWER, candidates=case != "no candidates"
    )
    interaction = np.array([NONE if case == "no interaction" else 0])
    found = choose_again(event, interaction, VERTEX)
    np.testing.assert_allclose(found.position_P[0], [39.5, 30.5, 30.5])
    assert started_at(event, found.start_A3) is None


def test_a_much_better_score_wins_over_a_distance() -> None:
    event = make_event()
    event["candidate"]["position"][0] = [36.5, 30.5, 30.5]
    event["candidate"]["score"][0] = 0.1
    # three voxels nearer, and odds of 1 to 81
    np.testing.assert_allclose(choose_again(event, np.array([0]), VERTEX).position_P[0], [39.5, 30.5, 30.5])


def test_points_on_nothing_stay() -> None:
    event = make_event()
    event["point"]["position"][1] = [5.0, 5.0, 5.0]
    np.testing.assert_allclose(choose_again(event, np.array([0]), VERTEX).position_P[1], [5.0, 5.0, 5.0])


def test_interactions_are_found_again_from_the_new_starts() -> None:
    """A track that ends at the vertex, and a shower that points back to it, whose point is at its other end."""
    track = row_of_voxels(1, 11, 30)
    event = make_event()
    event["particle"]["start_direction"][0] = [1.0, 0.0, 0.0]
    voxel = {
        "coord": np.concatenate([track, event["voxel"]["coord"]]),
        "energy": np.concatenate([np.full(10, 2.0), event["voxel"]["energy"]]),
    }
    group = {
        "fragment": np.concatenate([np.full(10, 2), event["group"]["fragment"]]),
        "particle": np.concatenate([np.full(10, 1), event["group"]["particle"]]),
    }
    more: Columns = {
        "semantic": np.array([Semantic.TRACK]),
        "particle": np.array([1]),
        "primary_score": np.array([1.0]),
        "num_voxels": np.array([10]),
        "num_fragments": np.array([1]),
        "energy": np.array([20.0]),
        "class_score": np.eye(len(Semantic))[[Semantic.TRACK]],
        "start_point": np.array([[10.5, 30.5, 30.5]]),
        "end_point": np.array([[1.5, 30.5, 30.5]]),
        "start_direction": np.array([[-1.0, 0.0, 0.0]]),
    }
    both = {
        name: conform(name, {key: np.concatenate([values, more[key]]) for key, values in event[name].items()})
        for name in ("fragment", "particle")
    }
    event = event.with_products({"voxel": conform("voxel", voxel), "group": conform("group", group), **both})
    by_rules = config.Interact.model_validate({"infer": {"interactions": "rules"}})
    (found,) = interact.infer(None, [event], by_rules)
    np.testing.assert_allclose(found["identity"]["start_point"][0], [20.5, 30.5, 30.5])
    np.testing.assert_allclose(found["final_point"]["position"], event["candidate"]["position"])
    off = by_rules.model_copy(update={"infer": by_rules.infer.model_copy(update={"choose_starts": False})})
    (before,) = interact.infer(None, [event], off)
    np.testing.assert_allclose(before["identity"]["start_point"][0], [39.5, 30.5, 30.5])
    np.testing.assert_allclose(before["final_point"]["position"], event["point"]["position"])
