"""Where weights are valid: what the events were like that they were trained on, and whether others are.

Voxel size, dimension and the detector's response are stated by the events. The energy scale and the number
of voxels are measured: the typical event of a sample, by its median, must lie among the middle 68 % of the
training's events, as that of 16 events of the same kind does in 999 of 1,000 samples; that of fewer events among
the middle 98 %, as must one of many events where detectors were drawn for each file of the training.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.stages import Stage
from lartpc.store import DRAWN, Events, open_events

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
CONSTANTS = ("birks_a", "birks_k", "box_alpha", "box_beta")
CONSTANTS_TOLERANCE = 0.05
"""Relative difference of constants of recombination that networks do not see: twice the largest published error."""

Domain = dict[str, Any]


def domain_of(shards: Sequence[Sequence[Path]], generator: str = "") -> Domain:
    """Measure the domain of events, given as the files of each shard.

    Parameters
    ----------
    generator
        What made the events, where their files do not state it.

    Returns
    -------
    `dimension`, `voxel_size_cm`, `response`, `readout`, `angles_deg` (of planes of wires, in words) and `generator`
    (lists of those met, mostly of one), `varied` (where detectors were drawn for each file: the ranges that they were
    drawn from, those of the read-out in `readout`; none only if met), `num_events` measured, and quantiles
    (1, 16, 50, 84, 99 %) over the events of `num_voxels` and of `energy_mev`, the median energy of an event's voxels
    [MeV]; `spread_mev` are the 16 and 84 % quantiles over all voxels.
    """
    stated: dict[str, set[Any]] = {
        name: set()
        for name in ("voxel_size_cm", "response", "readout", "angles_deg", "generator", "dimension")
    }
    drawn_from: config.Ingest | None = None
    num_voxels, medians, energies = [], [], []
    for number in np.unique(np.linspace(0, len(shards) - 1, NUM_SHARDS).astype(int)).tolist():
        with open_events(*shards[number]) as events:
            for name, value in _stated(events).items():
                stated[name].add(value)
            drawn_from = drawn_from or _drawn_from(events)
            sizes, energy = _measured(events, NUM_EVENTS)
            num_voxels.append(sizes)
            medians.append([np.median(one) for one in energy])
            energies += energy
    known = {name: sorted(values) for name, values in stated.items()}
    if generator and known["generator"] == [""]:
        known["generator"] = [generator]
    varied = _varied(drawn_from, known) if drawn_from else {}
    pooled = np.concatenate(energies) if energies else np.zeros(0)
    return {
        **known,
        **({"varied": varied} if varied else {}),
        "num_events": sum(len(sizes) for sizes in num_voxels),
        "num_voxels": _quantiles(np.concatenate(num_voxels), QUANTILES, 0),
        "energy_mev": _quantiles(np.concatenate(medians), QUANTILES, 5),
        "spread_mev": _quantiles(pooled, (0.16, 0.84), 5),
    }


def outside(domain: Mapping[str, Any], events: Events) -> tuple[list[str], list[str]]:
    """Return what of a shard lies outside a domain, and what of it is only of another origin, in words."""
    found: list[str] = []
    stated = _stated(events)
    size_cm, varied = stated["voxel_size_cm"], domain.get("varied", {})
    least_cm, most_cm = varied.get("voxel_size_cm") or (np.inf, -np.inf)
    sizes_cm = [size_cm] if least_cm <= size_cm <= most_cm else domain["voxel_size_cm"]
    if not any(abs(size_cm - one) <= SIZE_TOLERANCE * one for one in sizes_cm):
        found.append(f"voxels of {size_cm:g} cm, trained on {_sizes(domain)} cm")
    if stated["response"] not in domain["response"] and not _within(_response(events), varied):
        found.append(f"response {stated['response']}, trained on {_responses(domain)}")
    readout_varied = varied.get("readout", {})
    if stated["readout"] not in domain.get("readout", ["none"]) and not _within(
        _readout(events), readout_varied
    ):
        found.append(f"read-out of wires {stated['readout']}, trained on {_readouts(domain)}")
    sizes, energy = _measured(events, NUM_LOOKED_AT)
    medians = np.array([np.median(one) for one in energy])
    for values, name, what in (
        (sizes, "num_voxels", "the typical event has {:.4g} voxels"),
        (medians, "energy_mev", "the typical event has a median voxel energy of {:.4g} MeV"),
    ):
        least, low, _, high, most = domain[name]
        if len(values) < FEW or varied:  # events of a file are of one detector, of all that were drawn
            low, high = least, most
        if len(values) and not low * (1 - SLACK) <= np.median(values) <= high * (1 + SLACK):
            found.append(f"{what.format(np.median(values))}, those trained on {low:g} to {high:g}")
    origin = stated["generator"]
    others = (
        []
        if origin in domain["generator"]
        else [f"events by {origin or 'an unknown generator'}, trained on {_list(domain['generator'])}"]
    )
    angles = stated["angles_deg"]
    if angles and any(domain.get("angles_deg", ())) and angles not in domain["angles_deg"]:
        others.append(f"planes of wires at {angles}, trained on {_list(domain['angles_deg'])}")
    return found, others


def fitting(weights: Path, events: Events) -> list[Path]:
    """Return weights of the same name, in folders below, above or next to that of these, that hold for a shard."""
    from lartpc.run.weights_file import read_content

    folder = weights.parent
    around = {
        *folder.glob(f"*/{weights.name}"),
        folder.parent / weights.name,
        *folder.parent.glob(f"*/{weights.name}"),
    }
    found = []
    for path in sorted(around - {weights}):
        try:
            domain = json.loads(read_content(path).get("domain") or "{}")
        except ValueError:  # not there, or damaged: none to recommend
            continue
        if domain and domain["dimension"] == [events.box.dimension] and not outside(domain, events)[0]:
            found.append(path)
    return found


def look_outside(
    events: Events, stage: Stage, section: Any, weights: Path, domain: Mapping[str, Any] | None = None
) -> list[str]:
    """Return warnings of events that the weights were not made for, and write them to standard error.

    `domain` is what the weights state, if that was read before.

    Raises
    ------
    ValueError
        The settings refuse such events.
    """
    wanted = getattr(getattr(section, "infer", None), "outside_domain", "warn")
    if wanted == "ignore":
        return []
    if domain is None:
        from lartpc.run.weights_file import read_content

        domain = json.loads(read_content(weights).get("domain") or "{}")
    found: list[str] = []
    if not domain:
        others = [f"the weights of {stage.name} do not state what they were trained on"]
    else:
        found, others = outside(domain, events)
    others_fit = fitting(weights, events) if found else []
    remedy = (
        f"take {' or '.join(map(str, others_fit))}" if others_fit else f"train {stage.name} on such events"
    )
    if found and wanted == "refuse":
        raise ValueError(
            f"{events.file_uid} is outside the domain of {weights}: {'; '.join(found)}; {remedy}, "
            f"or take what comes with {stage.name}.infer.outside_domain: warn"
        )
    said = [f"outside the domain of the weights: {what}" for what in found] + others
    for line in said:
        sys.stderr.write(f"warning: {stage.name} {events.file_uid}: {line}\n")
    if others_fit:
        sys.stderr.write(
            f"{stage.name} {events.file_uid}: weights that hold for such events: {' or '.join(map(str, others_fit))}\n"
        )
    return said


def in_words(domain: Mapping[str, Any]) -> str:
    """Return a domain as a line of the card."""
    (_, low, middle, high, _), (_, first, typical, last, _) = domain["energy_mev"], domain["num_voxels"]
    return (
        f"voxels of {_sizes(domain)} cm in {_list(domain['dimension'])}D; {_planes(domain)}response: "
        f"{_responses(domain)}; generator: {_list(domain['generator'])}; median voxel energy of an event "
        f"{middle:g} MeV ({low:g} to {high:g}), of all voxels 68 % between {domain['spread_mev'][0]:g} and "
        f"{domain['spread_mev'][1]:g} MeV; {typical:,g} voxels an event ({first:,g} to {last:,g}); ranges hold 68 % "
        f"of {domain['num_events']:,} events"
    )


def _stated(events: Events) -> dict[str, Any]:
    """Return what a shard states of itself."""
    attributes = events.attributes().get("ingest", {})
    settings = json.loads(str(attributes.get("config", "{}")) or "{}")
    angles = settings.get("wires", {}).get("angles_deg", []) if events.box.dimension == 2 else []
    return {
        "voxel_size_cm": events.box.voxel_size_cm,
        "dimension": events.box.dimension,
        "response": _changed(_response(events)),
        "readout": _changed(_readout(events)),
        "angles_deg": ", ".join(f"{angle:g}" for angle in sorted(angles)) + "°" if angles else "",
        "generator": str(attributes.get("generator", "")),
    }


def _response(events: Events) -> config.Response:
    """Return the response that a shard's images have: as drawn, where it was, and else as set."""
    attributes = events.attributes().get("ingest", {})
    settings = json.loads(str(attributes.get(DRAWN, attributes.get("config", "{}"))) or "{}")
    return config.Response.model_validate(settings.get("response", {}))


