"""`lartpc audit`: prove from the files of a production alone that nothing is lost, and say where a changed byte is.

Each shard is checked in a process of its own, which a damaged file may end: memory is that of one shard.
"""

from collections.abc import Callable, Iterable, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lartpc import config
from lartpc.faults import passes
from lartpc.paths import files_in
from lartpc.provenance import fingerprint
from lartpc.run.audit.crate import check_crate
from lartpc.run.audit.dataset import check_dataset, scenarios_of, uids_of
from lartpc.run.audit.files import check_event_file, check_folder
from lartpc.run.audit.findings import Audited, Finding
from lartpc.run.audit.record import NAME as RECORD
from lartpc.run.audit.record import check_record, digests_of_others, write_record
from lartpc.run.audit.shard import check_shard_of, located
from lartpc.run.collect import read_summary
from lartpc.run.guard import in_child
from lartpc.scenarios import FOLDER as SCENARIOS

_SHOWN = 15

__all__ = ["Audited", "Finding", "as_dict", "audit", "lines"]


EVENT_FOLDERS = ("events", "on_truth", "planes")
"""Folders of event files; `planes` has the images that 3D points are made of."""


def audit(
    results: Path, *, with_sources: bool = True, num_workers: int = 1, out: Path | None = None
) -> Audited:
    """Check all files of a production: events, tables, dataset, weights, settings and sources.

    Every event of the sources is in the tables once, or in quarantine with its step and reason; energies add
    up from sources over voxels to particles and events; keys and references of tables match; each file has
    the digest that those made from it state; the dataset has the rows of the shards.

    Parameters
    ----------
    with_sources
        Read the sources, too: whether they are what was ingested, and their energies. This takes the longest.
    num_workers
        Shards that are checked at a time.
    out
        File to write what is found to (JSON), with the digests of all files that no other states; `audit.json` in the
        folder is what later audits compare them with.

    Raises
    ------
    ValueError
        The folder has no tables.
    """
    if (results / "summary.json").is_file() and not (results / "tables").is_dir():
        return _audit_dataset(results)
    planned, there = uids_of(results)
    if not there and not planned:
        raise ValueError(f"{results} holds no tables of shards; give the folder of a production's results")
    found = Audited()
    for uid in planned:
        if uid not in there and not (results / "tables" / uid).is_dir():
            found.add(results / "tables" / uid, "is missing: the shard was planned")
    # Tables that are not planned are those of earlier sheets.
    uids = [uid for uid in planned or there if (results / "tables" / uid).is_dir()]
    work: list[tuple[str, Callable[[], Audited]]] = [
        (str(results / "tables" / uid), _of_shard(results, uid, with_sources)) for uid in uids
    ]
    known = set(uids)
    others = [path for path in _event_files(results) if not _is_of(path, known)]
    work_of: dict[str, list[tuple[str, Callable[[], Audited]]]] = {}
    for name, of_it in scenarios_of(results).items():
        own = results / SCENARIOS / name
        work_of[name] = [
            (str(own / "tables" / uid), _of_shard(own, uid, with_sources, results)) for uid in of_it
        ]
        others += [path for path in _event_files(own) if not _is_of(path, set(of_it))]
        _check_settings(own, found)
    work += [(str(path), _of_file(path)) for path in others]
    if planned or (results / "dataset").is_dir():
        work.append((str(results / "dataset"), lambda: check_dataset(results, planned)))
    with ThreadPoolExecutor(num_workers) as pool:
        for part in pool.map(lambda one: _checked(*one), work):
            found.join(part)
        varied = {name: _joined(pool.map(lambda one: _checked(*one), work_of[name])) for name in work_of}
    _check_settings(results, found)
    for one in (found, *varied.values()):
        _check_code(results, one)
        _check_weights(results, one)
    for one in varied.values():
        # the events are those of the nominal production again
        found.join(one.without_events())
    if out is None or out.absolute() != (results / RECORD).absolute():
        check_record(results, found, with_sources=with_sources)
    found.findings = sorted(set(found.findings))
    if out is not None:
        files = digests_of_others(results, set(_event_files(results)) - set(others))
        found.num_recorded = len(files)
        is_theirs = out.absolute() == (results / RECORD).absolute()
        write_record(out, results, as_dict(results, found), files, lines(results, found, is_theirs))
    return found


def as_dict(results: Path, found: Audited) -> dict[str, Any]:
    """Return what an audit says, as JSON can hold it."""
    return {
        "results": str(results),
        "num_files": found.num_files,
        "num_bytes": found.num_bytes,
        "num_events": found.num_events,
        "num_quarantined": found.num_quarantined,
        "energy_mev": found.energy_mev,
        "energy_quarantined_mev": found.energy_quarantined_mev,
        "quarantine": found.reasons,
        "flags": found.flags,
        "code": {step: sorted(code) for step, code in found.code.items()},
        "weights": {step: sorted(map(list, weights)) for step, weights in found.weights.items()},
        "findings": [{"file": one.file, "where": one.where, "what": one.what} for one in found.findings],
    }


