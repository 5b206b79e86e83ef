"""What a training works out of events once and keeps, in bounded memory."""

from collections.abc import Callable, Hashable
from typing import Any


class Kept:
    """Values that are kept from when they are first made, until there is no room for more.

    Those that came first stay: as events are drawn without repeats, what was used last is what is needed last.

    Parameters
    ----------
    limit
        Memory for them [B].
    """

    def __init__(self, limit: float) -> None:
        self._left = limit
        self._values: dict[Hashable, Any] = {}

    def __call__(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return the value of a key, made if it is not there; it has `num_bytes`."""
        if key in self._values:
            return self._values[key]
        value = make()
        if value.num_bytes <= self._left:
            self._left -= value.num_bytes
            self._values[key] = value
        return value
