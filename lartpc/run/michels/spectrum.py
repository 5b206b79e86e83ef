"""The spectrum of Michel electrons with its fit: the energy scale and the resolution of the detector."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from lartpc.simulate.validation.references import michel_density

EDGES_MEV = np.arange(0.0, 82.0, 4.0)
FIT_FROM_MEV = 12.0
"""Below it Michels are short, and lost."""
STEP_MEV = 0.25


@dataclass(frozen=True)
class Fit:
    """A fit of the spectrum: values with their errors, chi² and degrees of freedom, the curve per bin of EDGES_MEV.

    `scale` is the reconstructed energy over the kinetic one, `resolution` its relative width (Gaussian).
    """

    scale: float
    scale_error: float
    resolution: float
    resolution_error: float
    chi2: float
    num_freedom: int
    curve: list[float]


def fit(energy_mev: NDArray[np.float64]) -> Fit | None:
    """Fit the spectrum of muons at rest, scaled and smeared, to energies [MeV], by greatest binned likelihood.

    What electrons radiate away lies in the scale and in the resolution. None with fewer than 30 energies in the fitted
    range.
    """
    count = np.histogram(energy_mev, EDGES_MEV)[0].astype(np.float64)
    used = EDGES_MEV[:-1] >= FIT_FROM_MEV
    if count[used].sum() < 30:
        return None

    def expected(values: NDArray[np.float64]) -> NDArray[np.float64]:
        shape = _smeared(values[0], values[1])
        return np.asarray(shape / max(shape[used].sum(), 1e-12) * count[used].sum())

    def minus_log(values: NDArray[np.float64]) -> float:
        mu = np.maximum(expected(values)[used], 1e-9)
        return float((mu - count[used] * np.log(mu)).sum())

    found = minimize(
        minus_log,
        np.array([0.95, 0.15]),
        method="Nelder-Mead",
        bounds=[(0.3, 1.5), (0.02, 0.8)],
        options={"xatol": 1e-5, "fatol": 1e-7},
    )
    errors = np.sqrt(np.maximum(np.diag(np.linalg.pinv(_curvature(minus_log, found.x))), 0))
    mu = expected(found.x)
    chi2 = ((count[used] - mu[used]) ** 2 / np.maximum(mu[used], 1e-9))[mu[used] > 1]
    return Fit(
        float(found.x[0]),
        float(errors[0]),
        float(found.x[1]),
        float(errors[1]),
        float(chi2.sum()),
        len(chi2) - 3,
        mu.tolist(),
    )


def _smeared(scale: float, resolution: float) -> NDArray[np.float64]:
    """Return what a detector makes of the spectrum, per bin of EDGES_MEV."""
    from scipy.special import ndtr

    true = np.arange(STEP_MEV / 2, 53.0, STEP_MEV)
    weight = michel_density(true) * STEP_MEV
    seen = scale * true
    below = ndtr((EDGES_MEV[:, None] - seen) / (resolution * seen))
    return np.asarray((np.diff(below, axis=0) * weight).sum(axis=1))


def _curvature(function: "object", place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the second derivatives of a function at its minimum, by differences."""
    assert callable(function)
    step = 1e-3 * np.maximum(np.abs(place), 0.1)
    num = len(place)
    found = np.zeros((num, num))
    unit = np.eye(num) * step
    for one in range(num):
        for other in range(num):
            found[one, other] = (
                function(place + unit[one] + unit[other])
                - function(place + unit[one] - unit[other])
                - function(place - unit[one] + unit[other])
                + function(place - unit[one] - unit[other])
            ) / (4 * step[one] * step[other])
    return found
