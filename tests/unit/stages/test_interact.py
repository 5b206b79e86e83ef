import numpy as np
import pytest
import torch
from conftest import ODD_EVENTS, labelled, line, typical

from lartpc import config
from lartpc.event import conform
from lartpc.stages import interact
from lartpc.stages.interact import graph
from lartpc.stages.interact.targets import allowed_species
from lartpc.truth import upstream_from_truth
from lartpc.vocab import Flavour, Semantic, Species

SMALL = config.Interact.model_validate({"graph": {"num_hidden": 32}})


def on_truth(event):
    return upstream_from_truth(event, ["point", "candidate", "group", "fragment", "particle"])


TRACK, SHOWER = Semantic.TRACK, Semantic.SHOWER

# -- network -----------------------------------------------------------------------------------


def two_interactions(entry):
    rng = np.random.default_rng(entry)
    shift = rng.integers(-20, 21, (2, 3))
    a, b = (tuple(int(v) for v in place) for place in np.array([[200, 200, 200], [500, 500, 400]]) + shift)
    return on_truth(
        labelled(
            [
                {"coord": line(a, (1, 0, 0), 80), "species": Species.MUON},
                {"coord": line(a, (0, 1, 1), 15), "species": Species.PROTON},
                {
                    "coord": line((a[0] + 80, a[1], a[2]), (0, 1, 0), 14),
                    "semantic": Semantic.MICHEL,
                    "species": Species.ELECTRON,
                    "is_primary": 0,
                },
                {"coord": line(b, (0, -1, 1), 40), "species": Species.PION, "interaction": 1},
                {
                    "coord": line((b[0] + 25, b[1], b[2]), (1, 0, 0), 30),
                    "semantic": Semantic.SHOWER,
                    "species": Species.PHOTON,
                    "interaction": 1,
                },
            ],
            entry,
            num_blips=5,
        )
    )


def test_learns_an_event_by_heart():
    events = [two_interactions(entry) for entry in range(2)]
    torch.manual_seed(0)
    net = interact.network(SMALL)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(60):
        terms = interact.loss(net, events, SMALL)
        optimizer.zero_grad()
        sum(total / count for total, count in terms.values()).backward()
        optimizer.step()
    for event, products in zip(events, interact.infer(net.eval(), events, SMALL), strict=True):
        identity, interaction, truth = products["identity"], products["interaction"], event["truth_particle"]
        np.testing.assert_array_equal(identity["interaction"], truth["interaction"])
        np.testing.assert_array_equal(identity["species"], truth["species"])
        np.testing.assert_array_equal(identity["is_primary"], truth["is_primary"])
        assert not identity["is_turned"].any()
        np.testing.assert_array_equal(identity["parent"], [-1, -1, 0, -1, -1])
        np.testing.assert_array_equal(identity["generation"], [0, 0, 1, 0, 0])
        np.testing.assert_array_equal(interaction["flavour"], [Flavour.NUMU_LIKE, Flavour.NC_LIKE])
        assert interaction["num_protons_score"].argmax(1).tolist() == [1, 0]
        assert interaction["num_pions_score"].argmax(1).tolist() == [0, 1]
        np.testing.assert_allclose(interaction["vertex"], event["truth_interaction"]["vertex"], atol=1.0)
        np.testing.assert_array_equal(interaction["num_particles"], [3, 2])
        np.testing.assert_array_equal(interaction["num_primaries"], [2, 2])
        np.testing.assert_allclose(interaction["energy"], event["truth_interaction"]["energy"], rtol=1e-5)
        for name, (part, whole) in interact.metrics(event.with_products(products), event, SMALL).items():
            assert part == pytest.approx(whole), name


def test_species_and_primaries_obey_the_class():
    torch.manual_seed(1)
    net = interact.network(SMALL)
    with torch.no_grad():
        net.node_heads["primary"].bias[:] = torch.tensor([-9.0, 9.0])
    for seed in range(3):
        with torch.no_grad():
            net.node_heads["species"].bias.normal_(0, 5)
        event = on_truth(typical(seed))
        identity = interact.infer(net, [event], SMALL)[0]["identity"]
        semantic = event["particle"]["semantic"]
        assert allowed_species(SMALL)[semantic, identity["species"]].all()
        np.testing.assert_array_equal(identity["is_primary"], np.isin(semantic, [SHOWER, TRACK]))
        np.testing.assert_allclose(identity["species_score"].sum(1), 1, rtol=1e-5)


