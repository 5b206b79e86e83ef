"""Residual blocks in training on CPUs, each one function of autograd, by our compiled kernels.

A block is normalisation, activation and convolution, twice, beside a shortcut. Between rows in memory as few passes are
made as the statistics allow: a convolution ends its tiles with the moments that the next normalisation needs, and its
gradient with the sums that go to weight and bias; activated rows are written once, rounded where products are in bf16;
the shortcut is what the sums of the second convolution begin with, or one product more in its tiles. The features may
come in two parts, whose channels are taken as one after another without being brought together.

Tensor suffixes: V voxels (rows of a lattice), C channels, K kernel offsets, S statistics.
"""

import logging
from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lartpc.sparse import bf16, build, fused, passes
from lartpc.sparse.convolution import Backend, computes_in_bf16, resolve
from lartpc.sparse.lattice import KernelMap, Lattice
from lartpc.sparse.norm import NormActivation, takes_statistics
from lartpc.sparse.passes import AVX512, Form, Parts


def form_of(
    feat_VC: Tensor, acts: Sequence[NormActivation], weights: Sequence[Tensor], backend: Backend
) -> Form | None:
    """Return how a block is computed, or None where it is none in training or these kernels do not take it.

    Channels must be whole vectors of the processor. The matrix unit (AMX) has an order of channels of its own.
    """
    if not torch.is_grad_enabled() or not all(takes_statistics(act, feat_VC) for act in acts):
        return None
    if torch.is_autocast_enabled(feat_VC.device.type) or resolve(backend, feat_VC.device.type) != "fused":
        return None
    if not all(fused.can_compute(feat_VC, weight) for weight in weights):
        return None
    whole = build.load().vector_bytes() // feat_VC.element_size()
    if any(size % whole for weight in weights for size in weight.shape[-2:]):
        return None
    form = Form(fused.SUFFIXES[feat_VC.dtype], rounds=False)
    if computes_in_bf16(feat_VC, weights):
        if bf16.unit() is not bf16.AVX512:
            return None
        form = AVX512
    if (fault := fault_of(form)) is not None:
        logging.getLogger(__name__).warning(
            "residual blocks train layer by layer, which is slower: %s", fault
        )
        return None
    return form


