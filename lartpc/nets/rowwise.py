"""Operations whose result for a row is the same bit for bit, whatever the rows beside it, for inference on CPUs.

A product of matrices adds up in an order that depends on the number of rows, and on where among them a row stands;
exponentials are computed otherwise at the end of an array, where no full vector is left. By such operations an
event would come out differently by its batch, in the last bit. Our kernel takes the channels of a row in turn.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lartpc.sparse import fused, resolve

_LANES = 64
"""Numbers that are worked on together at most, in whole vectors."""


def rowwise(layer: nn.Linear, feat_RC: Tensor) -> Tensor:
    """Apply a layer to rows (R, C), to each by itself; in training, and on a GPU, as the library does."""
    return product(feat_RC, layer.weight, layer.bias)


def product(feat_RC: Tensor, weight_KC: Tensor, bias_K: Tensor | None = None) -> Tensor:
    """Multiply rows (R, C) by weights (K, C), each by itself; in training, and on a GPU, as the library does."""
    if torch.is_grad_enabled() or feat_RC.device.type != "cpu":
        return nn.functional.linear(feat_RC, weight_KC, bias_K)
    weight_CK = weight_KC.t()
    if fused.can_compute(feat_RC, weight_KC) and resolve("auto") == "fused":
        found_RK = fused.multiply(feat_RC, weight_CK)
        return found_RK if bias_K is None else found_RK.add_(bias_K)
    total_RK = feat_RC.new_zeros(len(feat_RC), weight_CK.shape[1])
    for channel, weight_K in enumerate(weight_CK):
        # not in one operation: only the sum of two products, each rounded, is the same everywhere
        total_RK += feat_RC[:, channel, None] * weight_K
    return total_RK if bias_K is None else total_RK + bias_K


def whole(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Apply a function of single numbers in whole vectors, those at the end filled up."""
    if torch.is_grad_enabled() or values.device.type != "cpu":
        return function(values)
    flat = values.flatten()
    filled = flat.new_zeros(-(-len(flat) // _LANES) * _LANES)
    filled[: len(flat)] = flat
    return function(filled)[: len(flat)].view(values.shape)
