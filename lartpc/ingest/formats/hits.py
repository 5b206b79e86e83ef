"""Hits of the DUNE near-detector chain, for reconstruction only: ndlar_flow, and larnd-sim-jax.

A hit is a point with an energy; what larnd-sim itself writes, packets, has no positions. Shape suffixes:
H hits, E events.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lartpc.ingest.formats.hdf5 import Aliases, Table, fields, is_hdf5, open_hdf5
from lartpc.ingest.source import StepSource, numbered
from lartpc.ingest.steps import FloatArray, IntArray, Steps

FLOW_LOOKS_FOR = "HDF5 with 'charge/calib_final_hits/data' or 'charge/calib_prompt_hits/data' (ndlar_flow)"
JAX_LOOKS_FOR = "HDF5 with groups 'batch_<number>' that have 'pix_x' and 'Q' (larnd-sim-jax)"
PACKETS_LOOKS_FOR = "HDF5 with 'packets' (larnd-sim; to be told what to do)"

FLOW_HITS = ("charge/calib_final_hits", "charge/calib_prompt_hits")
FLOW_EVENTS = "charge/events"
FLOW_FIELDS: Aliases = {**{axis: (axis,) for axis in "xyz"}, "energy": ("E",)}

JAX_DATASETS = ("eventID", "pix_x", "pix_y", "pix_z", "Q")

W_ION_MEV = 23.6e-6
"""Energy per electron-ion pair in liquid argon (Miyajima et al., Phys. Rev. A 10, 1452) [MeV]."""

MIP_RECOMBINATION = 0.8 / (1 + 0.0486 * 2.1 / (1.396 * 0.5))
"""Share of electrons that a minimum-ionising track at 0.5 kV/cm keeps: Birks' law, A = 0.8 and
k = 0.0486 (kV/cm)(g/cm²)/MeV (ICARUS, NIM A 523, 275), at 2.1 MeV/cm and 1.396 g/cm³."""


class FlowReader(StepSource):
    """Reader of ndlar_flow's calibrated hits (h5flow layout, cm, MeV); see `source.StepSource`."""

    def __init__(self, path: Path) -> None:
        file = open_hdf5(path)
        found = [name for name in FLOW_HITS if f"{name}/data" in file]
        linked = [name for name in found if f"{FLOW_EVENTS}/ref/{name}/ref_region" in file]
        if not linked:
            raise ValueError(
                f"{path}: no references from events to hits, looked for "
                f"'{FLOW_EVENTS}/ref/{(found or FLOW_HITS)[0]}/ref_region'; write both datasets with ndlar_flow"
            )
        self.selection = linked[0]
        self._hits = Table(path, file, f"{linked[0]}/data", FLOW_FIELDS)
        references = file[f"{FLOW_EVENTS}/ref/{linked[0]}"]
        self._reference, region = references["ref"], references["ref_region"][:]
        self._region_E2 = np.stack([region["start"], region["stop"]], axis=-1).astype(np.int64)
        has_events = "id" in fields(file, f"{FLOW_EVENTS}/data")
        ids = file[f"{FLOW_EVENTS}/data"].fields("id")[:] if has_events else np.arange(len(region))
        if len(ids) != len(region):
            raise ValueError(
                f"{path}: '{FLOW_EVENTS}/data' has {len(ids)} events, their references {len(region)}; the file "
                "is not whole, make it again"
            )
        super().__init__(path, file, numbered(ids))

    def read(self, entry: int) -> Steps:
        """Read one event; ValueError if its rows make no sense."""
        start, stop = self._region_E2[entry].tolist()
        pair = np.asarray(self._reference[start:stop], np.int64).reshape(-1, 2)
        row_H = np.sort(pair[pair[:, 0] == entry, 1])
        if not len(row_H):
            return _steps(self, entry, np.zeros((0, 3)), np.zeros(0))
        if not 0 <= row_H[0] <= row_H[-1] < len(self._hits):
            raise ValueError(f"refers to hit {row_H[-1]}, '{self._hits.name}' has {len(self._hits)}")
        rows = self._hits.columns(int(row_H[0]), int(row_H[-1]) + 1)
        return _steps(self, entry, _position(rows)[row_H - row_H[0]], rows["energy"][row_H - row_H[0]])

    def bounds_cm(self) -> FloatArray | None:
        """Return the lowest and highest coordinates of all hits (2, 3), or None without any."""
        return _bounds(_position(rows) for rows in self._hits.windows())


