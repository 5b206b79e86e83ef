import resource

import numpy as np
import pytest
import torch
from conftest import ODD_EVENTS, image, labelled, line, typical

from lartpc import config
from lartpc.event import conform, num_rows
from lartpc.fragments.evidence import MEETING
from lartpc.graphs import edge_features, groups_of, make_graph, side_by_side
from lartpc.kinematics import pointing, unit
from lartpc.metrics import clustering
from lartpc.nets.graph import GraphNetwork
from lartpc.stages import cluster
from lartpc.truth import upstream_from_truth
from lartpc.vocab import Semantic

CFG = config.Cluster()
SMALL = config.Cluster.model_validate({"graph": {"num_hidden": 32}})


def on_truth(event):
    return upstream_from_truth(event, ["semantic", "point"])


def fit(stage, cfg, events, steps, rate=3e-3):
    """Train on the same events until they are known by heart."""
    torch.manual_seed(0)
    net = stage.network(cfg)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate)
    for _ in range(steps):
        terms = stage.loss(net, events, cfg)
        loss = sum(total / count.clamp(min=1) for total, count in terms.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval(), float(loss.detach())


# -- grouping ----------------------------------------------------------------------------------


def grouped(num, edges, threshold=0.5):
    pairs = np.array([edge[:2] for edge in edges], np.int64).reshape(-1, 2)
    return groups_of(num, pairs, np.array([edge[2] for edge in edges]), threshold).tolist()


def test_grouping_joins_what_scores_high():
    assert grouped(0, []) == []
    assert grouped(3, []) == [0, 1, 2]
    assert grouped(4, [(0, 3, 0.9), (1, 2, 0.4)]) == [0, 1, 2, 0]
    assert grouped(4, [(2, 3, 0.9), (0, 1, 0.8), (1, 2, 0.1)]) == [0, 0, 1, 1]


def test_grouping_weighs_a_bad_edge_of_a_triangle():
    # Joining 2 costs log(0.99 / 0.01) for the bad edge and wins log(0.6 / 0.4) for the good one.
    assert grouped(3, [(0, 1, 0.9), (1, 2, 0.6), (0, 2, 0.01)]) == [0, 0, 1]
    # Here the good edge outweighs the bad one.
    assert grouped(3, [(0, 1, 0.9), (1, 2, 0.95), (0, 2, 0.4)]) == [0, 0, 0]


def test_grouping_counts_all_edges_between_two_groups():
    # One edge of 0.7 between two pairs against three of 0.3.
    edges = [(0, 1, 0.99), (2, 3, 0.99), (1, 2, 0.7), (0, 2, 0.3), (0, 3, 0.3), (1, 3, 0.3)]
    assert grouped(4, edges) == [0, 0, 1, 1]
    assert grouped(4, edges[:3]) == [0, 0, 0, 0]


def test_a_threshold_is_the_score_that_speaks_neither_for_nor_against():
    assert grouped(2, [(0, 1, 0.69)], 0.7) == [0, 1]
    assert grouped(2, [(0, 1, 0.71)], 0.7) == [0, 0]
    # To join 2, 0.65 and 0.72 are more than two of 0.5, and less than two of 0.7.
    edges = [(0, 1, 0.9), (1, 2, 0.65), (0, 2, 0.72)]
    assert grouped(3, edges) == [0, 0, 0]
    assert grouped(3, edges, 0.7) == [0, 0, 1]


def test_grouping_never_lowers_the_log_loss_by_splitting_off_a_join():
    rng = np.random.default_rng(0)
    pairs = np.stack(np.triu_indices(12, 1), axis=1)
    score = rng.uniform(0.02, 0.98, len(pairs))
    group = groups_of(12, pairs, score, 0.5)

    def log_loss(group):
        same = group[pairs[:, 0]] == group[pairs[:, 1]]
        return -np.log(np.where(same, score, 1 - score)).sum()

    assert log_loss(group) < log_loss(np.arange(12))
    # No two groups with an edge above the threshold would be better off as one.
    for one, two in pairs[score >= 0.5]:
        if group[one] != group[two]:
            assert log_loss(np.where(group == group[two], group[one], group)) >= log_loss(group)


# -- network -----------------------------------------------------------------------------------


def test_network_does_not_mix_events_nor_care_for_the_order_of_a_pair():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    net = GraphNetwork(6, config.GraphNet(num_hidden=16), {"primary": 2}).eval()
    nodes = rng.normal(size=(4, 6)).astype(np.float32)
    pairs = np.stack(np.triu_indices(4, 1), axis=1)
    one, two = rng.uniform(0, 768, (2, 6, 3))
    graph = make_graph(nodes, pairs, one, two, 768)
    swapped = make_graph(nodes, pairs[:, ::-1], two, one, 768)
    alone = net(graph)
    for name, logits in net(swapped).items():
        torch.testing.assert_close(logits, alone[name], rtol=1e-4, atol=1e-5)
    both = net(side_by_side([swapped, graph]))
    for name, logits in both.items():
        torch.testing.assert_close(logits[len(alone[name]) :], alone[name], rtol=1e-4, atol=1e-5)


def test_inference_in_blocks_is_that_of_training(monkeypatch):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    net = GraphNetwork(6, config.GraphNet(num_hidden=16), {"primary": 2}).eval()
    pairs = np.stack(np.triu_indices(9, 1), axis=1)[:-8]  # the last node has no edge
    one, two = rng.uniform(0, 768, (2, len(pairs), 3))
    graph = make_graph(rng.normal(size=(10, 6)).astype(np.float32), pairs, one, two, 768)
    whole = net(graph)
    monkeypatch.setattr("lartpc.nets.graph.BLOCK", 7)
    with torch.inference_mode():
        for name, logits in net(graph).items():
            torch.testing.assert_close(logits, whole[name].detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_an_event_of_5000_fragments_takes_bounded_memory():
    rng = np.random.default_rng(0)
    corner = rng.choice(90**3, 5000, replace=False)
    corner = np.stack(np.unravel_index(corner, (90, 90, 90)), axis=1) * 8
    box = np.stack(np.unravel_index(np.arange(20), (2, 2, 5)), axis=1)
    event = image((corner[:, None] + box).reshape(-1, 3))
    none = {name: values[:0] for name, values in on_truth(typical())["point"].items()}
    semantic = {"label": np.zeros(event.num_voxels, np.int8), "score": np.zeros((event.num_voxels, 5))}
    event = event.with_products({"semantic": semantic, "point": none})
    net = cluster.network(CFG)
    cluster.infer(net, [on_truth(typical())], CFG)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (products,) = cluster.infer(net, [event], CFG)
    assert num_rows(products["fragment"]) == 5000
    # All pairs of fragments, with 34 features each, would take 1.7 GB, and with 64 in both directions 6.4 GB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # kB


def test_pointing_does_not_care_for_the_order_of_a_pair_either():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    net = cluster.network(SMALL).eval()
    nodes = rng.normal(size=(4, cluster.NUM_NODES)).astype(np.float32)
    pairs = np.stack(np.triu_indices(4, 1), axis=1)
    one, two = rng.uniform(0, 768, (2, 6, 3))
    start, end = rng.uniform(0, 768, (2, 4, 3))
    columns = {"start_point": start, "end_point": end, "start_direction": unit(rng.normal(size=(4, 3)))}
    meets = rng.normal(size=(6, len(MEETING))).astype(np.float32)

    def more(pairs, one, two):
        return np.concatenate([pointing(columns, pairs, one, two), meets], axis=1)

    alone = net(make_graph(nodes, pairs, one, two, 768, more(pairs, one, two)))
    pairs = pairs[:, ::-1]
    swapped = net(make_graph(nodes, pairs, two, one, 768, more(pairs, two, one)))
    for name, logits in swapped.items():
        torch.testing.assert_close(logits, alone[name], rtol=1e-4, atol=1e-5)
    away = net(make_graph(nodes, pairs, two, one, 768, more(pairs, one, two)))
    assert not torch.allclose(away["edge"], alone["edge"], rtol=1e-4, atol=1e-5)


def test_edge_features_of_touching_voxels_do_not_depend_on_a_direction():
    place = np.full((1, 3), 384.0)
    (found,) = edge_features(place, place, 768)
    np.testing.assert_array_equal(found[:9], 0)
    outer = found[9:18].reshape(3, 3)
    np.testing.assert_allclose(outer, outer[0, 0] * np.eye(3))


def test_loss_does_not_depend_on_the_batching():
    events = [on_truth(typical(i)) for i in range(3)]
    net = cluster.network(SMALL)
    together = cluster.loss(net, events, SMALL)
    apart = [cluster.loss(net, [event], SMALL) for event in events]
    for name, (total, count) in together.items():
        torch.testing.assert_close(total, sum(terms[name][0] for terms in apart), rtol=1e-4, atol=1e-4)
        assert float(count) == pytest.approx(sum(float(terms[name][1]) for terms in apart))


def test_every_parameter_gets_a_gradient_even_without_nodes():
    net = cluster.network(SMALL)
    terms = cluster.loss(net, [on_truth(ODD_EVENTS["empty"](0))], SMALL)
    sum(total for total, _ in terms.values()).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert all(int(count) == 0 for _, count in terms.values())


def showers(entry):
    """Two showers in three pieces each, a muon with its Michel, and a delta."""
    rng = np.random.default_rng(entry)
    particles = []
    for x, sign in ((200, 1), (420, -1)):
        direction = np.array([sign, rng.choice([-1, 1]), 2])
        origin = np.array([x, 300, 200]) + rng.integers(-5, 6, 3)
        pieces = [
            origin + gap * direction + line((0, 0, 0), tuple(direction // [1, 1, 2]), 12)
            for gap in (0, 20, 45)
        ]
        particles.append({"coord": np.concatenate(pieces), "semantic": Semantic.SHOWER})
    particles += [
        {"coord": line((400, 400, 400), (1, 0, 0), 60)},
        {"coord": line((460, 400, 400), (0, 1, 0), 12), "semantic": Semantic.MICHEL, "is_primary": 0},
        {"coord": line((430, 400, 401), (0, 1, 1), 8), "semantic": Semantic.DELTA, "is_primary": 0},
    ]
    return on_truth(labelled(particles, entry, num_blips=5))


def test_learns_to_group_showers_by_heart():
    events = [showers(entry) for entry in range(2)]
    net, _ = fit(cluster, SMALL, events, 60)
    for event, products in zip(events, cluster.infer(net, events, SMALL), strict=True):
        assert num_rows(products["fragment"]) == 9
        assert num_rows(products["particle"]) == 5
        found = clustering(event["truth_voxel"]["particle"], products["group"]["particle"])
        assert found.ari == pytest.approx(1)
        assert cluster.metrics(event.with_products(products), event, SMALL)["ari"] == (pytest.approx(1), 1.0)
        # The primary fragment gives the start, and the Michel stays a particle of its own.
        order = [
            int(products["group"]["particle"][event["truth_voxel"]["particle"] == i][0]) for i in range(5)
        ]
        truth = event["truth_particle"]
        np.testing.assert_array_equal(products["particle"]["semantic"][order], truth["semantic"])
        np.testing.assert_allclose(
            products["particle"]["start_point"][order], truth["start_point"], atol=1e-4
        )
        assert products["particle"]["num_fragments"][order].tolist() == [3, 3, 1, 1, 1]
        first = products["fragment"]["primary_score"] > 0.5
        assert first.sum() == 5


def crossing_tracks(entry):
    """Two tracks through one place, where points cut both in two, and a muon whose Michel starts at its end."""
    rng = np.random.default_rng(entry)
    middle = rng.integers(200, 300, 3)
    arms = [
        line(tuple(middle), tuple(sign * np.array(way)), 40)
        for way in ((1, 1, 0), (1, -1, 0))
        for sign in (1, -1)
    ]
    particles = [
        {"coord": np.concatenate([arms[0][::-1], arms[1][1:]])},
        {"coord": np.concatenate([arms[2][::-1], arms[3][1:]])},
        {"coord": line((400, 400, 400), (1, 0, 0), 60)},
        {"coord": line((460, 400, 400), (0, 1, 0), 12), "semantic": Semantic.MICHEL, "is_primary": 0},
    ]
    event = on_truth(labelled(particles, entry))
    points = {name: np.append(values, values[:1], axis=0) for name, values in event["point"].items()}
    points["position"][-1] = middle + 0.5
    return event.with_products({"point": points})


def track_called_a_shower(entry):
    """A track of which a piece in the middle was given the class of showers."""
    x = 100 + 10 * entry
    event = on_truth(labelled([{"coord": line((x, 100, 100), (1, 0, 0), 90)}], entry))
    label = event["semantic"]["label"].copy()
    label[40:60] = Semantic.SHOWER
    return event.with_products({"semantic": {**event["semantic"], "label": label}})


def test_learns_to_join_what_crossings_and_wrong_classes_tear_apart():
    untouched = SMALL.model_copy(update={"touch_length": 0.0})
    events = [make(entry) for entry in range(2) for make in (crossing_tracks, track_called_a_shower)]
    # Without edges at a touch, nothing can join a piece of another class.
    (apart,) = cluster.find(cluster.network(SMALL), events[1:2], untouched)
    assert apart.columns["semantic"].tolist() == [Semantic.TRACK, Semantic.SHOWER, Semantic.TRACK]
    assert apart.graph.pair_2E.T.tolist() == [[0, 2]]
    net, _ = fit(cluster, SMALL, events, 60)
    for event, products in zip(events, cluster.infer(net, events, SMALL), strict=True):
        num_true = num_rows(event["truth_particle"])
        assert num_rows(products["fragment"]) == {4: 6, 1: 3}[num_true]
        found = clustering(event["truth_voxel"]["particle"], products["group"]["particle"])
        assert found.num_predicted == num_true and found.ari > 0.97
    # The rules take classes as they are: a track at a shower stays a track.
    assert num_rows(particles_of(events[1], by("cones"))["particle"]) == 3


def test_left_over_voxels_go_to_what_is_near_them():
    track, far = line((100, 100, 100), (1, 0, 0), 30), line((300, 100, 100), (0, 1, 0), 1)
    beside = line((110, 101, 100), (0, 1, 0), 1)  # a voxel on the track, called a delta
    event = on_truth(
        labelled(
            [{"coord": track}, {"coord": beside, "semantic": Semantic.DELTA}, {"coord": far}], num_blips=5
        )
    )
    (products,) = cluster.infer(cluster.network(SMALL), [event], SMALL)
    expected = np.where(np.isin(event["truth_voxel"]["particle"], [0, 1]), 0, -1)
    np.testing.assert_array_equal(products["group"]["particle"], expected)
    np.testing.assert_array_equal(products["group"]["fragment"], expected)
    assert products["fragment"]["num_voxels"].tolist() == products["particle"]["num_voxels"].tolist() == [31]
    assert products["fragment"]["semantic"].tolist() == [Semantic.TRACK]
    bare = SMALL.model_copy(update={"infer": config.ClusterInfer(attach_distance=0.0)})
    (products,) = cluster.infer(cluster.network(SMALL), [event], bare)
    assert products["particle"]["num_voxels"].tolist() == [30]


@pytest.mark.parametrize("kind", ODD_EVENTS)
def test_odd_events(kind):
    event = on_truth(ODD_EVENTS[kind](0))
    (products,) = cluster.infer(cluster.network(SMALL), [event], SMALL)
    for name, columns in products.items():
        conform(name, columns)
    assert num_rows(products["particle"]) == 0
    assert (products["group"]["particle"] == -1).all()


def test_one_voxel_can_be_a_fragment():
    cfg = config.Cluster.model_validate({"graph": {"num_hidden": 8}, "fragments": {"min_voxels": 1}})
    (products,) = cluster.infer(cluster.network(cfg), [on_truth(ODD_EVENTS["one_voxel"](0))], cfg)
    assert products["particle"]["num_voxels"].tolist() == [1]
    np.testing.assert_array_equal(products["particle"]["start_direction"], 0)


def test_without_any_points():
    event = image(line((10, 10, 10), (1, 0, 0), 20))
    bare = on_truth(labelled([{"coord": line((10, 10, 10), (1, 0, 0), 20)}]))
    none = {name: values[:0] for name, values in bare["point"].items()}
    event = event.with_products({"semantic": bare["semantic"], "point": none})
    (products,) = cluster.infer(cluster.network(SMALL), [event], SMALL)
    assert products["particle"]["num_voxels"].tolist() == [20]


# -- rules -------------------------------------------------------------------------------------


def by(particles):
    return SMALL.model_copy(update={"infer": config.ClusterInfer(particles=particles)})


def particles_of(event, cfg):
    (products,) = cluster.infer(cluster.network(cfg), [event], cfg)
    return products


def test_cones_keep_apart_two_showers_side_by_side():
    def shower(x):
        pieces = [line((x, 300, 200 + gap), (0, 0, 1), length) for gap, length in ((0, 20), (40, 9), (70, 6))]
        return {"coord": np.concatenate(pieces), "semantic": Semantic.SHOWER}

    event = on_truth(labelled([shower(200), shower(300)]))
    products = particles_of(event, by("cones"))
    assert num_rows(products["fragment"]) == 6
    np.testing.assert_array_equal(products["group"]["particle"], event["truth_voxel"]["particle"])
    # The most energetic piece of each is its first.
    assert products["fragment"]["primary_score"].sum() == 2
    np.testing.assert_allclose(products["particle"]["start_point"][:, 2], 200.5)
    assert products["particle"]["num_fragments"].tolist() == [3, 3]


def test_cones_join_a_broken_track_and_no_vertex():
    track = np.concatenate([line((100, 100, 100), (1, 0, 0), 40), line((143, 100, 100), (1, 0, 0), 30)])
    event = on_truth(labelled([{"coord": track}, {"coord": line((172, 103, 100), (0, 1, 0), 30)}]))
    products = particles_of(event, by("cones"))
    assert num_rows(products["fragment"]) == 3
    np.testing.assert_array_equal(products["group"]["particle"], event["truth_voxel"]["particle"])


def test_each_fragment_for_itself():
    products = particles_of(showers(0), by("fragments"))
    np.testing.assert_array_equal(products["group"]["particle"], products["group"]["fragment"])
    assert (products["particle"]["num_fragments"] == 1).all()


@pytest.mark.parametrize("particles", ["cones", "fragments"])
@pytest.mark.parametrize("kind", ODD_EVENTS)
def test_odd_events_by_rules(kind, particles):
    products = particles_of(on_truth(ODD_EVENTS[kind](0)), by(particles))
    assert num_rows(products["particle"]) == 0
