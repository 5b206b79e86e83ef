"""What the tables of a production must add up to: the events that were ingested, their energies, and their figures."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from lartpc.run.shards import Shard
from lartpc.store import CHOICE, content_of, open_events
from lartpc.tables.metric_fields import INPUT
from lartpc.tables.rows import sample_of
from lartpc.tables.write import PROVENANCE, read_figures, reading_table

_SHOWN = 20


@dataclass(frozen=True)
class Ingested:
    """What tables must add up to: the events of a shard, their energy, and the digest of what their file says.

    `choice` is what was asked for of its files, where not all; see `store.CHOICE`. `sources` has the digest of each
    file that it was ingested from, by its name.
    """

    file_uid: str
    num_events: int
    energy_mev: float
    content: str
    choice: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


def count_ingested(path: Path) -> Ingested:
    """Return what the tables of an ingested file must add up to."""
    with open_events(path) as events:
        energy_mev = sum(float(event["event"]["energy_mev"].sum()) for event in events.stream(["event"]))
        attrs = events.attributes()["ingest"]
        choice, sources = (json.loads(str(attrs.get(name, "{}"))) for name in (CHOICE, "inputs"))
        return Ingested(
            events.file_uid, len(events), energy_mev, (content_of(path) or ("", ""))[1], choice, sources
        )


@dataclass(frozen=True)
class Figures:
    """What a file of figures is of: the events of each shard that went through the chain, and its origin.

    `kinds` are the shards with what the figures are of, of which no other file may have any.
    """

    path: Path
    counts: Mapping[str, int]
    made_from: Mapping[str, str]
    kinds: frozenset[tuple[str, str, str]]


def count_figures(path: Path) -> Figures:
    """Return what the figures of a file are of."""
    found = read_figures(path, ["file_uid", "input", "stages"]).to_pandas()
    counts = Counter(found["file_uid"][found["input"] == INPUT[0]].tolist())
    kinds = frozenset(found.drop_duplicates().itertuples(index=False, name=None))
    with reading_table(path):
        footer = pq.read_metadata(path)
    said = json.loads((footer.metadata or {}).get(PROVENANCE.encode(), b"{}"))
    made_from = {name: one["content"] for name, one in said.get("inputs", {}).items()}
    return Figures(path, counts, made_from, kinds)


def compare(counted: Iterable[Ingested], shards: Sequence[Shard], measured: Iterable[Figures]) -> None:
    """Raise ValueError unless every ingested event is in the tables once, with its energy, and its figures fit."""
    faults: list[str] = []
    seen: set[str] = set()
    figures: dict[str, int] = {}
    ingested: dict[str, Ingested] = {}
    for one in counted:
        if one.file_uid in ingested:
            faults.append(f"{one.file_uid}: its ingested event file is given twice")
        ingested[one.file_uid] = one
    origins = {name: content for shard in shards for name, content in shard.made_from.items()}
    measured_by: dict[tuple[str, str, str], Path] = {}
    for found in measured:
        figures |= found.counts
        # On true input stages are run by themselves, and their files are not those of the tables.
        names = [name for name in found.made_from if found.counts or name.startswith("ingest of ")]
        if other := [
            name for name in names if origins.get(name, found.made_from[name]) != found.made_from[name]
        ]:
            faults.append(
                f"{found.path} was made from another '{other[0]}' than the tables; run 'lartpc evaluate' again"
            )
        if twice := sorted(found.kinds & measured_by.keys()):
            uid, source, _ = twice[0]
            faults.append(
                f"{uid}: its figures on input '{source}' are given twice, by {measured_by[twice[0]]} and "
                f"{found.path}"
            )
        measured_by |= dict.fromkeys(found.kinds, found.path)
    for shard in shards:
        if figures.get(shard.file_uid, shard.num_ok) != shard.num_ok:
            faults.append(
                f"{shard.file_uid}: {shard.num_ok} events went through the chain, but metrics has "
                f"{figures[shard.file_uid]}; run 'lartpc evaluate' again"
            )
        faults += [f"{shard.file_uid}: {fault}" for fault in shard.faults]
        if shard.file_uid in seen:
            faults.append(f"{shard.file_uid}: its tables are given twice")
        seen.add(shard.file_uid)
        total = shard.num_ok + shard.num_quarantined
        expected = ingested.get(shard.file_uid)
        if expected is None:
            faults.append(f"{shard.file_uid}: has tables but no ingested event file")
            continue
        if shard.made_from.get(f"ingest of {shard.file_uid}") != expected.content:
            faults.append(f"{shard.file_uid}: its events were ingested again since its tables were made")
        elif abs(shard.energy_mev - expected.energy_mev) > 1e-9 * abs(expected.energy_mev):
            faults.append(
                f"{shard.file_uid}: {expected.energy_mev:.9g} MeV were ingested, but events has "
                f"{shard.energy_mev:.9g} MeV"
            )
        if total != expected.num_events:
            faults.append(
                f"{shard.file_uid}: {expected.num_events} events were ingested, but events has {total} rows "
                f"({shard.num_ok} ok, {shard.num_quarantined} quarantined)"
            )
    faults += [f"{uid}: was ingested but has no tables" for uid in ingested if uid not in seen]
    faults += [f"{uid}: has metrics but no tables" for uid in figures if uid not in seen]
    if faults:
        more = f"\n  ... and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise ValueError(
            "the tables do not add up; run 'lartpc summarize' again for these shards:\n  "
            + "\n  ".join(faults[:_SHOWN])
            + more
        )


def chosen(ingested: Iterable[Ingested]) -> dict[str, dict[str, Any]]:
    """Return, for each sample of which events were chosen, what was asked for, how many there are, and of how many.

    Raises
    ------
    ValueError
        Something was asked for that none of the files of a sample has.
    """
    found: dict[str, dict[str, Any]] = {}
    missing: dict[str, set[str]] = {}
    for one in ingested:
        if not one.choice:
            continue
        sample = sample_of(one.file_uid)
        entry = found.setdefault(sample, {"asked": one.choice["asked"], "num_events": 0, "num_in_files": 0})
        entry["num_events"] += one.num_events
        entry["num_in_files"] += one.choice["num_in_files"]
        lacks = set(one.choice["missing"])
        missing[sample] = missing.get(sample, lacks) & lacks
    if lost := [
        f"{sample}: {', '.join(sorted(names)[:_SHOWN])}" for sample, names in missing.items() if names
    ]:
        raise ValueError(
            "events were asked for that no file of the sample has; take them out of the sample sheet:\n  "
            + "\n  ".join(lost)
        )
    return found
