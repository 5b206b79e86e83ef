"""Everything that is measured of particles: lengths, dE/dx, energies, containment, straightness.

Positions are in voxel units of the box until they are named `_cm`. Shape suffixes: V clustered voxels,
F particles, K species, S slices.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.config import Summarize
from lartpc.event import Columns
from lartpc.geometry import Box, volume_of
from lartpc.kinematics.argon import (
    MASS_MEV,
    TRACKS,
    energy_of_range,
    loss_at_residual,
    momentum_mev_c,
    stopping_power,
    straggling_cm,
)
from lartpc.kinematics.clusters import Clusters, Floats, directions, length, products, symmetric
from lartpc.kinematics.paths import Paths, paths, slice_up
from lartpc.kinematics.scattering import scattering_energy_mev, segment_directions
from lartpc.kinematics.stopping import energy_by_loss, stops_early
from lartpc.vocab import NONE, EnergyMethod, Semantic, Species

PATH_STEP_CM = 3.0
"""Thickness of the slices whose centroids make up the line of a track: ten voxels of 3 mm, thin enough to
follow multiple scattering and thick enough to average over the width of a track [cm]."""
CHI2_RESIDUAL_CM = 26.0
"""Longest residual range that is compared with the templates, as in LArSoft's Chi2ParticleID [cm]."""
CHI2_SKIP_CM = 1.0
"""What is left out at both ends of a track, where slices are not full [cm]."""
CHI2_ERROR = 0.15
"""Relative error of dE/dx over 1 cm: the spread of energy loss of simulated stopping muons and protons."""
DELTA_CUT_MEV = 1.5
"""Deltas above it are particles of their own: electrons with a range of about three voxels of 3 mm [MeV]."""


@dataclass(frozen=True)
class Particles:
    """Particles to be measured, reconstructed or true: their voxels, and (F,) their class, ends and species."""

    clusters: Clusters
    semantic: NDArray[Any]
    species: NDArray[Any]
    start: Floats
    end: Floats


def measure(particles: Particles, box: Box, volumes_cm: Floats, cfg: Summarize) -> Columns:
    """Return the measured columns (F,) or (F, 3) or (F, K) of particles, in cm and MeV.

    Lengths, energies by calorimetry, by range and by scattering for each species of `argon.TRACKS` and their errors,
    the best energy, how it was found and whether it is a lower bound, dE/dx at both ends, chi² of dE/dx for each
    species, directions, containment, straightness and spread. Unknown numbers are nan. The definitions are in
    docs/reference/kinematics.md.

    Parameters
    ----------
    volumes_cm
        Lower and upper corners (N, 2, 3) of the active volumes [cm].
    """
    clusters, size = particles.clusters, box.voxel_size_cm
    is_track_F = particles.semantic == Semantic.TRACK
    line = paths(clusters, is_track_F, particles.start, particles.end, PATH_STEP_CM / size)
    length_F = (
        np.where(is_track_F, line.length_F, np.linalg.norm(particles.end - particles.start, axis=1)) * size
    )
    energy_F = clusters.total(clusters.energy_V)
    start_direction_F = directions(clusters, particles.start)
    # a particle arrives at its end from where it was before
    end_direction_F = -directions(clusters, particles.end)
    wall_F, volume_F = _walls(clusters, box, volumes_cm, cfg)
    contained_F = (wall_F >= cfg.containment_margin_cm) & (volume_F != NONE)
    calorimetric_F = np.where(is_track_F, 1.0, cfg.shower_scale) * energy_F
    range_FK = np.stack(
        [np.where(is_track_F, energy_of_range(species, length_F), np.nan) for species in TRACKS], axis=1
    )
    scattering_FK, scattering_error_FK = _scattering(particles, line, range_FK, contained_F, size, cfg)
    calorimetric_error_F = _calorimetric_error(calorimetric_F, is_track_F, cfg)
    range_error_FK = _range_error(range_FK, length_F, cfg)
    losses = _end_losses(particles, size, cfg.end_radius_cm)
    loss_F = _loss_energy(particles, calorimetric_F, length_F, losses["end_dedx_mev_cm"], cfg)
    kinetic_F, method_F, bound_F = best_energy(
        particles, calorimetric_F, range_FK, scattering_FK, loss_F, contained_F, length_F < cfg.short_track_cm
    )
    own_F = _own(particles.species)
    row_F = np.arange(len(own_F))
    error_F = np.choose(
        method_F,
        [
            calorimetric_error_F,
            range_error_FK[row_F, own_F],
            scattering_error_FK[row_F, own_F],
            cfg.loss_resolution * loss_F,
        ],
    )
    mass_F = mass_mev(particles.species)
    momentum_F = momentum_mev_c(kinetic_F, mass_F)
    axis_F = (
        clusters.axis_F
        * np.where(np.einsum("fi,fi->f", clusters.axis_F, start_direction_F) < 0, -1.0, 1.0)[:, None]
    )
    spread_F, axial_F = _spread(clusters, particles.start, start_direction_F, cfg.spread_length_cm / size)
    return {
        "length_cm": length_F,
        "start_direction": start_direction_F,
        "end_direction": end_direction_F,
        "axis": axis_F,
        "calorimetric_energy_mev": calorimetric_F,
        "range_energy_mev": range_FK,
        "scattering_energy_mev": scattering_FK,
        "calorimetric_energy_error_mev": calorimetric_error_F,
        "range_energy_error_mev": range_error_FK,
        "scattering_energy_error_mev": scattering_error_FK,
        "kinetic_energy_mev": kinetic_F,
        "kinetic_energy_error_mev": np.where(bound_F, np.nan, error_F),
        "energy_method": method_F,
        "is_energy_bound": bound_F,
        "mass_mev": mass_F,
        "momentum_mev_c": momentum_F,
        "momentum": start_direction_F * momentum_F[:, None],
        **losses,
        "chi2": _chi2(particles, line, size, cfg.slice_cm),
        "wall_distance_cm": wall_F,
        "volume": volume_F,
        "is_contained": contained_F,
        "straightness": _straightness(clusters, particles.start, cfg.end_radius_cm / size),
        "directional_spread": spread_F,
        "axial_spread": axial_F,
    }


