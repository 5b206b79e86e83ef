"""`lartpc collect`: join the tables of all shards into one dataset, and check that nothing was lost."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from lartpc import __version__
from lartpc.atomic import replacing_folder
from lartpc.provenance import digest
from lartpc.run.accounts import chosen, compare, count_figures, count_ingested
from lartpc.run.quality.errors import bootstrap
from lartpc.run.quality.pool import pool
from lartpc.run.shards import ENERGIES, Shard, check_shard
from lartpc.run.summarize import EVENT_TABLES
from lartpc.tables import SCHEMA_VERSION, schema
from lartpc.tables.consistency import FLAGS
from lartpc.tables.manifest import NAME as MANIFEST
from lartpc.tables.manifest import read_manifest, write_manifest
from lartpc.tables.rows import sample_of
from lartpc.tables.write import ROW_GROUP, open_table, reading_table

ROWS_PER_FILE = 1_000_000
"""Rows after which a new part file is begun: tens of megabytes, a comfortable piece for readers."""
_SHOWN = 5


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
        A shard or an event is missing or twice, a reference leads nowhere, or no file has an event that was asked
        for; the message names the shard or the sample.
    """
    # only here: summaries are read without the extra
    import dask

    scheduler = "threads" if num_workers > 1 else "synchronous"
    with dask.config.set(scheduler=scheduler, num_workers=num_workers):
        checks = [dask.delayed(check_shard)(path) for path in shard_dirs]
        counts = [dask.delayed(count_ingested)(path) for path in ingest_files]
        figures = [dask.delayed(count_figures)(path) for path in metric_files]
        checked, counted, measured = dask.compute(checks, counts, figures)
        ingested = {one.file_uid: one for one in counted}
        compare(ingested, checked, measured)
        choices = chosen(counted)
        return _write(out_dir, shard_dirs, metric_files, ingest_files, checked, choices, rows_per_file)


def _write(
    out_dir: Path,
    shard_dirs: Sequence[Path],
    metric_files: Sequence[Path],
    ingest_files: Sequence[Path],
    checked: Sequence[Shard],
    choices: Mapping[str, Mapping[str, Any]],
    rows_per_file: int,
) -> dict[str, Any]:
    """Join the tables and write the summary and the manifest."""
    import dask

    with replacing_folder(out_dir) as part_dir:
        sources = {name: [path / f"{name}.parquet" for path in shard_dirs] for name in EVENT_TABLES}
        sources["metrics"] = list(metric_files)
        joins = [
            dask.delayed(_join)(name, tuple(group), part_dir / name / f"part-{number:05d}.parquet")
            for name, paths in sources.items()
            for number, group in enumerate(_pack(paths, rows_per_file))
        ]
        dask.compute(joins)
        summary = _summary(part_dir, checked) | {"chosen": choices}
        (part_dir / "summary.json").write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n")
        said = {
            "schema_version": SCHEMA_VERSION,
            # in the order of their rows
            "tables": _digests((path, path / MANIFEST) for path in shard_dirs),
            "metrics": _digests((path, path) for path in metric_files),
            "ingested": _digests((path, path) for path in ingest_files),
        }
        write_manifest(part_dir, said)
    return summary


def _digests(files: Iterable[tuple[Path, Path]]) -> list[dict[str, str]]:
    """Return what a manifest says of each path: it, and the digest of a file that stands for it."""
    return [{"path": str(path), "digest": digest(file)} for path, file in files]


def read_summary(dataset_dir: Path) -> dict[str, Any]:
    """Read `summary.json` of a dataset, or raise ValueError saying how to make it."""
    path = dataset_dir / "summary.json"
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give the folder that 'lartpc collect' wrote")
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); run 'lartpc collect' again") from error
    if (dataset_dir / MANIFEST).is_file():
        written = read_manifest(dataset_dir, "run 'lartpc collect' again")["files"].get(path.name)
        if written != digest(path):
            raise ValueError(f"{path} is damaged: it is not what was written; run 'lartpc collect' again")
    return found


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
    out.parent.mkdir(exist_ok=True)
    with open_table(out, table) as writer:
        waiting: list[pa.Table] = []
        for path in paths:
            with reading_table(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
                for number in range(file.num_row_groups):
                    waiting.append(file.read_row_group(number).cast(target))
                    if sum(piece.num_rows for piece in waiting) >= ROW_GROUP:
                        writer.write_table(pa.concat_tables(waiting).unify_dictionaries())
                        waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting).unify_dictionaries())


# -- summary -----------------------------------------------------------------------------------


def _summary(dataset: Path, shards: Sequence[Shard]) -> dict[str, Any]:
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
    columns = ["energy_mev", *ENERGIES]
    events = pq.read_table(dataset / "events", columns=["sample", "status", "num_voxels", *columns])
    nothing = {"events": 0, "quarantined": 0, "voxels": 0} | {name: 0.0 for name in columns}
    # Also those without an event, which have no row anywhere.
    samples: dict[str, dict[str, Any]] = {sample_of(shard.file_uid): dict(nothing) for shard in shards}
    grouped = events.group_by(["sample", "status"], use_threads=False).aggregate(
        [("num_voxels", "sum"), ("num_voxels", "count"), *((name, "sum") for name in columns)]
    )
    for row in grouped.to_pylist():
        sample = samples.setdefault(row["sample"], dict(nothing))
        sample["events"] += row["num_voxels_count"]
        sample["voxels"] += row["num_voxels_sum"]
        if row["status"] == "quarantined":
            sample["quarantined"] += row["num_voxels_count"]
        else:
            for name in columns:
                sample[name] += row[f"{name}_sum"] or 0.0
    quarantine = pq.read_table(dataset / "quarantine", columns=["step", "reason"])
    reasons = quarantine.group_by(["step", "reason"], use_threads=False).aggregate([([], "count_all")])
    measured = ds.dataset(dataset / "metrics")
    figures = pool(measured)
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
            "warnings": _warnings(throughput),
            "flags": _flags(dataset),
            "figures": figures,
            "errors": bootstrap(measured, figures),
        }
    )
    return found


def _flags(dataset: Path) -> dict[str, int]:
    """Return the number of particles with each flag."""
    sums = {name: 0 for name in FLAGS}
    for batch in ds.dataset(dataset / "particles").to_batches(columns=list(FLAGS)):
        for name in FLAGS:
            sums[name] += pc.sum(batch[name]).as_py() or 0
    return sums


def _warnings(throughput: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what steps warned of, with the number of shards of each sample."""
    said = throughput[throughput["warnings"] != ""]
    # Numbers differ from shard to shard: of like ones, the first stands for all.
    kind = said["warnings"].str.replace(r"\d+(\.\d+)?", "N", regex=True)
    return [
        {
            "sample": sample,
            "step": step,
            "warning": str(rows["warnings"].iloc[0]),
            "num_shards": len(rows),
        }
        for (sample, step, _), rows in said.groupby(["sample", "step", kind], sort=False)
    ]


def _plain(value: Any) -> Any:
    """Turn what JSON cannot say, nan and infinity, into null."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
