"""Where weights are valid: what the events were like that they were trained on, and whether others are.

Voxel size, dimension and the detector's response are stated by the events. The energy scale and the number
of voxels are measured: the typical event of a sample, by its median, must lie among the middle 68 % of the
training's events, as that of 16 events of the same kind does in 999 of 1,000 samples; that of fewer events among
the middle 98 %.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.store import Events, open_events

NUM_SHARDS, NUM_EVENTS = 20, 50
"""Shards that a domain is measured on, evenly among those there are, and events of each."""
NUM_LOOKED_AT = 32
"""Events of a shard whose energies are compared."""
QUANTILES = (0.01, 0.16, 0.5, 0.84, 0.99)
FEW = 16
"""With fewer events than this a sample is given the wider range."""
SLACK = 0.02
"""Relative slack of these ranges, for training events that are all alike."""
SIZE_TOLERANCE = 1e-3
"""Relative difference of voxel sizes that are the same."""

Domain = dict[str, Any]


def domain_of(shards: Sequence[Sequence[Path]], generator: str = "") -> Domain:
    """Measure the domain of events, given as the files of each shard.

    Parameters
    ----------
    generator
        What made the events, where their files do not state it.

    Returns
    -------
    `dimension`, `voxel_size_cm`, `response` and `generator` (lists of those met, mostly of one), `num_events`
    measured, and quantiles (1, 16, 50, 84, 99 %) over the events of `num_voxels` and of `energy_mev`, the median
    energy of an event's voxels [MeV]; `spread_mev` are the 16 and 84 % quantiles over all voxels.
    """
    stated: dict[str, set[Any]] = {
        name: set() for name in ("voxel_size_cm", "response", "generator", "dimension")
    }
    num_voxels, medians, energies = [], [], []
    for number in np.unique(np.linspace(0, len(shards) - 1, NUM_SHARDS).astype(int)).tolist():
        with open_events(*shards[number]) as events:
            for name, value in _stated(events).items():
                stated[name].add(value)
            sizes, energy = _measured(events, NUM_EVENTS)
            num_voxels.append(sizes)
            medians.append([np.median(one) for one in energy])
            energies += energy
    known = {name: sorted(values) for name, values in stated.items()}
    if generator and known["generator"] == [""]:
        known["generator"] = [generator]
    pooled = np.concatenate(energies) if energies else np.zeros(0)
    return {
        **known,
        "num_events": sum(len(sizes) for sizes in num_voxels),
        "num_voxels": _quantiles(np.concatenate(num_voxels), QUANTILES, 0),
        "energy_mev": _quantiles(np.concatenate(medians), QUANTILES, 5),
        "spread_mev": _quantiles(pooled, (0.16, 0.84), 5),
    }


def outside(domain: Mapping[str, Any], events: Events) -> tuple[list[str], list[str]]:
    """Return what of a shard lies outside a domain, and what of it is only of another origin, in words."""
    found: list[str] = []
    stated = _stated(events)
    size_cm = stated["voxel_size_cm"]
    if not any(abs(size_cm - one) <= SIZE_TOLERANCE * one for one in domain["voxel_size_cm"]):
        found.append(f"voxels of {size_cm:g} cm, trained on {_list(domain['voxel_size_cm'])} cm")
    if stated["response"] not in domain["response"]:
        found.append(f"response {stated['response']}, trained on {_list(domain['response'])}")
    sizes, energy = _measured(events, NUM_LOOKED_AT)
    medians = np.array([np.median(one) for one in energy])
    for values, name, what in (
        (sizes, "num_voxels", "the typical event has {:.4g} voxels"),
        (medians, "energy_mev", "the typical event has a median voxel energy of {:.4g} MeV"),
    ):
        least, low, _, high, most = domain[name]
        if len(values) < FEW:
            low, high = least, most
        if len(values) and not low * (1 - SLACK) <= np.median(values) <= high * (1 + SLACK):
            found.append(f"{what.format(np.median(values))}, those trained on {low:g} to {high:g}")
    origin = stated["generator"]
    others = (
        []
        if origin in domain["generator"]
        else [f"events by {origin or 'an unknown generator'}, trained on {_list(domain['generator'])}"]
    )
    return found, others


def in_words(domain: Mapping[str, Any]) -> str:
    """Return a domain as a line of the card."""
    (_, low, middle, high, _), (_, first, typical, last, _) = domain["energy_mev"], domain["num_voxels"]
    return (
        f"voxels of {_list(domain['voxel_size_cm'])} cm in {_list(domain['dimension'])}D; response: "
        f"{_list(domain['response'])}; generator: {_list(domain['generator'])}; median voxel energy of an event "
        f"{middle:g} MeV ({low:g} to {high:g}), of all voxels 68 % between {domain['spread_mev'][0]:g} and "
        f"{domain['spread_mev'][1]:g} MeV; {typical:,g} voxels an event ({first:,g} to {last:,g}); ranges hold 68 % "
        f"of {domain['num_events']:,} events"
    )


def _stated(events: Events) -> dict[str, Any]:
    """Return what a shard states of itself."""
    attributes = events.attributes().get("ingest", {})
    settings = json.loads(str(attributes.get("config", "{}")) or "{}")
    response = config.Response.model_validate(settings.get("response", {}))
    changed = response.model_dump(mode="json", exclude_defaults=True)
    return {
        "voxel_size_cm": events.box.voxel_size_cm,
        "dimension": events.box.dimension,
        "response": ", ".join(f"{name} {value}" for name, value in changed.items()) or "none",
        "generator": str(attributes.get("generator", "")),
    }


def _measured(events: Events, most: int) -> tuple[NDArray[np.int64], list[NDArray[np.float32]]]:
    """Return the numbers of voxels of the events that have some, and the voxel energies of the first `most`."""
    sizes = events.num_voxels()
    kept = np.flatnonzero(sizes)[:most]
    energy = [events.block(int(i), int(i) + 1, ["voxel"])[0]["voxel"]["energy"] for i in kept]
    return sizes[sizes > 0], energy


def _quantiles(values: NDArray[Any], of: Sequence[float], digits: int) -> list[float]:
    if not len(values):
        return [0.0] * len(of)
    return [round(float(value), digits) for value in np.quantile(values, of)]


def _list(values: Sequence[Any]) -> str:
    return " and ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
