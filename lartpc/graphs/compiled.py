"""The graph networks in inference: weights and features are arrays, message passing is by our compiled kernel.

Shape suffixes: N rows, F nodes, E edges (each pair once), D directed edges (2E, forward then backward), C channels,
W width, K classes.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lartpc.config import GraphNet
from lartpc.graphs.graph import NUM_EDGE_FEATURES, Graph
from lartpc.sparse import build, tiles
from lartpc.sparse.parameters import Parameters

Array = NDArray[Any]

BLOCK = 1024
"""Edges whose messages wait in the cache until they are summed."""

LAYER_NORM_EPS = 1e-5

SUFFIXES = {"float32": "f32", "float64": "f64"}


class Logits(Protocol):
    """A graph network in inference, compiled or of torch."""

    def logits(self, graph: Graph[Array]) -> dict[str, Array]:
        """Return the logits of all heads by name; `edge` (E, 2), those of nodes (F, K)."""


def has_kernel(cfg: GraphNet) -> bool:
    """Tell whether the compiled kernel can be had, takes networks of these settings, and computes right."""
    width = cfg.num_hidden
    try:
        kernel = build.load()
        fits = width <= kernel.max_perceptron_width() and width % (kernel.vector_bytes() // 4) == 0
    except RuntimeError:
        return False  # torch takes its place, and says so
    return fits and _is_right(width)


@cache
def _is_right(width: int) -> bool:
    """Compare a perceptron of the kernel with plain products."""
    rng = np.random.default_rng(1)
    shapes = {"0.weight": (width, 5), "0.bias": (width,), "2.weight": (width, width), "2.bias": (width,)}
    state = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    state |= {"4.weight": rng.normal(size=width), "4.bias": rng.normal(size=width)}
    feat_NC = rng.normal(size=(100, 5))
    found = _Perceptron(Parameters(state, "the graph network", np.float64), "", 5, width, 0.1)(feat_NC)
    hidden = feat_NC
    for name in ("0", "2"):
        hidden = hidden @ state[f"{name}.weight"].T + state[f"{name}.bias"]
        hidden = np.where(hidden > 0, hidden, 0.1 * hidden)
    away = hidden - hidden.mean(1, keepdims=True)
    unit = away / np.sqrt((away**2).mean(1, keepdims=True) + LAYER_NORM_EPS)
    wanted = unit * state["4.weight"] + state["4.bias"]
    is_right = bool(np.abs(found - wanted).max() < 1e-9)
    if not is_right:
        logging.getLogger(__name__).warning(
            "the kernel of the graph networks computes wrongly: torch takes its place"
        )
    return is_right


class _Linear:
    """A linear layer on rows, each by itself: a product of matrices adds up in an order that depends on them."""

    def __init__(self, weight_CK: Array, bias_K: Array | None) -> None:
        self._num_out, self._bias_K = weight_CK.shape[1], bias_K
        lanes = build.load().vector_bytes() // weight_CK.itemsize
        # whole vectors of the processor
        self._weight_CK = np.pad(weight_CK, ((0, 0), (0, -self._num_out % lanes)))

    def __call__(self, feat_RC: Array) -> Array:
        num_rows, (num_in, width) = len(feat_RC), self._weight_CK.shape
        out_RK = np.empty((num_rows, width), feat_RC.dtype)
        pairs_R2, starts_T2, _, _ = tiles.alone(num_rows)
        # a convolution over the row alone
        _call(
            "convolve",
            *(np.ascontiguousarray(feat_RC), self._weight_CK, out_RK, pairs_R2),
            *(starts_T2, None, num_rows, tiles.ROWS_PER_TILE, 1, num_in, width),
        )
        found_RK = out_RK[:, : self._num_out]
        return found_RK if self._bias_K is None else found_RK + self._bias_K


def _linear(weights: Parameters, name: str, num_in: int, num_out: int) -> _Linear:
    return _Linear(weights.turned(f"{name}.weight", num_out, num_in), weights.take(f"{name}.bias", num_out))


class _Perceptron:
    """Two linear layers, each with LeakyReLU, and a LayerNorm.

    `of_rows` are the inputs of the first layer, the last ones, that the kernel multiplies: the others are given as
    what `of` makes of them, and with it the bias.
    """

    def __init__(
        self,
        weights: Parameters,
        name: str,
        num_in: int,
        width: int,
        slope: float,
        of_rows: int | None = None,
    ) -> None:
        first = weights.turned(f"{name}0.weight", width, num_in)
        kept = num_in if of_rows is None else of_rows
        self.of_others = np.split(first[: num_in - kept], (num_in - kept) // width or 1)
        self.first_bias = weights.take(f"{name}0.bias", width)
        self._form = (
            np.ascontiguousarray(first[num_in - kept :]),
            weights.turned(f"{name}2.weight", width, width),
            weights.take(f"{name}2.bias", width),
            weights.take(f"{name}4.weight", width),
            weights.take(f"{name}4.bias", width),
            slope,
            LAYER_NORM_EPS,
        )

    @property
    def form(self) -> tuple[Array | float, ...]:
        """The perceptron as the kernel takes it: weights, bias and norm after the first bias, slope and epsilon."""
        return self._form

    def __call__(self, feat_NC: Array) -> Array:
        """Return the outputs (N, W) of rows (N, C)."""
        feat_NC = np.ascontiguousarray(feat_NC, self.first_bias.dtype)
        out_NW = np.empty((len(feat_NC), len(self.first_bias)), feat_NC.dtype)
        _call("encode_rows", feat_NC, out_NW, self.first_bias, *self._form, *feat_NC.shape, out_NW.shape[1])
        return out_NW


class _Layer:
    """One step of message passing: edges from their nodes, then nodes from their edges."""

    def __init__(self, weights: Parameters, name: str, width: int, slope: float) -> None:
        self._edge = _Perceptron(weights, f"{name}edge.", 3 * width, width, slope, width)
        self._message = _Perceptron(weights, f"{name}message.", 2 * width, width, slope, width)
        self._node = _Perceptron(weights, f"{name}node.", 3 * width, width, slope)
        of_source, of_target = self._edge.of_others
        self._of_nodes = (
            _Linear(of_source, self._edge.first_bias),
            _Linear(of_target, None),
            _Linear(self._message.of_others[0], self._message.first_bias),
        )

    def __call__(self, node_FW: Array, pair_2D: NDArray[np.int64], edge_DW: Array) -> Array:
        """Change the edges in place, and return the nodes after it."""
        of_nodes = [np.ascontiguousarray(layer(node_FW)) for layer in self._of_nodes]
        total_FW, largest_FW = np.zeros_like(node_FW), np.full_like(node_FW, -np.inf)
        (num, width), message = edge_DW.shape, np.empty((BLOCK, edge_DW.shape[1]), edge_DW.dtype)
        _call(
            "pass_messages",
            *(edge_DW, edge_DW, pair_2D[0], pair_2D[1], *of_nodes, *self._edge.form, *self._message.form),
            *(total_FW, largest_FW, None, message, num, BLOCK, width),
        )
        degree_F1 = np.bincount(pair_2D[1], minlength=len(node_FW))[:, None].astype(node_FW.dtype)
        largest_FW = np.where(degree_F1 > 0, largest_FW, node_FW.dtype.type(0))
        pooled = [node_FW, total_FW / np.maximum(degree_F1, 1), largest_FW]
        return node_FW + self._node(np.concatenate(pooled, axis=1))


class CompiledGraphNetwork:
    """What `lartpc.nets.graph.GraphNetwork` computes, for inference.

    Parameters
    ----------
    state
        Its parameters by name.
    node_heads
        Names and numbers of classes of the heads on nodes.
    num_edge_features
        Features of an edge: those of `edge_features`, and more.
    other_side
        The columns of what is more as seen from the other end.

    Raises
    ------
    ValueError
        A parameter is missing, or of another shape, or there are others.
    """

    def __init__(
        self,
        state: Mapping[str, Array],
        num_node_features: int,
        cfg: GraphNet,
        node_heads: Mapping[str, int],
        num_edge_features: int = NUM_EDGE_FEATURES,
        other_side: Sequence[int] = (),
        dtype: Any = np.float32,
    ) -> None:
        weights = Parameters(state, "the graph network", dtype)
        self._build(weights, num_node_features, cfg, node_heads, num_edge_features)
        self._other_side = [NUM_EDGE_FEATURES + column for column in other_side]
        weights.end()

    def _build(
        self,
        weights: Parameters,
        num_nodes: int,
        cfg: GraphNet,
        node_heads: Mapping[str, int],
        num_edges: int,
    ) -> None:
        width, slope = cfg.num_hidden, cfg.leakiness
        self._node_encoder = _Perceptron(weights, "node_encoder.", num_nodes, width, slope)
        self._edge_encoder = _Perceptron(weights, "edge_encoder.", num_edges, width, slope)
        steps = range(cfg.num_message_passing)
        self._layers = [_Layer(weights, f"layers.{step}.", width, slope) for step in steps]
        self._edge_head = _linear(weights, "edge_head", width, 2)
        self._node_heads = {
            name: _linear(weights, f"node_heads.{name}", width, classes)
            for name, classes in node_heads.items()
        }

    def logits(self, graph: Graph[Array]) -> dict[str, Array]:
        """Return the logits of the edges (E, 2) as `edge` and of each node head (F, K) by its name."""
        node_FW, edge_DW = self._encode(graph)
        # Both directions of a pair give one decision.
        return _finite({"edge": self._edge_head(np.add(*np.split(edge_DW, 2))), **self._of_nodes(node_FW)})

    def _of_nodes(self, node_FW: Array) -> dict[str, Array]:
        return {name: head(node_FW) for name, head in self._node_heads.items()}

    def _encode(self, graph: Graph[Array]) -> tuple[Array, Array]:
        node_FW = self._node_encoder(graph.node_FC)
        pair_2D = np.concatenate([graph.pair_2E, graph.pair_2E[::-1]], axis=1)
        edge_DW = self._edge_encoder(np.concatenate([graph.edge_EC, self._reverse(graph.edge_EC)]))
        for layer in self._layers:
            node_FW = layer(node_FW, pair_2D, edge_DW)
        return node_FW, edge_DW

    def _reverse(self, edge_EC: Array) -> Array:
        """Return edge features (E, C) as seen from the other end."""
        order = [3, 4, 5, 0, 1, 2, *range(6, NUM_EDGE_FEATURES), *self._other_side]
        turned_EC = edge_EC[:, order]
        turned_EC[:, 6:9] *= -1
        return turned_EC


class CompiledInteractionNetwork(CompiledGraphNetwork):
    """What `lartpc.nets.interaction.InteractionNetwork` computes, for inference; `group_heads` as there."""

    def __init__(
        self,
        state: Mapping[str, Array],
        num_node_features: int,
        cfg: GraphNet,
        node_heads: Mapping[str, int],
        group_heads: Mapping[str, int],
        swapped: Sequence[int],
        dtype: Any = np.float32,
    ) -> None:
        self._group_classes, self._slope = dict(group_heads), cfg.leakiness
        num_edges = NUM_EDGE_FEATURES + len(swapped)
        super().__init__(state, num_node_features, cfg, node_heads, num_edges, swapped, dtype)

    def _build(
        self,
        weights: Parameters,
        num_nodes: int,
        cfg: GraphNet,
        node_heads: Mapping[str, int],
        num_edges: int,
    ) -> None:
        super()._build(weights, num_nodes, cfg, node_heads, num_edges)
        width = cfg.num_hidden
        self._pi_zero_head = _linear(weights, "pi_zero_head", width, 2)
        self._parent_head = _linear(weights, "parent_head", width, 1)
        self._orphan_head = _linear(weights, "orphan_head", width, 1)
        self._group_encoder = _linear(weights, "group_encoder.0", 2 * width + 1, width)
        self._group_scale = weights.take("group_encoder.2.weight", width)
        self._group_shift = weights.take("group_encoder.2.bias", width)
        self._group_heads = {
            name: _linear(weights, f"group_heads.{name}", width, classes)
            for name, classes in self._group_classes.items()
        }

    def logits(self, graph: Graph[Array]) -> dict[str, Array]:
        """Return the logits of all heads but those of groups, by name, and `node` (F, W), which `pool_logits` takes.

        Edges (E, 2): `edge`, `pi_zero`. Nodes (F, K): by their names. `parent` (D,): that the first node of a
        directed edge is the parent of the second, and `orphan` (F,): that a node has none.
        """
        node_FW, edge_DW = self._encode(graph)
        both_EW = np.add(*np.split(edge_DW, 2))
        return _finite(
            {
                "edge": self._edge_head(both_EW),
                "pi_zero": self._pi_zero_head(both_EW),
                "parent": self._parent_head(edge_DW)[:, 0],
                "orphan": self._orphan_head(node_FW)[:, 0],
                "node": node_FW,
                **self._of_nodes(node_FW),
            }
        )

    def pool_logits(self, node_FW: Array, group_F: NDArray[np.int64]) -> dict[str, Array]:
        """Return the logits (N, K) of the heads on groups; a group is a number from 0 on, -1 is none."""
        kept = group_F >= 0
        node_FW, group_F = node_FW[kept], group_F[kept]
        num, width = int(group_F.max(initial=-1)) + 1, node_FW.shape[1]
        count_N1 = np.bincount(group_F, minlength=num)[:, None].astype(node_FW.dtype)
        total_NW = np.zeros((num, width), node_FW.dtype)
        np.add.at(total_NW, group_F, node_FW)
        largest_NW = np.full((num, width), -np.inf, node_FW.dtype)
        np.maximum.at(largest_NW, group_F, node_FW)
        largest_NW = np.where(count_N1 > 0, largest_NW, node_FW.dtype.type(0))
        pooled = [total_NW / np.maximum(count_N1, 1), largest_NW, np.log1p(count_N1)]
        hidden_NW = self._group_encoder(np.concatenate(pooled, axis=1))
        hidden_NW = np.where(hidden_NW > 0, hidden_NW, node_FW.dtype.type(self._slope) * hidden_NW)
        away_NW = hidden_NW - hidden_NW.mean(axis=1, keepdims=True)
        spread_N1 = np.sqrt((away_NW**2).mean(axis=1, keepdims=True) + node_FW.dtype.type(LAYER_NORM_EPS))
        group_NW = away_NW / spread_N1 * self._group_scale + self._group_shift
        return _finite({name: head(group_NW) for name, head in self._group_heads.items()})


def _finite(logits: dict[str, Array]) -> dict[str, Array]:
    """Return logits, or raise ValueError: some columns of products have nan as their word for "none"."""
    if not all(np.isfinite(values).all() for values in logits.values()):
        raise ValueError("the network gives numbers that are not finite; train its weights again")
    return logits


def _call(name: str, *arguments: Array | float | None) -> None:
    """Call a function of the library for the kind of numbers of the first array, on the threads of this process."""
    first = arguments[0]
    assert isinstance(first, np.ndarray)
    build.call(f"{name}_{SUFFIXES[first.dtype.name]}", *arguments, build.num_threads())
