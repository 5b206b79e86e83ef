"""A particle to shoot, as every generator gives it."""

from typing import NamedTuple

from lartpc.config import Vector


class Primary(NamedTuple):
    """One particle to shoot; the origin is the centre of the box."""

    pdg: int
    kinetic_energy_mev: float
    position_cm: Vector
    direction: Vector
    interaction: int
    time_ns: float = 0.0
