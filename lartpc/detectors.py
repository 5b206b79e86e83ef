"""Detectors: the settings of `ingest` that fit them. Plain values, so that the plan can read them.

Positions are those of the detectors' own simulations, in cm; docs/reference/geometry.md gives the sources.
"""

from itertools import product
from typing import Any

# SPINE's geometry 2x2 mr6.5 (src/spine/geo/config/2x2): 8 TPCs in 4 modules, drift along x
_TPC_2X2_CM = (30.431, 124.152, 62.076)
_CENTRES_2X2_CM = tuple(product((-48.8743, -18.1258, 18.1258, 48.8743), (0.0,), (-33.5, 33.5)))

# SPINE's geometry icarus_v4 (src/spine/geo/config/icarus): 2 modules of 2 TPCs, drift along x
_TPC_ICARUS_CM = (148.2, 316.82, 1789.902)
_CENTRES_ICARUS_CM = tuple((x, -23.45, 0.0) for x in (-284.39, -136.04, 136.04, 284.39))


def _around(centres_cm: tuple[tuple[float, ...], ...], size_cm: tuple[float, ...]) -> list[dict[str, Any]]:
    """Return the boxes of one size around some centres, as settings."""
    return [
        {
            "low_cm": tuple(round(x - 0.5 * s, 6) for x, s in zip(centre, size_cm, strict=True)),
            "high_cm": tuple(round(x + 0.5 * s, 6) for x, s in zip(centre, size_cm, strict=True)),
        }
        for centre in centres_cm
    ]


PRESETS: dict[str, dict[str, Any]] = {
    # the cube of PILArNet (arXiv:2006.01993), 768 voxels of 3 mm, no walls inside: the defaults
    "generic": {},
    # 0.4434 cm: the pitch of its pixels (larnd-sim, detector_properties/2x2.yaml)
    "2x2": {
        "voxel_size_cm": 0.4434,
        "num_voxels": 320,
        "centre_cm": (0.0, 0.0, 0.0),
        "volumes": _around(_CENTRES_2X2_CM, _TPC_2X2_CM),
    },
    # 0.3 cm: the pitch of its wires (ICARUS, NIM A 527 (2004) 329)
    "icarus": {
        "voxel_size_cm": 0.3,
        "num_voxels": 6144,
        "centre_cm": (0.0, -23.45, 0.0),
        "volumes": _around(_CENTRES_ICARUS_CM, _TPC_ICARUS_CM),
    },
}
"""Settings of `config.Ingest` that each detector fixes; settings that the user gives come first."""
