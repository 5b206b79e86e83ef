"""`lartpc collect`: join the tables of all shards into one dataset, and check that nothing was lost."""

import json
import math
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from lartpc import __version__
from lartpc.atomic import replacing
from lartpc.run.quality.pool import pool
from lartpc.run.summarize import EVENT_TABLES
from lartpc.store import open_events
from lartpc.tables import SCHEMA_VERSION, TABLES, schema
from lartpc.tables.metric_fields import INPUT
from lartpc.tables.write import ROW_GROUP

ROWS_PER_FILE = 1_000_000
"""Rows after which a new part file is begun: tens of megabytes, a comfortable piece for readers."""
_SHOWN = 5


@dataclass(frozen=True)
class _Shard:
    """What the check of one shard found: its name, rows per table, counts of events, and faults."""

    file_uid: str
    rows: Mapping[str, int]
    num_ok: int
    num_quarantined: int
    faults: tuple[str, ...]


def collect(
    shard_dirs: Sequence[Path],
    metric_files: Sequence[Path],
    ingest_files: Sequence[Path],
    out_dir: Path,
    *,
    num_workers: int = 1,
    rows_per_file: int = ROWS_PER_FILE,
) -> dict[str, Any]:
    """Write `out_dir/<table>/part-*.parquet` and `out_dir/summary.json`, and return the summary.

    Shards are checked and joined in parallel with dask, each task holding a row group or the keys of a
    shard at a time. The folder appears when it is complete and replaces an older one.

    Parameters
    ----------
    shard_dirs
        Folders that `lartpc summarize` wrote, one per shard.
    metric_files
        Files that `lartpc evaluate` wrote, any number per shard.
    ingest_files
        Event files that `lartpc ingest` wrote: what the tables must add up to.
    num_workers
        Threads; reading and writing parquet happens outside Python's lock.

    Raises
    ------
    ValueError
        A shard or an event is missing or twice, or a reference leads nowhere; the message names the shard.
    """
    scheduler = "threads" if num_workers > 1 else "synchronous"
    with dask.config.set(scheduler=scheduler, num_workers=num_workers):
        checks = [dask.delayed(_check_shard)(path) for path in shard_dirs]
        counts = [dask.delayed(_count_ingested)(path) for path in ingest_files]
        figures = [dask.delayed(_count_figures)(path) for path in metric_files]
        checked, counted, measured = dask.compute(checks, counts, figures)
        _compare(dict(counted), checked, measured)
        part_dir = out_dir.with_name(out_dir.name + ".part")
        shutil.rmtree(part_dir, ignore_errors=True)
        sources = {name: [path / f"{name}.parquet" for path in shard_dirs] for name in EVENT_TABLES}
        sources["metrics"] = list(metric_files)
        joins = [
            dask.delayed(_join)(name, tuple(group), part_dir / name / f"part-{number:05d}.parquet")
            for name, paths in sources.items()
            for number, group in enumerate(_pack(paths, rows_per_file))
        ]
        dask.compute(joins)
    summary = _summary(part_dir, checked)
    with replacing(part_dir / "summary.json") as part:
        part.write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n")
    _put_in_place(part_dir, out_dir)
    return summary


def read_summary(dataset_dir: Path) -> dict[str, Any]:
    """Read `summary.json` of a dataset, or raise ValueError saying how to make it."""
    path = dataset_dir / "summary.json"
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give the folder that 'lartpc collect' wrote")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


# -- checks ------------------------------------------------------------------------------------


def _count_ingested(path: Path) -> tuple[str, int]:
    with open_events(path) as events:
        return events.file_uid, len(events)


def _count_figures(path: Path) -> dict[str, int]:
    """Return the number of events of each shard that the chain's figures are there for."""
    found = pq.read_table(path, columns=["file_uid", "input"]).to_pandas()
    return Counter(found["file_uid"][found["input"] == INPUT[0]].tolist())


