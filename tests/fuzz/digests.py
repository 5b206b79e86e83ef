"""A digest of all that events say."""

import hashlib
from collections.abc import Iterable

from lartpc.event import Event


def digest_of_events(events: Iterable[Event]) -> str:
    """Return a digest of the products of events: names, types, shapes and values."""
    found = hashlib.blake2b(digest_size=16)
    for event in events:
        for product, columns in sorted(event.products.items()):
            for name, rows in sorted(columns.items()):
                found.update(f"{product}/{name} {rows.dtype} {rows.shape}".encode())
                found.update(rows.tobytes())
    return found.hexdigest()
