"""Interactions by rules, on events made by hand."""

import numpy as np
import pytest
from conftest import BOX, image, labelled, line

from lartpc import config
from lartpc.event import empty
from lartpc.kinematics.argon import energy_of_range
from lartpc.kinematics.vertexing import joined, near_pairs
from lartpc.run.infer import infer
from lartpc.stages import interact, needs_weights, stage
from lartpc.truth import upstream_from_truth
from lartpc.vocab import Flavour, Semantic, Species

CFG = config.Interact.model_validate({"infer": {"interactions": "rules"}})
TRACK, SHOWER, MICHEL, DELTA = Semantic.TRACK, Semantic.SHOWER, Semantic.MICHEL, Semantic.DELTA


def found(*rows, cfg=CFG, turned=()):
    """Run the rules on lines: class, start, step, number of voxels, and energy per voxel (0.6 MeV).

    The starts of tracks are taken for their ends where they are named.
    """
    parts = [line(*row[1:4]) for row in rows]
    event = labelled([{"coord": part, "semantic": row[0]} for part, row in zip(parts, rows, strict=True)])
    owner = event["truth_voxel"]["particle"]
    loss = np.array([row[4] if len(row) > 4 else 0.6 for row in rows] + [0.2])
    event["voxel"]["energy"][:] = loss[owner]
    event = upstream_from_truth(event, ["point", "candidate", "group", "fragment", "particle"])
    particle = event["particle"]
    particle["start_point"][:] = [part[0] + 0.5 for part in parts]
    particle["end_point"][:] = [part[-1] + 0.5 for part in parts]
    steps = np.array([row[2] for row in rows], np.float64)
    particle["start_direction"][:] = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    for row in turned:
        for name, other in (("start_point", -1), ("end_point", 0)):
            particle[name][row] = parts[row][other] + 0.5
        particle["start_direction"][row] *= -1
    (products,) = interact.infer(None, [event], cfg)
    return products["identity"], products["interaction"]


def per_voxel(species, num):
    """Return the mean energy per voxel of a straight track of a species that stops after `num` voxels."""
    return float(energy_of_range(species, 0.3 * (num - 1)) / num)


def test_what_comes_together_is_one_interaction():
    identity, interaction = found(
        (TRACK, (100, 100, 100), (1, 0, 0), 200),
        (TRACK, (103, 101, 100), (0, 1, 0), 40),
        (TRACK, (400, 400, 400), (0, 0, 1), 60),
        (TRACK, (100, 108, 112), (0, 0, 1), 60),
    )
    assert identity["interaction"].tolist() == [0, 0, 1, 2]
    assert identity["is_primary"].tolist() == [1, 1, 1, 1] and identity["parent"].tolist() == [-1] * 4
    # at the point that is nearest to the mean of the ends
    np.testing.assert_allclose(interaction["vertex"][:2], [[100.5] * 3, [400.5] * 3], atol=0.51)
    assert interaction["num_particles"].tolist() == interaction["num_primaries"].tolist() == [2, 1, 1]


def test_what_starts_elsewhere_comes_from_the_track_that_leads_there():
    identity, _ = found(
        (TRACK, (100, 100, 100), (1, 0, 0), 200),
        (TRACK, (100, 100, 101), (0, 1, 0), 50),
        (TRACK, (100, 101, 100), (0, 0, 1), 50),
        (TRACK, (300, 101, 100), (0, 1, 0), 60),
        turned=[0, 3],
    )
    assert identity["interaction"].tolist() == [0] * 4
    assert identity["is_primary"].tolist() == [1, 1, 1, 0]
    assert identity["parent"].tolist() == [-1, -1, -1, 0] and identity["generation"].tolist() == [0, 0, 0, 1]
    assert identity["is_turned"].tolist() == [1, 0, 0, 1]
    assert identity["species"][0] == Species.PION, "what scatters is no muon"