def test_small_particles_are_no_primaries():
    torch.manual_seed(1)
    net, event = interact.network(SMALL), on_truth(two_interactions(0))
    with torch.no_grad():
        net.node_heads["primary"].bias[:] = torch.tensor([-9.0, 9.0])
    num_voxels = event["particle"]["num_voxels"]
    for least in (1, 30, 40):
        cfg = config.Interact.model_validate({**SMALL.model_dump(), "infer": {"min_primary_voxels": least}})
        products = interact.infer(net, [event], cfg)[0]
        is_primary = products["identity"]["is_primary"] == 1
        can_be = np.isin(products["identity"]["semantic"], [SHOWER, TRACK])
        np.testing.assert_array_equal(is_primary, can_be & (num_voxels >= least))
        assert products["interaction"]["num_primaries"].sum() == is_primary.sum()
        # the score is that of the network
        assert (products["identity"]["primary_score"][can_be] > 0.5).all()


def test_points_can_overrule_which_end_is_the_start():
    event, net = on_truth(two_interactions(0)), interact.network(SMALL)
    turned = {}
    for trust in (1e-9, 0.5, 1 - 1e-9):
        cfg = config.Interact.model_validate({**SMALL.model_dump(), "infer": {"start_trust": trust}})
        turned[trust] = interact.infer(net, [event], cfg)[0]["identity"]["is_turned"]
    is_track = event["particle"]["semantic"] == TRACK
    np.testing.assert_array_equal(turned[1e-9], is_track)
    assert not turned[1 - 1e-9].any() and not turned[0.5][~is_track].any()


def test_kaons_on_demand():
    event = two_interactions(0)
    event["truth_particle"]["species"][3] = Species.KAON
    torch.manual_seed(0)
    for kaons in (False, True):
        cfg = config.Interact.model_validate({**SMALL.model_dump(), "kaons": kaons})
        net = interact.network(cfg)
        assert int(interact.loss(net, [event], cfg)["species"][1]) == 4 + kaons
        score = interact.infer(net, [event], cfg)[0]["identity"]["species_score"]
        assert (score[:, Species.KAON] > 1e-6).tolist() == [kaons, kaons, False, kaons, False]


def test_low_energy_particles_are_in_no_interaction():
    event = labelled(
        [
            {"coord": line((5, 5, 5), (1, 0, 0), 20)},
            {"coord": [[300, 300, 300]], "semantic": Semantic.LOW_ENERGY},
        ]
    )
    products = interact.infer(interact.network(SMALL), [on_truth(event)], SMALL)[0]
    assert products["identity"]["interaction"].tolist() == [0, -1]
    assert products["identity"]["species"][1] == -1


def test_loss_does_not_depend_on_the_batching():
    events = [on_truth(typical(i)) for i in range(3)]
    net = interact.network(SMALL)
    together = interact.loss(net, events, SMALL)
    apart = [interact.loss(net, [event], SMALL) for event in events]
    for name, (total, count) in together.items():
        torch.testing.assert_close(total, sum(terms[name][0] for terms in apart), rtol=1e-4, atol=1e-4)
        assert int(count) == sum(int(terms[name][1]) for terms in apart)


@pytest.mark.parametrize("kind", ODD_EVENTS)
def test_odd_events(kind):
    event, net = on_truth(ODD_EVENTS[kind](0)), interact.network(SMALL)
    (products,) = interact.infer(net, [event], SMALL)
    for name, columns in products.items():
        conform(name, columns)
    sum(total for total, _ in interact.loss(net, [event], SMALL).values()).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_the_geometry_of_an_event_serves_wherever_its_particles_start():
    event = two_interactions(1)
    particle = dict(event["particle"])
    particle["start_point"] = particle["start_point"] + np.float32(7.5)
    moved = event.with_products({"particle": particle})
    anew = graph.particle_graph(moved, SMALL)
    again = graph.particle_graph(moved, SMALL, graph.geometry_of(event, SMALL))
    before = graph.particle_graph(event, SMALL)
    assert not np.array_equal(anew.graph.node_FC, before.graph.node_FC)
    for name in ("node_FC", "pair_2E", "edge_EC"):
        np.testing.assert_array_equal(getattr(anew.graph, name), getattr(again.graph, name))
    np.testing.assert_array_equal(anew.turned_F, again.turned_F)
