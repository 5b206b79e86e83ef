"""One shard: from its sources over its event files to its tables. What is held is a block of events and the keys."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lartpc import config
from lartpc.choice import asked_for
from lartpc.ingest import open_sources
from lartpc.ingest.choose import choose
from lartpc.ingest.source import rows_of_image
from lartpc.provenance import digest
from lartpc.remote import is_url
from lartpc.run.audit.files import check_event_file, check_folder
from lartpc.run.audit.findings import Audited
from lartpc.run.guard import within
from lartpc.run.shards import TOLERANCE, check_shard
from lartpc.stages import CHAIN, OPTIONAL
from lartpc.store import CHOICE, NUM_PLANES, SOURCE_FILES, WEIGHTS_FILE, Events, content_of, open_events
from lartpc.tables.consistency import FLAGS
from lartpc.tables.write import read_table

STEPS = ("ingest", *(row.name for row in (*CHAIN, *OPTIONAL)))
COUNTED = {
    **{name: f"{name}s" for name in ("point", "fragment", "particle", "interaction")},
    **{
        f"truth_{name}": f"truth_{name}s"
        for name in ("point", "fragment", "particle", "interaction", "neutrino")
    },
    "truth_primary": "truth_primaries",
}
"""Products of which each row is a row of a table."""
_SHOWN = 5


def check_shard_of(results: Path, uid: str, *, with_sources: bool, nominal: Path | None = None) -> Audited:
    """Check the files of one shard, `sample/shard`, below a folder of results.

    That of a scenario has only what is its own: what it shares is below the `nominal` results, and checked there.
    """
    found = Audited()
    folder = results / "tables" / uid
    manifest = check_folder(folder, found)
    stated: Mapping[str, Any] = manifest["inputs"] if manifest else {}  # type: ignore[assignment]
    used = {}
    for step in STEPS:
        said = stated.get(f"{step} of {uid}", {})
        path = _own_or_shared(results, nominal, f"events/{step}/{uid}.h5", said.get("content", ""))
        if said or (path.is_file() and not nominal):
            used[step] = path
    own = {step: path for step, path in used.items() if path.is_relative_to(results)}
    sound = [
        check_event_file(path, found, stated.get(f"{step} of {uid}", {}).get("bytes", ""))
        for step, path in used.items()
        if step in own or not path.is_file()
    ]
    are_whole = not found.findings
    if not used or not all(sound):
        return found
    try:
        events = open_events(*used.values())
    except ValueError as error:  # what it was made from does not fit
        found.add(used.get("ingest", folder), str(error))
        return found
    with events:
        _check_origins(results, events, own, found)
        if manifest:
            _check_stated(folder, manifest, events, found)
        if with_sources and "ingest" in own:
            _check_sources(results, events, used, found, nominal or results)
        if are_whole:
            _check_rows(folder, events, used, found)
    return found


def _own_or_shared(results: Path, nominal: Path | None, path: str, content: str) -> Path:
    """Return where a file of a shard is: of a scenario its own, or the nominal one where that is what was read."""
    own = results / path
    if nominal is None:
        return own
    for one in (own, nominal / path):
        if one.is_file() and (content_of(one) or ("", ""))[1] == content:
            return one
    return own if own.is_file() or content else nominal / path


def _check_origins(results: Path, events: Events, used: Mapping[str, Path], found: Audited) -> None:
    """Note code and weights, and compare settings with those of the production."""
    for step, attrs in events.attributes().items():
        if step not in used:
            continue
        code = (
            f"{attrs['step_version']} {attrs.get('package_version', '')} {attrs.get('git_revision', '')[:9]}"
        )
        found.code.setdefault(step, set()).add(code.strip())
        if attrs.get("weights"):
            path = str(attrs.get(WEIGHTS_FILE, f"models/{step}/weights.pt"))
            found.weights.setdefault(step, set()).add((path, str(attrs["weights"])))
        _check_config(results, step, json.loads(str(attrs["config"])), used[step], found)


def _check_config(results: Path, step: str, taken: Any, file: Path, found: Audited) -> None:
    path = results / "config" / f"{step}.infer.json"
    if not path.is_file():
        return
    try:
        section = config.load_section(step, path)
    except ValueError:  # found with all settings
        return
    now = (
        section.model_dump(mode="json")
        if step in ("ingest", "summarize")
        else config.slice_of(section, "infer")
    )
    if other := [key for key in sorted({*now, *taken}) if now.get(key) != taken.get(key)]:
        found.add(path, f"{', '.join(other)} are not what {file} was made with", f"{step}.{other[0]}")


def _check_stated(folder: Path, manifest: Mapping[str, Any], events: Events, found: Audited) -> None:
    """Compare what tables say that they were made from with what there is."""
    for name, (path, content) in events.contents().items():
        if name not in manifest["inputs"]:
            found.add(folder, f"was made without {path}")
        elif manifest["inputs"][name]["content"] != content:
            found.add(path, f"says something else than what {folder} was made from")
    found.code.setdefault("summarize", set()).add(
        f"{manifest['step_version']} {manifest.get('package_version', '')} "
        f"{manifest.get('git_revision', '')[:9]}".strip()
    )
    _check_config(folder.parents[2], "summarize", manifest["config"], folder, found)


def located(results: Path, path: str) -> Path:
    """Return where a file is that a path of the production names: as it is, or beside the results."""
    given = Path(path)
    return next((one for one in (given, results.parent / given) if one.is_file()), given)


def _check_sources(
    results: Path, events: Events, used: Mapping[str, Path], found: Audited, nominal: Path
) -> None:
    """Compare the sources with their digests, and the energy of each of their events with what was ingested."""
    attrs = events.attributes()["ingest"]
    stated: dict[str, str] = json.loads(str(attrs["inputs"]))
    names = json.loads(str(attrs.get(SOURCE_FILES, "[]"))) or [f"steps/{events.file_uid}.h5"]
    steps = [folder / "steps" / f"{events.file_uid}.h5" for folder in (results, nominal)]
    if any(map(is_url, names)):
        # fetched for the job, and removed after it
        return
    moved = next((path for path in steps if path.is_file()), steps[0])
    paths = [moved if moved.is_file() and len(names) == 1 else located(results, name) for name in names]
    are_sound = True
    for name, path in zip(names, paths, strict=True):
        content = stated.get(name) or stated.get(Path(name).name)
        if not path.is_file():
            found.add(
                path,
                f"is missing: it is what {used['ingest']} was made from (--no-sources leaves sources out)",
            )
        elif digest(path) != content:
            found.add(path, f"was changed since {used['ingest']} was made from it")
        else:
            found.num_files += 1
            found.num_bytes += path.stat().st_size
            continue
        are_sound = False
    if not are_sound:
        return
    num_planes = int(attrs.get(NUM_PLANES, 1))
    set_aside = events.quarantined()
    with within(max(paths, key=lambda path: path.stat().st_size)):
        source = open_sources(paths)
    try:
        asked = json.loads(str(attrs.get(CHOICE, "{}"))).get("asked", [])
        chosen = choose(source, asked_for(",".join(asked))).entries
        if len(chosen) * num_planes != len(events):
            found.add(
                used["ingest"],
                f"has {len(events)} images, its sources have {len(chosen)} x {num_planes}"
                f"{' of those asked for' if asked else ''}",
                "entry",
            )
            return
        if (events.entries != np.add.outer(chosen * num_planes, np.arange(num_planes)).ravel()).any():
            found.add(used["ingest"], "has other entries than its sources give", "entry")
            return
        for event in events.stream(["event"]):
            if event.entry in set_aside and set_aside[event.entry][0] == "ingest":
                continue
            with within(source.path):
                rows = rows_of_image(source.read(event.entry // num_planes), event.entry % num_planes)
            mev = float(np.sum(rows.energy, dtype=np.float64))
            kept = float(event["event"]["energy_mev"][0])
            if abs(mev - kept) > TOLERANCE * max(mev, 1e-6):
                found.add(
                    used["ingest"],
                    f"entry {event.entry} has {kept:.6g} MeV, its source has {mev:.6g} MeV",
                    "event/energy_mev",
                )
    finally:
        source.close()


def _check_rows(folder: Path, events: Events, used: Mapping[str, Path], found: Audited) -> None:
    """Compare the rows of tables with the events that they were made from: which there are, and their energies."""
    try:
        shard = check_shard(folder)
    except ValueError as error:
        found.add(folder, str(error))
        return
    for fault in shard.faults:
        found.add(folder, fault)
    found.num_events += shard.num_ok + shard.num_quarantined
    found.num_quarantined += shard.num_quarantined
    columns = ["entry", "energy_mev", "energy_voxels_mev", "num_voxels", "status"]
    rows = read_table(folder / "events.parquet", columns).to_pandas()
    found.energy_mev += float(rows["energy_mev"].sum())
    found.energy_quarantined_mev += float(rows["energy_mev"][rows["status"] == "quarantined"].sum())
    if rows["entry"].tolist() != events.entries.tolist():
        lost = sorted(set(events.entries.tolist()) ^ set(rows["entry"]))
        found.add(
            folder / "events.parquet", f"has other entries than {used['ingest']}: {_some(lost)}", "entry"
        )
        return
    flags = read_table(folder / "particles.parquet", list(FLAGS))
    found.flags = {name: int(flags[name].to_numpy().sum()) for name in FLAGS}
    _check_quarantine(folder, rows, events, found)
    for product, table in COUNTED.items():
        if product in events.products:
            entry = read_table(folder / f"{table}.parquet", ["entry"])["entry"].to_numpy()
            num = np.bincount(np.searchsorted(events.entries, entry), minlength=len(events))
            if (bad := num != events.num_rows(product)).any():
                found.add(
                    folder / f"{table}.parquet",
                    f"entries {_some(events.entries[bad].tolist())} have other numbers of rows than '{product}' in "
                    "the event files",
                )
    for table, column, bad in _other_energies(folder, rows, events):
        found.add(
            folder / f"{table}.parquet",
            f"energies of entries {_some(bad)} are not those of their voxels",
            column,
        )


def _check_quarantine(folder: Path, rows: pd.DataFrame, events: Events, found: Audited) -> None:
    """Check that each event that was set aside is in quarantine with its step and reason, and no other one."""
    table = read_table(folder / "quarantine.parquet", ["entry", "step", "reason"]).to_pandas()
    there = {row.entry: (row.step, row.reason) for row in table.itertuples()}
    wanted = events.quarantined()
    if there != wanted:
        bad = [
            entry for entry in sorted(there.keys() | wanted.keys()) if there.get(entry) != wanted.get(entry)
        ]
        found.add(
            folder / "quarantine.parquet", f"entries {_some(bad)} are not set aside as in the event files"
        )
    if without := [entry for entry, (_, reason) in there.items() if not reason]:
        found.add(folder / "quarantine.parquet", f"entries {_some(without)} have no reason", "reason")
    for step, reason in there.values():
        found.reasons[f"{step}: {reason}"] = found.reasons.get(f"{step}: {reason}", 0) + 1


def _other_energies(folder: Path, rows: pd.DataFrame, events: Events) -> Iterator[tuple[str, str, list[int]]]:
    """Yield table, column and entries where energies are not the sums over the voxels of the event files."""
    particles = read_table(folder / "particles.parquet", ["entry", "particle_id", "energy_mev"]).to_pandas()
    of_entry = dict(iter(particles.groupby("entry")))
    has_group = "group" in events.products
    off: dict[str, list[int]] = {"energy_mev": [], "energy_voxels_mev": [], "num_voxels": [], "particles": []}
    stream = events.stream(["event", "voxel", *(["group"] if has_group else [])])
    for event, row in zip(stream, rows.itertuples(), strict=True):
        energy = event["voxel"]["energy"].astype(np.float64)
        if not _same(float(event["event"]["energy_mev"].sum()), row.energy_mev):
            off["energy_mev"].append(event.entry)
        if not _same(float(energy.sum()), row.energy_voxels_mev):
            off["energy_voxels_mev"].append(event.entry)
        if event.num_voxels != row.num_voxels:
            off["num_voxels"].append(event.entry)
        mine = of_entry.get(event.entry)
        if not has_group or mine is None:
            continue
        owner = event["group"]["particle"]
        if len(owner) != len(energy):
            continue
        sums = np.bincount(owner[owner >= 0], energy[owner >= 0], minlength=len(mine))[mine["particle_id"]]
        if not np.allclose(sums, mine["energy_mev"], rtol=TOLERANCE, atol=1e-4):
            off["particles"].append(event.entry)
    for column, bad in off.items():
        if bad:
            yield ("particles", "energy_mev", bad) if column == "particles" else ("events", column, bad)


def _same(one: float, other: float | None) -> bool:
    if other is None or np.isnan(other):
        return np.isnan(one) or one == 0
    return bool(abs(one - other) <= TOLERANCE * max(abs(one), 1e-6))


def _some(entries: list[int]) -> str:
    return ", ".join(map(str, entries[:_SHOWN])) + (", ..." if len(entries) > _SHOWN else "")
