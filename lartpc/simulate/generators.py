"""What is shot into the box: particles from one vertex (MPV) and particles as rain (MPR).

The pair of generators that the open samples of the field are made with (PILArNet, arXiv:2006.01993):
they know no neutrino, so that a network learns particles and not a flux.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lartpc.config import Generator, ParticleGroup, Simulate

Vector = tuple[float, float, float]

VERTEX_INTERACTION = 0
"""The interaction of all particles from the vertex; each particle of the rain has its own after it."""


class Primary(NamedTuple):
    """One particle to shoot; the origin is the centre of the box."""

    pdg: int
    kinetic_energy_mev: float
    position_cm: Vector
    direction: Vector
    interaction: int


def check(cfg: Simulate) -> None:
    """Refuse settings from which no event can be drawn.

    Raises
    ------
    ValueError
        The message names the key and the remedy.
    """
    if 2 * cfg.wall_margin_cm >= cfg.box_cm:
        raise ValueError(
            f"simulate.wall_margin_cm ({cfg.wall_margin_cm:g}) must be less than half of "
            f"simulate.box_cm ({cfg.box_cm:g})"
        )
    for name, generator in (("vertex", cfg.vertex), ("rain", cfg.rain)):
        fewest, most = generator.num_particles
        if not 0 <= fewest <= most:
            raise ValueError(
                f"simulate.{name}.num_particles must be fewest and most particles, got [{fewest}, {most}]"
            )
        if most > (room := sum(group.max_count for group in generator.groups)):
            raise ValueError(
                f"simulate.{name}.num_particles goes up to {most}, but the groups hold at most {room} "
                "particles; raise their max_count"
            )
        for index, group in enumerate(generator.groups):
            low, high = group.kinetic_energy_mev
            if not 0 < low <= high:
                raise ValueError(
                    f"simulate.{name}.groups.{index}.kinetic_energy_mev must be a range above 0, "
                    f"got [{low:g}, {high:g}]"
                )
            if not group.pdg:
                raise ValueError(f"simulate.{name}.groups.{index}.pdg must name at least one particle")


def event_seeds(seed: int, event: int) -> tuple[np.random.SeedSequence, int]:
    """Return an event's seed for the generators, and one for Geant4 (63 bits, above 0).

    Both follow from the seed of the shard and the number of the event alone.
    """
    generator, transport = np.random.SeedSequence(seed, spawn_key=(event,)).spawn(2)
    return generator, int(transport.generate_state(1, np.uint64)[0] >> np.uint64(1)) or 1


def primaries(cfg: Simulate, rng: np.random.Generator) -> list[Primary]:
    """Draw the primary particles of one event: those of the vertex, then the rain.

    The vertex is uniform in the box less the margin at its walls, the rain uniform in the box;
    directions are isotropic, energies uniform in the range of the particle's group.
    """
    half = cfg.box_cm / 2
    vertex = _position(half - cfg.wall_margin_cm, rng)
    shot = [_shoot(group, vertex, VERTEX_INTERACTION, rng) for group in draw_groups(cfg.vertex, rng)]
    shot += [
        _shoot(group, _position(half, rng), interaction, rng)
        for interaction, group in enumerate(draw_groups(cfg.rain, rng), start=VERTEX_INTERACTION + 1)
    ]
    return shot


def draw_groups(generator: Generator, rng: np.random.Generator) -> Sequence[ParticleGroup]:
    """Draw the group of each particle by weight, none more often than its `max_count`."""
    fewest, most = generator.num_particles
    room = np.array([group.max_count for group in generator.groups], np.int64)
    weight = np.array([group.weight for group in generator.groups], np.float64)
    drawn = []
    for _ in range(int(rng.integers(fewest, most, endpoint=True))):
        open_weight = np.where(room > 0, weight, 0.0)
        index = int(rng.choice(len(room), p=open_weight / open_weight.sum()))
        room[index] -= 1
        drawn.append(generator.groups[index])
    return drawn


def _shoot(group: ParticleGroup, position_cm: Vector, interaction: int, rng: np.random.Generator) -> Primary:
    pdg = int(rng.choice(group.pdg))
    return Primary(
        pdg, float(rng.uniform(*group.kinetic_energy_mev)), position_cm, _direction(rng), interaction
    )


def _position(half_cm: float, rng: np.random.Generator) -> Vector:
    x, y, z = rng.uniform(-half_cm, half_cm, 3)
    return float(x), float(y), float(z)


def _direction(rng: np.random.Generator) -> Vector:
    cos_theta, phi = rng.uniform(-1, 1), rng.uniform(0, 2 * np.pi)
    sin_theta = np.sqrt(1 - cos_theta**2)
    return float(sin_theta * np.cos(phi)), float(sin_theta * np.sin(phi)), float(cos_theta)
