"""Interactions of neutrino generators as primaries of the simulation: spills, places and times."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.config import GeneratorFiles, Placement, Simulate, Vector
from lartpc.neutrinos.record import Interaction, is_shot
from lartpc.simulate.primary import Primary
from lartpc.vocab import NONE

_SPILLS = 1
"""Key of the seed of spills, beside those of events (which have one number only)."""
_NS_PER_US = 1e3


def check(cfg: GeneratorFiles, box_cm: float) -> None:
    """Refuse settings from which no vertex can be drawn.

    Raises
    ------
    ValueError
        The message names the key and the remedy.
    """
    key, place = "simulate.generator.vertex", cfg.vertex
    low, high = corners_cm(place, box_cm)
    if place.mode == "file":
        if place.low_cm or place.high_cm or place.density_x or place.density_y or place.density_z:
            raise ValueError(f"{key}: corners and densities have no effect with mode 'file'; remove them")
        return
    if any(place.origin_cm):
        raise ValueError(f"{key}.origin_cm has no effect with mode 'uniform'; remove it, or set mode: file")
    if not (low < high).all() or np.abs([low, high]).max() > box_cm / 2:
        raise ValueError(
            f"{key}: low_cm {low.tolist()} must be below high_cm {high.tolist()}, both within ±{box_cm / 2:g} cm"
        )
    for axis, density in zip("xyz", (place.density_x, place.density_y, place.density_z), strict=True):
        if density and not sum(density) > 0:
            raise ValueError(f"{key}.density_{axis} is 0 everywhere")


def corners_cm(place: Placement, box_cm: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower and upper corner (3,) of where vertices lie [cm]."""
    half = box_cm / 2
    low = (-half,) * 3 if place.low_cm is None else place.low_cm
    high = (half,) * 3 if place.high_cm is None else place.high_cm
    return np.array(low, np.float64), np.array(high, np.float64)


def spills(
    interactions: Iterable[Interaction], mean: float | None, num_events: int | None, seed: int
) -> list[tuple[Interaction, ...]]:
    """Deal interactions to events in order: one each, or a Poisson number of them.

    Parameters
    ----------
    mean
        Interactions of an event, on average; None: one each.
    num_events
        Number of events; None: as many as the interactions are enough for.

    Raises
    ------
    ValueError
        There are fewer interactions than that many events need.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_SPILLS, 0)))
    left = iter(interactions)
    dealt: list[tuple[Interaction, ...]] = []
    while num_events is None or len(dealt) < num_events:
        wanted = 1 if mean is None else int(rng.poisson(mean))
        taken = tuple(islice(left, wanted))
        if len(taken) < wanted:
            if num_events is None:
                break
            have = sum(map(len, dealt)) + len(taken)
            raise ValueError(
                f"{num_events} events need more than the {have} interactions that the generator's files have for "
                "this shard; ask for fewer events, or give more files (each interaction is used once)"
            )
        dealt.append(taken)
    if not dealt:
        raise ValueError("the generator's files have no interaction for this shard; use fewer shards")
    return dealt


def shoot(
    cfg: GeneratorFiles,
    box_cm: float,
    interactions: Sequence[Interaction],
    rng: np.random.Generator,
    is_known: Callable[[int], bool],
) -> tuple[list[Primary], list[dict[str, Any]]]:
    """Return the particles to shoot, and the rows of `truth_neutrino`, of the interactions of an event.

    Interaction `i` of the event has the number `i`; its particles start together, where and when it happens.
    Neutrinos are not shot, nor what the simulation does not know, which is counted.
    """
    shot: list[Primary] = []
    rows: list[dict[str, Any]] = []
    for number, interaction in enumerate(interactions):
        vertex, time_ns = _where(cfg, box_cm, interaction, rng)
        lepton, num_not_shot = NONE, 0
        for particle in interaction.particles:
            if not is_shot(particle.pdg):
                continue
            start = tuple(a + b for a, b in zip(vertex, particle.offset_cm, strict=True))
            if not is_known(particle.pdg) or max(map(abs, start)) >= box_cm / 2:
                num_not_shot += 1
                continue
            px, py, pz = particle.momentum_mev_c
            size = (px * px + py * py + pz * pz) ** 0.5
            shot.append(
                Primary(
                    particle.pdg,
                    particle.kinetic_energy_mev,
                    (start[0], start[1], start[2]),
                    (px / size, py / size, pz / size),
                    number,
                    time_ns,
                )
            )
            if lepton == NONE and particle.pdg == interaction.columns.get("lepton_pdg"):
                lepton = len(shot)  # primary i is track i + 1
        rows.append(
            {
                **interaction.columns,
                "interaction": number,
                "vertex": vertex,
                "time": time_ns,
                "lepton_track_id": lepton,
                "num_not_shot": num_not_shot,
            }
        )
    return shot, rows


def _where(
    cfg: GeneratorFiles, box_cm: float, interaction: Interaction, rng: np.random.Generator
) -> tuple[Vector, float]:
    time_ns = float(rng.uniform(0.0, cfg.spill_us)) * _NS_PER_US
    if cfg.vertex.mode == "uniform":
        return draw_vertex(cfg.vertex, box_cm, rng), time_ns
    event = interaction.columns.get("event")
    if interaction.position_cm is None:
        raise ValueError(
            f"interaction {event} has no position in its file; set simulate.generator.vertex.mode: uniform"
        )
    x, y, z = (a - b for a, b in zip(interaction.position_cm, cfg.vertex.origin_cm, strict=True))
    if not max(abs(x), abs(y), abs(z)) < box_cm / 2:
        raise ValueError(
            f"interaction {event} is at ({x:.6g}, {y:.6g}, {z:.6g}) cm from the centre of the box, outside it; set "
            "simulate.generator.vertex.origin_cm to the file's coordinates of the centre, or mode: uniform"
        )
    return (x, y, z), time_ns + (interaction.time_ns or 0.0)


def draw_vertex(place: Placement, box_cm: float, rng: np.random.Generator) -> Vector:
    """Draw a vertex [cm]: uniform between the corners, or by the density in slices along each axis."""
    low, high = corners_cm(place, box_cm)
    at = []
    for axis, density in enumerate((place.density_x, place.density_y, place.density_z)):
        share = rng.random()
        if density:
            weight = np.asarray(density, np.float64)
            share = (int(rng.choice(len(weight), p=weight / weight.sum())) + share) / len(weight)
        at.append(float(low[axis] + share * (high[axis] - low[axis])))
    return at[0], at[1], at[2]


def from_files(cfg: Simulate) -> GeneratorFiles | None:
    """Return the settings of interactions from files, None for the other generators."""
    return cfg.generator if isinstance(cfg.generator, GeneratorFiles) else None
