"""Which parts of an event are masked: pieces of its tracks and showers, Michels, and whole particles.

Shape suffixes: V voxels, F particles.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.event import Event
from lartpc.vocab import NONE, Semantic

PIECE_CM = 3.0
"""Length of a start or an end that is masked: a Bragg peak of some 10 voxels."""
AFTER_CM = (10.0, 20.0, 40.0)
"""Lengths after which everything of a track is masked."""
MIN_VOXELS = 20
"""Smaller tracks and showers have no pieces."""
LARGEST = 2
"""So many of the particles of a class, the largest ones, are masked in each event."""


@dataclass(frozen=True)
class Particles:
    """The particles of an event: that of each voxel (V,), and their class (F,), start and end (F, 3) [voxel]."""

    owner_V: NDArray[np.int64]
    semantic_F: NDArray[np.int64]
    start_F3: NDArray[np.float64]
    end_F3: NDArray[np.float64]


@dataclass(frozen=True)
class Mask:
    """A part of an event that is taken away: voxels (V,) of one particle."""

    kind: str
    particle: int
    masked_V: NDArray[np.bool_]


def particles_of(event: Event) -> Particles:
    """Return the particles of the truth where the event has it, or else the reconstructed ones.

    Raises
    ------
    ValueError
        The event has neither.
    """
    if {"truth_voxel", "truth_particle"} <= set(event):
        owner, table = event["truth_voxel"]["particle"], event["truth_particle"]
    elif {"group", "particle"} <= set(event):
        owner, table = event["group"]["particle"], event["particle"]
    else:
        raise ValueError(
            f"entry {event.entry} of {event.file_uid} has no particles; give files with truth, or those that 'cluster' "
            "wrote, too"
        )
    columns: list[Any] = [table[name] for name in ("semantic", "start_point", "end_point")]
    return Particles(owner.astype(np.int64), columns[0].astype(np.int64), *columns[1:])


def masks_of(event: Event, particles: Particles) -> Iterator[Mask]:
    """Yield the parts of an event that are masked, one after another; none takes all voxels away."""
    owner_V, semantic_F = particles.owner_V, particles.semantic_F
    size_F = np.bincount(owner_V[owner_V != NONE], minlength=len(semantic_F))
    pitch_cm = np.asarray(event.box.pitch_cm)
    middle_V3 = event["voxel"]["coord"] + 0.5
    for kind in (Semantic.TRACK, Semantic.SHOWER, Semantic.MICHEL):
        of_kind = np.flatnonzero((semantic_F == kind) & (size_F > 0))
        for row in of_kind[np.argsort(-size_F[of_kind], kind="stable")][:LARGEST].tolist():
            mine_V = owner_V == row
            found = {kind.name.lower().replace("michel", "Michel"): mine_V}
            if kind != Semantic.MICHEL and size_F[row] >= MIN_VOXELS:
                from_start, from_end = (
                    np.linalg.norm((middle_V3 - place_F3[row]) * pitch_cm, axis=1)
                    for place_F3 in (particles.start_F3, particles.end_F3)
                )
                found[f"start of a {kind.name.lower()}"] = mine_V & (from_start < PIECE_CM)
                if kind == Semantic.TRACK:
                    found["end of a track"] = mine_V & (from_end < PIECE_CM)
                    for length in AFTER_CM:
                        found[f"track after {length:g} cm"] = mine_V & (from_start > length)
            for name, masked_V in found.items():
                if masked_V.any() and not masked_V.all():
                    yield Mask(name, row, masked_V)
