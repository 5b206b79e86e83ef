"""The imaged box and the way between voxel coordinates and centimetres."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Box:
    """A cube of `num_voxels`³ voxels of `voxel_size_cm`, its lower corner at `origin_cm`.

    A position in voxel units `x` lies in voxel `floor(x)`; the centre of voxel `i` is `i + 0.5`.
    """

    origin_cm: tuple[float, float, float]
    voxel_size_cm: float
    num_voxels: int

    @classmethod
    def centred(cls, centre_cm: ArrayLike, voxel_size_cm: float, num_voxels: int) -> "Box":
        """Build the box of the given size around a centre (3,) in cm."""
        origin = np.asarray(centre_cm, np.float64) - 0.5 * num_voxels * voxel_size_cm
        return cls((float(origin[0]), float(origin[1]), float(origin[2])), voxel_size_cm, num_voxels)

    @property
    def size_cm(self) -> float:
        """Length of one side [cm]."""
        return self.num_voxels * self.voxel_size_cm

    def to_voxel(self, position_cm: ArrayLike) -> NDArray[np.float64]:
        """Turn positions (..., 3) [cm] into voxel units."""
        voxel: NDArray[np.float64] = (np.asarray(position_cm) - self.origin_cm) / self.voxel_size_cm
        return voxel

    def to_cm(self, position: ArrayLike) -> NDArray[np.float64]:
        """Turn positions (..., 3) in voxel units into cm."""
        cm: NDArray[np.float64] = np.asarray(position) * self.voxel_size_cm + np.asarray(self.origin_cm)
        return cm

    def contains(self, position: ArrayLike) -> NDArray[np.bool_]:
        """Tell for each position (..., 3) in voxel units whether it lies in the box."""
        position = np.asarray(position)
        inside: NDArray[np.bool_] = np.all((position >= 0) & (position < self.num_voxels), axis=-1)
        return inside

    def as_dict(self) -> dict[str, Any]:
        """Return the box as plain values, for file attributes."""
        return {
            "origin_cm": list(self.origin_cm),
            "voxel_size_cm": self.voxel_size_cm,
            "num_voxels": self.num_voxels,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Box":
        """Read a box back from `as_dict`."""
        x, y, z = values["origin_cm"]
        return cls((float(x), float(y), float(z)), float(values["voxel_size_cm"]), int(values["num_voxels"]))
