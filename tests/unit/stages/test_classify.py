"""The classification of images: targets, images of interactions, views of planes, weights from and for segment."""

import numpy as np
import pytest
import torch
from checkout import REPOSITORY
from conftest import image, labelled, line, typical
from handmade import write_shard
from pydantic import ValidationError

from lartpc import config
from lartpc.event import Event, blank, empty
from lartpc.run.infer import infer
from lartpc.run.summarize import summarize
from lartpc.run.training.optimize import Optimization
from lartpc.run.weights import load_weights, save_weights, warm_start
from lartpc.stages import classify, segment
from lartpc.stages import stage as row_of
from lartpc.store import open_events
from lartpc.tables.write import read_table
from lartpc.vocab import CreationProcess, Current, Flavour, Semantic, Species

TINY = {"filters": 4, "depth": 3, "repetitions": 1}
SMALL = config.Classify.model_validate({"unet": TINY, "num_hidden": 16})
OWN = config.Classify.model_validate(
    {
        "unet": TINY,
        "num_hidden": 16,
        "heads": [],
        "classes": {"electron": [11, -11], "muon": [13, -13], "proton": [2212]},
    }
)


def with_neutrino(
    event: Event, *, pdg: int = 14, current: int = Current.CC, interaction: int = 0, neutrons: int = 0
):
    neutrino = empty("truth_neutrino", 1)
    neutrino["pdg"][:], neutrino["current"][:], neutrino["interaction"][:] = pdg, current, interaction
    primary = empty("truth_primary", neutrons + 1)
    primary["pdg"][:] = [2212] + [2112] * neutrons
    primary["energy_init"][:] = np.arange(neutrons + 1) + 100.0
    return event.with_products({"truth_neutrino": neutrino, "truth_primary": primary})


def muon_and_protons(num_protons: int = 2, entry: int = 0) -> Event:
    """One interaction: a muon along x and protons along y and z, from one vertex."""
    tracks = [line((100, 100, 100), (1, 0, 0), 60), line((100, 101, 100), (0, 1, 0), 20)]
    tracks += [line((100, 100, 101 + 40 * i), (0, 0, 1), 20) for i in range(3)]
    species = [Species.MUON] + [Species.PROTON] * 4
    event = labelled(
        [
            {"coord": coord, "species": kind, "interaction": 0, "is_primary": 1}
            for coord, kind in zip(tracks[: 1 + num_protons], species, strict=False)
        ],
        entry,
    )
    event["truth_particle"]["process"][:] = CreationProcess.PRIMARY
    return event


def net_of(cfg: config.Classify):
    torch.manual_seed(0)
    return classify.network(cfg).eval()


def test_targets_are_the_generators_where_it_is_known() -> None:
    event = muon_and_protons(2)
    bare = classify.targets_of(event, SMALL)
    assert bare == {
        "flavour": Flavour.NUMU_LIKE,
        "num_protons": 2,
        "num_pions": 0,
        "num_pi_zeros": 0,
        "num_neutrons": -1,
        "antineutrino": -1,
    }
    # a neutral current whose image looks like that of a muon neutrino is a neutral current
    known = classify.targets_of(with_neutrino(event, pdg=-12, current=Current.NC, neutrons=5), SMALL)
    assert known == bare | {"flavour": Flavour.NC_LIKE, "num_neutrons": 3, "antineutrino": 1}
    assert classify.targets_of(with_neutrino(event, pdg=12), SMALL)["flavour"] == Flavour.NUE_LIKE
    assert classify.targets_of(with_neutrino(event, pdg=16), SMALL)["flavour"] == -1
    unseen = classify.targets_of(with_neutrino(event, interaction=-1), SMALL)
    assert (unseen["num_protons"], unseen["flavour"]) == (0, Flavour.NUMU_LIKE)


