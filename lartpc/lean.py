"""Trees of neighbours and graphs of scipy, without what it imports beside them.

`scipy.spatial` brings hulls, rotations and linear algebra, and whatever numpy names comes with scipy, f2py and testing,
too: each job would pay 0.15 s of processor time for what none uses. Where scipy is not built as expected, all comes.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def _tree() -> Any:
    """Return scipy's class of trees, from its compiled module alone if that can be had."""
    name = "scipy.spatial._ckdtree"
    if "scipy.spatial" not in sys.modules and name not in sys.modules:
        import scipy

        folder = Path(scipy.__file__).parent / "spatial"
        spec = PathFinder.find_spec(name, [str(folder)])
        if spec and spec.loader:
            module = importlib.util.module_from_spec(spec)
            # known by its name, so that scipy.spatial takes the same one if it is imported later
            sys.modules[name] = module
            try:
                spec.loader.exec_module(module)
            except ImportError:
                del sys.modules[name]
            else:
                return module.cKDTree
    from scipy.spatial import cKDTree

    return cKDTree


if not TYPE_CHECKING:
    with _unnamed():
        from scipy.sparse import coo_array, csr_array
        from scipy.sparse.csgraph import breadth_first_order, connected_components, dijkstra

        cKDTree = _tree()
