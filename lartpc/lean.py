"""Trees of neighbours and graphs of scipy, without what it imports beside them.

`scipy.spatial` and `csgraph` bring hulls, rotations and linear algebra, and whatever numpy names comes with scipy, f2py
and testing, too: each job would pay 0.17 s of processor time for what none uses. Where scipy is not built as expected,
all comes.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import coo_array, csr_array
    from scipy.sparse.csgraph import breadth_first_order, connected_components, dijkstra
    from scipy.spatial import cKDTree

__all__ = ["breadth_first_order", "cKDTree", "connected_components", "coo_array", "csr_array", "dijkstra"]

_UNUSED = ("f2py", "testing")
"""Modules that numpy imports where they are first named: scipy names all."""


@contextmanager
def _unnamed() -> Iterator[None]:
    """Let names of numpy stand for nothing meanwhile, unless their modules are there."""
    names = [name for name in _UNUSED if f"numpy.{name}" not in sys.modules]
    for name in names:
        setattr(np, name, None)
    try:
        yield
    finally:
        for name in names:
            if getattr(np, name) is None:
                delattr(np, name)


@contextmanager
def _alone(package: str) -> Iterator[None]:
    """Let modules of a package be imported without what the package itself imports; it can still be imported later."""
    parent = sys.modules[package.rpartition(".")[0]]
    spec = PathFinder.find_spec(package, parent.__path__)
    if package in sys.modules or spec is None or spec.submodule_search_locations is None:
        yield
        return
    stand_in = ModuleType(package)
    stand_in.__path__ = list(spec.submodule_search_locations)
    sys.modules[package] = stand_in
    try:
        yield
    finally:
        del sys.modules[package]


if not TYPE_CHECKING:
    with _unnamed():
        from scipy.sparse import coo_array, csr_array
    try:
        with _alone("scipy.sparse.csgraph"):
            from scipy.sparse.csgraph._shortest_path import dijkstra
            from scipy.sparse.csgraph._traversal import breadth_first_order, connected_components
        with _alone("scipy.spatial"):
            from scipy.spatial._ckdtree import cKDTree
    except ImportError:
        from scipy.sparse.csgraph import breadth_first_order, connected_components, dijkstra
        from scipy.spatial import cKDTree
