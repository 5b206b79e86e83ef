"""What is generated in the box: a vertex with isolated particles or under cosmic muons, or a single particle.

The first is the pair of generators that the open samples of the field are made with (multi-particle
vertex, MPV, and rain, MPR, isolated particles; PILArNet, arXiv:2006.01993): they know no neutrino, so that a network
learns particles and not a flux.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from lartpc.config import Generator, GeneratorFiles, Gun, ParticleGroup, Simulate, Vector
from lartpc.masses import known_mass_mev
from lartpc.simulate import cosmic, neutrinos
from lartpc.simulate.primary import Primary

VERTEX_INTERACTION = 0
"""The interaction of all particles from the vertex; every other particle has its own after it."""


def check(cfg: Simulate) -> None:
    """Refuse settings from which no event can be drawn.

    Raises
    ------
    ValueError
        The message names the key and the remedy.
    """
    if isinstance(cfg.generator, GeneratorFiles):
        neutrinos.check(cfg.generator, cfg.box_cm)
    if 2 * cfg.wall_margin_cm >= cfg.box_cm:
        raise ValueError(
            f"simulate.wall_margin_cm ({cfg.wall_margin_cm:g}) must be less than half of "
            f"simulate.box_cm ({cfg.box_cm:g})"
        )
    for name, generator in mixtures(cfg):
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
    if cfg.generator == "mpvmpr" and cfg.vertex.num_particles[1] + cfg.mpr.num_particles[1] == 0:
        raise ValueError("simulate.vertex.num_particles and simulate.mpr.num_particles are both [0, 0]")
    for key, shot in kinds(cfg):
        low, high = shot.kinetic_energy_mev
        if not 0 < low <= high:
            raise ValueError(f"{key}.kinetic_energy_mev must be a range above 0, got [{low:g}, {high:g}]")
        if not shot.pdg:
            raise ValueError(f"{key}.pdg must name at least one particle")
    if cfg.gun.momentum_mev_c and not 0 < cfg.gun.momentum_mev_c[0] <= cfg.gun.momentum_mev_c[1]:
        low, high = cfg.gun.momentum_mev_c
        raise ValueError(f"simulate.gun.momentum_mev_c must be a range above 0, got [{low:g}, {high:g}]")
    if (position := cfg.gun.position_cm) and np.abs(position).max() >= cfg.box_cm / 2:
        raise ValueError(
            f"simulate.gun.position_cm {position} is outside the box, whose walls are at "
            f"±{cfg.box_cm / 2:g} cm"
        )
    if cfg.gun.direction and not np.linalg.norm(cfg.gun.direction) > 0:
        raise ValueError(f"simulate.gun.direction must have a length, got {cfg.gun.direction}")


def mixtures(cfg: Simulate) -> Iterator[tuple[str, Generator]]:
    """Yield the mixtures of particles that the chosen generator draws from, with their names."""
    for name in cfg.reads:
        if isinstance(generator := getattr(cfg, name), Generator):
            yield name, generator


def kinds(cfg: Simulate) -> Iterator[tuple[str, ParticleGroup | Gun]]:
    """Yield everything that names particles for the chosen generator, with its key."""
    if cfg.generator == "gun":
        yield "simulate.gun", cfg.gun
    for name, generator in mixtures(cfg):
        for index, group in enumerate(generator.groups):
            yield f"simulate.{name}.groups.{index}", group


def event_seeds(seed: int, event: int) -> tuple[np.random.SeedSequence, int]:
    """Return an event's seed for the generators, and one for Geant4 (63 bits, above 0).

    Both follow from the seed of the shard and the number of the event alone.
    """
    generator, transport = np.random.SeedSequence(seed, spawn_key=(event,)).spawn(2)
    return generator, int(transport.generate_state(1, np.uint64)[0] >> np.uint64(1)) or 1


def primaries(cfg: Simulate, rng: np.random.Generator) -> list[Primary]:
    """Draw the primary particles of one event: those of the vertex, then the others.

    The vertex is uniform in the box less the margin at its walls, isolated particles uniform in the box;
    directions are isotropic, energies uniform in the range of the particle's group. Cosmic muons are
    those of `cosmic.muons`. Each particle that is not from the vertex is an interaction of its own.
    """
    half = cfg.box_cm / 2
    vertex = _position(half - cfg.wall_margin_cm, rng)
    if cfg.generator == "gun":
        return [_shoot(cfg.gun, cfg.gun.position_cm or vertex, VERTEX_INTERACTION, rng, cfg.gun.direction)]
    shot = [_shoot(group, vertex, VERTEX_INTERACTION, rng) for group in draw_groups(cfg.vertex, rng)]
    first = VERTEX_INTERACTION + 1
    for name in cfg.reads[1:]:
        shot += overlay(cfg, name, first, rng)
    return shot


def overlay(cfg: Simulate, name: str, first: int, rng: np.random.Generator) -> list[Primary]:
    """Draw what comes over the particles of the vertex, `cosmic` or `mpr`: interactions from number `first` on."""
    if name == "cosmic":
        return [
            Primary(muon.pdg, muon.kinetic_energy_mev, muon.position_cm, muon.direction, number, muon.time_ns)
            for number, muon in enumerate(cosmic.muons(cfg.box_cm, cfg.cosmic.window_us, rng), start=first)
        ]
    half = cfg.box_cm / 2
    return [
        _shoot(group, _position(half, rng), number, rng)
        for number, group in enumerate(draw_groups(cfg.mpr, rng), start=first)
    ]


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


def _shoot(
    kind: ParticleGroup | Gun,
    position_cm: Vector,
    interaction: int,
    rng: np.random.Generator,
    direction: Vector | None = None,
) -> Primary:
    pdg = int(rng.choice(kind.pdg))
    if isinstance(kind, Gun) and kind.momentum_mev_c:
        momentum_mev, mass_mev = float(rng.uniform(*kind.momentum_mev_c)), known_mass_mev(pdg)
        energy_mev = float(np.hypot(momentum_mev, mass_mev) - mass_mev)
    else:
        energy_mev = float(rng.uniform(*kind.kinetic_energy_mev))
    return Primary(pdg, energy_mev, position_cm, _unit(direction) or _direction(rng), interaction)


def _unit(direction: Vector | None) -> Vector | None:
    if direction is None:
        return None
    x, y, z = np.asarray(direction) / np.linalg.norm(direction)
    return float(x), float(y), float(z)


def _position(half_cm: float, rng: np.random.Generator) -> Vector:
    x, y, z = rng.uniform(-half_cm, half_cm, 3)
    return float(x), float(y), float(z)


def _direction(rng: np.random.Generator) -> Vector:
    cos_theta, phi = rng.uniform(-1, 1), rng.uniform(0, 2 * np.pi)
    sin_theta = np.sqrt(1 - cos_theta**2)
    return float(sin_theta * np.cos(phi)), float(sin_theta * np.sin(phi)), float(cos_theta)
