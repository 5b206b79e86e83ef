"""What is measured of tracks that stop: path length, energy loss on the way, Michel positrons."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lartpc.masses import ELECTRON_MASS_MEV

Array = NDArray[np.float64]
Rows = NDArray[Any]

RESIDUAL_CM = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
RESIDUAL_HALF_WIDTH = 0.1
"""Half of the width of the interval of residual range in which dE/dx is taken, over its middle."""

MIP_RESIDUAL_CM = (90.0, 150.0)
"""Residual range in which a muon (of 220 to 350 MeV) loses within 1 % of its least dE/dx."""

AT_REST_MEV = 0.05
MUON, PROTON = 13, 2212

LOSS = ("muIoni", "hIoni", "muBrems", "hBrems", "muPairProd", "hPairProd", "CoulombScat")
"""Processes of Geant4 whose products are energy loss of the particle that makes them."""

PAIR = ("muPairProd", "hPairProd")
DECAY = "Decay"
STEP_TOLERANCE_MM = 1e-3


class TrackTally(NamedTuple):
    """Measured values of T tracks, in R intervals of residual range."""

    pdg: NDArray[np.int64]
    kinetic_energy_mev: Array
    path_cm: Array
    stopped: NDArray[np.bool_]
    """Came to rest without a nuclear interaction or a decay in flight."""
    dedx: Array
    """(T, R) energy loss per length with all delta rays [MeV/cm]; NaN where a track is too short."""
    dedx_deposited: Array
    """(T, R) the same without the delta rays that are particles of their own."""
    mip_step_mev: Array
    """Energy that muons at minimum ionisation deposit in an unbroken step of the greatest length."""
    michel_mev: Array
    """Kinetic energy of the positrons of muons that decay at rest."""

    @classmethod
    def empty(cls) -> Self:
        """Return the tally of no tracks."""
        none, residual = np.empty(0), np.empty((0, len(RESIDUAL_CM)))
        return cls(np.empty(0, np.int64), none, none, np.empty(0, bool), residual, residual, none, none)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the tally of all tracks of several tallies."""
        return cls(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))

    def of(self, pdg: int, kinetic_energy_mev: float) -> Array:
        """Return the path lengths of the particles of one kind and energy that stopped [cm]."""
        chosen = self.stopped & (abs(self.pdg) == pdg) & (self.kinetic_energy_mev == kinetic_energy_mev)
        path_cm: Array = self.path_cm[chosen]
        return path_cm


def track_tally(steps: Mapping[str, Rows], max_step_mm: float) -> TrackTally:
    """Measure the primary tracks of a file of steps (`lartpc.simulate.steps`).

    The path length is the sum of the true lengths of the steps. A delta ray counts as lost where it is
    born: between the first step that begins no earlier than it, and the one before.

    Parameters
    ----------
    max_step_mm
        Greatest length of a step, with which the steps were made.
    """
    tracks = []
    mip, michel = [np.empty(0)], [np.empty(0)]
    for shot, segments, born in _events(steps):
        for number, primary in enumerate(shot, start=1):
            own = segments[segments["traj_id"] == number]
            children = born[born["parent_id"] == number]
            process = np.char.decode(children["process"])
            is_loss = np.isin(process, LOSS)
            energy = children["ke"] + ELECTRON_MASS_MEV * np.isin(process, PAIR)
            deposit = own["dE"].astype(np.float64)
            left = primary["ke"] - deposit.sum() - energy[is_loss].sum(dtype=np.float64)
            others = set(process[~is_loss].tolist())
            stopped = bool(abs(left) < AT_REST_MEV and others <= {DECAY})
            path_cm = np.concatenate([[0.0], np.cumsum(own["dx"], dtype=np.float64)]) / 10
            at_cm = path_cm[np.searchsorted(own["t0"], children["t_start"][is_loss])]
            dedx = np.array(_loss_per_cm(path_cm, deposit, at_cm, energy[is_loss]))
            tracks.append((primary["pdg_id"], primary["ke"], path_cm[-1], stopped, *dedx))
            if abs(primary["pdg_id"]) == MUON and stopped:
                residual_cm = path_cm[-1] - path_cm[:-1]
                unbroken = abs(own["dx"] - max_step_mm) < STEP_TOLERANCE_MM
                low, high = MIP_RESIDUAL_CM
                mip.append(deposit[unbroken & (residual_cm > low) & (residual_cm < high)])
                positron = (process == DECAY) & (abs(children["pdg_id"]) == 11)
                michel.append(children["ke"][positron].astype(np.float64))
    if not tracks:
        return TrackTally.empty()
    pdg, kinetic_energy, path, stop, loss, deposited = zip(*tracks, strict=True)
    return TrackTally(
        np.array(pdg, np.int64),
        np.array(kinetic_energy, np.float64),
        np.array(path, np.float64),
        np.array(stop, np.bool_),
        np.array(loss),
        np.array(deposited),
        np.concatenate(mip),
        np.concatenate(michel),
    )


def _events(steps: Mapping[str, Rows]) -> list[tuple[Rows, Rows, Rows]]:
    """Return primaries, segments and trajectories of each event."""
    number = steps["event"]["event_id"]
    names = ("primaries", "segments", "trajectories")
    pieces = []
    for name in names:
        rows = steps[name]
        pieces.append(np.split(rows, np.searchsorted(rows["event_id"], number)[1:]))
    return list(zip(*pieces, strict=True))


def _loss_per_cm(path_cm: Array, deposit: Array, delta_cm: Array, delta_mev: Array) -> tuple[Array, Array]:
    """Return the energy loss per length at each residual range, with and without delta rays [MeV/cm].

    Parameters
    ----------
    path_cm
        (steps + 1,) path length at the ends of the steps.
    deposit
        (steps,) energy deposited in each step [MeV].
    delta_cm, delta_mev
        Path length where each delta ray is born, and its energy.
    """
    middle = np.array(RESIDUAL_CM)
    far = path_cm[-1] - middle * (1 + RESIDUAL_HALF_WIDTH)
    near = path_cm[-1] - middle * (1 - RESIDUAL_HALF_WIDTH)
    lost = np.concatenate([[0.0], np.cumsum(deposit)])
    deposited = np.interp(near, path_cm, lost) - np.interp(far, path_cm, lost)
    inside = (delta_cm >= far[:, None]) & (delta_cm < near[:, None])
    with_delta = deposited + inside @ delta_mev.astype(np.float64)
    width = np.where(far >= 0, near - far, np.nan)
    return with_delta / width, deposited / width
