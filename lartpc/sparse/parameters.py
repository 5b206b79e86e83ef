"""The parameters of a network by name, as arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Parameters:
    """Parameters by name, each taken once and of the shape that is wanted.

    Parameters
    ----------
    state
        The parameters and buffers of a network.
    network
        What error messages call it.
    dtype
        Of what is taken.
    """

    def __init__(self, state: Mapping[str, Array], network: str, dtype: Any = np.float32) -> None:
        self._left, self._network, self._dtype = dict(state), network, dtype

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, *shape: int) -> Array:
        """Return a parameter, or raise ValueError if there is none of the name, or it has another shape."""
        found = self._left.pop(name, None)
        if found is None or found.shape != shape:
            there = "no" if found is None else f"of shape {found.shape}, not {shape},"
            raise ValueError(f"the parameter {name} of {self._network} is {there} there; train it again")
        return np.ascontiguousarray(found, self._dtype)

    def turned(self, name: str, num_out: int, num_in: int) -> Array:
        """Return the weights (inputs, outputs) of a linear layer."""
        return np.ascontiguousarray(self.take(name, num_out, num_in).T)

    def end(self) -> None:
        """Raise ValueError if there are parameters that nothing took."""
        if self._left:
            raise ValueError(f"{self._network} has no parameters {', '.join(self._left)}; train it again")
