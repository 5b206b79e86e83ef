"""Particles of an event, reconstructed and true, measured in one go. Shape suffixes: V voxels, F particles."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lartpc.config import Summarize
from lartpc.event import Columns, Event
from lartpc.kinematics import Clusters
from lartpc.kinematics.classes import final_classes
from lartpc.kinematics.measure import Particles, measure
from lartpc.tables.fields import Rows
from lartpc.tables.particle_fields import MEASURED_PREFIX
from lartpc.vocab import NONE

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """The particles of an event, reconstructed or true: their ends in voxel units and what was measured."""

    start: Floats
    end: Floats
    columns: Columns


@dataclass(frozen=True)
class _Given:
    """What is known of particles before they are measured: their voxels (V,), and (F,) class, species and ends."""

    label: NDArray[np.integer]
    semantic: NDArray[np.integer]
    species: NDArray[np.integer]
    start: Floats
    end: Floats


def measured(event: Event, volumes_cm: Floats, cfg: Summarize) -> tuple[Measured, Measured]:
    """Measure the reconstructed and the true particles of an event."""
    true = event["truth_particle"]
    ends = (true[name].astype(np.float64) for name in ("start_point", "end_point"))
    stated = _Given(event["truth_voxel"]["particle"], true["semantic"], true["species"], *ends)
    found, known = _measure(event, [_found(event), stated], volumes_cm, cfg)
    return found, known


def measured_reco(event: Event, volumes_cm: Floats, cfg: Summarize) -> Measured:
    """Measure the reconstructed particles of an event, from the ends that `identity` says."""
    return _measure(event, [_found(event)], volumes_cm, cfg)[0]


def _found(event: Event) -> _Given:
    identity = event["identity"]
    start, end = (identity[name].astype(np.float64) for name in ("start_point", "end_point"))
    return _Given(event["group"]["particle"], final_classes(event), identity["species"], start, end)


def _measure(event: Event, given: Sequence[_Given], volumes_cm: Floats, cfg: Summarize) -> list[Measured]:
    """Measure several sets of particles as one: that takes about the time of one."""
    voxel, sizes = event["voxel"], [len(one.semantic) for one in given]
    clusters = Clusters.side_by_side(voxel["coord"], voxel["energy"], [one.label for one in given], sizes)
    semantic_F, species_F, start_F, end_F = (
        np.concatenate([getattr(one, name) for one in given])
        for name in ("semantic", "species", "start", "end")
    )
    # where the source states no ends, the particle's own place stands in for what is measured from there
    known: NDArray[np.bool_] = np.isfinite(np.concatenate([start_F, end_F], axis=1)).all(axis=1)
    begin, stop = (np.where(known[:, None], place, clusters.centre_F) for place in (start_F, end_F))
    particles = Particles(clusters, semantic_F, species_F, begin, stop)
    columns = measure(particles, event.box, volumes_cm, cfg)
    for name in () if known.all() else _FROM_ENDS:
        columns[name][~known] = np.nan
    if event.box.dimension == 2:
        # a projection tells no lengths
        for name in _LENGTHS:
            columns[name] = np.full_like(columns[name], np.nan)
        columns["energy_method"] = np.full(len(semantic_F), NONE)
    bounds = pairwise(np.cumsum([0, *sizes]).tolist())
    return [
        Measured(one.start, one.end, {name: values[slice(*rows)] for name, values in columns.items()})
        for one, rows in zip(given, bounds, strict=True)
    ]


_LENGTHS = (
    *(
        "length_cm",
        "range_energy_mev",
        "scattering_energy_mev",
        "range_energy_error_mev",
        "scattering_energy_error_mev",
        "kinetic_energy_mev",
        "kinetic_energy_error_mev",
        "momentum_mev_c",
        "chi2",
    ),
    *("start_dedx_mev_cm", "end_dedx_mev_cm"),
)
_FROM_ENDS = (
    *(
        "length_cm",
        "range_energy_mev",
        "range_energy_error_mev",
        "chi2",
        "start_dedx_mev_cm",
        "end_dedx_mev_cm",
    ),
    *("straightness", "directional_spread", "axial_spread", "start_direction", "end_direction", "axis"),
)


def reco(rows: Rows) -> Rows:
    """Name what is measured of true objects as such."""
    return {f"{MEASURED_PREFIX}{name}": values for name, values in rows.items()}
