"""Random symmetries, shifts and charges of whole events, truth included."""

import numpy as np
from numpy.typing import NDArray

from lartpc.affinities import reordered
from lartpc.config import Training
from lartpc.event import PRODUCTS, Columns, Event, num_rows

DIRECTIONS = frozenset({"momentum", "start_direction"})
"""Columns that are vectors without a position: they turn about the origin."""

MEMBERSHIP = {
    "truth_fragment": ("truth_voxel", "fragment"),
    "truth_particle": ("truth_voxel", "particle"),
    "truth_interaction": ("truth_voxel", "interaction"),
    "fragment": ("group", "fragment"),
    "particle": ("group", "particle"),
}
"""Products whose energy is that of their voxels, and the column that says which those are."""


def augment(event: Event, rng: np.random.Generator, settings: Training) -> Event:
    """Return the event turned, shifted and with other charges, as the settings ask for."""
    if settings.augment:
        event = turn(event, rng)
    if settings.shift:
        event = shift(event, rng, settings.shift)
    if settings.charge_scale or settings.charge_jitter:
        event = recharge(event, rng, settings.charge_scale, settings.charge_jitter)
    return event


def turn(event: Event, rng: np.random.Generator) -> Event:
    """Return the event under a random symmetry of its box: axes exchanged and flipped, 48 in all.

    An image of wires, or of points made of them, is flipped only: its axes are not alike.
    Voxel indices and positions, directions and momenta turn together. Voxels are sorted by
    coordinate again, and so are the products aligned with them. Affinities go with their pairs of voxels. The box
    itself keeps its place.
    """
    size = event.box.num_voxels
    dimension = event.box.dimension
    axes, flip = symmetry(rng, dimension, of_planes=dimension != 3 or "plane_hit" in event)
    turned: dict[str, Columns] = {}
    for product in event:
        columns = dict(event[product])
        for name in _vectors(product):
            value = columns[name][:, axes]
            if name in DIRECTIONS:
                mirrored = -value
            elif np.issubdtype(value.dtype, np.integer):
                mirrored = size - 1 - value
            else:
                mirrored = size - value
            columns[name] = np.where(flip, mirrored, value).astype(value.dtype)
        turned[product] = columns
    if "affinity" in turned:
        before, after = event["voxel"]["coord"], turned["voxel"]["coord"]
        turned["affinity"] = {"logit": reordered(event["affinity"]["logit"], before, after)}
    if "voxel" in turned:
        # One key sorts several times faster than three columns.
        x, y, z = turned["voxel"]["coord"].T.astype(np.int64)
        order = np.argsort((x * size + y) * size + z)
        for product, columns in turned.items():
            if product == "voxel" or PRODUCTS[product].per == "voxel":
                turned[product] = {name: value[order] for name, value in columns.items()}
    return event.with_products(turned)


def symmetry(
    rng: np.random.Generator, dimension: int = 3, *, of_planes: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Draw a symmetry of the box: which axis each of the three was, and which are flipped; `of_planes` keeps axes."""
    axes = np.arange(3) if of_planes else rng.permutation(3)
    flip = np.zeros(3, bool)
    flip[:dimension] = rng.integers(0, 2, dimension)
    return axes, flip


def shift(event: Event, rng: np.random.Generator, limit: int) -> Event:
    """Return the event moved by whole voxels, at most `limit` along each axis, all voxels in the box."""
    coord = event["voxel"]["coord"]
    if not len(coord):
        return event
    low = np.maximum(-limit, -coord.min(0))
    high = np.minimum(limit, np.subtract(event.box.shape, 1) - coord.max(0))
    offset = rng.integers(low, high, endpoint=True)
    moved: dict[str, Columns] = {}
    for product in event:
        names = [name for name in _vectors(product) if name not in DIRECTIONS]
        columns = event[product]
        moved[product] = columns | {
            name: (columns[name] + offset).astype(columns[name].dtype) for name in names
        }
    return event.with_products(moved)


def recharge(event: Event, rng: np.random.Generator, scale: float, jitter: float) -> Event:
    """Return the event with other voxel energies, and the sums over them changed with them.

    Parameters
    ----------
    scale
        Relative spread of one factor for the whole event, as of a calibration.
    jitter
        Relative spread of a factor for each voxel, as of noise. Factors are log-normal: energies stay
        above 0.
    """
    before = event["voxel"]["energy"]
    factor = np.exp(scale * rng.standard_normal() + jitter * rng.standard_normal(len(before)))
    after = (before * factor).astype(before.dtype)
    changed: dict[str, Columns] = {"voxel": event["voxel"] | {"energy": after}}
    for product, (per_voxel, column) in MEMBERSHIP.items():
        if product in event and per_voxel in event:
            of = event[per_voxel][column]
            rows = num_rows(event[product])
            ratio = _sums(of, after, rows) / np.maximum(_sums(of, before, rows), 1e-12)
            energy = event[product]["energy"]
            changed[product] = event[product] | {"energy": (energy * ratio).astype(energy.dtype)}
    return event.with_products(changed)


def _vectors(product: str) -> list[str]:
    """Return the columns that are positions or directions."""
    return [
        name
        for name, column in PRODUCTS[product].columns.items()
        if column.shape == (3,) and (column.unit == "voxel" or name in DIRECTIONS)
    ]


def _sums(of: NDArray[np.int32], energy: NDArray[np.float32], rows: int) -> NDArray[np.float64]:
    """Return the energy (rows,) of the voxels of each row."""
    member = of >= 0
    return np.bincount(of[member], energy[member], rows).astype(np.float64)
