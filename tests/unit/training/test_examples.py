"""Examples: what is found of an event once and turned teaches what the turned event teaches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ALL_PRODUCTS, BOX, labelled, typical

from lartpc.config import SECTIONS, Cluster, Dbscan, Interact
from lartpc.event import Event
from lartpc.nets.augment import symmetry, turn
from lartpc.provenance import provenance
from lartpc.run.training.kept import Kept
from lartpc.run.training.sample import Sample
from lartpc.stages import CHAIN, OPTIONAL, stage
from lartpc.store import EventWriter
from lartpc.truth import upstream_from_truth
from lartpc.vocab import Semantic, Species

ATTRS = provenance("ingest", 1, config={})
UPSTREAM = {
    "cluster": ["semantic", "affinity", "point"],
    "interact": ["point", "candidate", "group", "fragment", "particle"],
}
TRACK = {"semantic": Semantic.TRACK, "species": Species.MUON, "interaction": 0}
SHOWER = {"semantic": Semantic.SHOWER, "species": Species.PHOTON, "interaction": 0}


def crooked(seed: int) -> Event:
    """Return an event of crooked particles, in which few distances are equal: no symmetry changes a choice then."""
    rng = np.random.default_rng(seed)
    particles = []
    for number, kind in enumerate((TRACK, TRACK, SHOWER, SHOWER, TRACK)):
        step = rng.normal(size=3)
        step *= 0.5 / np.abs(step).max()
        way = rng.uniform(250, 500, 3) + np.arange(140)[:, None] * step
        way += (0.3, 0.6)[kind is SHOWER] * rng.normal(size=way.shape)
        coord = np.unique(np.rint(way).astype(int), axis=0)
        order = np.argsort(((coord - way[0]) ** 2).sum(1), kind="stable")
        particles.append({**kind, "coord": coord[order], "interaction": number % 2})
    event = labelled(particles, seed)
    energy = rng.uniform(0.2, 2.0, event.num_voxels).astype(np.float32)
    return event.with_products({"voxel": {**event["voxel"], "energy": energy}})


def section(name: str) -> Any:
    return (
        Cluster(fragments=Dbscan(method="dbscan", min_voxels=20), edge_length=(500, 500, 25, 25))
        if name == "cluster"
        else Interact()
    )


def taught(
    name: str, net: torch.nn.Module, batch: list[Any]
) -> tuple[dict[str, tuple[float, int]], torch.Tensor]:
    """Return the terms of a loss, and the gradient of their sum."""
    terms = stage(name).module().loss(net, batch, section(name))
    net.zero_grad()
    sum(total for total, _ in terms.values()).backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in net.parameters()])
    return {key: (float(total.detach()), int(count)) for key, (total, count) in terms.items()}, gradient


@pytest.mark.parametrize("name", ["cluster", "interact"])
def test_a_turned_example_teaches_what_the_turned_event_does(name: str) -> None:
    torch.manual_seed(1)
    net = stage(name).module().network(section(name))
    make = stage(name).module().examples(section(name))
    num_edges, num_same = 0, 0
    for seed in range(8):
        event = upstream_from_truth(crooked(seed), UPSTREAM[name])
        known = make(event)
        example = known.turned(*symmetry(np.random.default_rng(seed)))
        turned = turn(event, np.random.default_rng(seed))
        found, gradient = taught(name, net, [example])
        expected, of_event = taught(name, net, [turned])
        assert {key: count for key, (_, count) in found.items()} == {
            key: count for key, (_, count) in expected.items()
        }
        away = max(abs(found[key][0] - total) / max(total, 1.0) for key, (total, _) in expected.items())
        # of two voxels that are as near the first is taken, which is another one in some of the turned events
        if away < 1e-4:
            assert (gradient - of_event).norm() < 1e-3 * of_event.norm()
            num_same += 1
        # as it lies in the file an event is another one
        _, as_it_was = taught(name, net, [known.turned(np.arange(3), np.zeros(3, bool))])
        assert (gradient - as_it_was).norm() > 0.01 * of_event.norm()
        num_edges += example.graph.pair_2E.shape[1]
        assert example.num_voxels == event.num_voxels
    assert num_edges >= 60 and num_same >= 6, (num_edges, num_same)


@pytest.mark.parametrize("name", ["cluster", "interact"])
@pytest.mark.parametrize("num_particles", [0, 1])
def test_events_without_pairs_are_turned_and_learned_of(name: str, num_particles: int) -> None:
    coord = 300 + np.arange(60)[:, None] * np.array([1, 1, 0])
    event = upstream_from_truth(labelled([{**TRACK, "coord": coord}][:num_particles], 0), UPSTREAM[name])
    example = stage(name).module().examples(section(name))(event)
    turned = example.turned(*symmetry(np.random.default_rng(1)))
    assert len(turned.graph.node_FC) == num_particles
    assert turned.graph.pair_2E.shape == (2, 0) and len(turned.graph.edge_EC) == 0
    whole = stage(name).module().examples(section(name))(upstream_from_truth(crooked(0), UPSTREAM[name]))
    batch = [turned, whole.turned(*symmetry(np.random.default_rng(1)))]
    found, gradient = taught(name, stage(name).module().network(section(name)), batch)
    assert turned.graph.edge_EC.shape[1:] == batch[1].graph.edge_EC.shape[1:]
    assert all(np.isfinite(total) for total, _ in found.values())
    assert torch.isfinite(gradient).all() and gradient.norm() > 0


def test_fragments_of_a_network_have_no_examples() -> None:
    learned = Cluster.model_validate({"fragments": {"method": "graph_spice"}})
    assert stage("cluster").module().examples(learned) is None
    assert [row.name for row in (*CHAIN, *OPTIONAL) if row.has_examples] == ["cluster", "interact"]


def shard(folder: Path, name: str, num: int) -> Path:
    made = [product for product in UPSTREAM[name] if product not in ALL_PRODUCTS]
    path = folder / f"{name}.h5"
    with EventWriter(path, (*ALL_PRODUCTS, *made), file_uid=name, box=BOX, attrs=ATTRS) as writer:
        for entry in range(num):
            writer.append(entry, upstream_from_truth(typical(entry), UPSTREAM[name]).products)
    return path


class Rank:
    rank, size, comm = 0, 1, None


def same(one: Any, other: Any) -> bool:
    return all(
        np.array_equal(a, b)
        for a, b in zip(vars(one.graph).values(), vars(other.graph).values(), strict=True)
    )


@pytest.mark.parametrize("name", ["cluster", "interact"])
def test_examples_are_found_once_and_turned_in_each_pass(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = SECTIONS[name]().train.model_dump()
    config = SECTIONS[name].model_validate({"upstream": "mixed", "train": {**plain, "keep_gb": 0.5}})
    path = shard(tmp_path, name, 12)
    settings = config.train.model_copy(update={"batch_size": 12})
    sample = Sample(stage(name), [path], config, as_examples=True)
    first = [sample.batch(step, settings, Rank) for step in range(4)]
    assert all(not isinstance(one, Event) for batch in first for one in batch)
    again = Sample(stage(name), [path], config, as_examples=True)
    with again.batches(range(4), settings.model_copy(update={"num_workers": 1}), Rank) as batches:
        for batch, expected in zip(batches, first, strict=True):
            assert all(same(one, other) for one, other in zip(batch, expected, strict=True))
    # nothing is read where all is kept, and events are turned in other ways
    monkeypatch.setattr(Sample, "_read", None)
    for step, expected in enumerate(first):
        found = sample.batch(step, settings, Rank)
        assert all(same(one, other) for one, other in zip(found, expected, strict=True))
    assert len({one.graph.edge_EC.tobytes() for batch in first for one in batch}) > 40
    # what is kept in no memory is found anew in the event as it is turned, as that of other charges is
    for change in ({"keep_gb": 0.0}, {"shift": 3}, {"charge_jitter": 0.1}):
        other = settings.model_copy(update=change)
        monkeypatch.undo()
        assert all(isinstance(one, Event) for one in sample.batch(0, other, Rank))


def test_what_came_first_is_kept_up_to_the_limit() -> None:
    class Value:
        num_bytes = 400

    made = []

    def make() -> Value:
        made.append(len(made))
        return Value()

    kept = Kept(1000)
    found = [kept(key, make) for key in (1, 2, 3, 1, 2, 3)]
    assert found[3] is found[0] and found[4] is found[1] and found[5] is not found[2]
    assert len(made) == 4
