"""Events made by hand, and the miniature production that the chain's tests share."""

import os
from pathlib import Path

import numpy as np
import pytest

from lartpc.event import IMAGE, TRUTH, Columns, Event, empty
from lartpc.geometry import Box
from lartpc.vocab import PointKind, Semantic, Species

BOX = Box.centred((0.0, 0.0, 0.0), 0.3, 768)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Return the folder of genuine files of other programs, or skip."""
    folder = os.environ.get("LARTPC_TEST_DATA")
    if not folder:
        pytest.skip("LARTPC_TEST_DATA names no folder of test data")
    return Path(folder)


def image(coord: np.ndarray, energy: np.ndarray | None = None, entry: int = 0) -> Event:
    """Return an event of voxels without truth, sorted by coordinate."""
    coord = np.asarray(coord, np.int32).reshape(-1, 3)
    energy = np.ones(len(coord), np.float32) if energy is None else np.asarray(energy, np.float32)
    order = np.lexsort(coord.T[::-1])
    row = empty("event", 1)
    row["energy_mev"][:] = energy.sum()
    return Event(
        "by-hand", entry, BOX, {"event": row, "voxel": {"coord": coord[order], "energy": energy[order]}}
    )


def line(start: tuple[int, int, int], step: tuple[int, int, int], length: int) -> np.ndarray:
    """Return the voxels (length, 3) of a straight line."""
    return np.asarray(start) + np.arange(length)[:, None] * np.asarray(step)


def labelled(particles: list[dict], entry: int = 0, num_blips: int = 0) -> Event:
    """Return an event with full truth from particles given as voxels, class, species and interaction.

    Keys of a particle: `coord`, `semantic`, `species`, `interaction`, `is_primary`; its first voxel is
    its start and its last one its end. Voxels that two particles share belong to the first. Blips are
    lonely low-energy voxels.
    """
    rng = np.random.default_rng(entry)
    owner: dict[tuple[int, int, int], int] = {}
    for index, particle in enumerate(particles):
        for voxel in np.asarray(particle["coord"]).tolist():
            owner.setdefault(tuple(voxel), index)
    for _ in range(num_blips):
        owner.setdefault(tuple(rng.integers(0, 768, 3).tolist()), -1)
    coord = np.array(sorted(owner), np.int32).reshape(-1, 3)
    of = np.array([owner[tuple(voxel)] for voxel in coord.tolist()], np.int32)
    event = image(coord, np.where(of < 0, 0.2, 0.6), entry)
    energy = event["voxel"]["energy"]
    num = len(particles)

    def column(key: str, none: int) -> np.ndarray:
        values = np.array([particle.get(key, none) for particle in particles] + [-1])
        return values[of]

    truth: dict[str, Columns] = {name: empty(name) for name in TRUTH}
    semantic = np.where(of < 0, Semantic.LOW_ENERGY, column("semantic", Semantic.TRACK))
    truth["truth_voxel"] = {
        "semantic": semantic.astype("i1"),
        "fragment": of,
        "particle": of,
        "interaction": column("interaction", 0).astype("i4"),
    }
    particle = empty("truth_particle", num)
    fragment = empty("truth_fragment", num)
    points: list[tuple[np.ndarray, int, int, int]] = []
    for i, given in enumerate(particles):
        voxels = np.asarray(given["coord"])
        kind = given.get("semantic", Semantic.TRACK)
        for table in (particle, fragment):
            table["semantic"][i] = kind
            table["interaction"][i] = given.get("interaction", 0)
            table["is_primary"][i] = given.get("is_primary", 1)
            table["num_voxels"][i] = np.sum(of == i)
            table["energy"][i] = energy[of == i].sum()
            table["start_point"][i] = voxels[0] + 0.5
            table["end_point"][i] = voxels[-1] + 0.5
        particle["track_id"][i] = i + 1
        particle["species"][i] = given.get("species", Species.MUON)
        fragment["particle"][i] = i
        fragment["is_primary"][i] = 1
        points.append((voxels[0] + 0.5, kind, PointKind.START, i))
        if kind == Semantic.TRACK:
            points.append((voxels[-1] + 0.5, kind, PointKind.END, i))
    truth["truth_particle"], truth["truth_fragment"] = particle, fragment
    num_interactions = 1 + max((p.get("interaction", 0) for p in particles), default=-1)
    interaction = empty("truth_interaction", num_interactions)
    for i in range(num_interactions):
        members = [p for p in particles if p.get("interaction", 0) == i]
        interaction["vertex"][i] = np.asarray(members[0]["coord"])[0] + 0.5
        interaction["num_particles"][i] = len(members)
        interaction["num_primaries"][i] = sum(p.get("is_primary", 1) for p in members)
        interaction["energy"][i] = energy[truth["truth_voxel"]["interaction"] == i].sum()
    truth["truth_interaction"] = interaction
    truth["truth_point"] = {
        "position": np.array([p[0] for p in points], np.float32).reshape(-1, 3),
        "semantic": np.array([p[1] for p in points], np.int8),
        "kind": np.array([p[2] for p in points], np.int8),
        "particle": np.array([p[3] for p in points], np.int32),
    }
    return event.with_products(truth)


def with_hits(event: Event) -> Event:
    """Return the event with the hits of planes that measure y, z and y + z at each x."""
    coord, energy = event["voxel"]["coord"], event["voxel"]["energy"]
    hit = empty("plane_hit", len(energy))
    for plane, wire in enumerate((coord[:, 1], coord[:, 2], coord[:, 1] + coord[:, 2])):
        _, row, count = np.unique(coord[:, 0] * 10_000 + wire, return_inverse=True, return_counts=True)
        hit["charge"][:, plane] = np.bincount(row, energy, len(count))[row]
        hit["num_points"][:, plane], hit["wire"][:, plane] = count[row], wire
    return event.with_products({"plane_hit": hit})


def typical(entry: int = 0) -> Event:
    """Return a small event with two tracks, a Michel, a shower in two pieces and blips."""
    rng = np.random.default_rng(entry)
    origin = rng.integers(300, 400, 3)
    x, y, z = (int(v) for v in origin)
    cone = np.unique(
        np.concatenate(
            [
                line((x, y - i, z + 2 * i), (0, 0, 1), 2) + rng.integers(-1, 2, (2, 3)) * (i > 4)
                for i in range(1, 20)
            ]
        ),
        axis=0,
    )
    cone = cone[np.argsort(np.abs(cone - origin).sum(1), kind="stable")]
    far = line((x, y - 45, z + 90), (0, -1, 1), 15)
    return labelled(
        [
            {"coord": line((x, y, z), (1, 1, 0), 60), "species": Species.MUON},
            {"coord": line((x, y, z), (-1, 0, 1), 30), "species": Species.PROTON},
            {
                "coord": line((x + 60, y + 60, z), (0, -1, 1), 12),
                "semantic": Semantic.MICHEL,
                "species": Species.ELECTRON,
                "is_primary": 0,
            },
            {
                "coord": np.concatenate([cone, far]),
                "semantic": Semantic.SHOWER,
                "species": Species.PHOTON,
            },
            {"coord": line((50, 60, 70), (1, 0, 0), 80), "interaction": 1},
        ],
        entry,
        num_blips=20,
    )


ODD_EVENTS = {
    "empty": lambda entry: labelled([], entry),
    "one_voxel": lambda entry: labelled([{"coord": [[5, 6, 7]]}], entry),
    "low_energy_only": lambda entry: labelled([], entry, num_blips=30),
}
"""Events that break what was not made for them."""

ALL_PRODUCTS = (*IMAGE, *TRUTH)
