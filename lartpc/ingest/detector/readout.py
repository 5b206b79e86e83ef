"""Wires and their electronics: from the charge that arrives to waveforms, and back by deconvolution.

Everything is linear and the same for all wires of a plane, so that signal and noise are worked out apart, in the
frequencies of the waveforms. docs/explanation/response.md has the formulas and where the constants are from.

Shape suffixes: Q pieces of charge, W wires, T ticks, F frequencies, X pixels along the drift, U pixels, K poles.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.config import Ingest, Readout
from lartpc.ingest.detector.response import electrons_per_mev
from lartpc.ingest.steps import FloatArray, IntArray
from lartpc.vocab import NONE

POLES = np.array([-2.94809, -2.82833 + 1.19361j, -2.40318 + 2.5928j])
"""Poles of the shaper, with their conjugates, for a peaking time of 1: five integrations, semi-Gaussian (cold ASIC of
MicroBooNE, JINST 13 (2018) P07006)."""

OVERSAMPLING = 20
"""Samples of the response to a tick."""

LEAST = 1e-9
"""Less than this share of the largest charge of a plane is a rounding error of the deconvolution."""

TAIL = 256
"""Room for the response behind the last tick [ticks]."""

LABEL_WITHIN = 2
"""A pixel is made by charge that arrives on its wire no farther away than this [pixel]."""


@dataclass(frozen=True)
class Seen:
    """Pixels of an image: `coord` (U, 3), the third index 0, in order, and `energy` (U,) [MeV]."""

    coord: IntArray
    energy: FloatArray


class WireReadout:
    """One plane of wires, as it is read out.

    Parameters
    ----------
    cfg
        Settings of ingestion.
    number
        Number of the plane in `cfg.wires.angles_deg`.
    key
        The uid of the event's file, and its entry: noise follows from them.
    """

    def __init__(self, cfg: Ingest, number: int, key: tuple[str, int]) -> None:
        self._cfg: Readout = cfg.wires.readout
        self._per_mev = electrons_per_mev(cfg.response)
        self._number, self._key = number, key
        self._tick_us, self._side = cfg.wires.tick_us, cfg.wires.num_pixels
        self.ticks_per_pixel = cfg.wires.ticks_per_pixel if self._cfg.shaping_us else 1
        self._is_collection = cfg.wires.angles_deg[number] == self._cfg.collection_deg
        dead = np.random.default_rng([self._cfg.dead_seed, number])
        self.dead_W = dead.random(self._side) < self._cfg.dead_share

    def read(self, tick_Q: IntArray, wire_Q: IntArray, energy_Q: FloatArray, least_mev: float) -> Seen:
        """Return what is seen of charge that arrives in ticks and at wires of the image.

        Parameters
        ----------
        tick_Q, wire_Q
            Where it arrives, counted from the first tick and wire of the image.
        energy_Q
            The charge, as the energy that it stands for [MeV].
        least_mev
            Pixels with less are dropped.
        """
        alive_Q = ~self.dead_W[wire_Q]
        tick_Q, wire_Q, energy_Q = tick_Q[alive_Q], wire_Q[alive_Q], energy_Q[alive_Q]
        charged_R, row_Q = np.unique(wire_Q, return_inverse=True)
        num_ticks = self._side * self.ticks_per_pixel
        arrived_N = np.bincount(row_Q * num_ticks + tick_Q, energy_Q, len(charged_R) * num_ticks)
        arrived_RT: FloatArray = arrived_N.astype(np.float64).reshape(len(charged_R), num_ticks)
        is_noisy = self._cfg.shaping_us is not None and self._cfg.noise_electrons > 0
        wires_W = np.flatnonzero(~self.dead_W) if is_noisy else charged_R
        row_R = np.searchsorted(wires_W, charged_R)
        sigma = 0.0
        if self._cfg.shaping_us is None:
            energy_WX = self._in_pixels(arrived_RT)
        elif self._cfg.adc_electrons:  # counts are of signal and noise together
            arrived_WT = np.zeros((len(wires_W), num_ticks))
            arrived_WT[row_R] = arrived_RT
            charge_WT, sigma = self._deconvolved(arrived_WT)
            energy_WX = self._in_pixels(charge_WT)
        else:
            energy_WX, sigma = self._noise_of_pixels(len(wires_W))
            energy_WX[row_R] += self._in_pixels(self._filtered(arrived_RT))
        least = max(least_mev, LEAST * float(energy_Q.sum()), self._cfg.threshold_sigma * sigma)
        pixel_U, row_U = np.nonzero(((energy_WX >= least) & (energy_WX > 0)).T)
        coord_U3 = np.stack([pixel_U, wires_W[row_U], np.zeros_like(pixel_U)], axis=-1)
        return Seen(coord_U3, energy_WX[row_U, pixel_U])

    def waveforms(self, arrived_WT: FloatArray) -> FloatArray:
        """Return the signals (W, T) that charge (W, T) [MeV] makes, in units in which a point-like one peaks at itself.

        Without noise; those of a collection plane have one sign, those of an induction plane both.
        """
        num = _padded(arrived_WT.shape[1])
        response_F = _frequencies(self.response(num))
        signal_WT: FloatArray = _series(_frequencies(arrived_WT, num) * response_F, num)
        return signal_WT[:, : arrived_WT.shape[1]]

    def response(self, num: int) -> FloatArray:
        """Return the signal (num,) of a charge in tick 0; a shaper alone would give it a peak of 1."""
        step_us = self._tick_us / OVERSAMPLING
        shaper = _sampled(num * OVERSAMPLING, step_us, self._cfg.shaping_us or 1.0)
        gap = max(round(self._cfg.gap_us / step_us), 1)
        current = np.ones(gap) / gap  # between two planes the weighting potential rises linearly
        if not self._is_collection:
            # it falls again behind the wires
            current = np.concatenate([current, -current])
        found: FloatArray = np.convolve(shaper, current)[: num * OVERSAMPLING : OVERSAMPLING]
        return found

    def _in_pixels(self, charge_WT: FloatArray) -> FloatArray:
        """Return the charge of ticks (W, T) in pixels (W, X)."""
        summed: FloatArray = charge_WT.reshape(len(charge_WT), self._side, self.ticks_per_pixel).sum(axis=2)
        return summed

    def _filtered(self, arrived_WT: FloatArray) -> FloatArray:
        """Return what the deconvolution makes of charge (W, T) without noise: of response and filter the filter."""
        num_ticks = arrived_WT.shape[1]
        num = _padded(num_ticks)
        kind = np.float32 if self._cfg.noise_electrons else np.float64
        wave_WF = _frequencies(arrived_WT.astype(kind), num)
        wave_WF *= self._filter(num).astype(kind)
        charge_WT: FloatArray = _series(wave_WF, num)[:, :num_ticks]
        return charge_WT

    def _noise_of_pixels(self, num_wires: int) -> tuple[FloatArray, float]:
        """Return the noise of pixels (W, X) behind the deconvolution, and its standard deviation [MeV].

        The noise of ticks is stationary and Gaussian. So is that of sums over n ticks, taken every n ticks, and its
        spectrum is folded n times. This needs fewer random numbers by a factor of n, and no waveforms.
        """
        from scipy.fft import next_fast_len

        if not self._cfg.noise_electrons:
            return np.zeros((num_wires, self._side)), 0.0
        ticks = self.ticks_per_pixel
        num_pixels = 2 * next_fast_len((self._side + TAIL // ticks) // 2 + 1)
        num = num_pixels * ticks
        amplitude_F = self._noise_amplitude(num) * self._of_pixels(self._deconvolution(num))
        power_F = 2 * np.square(np.abs(amplitude_F))
        folded_N = np.append(power_F, power_F[-2:0:-1]).reshape(ticks, num_pixels).sum(axis=0) / ticks**2
        amplitude_F = np.sqrt(folded_N[: num_pixels // 2 + 1] / 2)
        amplitude_F[[0, -1]] *= np.sqrt(2)  # these are real
        noise_WX: FloatArray = _series(self._gaussian(num_wires, amplitude_F), num_pixels)
        return noise_WX[:, : self._side], float(np.sqrt(folded_N.sum())) / num_pixels

    def _deconvolved(self, arrived_WT: FloatArray) -> tuple[FloatArray, float]:
        """Return the charge (W, T) that digitized waveforms of it give back, and the noise of a pixel [MeV].

        With noise in single precision, which is far finer than the noise.
        """
        num_ticks = arrived_WT.shape[1]
        num = _padded(num_ticks)
        kind = np.float32 if self._cfg.noise_electrons else np.float64
        wave_WF = _frequencies(arrived_WT.astype(kind), num)
        wave_WF *= _frequencies(self.response(num)).astype(wave_WF.dtype)
        noise_WF: NDArray[np.complexfloating] = np.zeros_like(wave_WF)
        if self._cfg.noise_electrons:
            noise_WF = self._gaussian(len(arrived_WT), self._noise_amplitude(num))
        count = self._cfg.adc_electrons / self._per_mev
        exact_WT = _series(wave_WF + noise_WF, num)
        noise_WF += _frequencies(count * np.rint(exact_WT / count) - exact_WT, num)
        # the noise of pixels is that of sums of ticks anywhere on a wire: Parseval, with the sum as a filter
        back_F = self._deconvolution(num)
        power_F = np.square(np.abs(noise_WF)).mean(axis=0) if len(noise_WF) else np.zeros(len(back_F))
        power_F = power_F * np.square(np.abs(self._of_pixels(back_F)))
        sigma = float(np.sqrt(power_F[0] + 2 * power_F[1:-1].sum() + power_F[-1])) / num
        wave_WF += noise_WF
        wave_WF *= back_F.astype(wave_WF.dtype)
        charge_WT: FloatArray = _series(wave_WF, num)[:, :num_ticks]
        return charge_WT, sigma

    def _deconvolution(self, num: int) -> NDArray[np.complex128]:
        """Return by what the frequencies of waveforms (F,) are multiplied: the filter over the response."""
        response_F, filter_F = _frequencies(self.response(num)), self._filter(num)
        back_F: NDArray[np.complex128] = np.divide(
            filter_F, response_F, out=np.zeros_like(response_F), where=filter_F > 0
        )
        return back_F

    def _of_pixels(self, tick_F: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Return the frequencies (F,) of sums over the ticks of a pixel."""
        summed_F: NDArray[np.complex128] = tick_F * _frequencies(
            np.ones(self.ticks_per_pixel), 2 * len(tick_F) - 2
        )
        return summed_F

    def _filter(self, num: int) -> FloatArray:
        frequency_F = np.fft.rfftfreq(num, self._tick_us)  # [MHz]
        filter_F = np.ones_like(frequency_F)
        if self._cfg.low_pass_mhz is not None:
            filter_F = np.exp(-0.5 * (frequency_F / self._cfg.low_pass_mhz) ** 2)
        if not self._is_collection:
            filter_F = filter_F * -np.expm1(-((frequency_F / self._cfg.high_pass_mhz) ** 2))
        return filter_F

    def _noise_amplitude(self, num: int) -> FloatArray:
        """Return the amplitude (F,) of the noise of waveforms: white before the shaper, of the wanted RMS behind it."""
        shaper_T = _sampled(num, self._tick_us, self._cfg.shaping_us or 1.0)
        rms = self._cfg.noise_electrons / self._per_mev
        scale = rms / np.sqrt((shaper_T**2).sum()) * np.sqrt(num / 2)
        amplitude_F: FloatArray = np.abs(_frequencies(shaper_T)) * scale
        return amplitude_F

    def _gaussian(self, num_wires: int, amplitude_F: FloatArray) -> NDArray[np.complex64]:
        """Return noise (W, F) with Gaussian real and imaginary parts of that width; event and plane determine it."""
        file_uid, entry = self._key
        digest = hashlib.blake2b(file_uid.encode(), digest_size=16).digest()
        rng = np.random.default_rng([*digest, entry, 1 + self._number])
        parts_WF2 = rng.standard_normal((num_wires, len(amplitude_F), 2), dtype=np.float32)
        parts_WF2 *= amplitude_F.astype(np.float32)[:, np.newaxis]
        return parts_WF2.view(np.complex64)[..., 0]