def best_energy(
    particles: Particles,
    calorimetric_F: Floats,
    range_FK: Floats,
    scattering_FK: Floats,
    loss_F: Floats,
    contained_F: NDArray[np.bool_],
    short_F: NDArray[np.bool_],
) -> tuple[Floats, NDArray[np.int64], NDArray[np.bool_]]:
    """Return the kinetic energy (F,) [MeV] that is trusted most, its `EnergyMethod`, and whether it is a lower bound.

    Tracks with a species: contained ones by range, but short ones by calorimetry and protons that do not stop by their
    loss (`loss_F`, nan for all others); leaving ones by scattering where it is known, else the larger of what their
    range takes and what they deposit. All else by calorimetry. What leaves has a lower bound, but for scattering.
    """
    own_F = _own(particles.species)
    known = (particles.semantic == Semantic.TRACK) & (own_F >= 0)
    row = np.arange(len(own_F))
    by_range, by_scattering = range_FK[row, own_F], scattering_FK[row, own_F]
    use_loss = known & contained_F & ~short_F & np.isfinite(loss_F)
    use_range = known & contained_F & (by_range > 0) & ~short_F & ~use_loss
    use_scattering = known & ~contained_F & (by_scattering > 0)
    use_range |= known & ~contained_F & ~use_scattering & (by_range > calorimetric_F)
    method = np.where(use_scattering, int(EnergyMethod.SCATTERING), int(EnergyMethod.CALORIMETRY))
    method = np.where(use_range, int(EnergyMethod.RANGE), method)
    method = np.where(use_loss, int(EnergyMethod.LOSS), method)
    energy = np.choose(method, [calorimetric_F, by_range, by_scattering, loss_F])
    return energy, method, ~contained_F & ~use_scattering


def _loss_energy(
    particles: Particles, calorimetric_F: Floats, length_F: Floats, end_loss_F: Floats, cfg: Summarize
) -> Floats:
    """Return the energy (F,) [MeV] of protons that do not stop; nan for all others."""
    found = np.full(len(length_F), np.nan)
    is_proton = (particles.semantic == Semantic.TRACK) & (particles.species == Species.PROTON)
    if cfg.loss_resolution:
        chosen = is_proton & stops_early(calorimetric_F, length_F, end_loss_F, cfg.end_radius_cm)
        for row in np.flatnonzero(chosen):
            found[row] = energy_by_loss(float(calorimetric_F[row]), float(length_F[row]))
    return found


