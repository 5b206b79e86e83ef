"""Geometry of clusters: moments, ends, directions, nearest voxels, features. NumPy and SciPy only."""

from lartpc.kinematics.clusters import Clusters, directions, end_points, local_energy, unit
from lartpc.kinematics.describe import FEATURES, describe, features
from lartpc.kinematics.neighbours import closest_voxels, connect
from lartpc.kinematics.pointing import OTHER_SIDE, POINTING, pointing

__all__ = [
    "FEATURES",
    "OTHER_SIDE",
    "POINTING",
    "Clusters",
    "closest_voxels",
    "connect",
    "describe",
    "directions",
    "end_points",
    "features",
    "local_energy",
    "pointing",
    "unit",
]