def readouts_of(cfg: Ingest, key: tuple[str, int]) -> list[WireReadout | None]:
    """Return how each plane is read out; None where images are of the charge that arrives."""
    readout = cfg.wires.readout
    if readout.shaping_us is None and not readout.dead_share:
        return [None] * len(cfg.wires.angles_deg)
    return [WireReadout(cfg, number, key) for number in range(len(cfg.wires.angles_deg))]


def shape(time_us: FloatArray, peaking_us: float) -> FloatArray:
    """Return the answer of the shaper at times (T,) after a charge of 1, scaled to a peak of 1."""
    poles_K = np.concatenate([POLES, POLES[1:].conj()])
    residue_K = np.array(
        [1 / np.prod(pole - np.delete(poles_K, number)) for number, pole in enumerate(poles_K)]
    )

    def answer(reduced_T: FloatArray) -> FloatArray:
        found: FloatArray = (residue_K * np.exp(np.outer(reduced_T, poles_K))).sum(axis=1).real
        return found

    peak = float(answer(np.linspace(0.5, 1.5, 2001)).max())
    shaped: FloatArray = np.where(time_us > 0, answer(np.maximum(time_us, 0) / peaking_us), 0) / peak
    return shaped


@lru_cache(maxsize=8)
def _sampled(num: int, step_us: float, peaking_us: float) -> FloatArray:
    """Return samples (num,) of the answer of the shaper, which are the same for all wires and events."""
    found = shape(np.arange(num, dtype=np.float64) * step_us, peaking_us)
    found.flags.writeable = False
    return found