def _own(species_F: NDArray[Any]) -> NDArray[np.int64]:
    """Return the column of `argon.TRACKS` (F,) of each particle's species, -1 for none."""
    column = np.full(len(Species) + 1, NONE)
    column[list(TRACKS)] = np.arange(len(TRACKS))
    found: NDArray[np.int64] = column[species_F]
    return found


def _calorimetric_error(energy_F: Floats, is_track_F: NDArray[np.bool_], cfg: Summarize) -> Floats:
    """Return the error (F,) [MeV] of energies by calorimetry: of all but tracks it grows as their square root."""
    stochastic_F = cfg.shower_resolution * np.sqrt(np.maximum(energy_F, 0.0) * 1000.0)
    return np.where(is_track_F, cfg.track_resolution * energy_F, stochastic_F)


def _range_error(range_FK: Floats, length_F: Floats, cfg: Summarize) -> Floats:
    """Return the error (F, K) [MeV] of energies by range: straggling, and that of the length."""
    out = np.full_like(range_FK, np.nan)
    for column, species in enumerate(TRACKS):
        energy = range_FK[:, column]
        known = np.isfinite(energy) & (energy > 0)
        sigma = np.hypot(straggling_cm(species, energy[known]), cfg.length_resolution_cm)
        out[known, column] = sigma * stopping_power(species, energy[known])
    return out


def mass_mev(species_F: NDArray[Any]) -> Floats:
    """Return the mass (F,) [MeV]; nan without a species."""
    mass = np.array([*(MASS_MEV[species] for species in Species), np.nan])
    found: Floats = mass[species_F]
    return found


def _walls(
    clusters: Clusters, box: Box, volumes_cm: Floats, cfg: Summarize
) -> tuple[Floats, NDArray[np.int64]]:
    """Return the least distance (F,) of voxels to a wall [cm], and the volume (F,) they lie in.

    The volume is -1 for particles in several or in none; their distance is to the walls of each voxel's own.
    """
    low, high = volumes_cm[:, 0], volumes_cm[:, 1]
    if cfg.containment == "detector":
        low, high = low.min(axis=0, keepdims=True), high.max(axis=0, keepdims=True)
    point_3V = box.to_cm(clusters.point_3V.T).T
    volume_V = volume_of(point_3V.T, np.stack([low, high], axis=1))
    to_wall_3V = np.minimum(point_3V - low.T.take(volume_V, axis=1), high.T.take(volume_V, axis=1) - point_3V)
    distance_V = np.where(volume_V != NONE, to_wall_3V.min(axis=0), 0.0)
    wall_F = -clusters.maximum(-distance_V)
    first, last = (
        -clusters.maximum(-volume_V.astype(np.float64)),
        clusters.maximum(volume_V.astype(np.float64)),
    )
    same = (first == last) & (clusters.size_F > 0)
    return np.where(clusters.size_F > 0, wall_F, 0.0), np.where(same, last, NONE).astype(np.int64)


def _scattering(
    particles: Particles,
    line: Paths,
    range_FK: Floats,
    contained_F: NDArray[np.bool_],
    size: float,
    cfg: Summarize,
) -> tuple[Floats, Floats]:
    """Return energies (F, K) by scattering of tracks that leave, as each species, and their errors; else nan."""
    clusters, step = particles.clusters, cfg.scattering_step_cm
    out = np.full((2, clusters.num_clusters, len(TRACKS)), np.nan)
    leaving = (particles.semantic == Semantic.TRACK) & ~contained_F & (line.length_F * size >= 4 * step)
    if leaving.any():
        owner_S, direction_S = segment_directions(clusters, line.along_V, leaving, step / size)
        for row in np.flatnonzero(leaving):
            direction = direction_S[owner_S == row]
            for column, species in enumerate(TRACKS):
                out[:, row, column] = scattering_energy_mev(
                    direction, species, step, cfg.scattering_resolution_rad, range_FK[row, column]
                )
    return out[0], out[1]


