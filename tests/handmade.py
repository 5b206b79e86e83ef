"""Events drawn by hand, with known answers, as the files of a shard.

The good event: a muon (20 voxels), an electron shower (10) and the muon's Michel electron (5) from one
vertex, a proton (10) from another, and 2 voxels of low-energy deposits. The prediction calls the muon's last two
voxels a delta and a particle of its own, leaves the Michel ungrouped, calls the proton a pion, and finds the
first vertex 2 voxels off.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from lartpc.event import IMAGE, TRUTH, Columns, empty, num_rows
from lartpc.geometry import Box
from lartpc.provenance import provenance
from lartpc.run.summarize import summarize
from lartpc.stages import CHAIN
from lartpc.store import CHOICE, EventWriter
from lartpc.vocab import Flavour, PointKind, Semantic, Species

BOX = Box.centred((0.0, 0.0, 100.0), 0.3, 64)
ENERGY = {0: 2.0, 1: 1.0, 2: 0.5, 3: 4.0, -1: 0.25}
ORDER = [step.name for step in CHAIN]


def line(start: tuple[int, int, int], axis: int, num: int) -> np.ndarray:
    coord = np.repeat([start], num, axis=0)
    coord[:, axis] += np.arange(num)
    return coord


def good_event() -> dict[str, Columns]:
    pieces = [line((10, 10, 10), 0, 20), line((10, 11, 10), 1, 10), line((29, 11, 10), 1, 5)]
    pieces += [line((40, 40, 40), 2, 10), np.array([[50, 50, 50], [52, 50, 50]])]
    particle = np.repeat([0, 1, 2, 3, -1], [len(piece) for piece in pieces])
    coord = np.concatenate(pieces)
    order = np.lexsort(coord.T[::-1])
    coord, particle = coord[order], particle[order]
    energy = np.array([ENERGY[p] for p in particle.tolist()], np.float32)
    classes = np.array([Semantic.TRACK, Semantic.SHOWER, Semantic.MICHEL, Semantic.TRACK])
    semantic = np.append(classes, Semantic.LOW_ENERGY)[particle]
    interaction = np.array([0, 0, 0, 1, -1])[particle]
    events: dict[str, Columns] = {name: empty(name) for name in (*IMAGE, *TRUTH)}
    events |= {name: empty(name) for step in CHAIN for name in step.writes}
    events["event"] = empty("event", 1)
    events["event"]["run"][:] = 7
    events["event"]["num_steps"][:] = 100
    events["event"]["energy_mev"][:] = energy.sum() + 3.0
    events["event"]["energy_outside_mev"][:] = 3.0
    events["voxel"] = {"coord": coord, "energy": energy}
    events["affinity"] = empty("affinity", len(coord))
    events["truth_voxel"] = {
        "semantic": semantic,
        "fragment": particle,
        "particle": particle,
        "interaction": interaction,
    }
    start = np.array([[10.5, 10.5, 10.5], [10.5, 10.5, 10.5], [29.5, 10.5, 10.5], [40.5, 40.5, 40.5]])
    end = np.array([[29.5, 10.5, 10.5], [10.5, 20.5, 10.5], [29.5, 15.5, 10.5], [40.5, 40.5, 49.5]])
    num_voxels = np.bincount(particle[particle >= 0])
    totals = np.bincount(particle[particle >= 0], weights=energy[particle >= 0])
    primary = np.array([1, 1, 0, 1])
    true = empty("truth_particle", 4)
    true |= {"track_id": np.arange(1, 5), "pdg": np.array([13, 11, 11, 2212]), "semantic": classes}
    true |= {"species": np.array([Species.MUON, Species.ELECTRON, Species.ELECTRON, Species.PROTON])}
    true |= {"interaction": np.array([0, 0, 0, 1]), "is_primary": primary, "num_voxels": num_voxels}
    true |= {"energy": totals, "start_point": start, "end_point": end, "process": np.array([0, 0, 7, 0])}
    true |= {"momentum": np.array([[300.0, 0, 400.0]] * 4)}
    events["truth_particle"] = true
    fragment = empty("truth_fragment", 4)
    fragment |= {
        name: true[name] for name in ("semantic", "interaction", "is_primary", "num_voxels", "energy")
    }
    fragment |= {"particle": np.arange(4), "start_point": start, "end_point": end}
    events["truth_fragment"] = fragment
    events["truth_interaction"] = {
        "vertex": start[[0, 3]],
        "num_particles": np.array([3, 1]),
        "num_primaries": np.array([2, 1]),
        "energy": np.array([totals[:3].sum(), totals[3]]),
    }
    events["truth_point"] = {
        "position": np.concatenate([start, end[[0, 3]]]),
        "semantic": np.append(classes, [Semantic.TRACK, Semantic.TRACK]),
        "kind": np.array([PointKind.START] * 4 + [PointKind.END] * 2),
        "particle": np.array([0, 1, 2, 3, 0, 3]),
    }
    events |= _prediction(coord, particle, semantic, energy, start, end)
    return events


def _prediction(coord, particle, semantic, energy, start, end) -> dict[str, Columns]:
    cut = (particle == 0) & (coord[:, 0] >= 28)
    label = np.where(cut, Semantic.DELTA, semantic)
    found = np.where(cut, 1, np.array([0, 2, -1, 3, -1])[particle])
    grouped = found >= 0
    count = np.bincount(found[grouped])
    totals = np.bincount(found[grouped], weights=energy[grouped])
    classes = np.array([Semantic.TRACK, Semantic.DELTA, Semantic.SHOWER, Semantic.TRACK])
    shape = {"semantic": classes, "num_voxels": count, "energy": totals}
    shape |= {"start_point": start[[0, 2, 1, 3]], "end_point": end[[0, 2, 1, 3]]}
    species = np.array([Species.MUON, Species.ELECTRON, Species.ELECTRON, Species.PION])
    score, species_score = np.eye(5, dtype=np.float32), np.eye(len(Species), dtype=np.float32)
    point = empty("point", 4)
    point["position"][:] = start[[0, 1, 2, 3]] + [[0, 0, 1], [0, 0, 1], [0, 4, 0], [0, 0, 0]]
    point["class_score"][:] = score[[Semantic.TRACK, Semantic.SHOWER, Semantic.MICHEL, Semantic.DELTA]]
    point["semantic"][:] = [Semantic.TRACK, Semantic.SHOWER, Semantic.MICHEL, Semantic.DELTA]
    point["kind"][:] = PointKind.START
    point["score"][:] = 0.9
    return {
        "semantic": {**empty("semantic", len(label)), "score": score[label], "label": label},
        "point": point,
        "candidate": empty("candidate"),
        "final_point": {name: point[name] for name in ("position", "score")},
        "group": {"fragment": found, "particle": found},
        "fragment": {**shape, "particle": np.arange(4), "primary_score": np.full(4, 0.5)},
        "particle": {
            **shape,
            "class_score": score[classes],
            "num_fragments": np.ones(4, int),
            "start_direction": np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]]),
        },
        "identity": {
            "interaction": np.array([0, 0, 0, 1]),
            "semantic": classes,
            "semantic_score": score[classes, : Semantic.LOW_ENERGY],
            "species": species,
            "species_score": species_score[species],
            "is_primary": np.array([1, 0, 1, 1]),
            "primary_score": np.array([0.9, 0.1, 0.8, 0.7]),
            "is_turned": np.array([0, 0, 0, 1]),
            "turned_score": np.array([0.1, 0.0, 0.0, 0.6]),
            "start_point": np.concatenate([start[[0, 2, 1]], end[[3]]]),
            "end_point": np.concatenate([end[[0, 2, 1]], start[[3]]]),
            "parent": np.array([-1, 0, -1, -1]),
            "parent_score": np.array([0.9, 0.8, 0.7, 0.6]),
            "generation": np.array([0, 1, 0, 0]),
            "pi_zero": np.full(4, -1),
            "pi_zero_score": np.zeros(4),
        },
        "interaction": {
            "vertex": np.array([[10.5, 10.5, 12.5], [40.5, 40.5, 40.5]]),
            "num_particles": np.array([3, 1]),
            "num_primaries": np.array([2, 1]),
            "energy": np.array([totals[:3].sum(), totals[3]]),
            "flavour": np.array([Flavour.NUMU_LIKE, Flavour.NC_LIKE]),
            "flavour_score": np.array([[0.9, 0.1, 0.0], [0.2, 0.0, 0.8]]),
            "num_protons_score": np.eye(4)[[0, 1]],
            "num_pions_score": np.eye(4)[[0, 0]],
            "num_pi_zeros_score": np.eye(4)[[0, 0]],
        },
    }


def quiet_event(coord: list[list[int]], semantic: int = Semantic.LOW_ENERGY) -> dict[str, Columns]:
    """Voxels that are in nothing, truly and as predicted."""
    event: dict[str, Columns] = {name: empty(name) for name in (*IMAGE, *TRUTH)}
    event |= {name: empty(name) for step in CHAIN for name in step.writes}
    num = len(coord)
    event["event"] = {**empty("event", 1), "energy_mev": np.array([0.1 * num])}
    event["voxel"] = {"coord": np.reshape(coord, (-1, 3)), "energy": np.full(num, 0.1)}
    event["truth_voxel"] = {**empty("truth_voxel", num), "semantic": np.full(num, semantic)}
    event["semantic"] = {
        **empty("semantic", num),
        "score": np.eye(5)[np.full(num, semantic)],
        "label": np.full(num, semantic),
    }
    event["affinity"] = empty("affinity", num)
    event["group"] = empty("group", num)
    return event


def standard_events() -> list[dict[str, Columns]]:
    """A good event, an empty one, one to quarantine, one of low-energy deposits only, and one voxel."""
    return [
        good_event(),
        quiet_event([]),
        good_event(),
        quiet_event([[1, 1, 1], [5, 5, 5]]),
        quiet_event([[3, 3, 3]], Semantic.TRACK),
    ]


QUARANTINED = 2
"""Entry of the standard events that `cluster` sets aside."""


WEIGHTS = {"segment": "5e", "cluster": "c1", "interact": "1e"}
"""Digests of the weights that the learned stages claim."""


def write_shard(
    root: Path,
    uid: str,
    events: list[dict[str, Columns]] | None = None,
    *,
    truth: tuple[str, ...] = TRUTH,
    not_ingested: Mapping[int, str] = MappingProxyType({}),
    choice: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write the files of a shard, one per step, and return them in the order of the chain.

    `not_ingested` are the entries that ingest set aside, with the reasons; `choice` is what it says of chosen events.
    """
    events = standard_events() if events is None else events
    written = [("ingest", IMAGE + truth), *((step.name, step.writes) for step in CHAIN)]
    paths = []
    for number, (step, products) in enumerate(written):
        path = root / "events" / step / f"{uid}.h5"
        attrs = provenance(step, 1, config={}, inputs=paths)
        if choice and step == "ingest":
            attrs[CHOICE] = json.dumps(choice)
        with EventWriter(path, products, file_uid=uid, box=BOX, attrs=attrs) as writer:
            for entry, event in enumerate(events):
                mine = {name: event[name] for name in products}
                if entry in not_ingested and step == "ingest":
                    writer.quarantine(entry, not_ingested[entry], mine)
                elif entry == QUARANTINED and step == "cluster":
                    nothing = {name: empty(name) for name in products}
                    nothing["group"] = empty("group", num_rows(event["voxel"]))
                    writer.quarantine(entry, "ValueError: drawn to fail", nothing)
                elif entry == QUARANTINED and step == "interact":
                    writer.append(entry, {name: empty(name) for name in products})
                else:
                    writer.append(entry, mine)
            writer.set_attribute("seconds", 2.0 * (number + 1))
            if step in WEIGHTS:
                writer.set_attribute("weights", WEIGHTS[step])
            writer.set_attribute("num_events", len(events))
            writer.set_attribute("num_voxels", sum(num_rows(event["voxel"]) for event in events))
        paths.append(path)
    return paths


def write_production(root: Path, uids: Sequence[str]) -> tuple[list[Path], list[Path], list[Path]]:
    """Write a production of standard shards, all but its dataset; return tables, figures and ingested files."""
    folders, figures, ingested = [], [], []
    for uid in uids:
        paths = write_shard(root, uid)
        folders.append(root / "tables" / uid)
        figures.append(root / "metrics" / "chain" / f"{uid}.parquet")
        summarize(paths, folders[-1], metrics=figures[-1])
        ingested.append(paths[0])
    (root / "config").mkdir(exist_ok=True)
    (root / "config" / "ingested.gather").write_text("\n".join(map(str, ingested)) + "\n")
    return folders, figures, ingested
