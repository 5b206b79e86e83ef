"""What a detector makes of the deposited energy: charge that recombines, drifts, and is read out.

Steps become the charge that arrives at the anode, in MeV of a minimum ionising particle, and the
image then gets noise and thresholds. Everything is off by default: an image is of true energy. The
drift is along x, to the nearest anode.

Shape suffixes: S steps, Q clusters of electrons, V voxels.
"""

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from lartpc.config import Ingest, Response
from lartpc.geometry import Box
from lartpc.ingest.steps import FloatArray, IntArray, Steps
from lartpc.ingest.voxelize import Image, voxelize
from lartpc.vocab import NONE

DENSITY_G_CM3 = 1.396
"""Liquid argon at 87.3 K (PDG 2024, atomic and nuclear properties)."""

IONISATION_EV = 23.6
"""Energy per electron and ion (Miyajima et al., Phys. Rev. A 9 (1974) 1438 and 10 (1974) 1452)."""

MIP_MEV_CM = 2.10
"""Least mean energy loss of a muon in liquid argon (Groom et al., At. Data Nucl. Data Tables 78 (2001) 183)."""

LEAST_MEV_CM = 1.0
"""Steps of less dE/dx, and those of no length, recombine as of this one: the fits end there."""

MOBILITY = (551.6, 7158.3, 4440.43, 4.29, 43.63, 0.2053)
"""a0 to a5 of the mobility, for cm²/(V s) and kV/cm (Li et al., Nucl. Instrum. Meth. A 816 (2016) 160)."""

MOBILITY_AT_K = 89.0

US_PER_NS = 1e-3
US_PER_S = 1e6


def recombination(dedx_mev_cm: ArrayLike, cfg: Response) -> FloatArray:
    """Return the share of the electrons that escapes recombination, between 0 and 1.

    By `cfg.recombination` that is for "birks" A / (1 + k dE/dx / (ρ E)), for "box", the modified Box model,
    ln(α + ξ) / ξ with ξ = β dE/dx / (ρ E), and 1 for "none". Where `cfg` has no others, the constants are those of
    ICARUS (Amoruso et al., Nucl. Instrum. Meth. A 523 (2004) 275) and of ArgoNeuT (Acciarri et al., JINST 8 (2013)
    P08005).

    Parameters
    ----------
    dedx_mev_cm
        Energy loss per length [MeV/cm], any shape.
    """
    dedx = np.maximum(np.asarray(dedx_mev_cm, np.float64), LEAST_MEV_CM)
    density = dedx / (DENSITY_G_CM3 * cfg.field_kv_cm)
    if cfg.recombination == "birks":
        return np.asarray(np.clip(cfg.birks_a / (1 + cfg.birks_k * density), 0, 1))
    if cfg.recombination == "box":
        xi = cfg.box_beta * density
        return np.asarray(np.clip(np.log(cfg.box_alpha + xi) / xi, 0, 1))
    return np.ones_like(dedx)


def drift_velocity_cm_us(field_kv_cm: float, temperature_k: float) -> float:
    """Return the drift velocity of electrons [cm/us] from the fit of the mobility (`MOBILITY`)."""
    a0, a1, a2, a3, a4, a5 = MOBILITY
    field = field_kv_cm
    above = a0 + a1 * field + a2 * field**1.5 + a3 * field**2.5
    below = 1 + (a1 / a0) * field + a4 * field**2 + a5 * field**3
    mobility_cm2_v_s = above / below * (temperature_k / MOBILITY_AT_K) ** -1.5
    return float(mobility_cm2_v_s * 1e3 * field / US_PER_S)


def electrons_per_mev(cfg: Response) -> float:
    """Return how many electrons, before they drift, stand for 1 MeV of the image: those of a MIP."""
    return float(1e6 / IONISATION_EV * recombination(MIP_MEV_CM, cfg))


def detect(
    steps: Steps, box: Box, cfg: Ingest, volumes_cm: FloatArray, key: tuple[str, int]
) -> tuple[Steps, Image]:
    """Return the charge of an event as it arrives, and the image of it that is read out.

    If no part of the response is on, they are the steps and the image of `voxelize`, where the active
    volumes are explained. Everything random follows from the key alone, the file's uid and the entry.

    Raises
    ------
    ValueError
        As `voxelize`.
    """
    response = cfg.response
    if response == Response():
        return steps, voxelize(steps, box, cfg.voxel_threshold_mev, volumes_cm)
    steps.check()
    energy_mev = float(steps.energy.sum())
    file_uid, entry = key
    rng = np.random.default_rng([*hashlib.blake2b(file_uid.encode(), digest_size=16).digest(), entry])
    arrived = _drift(_recombine(steps, response), box, response, rng)
    image = voxelize(arrived, box, volumes_cm=volumes_cm)
    image = replace(image, energy_mev=energy_mev, energy_lost_mev=energy_mev - image.energy_mev)
    return arrived, _read_out(image, response, cfg.voxel_threshold_mev, rng)


def _recombine(steps: Steps, cfg: Response) -> Steps:
    """Scale the energy of steps by what escapes recombination, over the same of a MIP."""
    if cfg.recombination == "none":
        return steps
    length_S = np.linalg.norm(steps.end - steps.start, axis=1)
    dedx_S = np.divide(steps.energy, length_S, out=np.zeros_like(length_S), where=length_S > 0)
    share_S = recombination(dedx_S, cfg)
    of_mip = recombination(MIP_MEV_CM, cfg)
    return replace(steps, energy=steps.energy * share_S / of_mip)