def _end_losses(particles: Particles, size: float, radius_cm: float) -> Columns:
    """Return the energy per length within a radius of start and end (F,) [MeV/cm].

    The length is the reach of those voxels from the end, and half a voxel on; the radius for longer particles.
    """
    clusters = particles.clusters
    found: Columns = {}
    for name, at_F in (("start_dedx_mev_cm", particles.start), ("end_dedx_mev_cm", particles.end)):
        distance_V = clusters.distance(at_F) * size
        near_V = distance_V <= radius_cm
        is_whole_F = ~np.isfinite(clusters.maximum(np.where(near_V, -np.inf, 1.0)))
        reach_F = np.maximum(clusters.maximum(np.where(near_V, distance_V, 0.0)) + 0.5 * size, size)
        length_F = np.where(is_whole_F, reach_F, radius_cm)
        found[name] = clusters.total(np.where(near_V, clusters.energy_V, 0.0)) / length_F
    return found


def _chi2(particles: Particles, line: Paths, size: float, step_cm: float) -> Floats:
    """Return chi² per slice (F, K) of dE/dx against that of a stopping particle of each species; nan: none.

    Slices within `CHI2_RESIDUAL_CM` of the end count, without those within `CHI2_SKIP_CM` of either end.
    """
    clusters = particles.clusters
    slices = slice_up(clusters, line.along_V, step_cm / size)
    length_S = line.length_F[slices.owner_S] * size
    middle_S = slices.begin_S * size + 0.5 * step_cm
    residual_S = length_S - middle_S
    used = (particles.semantic[slices.owner_S] == Semantic.TRACK) & (residual_S <= CHI2_RESIDUAL_CM)
    used &= (residual_S >= CHI2_SKIP_CM) & (middle_S >= CHI2_SKIP_CM)
    owner, residual = slices.owner_S[used], residual_S[used]
    loss = slices.energy_S[used] / step_cm
    count_F = np.bincount(owner, minlength=clusters.num_clusters)
    out = np.full((clusters.num_clusters, len(TRACKS)), np.nan)
    for column, species in enumerate(TRACKS):
        expected = loss_at_residual(species, residual, DELTA_CUT_MEV)
        pull = (loss - expected) / (CHI2_ERROR * expected)
        total_F = np.bincount(owner, pull**2, clusters.num_clusters)
        np.divide(total_F, count_F, out=out[:, column], where=count_F > 0)
    return out


def _straightness(clusters: Clusters, start_F: Floats, radius: float) -> Floats:
    """Return the share (F,) of the largest eigenvalue in the spread of the voxels near the start; nan: none."""
    delta_3V = clusters.seen_from(start_F)
    weight_V = (length(delta_3V) <= radius).astype(np.float64)
    count_F = np.maximum(clusters.total(weight_V), 1.0)[:, None]
    mean_F = clusters.total(delta_3V * weight_V) / count_F
    spread_F = clusters.total(products(delta_3V) * weight_V) / count_F
    value_F = np.linalg.eigvalsh(symmetric(spread_F - products(mean_F.T).T))
    total_F = value_F.sum(axis=1)
    out = np.full(len(total_F), np.nan)
    np.divide(value_F[:, 2], total_F, out=out, where=total_F > 1e-9)
    return out


def _spread(clusters: Clusters, start_F: Floats, direction_F: Floats, decay: float) -> tuple[Floats, Floats]:
    """Return how wide a particle opens (F,): the spread of directions from its start, and that about its axis.

    The first is one minus the length of the mean direction to the voxels; the second the mean tangent of the
    angle to the start direction of those ahead. Weights fall as exp(-distance / decay). nan where undefined.
    """
    delta_3V = clusters.seen_from(start_F)
    distance_V = length(delta_3V)
    is_away_V = distance_V > 0
    weight_V = np.exp(-distance_V / decay) * is_away_V
    total_F = clusters.total(weight_V)
    mean_F = clusters.total(delta_3V * (weight_V / np.where(is_away_V, distance_V, 1.0)))
    known = total_F > 0
    nan = np.full(len(total_F), np.nan)
    spread_F = 1.0 - np.divide(np.linalg.norm(mean_F, axis=1), total_F, out=nan.copy(), where=known)
    ahead_V = (delta_3V * clusters.of_voxels(direction_F.T)).sum(axis=0)
    across_V = np.sqrt(np.maximum(distance_V**2 - ahead_V**2, 0.0))
    weight_V = weight_V * (ahead_V > 0)
    total_F = clusters.total(weight_V)
    tangent_V = np.divide(across_V, ahead_V, out=np.zeros(len(ahead_V)), where=ahead_V > 0)
    axial_F = np.divide(clusters.total(weight_V * tangent_V), total_F, out=nan, where=total_F > 0)
    return spread_F, axial_F
