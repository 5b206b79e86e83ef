"""The data flow: which stage reads and writes which products. Importing it needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from lartpc.event import CLASSIFIED, GENERATED, IMAGE, PRODUCTS, SEEN, TRUTH


@dataclass(frozen=True)
class Stage:
    """One row of the chain. `version` goes up whenever the stage's output changes.

    `network` is the version of what its weights are for: it goes up when those of before no longer serve.
    `learns` are the truth products that its training needs; others are used where the source has them.
    `dimensions` are those of the images that it works on: 3, or 2 for the views of wire planes. `also_reads` are
    products that it takes where they are there, `also_learns` truth of generators that it learns from where there is.
    `has_examples` says that its module has `examples`: what it learns of an event is worked out once for all passes.
    """

    name: str
    version: int
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    learned: bool
    learns: tuple[str, ...] = ()
    dimensions: tuple[int, ...] = (2, 3)
    network: int = 0
    also_reads: tuple[str, ...] = ()
    also_learns: tuple[str, ...] = ()
    has_examples: bool = False

    def module(self) -> ModuleType:
        """Import the stage's functions (that of some imports torch)."""
        return import_module(f"lartpc.stages.{self.name}")


CHAIN = (
    Stage(
        "segment",
        5,
        ("voxel",),
        ("semantic", "proposal", "affinity"),
        learned=True,
        learns=("truth_voxel", "truth_point"),
        network=1,
        also_reads=SEEN,
    ),
    Stage("points", 6, ("voxel", "semantic", "proposal"), ("point", "candidate"), learned=False),
    Stage(
        "cluster",
        12,
        ("voxel", "semantic", "affinity", "point"),
        ("group", "fragment", "particle"),
        learned=True,
        learns=("truth_voxel", "truth_particle"),
        dimensions=(3,),
        network=2,
        has_examples=True,
    ),
    Stage(
        "interact",
        15,
        ("voxel", "point", "candidate", "group", "fragment", "particle"),
        ("identity", "interaction", "final_point"),
        learned=True,
        learns=("truth_voxel", "truth_particle"),
        dimensions=(3,),
        network=2,
        has_examples=True,
    ),
)

OPTIONAL = (
    Stage(
        "classify",
        2,
        ("voxel",),
        CLASSIFIED,
        learned=True,
        learns=("truth_voxel", "truth_particle"),
        network=1,
        also_reads=("group", "identity", "interaction"),
        also_learns=GENERATED,
    ),
    Stage(
        "detect",
        2,
        ("voxel",),
        ("origin", "detection"),
        learned=True,
        learns=("truth_voxel", "truth_interaction", "truth_neutrino"),
        network=1,
    ),
    Stage(
        "flow",
        1,
        ("voxel", *SEEN),
        ("pairing",),
        learned=True,
        learns=("truth_voxel",),
        dimensions=(3,),
        network=1,
    ),
)
"""Stages beside the chain: a production has them where they are asked for."""

INGEST_VERSION = 13
TABLES_VERSION = 23
EVALUATE_VERSION = 16
"""Versions of what the steps around the chain write; each goes up whenever that changes."""


def stage(name: str) -> Stage:
    """Return the row of CHAIN or OPTIONAL with this name, or raise ValueError naming those there are."""
    rows = (*CHAIN, *OPTIONAL)
    for row in rows:
        if row.name == name:
            return row
    raise ValueError(f"unknown stage '{name}'; the stages are {', '.join(s.name for s in rows)}")


def chain_in(dimension: int) -> tuple[Stage, ...]:
    """Return the stages that images of a dimension, 2 or 3, go through; what follows in 2D is for 3D points."""
    return tuple(row for row in CHAIN if dimension in row.dimensions)


def require_dimension(row: Stage, dimension: int, setting: int | None = None) -> None:
    """Raise ValueError if a stage does not work on images of a dimension, or its setting, if it has one, is another."""
    if setting not in (None, dimension):
        raise ValueError(
            f"{row.name}.dimension is {setting}, and these images have {dimension} dimensions; set it to that"
        )
    if dimension not in row.dimensions:
        raise ValueError(
            f"stage '{row.name}' needs 3D images, and these are views of wire planes (ingest.wires); make 3D points of "
            "them (ingest.wires.space_points, lartpc backproject)"
        )


def is_enabled(row: Stage, section: Any) -> bool:
    """Tell whether a production has a stage: one beside the chain only where its settings say so."""
    return row in CHAIN or getattr(section, "enabled", False)


def needs_weights(row: Stage, section: Any) -> bool:
    """Tell whether a stage has a network under its settings: a learned one may do without, by rules."""
    return row.learned and getattr(section, "needs_weights", True)


def require_weights(row: Stage, section: Any, given: bool, option: str = "--weights") -> None:
    """Raise ValueError, naming the option, unless weights are given just where a stage has a network as it is set."""
    if needs_weights(row, section) != given:
        need = f"has no weights; leave {option} out" if given else f"needs {option}"
        under = " under these settings" if given and row.learned else ""
        raise ValueError(f"stage '{row.name}'{under} {need}")


def writer_of(product: str) -> str:
    """Return the name of the step that writes a product."""
    return next((row.name for row in (*CHAIN, *OPTIONAL) if product in row.writes), "ingest")


def upstream_of(row: Stage) -> tuple[Stage, ...]:
    """Return the stages whose products this one reads, or may read, in the order of the chain."""
    return tuple(other for other in CHAIN if set(other.writes) & {*row.reads, *row.also_reads})


def _check(chain: Sequence[Stage]) -> None:
    written = {*IMAGE, *SEEN}
    for row in chain:
        reads = {*row.reads, *row.also_reads}
        assert reads <= written, f"{row.name} reads {reads - written} before it is written"
        assert not set(row.writes) & written, f"{row.name} writes {set(row.writes) & written} again"
        assert set(row.writes) <= set(PRODUCTS), f"{row.name} writes a product unknown to event.py"
        assert set(row.learns) <= {*TRUTH, *GENERATED}, (
            f"{row.name} learns from {row.learns}, not all of it truth"
        )
        assert row.learned == bool(row.learns), f"{row.name} has weights and no truth to learn from"
        written |= set(row.writes)


_check((*CHAIN, *OPTIONAL))
