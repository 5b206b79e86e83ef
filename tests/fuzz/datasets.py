"""A collected dataset, any file of which is changed: the audit names it, and no verb takes it for good."""

import contextlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from handmade import write_production

from lartpc import config
from lartpc.run.audit import audit
from lartpc.run.collect import collect
from lartpc.run.report import report, show
from lartpc.run.report.compare import compare

UIDS = ("beam/0000", "other/0000")
_GOOD: dict[str, Any] = {}


def make_dataset(path: Path) -> None:
    """Collect two shards; the file holds those of the dataset one after the other."""
    root = path.parent / "production"
    folders, figures, ingested = write_production(root, UIDS)
    folder = root / "dataset"
    collect(folders, figures, ingested, folder)
    files = sorted(one for one in folder.rglob("*") if one.is_file())
    _GOOD["folder"] = folder
    _GOOD["files"] = {str(one.relative_to(folder)): one.read_bytes() for one in files}
    path.write_bytes(b"".join(_GOOD["files"].values()))
    _GOOD["said"] = [_text(verb, folder, path.parent / f"said.{number}") for number, verb in enumerate(VERBS)]


def _report(folder: Path, out: Path) -> None:
    report(folder, [], [], out / "report.html", config.Report())


def _compare(folder: Path, out: Path) -> None:
    compare(folder, folder, out, num_replicas=2, is_quiet=True)


# Pages are made of what compare and show read, too, and take ten times as long.
SHARE = 48
"""Of so many cases, one is reported, two are compared, and twelve are shown; the others are audited only."""
VERBS: tuple[Callable[[Path, Path], None], ...] = (_report, _compare, lambda folder, _: show(folder))


def _text(verb: Callable[[Path, Path], None], folder: Path, out: Path) -> str:
    """Return what a verb says of a dataset, without what goes with the time and the place."""
    out.mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        verb(folder, out)
    page = "".join(one.read_text() for one in sorted(out.rglob("*")) if one.suffix in (".json", ".html"))
    lines = (printed.getvalue() + page).replace(str(folder), "DATASET").splitlines()
    return "\n".join(line for line in lines if " UTC" not in line)


def use_dataset(path: Path, folder: Path) -> None:
    """Audit the dataset that the changed file is, and give it to a verb: report, compare or show."""
    content, dataset, at = path.read_bytes(), path.parent / "dataset", 0
    wrong = []
    for name, good in _GOOD["files"].items():
        piece, at = content[at : at + len(good)], at + len(good)
        where = dataset / name
        where.parent.mkdir(parents=True, exist_ok=True)
        if piece == good:
            os.link(_GOOD["folder"] / name, where)
            continue
        where.write_bytes(piece)
        if not (name.endswith(".json") and _same_json(piece, good)):
            wrong.append(where)
    named = {Path(one.file) for one in audit(dataset).findings}
    missed = [one for one in wrong if one not in named and dataset / "manifest.json" not in wrong]
    assert not missed, f"the audit does not name {missed}, but {named}"
    case = sum(content) % SHARE
    number = 0 if case == 0 else 1 if case < 3 else 2
    if number == 2 and case % 4:
        if wrong:
            raise ValueError(f"{path}: the audit names {wrong}")
        return
    try:
        said = _text(VERBS[number], dataset, path.parent / "said")
    except ValueError as error:
        assert any(str(one) in str(error) for one in wrong), f"{wrong} are not named: {error}"
        raise ValueError(f"{path}: {error}") from error
    assert said == _GOOD["said"][number], f"{wrong}: something else is said"


def _same_json(one: bytes, other: bytes) -> bool:
    """Tell whether two texts say the same: white space of JSON says nothing."""
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False
