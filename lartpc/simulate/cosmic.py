"""Cosmic muons at sea level: how many cross the box, and with which momenta, directions and places.

The differential intensity is I(p, θ) = I_v(p) cos²θ, θ from the vertical, which is the y axis.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lartpc.masses import MUON_MASS_MEV

Array = NDArray[np.float64]
Vector = tuple[float, float, float]

CHARGE_RATIO = 1.28
"""Positive over negative muons, flat below 100 GeV (CMS, Phys. Lett. B 692 (2010) 83: 1.2766 ± 0.0034)."""

REYNA = (0.00253, 0.2455, 1.288, -0.2555, 0.0209)
"""Constants of the vertical intensity (D. Reyna, arXiv:hep-ph/0604145, eq. 3 and 4)."""

MOMENTUM_GEV = (0.2, 1000.0)
"""Range of momenta. The fit of Reyna begins at 1 GeV/c; below, its own continuation is taken, almost flat as
measured (PDG 2024, sec. 30.3.1), and ends where a muon stops within a metre of argon."""

FACE_MARGIN_CM = 1e-4
"""Muons begin this far inside the face that they enter, so that rounding leaves none outside."""


class Muon(NamedTuple):
    """A muon as it enters the box, in the coordinates of the box."""

    pdg: int
    kinetic_energy_mev: float
    position_cm: Vector
    direction: Vector
    time_ns: float


def vertical_intensity(momentum_gev: ArrayLike) -> Array:
    """Return the vertical intensity of muons at sea level [1/(cm² s sr GeV/c)]; momentum (N,) in GeV/c."""
    momentum = np.asarray(momentum_gev, np.float64)
    log = np.log10(momentum)
    scale, *powers = REYNA
    exponent = sum(power * log**order for order, power in enumerate(powers))
    intensity: Array = scale * momentum**-exponent
    return intensity


@lru_cache(maxsize=1)
def _spectrum() -> tuple[Array, Array]:
    """Return momenta [GeV/c] and the integral of the vertical intensity up to each [1/(cm² s sr)]."""
    momentum = np.geomspace(*MOMENTUM_GEV, 2000)
    intensity = vertical_intensity(momentum)
    pieces = 0.5 * (intensity[1:] + intensity[:-1]) * np.diff(momentum)
    return momentum, np.concatenate([[0.0], np.cumsum(pieces)])


def mean_muons(box_cm: float, window_us: float) -> float:
    """Return how many muons cross a cube in a time, on average.

    The area that the cube of side L shows to the direction d is L² (|dx| + |dy| + |dz|); with cos²θ its
    integral over the upper half of the sphere is π L², of which the top gives one half.
    """
    per_second = np.pi * box_cm**2 * _spectrum()[1][-1]
    return float(per_second * window_us * 1e-6)


def muons(box_cm: float, window_us: float, rng: np.random.Generator) -> Iterator[Muon]:
    """Draw the muons that cross a cube within a time around 0, a Poisson number of them."""
    for _ in range(rng.poisson(mean_muons(box_cm, window_us))):
        direction = _direction(rng)
        momentum_mev = 1e3 * _momentum_gev(rng)
        yield Muon(
            pdg=-13 if rng.random() < CHARGE_RATIO / (1 + CHARGE_RATIO) else 13,
            kinetic_energy_mev=float(np.hypot(momentum_mev, MUON_MASS_MEV) - MUON_MASS_MEV),
            position_cm=_entry(direction, box_cm, rng),
            direction=(float(direction[0]), float(direction[1]), float(direction[2])),
            time_ns=float(rng.uniform(-0.5, 0.5) * window_us * 1e3),
        )


def _momentum_gev(rng: np.random.Generator) -> float:
    momentum, integral = _spectrum()
    return float(np.interp(rng.random() * integral[-1], integral, momentum))


def _direction(rng: np.random.Generator) -> Array:
    """Draw a downward direction (3,) by cos²θ and the area that the cube shows to it."""
    while True:
        cos_theta, phi = np.cbrt(rng.random()), rng.uniform(0, 2 * np.pi)
        sin_theta = np.sqrt(1 - cos_theta**2)
        direction: Array = np.array([sin_theta * np.cos(phi), -cos_theta, sin_theta * np.sin(phi)])
        if rng.random() * np.sqrt(3) < np.abs(direction).sum():
            return direction


def _entry(direction: Array, box_cm: float, rng: np.random.Generator) -> Vector:
    """Draw the point where a muon of a direction enters the cube, uniform over the area that it shows."""
    share = np.abs(direction)
    axis = int(rng.choice(3, p=share / share.sum()))
    half = box_cm / 2
    position = rng.uniform(-half, half, 3)
    position[axis] = -np.sign(direction[axis]) * (half - FACE_MARGIN_CM)
    return float(position[0]), float(position[1]), float(position[2])
