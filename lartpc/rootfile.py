"""ROOT files opened by uproot so that damaged ones cannot ask for more memory than they have bytes."""

from pathlib import Path
from queue import Queue
from typing import Any

import uproot
from uproot.source.fsspec import FSSpecSource


class _Bounded(FSSpecSource):  # type: ignore[misc]
    """The bytes of a file, of which no more are asked for than there are: memory would be taken for them first."""

    def chunk(self, start: int, stop: int) -> Any:
        """Return the bytes from `start` to `stop`."""
        self._check([(start, stop)])
        return super().chunk(start, stop)

    def chunks(self, ranges: list[tuple[int, int]], notifications: "Queue[Any]") -> Any:
        """Return the bytes of several ranges."""
        self._check(ranges)
        return super().chunks(ranges, notifications)

    def _check(self, ranges: list[tuple[int, int]]) -> None:
        for start, stop in ranges:
            if stop - start > max(self.num_bytes, LEAST_BYTES):
                raise ValueError(
                    f"{stop - start:,} bytes are said to be at {start}, and it has {self.num_bytes:,}"
                )


LEAST_BYTES = 4096
"""uproot reads that many at a time and more, whatever a file has."""


def open_file(path: Path) -> Any:
    """Open a file for reading; whatever damaged bytes make happen is raised."""
    return uproot.open(path, handler=_Bounded)