class JaxReader(StepSource):
    """Reader of larnd-sim-jax, each batch an event; see `source.StepSource`.

    larnd-sim calls the drift axis z, edep-sim x: they are put back. Charges become energies by the
    recombination of a minimum-ionising track.
    """

    def __init__(self, path: Path) -> None:
        file = open_hdf5(path)
        self._batches = [file[name] for name in _batches(file)]
        ids = []
        for batch in self._batches:
            if missing := [name for name in JAX_DATASETS if name not in batch]:
                raise ValueError(
                    f"{path}: group '{batch.name}' has no dataset {', '.join(map(repr, missing))}; it has "
                    f"{', '.join(batch)}"
                )
            ids.append(int(batch["eventID"][0]) if len(batch["eventID"]) else 0)
        super().__init__(path, file, numbered(np.array(ids, np.int64)))

    def read(self, entry: int) -> Steps:
        """Read one event; ValueError if its rows make no sense."""
        batch = self._batches[entry]
        lengths = {name: len(batch[name]) for name in JAX_DATASETS}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"datasets of '{batch.name}' differ in length: {lengths}")
        number_H = np.asarray(batch["eventID"][:])
        if (number_H != number_H[:1]).any():
            raise ValueError(f"'{batch.name}' has hits of events {np.unique(number_H).tolist()}")
        energy_H = np.asarray(batch["Q"][:], np.float64) * 1000 * W_ION_MEV / MIP_RECOMBINATION
        return _steps(self, entry, self._position(batch), energy_H)

    def bounds_cm(self) -> FloatArray | None:
        """Return the lowest and highest coordinates of all hits (2, 3), or None without any."""
        return _bounds(self._position(batch) for batch in self._batches)

    @staticmethod
    def _position(batch: h5py.Group) -> FloatArray:
        return np.stack([batch[f"pix_{axis}"][:] for axis in "zyx"], axis=-1).astype(np.float64)


def recognises_flow(path: Path) -> bool:
    """Tell whether the file has ndlar_flow's calibrated hits."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        return any(f"{name}/data" in file for name in FLOW_HITS)


def recognises_jax(path: Path) -> bool:
    """Tell whether the file has batches of larnd-sim-jax."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        batches = _batches(file)
        return bool(batches) and bool({"pix_x", "Q"} & set(file[batches[0]]))


def recognises_packets(path: Path) -> bool:
    """Tell whether the file has packets only: of larnd-sim, or of ndlar_flow before its calibration."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        return "packets" in file or "charge/packets" in file


def refuse_packets(path: Path) -> StepSource:
    """Raise ValueError: packets name a chip and a channel, whose place only the detector's files know."""
    raise ValueError(
        f"{path} has LArPix packets, which hold chip, channel and time, but no positions; give the hits that "
        "ndlar_flow makes of them ('charge/calib_final_hits'), or for true deposits the edep-sim file "
        "('segments') that larnd-sim read"
    )


def _batches(file: h5py.File) -> list[str]:
    """Return the names of the groups `batch_<number>` in the order of their numbers."""
    numbers = [name.removeprefix("batch_") for name in file if name.startswith("batch_")]
    return [f"batch_{number}" for number in sorted(filter(str.isdecimal, numbers), key=int)]


def _position(rows: dict[str, NDArray[Any]]) -> FloatArray:
    return np.stack([rows[axis] for axis in "xyz"], axis=-1).astype(np.float64)


def _steps(source: StepSource, entry: int, position_H3: FloatArray, energy_H: NDArray[Any]) -> Steps:
    """Return hits as steps of no length. Hits below their pedestal are noise, and left out."""
    run, subrun, event = source.identity(entry)
    kept_H = ~(energy_H < 0)
    position_H3, energy_H = position_H3[kept_H], energy_H[kept_H]
    nobody_H: IntArray = np.zeros(len(energy_H), np.int64)
    return Steps(
        run=run,
        subrun=subrun,
        event=event,
        start=position_H3,
        end=position_H3,
        energy=energy_H.astype(np.float64),
        time=np.zeros(len(energy_H)),
        track_id=nobody_H,
        pdg=nobody_H,
    )


def _bounds(positions: Iterator[FloatArray]) -> FloatArray | None:
    low_3, high_3 = np.full(3, np.inf), np.full(3, -np.inf)
    for position_H3 in positions:
        finite_H3 = position_H3[np.isfinite(position_H3).all(axis=-1)]
        low_3 = np.minimum(low_3, finite_H3.min(axis=0, initial=np.inf))
        high_3 = np.maximum(high_3, finite_H3.max(axis=0, initial=-np.inf))
    return np.stack([low_3, high_3]) if np.isfinite(low_3).all() else None