@pytest.mark.parametrize("turned", [[], [0]])
def test_a_muon_ends_where_its_michel_starts(turned):
    identity, interaction = found(
        (TRACK, (100, 100, 100), (1, 0, 0), 100),
        (MICHEL, (200, 101, 100), (0, 1, 0), 15),
        (DELTA, (150, 101, 100), (0, 1, 0), 5),
        (MICHEL, (500, 500, 500), (0, 1, 0), 15),
        turned=turned,
    )
    assert identity["parent"].tolist() == [-1, 0, 0, -1]
    assert identity["interaction"].tolist() == [0, 0, 0, 1]
    assert identity["is_turned"].tolist() == [len(turned), 0, 0, 0]
    assert identity["species"].tolist() == [Species.MUON, *[Species.ELECTRON] * 3]
    assert identity["is_primary"].tolist() == [1, 0, 0, 0]
    np.testing.assert_allclose(interaction["vertex"][0], [100.5] * 3)
    assert interaction["flavour"].tolist() == [Flavour.NUMU_LIKE, Flavour.NC_LIKE]


def test_showers_belong_to_what_they_point_back_to():
    identity, interaction = found(
        (TRACK, (100, 100, 100), (1, 0, 0), 200),
        (TRACK, (100, 100, 101), (0, 1, 0), 50),
        (SHOWER, (60, 60, 100), (-1, -1, 0), 40),
        (SHOWER, (60, 60, 300), (-1, 0, 0), 40),
        (SHOWER, (340, 100, 100), (1, 0, 0), 40),
        (SHOWER, (100, 99, 99), (0, -1, -1), 40),
    )
    assert identity["interaction"].tolist() == [0, 0, 0, 1, 0, 0]
    assert identity["is_primary"].tolist() == [1, 1, 1, 1, 0, 1]
    assert identity["parent"].tolist() == [-1, -1, -1, -1, 0, -1]
    assert identity["species"][[2, 4, 5]].tolist() == [Species.PHOTON, Species.PHOTON, Species.ELECTRON]
    assert interaction["num_primaries"].tolist() == [4, 1]
    np.testing.assert_allclose(interaction["vertex"][0], [100.5] * 3, atol=1)


def test_two_photons_of_a_pi_zero_meet_without_a_track():
    # at rest in 45° of the axis, so that the mass is that of E1 = E2 = m / (2 sin 45°)
    energy = 134.9768 / np.sqrt(2) / 40
    identity, interaction = found(
        (SHOWER, (160, 100, 100), (1, 0, 0), 40, energy),
        (SHOWER, (100, 160, 100), (0, 1, 0), 40, energy),
        (SHOWER, (400, 160, 500), (0, 1, 0), 40, energy),
    )
    assert identity["interaction"].tolist() == [0, 0, 1]
    assert identity["pi_zero"].tolist() == [0, 0, -1]
    np.testing.assert_allclose(identity["pi_zero_score"][:2], 1.0, rtol=1e-5)
    np.testing.assert_allclose(interaction["vertex"][0], [100.5] * 3, atol=1e-3)
    assert interaction["num_pi_zeros_score"].argmax(1).tolist() == [1, 0]
    other = config.Interact.model_validate(
        {"infer": {"interactions": "rules", "pi_zero_threshold": 0.99, "rules": {"length": 50}}}
    )
    assert set(found((SHOWER, (160, 100, 100), (1, 0, 0), 40), cfg=other)[0]["pi_zero"]) == {-1}


@pytest.mark.parametrize(
    ("species", "num", "expected"),
    [
        (Species.PROTON, 60, Species.PROTON),
        (Species.MUON, 40, Species.PION),
        (Species.MUON, 300, Species.MUON),
        (Species.PROTON, 300, Species.PROTON),
    ],
)
def test_tracks_by_energy_for_their_length(species, num, expected):
    identity, _ = found((TRACK, (100, 100, 100), (0, 1, 0), num, per_voxel(species, num)))
    assert identity["species"].tolist() == [expected]
    assert identity["species_score"][0, expected] == 1 and identity["species_score"].sum() == 1


