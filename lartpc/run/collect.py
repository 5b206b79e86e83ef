"""`lartpc collect`: join the tables of all shards into one dataset, and check that nothing was lost."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from lartpc import __version__
from lartpc.atomic import replacing_folder
from lartpc.provenance import digest
from lartpc.run.accounts import Figures, Ingested, chosen, compare, count_figures, count_ingested
from lartpc.run.crate import KEY as PRODUCTION
from lartpc.run.crate import identity, write_crate
from lartpc.run.quality.errors import bootstrap
from lartpc.run.quality.pool import pool
from lartpc.run.shards import ENERGIES, Shard, check_shard
from lartpc.run.summarize import EVENT_TABLES
from lartpc.steady import Steady
from lartpc.tables import SCHEMA_VERSION, schema
from lartpc.tables.consistency import FLAGS
from lartpc.tables.manifest import NAME as MANIFEST
from lartpc.tables.manifest import read_manifest, write_manifest
from lartpc.tables.rows import sample_of
from lartpc.tables.scenarios import NOMINAL, of_scenario, scenario_of, table_folder
from lartpc.tables.write import ROW_GROUP, open_table, read_table, reading_table
from lartpc.text import text_of

SUMMARY = "summary.json"
ROWS_PER_FILE = 1_000_000
"""Rows after which a new part file is begun: tens of megabytes, a comfortable piece for readers."""
_SHOWN = 5


class Parts(NamedTuple):
    """What a dataset is made from: folders of `lartpc summarize`, files of `lartpc evaluate` and of `lartpc ingest`."""

    tables: Sequence[Path]
    metrics: Sequence[Path]
    ingested: Sequence[Path]


class Looked(NamedTuple):
    """What was found in each of `Parts`."""

    tables: Sequence[Shard]
    metrics: Sequence[Figures]
    ingested: Sequence[Ingested]


def collect(
    shard_dirs: Sequence[Path],
    metric_files: Sequence[Path],
    ingest_files: Sequence[Path],
    out_dir: Path,
    *,
    num_workers: int = 1,
    rows_per_file: int = ROWS_PER_FILE,
    scenarios: Mapping[str, Parts] = MappingProxyType({}),
    configuration: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Write `out_dir/<table>/part-*.parquet` and `out_dir/summary.json`, and return the summary.

    With scenarios, each table has a folder `scenario=NAME` for each of them and for the nominal production, and the
    summary has theirs under `scenarios`.

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
    scenarios
        What each scenario is collected from, by its name; see `lartpc.scenarios`.
    configuration
        Settings of all steps, for the record that the dataset carries; see `lartpc.run.crate`.

    Raises
    ------
    ValueError
        A shard or an event is missing or twice, a reference leads nowhere, or no file has an event that was asked
        for; the message names the shard or the sample.
    """
    # only here: summaries are read without the extra
    import dask

    scheduler = "threads" if num_workers > 1 else "synchronous"
    parts = {"": Parts(shard_dirs, metric_files, ingest_files)}
    if scenarios:
        parts = {NOMINAL: parts[""], **scenarios}
    steady = Steady(
        path
        for one in parts.values()
        for path in (*(folder / MANIFEST for folder in one.tables), *one.metrics, *one.ingested)
    )
    with dask.config.set(scheduler=scheduler, num_workers=num_workers):
        # What scenarios share is looked at once.
        each = [
            list(dict.fromkeys(path for one in parts.values() for path in one[kind])) for kind in range(3)
        ]
        work = zip((check_shard, count_figures, count_ingested), each, strict=True)
        done = dask.compute([[dask.delayed(look)(path) for path in paths] for look, paths in work])[0]
        known = [dict(zip(paths, found, strict=True)) for paths, found in zip(each, done, strict=True)]
        looked = {
            name: Looked(*([known[kind][path] for path in one[kind]] for kind in range(3)))
            for name, one in parts.items()
        }
        for name, one in looked.items():
            try:
                compare(one.ingested, one.tables, one.metrics)
            except ValueError as error:
                raise ValueError(f"scenario '{name}': {error}" if name else str(error)) from None
        return _write(out_dir, parts, looked, rows_per_file, dict(configuration), steady)


