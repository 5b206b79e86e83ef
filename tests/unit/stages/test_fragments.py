import json

import numpy as np
import pytest
import torch
from conftest import ODD_EVENTS, labelled, line, typical

from lartpc import config, fragments
from lartpc.config import SECTIONS, load_section, slice_of
from lartpc.fragments import embedding, graph_spice
from lartpc.fragments import learned as methods
from lartpc.fragments.images import Images
from lartpc.fragments.targets import instances
from lartpc.metrics import clustering
from lartpc.truth import upstream_from_truth
from lartpc.vocab import Semantic

CPU = torch.device("cpu")
TINY = {"filters": 8, "depth": 4, "repetitions": 1}
SETTINGS = {
    "dbscan": config.Dbscan(),
    "graph_spice": config.GraphSpice.model_validate({"unet": TINY}),
    "embedding": config.Embedding.model_validate({"unet": TINY}),
}
LEARNED = ("graph_spice", "embedding")


def on_truth(event):
    return upstream_from_truth(event, ["semantic", "point"])


def find(event, cfg=SETTINGS["dbscan"], net=None):
    ((label, semantic),) = fragments.find(net, [event], cfg)
    return label, semantic


# -- by distance -------------------------------------------------------------------------------
def crossing():
    """Two tracks that cross at (100, 100, 50), given as four that leave this place."""
    arms = [line((100, 100, 50), step, 40) for step in ((1, 1, 0), (1, -1, 0), (-1, -1, 0), (-1, 1, 0))]
    return labelled([{"coord": arm} for arm in arms])


def test_crossing_tracks_are_cut_at_the_point():
    event = on_truth(crossing())
    label, semantic = find(event)
    assert semantic.tolist() == [Semantic.TRACK] * 4
    # Every voxel but the shared one belongs to its own arm.
    assert clustering(event["truth_voxel"]["particle"], label).efficiency > 0.97
    uncut = SETTINGS["dbscan"].model_copy(update={"break_radius": 0.0})
    assert len(find(event, uncut)[1]) == 1


def test_short_track_inside_the_cut_is_a_fragment():
    event = on_truth(labelled([{"coord": line((10, 10, 10), (1, 0, 0), 4)}]))
    label, semantic = find(event)
    assert label.tolist() == [0, 0, 0, 0]
    assert semantic.tolist() == [Semantic.TRACK]


@pytest.mark.parametrize("long_arms", [1, 2])
def test_short_track_at_a_vertex_is_a_fragment_of_its_own(long_arms):
    steps = [(1, 0, 0), (-1, 1, 0)][:long_arms]
    arms = [{"coord": line((100, 100, 50), step, 40)} for step in steps]
    event = on_truth(labelled([*arms, {"coord": line((100, 100, 51), (0, 0, 1), 4)}]))
    label, semantic = find(event)
    assert len(semantic) == long_arms + 1
    is_short = event["truth_voxel"]["particle"] == long_arms
    (own,) = np.unique(label[is_short])
    # and up to two voxels of each neighbour, which it is as near to as they are
    assert np.count_nonzero((label == own) & ~is_short) <= 2 * long_arms
    # without points of its own it is told from what it touches by the inner cut alone
    kept = ~(event["point"]["position"][:, 2] > 51)
    blind = event.with_products({"point": {name: values[kept] for name, values in event["point"].items()}})
    label, semantic = find(blind)
    assert len(semantic) == long_arms + 1
    (own,) = np.unique(label[is_short][-2:])
    assert np.count_nonzero((label == own) & ~is_short) <= 2 * long_arms
    off = SETTINGS["dbscan"].model_copy(update={"inner_radius": 0.0})
    assert len(find(blind, off)[1]) == long_arms


def called(event, kind, where_V):
    """The event with some voxels called another class."""
    label = np.where(where_V, kind, event["semantic"]["label"]).astype(np.int8)
    return event.with_products({"semantic": {**event["semantic"], "label": label}})


def test_a_track_is_bridged_over_voxels_called_delta_and_a_delta_stays():
    track, delta = line((10, 10, 10), (1, 0, 0), 60), line((30, 11, 10), (0, 1, 0), 8)
    event = on_truth(
        labelled([{"coord": track}, {"coord": delta, "semantic": Semantic.DELTA, "is_primary": 0}])
    )
    x = event["voxel"]["coord"][:, 0]
    torn = called(event, Semantic.DELTA, (x >= 26) & (x < 34))
    label, semantic = find(torn)
    assert sorted(semantic) == [Semantic.TRACK, Semantic.DELTA]
    np.testing.assert_array_equal(label, event["truth_voxel"]["particle"])
    off = SETTINGS["dbscan"].model_copy(update={"bridge_length": 0.0})
    assert sorted(find(torn, off)[1]) == [Semantic.TRACK, Semantic.TRACK, Semantic.DELTA]


