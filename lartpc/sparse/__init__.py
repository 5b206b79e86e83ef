"""Sparse convolution: kernel maps of our own, and the backends that do arithmetic on them.

Ours for CPUs is compiled when a network first runs, ours for GPUs (`implicit`) by Triton. The only importer of
spconv, and only when that backend is asked for, or takes the place of Triton. spconv's own maps are not used (on
CPUs its int32 hash keys wrap), and its CPU operations run on one thread (its scatter races on more).
`docs/explanation/segmentation.md` compares the backends.

The compiled library also holds the message passing of the graph networks (`messages`).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lartpc.sparse.convolution import (
        Backend,
        Downsample,
        SubmanifoldConv,
        Upsample,
        bf16_fault,
        convolve,
        multiply_in_bf16,
        resolve,
        self_test,
    )
    from lartpc.sparse.lattice import Coarsening, KernelMap, Lattice
    from lartpc.sparse.norm import BatchNorm, NormActivation

__all__ = [
    "Backend",
    "BatchNorm",
    "Coarsening",
    "Downsample",
    "KernelMap",
    "Lattice",
    "NormActivation",
    "SubmanifoldConv",
    "Upsample",
    "bf16_fault",
    "convolve",
    "multiply_in_bf16",
    "resolve",
    "self_test",
]

_WHERE = {
    "lartpc.sparse.lattice": ("Coarsening", "KernelMap", "Lattice"),
    "lartpc.sparse.norm": ("BatchNorm", "NormActivation"),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: who only needs the compiled library (`build`) starts without torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    modules = (module for module, names in _WHERE.items() if name in names)
    return getattr(import_module(next(modules, "lartpc.sparse.convolution")), name)
