"""Perceptrons and message passing by our compiled kernel on CPUs, and their gradients.

Within `multiply_in_bf16` products are in bf16 and sums in fp32, on processors with AVX512-BF16 and without AMX: on
those with AMX the vector instruction for bf16 is half as fast, and nothing is gained.

Tensor suffixes: N rows, F nodes, D directed edges, C channels, W width.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lartpc.sparse import bf16, build
from lartpc.sparse.build import call
from lartpc.sparse.convolution import is_right_in_bf16, resolve, wants_bf16
from lartpc.sparse.fused import SUFFIXES, can_compute

BLOCK = 1024
"""Edges whose messages wait in the cache until they are summed."""

Shape = tuple[float, float]
"""Slope of the activations of a perceptron and epsilon of its norm."""


def can_pass_messages(feat_NC: Tensor, mlp: nn.Sequential) -> bool:
    """Tell whether the kernel takes such features and such a perceptron.

    It takes two linear layers, each with LeakyReLU, and a LayerNorm, as wide as whole vectors of the processor.
    """
    if torch.is_autocast_enabled(feat_NC.device.type):
        return False
    weight = cast(nn.Linear, mlp[0]).weight
    if not can_compute(feat_NC, weight) or resolve("auto") != "fused":
        return False
    width = weight.shape[0]
    return width % _lanes(weight) == 0 and width <= int(build.load().max_perceptron_width())


def can_multiply_in_bf16() -> bool:
    """Tell whether products are in bf16 within `multiply_in_bf16`, on this machine."""
    return resolve("auto") == "fused" and bf16.unit() is bf16.AVX512 and is_right_in_bf16("fused")


def encode(feat_NC: Tensor, mlp: nn.Sequential) -> Tensor:
    """Return the perceptron's output (N, W)."""
    first = cast(nn.Linear, mlp[0])
    weight = first.weight
    if feat_NC.requires_grad and (missing := -feat_NC.shape[1] % _lanes(feat_NC)):
        feat_NC, weight = functional.pad(feat_NC, (0, missing)), functional.pad(weight, (0, missing))
    function: Any = _Encode
    found = function.apply(feat_NC.contiguous(), first.bias, weight, *_others(mlp), _shape(mlp))
    return cast(Tensor, found)


def pass_messages(
    edge_DW: Tensor,
    pair_2D: Tensor,
    of_nodes: tuple[Tensor, Tensor, Tensor],
    change: nn.Sequential,
    send: nn.Sequential,
) -> tuple[Tensor, Tensor, Tensor]:
    """Change the edges by what `change` makes of them, and send messages to their targets.

    Parameters
    ----------
    edge_DW
        Edges; where no gradients are wanted they are changed in place.
    of_nodes
        What the first layers make of the nodes (F, W), biases included: for `change` of the source and of the
        target of an edge, for `send` of its source.
    change, send
        Perceptrons whose first layers end with the columns for the edge, W of them.

    Returns
    -------
    The edges (D, W), and the sum and the largest of the messages to each node (F, W), of none 0 and -inf.
    """
    width = edge_DW.shape[1]
    weights = [
        (cast(nn.Linear, mlp[0]).weight[:, -width:], *_others(mlp), _shape(mlp)) for mlp in (change, send)
    ]
    if torch.is_grad_enabled():
        function: Any = _PassMessages
        found = function.apply(
            edge_DW.contiguous(), pair_2D.contiguous(), *of_nodes, *weights[0], *weights[1]
        )
        return cast(tuple[Tensor, Tensor, Tensor], found)
    assert edge_DW.is_contiguous(), "edges are changed in place"
    nodes = [value.contiguous() for value in of_nodes]
    total_FW, largest_FW, _ = _pass(edge_DW, edge_DW, pair_2D.contiguous(), nodes, weights)
    return edge_DW, total_FW, largest_FW


class _Encode(torch.autograd.Function):
    """A perceptron. What is between its layers is not kept, but worked out again for the gradients."""

    @staticmethod
    def forward(ctx: Any, feat_NC: Tensor, bias_W: Tensor, *weights: Any) -> Tensor:
        ctx.save_for_backward(feat_NC, bias_W, *weights[:-1])
        ctx.shape, ctx.suffix = weights[-1], _suffix(feat_NC)
        out_NW = feat_NC.new_empty(len(feat_NC), len(bias_W))
        forms = _forward(*weights)
        call(
            f"encode_rows_{ctx.suffix}",
            *(feat_NC, out_NW, bias_W.contiguous(), *forms),
            *(*feat_NC.shape, len(bias_W), torch.get_num_threads()),
        )
        return out_NW

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        feat_NC, bias_W, *weights = ctx.saved_tensors
        (num_rows, num_in), width = feat_NC.shape, len(bias_W)
        grad_NC = torch.zeros_like(feat_NC) if ctx.needs_input_grad[0] else None
        sums, grad_bias_W = _sums(feat_NC, num_in, width), torch.empty_like(bias_W)
        grad_NW = grads[0].contiguous()
        turned, forms = _turned(*weights), _forward(*weights, ctx.shape)
        call(
            f"encode_backward_{ctx.suffix}",
            *(feat_NC, grad_NW, grad_NC, grad_bias_W, sums, *turned, bias_W.contiguous(), *forms),
            *(num_rows, num_in, width, torch.get_num_threads()),
        )
        return grad_NC, grad_bias_W, *_split(sums, num_in, width), None