def _check_shard(folder: Path) -> _Shard:
    """Check the tables of one shard against each other."""
    keys: dict[str, pd.DataFrame] = {}
    for name in EVENT_TABLES:
        path = folder / f"{name}.parquet"
        if not path.is_file():
            raise ValueError(f"{path} does not exist; make it with 'lartpc summarize'")
        found = pq.read_schema(path)
        if not found.equals(schema(name), check_metadata=True):
            version = (found.metadata or {}).get(b"schema_version", b"none").decode()
            raise ValueError(
                f"{path} has other columns than table '{name}' {SCHEMA_VERSION} (it is of version "
                f"{version}); run 'lartpc summarize' again"
            )
        keys[name] = pq.read_table(path, columns=_needed(name)).to_pandas()
    events = keys["events"]
    uids = sorted(set(keys["throughput"]["file_uid"]))
    uid = uids[0] if len(uids) == 1 else f"{folder} ({len(uids)} file uids)"
    faults: list[str] = []
    for name, frame in keys.items():
        twice = frame.duplicated(list(TABLES[name].key))
        faults += _fault(frame[twice], f"{name}: rows with the same key")
        if "entry" in frame:
            faults += _fault(frame[~frame["entry"].isin(events["entry"])], f"{name}: no such event in events")
        for column, field in TABLES[name].fields.items():
            if field.refers_to:
                parent = keys[field.refers_to]
                at = pd.MultiIndex.from_frame(frame[["entry", column]])
                lost = (frame[column] >= 0) & ~at.isin(
                    pd.MultiIndex.from_frame(parent[["entry", _id(field.refers_to)]])
                )
                faults += _fault(frame[lost], f"{name}.{column}: not in {field.refers_to}")
    for name in _COUNTED:
        if (stated := int(events[f"num_{name}"].sum())) != len(keys[name]):
            faults.append(f"events.num_{name} add up to {stated}, but {name} has {len(keys[name])} rows")
    is_out = events["status"] == "quarantined"
    if set(events["entry"][is_out]) != set(keys["quarantine"]["entry"]):
        faults.append("events with status 'quarantined' and the rows of quarantine are not the same")
    rows = {name: len(frame) for name, frame in keys.items()}
    return _Shard(uid, rows, int((~is_out).sum()), int(is_out.sum()), tuple(faults))


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
        names += ["status", *(f"num_{name}" for name in _COUNTED)]
    return list(dict.fromkeys(names))


def _fault(rows: pd.DataFrame, what: str) -> list[str]:
    if rows.empty:
        return []
    entries = ", ".join(str(entry) for entry in rows.get("entry", rows.iloc[:, 0]).head(_SHOWN))
    return [f"{what} (entries {entries}{', ...' if len(rows) > _SHOWN else ''})"]


def _compare(
    ingested: Mapping[str, int], shards: Iterable[_Shard], measured: Iterable[Mapping[str, int]]
) -> None:
    """Raise ValueError unless every ingested event is in the tables once, and has figures if any have."""
    faults: list[str] = []
    seen: set[str] = set()
    figures: dict[str, int] = {}
    for counts in measured:
        figures |= counts
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
        elif total != expected:
            faults.append(
                f"{shard.file_uid}: {expected} events were ingested, but events has {total} rows "
                f"({shard.num_ok} ok, {shard.num_quarantined} quarantined)"
            )
    faults += [f"{uid}: was ingested but has no tables" for uid in ingested if uid not in seen]
    if faults:
        more = f"\n  ... and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise ValueError(
            "the tables do not add up; run 'lartpc summarize' again for these shards:\n  "
            + "\n  ".join(faults[:20])
            + more
        )


# -- joining -----------------------------------------------------------------------------------