def _readout(events: Events) -> config.Readout:
    """Return how the wires of a shard's images are read out: as drawn, where it was, and else as set."""
    attributes = events.attributes().get("ingest", {})
    settings = json.loads(str(attributes.get("config", "{}")) or "{}")
    drawn = json.loads(str(attributes.get(DRAWN, "{}")))
    return config.Readout.model_validate(drawn.get("readout") or settings.get("wires", {}).get("readout", {}))


def _changed(section: config.Response | config.Readout) -> str:
    """Return what of a section differs from its defaults, which dead wires there are aside; or none."""
    changed = section.model_dump(mode="json", exclude_defaults=True, exclude={"dead_seed"})
    return ", ".join(f"{name} {value}" for name, value in changed.items()) or "none"


def _drawn_from(events: Events) -> config.Ingest | None:
    """Return the settings that a shard's detector was drawn from; None where it was not drawn."""
    attributes = events.attributes().get("ingest", {})
    return config.Ingest.model_validate_json(str(attributes["config"])) if DRAWN in attributes else None


def _varied(settings: config.Ingest, known: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return the ranges that detectors were drawn from, with that of every number of the response.

    Images without a response, or a read-out, are among them only if some were met (`known`): all of few may have one.
    """
    ranges = settings.variations.model_dump(mode="json")
    share = {
        name: float(ranges[f"{name}_share"]) if "none" in known[name] else 1.0
        for name in ("response", "readout")
    }
    varied: dict[str, Any] = {"voxel_size_cm": ranges["voxel_size_cm"]}
    varied |= _ranges(settings.response, config.Response(), ranges, share["response"])
    if settings.variations.vary_wires:
        of_wires = {name.removeprefix("readout_"): value for name, value in ranges.items()}
        varied["readout"] = _ranges(settings.wires.readout, config.Readout(), of_wires, share["readout"])
    return varied


def _ranges(
    section: config.Response | config.Readout,
    without: config.Response | config.Readout,
    ranges: Mapping[str, Any],
    share: float,
) -> dict[str, Any]:
    """Return the range or the values of each setting of a section, of which a share of the files have drawn ones."""
    plain = without.model_dump(mode="json")
    varied = {}
    for name, value in section.model_dump(mode="json", exclude={"dead_seed"}).items():
        met = [plain[name]] if share < 1 else []
        met += (ranges.get(name) or [value]) if share else []
        numbers = [one for one in met if isinstance(one, float)]
        others = {str(one): one for one in met if not isinstance(one, float)}
        varied[name] = sorted({min(numbers), max(numbers)} if numbers else ()) + list(others.values())
    return varied


def _within(section: config.Response | config.Readout, varied: Mapping[str, Any]) -> bool:
    """Tell whether each number of a section lies in the range that detectors were drawn from, and each choice was met.

    Without a lifetime, electrons live longer than with any.
    """
    if not varied:
        return False
    unchanged = type(section)().model_dump(mode="json")
    for name, value in section.model_dump(mode="json", exclude={"dead_seed"}).items():
        met = varied.get(name, [unchanged[name]])
        if name in CONSTANTS and any(abs(value - one) <= CONSTANTS_TOLERANCE * one for one in met):
            continue
        numbers = [one for one in met if isinstance(one, float)]
        if isinstance(value, float) and numbers:
            if value < min(numbers) or (value > max(numbers) and not (name == "lifetime_us" and None in met)):
                return False
        elif value not in met:
            return False
    return True


def _sizes(domain: Mapping[str, Any]) -> str:
    varied = domain.get("varied", {}).get("voxel_size_cm")
    return f"{varied[0]:g} to {varied[1]:g}" if varied else _list(domain["voxel_size_cm"])


def _responses(domain: Mapping[str, Any]) -> str:
    varied = domain.get("varied")
    return _ranges_in_words(varied, config.Response()) if varied else _list(domain["response"])


def _readouts(domain: Mapping[str, Any]) -> str:
    varied = domain.get("varied", {}).get("readout")
    if varied:
        return _ranges_in_words(varied, config.Readout())
    return _list(domain.get("readout", ["none"]))


def _planes(domain: Mapping[str, Any]) -> str:
    """Return the planes of wires and their read-out, where there are some and the weights state them."""
    angles = [one for one in domain.get("angles_deg", ()) if one]
    return f"planes of wires at {_list(angles)}, read-out: {_readouts(domain)}; " if angles else ""


def _ranges_in_words(varied: Mapping[str, Any], plain: config.Response | config.Readout) -> str:
    unchanged = plain.model_dump(mode="json")
    words = []
    for name, met in varied.items():
        if name not in unchanged or all(one == unchanged[name] for one in met):
            continue
        numbers = [one for one in met if isinstance(one, float)]
        if len(numbers) > 1:
            words.append(f"{name} {numbers[0]:g} to {numbers[-1]:g}" + (" or none" if None in met else ""))
        else:
            words.append(f"{name} " + " or ".join("none" if one is None else str(one) for one in met))
    return ", ".join(words) or "none"


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
