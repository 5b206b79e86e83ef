"""Hits of the DUNE near-detector chain, for reconstruction only: ndlar_flow, and larnd-sim-jax.

A hit is a point with an energy; what larnd-sim itself writes, packets, has no positions. Shape suffixes:
H hits, E events.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lartpc.ingest.formats.hdf5 import (
    dataset,
    fields,
    has,
    is_hdf5,
    is_number,
    names,
    node,
    open_hdf5,
    read,
)
from lartpc.ingest.formats.tables import Aliases, Table
from lartpc.ingest.keys import order_of
from lartpc.ingest.source import StepSource, numbered
from lartpc.ingest.steps import FloatArray, IntArray, Steps, integers

FLOW_HITS = ("charge/calib_final_hits", "charge/calib_prompt_hits")
FLOW_EVENTS = "charge/events"
FLOW_FIELDS: Aliases = {**{axis: (axis,) for axis in "xyz"}, "energy": ("E",)}

JAX_DATASETS = ("eventID", "pix_x", "pix_y", "pix_z", "Q")
PIXEL_CM = 0.5
"""A pixel is no wider: hits nearer to the origin across the drift lie in the pixel of padding rows, at (0, 0, 0)."""

PADDING = -1
"""Event number of rows of padding in some versions."""

LARGEST_NOISE_MEV = 5.0
"""Hits of noise, a few of which an event has, are of 0.02 MeV (500 electrons): no event has that much below 0."""

W_ION_MEV = 23.6e-6
"""Energy per electron-ion pair in liquid argon (Miyajima et al., Phys. Rev. A 10, 1452) [MeV]."""

MIP_RECOMBINATION = 0.8 / (1 + 0.0486 * 2.1 / (1.396 * 0.5))
"""Share of electrons that a minimum-ionising track at 0.5 kV/cm keeps: Birks' law, A = 0.8 and
k = 0.0486 (kV/cm)(g/cm²)/MeV (ICARUS, NIM A 523, 275), at 2.1 MeV/cm and 1.396 g/cm³."""


class FlowReader(StepSource):
    """Reader of ndlar_flow's calibrated hits (h5flow layout, cm, MeV); see `source.StepSource`.

    Raises
    ------
    ValueError
        Fields are missing, or the references do not give each hit to one event.
    """

    def __init__(self, path: Path) -> None:
        file = open_hdf5(path)
        found = [name for name in FLOW_HITS if has(path, file, f"{name}/data")]
        linked = [name for name in found if has(path, file, f"{FLOW_EVENTS}/ref/{name}/ref_region")]
        if not linked:
            raise ValueError(
                f"{path}: no references from events to hits, looked for "
                f"'{FLOW_EVENTS}/ref/{(found or FLOW_HITS)[0]}/ref_region'; write both datasets with ndlar_flow"
            )
        self.selection = linked[0]
        self._hits = Table(path, file, f"{linked[0]}/data", FLOW_FIELDS)
        folder = f"{FLOW_EVENTS}/ref/{linked[0]}"
        region = dataset(path, file, f"{folder}/ref_region")
        num_events = len(region)
        if "id" in fields(path, file, f"{FLOW_EVENTS}/data", is_ours=True):
            events = dataset(path, file, f"{FLOW_EVENTS}/data")
            if len(events) != num_events:
                raise ValueError(
                    f"{path}: '{FLOW_EVENTS}/data' has {len(events)} events, their references {num_events}; the "
                    "file is not whole, make it again"
                )
            ids = integers(f"{path}: '{FLOW_EVENTS}/data.id'", read(path, events, 0, num_events, "id"))
        else:
            ids = np.arange(num_events)
        pair = dataset(path, file, f"{folder}/ref", ndim=2)
        pair_N2 = integers(f"{path}: '{folder}/ref'", read(path, pair, 0, len(pair)))
        if pair_N2.shape[1] != 2:
            raise ValueError(f"{path}: '{folder}/ref' has the shape {pair_N2.shape}; it must be (N, 2)")
        self._check_references(path, folder, pair_N2, read(path, region, 0, num_events))
        order = order_of(pair_N2[:, 0])
        self._row_N = pair_N2[order, 1]
        self._first_E = np.append(0, np.cumsum(np.bincount(pair_N2[:, 0], minlength=num_events)))
        super().__init__(path, file, numbered(ids))

    def read(self, entry: int) -> Steps:
        """Read one event; ValueError if its rows make no sense."""
        row_H = np.sort(self._row_N[self._first_E[entry] : self._first_E[entry + 1]])
        if not len(row_H):
            return _steps(self, entry, np.zeros((0, 3)), np.zeros(0))
        rows = self._hits.columns(int(row_H[0]), int(row_H[-1]) + 1)
        position_H3 = np.stack([rows[axis] for axis in "xyz"], axis=-1).astype(np.float64)[row_H - row_H[0]]
        return _steps(self, entry, position_H3, rows["energy"][row_H - row_H[0]])

    def _check_references(self, path: Path, folder: str, pair_N2: IntArray, region: NDArray[Any]) -> None:
        """Check that each hit belongs to one event, in whose region its reference lies."""
        num_events, num_hits = len(region), len(self._hits)
        for column, of, num in ((0, "event", num_events), (1, "hit", num_hits)):
            if len(pair_N2) and not 0 <= pair_N2[:, column].min() <= pair_N2[:, column].max() < num:
                bad = pair_N2[(pair_N2[:, column] < 0) | (pair_N2[:, column] >= num), column][0]
                raise ValueError(
                    f"{path}: '{folder}/ref' refers to {of} {bad}, there are {num}; make the file again"
                )
        count_H = np.bincount(pair_N2[:, 1], minlength=num_hits)
        if (count_H != 1).any():
            hit = int(np.argmax(count_H != 1))
            raise ValueError(
                f"{path}: '{folder}/ref' gives hit {hit} to {count_H[hit]} events, and {(count_H != 1).sum()} of "
                f"{num_hits} hits not to one event each; make the file again"
            )
        if not {"start", "stop"} <= set(region.dtype.names or ()):
            raise ValueError(f"{path}: '{folder}/ref_region' has no fields 'start' and 'stop'")
        start_E, stop_E = (
            integers(f"{path}: '{folder}/ref_region'", region[name]) for name in ("start", "stop")
        )
        event_N, place_N = pair_N2[:, 0], np.arange(len(pair_N2))
        out_N = (place_N < start_E[event_N]) | (place_N >= stop_E[event_N])
        if out_N.any():
            raise ValueError(
                f"{path}: '{folder}/ref_region' leaves out hit {pair_N2[np.argmax(out_N), 1]} of event "
                f"{event_N[np.argmax(out_N)]}, and {out_N.sum()} of {len(out_N)} in all; make the file again"
            )


class _Piece(NamedTuple):
    """Rows (N,) of a group that belong to an event."""

    group: str
    rows: IntArray


class JaxReader(StepSource):
    """Reader of larnd-sim-jax: hits by event number, which may be in several batches; see `source.StepSource`.

    Today's files have a group for each event in a batch, older ones several events in a batch, with rows of
    padding among them. larnd-sim calls the drift axis z, edep-sim x: they are put back. Charges become
    energies by the recombination of a minimum-ionising track.
    """

    def __init__(self, path: Path) -> None:
        file = open_hdf5(path)
        self._pieces: dict[int, list[_Piece]] = {}
        groups = [
            group
            for batch in _numbered(names(path, file), "batch_")
            for group in _events_of(path, file, batch)
        ]
        event_of = {group: self._event_ids(path, file, group) for group in groups}
        padding = {group: _padding(path, file, group, event_N) for group, event_N in event_of.items()}
        # a lone event 0 at the origin is one; where there are others, these rows are padding
        others = any((event_N > 0).any() for event_N in event_of.values())
        num_padding = 0
        for group, event_N in event_of.items():
            left_out_N = event_N < 0
            if others:
                left_out_N = left_out_N | padding[group]
            num_padding += int(left_out_N.sum())
            for event in dict.fromkeys(event_N[~left_out_N].tolist()):
                rows = np.flatnonzero((event_N == event) & ~left_out_N)
                self._pieces.setdefault(event, []).append(_Piece(group, rows))
        super().__init__(path, file, numbered(np.array(list(self._pieces), np.int64)))
        if num_padding:
            self.selection = f"hits; {num_padding} rows of padding left out"

    def read(self, entry: int) -> Steps:
        """Read one event; ValueError if its rows make no sense."""
        _, _, event = self.identity(entry)
        positions, energies = [np.zeros((0, 3))], [np.zeros(0)]
        for group, rows in self._pieces[event]:
            value = {name: _numbers(self.path, self._file, f"{group}/{name}") for name in JAX_DATASETS[1:]}
            positions.append(np.stack([value[f"pix_{axis}"][rows] for axis in "zyx"], axis=-1))
            energies.append(value["Q"][rows] * 1000 * W_ION_MEV / MIP_RECOMBINATION)
        return _steps(self, entry, np.concatenate(positions), np.concatenate(energies))

    @staticmethod
    def _event_ids(path: Path, file: Any, group: str) -> IntArray:
        held = names(path, file[group])
        if missing := [name for name in JAX_DATASETS if name not in held]:
            hint = (
                ""
                if "adcs_distrib" not in held
                else "; it is of a probabilistic simulation, which has no hits"
            )
            raise ValueError(
                f"{path}: group '/{group}' has no dataset {', '.join(map(repr, missing))}; it has "
                f"{', '.join(held)}{hint}"
            )
        lengths = {name: len(dataset(path, file, f"{group}/{name}")) for name in JAX_DATASETS}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"{path}: datasets of '/{group}' differ in length: {lengths}")
        data = dataset(path, file, f"{group}/eventID")
        event_N = integers(f"{path}: '{group}/eventID'", read(path, data, 0, len(data)))
        if (event_N < PADDING).any():
            raise ValueError(
                f"{path}: '{group}/eventID' has event {event_N.min()}; only {PADDING}, of padding, is below 0"
            )
        name = group.rpartition("/event_")[2]
        if name.isdecimal() and len(event_N) and not (event_N == int(name)).all():
            raise ValueError(f"{path}: '/{group}' has hits of events {np.unique(event_N).tolist()}")
        return event_N


def _events_of(path: Path, file: Any, batch: str) -> list[str]:
    """Return the groups of a batch with hits: one for each event, or the batch itself."""
    held = names(path, file[batch])
    return [f"{batch}/{name}" for name in _numbered(held, "event_")] or ([batch] if held else [])


def _padding(path: Path, file: Any, group: str, event_N: IntArray) -> NDArray[np.bool_]:
    """Tell which rows (N,) are padding: rows of event 0 that all have no charge, or lie in the pixel of (0, 0, 0).

    Batches are filled up with segments of event 0 at the origin, whose charge some versions write.
    """
    rows = np.flatnonzero(event_N == 0)
    found = np.zeros(len(event_N), np.bool_)
    if not len(rows) or "/" in group:
        return found
    charge, x, y = (_numbers(path, file, f"{group}/{name}")[rows] for name in ("Q", "pix_x", "pix_y"))
    found[rows] = bool(((charge <= 0) | ((np.abs(x) < PIXEL_CM) & (np.abs(y) < PIXEL_CM))).all())
    return found


def _numbers(path: Path, file: Any, name: str) -> FloatArray:
    data = dataset(path, file, name)
    if not is_number(data.dtype):
        raise ValueError(f"{path}: dataset '{name}' is {data.dtype}; it must be real numbers")
    return read(path, data, 0, len(data)).astype(np.float64)


def recognises_flow(path: Path) -> bool:
    """Tell whether the file has ndlar_flow's calibrated hits."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        return any(has(path, file, f"{name}/data") for name in FLOW_HITS)


