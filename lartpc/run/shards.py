"""The tables of one shard, checked against each other: keys, references, counts and energies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from lartpc.run.summarize import EVENT_TABLES
from lartpc.tables import SCHEMA_VERSION, TABLES, schema
from lartpc.tables.manifest import changed, read_manifest
from lartpc.tables.write import read_table, reading_table

TOLERANCE = 1e-4
"""Largest relative difference of energies that add up: those of voxels are in single precision."""
_SHOWN = 5
_REMEDY = "run 'lartpc summarize' again"


@dataclass(frozen=True)
class Shard:
    """What the check of one shard found: its name, rows per table, counts of events, energies, and faults.

    `made_from` has the content digest of each event file by its name; `energy_mev` is that of the source.
    """

    file_uid: str
    rows: Mapping[str, int]
    num_ok: int
    num_quarantined: int
    faults: tuple[str, ...]
    energy_mev: float = 0.0
    made_from: Mapping[str, str] = field(default_factory=dict)


def check_shard(folder: Path) -> Shard:
    """Check the tables of one shard against their manifest and each other.

    Raises
    ------
    ValueError
        A file is missing, damaged, or of another version.
    """
    keys: dict[str, pd.DataFrame] = {}
    manifest = read_manifest(folder, _REMEDY)
    if damage := changed(folder, manifest):
        raise ValueError(
            "; ".join(f"{folder / name}: {what}" for name, what in damage.items()) + f"; {_REMEDY}"
        )
    for name in EVENT_TABLES:
        path = folder / f"{name}.parquet"
        with reading_table(path):
            found = pq.read_schema(path)
        if not found.equals(schema(name), check_metadata=True):
            version = (found.metadata or {}).get(b"schema_version", b"none").decode()
            raise ValueError(
                f"{path} has other columns than table '{name}' {SCHEMA_VERSION} (it is of version "
                f"{version}); {_REMEDY}"
            )
        keys[name] = read_table(path, _needed(name)).to_pandas()
    events = keys["events"]
    uids = sorted(set(keys["throughput"]["file_uid"]))
    uid = uids[0] if len(uids) == 1 else f"{folder} ({len(uids)} file uids)"
    faults: list[str] = []
    for name, frame in keys.items():
        twice = frame.duplicated(list(TABLES[name].key))
        faults += _fault(frame[twice], f"{name}: rows with the same key")
        if "entry" in frame:
            faults += _fault(frame[~frame["entry"].isin(events["entry"])], f"{name}: no such event in events")
        for column, what in TABLES[name].fields.items():
            if what.refers_to:
                parent = keys[what.refers_to]
                at = pd.MultiIndex.from_frame(frame[["entry", column]])
                lost = (frame[column] >= 0) & ~at.isin(
                    pd.MultiIndex.from_frame(parent[["entry", _id(what.refers_to)]])
                )
                faults += _fault(frame[lost], f"{name}.{column}: not in {what.refers_to}")
    for name in _COUNTED:
        if (stated := int(events[f"num_{name}"].sum())) != len(keys[name]):
            faults.append(f"events.num_{name} add up to {stated}, but {name} has {len(keys[name])} rows")
    is_out = events["status"] == "quarantined"
    if set(events["entry"][is_out]) != set(keys["quarantine"]["entry"]):
        faults.append("events with status 'quarantined' and the rows of quarantine are not the same")
    faults += energy_faults(events[~is_out], keys["particles"], keys["interactions"])
    rows = {name: len(frame) for name, frame in keys.items()}
    made_from = {name: str(one["content"]) for name, one in manifest["inputs"].items()}
    energy_mev = float(events["energy_mev"].fillna(0).sum())
    return Shard(uid, rows, int((~is_out).sum()), int(is_out.sum()), tuple(faults), energy_mev, made_from)


def energy_faults(events: pd.DataFrame, particles: pd.DataFrame, interactions: pd.DataFrame) -> list[str]:
    """Say where energies do not add up: of an event, of its particles in it, of an interaction's particles."""
    counted = events[list(ENERGIES)].sum(axis=1)
    scale = events[["energy_mev", *ENERGIES]].abs().max(axis=1)
    is_off = ~((counted - events["energy_mev"]).abs() <= TOLERANCE * scale)
    faults = _fault(events[is_off], "events: energies do not add up to energy_mev")
    faults += _fault(
        particles[~(particles["energy_mev"] >= 0)], "particles: energy_mev is negative or unknown"
    )
    inside = events.set_index("entry")["energy_voxels_mev"]
    held = particles.groupby("entry")["energy_mev"].sum()
    over = held[held > inside.reindex(held.index).fillna(0) * (1 + TOLERANCE)]
    faults += _fault(over.reset_index(), "particles: more energy than the voxels of their event")
    of = ["entry", "interaction_id"]
    parts = particles[particles["interaction_id"] >= 0].groupby(of)["energy_mev"].sum()
    whole = interactions.set_index(of)["energy_mev"]
    parts = parts.reindex(whole.index).fillna(0)
    is_off = ~((parts - whole).abs() <= TOLERANCE * whole.abs().clip(lower=1e-6))
    return faults + _fault(
        whole[is_off].reset_index(), "interactions: energy_mev is not that of their particles"
    )


ENERGIES = ("energy_voxels_mev", "energy_outside_mev", "energy_below_mev", "energy_lost_mev")
"""Columns of `events` that add up to `energy_mev`."""


_COUNTED = (
    *("points", "fragments", "particles", "interactions"),
    *("truth_points", "truth_fragments", "truth_particles", "truth_interactions"),
    "truth_neutrinos",
)
"""Tables whose rows are counted in `events`, too."""


def _id(table: str) -> str:
    return TABLES[table].key[-1]


def _needed(table: str) -> list[str]:
    """Return the columns that the checks look at."""
    fields = TABLES[table].fields
    names = [*TABLES[table].key, *(name for name, field in fields.items() if field.refers_to)]
    if table == "events":
        names += ["status", "energy_mev", *ENERGIES, *(f"num_{name}" for name in _COUNTED)]
    if table == "particles":
        names += ["energy_mev", "interaction_id"]
    if table == "interactions":
        names += ["energy_mev"]
    return list(dict.fromkeys(names))


def _fault(rows: pd.DataFrame, what: str) -> list[str]:
    if rows.empty:
        return []
    entries = ", ".join(str(entry) for entry in rows.get("entry", rows.iloc[:, 0]).head(_SHOWN))
    return [f"{what} (entries {entries}{', ...' if len(rows) > _SHOWN else ''})"]