class _PassMessages(torch.autograd.Function):
    """`pass_messages` with gradients: of its work it keeps the edges before and after."""

    @staticmethod
    def forward(ctx: Any, edge_DW: Tensor, pair_2D: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
        nodes = [value.contiguous() for value in others[:3]]
        half = 3 + (len(others) - 3) // 2
        weights = [others[3:half], others[half:]]
        changed_DW = torch.empty_like(edge_DW)
        total_FW, largest_FW, which_FW = _pass(edge_DW, changed_DW, pair_2D, nodes, weights, keep=True)
        ctx.shapes, ctx.suffix = [own[-1] for own in weights], _suffix(edge_DW)
        ctx.save_for_backward(
            edge_DW, changed_DW, pair_2D, which_FW, *nodes, *weights[0][:-1], *weights[1][:-1]
        )
        return changed_DW, total_FW, largest_FW

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        edge_DW, changed_DW, pair_2D, which_FW, *others = ctx.saved_tensors
        nodes, weights = others[:3], others[3:]
        half = len(weights) // 2
        num_edges, width = edge_DW.shape
        given = [grad.contiguous() for grad in grads]
        # Named, so that they live until the kernel is done with them.
        forms = [
            [*_turned(*own), *_forward(*own, shape)]
            for own, shape in zip((weights[:half], weights[half:]), ctx.shapes, strict=True)
        ]
        grad_DW, of_nodes = torch.empty_like(edge_DW), [torch.zeros_like(value) for value in nodes]
        sums = [_sums(edge_DW, width, width) for _ in range(2)]
        call(
            f"pass_messages_backward_{ctx.suffix}",
            *(edge_DW, changed_DW, pair_2D[0], pair_2D[1], *nodes, which_FW, *forms[0], *forms[1]),
            *(*given, grad_DW, *of_nodes, *sums, num_edges, BLOCK, width, torch.get_num_threads()),
        )
        first, second = (_split(own, width, width) for own in sums)
        return grad_DW, None, *of_nodes, *first, None, *second, None


def _pass(
    edge_DW: Tensor,
    changed_DW: Tensor,
    pair_2D: Tensor,
    nodes: list[Tensor],
    weights: Any,
    *,
    keep: bool = False,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return sum and largest of the messages, and if it is to be kept the edge that sent the largest, or -1."""
    num_edges, width = edge_DW.shape
    total_FW = torch.zeros_like(nodes[0])
    largest_FW = torch.full_like(nodes[0], -torch.inf)
    which_FW = torch.full_like(nodes[0], -1, dtype=torch.int32) if keep else None
    # Named, so that they live until the kernel is done with them.
    forms, message = [_forward(*own) for own in weights], edge_DW.new_empty(BLOCK, width)
    call(
        f"pass_messages_{_suffix(edge_DW)}",
        *(edge_DW, changed_DW, pair_2D[0], pair_2D[1], *nodes, *forms[0], *forms[1]),
        *(total_FW, largest_FW, which_FW, message, num_edges, BLOCK, width, torch.get_num_threads()),
    )
    return total_FW, largest_FW, which_FW


def _suffix(like: Tensor) -> str:
    """Return the ending of the library's functions for such features, in the arithmetic that is wanted."""
    if wants_bf16() and like.dtype == torch.float32 and can_multiply_in_bf16():
        return "bf16"
    return SUFFIXES[like.dtype]


def _lanes(like: Tensor) -> int:
    return int(build.load().vector_bytes()) // like.element_size()


def _others(mlp: nn.Sequential) -> tuple[Tensor, ...]:
    """Return what a perceptron has after its first layer: weight and bias of the second, and those of the norm."""
    _, _, second, _, norm = mlp
    assert isinstance(second, nn.Linear) and isinstance(norm, nn.LayerNorm)
    return second.weight, second.bias, norm.weight, norm.bias


def _shape(mlp: nn.Sequential) -> Shape:
    assert isinstance(mlp[1], nn.LeakyReLU) and isinstance(mlp[4], nn.LayerNorm)
    return float(mlp[1].negative_slope), float(mlp[4].eps)


def _forward(*weights: Any) -> list[Tensor | float]:
    """Return a perceptron as the kernel takes it: weights (inputs, outputs), bias, norm, slope and epsilon."""
    first, second, bias, scale, shift, shape = weights
    return [
        *(weight.t().contiguous() for weight in (first, second)),
        *(value.contiguous() for value in (bias, scale, shift)),
        *shape,
    ]


def _turned(first: Tensor, second: Tensor, *_: Tensor) -> list[Tensor]:
    """Return the weights (outputs, inputs)."""
    return [first.contiguous(), second.contiguous()]


def _sums(like: Tensor, num_in: int, width: int) -> Tensor:
    """Return space for the gradients of a perceptron."""
    return like.new_empty((num_in + width + 3) * width)


def _split(sums: Tensor, num_in: int, width: int) -> tuple[Tensor, ...]:
    """Return the gradients of both weights (outputs, inputs), of the second bias, and of the norm."""
    sizes = [num_in * width, width * width, width, width, width]
    first, second, *others = torch.split(sums, sizes)
    return first.view(num_in, width).t(), second.view(width, width).t(), *others