def recognises_jax(path: Path) -> bool:
    """Tell whether the file has batches of larnd-sim-jax."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        for batch in _numbered(names(path, file), "batch_"):
            for group in _events_of(path, file, batch)[:1]:
                held = names(path, node(path, file, group))
                return bool({"pix_x", "Q"} & set(held))
        return False


def recognises_packets(path: Path) -> bool:
    """Tell whether the file has packets only: of larnd-sim, or of ndlar_flow before its calibration."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        return has(path, file, "packets") or has(path, file, "charge/packets")


def refuse_packets(path: Path) -> StepSource:
    """Raise ValueError: packets name a chip and a channel, whose place only the detector's files know."""
    raise ValueError(
        f"{path} has LArPix packets, which hold chip, channel and time, but no positions; give the hits that "
        "ndlar_flow makes of them ('charge/calib_final_hits'), or for true deposits the edep-sim file "
        "('segments') that larnd-sim read"
    )


def _numbered(found: tuple[str, ...], begin: str) -> list[str]:
    """Return the names `<begin><number>` in the order of their numbers."""
    numbers = [name.removeprefix(begin) for name in found if name.startswith(begin)]
    return [f"{begin}{number}" for number in sorted(filter(str.isdecimal, numbers), key=int)]


def _steps(source: StepSource, entry: int, position_H3: FloatArray, energy_H: NDArray[Any]) -> Steps:
    """Return hits as steps of no length. Hits below their pedestal are noise, and left out.

    Raises
    ------
    ValueError
        More energy is below the pedestal than above it, which is no noise.
    """
    run, subrun, event = source.identity(entry)
    kept_H = ~(energy_H < 0)
    if -energy_H[~kept_H].sum() > max(LARGEST_NOISE_MEV, energy_H[kept_H].sum()):
        raise ValueError(
            f"event {event}: hits of {energy_H[~kept_H].sum():.6g} MeV beside {energy_H[kept_H].sum():.6g} MeV; noise "
            "adds up to about 0"
        )
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
