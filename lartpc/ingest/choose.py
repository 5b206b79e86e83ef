"""Which events of a source are those that are asked for, by their numbers alone: no event is read."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lartpc.choice import Asked
from lartpc.ingest.source import Source


class Chosen(NamedTuple):
    """Entries of a source (N,), ascending, and what was asked for that none of its events is."""

    entries: NDArray[np.int64]
    missing: tuple[str, ...]


def choose(source: Source, asked: Sequence[Asked]) -> Chosen:
    """Find the events that are asked for; all, where nothing is.

    Entries count in each file of the source; numbers of run, subrun and event choose all events that have them,
    as files may repeat them.
    """
    num = source.num_events
    if not asked:
        return Chosen(np.arange(num), ())
    identity_E3 = source.identities()
    first = np.cumsum([0, *(size for _, size in source.parts)])
    in_file_E = np.arange(num) - np.repeat(first[:-1], np.diff(first))
    is_chosen_E = np.zeros(num, np.bool_)
    missing = []
    places = _places(in_file_E, identity_E3) if any(one.is_single for one in asked) else {}
    for one in asked:
        if one.is_single:
            found = places.get((one.low,) if one.run is None else (one.run, one.subrun or 0, one.low), [])
        else:
            found = np.flatnonzero(_match(one, in_file_E, identity_E3)).tolist()
        is_chosen_E[found] = True
        if not found:
            missing.append(one.text)
    return Chosen(np.flatnonzero(is_chosen_E), tuple(missing))


def _places(in_file_E: NDArray[np.int64], identity_E3: NDArray[np.int64]) -> dict[tuple[int, ...], list[int]]:
    """Return where each entry and each run, subrun and event is: long lists are looked up at once."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, (entry, identity) in enumerate(zip(in_file_E.tolist(), identity_E3.tolist(), strict=True)):
        places.setdefault((entry,), []).append(place)
        places.setdefault(tuple(identity), []).append(place)
    return places


def _match(one: Asked, in_file_E: NDArray[np.int64], identity_E3: NDArray[np.int64]) -> NDArray[np.bool_]:
    number_E = in_file_E if one.run is None else identity_E3[:, 2]
    is_one_E: NDArray[np.bool_] = number_E >= one.low
    if one.high is not None:
        is_one_E &= number_E <= one.high
    if one.run is not None:
        is_one_E &= identity_E3[:, 0] == one.run
    if one.subrun is not None:
        is_one_E &= identity_E3[:, 1] == one.subrun
    return is_one_E
