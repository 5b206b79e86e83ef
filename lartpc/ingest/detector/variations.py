"""Detectors that differ from file to file: what each file's is, drawn of the file's uid."""

import hashlib

import numpy as np

from lartpc.config import Ingest, Response, Variations

RESPONSE_RANGES = (
    "field_kv_cm",
    "lifetime_us",
    "diffusion_longitudinal_cm2_s",
    "diffusion_transverse_cm2_s",
    "noise_electrons",
    "voxel_threshold_electrons",
)
"""Settings of the response that are drawn evenly between two values."""


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
    return cfg.model_copy(update=changed)


def _between(ends: tuple[float, float], number: float) -> float:
    return ends[0] + number * (ends[1] - ends[0])
