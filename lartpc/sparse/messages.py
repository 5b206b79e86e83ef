"""Perceptrons and message passing by our compiled kernel on CPUs, for inference.

Tensor suffixes: N rows, F nodes, D directed edges, C channels, W width.
"""

from typing import cast

import torch
from torch import Tensor, nn

from lartpc.sparse import build
from lartpc.sparse.convolution import resolve
from lartpc.sparse.fused import SUFFIXES, call, can_compute

BLOCK = 1024
"""Edges whose messages wait in the cache until they are summed."""


def can_pass_messages(feat_NC: Tensor, mlp: nn.Sequential) -> bool:
    """Tell whether the kernel takes such features and such a perceptron, gradients not wanted.

    It takes two linear layers, each with LeakyReLU, and a LayerNorm, as wide as whole vectors of the processor.
    """
    if torch.is_grad_enabled() or torch.is_autocast_enabled(feat_NC.device.type):
        return False
    weight = cast(nn.Linear, mlp[0]).weight
    if not can_compute(feat_NC, weight) or resolve("auto") != "fused":
        return False
    library, width = build.load(), weight.shape[0]
    lanes = library.vector_bytes() // weight.element_size()
    return width % lanes == 0 and width <= int(library.max_perceptron_width())


def encode(feat_NC: Tensor, mlp: nn.Sequential) -> Tensor:
    """Return the perceptron's output (N, W)."""
    first = cast(nn.Linear, mlp[0])
    out_NW = feat_NC.new_empty(len(feat_NC), first.out_features)
    call(
        f"encode_rows_{SUFFIXES[feat_NC.dtype]}",
        *(feat_NC.contiguous(), out_NW, first.bias.contiguous(), *_weights(mlp)),
        *(*feat_NC.shape, first.out_features, torch.get_num_threads()),
    )
    return out_NW


def pass_messages(
    edge_DW: Tensor,
    pair_2D: Tensor,
    of_nodes: tuple[Tensor, Tensor, Tensor],
    change: nn.Sequential,
    send: nn.Sequential,
) -> tuple[Tensor, Tensor]:
    """Change the edges in place by what `change` makes of them, and send messages to their targets.

    Parameters
    ----------
    of_nodes
        What the first layers make of the nodes (F, W), biases included: for `change` of the source and of the
        target of an edge, for `send` of its source.
    change, send
        Perceptrons whose first layers end with the columns for the edge, W of them.

    Returns
    -------
    The sum and the largest of the messages to each node (F, W), of none 0 and -inf.
    """
    assert edge_DW.is_contiguous(), "edges are changed in place"
    num_edges, width = edge_DW.shape
    nodes = [value.contiguous() for value in of_nodes]
    total_FW = torch.zeros_like(nodes[0])
    largest_FW = torch.full_like(nodes[0], -torch.inf)
    # Named, so that they live until the kernel is done with them.
    weights = [_weights(mlp, last_inputs=width) for mlp in (change, send)]
    pair_2D, message = pair_2D.contiguous(), edge_DW.new_empty(BLOCK, width)
    call(
        f"pass_messages_{SUFFIXES[edge_DW.dtype]}",
        *(edge_DW, pair_2D[0], pair_2D[1], *nodes, *weights[0], *weights[1]),
        *(total_FW, largest_FW, message, num_edges, BLOCK, width, torch.get_num_threads()),
    )
    return total_FW, largest_FW


def _weights(mlp: nn.Sequential, last_inputs: int | None = None) -> list[Tensor | float]:
    """Return a perceptron as the kernel takes it: weights (inputs, outputs), bias, norm, slope and epsilon.

    Those of the first layer are for its last inputs only, if told how many; its bias is not among them.
    """
    first, activation, second, _, norm = mlp
    assert isinstance(first, nn.Linear) and isinstance(second, nn.Linear) and isinstance(norm, nn.LayerNorm)
    assert isinstance(activation, nn.LeakyReLU)
    columns = slice(None) if last_inputs is None else slice(-last_inputs, None)
    return [
        first.weight[:, columns].t().contiguous(),
        second.weight.t().contiguous(),
        second.bias.contiguous(),
        norm.weight.contiguous(),
        norm.bias.contiguous(),
        float(activation.negative_slope),
        float(norm.eps),
    ]
