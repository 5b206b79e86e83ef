"""`lartpc classes`: the classes of one's own that `classify` gave images, against the truth.

Shape suffix: K classes.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.atomic import replacing
from lartpc.run.report.statistics import wilson
from lartpc.stages.classify import class_of
from lartpc.store import Events, open_events
from lartpc.vocab import NONE

TITLE = "# Images by class"

READS = ("voxel", "truth_voxel", "truth_particle", "image")
MAY_READ = ("truth_primary", "truth_neutrino")

PUBLISHED = {
    11: "77.8 ± 0.7 %",
    22: "83.4 ± 0.6 %",
    13: "89.7 ± 0.5 %",
    211: "71.0 ± 0.7 %",
    2212: "91.2 ± 0.5 %",
}
"""Single particles of 0.1 to 1 GeV/c in one plane of MicroBooNE, GoogLeNet (arXiv:1611.05531, five particles)."""


def classes(files: Sequence[Path], out: Path) -> str:
    """Write how many images of each true class were given which (Markdown), and return it.

    Parameters
    ----------
    files
        Files of `ingest` and `classify`, of any shards, of weights with the same `classify.classes`.

    Raises
    ------
    ValueError
        The weights have no classes of their own, the files are of several kinds, or no image is of a class.
    """
    by_shard: dict[str, list[Path]] = {}
    for path in files:
        with open_events(path) as events:
            by_shard.setdefault(events.file_uid, []).append(path)
    counted: NDArray[np.int64] | None = None
    known: dict[str, tuple[int, ...]] = {}
    weights: set[str] = set()
    num_others = 0
    for paths in by_shard.values():
        with open_events(*paths) as events:
            events.require(READS)
            about = events.attributes()["classify"]
            cfg = config.Classify.model_validate(json.loads(str(about["config"])))
            if not cfg.classes:
                raise ValueError(f"{paths[-1]} is of weights without classes of their own (classify.classes)")
            if known and list(known.items()) != list(cfg.classes.items()):
                raise ValueError("the files are of weights with different classify.classes")
            known = cfg.classes
            weights.add(str(about["weights"]))
            own_KK, others = _count(events, cfg)
            counted = own_KK if counted is None else counted + own_KK
            num_others += others
    if counted is None or not counted.sum():
        raise ValueError("there is no image of a class to judge")
    lines = _lines(counted, known, num_others)
    digests = ", ".join(f"`{digest}`" for digest in sorted(weights))
    text = "\n".join([TITLE, "", *lines, "", f"Made with weights of `classify` {digests}.", ""])
    with replacing(out) as part:
        part.write_text(text)
    return text


def _count(events: Events, cfg: config.Classify) -> tuple[NDArray[np.int64], int]:
    """Return the images of each true class (rows) that have the highest score of each, and those of no class."""
    num = len(cfg.classes)
    found_KK, others = np.zeros((num, num), np.int64), 0
    set_aside = events.quarantined()
    products = (*READS, *(name for name in MAY_READ if name in events.products))
    for event in events.stream(products):
        if event.entry in set_aside or not event.num_voxels:
            continue
        true = class_of(event, cfg)
        if true == NONE:
            others += 1
            continue
        found_KK[true, int(event["image"]["class_score"][0, :num].argmax())] += 1
    return found_KK, others


def _lines(found_KK: NDArray[np.int64], known: dict[str, tuple[int, ...]], num_others: int) -> list[str]:
    names = list(known)
    right, all_ = int(found_KK.trace()), int(found_KK.sum())
    lines = [
        f"{all_:,} images of a class, {num_others:,} of none; {_share(right, all_)} are given their own.",
        "",
        "| true class | images | right | published | "
        + " | ".join(f"called {name}" for name in names)
        + " |",
        "|---|---|---|---|" + "---|" * len(names),
    ]
    for row, (name, codes) in enumerate(known.items()):
        num = int(found_KK[row].sum())
        published = next((PUBLISHED[abs(code)] for code in codes if abs(code) in PUBLISHED), "")
        called = " | ".join(f"{100 * value / num:.1f} %" if num else "" for value in found_KK[row])
        lines.append(
            f"| {name} | {num:,} | {_share(int(found_KK[row, row]), num)} | {published} | {called} |"
        )
    return lines


def _share(part: int, whole: int) -> str:
    if not whole:
        return ""
    value, below, above = (100 * float(number) for number in wilson(part, whole))
    return f"{value:.1f} −{below:.1f} +{above:.1f} %"
