"""THE contract: what an event holds. `products` has every product and column, with units."""

from lartpc.event.beside import COUNTED
from lartpc.event.columns import Column, Columns, Product
from lartpc.event.event import Event, blank, check_finite, conform, empty, num_rows
from lartpc.event.products import (
    CLASSIFIED,
    GENERATED,
    IMAGE,
    PRODUCTS,
    PROPOSED,
    SCHEMA_VERSION,
    SEEN,
    TRUTH,
)
from lartpc.vocab import MAX_COUNT, MAX_PLANES

__all__ = [
    "CLASSIFIED",
    "COUNTED",
    "GENERATED",
    "IMAGE",
    "MAX_COUNT",
    "MAX_PLANES",
    "PRODUCTS",
    "PROPOSED",
    "SCHEMA_VERSION",
    "SEEN",
    "TRUTH",
    "Column",
    "Columns",
    "Event",
    "Product",
    "blank",
    "check_finite",
    "conform",
    "empty",
    "num_rows",
]