def _pack(paths: Sequence[Path], rows_per_file: int) -> list[list[Path]]:
    """Group consecutive files up to a number of rows; always at least one group."""
    groups: list[list[Path]] = [[]]
    rows = 0
    for path in paths:
        size = pq.read_metadata(path).num_rows
        if groups[-1] and rows + size > rows_per_file:
            groups.append([])
            rows = 0
        groups[-1].append(path)
        rows += size
    return groups


def _join(table: str, paths: Sequence[Path], out: Path) -> None:
    """Copy the row groups of several files into one, small ones gathered to larger ones."""
    target = schema(table)
    with replacing(out) as part, pq.ParquetWriter(part, target, compression="zstd") as writer:
        waiting: list[pa.Table] = []
        for path in paths:
            with pq.ParquetFile(path) as file:
                for number in range(file.num_row_groups):
                    waiting.append(file.read_row_group(number).cast(target))
                    if sum(piece.num_rows for piece in waiting) >= ROW_GROUP:
                        writer.write_table(pa.concat_tables(waiting).unify_dictionaries())
                        waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting).unify_dictionaries())


def _put_in_place(part_dir: Path, out_dir: Path) -> None:
    """Give the finished folder its name; an older one makes room first."""
    old = out_dir.with_name(out_dir.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if out_dir.exists():
        out_dir.rename(old)
    part_dir.rename(out_dir)
    shutil.rmtree(old, ignore_errors=True)


# -- summary -----------------------------------------------------------------------------------


def _summary(dataset: Path, shards: Sequence[_Shard]) -> dict[str, Any]:
    throughput = pq.read_table(dataset / "throughput").to_pandas()
    steps = {}
    for step, rows in throughput.groupby("step", sort=False):
        timed = rows[rows["seconds"].notna()]
        seconds, voxels = float(timed["seconds"].sum()), int(timed["num_voxels"].sum())
        steps[str(step)] = {
            "seconds": seconds,
            "num_events": int(rows["num_events"].sum()),
            "num_voxels": int(rows["num_voxels"].sum()),
            "voxels_per_s": voxels / seconds if seconds else None,
            "weights": sorted(set(rows["weights"]) - {""}),
        }
    events = pq.read_table(dataset / "events", columns=["sample", "status", "num_voxels"])
    samples: dict[str, dict[str, int]] = {}
    grouped = events.group_by(["sample", "status"], use_threads=False).aggregate(
        [("num_voxels", "sum"), ("num_voxels", "count")]
    )
    for row in grouped.to_pylist():
        sample = samples.setdefault(row["sample"], {"events": 0, "quarantined": 0, "voxels": 0})
        sample["events"] += row["num_voxels_count"]
        sample["voxels"] += row["num_voxels_sum"]
        if row["status"] == "quarantined":
            sample["quarantined"] += row["num_voxels_count"]
    quarantine = pq.read_table(dataset / "quarantine", columns=["step", "reason"])
    reasons = quarantine.group_by(["step", "reason"], use_threads=False).aggregate([([], "count_all")])
    measured = ds.dataset(dataset / "metrics")
    found: dict[str, Any] = _plain(
        {
            "schema_version": SCHEMA_VERSION,
            "package_version": __version__,
            "num_shards": len(shards),
            "num_events": sum(shard.num_ok + shard.num_quarantined for shard in shards),
            "num_ok": sum(shard.num_ok for shard in shards),
            "num_quarantined": sum(shard.num_quarantined for shard in shards),
            "num_voxels": pc.sum(events["num_voxels"]).as_py() or 0,
            "rows": {name: sum(shard.rows[name] for shard in shards) for name in EVENT_TABLES}
            | {"metrics": measured.count_rows()},
            "samples": dict(sorted(samples.items())),
            "quarantine": [
                {"step": row["step"], "reason": row["reason"], "num_events": row["count_all"]}
                for row in reasons.to_pylist()
            ],
            "throughput": steps,
            "figures": pool(measured),
        }
    )
    return found


def _plain(value: Any) -> Any:
    """Turn what JSON cannot say, nan and infinity, into null."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
