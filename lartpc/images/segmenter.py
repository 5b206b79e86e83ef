"""The U-ResNet and its point proposals in inference: weights are arrays, and the compiled kernel does all layers.

It computes what `lartpc.nets.unet.UResNet` and `lartpc.nets.ppn.Ppn` do. Shape suffixes: V voxels (rows of a lattice),
C channels, K kernel offsets.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.config import UResNet
from lartpc.event import Event
from lartpc.images.affinity import AFFINITY_WIDENING
from lartpc.images.answer import Answer
from lartpc.images.batch import Images
from lartpc.images.energies import energy_features
from lartpc.images.kernel import ARITHMETIC
from lartpc.images.levels import find_levels, sorted_rows
from lartpc.images.program import DOWN, SAME, UP, Output, Program, Rows, whole
from lartpc.sparse.parameters import Parameters
from lartpc.vocab import NUM_DIRECTIONS, Semantic

Array = NDArray[Any]

NORM_EPS = 1e-4
"""Of the norms of the U-ResNet."""

ROWS_PER_TILE = 512
"""So many rows of output, and those of input that they need, stay in the cache of a core."""


class CompiledSegmenter:
    """U-ResNet with classes, ghosts, affinities and point proposals, for inference.

    Parameters
    ----------
    state
        Its parameters by name.
    cfg
        Sizes.
    dimension
        2 or 3.
    has_ghosts
        It tells ghosts from real points.
    unit
        What multiplies (`lartpc.images.arithmetic`); the attribute `arithmetic` says it in words.

    Raises
    ------
    ValueError
        A parameter is missing, or of another shape, or there are others.
    """

    def __init__(
        self, state: Mapping[str, Array], cfg: UResNet, dimension: int, *, has_ghosts: bool, unit: str
    ) -> None:
        self._has_affinities = "affinity.head.weight" in state
        own = {name: values for name, values in state.items() if not name.endswith(".num_batches_tracked")}
        self._parameters = Parameters(own, "the network of segment")
        self._cfg, self._dimension, self._has_ghosts = cfg, dimension, has_ghosts
        self._widths = [cfg.filters * (level + 1) for level in range(cfg.depth)]
        self.arithmetic = ARITHMETIC[unit]
        self._program = Program(cfg.leakiness, unit)
        self._given = self._program.rows(0, 2, exact=True)
        # what the first convolution of a block takes, of each level
        self._active = [self._rows(level, is_active=True) for level in range(cfg.depth)]
        decoded = self._add_unet()
        self._said = self._add_heads(decoded[0])
        self._sides = self._add_affinities(decoded[0]) if self._has_affinities else None
        self._masks, self._proposed = self._add_ppn(decoded)
        self._parameters.end()

    def answer(self, batch: Sequence[Event], images: Images, num_passes: int) -> Answer:
        """Return what the network says of the images of a batch."""
        assert not num_passes, "thinned networks are of torch"
        keys_V, coord_VD1, order_V = sorted_rows(images)
        energy_V = images.energy_V if order_V is None else images.energy_V[order_V]
        depth, kernel = self._cfg.depth, self._cfg.kernel
        levels = [*find_levels(keys_V, coord_VD1, images.shape, depth, kernel, ROWS_PER_TILE)]
        sides = [self._sides] if self._sides else []
        said, proposed, *others = self._program.run(
            levels,
            {self._given: energy_features(energy_V)},
            [self._said, self._proposed, *sides, *self._masks],
            ROWS_PER_TILE,
        )
        side_VS, coarse = (others[0], others[1:]) if sides else (None, others)
        parents = [level.parent_V for level in levels if level.parent_V is not None]
        if order_V is not None:
            back_V = np.argsort(order_V)
            said, proposed = said[back_V], proposed[back_V]
            side_VS = None if side_VS is None else side_VS[back_V]
            parents[:1] = [parent_V[back_V] for parent_V in parents[:1]]
        if not all(np.isfinite(rows).all() for rows in (said, proposed, *others)):
            raise ValueError("the network gives numbers that are not finite; train its weights again")
        num, first = len(Semantic), self._dimension
        return Answer(
            np.ascontiguousarray(said[:, :num]),
            [proposed[:, first + num + 1], *(mask[:, 0] for mask in coarse)],
            parents,
            np.ascontiguousarray(proposed[:, :first]),
            np.ascontiguousarray(proposed[:, first : first + num]),
            proposed[:, first + num],
            said[:, num] if self._has_ghosts else None,
            None if side_VS is None else side_VS[:, : 2 * NUM_DIRECTIONS],
        )

    # -- layers --------------------------------------------------------------------------------

    def _add_unet(self) -> list[Rows]:
        """Add the layers of the U-ResNet, and return the decoder's rows of each level, finest first."""
        depth, widths = self._cfg.depth, self._widths
        to_down = [self._rows(level, is_active=True) for level in range(depth)]
        to_up = [self._rows(level, is_active=True) for level in range(depth)]
        # first what comes from the other half of the network at this level, then what comes from below
        joined = [self._joined(f"unet.decoder.{level}.0.first_act", level) for level in range(depth - 1)]
        self._to_ppn = [self._joined(f"ppn.blocks.{level}.first_act", level) for level in range(depth - 1)]
        self._to_ppn.append([self._output(f"ppn.blocks.{depth - 1}.first_act", self._active[-1])])

        self._to_sides = self._rows(0, is_active=True)

        def decoded_ends(level: int) -> list[Output]:
            ends = [self._to_ppn[level][0]]
            if not level and self._has_affinities:
                return [*ends, self._output("affinity.block.first_act", self._to_sides)]
            return [self._output(f"unet.up_act.{level - 1}", to_up[level]), *ends] if level else ends

        skips: list[Rows] = []
        for level, width in enumerate(widths):
            rows, name = self._rows(level), f"unet.encoder.{level}"
            first = [self._output(f"{name}.0.first_act", self._active[level])]
            if level:
                before = (DOWN, level - 1, to_down[level - 1])
                weight_KCC = self._halving(f"unet.down.{level - 1}.weight", widths[level - 1], width)
            else:
                before = (SAME, 0, self._given)
                weight_KCC = self._convolution("unet.stem.weight", [2], width, exact=True)
            self._program.convolve(*before, weight_KCC, sums=rows, outputs=first)
            if level < depth - 1:
                ends = [self._output(f"unet.down_act.{level}", to_down[level]), joined[level][0]]
            else:
                ends = decoded_ends(level)
            self._add_blocks(name, self._active[level], rows, ends)
            skips.append(rows)
        decoded = [skips[-1]]
        for level in reversed(range(depth - 1)):
            rows, below = self._rows(level), self._rows(level)
            weight_KCC = self._halving(f"unet.up.{level}.weight", widths[level + 1], widths[level])
            left, right = joined[level]
            self._program.convolve(UP, level, to_up[level + 1], weight_KCC, sums=below, outputs=[right])
            self._add_blocks(
                f"unet.decoder.{level}", left.rows, rows, decoded_ends(level), [skips[level], below]
            )
            decoded.append(rows)
        return decoded[::-1]

    def _add_heads(self, decoded: Rows) -> Rows:
        """Add the heads on voxels, and return the rows of their logits: classes, then ghosts if there are any."""
        width, num = self._widths[0], len(Semantic)
        layers = [self._head("classes", width, num)]
        if self._has_ghosts:
            layers.append(self._head("ghost", width, 1))
        return self._program.linear(decoded, *_side_by_side(layers))

    def _add_affinities(self, decoded: Rows) -> Rows:
        """Add the residual block and the head of affinities, and return the rows of the logits of the sides."""
        narrow, wide = self._widths[0], AFFINITY_WIDENING * self._widths[0]
        first = self._convolution("affinity.block.first_conv.weight", [narrow], wide)
        hidden, rows = self._program.rows(0, wide, is_active=True), self._program.rows(0, wide)
        active = Output(hidden, *self._norm("affinity.block.second_act", [wide])[0])
        self._program.convolve(SAME, 0, self._to_sides, first, outputs=[active])
        shortcut = self._parameters.turned("affinity.block.shortcut.weight", wide, narrow)
        second = self._convolution("affinity.block.second_conv.weight", [wide], wide)
        terms = [(decoded, _filled(_filled(shortcut, 0), 1))]
        self._program.convolve(SAME, 0, hidden, second, sums=rows, terms=terms)
        head = self._head("affinity.head", wide, 2 * NUM_DIRECTIONS)
        return self._program.linear(rows, *_side_by_side([head]))

    def _add_ppn(self, decoded: list[Rows]) -> tuple[list[Rows], Rows]:
        """Add the layers of the point proposals.

        Return the rows of the masks of all levels but the finest, and those of the logits there: offset, class, end,
        and mask.
        """
        masks: list[Rows] = []
        rows = decoded[-1]
        self._add_block(f"ppn.blocks.{len(decoded) - 1}", self._active[-1], rows, [])
        for level in reversed(range(len(decoded) - 1)):
            coarse = self._widths[level + 1]
            masks.append(
                self._program.linear(rows, *_side_by_side([self._head(f"ppn.masks.{level + 1}", coarse, 1)]))
            )
            attended, below = self._program.gate(rows, masks[-1]), self._rows(level)
            left, right = self._to_ppn[level]
            weight_KCC = self._halving(f"ppn.up.{level}.weight", coarse, self._widths[level])
            self._program.convolve(UP, level, attended, weight_KCC, sums=below, outputs=[right])
            rows = self._rows(level)
            self._add_block(f"ppn.blocks.{level}", left.rows, rows, [], [decoded[level], below])
        width, num = self._widths[0], self._dimension + len(Semantic) + 1
        layers = [self._head("ppn.head", width, num), self._head("ppn.masks.0", width, 1)]
        return masks[::-1], self._program.linear(rows, *_side_by_side(layers))

    def _add_blocks(
        self, name: str, source: Rows, rows: Rows, ends: list[Output], joins: Sequence[Rows] = ()
    ) -> None:
        """Add the residual blocks of a level; `rows` holds what the first adds to, or where it joins two gets it."""
        last = self._cfg.repetitions - 1
        for step in range(last + 1):
            active = self._active[rows.level]
            outputs = ends if step == last else [self._output(f"{name}.{step + 1}.first_act", active)]
            self._add_block(f"{name}.{step}", source, rows, outputs, joins)
            source, joins = active, ()

    def _add_block(
        self, name: str, source: Rows, rows: Rows, outputs: list[Output], joins: Sequence[Rows] = ()
    ) -> None:
        """Add one residual block, given its normed and activated input, to `rows`, or to products of those it joins."""
        level = rows.level
        width, hidden = self._widths[level], self._rows(level, is_active=True)
        parts = [width] * (len(joins) or 1)
        first = self._convolution(f"{name}.first_conv.weight", parts, width)
        active = [self._output(f"{name}.second_act", hidden)]
        self._program.convolve(SAME, level, source, first, outputs=active)
        terms = self._shortcut(f"{name}.shortcut.weight", width, joins) if joins else ()
        second = self._convolution(f"{name}.second_conv.weight", [width], width)
        self._program.convolve(
            SAME, level, hidden, second, sums=rows, keep=not joins, terms=terms, outputs=outputs
        )

    # -- rows and parameters -------------------------------------------------------------------

    def _rows(self, level: int, *, is_active: bool = False) -> Rows:
        return self._program.rows(level, self._widths[level], is_active=is_active)

    def _joined(self, name: str, level: int) -> list[Output]:
        """Return what fills the two halves of rows that a block takes from two sides, by the norm in front of it."""
        width = whole(self._widths[level])
        rows = self._program.rows(level, 2 * width, is_active=True)
        norms = self._norm(name, [self._widths[level]] * 2)
        return [Output(rows, *norm, side * width) for side, norm in enumerate(norms)]

    def _output(self, name: str, rows: Rows) -> Output:
        return Output(rows, *self._norm(name, [self._widths[rows.level]])[0])

    def _norm(self, name: str, parts: list[int]) -> list[tuple[Array, Array]]:
        """Return scale and shift (C,) of a norm by its running statistics, for each of the parts it is over."""
        num = sum(parts)
        weight, bias, mean, var = (
            self._parameters.take(f"{name}.norm.{kind}", num).astype(np.float64)
            for kind in ("weight", "bias", "running_mean", "running_var")
        )
        scale = weight / np.sqrt(var + NORM_EPS)
        bounds = np.cumsum(parts)[:-1]
        return [
            (_filled(one, 0), _filled(two, 0))
            for one, two in zip(np.split(scale, bounds), np.split(bias - mean * scale, bounds), strict=True)
        ]

    def _convolution(self, name: str, parts: list[int], num_out: int, *, exact: bool = False) -> Array:
        """Return the weights (K, C, C) of a convolution to neighbours, in whole vectors; `exact`: the inputs not."""
        num_offsets = self._cfg.kernel**self._dimension
        weight_KCC = self._parameters.take(name, num_offsets, sum(parts), num_out)
        sides = np.split(weight_KCC, np.cumsum(parts)[:-1], axis=1)
        return _filled(np.concatenate([side if exact else _filled(side, 1) for side in sides], axis=1), 2)

    def _halving(self, name: str, num_in: int, num_out: int) -> Array:
        """Return the weights (2^D, C, C) of a convolution between two levels, in whole vectors."""
        return _filled(_filled(self._parameters.take(name, 2**self._dimension, num_in, num_out), 1), 2)

    def _shortcut(self, name: str, width: int, joins: Sequence[Rows]) -> list[tuple[Rows, Array]]:
        """Return rows and weights of what the shortcut of a block is the sum of."""
        weight_CC = self._parameters.turned(name, width, width * len(joins))
        parts = np.split(weight_CC, len(joins))
        return [(rows, _filled(_filled(part, 0), 1)) for rows, part in zip(joins, parts, strict=True)]

    def _head(self, name: str, num_in: int, num_out: int) -> tuple[Array, Array]:
        weight_CK = self._parameters.turned(f"{name}.weight", num_out, num_in)
        return weight_CK, self._parameters.take(f"{name}.bias", num_out)


def _side_by_side(layers: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Return weights and biases of linear layers of the same rows as those of one, in whole vectors."""
    weight_CK = np.concatenate([weight_CK for weight_CK, _ in layers], axis=1)
    bias_K = np.concatenate([bias_K for _, bias_K in layers])
    return _filled(_filled(weight_CK, 0), 1), _filled(bias_K, 0)


def _filled(values: Array, axis: int) -> Array:
    """Return numbers with zeros after them along an axis, up to whole vectors."""
    missing = whole(values.shape[axis]) - values.shape[axis]
    return np.pad(values, [(0, missing if number == axis else 0) for number in range(values.ndim)])