def test_small_deltas_grow_into_the_track_that_they_leave():
    """Of a delta of four voxels two are called delta, and the two at the track are nearly so."""
    track, delta = line((10, 10, 10), (1, 0, 0), 60), line((40, 11, 10), (0, 1, 0), 4)
    event = on_truth(
        labelled([{"coord": track}, {"coord": delta, "semantic": Semantic.DELTA, "is_primary": 0}])
    )
    y = event["voxel"]["coord"][:, 1]
    event = called(event, Semantic.TRACK, (y == 11) | (y == 12))
    score = event["semantic"]["score"].copy()
    score[(y == 11) | (y == 12), Semantic.DELTA] = 0.3
    event = event.with_products({"semantic": {**event["semantic"], "score": score}})
    label, semantic = find(event)
    np.testing.assert_array_equal(label, event["truth_voxel"]["particle"])
    assert semantic.tolist() == [Semantic.TRACK, Semantic.DELTA]
    for off in ({"grow_below": 0}, {"grow_score": 0.4}, {"grow_below": 2}):
        # two voxels are too few for a fragment
        assert find(event, SETTINGS["dbscan"].model_copy(update=off))[1].tolist() == [Semantic.TRACK]


def test_a_piece_of_a_delta_called_track_is_not_bridged_to_the_track():
    track, delta = line((10, 10, 10), (1, 0, 0), 60), line((40, 11, 10), (0, 1, 0), 24)
    event = on_truth(
        labelled([{"coord": track}, {"coord": delta, "semantic": Semantic.DELTA, "is_primary": 0}])
    )
    label, semantic = find(called(event, Semantic.TRACK, event["voxel"]["coord"][:, 1] >= 26))
    assert sorted(semantic) == [Semantic.TRACK, Semantic.TRACK, Semantic.DELTA]
    assert clustering(event["truth_voxel"]["particle"], label).purity == 1


def test_small_fragments_and_low_energy_are_left_over():
    event = on_truth(
        labelled(
            [{"coord": line((10, 10, 10), (1, 0, 0), 2)}, {"coord": line((50, 50, 50), (1, 1, 1), 9)}],
            num_blips=9,
        )
    )
    label, _ = find(event)
    np.testing.assert_array_equal(label == 0, event["truth_voxel"]["particle"] == 1)
    np.testing.assert_array_equal(label == -1, event["truth_voxel"]["particle"] != 1)


def test_classes_do_not_link():
    event = on_truth(
        labelled(
            [
                {"coord": line((10, 10, 10), (1, 0, 0), 20)},
                {"coord": line((30, 10, 10), (0, 1, 0), 10), "semantic": Semantic.MICHEL},
            ]
        )
    )
    label, semantic = find(event)
    assert semantic.tolist() == [Semantic.TRACK, Semantic.MICHEL]
    np.testing.assert_array_equal(label, event["truth_voxel"]["particle"])


def test_fragments_are_numbered_by_first_voxel():
    label, _ = find(on_truth(typical()))
    known = label[label >= 0]
    _, first = np.unique(known, return_index=True)
    assert (np.diff(first) > 0).all()


# -- targets -----------------------------------------------------------------------------------


def muon_and_michel(seen_as=Semantic.MICHEL):
    """A muon with its Michel, on classes where the Michel is taken for something."""
    event = on_truth(
        labelled(
            [
                {"coord": line((100, 100, 100), (1, 0, 0), 40)},
                {
                    "coord": line((140, 100, 100), (0, 1, 0), 12),
                    "semantic": Semantic.MICHEL,
                    "is_primary": 0,
                },
            ]
        )
    )
    label = event["semantic"]["label"]
    label = np.where(label == Semantic.MICHEL, seen_as, label).astype(np.int8)
    nowhere = {name: values[:0] for name, values in event["point"].items()}
    return event.with_products({"semantic": {**event["semantic"], "label": label}, "point": nowhere})


def test_targets_on_true_classes_are_the_true_fragments():
    event = on_truth(typical())
    found = clustering(event["truth_voxel"]["particle"], instances(event, 1.9, 3))
    assert found.purity == 1
    # the shower is in two pieces, and lonely voxels of its cone are pieces, too
    assert found.num_predicted > found.num_true


