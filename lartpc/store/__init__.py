"""The event store: HDF5 files that each hold what one step adds to the events of one shard.

A product is a group of flat columns with `offsets` (events + 1): event `i` owns the rows
`offsets[i]:offsets[i + 1]`. Files of the same shard are overlaid by `open_events`. A file is written
beside its final name and renamed when whole, so what exists is complete.
"""

from lartpc.store.layer import content_of, open_layer
from lartpc.store.layout import (
    ARITHMETIC,
    CHOICE,
    DRAWN,
    NUM_PLANES,
    ON_TRUTH,
    SOURCE_FILES,
    SOURCES,
    VERSIONS,
    WEIGHTS_FILE,
)
from lartpc.store.read import Events, open_events
from lartpc.store.seal import DamagedError
from lartpc.store.write import EventWriter

__all__ = [
    "ARITHMETIC",
    "CHOICE",
    "DRAWN",
    "NUM_PLANES",
    "ON_TRUTH",
    "SOURCES",
    "SOURCE_FILES",
    "VERSIONS",
    "WEIGHTS_FILE",
    "DamagedError",
    "EventWriter",
    "Events",
    "content_of",
    "open_events",
    "open_layer",
]
