"""Convolutions over kernel maps, by our compiled kernel, Triton, torch or spconv, with the same weights.

Tensor suffixes: V voxels (rows of a lattice), C channels, K kernel offsets.
"""

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lartpc.sparse import bf16, fused, implicit, with_spconv
from lartpc.sparse.lattice import KernelMap, Lattice

Backend = Literal["auto", "fused", "triton", "spconv", "torch"]
Resolved = Literal["fused", "triton", "spconv", "torch"]

_WANT_BF16: ContextVar[bool] = ContextVar("_WANT_BF16", default=False)


@contextmanager
def multiply_in_bf16() -> Iterator[None]:
    """Let convolutions and message passing on CPUs, and nothing else, multiply in bf16 where that is faster.

    torch's autocast takes the linear layers too, for which oneDNN makes new code for each number of rows
    that it has not met: of events, each has its own, and that takes longer than the layer.
    """
    before = _WANT_BF16.set(True)
    try:
        yield
    finally:
        _WANT_BF16.reset(before)


def wants_bf16() -> bool:
    """Tell whether `multiply_in_bf16` is on."""
    return _WANT_BF16.get()


class _TorchConvolution(torch.autograd.Function):
    """Gather and multiply per offset, then sum the products of each output row in the order of the offsets."""

    @staticmethod
    def forward(ctx: Any, feat: Tensor, weight: Tensor, kernel_map: KernelMap) -> Tensor:
        ctx.save_for_backward(feat, weight)
        ctx.kernel_map = kernel_map
        return _gather_multiply_sum(feat, weight, kernel_map)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, None]:
        feat, weight = ctx.saved_tensors
        grad, kernel_map, turned = grads[0].contiguous(), ctx.kernel_map, weight.transpose(1, 2)
        grad_weight = torch.zeros_like(weight)
        if kernel_map.symmetric:
            # Turned round, the map is itself with its offsets in reverse.
            grad_feat = _gather_multiply_sum(grad, turned.flip(0), kernel_map, feat, grad_weight)
            return grad_feat, grad_weight.flip(0), None
        grad_feat = _gather_multiply_sum(grad, turned, kernel_map.transposed, feat, grad_weight)
        return grad_feat, grad_weight, None


def _gather_multiply_sum(
    feat: Tensor,
    weight: Tensor,
    kernel_map: KernelMap,
    other: Tensor | None = None,
    grad_weight: Tensor | None = None,
) -> Tensor:
    """Convolve; given the `other` side's rows as well, add the gradient of the weights on the way.

    In the backward pass `feat` is the gradient of the output, the map is turned round, and `other` is the
    input: both results need the same gathered rows.
    """
    num_channels = weight.shape[2]
    matrices = weight.unbind(0)
    grads = grad_weight.unbind(0) if grad_weight is not None else ()
    out = feat.new_empty(kernel_map.num_target, num_channels)
    buffer = feat.new_empty(max((b.num_pairs for b in kernel_map.blocks), default=0), num_channels)
    for block in kernel_map.blocks:
        products = torch.split(buffer[: block.num_pairs], block.sizes)
        for (offset, source, target), product in zip(block.chunks, products, strict=True):
            gathered = _rows(feat, source)
            torch.mm(gathered, matrices[offset], out=product)
            if other is not None:
                grads[offset].addmm_(_rows(other, target).t(), gathered)
        out[block.rows] = functional.embedding_bag(
            block.order_P, buffer, block.bags, mode="sum", include_last_offset=True
        )
    return out


def _rows(feat: Tensor, index: Tensor | slice) -> Tensor:
    return feat[index] if isinstance(index, slice) else feat.index_select(0, index)