def test_a_particle_in_a_class_of_another_is_a_target_of_its_own():
    event = muon_and_michel(seen_as=Semantic.TRACK)
    np.testing.assert_array_equal(instances(event, 1.9, 3), event["truth_voxel"]["particle"])


def test_a_few_misread_voxels_belong_to_what_they_touch():
    event = muon_and_michel()
    label = event["semantic"]["label"].copy()
    muon_end = np.flatnonzero((event["voxel"]["coord"][:, 0] >= 138) & (label == Semantic.TRACK))
    label[muon_end] = Semantic.MICHEL
    seen = event.with_products({"semantic": {**event["semantic"], "label": label}})
    np.testing.assert_array_equal(instances(seen, 1.9, 3), (label == Semantic.MICHEL).astype(int))
    # without the Michel to go to, they are of no fragment
    label[(label == Semantic.MICHEL) & (event["truth_voxel"]["particle"] == 1)] = Semantic.LOW_ENERGY
    lost = event.with_products({"semantic": {**event["semantic"], "label": label}})
    assert (instances(lost, 1.9, 3)[muon_end] == -1).all()


# -- learned -----------------------------------------------------------------------------------


def images_of(link_E2, num_voxels):
    """Images of one event in which only the links matter."""
    coord = np.stack([np.arange(num_voxels) * 0, *[np.arange(num_voxels)] * 3], 1)
    as_tensor = torch.from_numpy
    feat = torch.zeros(num_voxels, 14)
    return Images(as_tensor(coord), feat, torch.tensor(link_E2), torch.zeros(num_voxels, dtype=int), 1, 768)


def test_loss_of_the_space_has_the_published_form():
    cfg = config.Embedding.model_validate({"unet": TINY, "regularisation": 0.1})
    # two fragments with means 0 and (1, 0); one voxel of the second is 1 away from its mean
    place = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [2.0, 0.0], [9.0, 9.0]])
    target = torch.tensor([3, 3, 8, 8, -1])
    terms = embedding.loss(place, images_of([[1, 2], [3, 4]], 5), target, cfg)
    values = {name: (float(total), int(count)) for name, (total, count) in terms.items()}
    assert values["fragment_pull"] == (pytest.approx(0.5**2), 2)
    assert values["fragment_push"] == (pytest.approx((2 * 1.5 - 1) ** 2), 1)
    assert values["fragment_size"] == (pytest.approx(0.1, abs=1e-5), 2)
    apart = embedding.loss(place, images_of([[0, 1], [3, 4]], 5), target, cfg)
    assert [float(value) for value in apart["fragment_push"]] == [0, 0]


def test_mean_shift_brings_voxels_of_a_fragment_together():
    # a chain whose neighbours are near each other, and another beyond a jump
    place = torch.tensor([[0.0], [0.7], [1.4], [2.1], [4.0], [4.3]])
    link = [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]]
    cfg = SETTINGS["embedding"]
    assert embedding.linked(place, images_of(link, 6), cfg).tolist() == [True, True, True, False, True]
    loose = torch.tensor([[0.0], [1.0], [3.6], [4.0], [4.2], [4.0]])
    assert not embedding.linked(loose, images_of(link, 6), cfg.model_copy(update={"num_shifts": 0}))[1]


def test_loss_of_the_graph_is_of_the_links_to_cut():
    images = images_of([[0, 1], [1, 2], [2, 3]], 4)
    target = torch.tensor([0, 0, 1, -1])
    right, wrong = torch.tensor([20.0, -20.0, 0.0]), torch.tensor([-20.0, 20.0, 0.0])
    for logit, entropy, dice in ((right, 0.0, 0.0), (wrong, 0.2 * 40, -0.8 * np.log(1 / 3))):
        terms = graph_spice.loss(logit, images, target, SETTINGS["graph_spice"])
        assert float(terms["fragment_edge"][0]) == pytest.approx(entropy, abs=1e-5)
        assert float(terms["fragment_dice"][0]) == pytest.approx(dice, abs=1e-5)
        assert [int(terms[name][1]) for name in ("fragment_edge", "fragment_dice")] == [2, 1]


def crossing_tracks(turn):
    """Two tracks, three voxels thick, that cross at a large angle, without any point."""
    steps = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    one, two, side = (np.array(steps[(axis + turn) % 3]) for axis in range(3))
    origin = np.array([200, 200, 200])
    parts = [
        np.concatenate(
            [line(tuple(origin + away * side - 20 * step), tuple(step), 41) for away in (-1, 0, 1)]
        )
        for step in (one, two)
    ]
    event = on_truth(labelled([{"coord": part} for part in parts]))
    return event.with_products({"point": {name: values[:0] for name, values in event["point"].items()}})


