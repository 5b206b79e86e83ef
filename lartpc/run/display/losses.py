"""Energy loss along tracks, beside what each species would lose on its way to its end."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.config import Summarize
from lartpc.event import Event
from lartpc.kinematics import Clusters
from lartpc.kinematics.argon import TRACKS, loss_at_residual
from lartpc.kinematics.measure import CHI2_SKIP_CM, DELTA_CUT_MEV, PATH_STEP_CM
from lartpc.kinematics.paths import paths, slice_up
from lartpc.vocab import Semantic

Floats = NDArray[np.float64]


def losses(
    event: Event, label_V: NDArray[Any], semantic_F: NDArray[Any], start: Floats, end: Floats, cfg: Summarize
) -> dict[int, tuple[Floats, Floats]]:
    """Return the residual range [cm] and dE/dx [MeV/cm] of the slices of each track that has any.

    Slices are those of `chi2_muon` and its like (docs/reference/kinematics.md): `summarize.slice_cm` long, without
    those within 1 cm of either end, which are not full. Ends that the source does not state give nothing.

    Parameters
    ----------
    label_V
        Particle of each voxel, -1 for none.
    semantic_F, start, end
        Class of each particle, and its ends (F, 3) [voxel].
    """
    known: NDArray[np.bool_] = np.isfinite(np.concatenate([start, end], axis=1)).all(axis=1)
    is_track_F = (semantic_F == Semantic.TRACK) & known
    if not is_track_F.any() or event.box.dimension == 2:
        return {}
    size = event.box.voxel_size_cm
    voxel = event["voxel"]
    clusters = Clusters.side_by_side(voxel["coord"], voxel["energy"], [label_V], [len(semantic_F)])
    start, end = (np.where(known[:, None], place, clusters.centre_F) for place in (start, end))
    line = paths(clusters, is_track_F, start, end, PATH_STEP_CM / size)
    slices = slice_up(clusters, line.along_V, cfg.slice_cm / size)
    middle = slices.begin_S * size + 0.5 * cfg.slice_cm
    residual = line.length_F[slices.owner_S] * size - middle
    whole = is_track_F[slices.owner_S] & (middle >= CHI2_SKIP_CM) & (residual >= CHI2_SKIP_CM)
    loss = slices.energy_S / cfg.slice_cm
    found = {}
    for owner in np.unique(slices.owner_S[whole]):
        chosen = whole & (slices.owner_S == owner)
        found[int(owner)] = residual[chosen], loss[chosen]
    return found


def expected(residual_cm: Floats) -> Mapping[str, Floats]:
    """Return the mean dE/dx [MeV/cm] at residual ranges [cm] by species, deltas above 1.5 MeV left out."""
    return {species.name.lower(): loss_at_residual(species, residual_cm, DELTA_CUT_MEV) for species in TRACKS}