@cache
def resolve(backend: Backend, device_type: str = "cpu") -> Resolved:
    """Return the backend that a choice means on a kind of device ("cpu", "cuda").

    `auto` is fused on CPUs, where it is the fastest (benchmarks/sparse.py); on GPUs triton, or spconv where
    that cannot be used. Where the backend cannot be used, the answer is torch, with a line that says why.
    """
    choices: list[Resolved] = [backend] if backend != "auto" else ["fused"]
    if backend == "auto" and device_type != "cpu":
        choices = ["triton", "spconv"]
    faults = []
    for chosen in choices:
        fault = None if chosen == "torch" else self_test(chosen, torch.device(device_type))
        if fault is None:
            break
        faults.append(f"{chosen}: {fault}")
    else:
        chosen = "torch"
    if faults:
        slower = ", which is slower" if chosen == "torch" else ""
        told = f"sparse convolution falls back to {chosen}{slower}; {'; '.join(faults)}"
        if backend == "auto" and (chosen != "torch" or choices == ["fused"]):
            # No fault of the user's: many machines have no compiler, or a torch without triton.
            logging.getLogger(__name__).warning("%s", told)
        else:
            warnings.warn(told, RuntimeWarning, stacklevel=2)
    return chosen


def convolve(feat_VC: Tensor, weight_KCC: Tensor, kernel_map: KernelMap, backend: Backend = "auto") -> Tensor:
    """Convolve features along a map: out[target] += feat[source] @ weight[offset] over all pairs.

    Under autocast our compiled kernel takes and gives fp32, and multiplies in bf16 where the processor has
    the means; the other backends do as torch's own functions.

    Raises
    ------
    ValueError
        The features do not have one row per input voxel.
    """
    if len(feat_VC) != kernel_map.num_source:
        raise ValueError(f"{len(feat_VC)} rows of features do not fit {kernel_map.num_source} voxels")
    device = feat_VC.device.type
    resolved = resolve(backend, device)
    wanted = wants_bf16()
    if torch.is_autocast_enabled(device):
        # torch knows nothing of our functions, and leaves to us what it does for its own.
        dtype = torch.get_autocast_dtype(device)
        if resolved == "fused":
            wanted, dtype = wanted or dtype == torch.bfloat16, torch.float32
        feat_VC, weight_KCC = feat_VC.to(dtype), weight_KCC.to(dtype)
    in_bf16 = wanted and _takes_bf16(feat_VC, [weight_KCC], resolved)
    return _apply("bf16" if in_bf16 else resolved, feat_VC.contiguous(), weight_KCC, kernel_map)


def _apply(
    backend: Resolved | Literal["bf16"], feat_VC: Tensor, weight_KCC: Tensor, kernel_map: KernelMap
) -> Tensor:
    function: Any = _TorchConvolution
    if backend == "bf16":
        function = bf16.Bf16Convolution
    elif backend == "fused" and fused.can_compute(feat_VC, weight_KCC):
        if not torch.is_grad_enabled():
            return fused.convolve(feat_VC, weight_KCC.contiguous(), kernel_map.tiles)
        function = fused.FusedConvolution
    elif backend == "triton" and implicit.can_compute(feat_VC, weight_KCC):
        function = implicit.ImplicitConvolution
    # spconv refuses maps without pairs, so these go to torch.
    elif backend == "spconv" and len(kernel_map.source_P):
        function = with_spconv.SpconvConvolution
    return cast(Tensor, function.apply(feat_VC, weight_KCC, kernel_map))


def computes_in_bf16(feat_VC: Tensor, weights: Sequence[Tensor]) -> bool:
    """Tell whether our compiled kernel is asked to multiply such features and weights in bf16, and can."""
    return wants_bf16() and _takes_bf16(feat_VC, weights, "fused")


def _takes_bf16(feat_VC: Tensor, weights: Sequence[Tensor], resolved: Resolved) -> bool:
    return (
        feat_VC.device.type == "cpu"
        and all(tensor.dtype == torch.float32 for tensor in (feat_VC, *weights))
        and is_right_in_bf16(resolved)
        and all(map(bf16.takes, weights))
    )