def _write(
    out_dir: Path,
    parts: Mapping[str, Parts],
    looked: Mapping[str, Looked],
    rows_per_file: int,
    configuration: Mapping[str, Any],
    steady: Steady,
) -> dict[str, Any]:
    """Join the tables and write the summary, the crate and the manifest."""
    import dask

    inputs = {
        f"{shard.file_uid}: {name}": content
        for one in looked.values()
        for shard in one.ingested
        for name, content in shard.sources.items()
    }
    production = identity(configuration, _weights(parts.values()), inputs)
    with replacing_folder(out_dir, SUMMARY) as part_dir:
        joins = []
        for scenario, one in parts.items():
            sources = {name: [path / f"{name}.parquet" for path in one.tables] for name in EVENT_TABLES}
            sources["metrics"] = list(one.metrics)
            for name, paths in sources.items():
                folder = table_folder(of_scenario(part_dir, scenario), name)
                folder.mkdir(parents=True)
                joins += [
                    dask.delayed(_join)(
                        name, tuple(group), folder / f"part-{number:05d}.parquet", production["id"]
                    )
                    for number, group in enumerate(_pack(paths, rows_per_file))
                ]
        dask.compute(joins)
        summaries = {
            scenario: _summary(of_scenario(part_dir, scenario), one.tables) | {"chosen": chosen(one.ingested)}
            for scenario, one in looked.items()
        }
        nominal, *others = summaries
        summary = {**summaries[nominal], PRODUCTION: production}
        said: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **_made_from(parts[nominal])}
        if others:
            summary["scenarios"] = {name: summaries[name] for name in others}
            said["scenarios"] = {name: _made_from(parts[name]) for name in others}
        (part_dir / SUMMARY).write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n")
        write_crate(part_dir, production, configuration=configuration, inputs=inputs, summary=summary)
        steady.check()
        write_manifest(part_dir, said)
    return summary


def _weights(parts: Iterable[Parts]) -> dict[str, list[str]]:
    """Return the digests of the weights that each step took."""
    found: dict[str, set[str]] = {}
    for folder in dict.fromkeys(path for one in parts for path in one.tables):
        rows = read_table(folder / "throughput.parquet", ["step", "weights"]).to_pydict()
        for step, weights in zip(rows["step"], rows["weights"], strict=True):
            if weights:
                found.setdefault(str(step), set()).add(weights)
    return {step: sorted(weights) for step, weights in found.items()}


def _made_from(parts: Parts) -> dict[str, list[dict[str, str]]]:
    """Return what a manifest says of the files that were collected, in the order of their rows."""
    return {
        "tables": _digests((path, path / MANIFEST) for path in parts.tables),
        "metrics": _digests((path, path) for path in parts.metrics),
        "ingested": _digests((path, path) for path in parts.ingested),
    }


def _digests(files: Iterable[tuple[Path, Path]]) -> list[dict[str, str]]:
    """Return what a manifest says of each path: it, and the digest of a file that stands for it."""
    return [{"path": str(path), "digest": digest(file)} for path, file in files]


def read_summary(dataset_dir: Path) -> dict[str, Any]:
    """Read `summary.json` of a dataset, or of the scenario that the path names; ValueError says how to make it."""
    dataset_dir, scenario = scenario_of(dataset_dir)
    path = dataset_dir / SUMMARY
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give the folder that 'lartpc collect' wrote")
    try:
        found: dict[str, Any] = json.loads(text_of(path))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); run 'lartpc collect' again") from error
    if (dataset_dir / MANIFEST).is_file():
        written = read_manifest(dataset_dir, "run 'lartpc collect' again")["files"].get(path.name)
        if written != digest(path):
            raise ValueError(f"{path} is damaged: it is not what was written; run 'lartpc collect' again")
    if scenario in ("", NOMINAL):
        return found
    scenarios: dict[str, dict[str, Any]] = found.get("scenarios", {})
    if scenario not in scenarios:
        known = f"its scenarios are {', '.join(scenarios)}" if scenarios else "it has none"
        raise ValueError(f"{dataset_dir} has no scenario '{scenario}'; {known}")
    return scenarios[scenario]


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


def _join(table: str, paths: Sequence[Path], out: Path, production: str) -> None:
    """Copy the row groups of several files into one, small ones gathered to larger ones."""
    target = schema(table)
    with open_table(out, table) as writer:
        writer.add_key_value_metadata({PRODUCTION: production})
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
    throughput = pq.read_table(table_folder(dataset, "throughput")).to_pandas()
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
    events = pq.read_table(
        table_folder(dataset, "events"), columns=["sample", "status", "num_voxels", *columns]
    )
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
    quarantine = pq.read_table(table_folder(dataset, "quarantine"), columns=["step", "reason"])
    reasons = quarantine.group_by(["step", "reason"], use_threads=False).aggregate([([], "count_all")])
    measured = ds.dataset(table_folder(dataset, "metrics"))
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
    for batch in ds.dataset(table_folder(dataset, "particles")).to_batches(columns=list(FLAGS)):
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
