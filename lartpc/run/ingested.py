"""What ingestion made of files: sums, faults by file, and whether anything is left."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lartpc.ingest.source import AnySource, VoxelSource
from lartpc.ingest.steps import Steps

WARN_ABOVE = 0.01
"""A larger share of the energy that is not imaged is warned of."""

ROUNDING = 1e-9
"""Less of the energy is what sums of it are rounded by."""

NUM_PROBED = 64
"""Events by which it is told where deposits lie."""


@dataclass
class Summary:
    """What was read and written. With planes of wires, each event is read once for each plane.

    The energies add up: `energy_mev` = voxels + outside + below + lost, all of the events that are used. That
    of the others, as far as it could be read and is a finite number, is `energy_quarantined_mev`.
    """

    num_events: int = 0
    num_in_files: int = 0
    num_planes: int = 0
    num_quarantined: int = 0
    num_voxels: int = 0
    energy_mev: float = 0.0
    energy_outside_mev: float = 0.0
    energy_below_mev: float = 0.0
    energy_lost_mev: float = 0.0
    energy_quarantined_mev: float = 0.0
    truth: tuple[str, ...] = ()
    selection: str = ""

    @property
    def has_truth(self) -> bool:
        """Tell whether there is any truth."""
        return bool(self.truth)

    def __str__(self) -> str:
        """Return the summary in words."""
        what = f"images of {self.num_planes} planes" if self.num_planes else "events"
        of_all = f", chosen of {self.num_in_files}" if self.num_in_files > self.num_events else ""
        return "; ".join(
            [
                f"{self.num_events} {what}{of_all}, {self.num_quarantined} of them set aside",
                f"{self.num_voxels} {'pixels' if self.num_planes else 'voxels'}",
                ", ".join(
                    [f"{self.energy_mev:.6g} MeV"]
                    + [
                        f"{mev:.6g} MeV of it {where}"
                        for where, (mev, _) in self.away().items()
                        if mev > ROUNDING * self.energy_mev
                    ]
                ),
                f"truth: {', '.join(self.truth) or 'none'}",
                *([self.selection] if self.selection else []),
            ]
        )

    def warnings(self) -> list[str]:
        """Return what is to be warned of: energy that is not imaged."""
        return [
            f"{mev / self.energy_mev:.1%} of the energy is {where}: {remedy}"
            for where, (mev, remedy) in self.away().items()
            if mev > WARN_ABOVE * self.energy_mev
        ]

    def away(self) -> dict[str, tuple[float, str]]:
        """Return the energy that is not imaged [MeV], and what to look at, by where it is."""
        return {
            "outside": (
                self.energy_outside_mev,
                "see ingest.detector, centre_cm, num_voxels and volumes",
            ),
            "below the threshold": (
                self.energy_below_mev,
                "see ingest.voxel_threshold_mev and wires.pixel_threshold_mev",
            ),
            "lost to the response": (self.energy_lost_mev, "see ingest.response and wires.space_points"),
        }


class Faults:
    """Events that cannot be used, by the file that they are of; `entries` are those that are read."""

    def __init__(self, parts: Sequence[tuple[Path, int]], entries: NDArray[np.int64]) -> None:
        self._parts = parts
        self._first = np.cumsum([0, *(num for _, num in parts)])
        self._num_read = np.diff(np.searchsorted(entries, self._first)).tolist()
        self._reasons: dict[int, list[str]] = defaultdict(list)
        self._units: dict[int, list[str]] = defaultdict(list)
        self._num_right: Counter[int] = Counter()
        self._num_empty: Counter[int] = Counter()

    def add(self, entry: int, reason: str, *, is_units: bool) -> None:
        """Note that an event cannot be used, and whether its units are the reason."""
        part = self._part(entry)
        self._reasons[part].append(reason)
        if is_units:
            self._units[part].append(reason)

    def count_judged(self, entry: int, is_right: bool) -> None:
        """Note an event whose units are right, if they could be judged."""
        self._num_right[self._part(entry)] += is_right

    def count_empty(self, entry: int) -> None:
        """Note an event that can be used, and in which nothing is."""
        self._num_empty[self._part(entry)] += 1

    def check(self) -> None:
        """Check that each file is usable as a file.

        Raises
        ------
        ValueError
            Most events of a file that can be judged are in other units; or all of its events in which there is anything
            fail alike, or all fail.
        """
        for part, reasons in self._units.items():
            if len(reasons) > self._num_right[part]:
                raise ValueError(f"{self._parts[part][0]}: {reasons[0]}; convert the file")
        num_left = sum(self._num_read) - sum(map(len, self._reasons.values()))
        for part, reasons in self._reasons.items():
            path, num = self._parts[part][0], self._num_read[part]
            kinds = Counter(re.sub(r"\d[\d.e+-]*", "#", reason) for reason in reasons)
            num_full = num - self._num_empty[part]
            if (len(reasons) == num and not num_left) or (len(reasons) == num_full > 1 and len(kinds) == 1):
                kind, count = kinds.most_common(1)[0]
                example = next(reason for reason in reasons if re.sub(r"\d[\d.e+-]*", "#", reason) == kind)
                whose = "its " if num == self._parts[part][1] else "the "
                held = "" if num_full == num else " in which there is anything"
                raise ValueError(
                    f"{path}: none of {whose}{num_full} events{held} can be used; {count} of them because: {example}"
                )

    def _part(self, entry: int) -> int:
        return int(np.searchsorted(self._first, entry, side="right")) - 1


def typical_position(source: AnySource, entries: Sequence[int]) -> list[float] | None:
    """Return the middle of the deposits of the first of some events (3,) [cm], of each the median; None for none."""
    found = []
    for entry in entries[:NUM_PROBED]:
        try:
            read = source.read(entry)
        except ValueError:
            continue
        if isinstance(read, list) or not len(read):
            continue
        if isinstance(read, Steps):
            found.append(np.median(read.start, axis=0))
        elif read.origin_cm is not None and isinstance(source, VoxelSource) and source.voxel_size_cm:
            found.append(np.add(read.origin_cm, source.voxel_size_cm * (np.median(read.coord, axis=0) + 0.5)))
    return [round(float(x), 1) for x in np.median(found, axis=0)] if found else None


def check_left(summary: Summary, path: Path, around: list[float] | None) -> None:
    """Raise ValueError, as nothing of the energy of a file is left, saying where it went and what to set."""
    where, (mev, remedy) = max(summary.away().items(), key=lambda item: item[1][0])
    at = f"; its deposits lie around {tuple(around)} cm" if around and where == "outside" else ""
    raise ValueError(
        f"{path}: nothing is left of its {summary.energy_mev:.6g} MeV, {mev:.6g} MeV of it are {where}{at}; {remedy}"
    )