@cache
def is_right_in_bf16(backend: Resolved) -> bool:
    """Tell whether a backend multiplies in bf16 on CPUs, and passes its self-test; say it once where it does not."""
    fault = bf16_fault() if backend == "fused" else f"backend {backend} does not have it on CPUs"
    if fault is not None:
        logging.getLogger(__name__).warning("the network computes in fp32 instead of bf16: %s", fault)
    return fault is None


def bf16_fault() -> str | None:
    """Return why our compiled kernel does not compute in bf16 on this machine, or None.

    It is tried on numbers that bf16 holds, so that only its sums, in fp32, may differ from plain loops.
    """
    try:
        if bf16.unit() is None:
            return "it has no instructions for that (AMX-BF16 under Linux, or AVX512-BF16)"
    except RuntimeError as error:
        return str(error)
    return _fault("bf16", torch.device("cpu"), torch.float32, 1e-5, 4_000, 24, 40)


def self_test(backend: Backend = "auto", device: torch.device | None = None) -> str | None:
    """Compare a backend with plain loops and return what is wrong with it, or None.

    Small inputs do not show the race that spconv has on several threads; 20,000 voxels do. The compiled
    kernel shares nothing between threads: 4,000 voxels, which are several tiles, take it little time.
    """
    device = device or torch.device("cpu")
    # GPU kernels of spconv exist for float32 and lower only.
    dtype, tolerance = (torch.float64, 1e-12) if device.type == "cpu" else (torch.float32, 1e-4)
    try:
        if backend == "auto":
            backend = resolve(backend, device.type)
        if backend == "spconv":
            with_spconv.load()
        if backend == "triton" and (fault := implicit.fault(device.type)):
            return fault
        if backend == "triton":
            return _fault(backend, device, dtype, tolerance, 4_000, 12, 40)
        if backend == "fused":
            return _norm_fault() or _fault(backend, device, dtype, tolerance, 4_000, 12, 24)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return _fault(backend, device, dtype, tolerance, 20_000, 8, 4)