def nearest_on_wire(coord_U3: IntArray, key_V: IntArray, side: int) -> IntArray:
    """Return the row of the pixel with charge (U,) nearest along the drift on the same wire, NONE where there is none.

    Parameters
    ----------
    coord_U3
        Pixels that are seen.
    key_V
        Pixels with charge, as drift × side + wire, ascending.
    """
    drift_V, wire_V = np.divmod(key_V, side)
    # a number in which pixels of a wire lie side by side, and wires far apart
    apart = 2 * side
    order_V = np.argsort(wire_V * apart + drift_V)
    line_V = (wire_V * apart + drift_V)[order_V]
    line_U = coord_U3[:, 1] * apart + coord_U3[:, 0]
    if not len(line_V):
        return np.full(len(line_U), NONE)
    after_U = np.minimum(np.searchsorted(line_V, line_U), len(line_V) - 1)
    before_U = np.maximum(after_U - 1, 0)
    is_after_U = np.abs(line_V[after_U] - line_U) <= np.abs(line_V[before_U] - line_U)
    near_U = np.where(is_after_U, after_U, before_U)
    return np.where(np.abs(line_V[near_U] - line_U) <= LABEL_WITHIN, order_V[near_U], NONE)


def _frequencies(values: NDArray[Any], num: int | None = None) -> NDArray[Any]:
    """Return the frequencies (..., F) of rows of real numbers, filled up to `num` with zeros.

    In single precision scipy's transforms are three times as fast as numpy's; only jobs that read wires import them.
    """
    from scipy.fft import rfft

    found: NDArray[Any] = rfft(values, num)
    return found


def _series(values: NDArray[Any], num: int) -> NDArray[Any]:
    """Return the rows (..., num) of real numbers that have frequencies (..., F)."""
    from scipy.fft import irfft

    found: NDArray[Any] = irfft(values, num)
    return found


def _padded(num_ticks: int) -> int:
    """Return a length for transforms that leaves room for the response behind the last tick."""
    return 1 << (num_ticks + TAIL - 1).bit_length()
