import numpy as np
import pytest
from conftest import ODD_EVENTS, typical

from lartpc.event import PRODUCTS, conform, num_rows
from lartpc.truth import majority, upstream_from_truth
from lartpc.vocab import Semantic

MADE = ["semantic", "point", "candidate", "group", "fragment", "particle"]


def test_round_trip():
    event = typical()
    found = upstream_from_truth(event, MADE)
    truth = event["truth_particle"]
    np.testing.assert_array_equal(found["semantic"]["label"], event["truth_voxel"]["semantic"])
    np.testing.assert_array_equal(found["semantic"]["score"].argmax(1), found["semantic"]["label"])
    np.testing.assert_array_equal(found["group"]["particle"], event["truth_voxel"]["particle"])
    np.testing.assert_array_equal(found["point"]["position"], event["truth_point"]["position"])
    for column in ("semantic", "num_voxels"):
        np.testing.assert_array_equal(found["particle"][column], truth[column])
        np.testing.assert_array_equal(found["fragment"][column], event["truth_fragment"][column])
    np.testing.assert_allclose(found["particle"]["energy"], truth["energy"], rtol=1e-5)
    np.testing.assert_allclose(found["particle"]["start_point"], truth["start_point"], atol=1e-4)
    is_track = truth["semantic"] == Semantic.TRACK
    np.testing.assert_allclose(
        found["particle"]["end_point"][is_track], truth["end_point"][is_track], atol=1e-4
    )
    assert (found["particle"]["num_fragments"] == 1).all()


def test_only_what_is_asked_for_is_replaced():
    event = typical()
    assert set(upstream_from_truth(event, ["point"])) == {*event, "point"}
    with pytest.raises(ValueError, match="cannot make \\['proposal'\\] from truth"):
        upstream_from_truth(event, ["proposal"])


@pytest.mark.parametrize("kind", ODD_EVENTS)
def test_odd_events(kind):
    found = upstream_from_truth(ODD_EVENTS[kind](0), MADE)
    for name in MADE:
        conform(name, found[name])
        if PRODUCTS[name].per == "voxel":
            assert num_rows(found[name]) == found.num_voxels


def test_majority():
    label = np.array([0, 0, 0, 1, 1, 1, -1, 3])
    value = np.array([4, 4, 2, -1, -1, 5, 7, 0])
    assert majority(label, value, 4, 0.5).tolist() == [4, -1, -1, 0]
    assert majority(label, value, 4, 0.7).tolist() == [-1, -1, -1, 0]
    assert majority(np.zeros(0, int), np.zeros(0, int), 2, 0.5).tolist() == [-1, -1]
