"""Statistical errors of what is plotted: binomial for shares, bootstrap over events for medians and widths."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

NUM_REPLICAS = 40
_SEED = 1


def wilson(part: ArrayLike, whole: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return shares, and how far Wilson's interval for one standard deviation reaches below and above them.

    It stays between 0 and 1, and has a width for shares of 0 and 1 (E. B. Wilson, J. Am. Stat. Assoc. 22
    (1927) 209). nan where `whole` is 0.
    """
    # scipy has this interval for one share at a time, and hist the Clopper-Pearson one, which covers too much
    k, n = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = k / n
        centre = (share + 0.5 / n) / (1 + 1 / n)
        half = np.sqrt(share * (1 - share) / n + 0.25 / n**2) / (1 + 1 / n)
    # rounding may leave -0
    low, high = np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)
    return share, np.maximum(share - low, 0.0), np.maximum(high - share, 0.0)


def median(values: Floats) -> float:
    """Return the median."""
    return float(np.median(values))


def half_width(values: Floats) -> float:
    """Return half the width of the central 68 %: of a Gaussian, one standard deviation."""
    low, high = np.quantile(values, (0.16, 0.84))
    return float(high - low) / 2


def quantile_68(values: Floats) -> float:
    """Return the value that 68 % do not exceed."""
    return float(np.quantile(values, 0.68))


@dataclass(frozen=True)
class Binned:
    """Bins of a quantity: their centres, the value of each, its error, and the number of objects in it."""

    centre: Floats
    value: Floats
    error: Floats
    num: NDArray[np.int64]


def bootstrapped(
    x: Floats,
    values: Floats,
    event: NDArray[np.int64],
    edges: Floats,
    figure: Callable[[Floats], float],
    num_replicas: int = NUM_REPLICAS,
) -> Binned:
    """Return a figure of the values in bins of `x`, with its standard error by drawing events anew.

    In each replica an event counts as often as a Poisson variable of mean 1 says, the same for all its objects.
    Bins of fewer than two objects are left out.
    """
    known = np.isfinite(x) & np.isfinite(values)
    x, values, event = x[known], values[known], event[known]
    random = np.random.default_rng(_SEED)
    distinct, of_event = np.unique(event, return_inverse=True)
    weight = random.poisson(1.0, (num_replicas, len(distinct)))
    cell = np.digitize(x, edges) - 1
    rows: list[tuple[float, float, float, int]] = []
    for number in range(len(edges) - 1):
        chosen = np.flatnonzero(cell == number)
        if len(chosen) < 2:
            continue
        replicas = []
        for one in weight[:, of_event[chosen]]:
            if one.any():
                replicas.append(figure(np.repeat(values[chosen], one)))
        error = float(np.std(replicas, ddof=1)) if len(replicas) > 1 else float("nan")
        rows.append((centre(edges, number), figure(values[chosen]), error, len(chosen)))
    found = np.array(rows, np.float64).reshape(-1, 4)
    return Binned(found[:, 0], found[:, 1], found[:, 2], found[:, 3].astype(np.int64))


def shares(x: Floats, hit: NDArray[np.bool_], edges: Floats) -> tuple[Binned, Floats]:
    """Return the share of hits in bins of `x` with the upper error, and the lower error; empty bins left out."""
    known = np.isfinite(x)
    whole = np.histogram(x[known], edges)[0]
    part = np.histogram(x[known & hit], edges)[0]
    filled = np.flatnonzero(whole)
    share, below, above = wilson(part[filled], whole[filled])
    middle = np.array([centre(edges, int(number)) for number in filled])
    return Binned(middle, share, above, whole[filled]), below


def centre(edges: Floats, number: int) -> float:
    """Return the centre of a bin; the geometric one of bins that widen by a factor."""
    low, high = float(edges[number]), float(edges[number + 1])
    return (low * high) ** 0.5 if is_geometric(edges) else (low + high) / 2


def is_geometric(edges: ArrayLike) -> bool:
    """Tell whether edges grow by a factor over more than a decade, for which the axis is logarithmic."""
    found: Any = np.asarray(edges, np.float64)
    return bool(found[0] > 0 and found[-1] / found[0] > 10 and np.ptp(np.diff(np.log(found))) < 1e-6)
