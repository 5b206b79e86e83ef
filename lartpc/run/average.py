"""`lartpc average`: the mean of weights that were trained further from each other."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lartpc.config import completed
from lartpc.provenance import fingerprint
from lartpc.run.weights import read_weights, write_weights

MEASURED = ("num_events", "num_voxels", "energy_mev", "spread_mev")
"""What is measured of a domain, and is a little other for other events of the same kind."""


def average(sources: Sequence[Path], out: Path) -> None:
    """Write the mean of the parameters and moving averages of several weights of one network.

    Weights that one training made of another lie in one valley of the loss, and their mean is often better than each
    (model soups, arXiv:2203.05482). The file keeps what the last one says of itself and its domain, and the digests of
    all.

    Raises
    ------
    ValueError
        There are fewer than two files, or they differ in stage, settings, domain or parameters.
    """
    if len(sources) < 2:
        raise ValueError("a mean is of several weights: name at least two files")
    contents = [read_weights(path) for path in sources]
    last = contents[-1]
    for path, content in zip(sources, contents, strict=True):
        for what, own, other in _compared(content, last):
            if own != other:
                raise ValueError(f"{path} and {sources[-1]} cannot be averaged: they differ in {what}")
    state = {name: _mean([content["state"][name] for content in contents]) for name in last["state"]}
    digests = [fingerprint(path)[1] for path in sources]
    provenance = json.loads(last["provenance"]) | {"averaged": digests}
    kept = {name: value for name, value in last.items() if name != "released"}
    write_weights(out, kept | {"state": state, "provenance": json.dumps(provenance, sort_keys=True)})


def _compared(content: dict[str, Any], last: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return what weights must have alike: its name, and what both have."""
    return [
        ("stage", *(one["stage"] for one in (content, last))),
        ("version of the network", *(one["stage_version"] for one in (content, last))),
        ("settings", *(completed(one["stage"], json.loads(one["settings"])) for one in (content, last))),
        (
            "domain (write it anew with 'lartpc release --events')",
            *(_kind_of_domain(one) for one in (content, last)),
        ),
        (
            "parameters",
            *({key: value.shape for key, value in one["state"].items()} for one in (content, last)),
        ),
    ]


def _kind_of_domain(content: dict[str, Any]) -> dict[str, Any]:
    """Return what a domain states, without what was measured on some of its events."""
    domain = json.loads(content.get("domain") or "{}")
    return {name: value for name, value in domain.items() if name not in MEASURED}


def _mean(values: Sequence[Tensor]) -> Tensor:
    """Return the mean of tensors in single precision; of counts the last one."""
    if not values[-1].is_floating_point():
        return values[-1]
    return torch.stack([value.float() for value in values]).mean(0)
