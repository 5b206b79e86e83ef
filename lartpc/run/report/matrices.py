"""Confusion matrices and the list of worst events, as the page shows them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lartpc.run.report.figures import FEW
from lartpc.run.report.statistics import wilson
from lartpc.run.report.worst import Worst
from lartpc.tables.fields import names_of
from lartpc.vocab import Flavour, Semantic, Species

_SHOWN = 4
"""Kinds of mistakes that are named for a worst event."""


def confusions(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the confusion matrices: title, class names, counts and the share of each true class."""
    words: dict[str, tuple[str, Sequence[str]]] = {
        "semantic": ("Voxel classes", names_of(Semantic)),
        "species": ("Species of matched particles", names_of(Species)),
        "primary": ("Primaries among matched particles", ("secondary", "primary")),
        "flavour": ("Flavour-like class of matched interactions", names_of(Flavour)),
    }
    matrices = []
    for what, (title, names) in words.items():
        for label, source in (("predicted", "chain"), ("truth", "on true input")):
            counts = summary["figures"].get(label, {}).get(f"{what}_confusion")
            if counts and any(map(any, counts)):
                matrices.append({"title": f"{title}, {source}", **matrix(names, counts)})
    return matrices


def matrix(
    names: Sequence[str], counts: Sequence[Sequence[int]], columns: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the class names of a confusion matrix, and its rows: number, counts, shares and their errors.

    Parameters
    ----------
    columns
        Names of the columns where they are not those of the rows.
    """
    rows = []
    for name, row in zip(names, counts, strict=True):
        num = sum(row)
        share, below, above = wilson(row, np.full(len(row), num))
        cells = [
            (count, float(value) if num else None, 50 * float(low + high) if num else None)
            for count, value, low, high in zip(row, share, below, above, strict=True)
        ]
        rows.append({"name": name.replace("_", " "), "num": num, "is_few": num < FEW, "cells": cells})
    return {"names": [name.replace("_", " ") for name in columns or names], "rows": rows}


def worst_row(event: Worst, number: int | None) -> dict[str, Any]:
    """Return a line of the list of worst events; `number` is that of its picture, if there is one."""
    names = [name.replace("_", " ") for name in names_of(Semantic)]
    return {
        "by": event.by,
        "title": f"{event.file_uid}, entry {event.entry}",
        "number": number,
        "voxels": f"{event.num_voxels:,}",
        "right": f"{100 * (1 - event.num_wrong / max(event.num_voxels, 1)):.1f} %",
        "lost": f"{event.num_lost_points} of {event.num_true_points}",
        "false": f"{event.num_false_points} of {event.num_points}",
        "mistakes": [
            f"{names[true]} → {names[found]} {num:,}" for true, found, num in event.mistakes[:_SHOWN]
        ],
        "confusion": matrix(names, event.confusion.tolist()),
    }
