"""What is measured of electron showers: where along and around the electron's direction energy lies."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DEPTH_EDGES_CM = np.linspace(-100, 500, 2401)
RADIUS_EDGES_CM = np.linspace(0, 200, 2001)
NUM_GROUPS = 20
"""Groups of showers from whose differences statistical errors are taken."""

CONTAINED = 0.9


class ShowerTally(NamedTuple):
    """Energy of showers of one energy in bins of depth and of radius, event i in group i mod 20."""

    depth_mev: Array
    """(NUM_GROUPS, bins) along the direction of the electron, from where it starts."""
    radius_mev: Array
    """(NUM_GROUPS, bins) across it."""
    deposited_mev: Array
    """(showers,) energy of each shower."""

    def plus(self, other: Self) -> "ShowerTally":
        """Return the tally of the showers of both."""
        return ShowerTally(
            self.depth_mev + other.depth_mev,
            self.radius_mev + other.radius_mev,
            np.concatenate([self.deposited_mev, other.deposited_mev]),
        )


def shower_tally(steps: Mapping[str, NDArray[Any]]) -> ShowerTally:
    """Measure the showers of a file of steps with one primary per event.

    A step deposits in its middle; what lies beyond the bins counts in the outermost.
    """
    depth = np.zeros((NUM_GROUPS, len(DEPTH_EDGES_CM) - 1))
    radius = np.zeros((NUM_GROUPS, len(RADIUS_EDGES_CM) - 1))
    events, segments = steps["event"]["event_id"], steps["segments"]
    deposited = np.zeros(len(events))
    bounds = np.searchsorted(segments["event_id"], [*events, events[-1] + 1])
    for i, primary in enumerate(steps["primaries"]):
        rows = segments[bounds[i] : bounds[i + 1]]
        middle_mm = np.stack([(rows[f"{a}_start"] + rows[f"{a}_end"]) / 2.0 for a in "xyz"], 1)
        offset_cm = (middle_mm - primary["xyz"].astype(np.float64)) / 10
        along = offset_cm @ primary["direction"].astype(np.float64)
        across = np.sqrt(np.maximum((offset_cm**2).sum(1) - along**2, 0))
        energy = rows["dE"].astype(np.float64)
        depth[i % NUM_GROUPS] += _histogram(along, DEPTH_EDGES_CM, energy)
        radius[i % NUM_GROUPS] += _histogram(across, RADIUS_EDGES_CM, energy)
        deposited[i] = energy.sum()
    return ShowerTally(depth, radius, deposited)


def _histogram(value: Array, edges: Array, weight: Array) -> Array:
    counts: Array = np.histogram(np.clip(value, edges[0], edges[-1]), edges, weights=weight)[0]
    return counts


def mean_of(edges: Array, energy: Array) -> float:
    """Return the mean position of energy in bins."""
    return float(np.average((edges[1:] + edges[:-1]) / 2, weights=energy))


def contains(edges: Array, energy: Array, share: float = CONTAINED) -> float:
    """Return the position below which a share of the energy lies."""
    return float(np.interp(share, np.concatenate([[0.0], np.cumsum(energy) / energy.sum()]), edges))


def jackknife(groups: Array, figure: Callable[[Array], float]) -> tuple[float, float]:
    """Return a figure of the sum of groups, and its statistical error from leaving out one at a time.

    Of one group, which says nothing about errors, the error is NaN. B. Efron and C. Stein, Ann. Stat. 9
    (1981) 586.

    Parameters
    ----------
    groups
        (groups, bins) energy in bins; groups without energy are left out.
    """
    filled = groups[groups.any(1)]
    total = filled.sum(0)
    without = np.array([figure(total - group) for group in filled]) if len(filled) > 1 else np.array([np.nan])
    num = len(without)
    error = np.sqrt((num - 1) / num * ((without - without.mean()) ** 2).sum())
    return figure(total), float(error)