def test_kaons_only_on_demand():
    track = (TRACK, (100, 100, 100), (0, 1, 0), 100, per_voxel(Species.KAON, 100))
    assert found(track)[0]["species"][0] != Species.KAON
    assert found(track, cfg=CFG.model_copy(update={"kaons": True}))[0]["species"][0] == Species.KAON


def test_photons_lose_twice_as_much_at_their_start():
    # 2.1 MeV/cm is the least that a charge of one loses
    for loss, expected in ((2.1 * 0.3, Species.ELECTRON), (4.2 * 0.3, Species.PHOTON)):
        assert found((SHOWER, (100, 100, 100), (0, 1, 0), 60, loss))[0]["species"].tolist() == [expected]


def test_places_are_joined_over_others():
    place = np.array([[0.0, 0, 0], [30, 0, 0], [5, 0, 0], [10, 0, 0], [30, 6.9, 0]])
    assert joined(place, 7.0).tolist() == [0, 1, 0, 0, 1]
    assert joined(place[:0], 7.0).tolist() == []
    rng = np.random.default_rng(0)
    many = rng.uniform(0, 100, (600, 3))
    alone = joined(many, 7.0)
    near = np.linalg.norm(many[:, None] - many, axis=2) <= 7.0
    assert (alone[:, None] == alone)[near].all()
    assert len(near_pairs(many, 5.0)) == np.count_nonzero(
        np.triu(np.linalg.norm(many[:, None] - many, axis=2) <= 5.0, 1)
    )


def test_thousands_of_particles_in_bounded_memory():
    """Many in one place, and 5,000 apart: no array grows with the square of their number."""
    import tracemalloc

    rng = np.random.default_rng(1)
    for num, spread in ((1000, 3), (5000, 700)):
        place = rng.integers(20, 20 + spread, (num, 3))
        voxel = np.unique(rng.integers(0, 768, (num + 50, 3)), axis=0)[:num]
        event = image(voxel)
        particle = empty("particle", num)
        particle["semantic"][:] = np.where(np.arange(num) % 2, SHOWER, TRACK)
        particle["num_voxels"][:], particle["energy"][:] = 1, 0.6
        particle["start_point"][:] = place
        particle["end_point"][:] = np.where((np.arange(num) % 2)[:, None], voxel, place + 2)
        particle["start_direction"][:, 0] = 1
        rows = np.arange(num, dtype=np.int32)
        others = {name: empty(name) for name in ("point", "candidate", "fragment")}
        event = event.with_products(
            {"particle": particle, "group": {"particle": rows, "fragment": rows}, **others}
        )
        tracemalloc.start()
        interact.infer(None, [event], CFG)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # all pairs of 1,500 ends, three coordinates each, are 54 MB; those of 7,500 are 1,350 MB
        assert peak < 40e6, f"{peak / 1e6:.0f} MB"


def test_needs_no_weights(tmp_path):
    from lartpc.provenance import provenance
    from lartpc.store import EventWriter

    event = labelled([{"coord": line((5, 6, 7), (1, 0, 0), 9)}])
    event = upstream_from_truth(event, ["point", "candidate", "group", "fragment", "particle"])
    attrs = provenance("ingest", 1, config={})
    path, out = tmp_path / "in.h5", tmp_path / "out.h5"
    products = ("event", "voxel", "point", "candidate", "group", "fragment", "particle")
    with EventWriter(path, products, file_uid="s/0", box=BOX, attrs=attrs) as writer:
        writer.append(0, {name: event[name] for name in products})
    assert not needs_weights(stage("interact"), CFG) and needs_weights(stage("interact"), config.Interact())
    assert infer(stage("interact"), [path], CFG, out=out, weights=None)["num_quarantined"] == 0
    with pytest.raises(ValueError, match="under these settings has no weights"):
        infer(stage("interact"), [path], CFG, out=out, weights=path)
    with pytest.raises(ValueError, match="needs --weights"):
        infer(stage("interact"), [path], config.Interact(), out=out, weights=None)