@cache
@torch.inference_mode(False)
@torch.enable_grad()
def fault_of(form: Form) -> str | None:
    """Compare a block and its gradients with its layers, and return what is wrong with it, or None."""
    dtype = torch.float64 if form.suffix == "f64" else torch.float32
    tolerance = {"f64": 1e-10, "f32": 1e-3}.get(form.suffix, 0.1)
    random = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random).to(dtype)

    cells = torch.randperm(16**3, generator=random)[:1500]
    coord = torch.stack([torch.zeros_like(cells), cells // 256, cells // 16 % 16, cells % 16], 1)
    kernel_map = Lattice(coord, 1, (16,) * 3).neighbours(3)
    leaves = [draw(len(cells), 16), draw(len(cells), 16), draw(27, 32, 16), draw(27, 16, 16), draw(16, 32)]
    leaves = [value.requires_grad_() for value in leaves]
    acts = [NormActivation(width, 0.1, 1e-4, 0.05).to(dtype) for width in (32, 16)]
    leaves += [value for act in acts for value in act.parameters()]
    first, second, weight0, weight1, shortcut = leaves[:5]
    ours = residual([first, second], acts, [weight0, weight1], shortcut, kernel_map, form)
    feat_VC, function = torch.cat([first, second], 1), cast(Any, fused.FusedConvolution)
    hidden_VC = function.apply(_plain(acts[0], feat_VC), weight0, kernel_map)
    theirs = function.apply(_plain(acts[1], hidden_VC), weight1, kernel_map) + feat_VC @ shortcut.t()
    aim = draw(*ours.shape)
    found, wanted = (torch.autograd.grad((out * aim).sum(), leaves) for out in (ours, theirs))
    for own, other in zip((ours, *found), (theirs, *wanted), strict=True):
        error = float((own - other).detach().norm() / other.detach().norm())
        if not error <= tolerance:
            return f"a block or its gradients ({form.suffix}) are wrong by {error:.1e} (relative)"
    return None


def _plain(act: NormActivation, feat_VC: Tensor) -> Tensor:
    norm = act.norm
    normal_VC = functional.batch_norm(
        feat_VC, None, None, norm.weight, norm.bias, training=True, eps=norm.eps
    )
    return functional.leaky_relu(normal_VC, act.leakiness)


def residual(
    parts: Parts,
    acts: Sequence[NormActivation],
    weights: Sequence[Tensor],
    shortcut: Tensor | None,
    kernel_map: KernelMap,
    form: Form,
) -> Tensor:
    """Return the rows (V, C_out) of a residual block in training.

    Parameters
    ----------
    parts
        Features (V, C_in), in one part or two.
    acts
        Both normalisations with their activations, whose running statistics are moved.
    weights
        Of both convolutions (K, C_in, C_out).
    shortcut
        Weights (C_out, C_in) of the layer beside; None: the features themselves.
    kernel_map
        A symmetric map.
    """
    first, second = acts
    function: Any = _Residual
    second_part = parts[1].contiguous() if len(parts) > 1 else None
    norms = (first.norm.weight, first.norm.bias, second.norm.weight, second.norm.bias)
    found = function.apply(
        *(parts[0].contiguous(), second_part, *weights, shortcut, *norms),
        *((first.norm, second.norm), (first.leakiness, second.leakiness), kernel_map, form),
    )
    return cast(Tensor, found)


def activated_convolution(
    feat_VC: Tensor, act: NormActivation, weight_KCC: Tensor, kernel_map: KernelMap, form: Form
) -> Tensor:
    """Normalise and activate features (V, C_in) and convolve them, in training."""
    function: Any = _ActivatedConvolution
    norm = act.norm
    found = function.apply(
        feat_VC.contiguous(), weight_KCC, norm.weight, norm.bias, norm, act.leakiness, kernel_map, form
    )
    return cast(Tensor, found)


class _ActivatedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        feat_VC: Tensor,
        weight: Tensor,
        scale_C: Tensor,
        shift_C: Tensor,
        norm: nn.BatchNorm1d,
        slope: float,
        kernel_map: KernelMap,
        form: Form,
    ) -> Tensor:
        stats_SC = passes.settle(passes.Sums(len(feat_VC), feat_VC.shape[1]), [feat_VC], norm)
        rows = passes.activate([feat_VC], stats_SC, slope, form)
        ctx.save_for_backward(feat_VC, weight, stats_SC, rows)
        ctx.slope, ctx.kernel_map, ctx.form = slope, kernel_map, form
        return passes.convolve(rows, weight, kernel_map.tiles, form)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        feat_VC, weight, stats_SC, rows = ctx.saved_tensors
        form, kernel_map = ctx.form, ctx.kernel_map
        grad = passes.rounded([grads[0].contiguous()], form)
        grad_weight = passes.grad_weight(rows, grad, weight, kernel_map.tiles, form)
        sums = passes.Sums(len(feat_VC), feat_VC.shape[1])
        inner = passes.turned_convolve(grad, weight, kernel_map, form, sums, [feat_VC], stats_SC, ctx.slope)
        (grad_VC,), *of_norm = passes.spread([feat_VC], inner, stats_SC, sums, ctx.slope, None)
        return grad_VC, grad_weight, *of_norm, None, None, None, None


class _Residual(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        first: Tensor,
        second: Tensor | None,
        weight0: Tensor,
        weight1: Tensor,
        shortcut: Tensor | None,
        *others: Any,
    ) -> Tensor:
        norms, slopes, kernel_map, form = others[4:]
        parts = [first] if second is None else [first, second]
        if second is not None and (shortcut is None or not form.rounds):
            parts = [torch.cat(parts, 1)]  # what is beside takes whole rows
        width = weight0.shape[2]
        stats0_SC = passes.settle(passes.Sums(len(first), weight0.shape[1]), parts, norms[0])
        rows0 = passes.activate(parts, stats0_SC, slopes[0], form)
        sums = passes.Sums(len(first), width)
        hidden_VC = passes.convolve(rows0, weight0, kernel_map.tiles, form, moments=sums)
        stats1_SC = passes.settle(sums, [hidden_VC], norms[1], is_measured=True)
        rows1 = passes.activate([hidden_VC], stats1_SC, slopes[1], form)
        own = None if shortcut is None else passes.rounded(parts, form)
        out_VC = passes.convolve(
            *(rows1, weight1, kernel_map.tiles, form),
            start=parts[0] if shortcut is None else None,
            own=own,
            own_weight=shortcut,
        )
        ctx.save_for_backward(
            *(hidden_VC, weight0, weight1, shortcut, stats0_SC, stats1_SC, rows0, rows1),
            *(own if form.rounds else None, *parts),
        )
        ctx.given = None if second is None else (first.shape[1], second.shape[1])
        ctx.slopes, ctx.kernel_map, ctx.form = slopes, kernel_map, form
        return out_VC

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        hidden_VC, weight0, weight1, shortcut, stats0_SC, stats1_SC, rows0, rows1, own, *parts = (
            ctx.saved_tensors
        )
        kernel_map, form, (slope0, slope1) = ctx.kernel_map, ctx.form, ctx.slopes
        tiles, num_rows = kernel_map.tiles, len(hidden_VC)
        grad_VC = grads[0].contiguous()
        grad = passes.rounded([grad_VC], form)
        grad_weight1 = passes.grad_weight(rows1, grad, weight1, tiles, form)
        sums = passes.Sums(num_rows, hidden_VC.shape[1])
        inner = passes.turned_convolve(grad, weight1, kernel_map, form, sums, [hidden_VC], stats1_SC, slope1)
        (between,), *of_norm1 = passes.spread([hidden_VC], inner, stats1_SC, sums, slope1, None, form)
        grad_weight0 = passes.grad_weight(rows0, between, weight0, tiles, form)
        sums = passes.Sums(num_rows, weight0.shape[1])
        inner = passes.turned_convolve(between, weight0, kernel_map, form, sums, parts, stats0_SC, slope0)
        grad_shortcut = None
        beside_VC = grad_VC
        if shortcut is not None:
            own = own if form.rounds else parts[0]
            beside_VC = passes.own_only(grad, shortcut.t().contiguous(), tiles, form)
            own_tiles = passes.own_tiles(tiles)
            grad_shortcut = passes.grad_weight(own, grad, shortcut.t()[None], own_tiles, form)[0].t()
        found, *of_norm0 = passes.spread(parts, inner, stats0_SC, sums, slope0, beside_VC)
        if ctx.given is not None and len(found) == 1:
            found = [part.contiguous() for part in torch.split(found[0], ctx.given, 1)]
        second = found[1] if len(found) > 1 else None
        return (
            *(found[0], second, grad_weight0, grad_weight1, grad_shortcut, *of_norm0, *of_norm1),
            *(None, None, None, None),
        )