def test_images_of_several_interactions_have_targets_only_with_one_neutrino() -> None:
    event = typical()
    assert len(np.unique(event["truth_voxel"]["interaction"])) > 1
    assert set(classify.targets_of(event, SMALL).values()) == {-1}
    assert classify.targets_of(with_neutrino(event, interaction=1), SMALL)["flavour"] == Flavour.NUMU_LIKE
    two = with_neutrino(event).with_products({"truth_neutrino": empty("truth_neutrino", 2)})
    assert set(classify.targets_of(two, SMALL).values()) == {-1}


def test_own_classes_go_by_the_leading_primary_or_the_neutrino() -> None:
    event = muon_and_protons(1)
    event["truth_particle"]["pdg"][:] = (-13, 2212)
    event["truth_particle"]["energy_init"][:] = (300, 50)
    assert classify.class_of(event, OWN) == 1
    event["truth_particle"]["energy_init"][:] = (300, 350)
    assert classify.class_of(event, OWN) == 2
    event["truth_particle"]["pdg"][:] = 22
    assert classify.class_of(event, OWN) == -1
    # what leaves the vertex counts, seen or not
    assert classify.class_of(with_neutrino(event, neutrons=1), OWN) == -1
    by_neutrino = config.Classify.model_validate(
        {"unet": TINY, "heads": [], "classes": {"e": [12, -12], "mu": [14]}, "classes_of": "neutrino"}
    )
    assert classify.class_of(with_neutrino(event, pdg=-12), by_neutrino) == 0


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"heads": []}, "heads or classes"),
        ({"heads": ["flavour", "flavour"]}, "twice"),
        ({"classes": {"one": [11]}}, "two or more"),
        ({"classes": {"one": [11], "two": [11, 13]}}, "no code in two"),
        ({"classes": {"one": [11], "two": []}}, "each with PDG codes"),
        ({"classes_of": "neutrino"}, "needs classes"),
        ({"dimension": 2, "views_deg": [0.0]}, "views already"),
    ],
)
def test_settings_that_say_nothing_are_refused(settings: dict, word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        config.Classify.model_validate(settings)


def test_scores_of_own_classes_name_a_pdg_code() -> None:
    (found,) = classify.infer(net_of(OWN), [muon_and_protons()], OWN)
    score = found["image"]["class_score"][0]
    assert score[:3].sum() == pytest.approx(1) and not score[3:].any()
    assert found["image"]["pdg"][0] == (11, 13, 2212)[score.argmax()]
    assert np.isnan(found["image"]["flavour_score"]).all() and found["image"]["flavour"][0] == -1
    assert len(found["interaction_image"]["pdg"]) == 0, "there are no interactions"


def test_an_interaction_is_seen_without_the_voxels_of_others() -> None:
    """Its scores are those of an image that has no other interactions, and of a lone one those of the event."""
    two = muon_and_protons(1)
    number = np.arange(2)
    parts = {
        "group": {"fragment": two["truth_voxel"]["particle"], "particle": two["truth_voxel"]["particle"]},
        "identity": empty("identity", 2) | {"interaction": number.astype("i4")},
        "interaction": empty("interaction", 2),
    }
    net = net_of(SMALL)
    (found,) = classify.infer(net, [two.with_products(parts)], SMALL)
    assert len(found["image"]["flavour"]) == 1
    for row in number:
        mine = two["truth_voxel"]["particle"] == row
        alone = image(two["voxel"]["coord"][mine], two["voxel"]["energy"][mine])
        (expected,) = classify.infer(net, [alone], SMALL)
        for name, values in expected["image"].items():
            np.testing.assert_array_equal(values[0], found["interaction_image"][name][row], err_msg=name)
    lone = parts | {
        "identity": empty("identity", 2) | {"interaction": np.zeros(2, "i4")},
        "interaction": empty("interaction", 1),
    }
    (found,) = classify.infer(net, [two.with_products(lone)], SMALL)
    for name, values in found["image"].items():
        np.testing.assert_array_equal(values, found["interaction_image"][name])


def test_planes_see_all_energy_where_the_wires_are() -> None:
    coord = np.array([[5, 10, 20], [5, 10, 90], [7, 0, 0], [7, 127, 127]])
    energy = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    for angle in (0.0, 35.7, -35.7, 90.0):
        pixel, total = classify.seen((coord, energy), angle, 128, 192)
        assert total.sum() == pytest.approx(10) and (pixel >= 0).all() and (pixel < 192).all()
        assert (np.diff(pixel[:, 0] * 192 + pixel[:, 1]) > 0).all(), "sorted, each once"
        assert set(pixel[:, 0]) == {5, 7}, "the drift stays"
    # wires along y: z is what they measure, a box of 128 in the middle of 192 pixels
    pixel, _ = classify.seen((coord, energy), 0.0, 128, 192)
    assert pixel.tolist() == [[5, 20 + 32], [5, 90 + 32], [7, 32], [7, 127 + 32]]
    # wires along z see both deposits of x = 5 in one pixel
    pixel, total = classify.seen((coord, energy), 90.0, 128, 192)
    assert total.tolist() == [3.0, 4.0, 3.0] and pixel[:, 0].tolist() == [5, 7, 7]


def test_the_encoder_is_that_of_segment_both_ways(tmp_path) -> None:
    tiny = config.Segment.model_validate({"unet": TINY})
    for first, first_cfg, second, second_cfg in (
        (segment, tiny, classify, SMALL),
        (classify, SMALL, segment, tiny),
    ):
        torch.manual_seed(1)
        source = first.network(first_cfg)
        save_weights(
            tmp_path / "w.pt", row_of(first.__name__.split(".")[-1]), first_cfg, source.state_dict(), {}
        )
        torch.manual_seed(2)
        net = second.network(second_cfg)
        said = warm_start(net, tmp_path / "w.pt")
        there = source.state_dict()
        encoder = [
            name for name in net.state_dict() if name.startswith(("unet.stem", "unet.encoder", "unet.down"))
        ]
        assert len(encoder) > 20 and "parameters taken" in said
        for name in encoder:
            assert torch.equal(net.state_dict()[name], there[name]), name


class OneRank:
    """A training's ranks, of which there is one."""

    rank, size, device, is_main = 0, 1, torch.device("cpu"), True

    def wrap(self, net):
        return net

    def sum(self, values):
        return values


def test_it_learns_to_count_and_to_tell_showers_from_tracks() -> None:
    cfg = config.Classify.model_validate(
        {"unet": TINY, "num_hidden": 16, "train": {"num_steps": 60, "learning_rate": 0.01}}
    )
    rng = np.random.default_rng(0)

    def example(entry: int) -> Event:
        is_track = entry % 2
        coord = (
            line((200 + entry, 100, 100), (1, 0, 0), 60)
            if is_track
            else np.unique(rng.normal(0, 4, (80, 3)).astype(int) + 300, axis=0)
        )
        species, kind = (Species.MUON, Semantic.TRACK) if is_track else (Species.ELECTRON, Semantic.SHOWER)
        return labelled([{"coord": coord, "species": species, "semantic": kind, "is_primary": 1}], entry)

    torch.manual_seed(0)
    run = Optimization(classify.network(cfg), classify.loss, cfg, OneRank())
    batch = [example(entry) for entry in range(8)]
    losses = [run.update([batch], step, [])[0]["loss"] for step in range(60)]
    assert losses[-1] < 0.2 * losses[0]
    run.net.eval()
    fresh = [example(entry) for entry in range(8, 16)]
    found = [
        event.with_products(one)
        for event, one in zip(fresh, classify.infer(run.net, fresh, cfg), strict=True)
    ]
    right = sum(classify.metrics(event, event, cfg)["flavour_accuracy"][0] for event in found)
    assert right >= 7


def test_weights_serve_whether_or_not_a_production_has_the_stage(tmp_path) -> None:
    save_weights(tmp_path / "w.pt", row_of("classify"), SMALL, net_of(SMALL).state_dict(), {})
    load_weights(tmp_path / "w.pt", row_of("classify"), SMALL.model_copy(update={"enabled": True}))
    released = REPOSITORY / "models/neutrino/classify.pt"
    load_weights(released, row_of("classify"), config.Classify(enabled=True))
    views = config.Classify(enabled=True, views_deg=(35.7, -35.7, 0.0))
    load_weights(released.parent / "views/classify.pt", row_of("classify"), views)


def test_an_event_set_aside_has_no_scores() -> None:
    row = row_of("classify")
    found = blank(image(np.zeros((0, 3))), row.writes)
    assert [len(found[name]["flavour"]) for name in row.writes] == [0, 0]


def test_a_production_asks_for_images_of_its_own_dimension() -> None:
    with pytest.raises(ValidationError, match=r"classify\.dimension is 2"):
        config.Config.model_validate({"classify": {"enabled": True, "dimension": 2}})
    with pytest.raises(ValidationError, match=r"classify\.unet\.depth"):
        config.Config.model_validate(
            {"classify": {"enabled": True}, "ingest": {"num_voxels": 24}, "segment": {"unet": {"depth": 2}}}
        )


def test_scores_reach_the_tables_of_events_and_interactions(tmp_path) -> None:
    """Through the files: what `classify` writes for a shard stands in the rows of its event and its interactions."""
    files = write_shard(tmp_path, "by-hand/0000")
    net = net_of(SMALL)
    weights = tmp_path / "classify.pt"
    save_weights(weights, row_of("classify"), SMALL, net.state_dict(), {})
    out = tmp_path / "classify.h5"
    infer(row_of("classify"), files, SMALL, out=out, weights=weights)
    tables = tmp_path / "tables"
    summarize([*files, out], tables)
    plain = tmp_path / "plain"
    summarize(files, plain)
    with open_events(*files, out) as events:
        image_of = next(iter(events.stream(["image"])))["image"]
    row = read_table(tables / "events.parquet").to_pylist()[0]
    assert row["image_flavour"] == Flavour(image_of["flavour"][0]).name.lower()
    assert row["image_flavour_score_nc_like"] == pytest.approx(
        float(image_of["flavour_score"][0, Flavour.NC_LIKE])
    )
    assert row["image_neutron_count"] == image_of["num_neutrons_score"][0].argmax()
    assert row["image_class_score"] is None and row["image_class_pdg"] == 0
    mine = read_table(tables / "interactions.parquet").to_pylist()
    assert len(mine) == 2 and all(sum(one["image_proton_count_score"]) == pytest.approx(1) for one in mine)
    without = read_table(plain / "events.parquet").to_pylist()[0]
    assert without["image_flavour"] is None and without["image_neutron_count"] == -1
    assert [one["image_flavour"] for one in read_table(plain / "interactions.parquet").to_pylist()] == [
        None
    ] * len(mine)


def test_numbers_that_are_no_scores_are_no_head_that_is_not_there() -> None:
    """Of nan the first class has the highest score."""
    net = net_of(SMALL)
    with torch.no_grad():
        for values in net.parameters():
            values.fill_(torch.nan)
    with pytest.raises(ValueError, match="the scores of flavour are not finite"):
        classify.infer(net, [muon_and_protons()], SMALL)


def test_an_event_without_voxels_changes_no_other_and_is_alike_wherever_it_stands() -> None:
    net, empty_one, full = net_of(SMALL), image(np.zeros((0, 3))), muon_and_protons()
    alone = classify.infer(net, [empty_one], SMALL)[0]["image"]
    both = classify.infer(net, [full, empty_one], SMALL)
    np.testing.assert_allclose(both[1]["image"]["flavour_score"], alone["flavour_score"], rtol=1e-5)
    wanted = classify.infer(net, [full], SMALL)[0]["image"]["flavour_score"]
    np.testing.assert_allclose(both[0]["image"]["flavour_score"], wanted, rtol=1e-5)
    assert np.isfinite(alone["flavour_score"]).all()
