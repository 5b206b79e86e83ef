"""Fragments by the affinities of neighbouring voxels, and true affinities."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import ALL_PRODUCTS, BOX, ODD_EVENTS, labelled, line, typical

from lartpc import config, fragments
from lartpc.affinities import neighbours, pack, unpack
from lartpc.config import Cluster, Ingest, Interact, Points
from lartpc.event import TRUTH, conform, empty
from lartpc.fragments import affinity, dbscan
from lartpc.fragments import learned as methods
from lartpc.links import links, pieces, renumber
from lartpc.provenance import provenance
from lartpc.run.ingest import ingest
from lartpc.run.quality.budget import Networks, _reconstructed
from lartpc.run.quality.clustering import measure
from lartpc.run.training.sample import Sample
from lartpc.run.weights import save_weights
from lartpc.stages import cluster, stage
from lartpc.store import EventWriter, open_events
from lartpc.truth import truth_for, upstream_from_truth
from lartpc.vocab import NO_AFFINITY, NONE, Semantic

CFG = config.Affinity()


def on_truth(event):
    return upstream_from_truth(event, ["semantic", "point", "affinity"])


def find(event, **settings):
    ((label, semantic),) = fragments.find(None, [event], CFG.model_copy(update=settings))
    return label, semantic.tolist()


def with_logits(event, logit):
    """The event with an affinity of each pair, as a number or as what a function says of the pairs."""
    pair, direction = neighbours(event["voxel"]["coord"])
    value = logit(pair) if callable(logit) else np.full(len(pair), logit)
    packed = pack(event.num_voxels, pair, direction, np.asarray(value, np.float64))
    return event.with_products({"affinity": {"logit": packed}})


def called(event, kind, where_V):
    """The event with some voxels called another class."""
    label = np.where(where_V, kind, event["semantic"]["label"]).astype(np.int8)
    return event.with_products({"semantic": {**event["semantic"], "label": label}})


def crossing(*more):
    """Two tracks, one above the other where they cross at (100, 100), without a point there."""
    tracks = [line((60, 60, 50), (1, 1, 0), 80), line((60, 140, 51), (1, -1, 0), 80)]
    return on_truth(labelled([*({"coord": coord} for coord in tracks), *more]))


# -- true affinities ---------------------------------------------------------------------------


def test_true_affinities_tell_particles_apart():
    event = on_truth(labelled([{"coord": line((5, 5, 5), (0, 0, 1), 3)}, {"coord": [[5, 5, 8], [5, 6, 8]]}]))
    pair, logit = unpack(event["affinity"]["logit"], event["voxel"]["coord"])
    found = {tuple(sorted(two)): value for two, value in zip(pair.tolist(), logit.tolist(), strict=True)}
    # 127 / 16 is the largest that is kept; voxels 0 to 2 are of the one, 3 and 4 of the other
    sure = 127 / 16
    assert found == {(0, 1): sure, (1, 2): sure, (2, 3): -sure, (2, 4): -sure, (3, 4): sure}
    assert truth_for(["affinity"]) == ("truth_voxel",)


def test_nothing_is_known_of_low_energy_voxels_and_of_those_of_no_particle():
    event = labelled([{"coord": line((5, 5, 5), (0, 0, 1), 5)}])
    truth = event["truth_voxel"]
    semantic, particle = truth["semantic"].copy(), truth["particle"].copy()
    semantic[0], particle[4] = Semantic.LOW_ENERGY, NONE
    event = on_truth(
        event.with_products({"truth_voxel": {**truth, "semantic": semantic, "particle": particle}})
    )
    logit = event["affinity"]["logit"]
    assert np.argwhere(logit != NO_AFFINITY).tolist() == [[1, 0], [2, 0]]


def test_true_affinities_give_the_true_pieces():
    for entry in range(5):
        event = on_truth(typical(entry))
        truth, link = event["truth_voxel"], links(event["voxel"]["coord"], 1.8)
        same = truth["particle"][link[:, 0]] == truth["particle"][link[:, 1]]
        piece = pieces(event.num_voxels, link[same])
        counted = truth["semantic"] != Semantic.LOW_ENERGY
        np.testing.assert_array_equal(find(event)[0], renumber(np.where(counted, piece, NONE), 2))


def test_true_affinities_give_the_true_fragments_of_simulated_events(data_folder, tmp_path):
    """Of 20 events of Geant4; by distance, 431 of the 477 fragments of three voxels or more are as they truly are."""
    ingest(data_folder / "geant4_steps_20ev.h5", Ingest(), out=tmp_path / "events.h5")
    num, right = 0, {"affinity": 0, "dbscan": 0}
    with open_events(tmp_path / "events.h5") as events:
        for event in map(on_truth, events.stream(["voxel", *TRUTH])):
            truth = event["truth_voxel"]
            true_V = np.where(truth["semantic"] == Semantic.LOW_ENERGY, NONE, truth["fragment"])
            true = {tuple(np.flatnonzero(true_V == one)) for one in np.unique(true_V[true_V >= 0])}
            true = {voxels for voxels in true if len(voxels) >= 3}
            num += len(true)
            for name, cfg in (("affinity", CFG), ("dbscan", config.Dbscan())):
                ((label_V, kind_F),) = fragments.find(None, [event], cfg)
                found = {tuple(np.flatnonzero(label_V == one)) for one in range(len(kind_F))}
                right[name] += len(true & found)
    assert right["affinity"] == num > 400
    assert right["dbscan"] < 0.95 * num


# -- parting -----------------------------------------------------------------------------------


def test_crossing_tracks_are_told_apart_without_a_point():
    event = crossing()
    label, semantic = find(event)
    assert semantic == [Semantic.TRACK] * 2
    np.testing.assert_array_equal(label, event["truth_voxel"]["particle"])
    ((_, by_distance),) = fragments.find(None, [event], config.Dbscan())
    assert by_distance.tolist() == [Semantic.TRACK]


def test_what_is_not_known_is_linked_as_by_distance():
    event = crossing()
    of = event["truth_voxel"]["particle"]
    # of pairs within a track nothing is known
    event = with_logits(event, lambda pair: np.where(of[pair[:, 0]] == of[pair[:, 1]], np.nan, -8.0))
    np.testing.assert_array_equal(find(event)[0], of)
    # nor of diagonal ones, which are farther apart than this, so that each voxel stays by itself
    assert (find(event, eps=(1.0, 1.0, 1.0, 1.0))[0] == NONE).all()


def test_a_track_is_cut_at_a_point_if_affinities_leave_it_open():
    event = on_truth(labelled([{"coord": line((10, 10, 10), (1, 0, 0), 41)}]))
    x = event["voxel"]["coord"][:, 0]
    point = {name: values[:1].copy() for name, values in event["point"].items()}
    point["position"][:] = (30.5, 10.5, 10.5)
    event = event.with_products({"point": point})
    rules = {"track_bias": 0.5, "point_bias": -3.0, "point_radius": 3.0}
    # 1 + 0.5 - 3 is below 0: the five voxels within 3 of the middle are each by themselves
    label, semantic = find(with_logits(event, 1.0), **rules)
    assert semantic == [Semantic.TRACK] * 2
    assert np.unique(x[label < 0]).tolist() == [29, 30, 31]
    for sure, settings in ((3.0, {}), (1.0, {"point_bias": -1.0}), (1.0, {"point_radius": 0.0})):
        assert set(find(with_logits(event, sure), **(rules | settings))[0]) == {0}
    # a point of another class is none
    point["semantic"][:] = Semantic.SHOWER
    assert set(find(with_logits(event, 1.0), **rules)[0]) == {0}


def test_each_class_has_its_bias():
    for kind, name in ((Semantic.TRACK, "track_bias"), (Semantic.SHOWER, "other_bias")):
        event = on_truth(labelled([{"coord": line((10, 10, 10), (1, 0, 0), 30), "semantic": kind}]))
        event = with_logits(event.with_products({"point": empty("point")}), -2.0)
        assert (find(event)[0] == NONE).all()
        assert set(find(event, **{name: 2.5})[0]) == {0}


def test_voxels_of_two_classes_are_never_one():
    event = on_truth(labelled([{"coord": line((10, 10, 10), (1, 0, 0), 40)}]))
    x = event["voxel"]["coord"][:, 0]
    label, semantic = find(with_logits(called(event, Semantic.SHOWER, x >= 30), 8.0))
    assert semantic == [Semantic.TRACK, Semantic.SHOWER]
    np.testing.assert_array_equal(label, x >= 30)


def test_voxels_without_a_common_corner_are_linked_within_eps():
    parts = np.concatenate([line((10, 10, 10), (0, 0, 1), 10), line((10, 10, 21), (0, 0, 1), 10)])
    event = on_truth(labelled([{"coord": parts, "semantic": Semantic.SHOWER}]))
    assert find(event)[1] == [Semantic.SHOWER] * 2
    assert find(event, eps=(2.5, 1.8, 1.8, 1.8))[1] == [Semantic.SHOWER]
    assert find(event, eps=(1.8, 2.5, 2.5, 2.5))[1] == [Semantic.SHOWER] * 2
    # those that share one have their affinity alone: -2 + 1 is below 0
    event = on_truth(labelled([{"coord": [[10, 10, 10], [10, 10, 11]], "semantic": Semantic.SHOWER}]))
    label, _ = find(with_logits(event, -2.0), eps=(2.5, 2.5, 2.5, 2.5), min_voxels=1)
    assert label.tolist() == [0, 1]


# -- bridges -----------------------------------------------------------------------------------


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
    # without bridges each half of the track is a fragment, and its middle one called delta
    kinds = [Semantic.TRACK, Semantic.TRACK, Semantic.DELTA, Semantic.DELTA]
    assert sorted(find(torn, bridge_length=0.0)[1]) == kinds
    assert sorted(find(torn, bridge_voxels=30)[1]) == kinds


def test_no_bridge_passes_a_point():
    event = on_truth(labelled([{"coord": line((10, 10, 10), (1, 0, 0), 60)}]))
    x = event["voxel"]["coord"][:, 0]
    torn = called(event, Semantic.DELTA, (x >= 36) & (x < 44))
    assert find(torn)[1] == [Semantic.TRACK]
    point = {name: values[:1].copy() for name, values in event["point"].items()}
    point["position"][:] = (40.5, 10.5, 10.5)
    label, semantic = find(torn.with_products({"point": point}))
    assert semantic == [Semantic.TRACK, Semantic.DELTA, Semantic.TRACK]
    assert label[0] != label[-1]


def test_a_track_that_a_few_voxels_speak_against_stays_one_and_is_cut_at_a_point():
    event = on_truth(labelled([{"coord": line((10, 10, 10), (1, 0, 0), 60)}]))
    middle = 40
    # the whole repulsion of the two halves is that of the one pair in the middle
    torn = with_logits(event, lambda pair: np.where(pair.max(1) == middle, -6.0, 3.0))
    for join_above, num in ((0.0, 2), (5.0, 2), (7.0, 1)):
        assert len(find(torn, track_bias=0.0, join_above=join_above)[1]) == num
    # short pieces, and those at a point, are parted by any repulsion
    assert len(find(torn, track_bias=0.0, bridge_voxels=50)[1]) == 2
    point = {name: values[:1].copy() for name, values in event["point"].items()}
    point["position"][:] = (50.5, 10.5, 10.5)
    assert len(find(torn.with_products({"point": point}), track_bias=0.0)[1]) == 2


def test_tracks_that_affinities_part_are_not_bridged_where_they_touch():
    """A delta starts where two tracks cross, and touches both."""
    delta = {"coord": line((101, 100, 50), (0, 0, -1), 8), "semantic": Semantic.DELTA, "is_primary": 0}
    event = crossing(delta)
    label, semantic = find(event)
    assert semantic == [Semantic.TRACK] * 2 + [Semantic.DELTA]
    np.testing.assert_array_equal(label, event["truth_voxel"]["particle"])


# -- without affinities ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["typical", "crossing", *ODD_EVENTS])
def test_events_without_affinities_have_fragments_by_distance(kind):
    event = crossing() if kind == "crossing" else {"typical": typical, **ODD_EVENTS}[kind](3)
    given = on_truth(event)
    expected = dbscan.find(given, CFG)
    bare = {name: columns for name, columns in given.products.items() if name != "affinity"}
    nothing = np.full((event.num_voxels, 13), NO_AFFINITY, np.int8)
    for products in (bare, {**bare, "affinity": {"logit": nothing}}):
        found = affinity.find(type(event)(event.file_uid, event.entry, event.box, products), CFG)
        for one, two in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("kind", ODD_EVENTS)
def test_nothing_is_found_where_nothing_is(kind):
    label, semantic = find(with_logits(on_truth(ODD_EVENTS[kind](0)), 3.0))
    assert (label == NONE).all() and not semantic


def test_nothing_is_learned_and_the_network_runs_compiled():
    section = Cluster.model_validate({"fragments": {"method": "affinity"}, "graph": {"num_hidden": 16}})
    assert section.fragments == CFG
    assert methods.network(section.fragments) is None
    state = {name: values.numpy() for name, values in cluster.network(section).state_dict().items()}
    assert cluster.compiled(section, state) is not None


# -- what the truth stands in for --------------------------------------------------------------


def false_affinities(event):
    """The event with what a stage might have said: that tracks that cross are one."""
    return with_logits(event, 8.0)


def without_affinities(event):
    return event.with_products({"affinity": empty("affinity", event.num_voxels)})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of an event with right and with wrong affinities, and with none that are known."""
    folder, attrs = tmp_path_factory.mktemp("stages"), provenance("ingest", 1, config={})
    for name, event in (
        ("right", crossing()),
        ("wrong", false_affinities(crossing())),
        ("none", without_affinities(crossing())),
    ):
        names = (*ALL_PRODUCTS, "semantic", "affinity", "point")
        with EventWriter(folder / f"{name}.h5", names, file_uid=name, box=BOX, attrs=attrs) as writer:
            writer.append(0, {product: event[product] for product in names})
    return folder


