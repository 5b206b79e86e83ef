"""Detectors that differ from file to file: what each file's is, drawn of the file's uid."""

import hashlib

import numpy as np

from lartpc.config import Ingest, Readout, Response, Variations

RESPONSE_RANGES = (
    "field_kv_cm",
    "lifetime_us",
    "diffusion_longitudinal_cm2_s",
    "diffusion_transverse_cm2_s",
    "noise_electrons",
    "voxel_threshold_electrons",
)
"""Settings of the response that are drawn evenly between two values."""

READOUT_RANGES = ("shaping_us", "noise_electrons", "dead_share")
"""Settings of the read-out of wires that are drawn evenly between two values."""


def vary(cfg: Ingest, uid: str) -> Ingest:
    """Return the settings of one file, whose detector is drawn of its `uid`: the same each time.

    What has no range in `cfg.variations` stays as it is; without any range, `cfg` itself is returned.
    """
    ranges = cfg.variations
    if ranges == Variations():
        return cfg
    digest = hashlib.blake2b(f"detector of {uid}".encode(), digest_size=8).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "little"))
    # one number each, whether it is used or not: a range more does not change what is drawn of the others
    share, size, model, *drawn = rng.random(3 + len(RESPONSE_RANGES)).tolist()
    changed: dict[str, object] = {}
    if ranges.voxel_size_cm:
        changed["voxel_size_cm"] = round(_between(ranges.voxel_size_cm, size), 4)
    if share >= ranges.response_share:
        changed["response"] = Response()
    else:
        response: dict[str, object] = {}
        if ranges.recombination:
            response["recombination"] = ranges.recombination[int(model * len(ranges.recombination))]
        for name, number in zip(RESPONSE_RANGES, drawn, strict=True):
            if between := getattr(ranges, name):
                response[name] = round(_between(between, number), 6)
        changed["response"] = Response.model_validate(cfg.response.model_dump() | response)
    if ranges.vary_wires:
        changed["wires"] = cfg.wires.model_copy(update={"readout": _readout(cfg, rng)})
    return cfg.model_copy(update=changed)


def _readout(cfg: Ingest, rng: np.random.Generator) -> Readout:
    share, seed, *drawn = rng.random(2 + len(READOUT_RANGES)).tolist()
    if share >= cfg.variations.readout_share:
        return Readout()
    readout: dict[str, object] = {}
    for name, number in zip(READOUT_RANGES, drawn, strict=True):
        if between := getattr(cfg.variations, f"readout_{name}"):
            readout[name] = round(_between(between, number), 6)
    if "dead_share" in readout:
        readout["dead_seed"] = int(seed * 2**31)
    return Readout.model_validate(cfg.wires.readout.model_dump() | readout)


def _between(ends: tuple[float, float], number: float) -> float:
    return ends[0] + number * (ends[1] - ends[0])