def _drift(steps: Steps, box: Box, cfg: Response, rng: np.random.Generator) -> Steps:
    """Let the charge drift: it gets fewer, spreads, and seems displaced if it comes late."""
    velocity = drift_velocity_cm_us(cfg.field_kv_cm, cfg.temperature_k)
    if spreads := bool(cfg.diffusion_longitudinal_cm2_s or cfg.diffusion_transverse_cm2_s):
        steps = _clusters(steps, cfg)
    anodes = cfg.anode_x_cm or (box.origin_cm[0],)
    from_S, to_S = (
        np.abs(_from_anode(x_S, anodes)) / velocity for x_S in (steps.start[:, 0], steps.end[:, 0])
    )
    if cfg.lifetime_us is not None:
        steps = replace(steps, energy=steps.energy * _survival(from_S, to_S, cfg.lifetime_us))
    if spreads:
        time_S = 0.5 * (from_S + to_S)
        d_x, d_yz = cfg.diffusion_longitudinal_cm2_s, cfg.diffusion_transverse_cm2_s
        width_S3 = np.sqrt(2 * np.multiply.outer(time_S, [d_x, d_yz, d_yz]) / US_PER_S)
        moved_S3 = steps.start + width_S3 * rng.standard_normal(width_S3.shape)
        steps = replace(steps, start=moved_S3, end=moved_S3)
    return _displace(steps, anodes, velocity) if cfg.shift_by_time else steps


def _clusters(steps: Steps, cfg: Response) -> Steps:
    """Cut steps into clusters of equal charge, points along the step that drift each by itself."""
    electrons_S = steps.energy * electrons_per_mev(cfg)
    num_S = np.maximum(np.ceil(electrons_S / cfg.electrons_per_cluster), 1).astype(np.int64)
    step_Q: IntArray = np.repeat(np.arange(len(steps)), num_S)
    rank_Q = np.arange(len(step_Q)) - np.repeat(np.cumsum(num_S) - num_S, num_S)
    along_Q = (rank_Q + 0.5) / num_S[step_Q]
    position_Q3 = steps.start[step_Q] + along_Q[:, None] * (steps.end - steps.start)[step_Q]
    return replace(
        steps,
        start=position_Q3,
        end=position_Q3,
        energy=(steps.energy / num_S)[step_Q],
        time=steps.time[step_Q],
        track_id=steps.track_id[step_Q],
        pdg=steps.pdg[step_Q],
    )


def _survival(from_S: FloatArray, to_S: FloatArray, lifetime_us: float) -> FloatArray:
    """Return the mean of exp(-t/τ) over drift times between `from_S` and `to_S` [us]."""
    half_S = 0.5 * np.abs(to_S - from_S) / lifetime_us
    middle_S = np.exp(-0.5 * (from_S + to_S) / lifetime_us)
    # sinh(x)/x, 1 at 0
    spread_S = np.divide(np.sinh(half_S), half_S, out=np.ones_like(half_S), where=half_S > 0)
    return np.asarray(middle_S * spread_S)


def _from_anode(x_S: FloatArray, anodes: tuple[float, ...]) -> FloatArray:
    """Return the way from the nearest anode [cm], negative where the anode has the larger x."""
    way_SA = x_S[:, None] - np.asarray(anodes)
    nearest_S = np.argmin(np.abs(way_SA), axis=1)
    return np.asarray(way_SA[np.arange(len(x_S)), nearest_S])


def _displace(steps: Steps, anodes: tuple[float, ...], velocity_cm_us: float) -> Steps:
    """Move everything from its anode by the way that it would drift in its own time."""

    def shifted(position_S3: FloatArray, at_S3: FloatArray, time_S: FloatArray) -> FloatArray:
        away_S = np.where(_from_anode(at_S3[:, 0], anodes) < 0, -1.0, 1.0)
        out_S3 = position_S3.copy()
        out_S3[:, 0] += away_S * velocity_cm_us * time_S * US_PER_NS
        return out_S3

    trajectories = steps.trajectories
    if trajectories is not None:
        position_T3 = trajectories.position
        trajectories = replace(trajectories, position=shifted(position_T3, position_T3, trajectories.time))
    middle_S3 = 0.5 * (steps.start + steps.end)
    return replace(
        steps,
        start=shifted(steps.start, middle_S3, steps.time),
        end=shifted(steps.end, middle_S3, steps.time),
        trajectories=trajectories,
    )


def _read_out(image: Image, cfg: Response, threshold_mev: float, rng: np.random.Generator) -> Image:
    """Add noise to the voxels and drop those below the thresholds; a pixel is a column along x."""
    per_mev = electrons_per_mev(cfg)
    energy_V = image.energy
    lost_mev = image.energy_lost_mev
    if cfg.noise_electrons:
        energy_V = energy_V + rng.normal(0, cfg.noise_electrons / per_mev, len(energy_V))
        lost_mev += float(image.energy.sum() - energy_V.sum())
    least_mev = max(threshold_mev, cfg.voxel_threshold_electrons / per_mev)
    kept_V = (energy_V > 0) & (energy_V >= least_mev)
    if cfg.pixel_threshold_electrons:
        _, pixel_V = np.unique(image.coord[:, 1:], axis=0, return_inverse=True)
        of_pixel = np.bincount(pixel_V.ravel(), energy_V)
        kept_V &= of_pixel[pixel_V.ravel()] * per_mev >= cfg.pixel_threshold_electrons
    row_V = np.where(kept_V, np.cumsum(kept_V) - 1, NONE)
    deposits = image.deposits
    return replace(
        image,
        coord=image.coord[kept_V],
        energy=energy_V[kept_V],
        energy_below_mev=image.energy_below_mev + float(energy_V[~kept_V].sum()),
        energy_lost_mev=lost_mev,
        deposits=replace(deposits, voxel=np.append(row_V, NONE)[deposits.voxel]),
    )