def test_a_stage_learns_from_affinities_of_where_its_classes_are_from(files):
    def read(name, upstream):
        return Sample(stage("cluster"), [files / f"{name}.h5"], Cluster(upstream=upstream)).event(0)

    true, said = crossing()["affinity"]["logit"], false_affinities(crossing())["affinity"]["logit"]
    assert (true != said).any()
    for name in ("wrong", "none"):
        np.testing.assert_array_equal(read(name, "truth")["affinity"]["logit"], true)
    np.testing.assert_array_equal(read("wrong", "predicted")["affinity"]["logit"], said)
    assert (read("none", "predicted")["affinity"]["logit"] == NO_AFFINITY).all()


SETTINGS = Cluster.model_validate({"fragments": {"method": "affinity"}, "infer": {"particles": "fragments"}})


@pytest.mark.parametrize(("name", "expected"), [("right", 1), ("wrong", 0.5), ("none", 0.5)])
def test_the_clustering_is_measured_with_the_affinities_that_there_are(files, name, expected, tmp_path):
    section, weights = SETTINGS.model_copy(update={"graph": config.GraphNet(num_hidden=8)}), tmp_path / "w.pt"
    save_weights(weights, stage("cluster"), section, cluster.network(section).state_dict(), {"by": "a test"})
    purity = {}
    for on_truth in (True, False):
        out = tmp_path / f"{on_truth}.parquet"
        assert measure([files / f"{name}.h5"], section, weights=weights, out=out, on_truth=on_truth) == 1
        rows = pq.read_table(out).to_pandas().set_index(["method", "class"])
        purity[on_truth] = rows.loc[("found", "track"), "purity"]
    # true affinities tell the two tracks apart; by wrong ones and by distance they are one fragment
    assert purity == {True: 1, False: pytest.approx(expected)}


def test_the_budget_takes_predicted_affinities_with_true_classes():
    event = false_affinities(crossing())
    event = event.with_products({"proposal": conform("proposal", empty("proposal"))})
    rules = Interact.model_validate({"infer": {"interactions": "rules"}})
    networks = Networks(Points(), SETTINGS, rules, None, None, {})
    num = {}
    for part in ("chain", "classes", "fragments"):
        (found,) = _reconstructed([event], part, networks)
        num[part] = len(found["particle"]["semantic"])
    assert num == {"chain": 1, "classes": 1, "fragments": 2}