@pytest.fixture(scope="module", params=LEARNED)
def learned(request):
    """A network that knows crossing tracks and a muon with a Michel taken for a track by heart."""
    cfg = SETTINGS[request.param]
    torch.manual_seed(0)
    net = methods.network(cfg)
    events = [crossing_tracks(0), crossing_tracks(1), muon_and_michel(seen_as=Semantic.TRACK)]
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    for _ in range(80):
        terms, _ = methods.learn(net, events, cfg)
        loss = sum(total / count.clamp(min=1) for total, count in terms.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval(), cfg


def test_learned_methods_part_what_distance_joins(learned):
    net, cfg = learned
    for event in (crossing_tracks(0), crossing_tracks(1), muon_and_michel(seen_as=Semantic.TRACK)):
        uncut = find(event, config.Dbscan())
        assert len(uncut[1]) == 1
        label, semantic = find(event, cfg, net)
        target = instances(event, cfg.radius, cfg.min_voxels)
        assert clustering(target, label).purity > 0.9
        assert semantic.tolist() == [Semantic.TRACK] * (target.max() + 1)


@pytest.mark.parametrize("method", SETTINGS)
def test_shower_of_many_fragments(method):
    torch.manual_seed(0)
    cfg = SETTINGS[method]
    net = methods.network(cfg)
    parts = [line((100 + 9 * i, 100 + 3 * i, 100), (0, 0, 1), 4 + i % 5) for i in range(30)]
    event = on_truth(labelled([{"coord": np.concatenate(parts), "semantic": Semantic.SHOWER}]))
    label, semantic = find(event, cfg, net.eval() if net else None)
    assert semantic.tolist() == [Semantic.SHOWER] * 30
    # each piece is one fragment: all voxels of a piece have the same x, in this order
    np.testing.assert_array_equal(label, (event["voxel"]["coord"][:, 0] - 100) // 9)


@pytest.mark.parametrize("method", SETTINGS)
@pytest.mark.parametrize("kind", [*ODD_EVENTS, "lonely_tracks"])
def test_nothing_is_found_where_nothing_is(method, kind):
    torch.manual_seed(0)
    cfg = SETTINGS[method]
    net = methods.network(cfg)
    if kind == "lonely_tracks":
        voxels = np.random.default_rng(0).permutation(700)[:150].reshape(-1, 3)
        event = on_truth(labelled([{"coord": [voxel]} for voxel in voxels]))
    else:
        event = on_truth(ODD_EVENTS[kind](0))
    label, semantic = find(event, cfg, net.eval() if net else None)
    assert (label == -1).all()
    assert len(label) == event.num_voxels
    assert len(semantic) == 0


# -- settings ----------------------------------------------------------------------------------


def test_the_method_is_one_switch():
    found = [
        type(SECTIONS["cluster"].model_validate(given).fragments)
        for given in (
            {},
            {"fragments": {"eps": (2.0, 2.0, 2.0, 2.0)}},
            {"fragments": {"method": "graph_spice"}},
            {"fragments": {"method": "embedding", "num_shifts": 0}},
        )
    ]
    assert found == [config.Affinity, config.Affinity, config.GraphSpice, config.Embedding]
    for section in SETTINGS.values():
        whole = config.Cluster(fragments=section)
        assert SECTIONS["cluster"].model_validate(slice_of(whole, "train")).fragments == section


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "kmeans"}, "fragments: Input tag 'kmeans'"),
        ({"method": "dbscan", "num_shifts": 2}, "num_shifts: there is no such setting"),
        ({"method": "embedding", "push_margin": 0.9}, "must be above twice pull_margin"),
        ({"method": "embedding", "link_margin": 3.1}, "must not be above twice push_margin"),
    ],
)
def test_wrong_settings_are_named(given, message, tmp_path):
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps({"fragments": given}))
    with pytest.raises(ValueError, match=message):
        load_section("cluster", path)


def test_the_grid_must_have_the_levels_of_the_network():
    with pytest.raises(ValueError, match=r"cluster\.fragments\.unet\.depth"):
        config.Config.model_validate(
            {
                "cluster": {"fragments": {"method": "embedding", "unet": {"depth": 9}}},
                "ingest": {"num_voxels": 128},
            }
        )