@torch.inference_mode(False)
@torch.enable_grad()
def _fault(
    backend: Resolved | Literal["bf16"],
    device: torch.device,
    dtype: torch.dtype,
    tolerance: float,
    num_voxels: int,
    num_in: int,
    num_out: int,
) -> str | None:
    """Compare the convolutions of a lattice and their gradients with plain loops."""
    random = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random).bfloat16().to(device, dtype)

    cells = torch.randperm(2 * 32**3, generator=random)[:num_voxels]
    coord = torch.stack([cells // 32**3, cells // 32**2 % 32, cells // 32 % 32, cells % 32], 1)
    lattice = Lattice(coord.to(device), 2, (32, 32, 32))
    try:
        # Under autocast, where the first call may come from, plain loops are others.
        with torch.autocast(device.type, enabled=False):
            for kernel_map in (lattice.neighbours(3), lattice.coarser.down, lattice.coarser.up):
                num_offsets = kernel_map.num_offsets
                feat = draw(kernel_map.num_source, num_in).requires_grad_()
                weight = draw(num_offsets, num_in, num_out).requires_grad_()
                grad = draw(kernel_map.num_target, num_out)
                out = _apply(backend, feat, weight, kernel_map)
                wanted = torch.zeros_like(out)
                for k, source, target in kernel_map.pairs:
                    wanted = wanted.index_add(0, target, feat[source] @ weight[k])
                # of a sum: given gradients let torch import 500 modules, which takes 0.4 s in every process
                found = (out, *torch.autograd.grad((out * grad).sum(), (feat, weight)))
                expected = (wanted, *torch.autograd.grad((wanted * grad).sum(), (feat, weight)))
                for name, ours, theirs in zip(("output", "input", "weights"), found, expected, strict=True):
                    error = float((ours - theirs).detach().abs().max() / theirs.detach().abs().max())
                    if not error <= tolerance:
                        what = "output" if name == "output" else f"gradient of the {name}"
                        return (
                            f"{what} of a {num_offsets}-offset convolution is wrong by {error:.1e} (relative)"
                        )
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


@torch.inference_mode(False)
@torch.enable_grad()
def _norm_fault() -> str | None:
    """Compare the kernel's normalisation and its gradients with torch's."""
    feat_VC = torch.randn(4_000, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    norm = nn.BatchNorm1d(feat_VC.shape[1], dtype=feat_VC.dtype)
    feat_VC.requires_grad_()
    wanted = functional.leaky_relu(norm(feat_VC), 0.1)
    weighted = (wanted * feat_VC.detach()).sum()
    expected = (wanted, *torch.autograd.grad(weighted, (feat_VC, norm.weight, norm.bias)))
    out, stats_SC = fused.normalise_by_own(feat_VC.detach(), norm, 0.1)
    found = (out, *fused.normalise_backward(feat_VC.detach(), feat_VC.detach(), stats_SC, 0.1))
    for ours, theirs in zip(found, expected, strict=True):
        error = float((ours - theirs).detach().abs().max() / theirs.detach().abs().max())
        if not error <= 1e-10:
            return f"batch normalisation or its gradient is wrong by {error:.1e} (relative)"
    return None


# -- modules -----------------------------------------------------------------------------------


class _Convolution(nn.Module):
    """Weights (K, C_in, C_out) of a convolution without bias."""

    def __init__(
        self, num_in: int, num_out: int, num_offsets: int, num_active: float, backend: Backend
    ) -> None:
        super().__init__()
        self.backend = backend
        self.weight = nn.Parameter(torch.empty(num_offsets, num_in, num_out))
        nn.init.normal_(self.weight, std=math.sqrt(2 / (num_active * num_in)))

    def extra_repr(self) -> str:
        num_offsets, num_in, num_out = self.weight.shape
        return f"{num_in}, {num_out}, offsets={num_offsets}, backend={self.backend!r}"


class SubmanifoldConv(_Convolution):
    """Convolution (V, C_in) -> (V, C_out) whose output voxels are its input voxels (arXiv:1706.01307)."""

    def __init__(
        self, num_in: int, num_out: int, kernel: int, dimension: int = 3, backend: Backend = "auto"
    ) -> None:
        # Of the cells around a voxel of a track or shower, about a third are occupied.
        super().__init__(num_in, num_out, kernel**dimension, max(1.0, kernel**dimension / 3), backend)
        self.kernel = kernel

    def forward(self, feat_VC: Tensor, lattice: Lattice) -> Tensor:
        """Convolve features (V, C_in) of the lattice."""
        return convolve(feat_VC, self.weight, lattice.neighbours(self.kernel), self.backend)


class Downsample(_Convolution):
    """Strided convolution from a lattice to its coarser one, over cubes of 2^D voxels."""

    def __init__(self, num_in: int, num_out: int, dimension: int = 3, backend: Backend = "auto") -> None:
        super().__init__(num_in, num_out, 2**dimension, 2**dimension / 3, backend)

    def forward(self, feat_VC: Tensor, lattice: Lattice) -> Tensor:
        """Bring features of the lattice to its coarser one."""
        return convolve(feat_VC, self.weight, lattice.coarser.down, self.backend)


class Upsample(_Convolution):
    """Transposed convolution from the coarser lattice of `lattice` back to its voxels."""

    def __init__(self, num_in: int, num_out: int, dimension: int = 3, backend: Backend = "auto") -> None:
        super().__init__(num_in, num_out, 2**dimension, 1.0, backend)

    def forward(self, feat_VC: Tensor, lattice: Lattice) -> Tensor:
        """Bring features of the coarser lattice to this one."""
        return convolve(feat_VC, self.weight, lattice.coarser.up, self.backend)