def lines(results: Path, found: Audited, is_recorded: bool = False) -> list[str]:
    """Return what an audit says on one screen; `is_recorded` where it writes the record of the results itself."""
    num_ok = found.num_events - found.num_quarantined
    said = [
        f"{results}: {found.num_files} files, {found.num_bytes / 1e6:,.1f} MB",
        f"events      {found.num_events}: {num_ok} in all tables, {found.num_quarantined} in quarantine with their "
        "reason",
        f"energy      {found.energy_mev:,.1f} MeV, {found.energy_quarantined_mev:,.1f} MeV of it in quarantine",
    ]
    reasons = sorted(found.reasons.items(), key=lambda item: -item[1])
    said += [f"quarantine  {num} x {reason[:90]}" for reason, num in reasons[:3]]
    flags = [f"{num} {name.removeprefix('flag_')}" for name, num in found.flags.items() if num]
    said.append(f"flags       {', '.join(flags) or 'none'} (particles; docs/reference/tables.md)")
    said += [f"code        {step} {', '.join(sorted(code))}" for step, code in found.code.items()]
    said += [
        f"weights     {step} {digest[:12]} {path}"
        for step, weights in found.weights.items()
        for path, digest in sorted(weights)
    ]
    is_recorded = is_recorded or (results / RECORD).is_file()
    said.append(
        f"others      {found.num_recorded} by the digests in {results / RECORD}"
        if is_recorded
        else f"others      logs, pages and curves are not looked at: there is no {results / RECORD}"
    )
    said += [f"FINDING     {one}" for one in found.findings[:_SHOWN]]
    if len(found.findings) > _SHOWN:
        said.append(f"            and {len(found.findings) - _SHOWN} more (--json has all)")
    said.append(f"{len(found.findings) or 'no'} finding{'' if len(found.findings) == 1 else 's'}")
    return said


def _audit_dataset(dataset: Path) -> Audited:
    """Check a dataset by itself, wherever it is: its files by its manifest, and the provenance that it carries."""
    found = Audited()
    check_folder(dataset, found)
    check_crate(dataset, found)
    try:
        summary = read_summary(dataset)
        found.num_events, found.num_quarantined = summary["num_events"], summary["num_quarantined"]
        found.energy_mev = sum(one["energy_mev"] for one in summary["samples"].values())
        found.flags = dict(summary["flags"])
    except (ValueError, KeyError) as error:
        found.add(dataset / "summary.json", str(error))
    found.findings = sorted(set(found.findings))
    return found


def _joined(parts: Iterable[Audited]) -> Audited:
    found = Audited()
    for part in parts:
        found.join(part)
    return found


def _of_shard(
    results: Path, uid: str, with_sources: bool, nominal: Path | None = None
) -> Callable[[], Audited]:
    return lambda: check_shard_of(results, uid, with_sources=with_sources, nominal=nominal)


def _of_file(path: Path) -> Callable[[], Audited]:
    def work() -> Audited:
        found = Audited()
        check_event_file(path, found)
        return found

    return work


def _checked(name: str, work: Callable[[], Audited]) -> Audited:
    """Do work in a process of its own; what ends that is a finding, faults that pass are not."""
    try:
        return in_child(work, name)
    except Exception as error:
        if passes(error):
            raise
        found = Audited()
        found.add(name, f"{'' if isinstance(error, ValueError) else f'{type(error).__name__}: '}{error}")
        return found


def _event_files(results: Path) -> list[Path]:
    return sorted(path for name in EVENT_FOLDERS for path in files_in(results / name) if path.suffix == ".h5")


def _is_of(path: Path, uids: Set[str]) -> bool:
    """Tell whether an event file is one that tables are made from."""
    return f"{path.parent.name}/{path.stem}" in uids and path.parents[2].name == "events"


def _check_settings(results: Path, found: Audited) -> None:
    """Check that the settings of the production can be read; shards compare them with what they were made with."""
    for path in sorted((results / "config").glob("*.*.json")):
        found.num_files += 1
        found.num_bytes += path.stat().st_size
        try:
            config.load_section(path.name.split(".")[0], path)
        except (ValueError, KeyError) as error:
            found.add(path, str(error))


def _check_code(results: Path, found: Audited) -> None:
    for step, code in found.code.items():
        if len({one.split(" ")[0] for one in code}) > 1:
            found.add(
                results,
                f"shards of '{step}' were made by different versions of it: {', '.join(sorted(code))}",
            )


def _check_weights(results: Path, found: Audited) -> None:
    """Check the weights that stages took, and all those that were trained here."""
    stated = {path: "" for path in sorted((results / "models").glob("*/*.pt"))}
    for step, weights in found.weights.items():
        if len(weights) > 1:
            found.add(results, f"shards of '{step}' were made with different weights")
        for name, digest in weights:
            own = results / "models" / step / Path(name).name
            stated[own if own.is_file() else located(results, name)] = digest
    for path, digest in stated.items():
        if not path.is_file():
            found.add(path, f"is missing: a stage took these weights ({digest[:12]})")
            continue
        found.num_files += 1
        found.num_bytes += path.stat().st_size
        try:
            _, content = fingerprint(path)
        except ValueError as error:
            found.add(path, str(error))
            continue
        if digest and content != digest:
            found.add(path, f"are not the weights that the event files were made with ({digest[:12]})")
