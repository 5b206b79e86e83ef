"""Tracks and their steps, written down by hand, and what holds of the labels of every event."""

import numpy as np

from lartpc.config import Ingest
from lartpc.event import TRUTH, conform
from lartpc.geometry import Box
from lartpc.ingest.labels.labels import label
from lartpc.ingest.steps import Steps, Trajectories
from lartpc.ingest.voxelize import voxelize
from lartpc.vocab import CreationProcess as P
from lartpc.vocab import Semantic

BOX = Box((0.0, 0.0, 0.0), 1.0, 64)
CFG = Ingest(voxel_size_cm=1.0, num_voxels=64)


class Event:
    """Tracks and their steps, one step per voxel, written down by hand."""

    def __init__(self):
        self.tracks, self.steps = [], []

    def track(self, track_id, pdg, process, parent=-1, ke=100.0, at=(0, 0, 0), time=0.0, interaction=-1):
        self.tracks.append((track_id, parent, pdg, int(process), ke, at, time, interaction))
        return self

    def line(self, track_id, start, end, energy=1.0, time=0.0):
        self.steps.append((track_id, start, end, energy, time))
        return self

    def build(self):
        steps = [np.array(column) for column in zip(*self.steps, strict=True)] or [np.zeros(0)] * 5
        tracks = sorted(self.tracks)
        ids, parents, pdg, process, ke, at, time, inter = (
            np.array(column) for column in zip(*tracks, strict=True)
        )
        pdg_of = dict(zip(ids, pdg, strict=True))
        return Steps(
            0, 0, 7,
            steps[1].reshape(-1, 3).astype(float),
            steps[2].reshape(-1, 3).astype(float),
            steps[3].astype(float),
            steps[4].astype(float),
            steps[0].astype(np.int64),
            np.array([pdg_of[i] for i in steps[0]], np.int64),
            Trajectories(
                ids, parents, pdg, process, ke.astype(float), np.ones((len(ids), 3)), at.astype(float),
                time.astype(float), inter,
            ),
        )  # fmt: skip

    def label(self, cfg=CFG):
        steps = self.build()
        image = voxelize(steps, BOX, cfg.voxel_threshold_mev)
        products = label(steps, image, BOX, cfg)
        assert set(products) == {*TRUTH, "truth_neutrino", "truth_primary"}
        products = {name: conform(name, columns) for name, columns in products.items()}
        check(image, products)
        return image, products


def check(image, products):
    """What holds for every event."""
    voxel, fragment, particle = (products[f"truth_{name}"] for name in ("voxel", "fragment", "particle"))
    low = voxel["semantic"] == Semantic.LOW_ENERGY
    for name in ("fragment", "particle", "interaction"):
        assert np.array_equal(voxel[name] == -1, low), name
    used = voxel["fragment"] >= 0
    assert np.array_equal(fragment["particle"][voxel["fragment"][used]], voxel["particle"][used])
    assert np.array_equal(fragment["semantic"][voxel["fragment"][used]], voxel["semantic"][used])
    assert np.array_equal(particle["interaction"][voxel["particle"][used]], voxel["interaction"][used])
    for name in ("fragment", "particle", "interaction"):
        energy = products[f"truth_{name}"]["energy"]
        assert np.allclose(energy, np.bincount(voxel[name][used], image.energy[used], len(energy)))
    assert (particle["num_voxels"] > 0).all() and (fragment["num_voxels"] > 0).all()
    assert np.bincount(fragment["particle"][fragment["is_primary"] == 1]).tolist() == [1] * len(
        particle["semantic"]
    )
    grid = set(map(tuple, image.coord))
    for position in products["truth_point"]["position"]:
        assert tuple(np.floor(position).astype(int)) in grid


def semantic_at(image, products, *coord):
    row = np.flatnonzero((image.coord == coord).all(axis=1))
    assert len(row) == 1, f"no voxel at {coord}"
    return Semantic(products["truth_voxel"]["semantic"][row[0]])


def muon(event, track_id=1, pdg=-13, start=5, stop=25, y=10, interaction=0):
    event.track(track_id, pdg, P.PRIMARY, at=(start + 0.5, y + 0.5, 10.5), interaction=interaction)
    return event.line(track_id, (start + 0.5, y + 0.5, 10.5), (stop + 0.5, y + 0.5, 10.5), 40.0)


def line_in_y(event, track_id, x, num, start=11, time=1.0, energy=None):
    return event.line(
        track_id, (x + 0.5, start, 10.5), (x + 0.5, start + num, 10.5), energy or 2.0 * num, time
    )
