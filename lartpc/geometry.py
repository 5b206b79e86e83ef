"""The imaged box, the active volumes in it, and the way between voxel coordinates and centimetres.

An image of a plane of wires lies in a flat box, one layer of pixels thick: its axes are the drift, the
coordinate across the wires, and nothing. Voxels of it have a third index of 0, positions a third
coordinate of 0.5, so that what measures distances in 3D measures them in the plane.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Box:
    """A cube of `num_voxels`³ voxels of `voxel_size_cm`, its lower corner at `origin_cm`.

    A position in voxel units `x` lies in voxel `floor(x)`; the centre of voxel `i` is `i + 0.5`. With
    `dimension` 2 the box is flat, of `num_voxels`² pixels that are `drift_size_cm` long along the drift
    and `voxel_size_cm`, the pitch of the wires, across the wires.
    """

    origin_cm: tuple[float, float, float]
    voxel_size_cm: float
    num_voxels: int
    dimension: int = 3
    drift_size_cm: float | None = None

    @classmethod
    def centred(cls, centre_cm: ArrayLike, voxel_size_cm: float, num_voxels: int) -> "Box":
        """Build the box of the given size around a centre (3,) in cm."""
        origin = np.asarray(centre_cm, np.float64) - 0.5 * num_voxels * voxel_size_cm
        return cls((float(origin[0]), float(origin[1]), float(origin[2])), voxel_size_cm, num_voxels)

    @classmethod
    def flat(cls, drift_cm: float, drift_size_cm: float, pitch_cm: float, num_pixels: int) -> "Box":
        """Build the box of images of wires around the drift coordinate `drift_cm` and the wire at 0."""
        half = 0.5 * num_pixels
        origin_cm = (drift_cm - half * drift_size_cm, -half * pitch_cm, -0.5 * pitch_cm)
        return cls(origin_cm, pitch_cm, num_pixels, 2, drift_size_cm)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each axis."""
        return (self.num_voxels, self.num_voxels, self.num_voxels if self.dimension == 3 else 1)

    @property
    def pitch_cm(self) -> tuple[float, float, float]:
        """Size of a voxel along each axis [cm]."""
        return (self.drift_size_cm or self.voxel_size_cm, self.voxel_size_cm, self.voxel_size_cm)

    @property
    def size_cm(self) -> float:
        """Length of one side [cm]."""
        return self.num_voxels * self.voxel_size_cm

    def to_voxel(self, position_cm: ArrayLike) -> NDArray[np.float64]:
        """Turn positions (..., 3) [cm] into voxel units."""
        voxel: NDArray[np.float64] = (np.asarray(position_cm) - self.origin_cm) / self.pitch_cm
        return voxel

    def to_cm(self, position: ArrayLike) -> NDArray[np.float64]:
        """Turn positions (..., 3) in voxel units into cm."""
        cm: NDArray[np.float64] = np.asarray(position) * np.asarray(self.pitch_cm) + np.asarray(
            self.origin_cm
        )
        return cm

    def contains(self, position: ArrayLike) -> NDArray[np.bool_]:
        """Tell for each position (..., 3) in voxel units whether it lies in the box."""
        position = np.asarray(position)
        inside: NDArray[np.bool_] = np.all((position >= 0) & (position < self.shape), axis=-1)
        return inside

    def clip(self, volumes_cm: ArrayLike) -> NDArray[np.float64]:
        """Return active volumes (N, 2, 3), lower and upper corners [cm], in voxel units, cut to the box.

        Raises
        ------
        ValueError
            A volume lies outside the box.
        """
        volumes: NDArray[np.float64] = self.to_voxel(np.reshape(volumes_cm, (-1, 2, 3)))
        cut: NDArray[np.float64] = np.clip(volumes, 0, self.num_voxels)
        if (empty := (cut[:, 0] >= cut[:, 1]).any(axis=-1)).any():
            low, high = self.to_cm(volumes[empty][0])
            end = np.add(self.origin_cm, self.size_cm)
            raise ValueError(
                f"the active volume from {_text(low)} to {_text(high)} cm lies outside the imaged box, "
                f"which goes from {_text(self.origin_cm)} to {_text(end)} cm; "
                "set ingest.centre_cm, num_voxels or volumes"
            )
        return cut

    def as_dict(self) -> dict[str, Any]:
        """Return the box as plain values, for file attributes."""
        values: dict[str, Any] = {
            "origin_cm": list(self.origin_cm),
            "voxel_size_cm": self.voxel_size_cm,
            "num_voxels": self.num_voxels,
        }
        if self.dimension != 3:
            values |= {"dimension": self.dimension, "drift_size_cm": self.drift_size_cm}
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Box":
        """Read a box back from `as_dict`."""
        x, y, z = values["origin_cm"]
        drift_size_cm = values.get("drift_size_cm")
        return cls(
            (float(x), float(y), float(z)),
            float(values["voxel_size_cm"]),
            int(values["num_voxels"]),
            int(values.get("dimension", 3)),
            None if drift_size_cm is None else float(drift_size_cm),
        )


def volume_of(position: ArrayLike, volumes: ArrayLike) -> NDArray[np.int64]:
    """Return the first of the volumes (N, 2, 3) that each position (..., 3) lies in, -1 for none.

    Both are in the same unit; a lower face belongs to a volume, an upper one does not.
    """
    position = np.asarray(position)
    found = np.full(position.shape[:-1], -1, np.int64)
    boxes = np.reshape(volumes, (-1, 2, 3))
    for number in range(len(boxes) - 1, -1, -1):
        low, high = boxes[number]
        found[np.all((position >= low) & (position < high), axis=-1)] = number
    return found


def _text(position: ArrayLike) -> str:
    return "(" + ", ".join(f"{x:.6g}" for x in np.asarray(position)) + ")"
