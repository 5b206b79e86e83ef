"""The layers of a network on voxels as the compiled kernel runs them, all in one call.

A program lists layers, each with the rows that it takes and gives; rows are of buffers, each on one level of lattices.
`lartpc/sparse/kernels/layers.cpp` says what a layer does. All rows are in whole vectors of the processor, what they
have too many is zero.

Shape suffixes: V voxels (rows of a lattice), C channels, K kernel offsets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lartpc.images.levels import Level
from lartpc.sparse import build

Array = NDArray[Any]

ALIGNMENT = 64
"""Rows begin where whole vectors do [B]."""

KEPT_BYTES = 256 * 2**20
"""Buffers up to this size wait for the next images, as new memory is zeroed by the system each time; those of 50,000
voxels take some 120 MB."""

UNITS = ("fp32", "avx512", "amx")
"""What multiplies: vectors of fp32, or in bf16 vectors (AVX512-BF16) or the matrix unit (AMX-BF16)."""

CONVOLVE, LINEAR, GATE = range(3)
SAME, DOWN, UP = range(3)
"""Maps: to the neighbours on a level; from a level to the next coarser one; from there back to the level."""

_POINTERS = (6, 9, 10, 13, 16, 21)
"""Where in a layer the kernel wants the addresses of buffers."""


class Rows(NamedTuple):
    """A buffer of a program: its number from 1 on, its level, and its width with what fills up the last vector."""

    number: int
    level: int
    width: int
    is_active: bool


class Output(NamedTuple):
    """What is made of sums: leaky(sums * scale + shift), into rows from a column on."""

    rows: Rows
    scale_C: Array
    shift_C: Array
    column: int = 0


@dataclass
class Program:
    """Layers one after another.

    Attributes
    ----------
    slope
        Of LeakyReLU.
    unit
        What multiplies, of `UNITS`. In bf16, rows that convolutions take, and their weights, are rounded; sums stay in
        fp32.
    """

    slope: float
    unit: str
    _buffers: list[Rows] = field(default_factory=list)
    _layers: list[list[int]] = field(default_factory=list)
    _held: list[Array] = field(default_factory=list)
    _arena: Array = field(default_factory=lambda: np.empty(0, np.uint8))
    _places: tuple[NDArray[np.int64], list[tuple[int, int]]] | None = None

    @property
    def in_bf16(self) -> bool:
        """Whether rows that convolutions take are rounded to bf16."""
        return self.unit != "fp32"

    def rows(self, level: int, num_channels: int, *, is_active: bool = False, exact: bool = False) -> Rows:
        """Return new rows on a level; `is_active`: what a convolution takes; `exact`: not in whole vectors."""
        width = num_channels if exact else whole(num_channels)
        self._buffers.append(Rows(len(self._buffers) + 1, level, width, is_active))
        return self._buffers[-1]

    def convolve(
        self,
        kind: int,
        level: int,
        source: Rows,
        weight_KCC: Array,
        *,
        sums: Rows | None = None,
        keep: bool = False,
        terms: Sequence[tuple[Rows, Array]] = (),
        outputs: Sequence[Output] = (),
    ) -> None:
        """Add a convolution over the map `kind` of a level.

        Parameters
        ----------
        source
            Rows that it takes.
        weight_KCC
            Weights, in whole vectors.
        sums
            Rows of the sums, if these are wanted.
        keep
            Sums start from what is there.
        terms
            Rows and weights (C, C) of products that are added.
        outputs
            What is made of the sums, two at most.
        """
        is_bf16 = self.in_bf16 and source.is_active
        weight = self._packed(weight_KCC) if is_bf16 else self._hold(weight_KCC)
        width = weight_KCC.shape[2]
        self._add(
            CONVOLVE,
            3 * level + kind,
            source.width,
            width,
            is_bf16,
            keep,
            source,
            weight,
            0,
            sums,
            terms,
            outputs,
        )

    def linear(self, source: Rows, weight_CC: Array, bias_C: Array) -> Rows:
        """Add a linear layer, and return the rows of what it gives."""
        found = self.rows(source.level, weight_CC.shape[1])
        self._add(
            *(LINEAR, 3 * source.level, 0, found.width, False, False, None, 0),
            *(self._hold(bias_C), found, [(source, weight_CC)], ()),
        )
        return found

    def gate(self, source: Rows, logits: Rows) -> Rows:
        """Add a product of rows with the scores of the first of other rows' logits, and return its rows."""
        found = self.rows(source.level, source.width, is_active=True)
        out = Output(found, np.ones(source.width, np.float32), np.zeros(source.width, np.float32))
        self._add(
            GATE, 3 * source.level, source.width, logits.width, False, False, source, 0, 0, logits, (), [out]
        )
        return found

    def run(
        self, levels: Sequence[Level], given: Mapping[Rows, Array], wanted: Sequence[Rows], rows_per_tile: int
    ) -> list[Array]:
        """Return rows (V, C) of a batch with these levels, given what is in some others."""
        if self._places is None:
            self._places = self._shared(given, wanted)
        places, slots = self._places
        sizes = [-(-levels[level].num_voxels * width // ALIGNMENT) * ALIGNMENT for level, width in slots]
        ends = np.cumsum([0, *sizes])
        # at once as large as it may stay: what is not used of it takes no memory, and later images fit
        arena = self._arena if len(self._arena) >= ends[-1] else aligned(max(int(ends[-1]), KEPT_BYTES))
        self._arena = arena if len(arena) <= KEPT_BYTES else aligned(0)

        def place(rows: Rows) -> Array:
            start, num = ends[places[rows.number - 1]], levels[rows.level].num_voxels * rows.width
            found: Array = arena[start : start + 4 * num].view(np.float32)
            return found.reshape(-1, rows.width)

        for rows, values in given.items():
            place(rows)[:] = values
        layers = np.array(self._layers, np.int64)
        addresses = np.append(0, arena.ctypes.data + ends[places])
        for column in _POINTERS:
            layers[:, column] = addresses[layers[:, column]]
        maps = np.array([row for level in levels for row in _maps(level)], np.int64)
        widest = max(layer[3] for layer in self._layers)
        build.call(
            "run_layers",
            *(layers, len(layers), maps, rows_per_tile, widest, self.slope, UNITS.index(self.unit)),
            build.num_threads(),
        )
        return [place(rows).copy() for rows in wanted]

    def _shared(
        self, given: Mapping[Rows, Array], wanted: Sequence[Rows]
    ) -> tuple[NDArray[np.int64], list[tuple[int, int]]]:
        """Return the slot of each buffer, and level and bytes of a row of each slot.

        Buffers of one size take turns in a slot: each from its first layer to its last one.
        """
        first: dict[int, int] = {rows.number: -1 for rows in given}
        last: dict[int, int] = {}
        for number, layer in enumerate(self._layers):
            for column in _POINTERS:
                if layer[column]:
                    first.setdefault(layer[column], number)
                    last[layer[column]] = number
        last |= {rows.number: len(self._layers) for rows in wanted}
        slots: list[tuple[int, int]] = []
        free_from: list[int] = []
        places = np.zeros(len(self._buffers), np.int64)
        for rows in sorted(self._buffers, key=lambda rows: first.get(rows.number, len(self._layers))):
            if rows.number not in last:
                continue
            size = (rows.level, rows.width * (2 if rows.is_active and self.in_bf16 else 4))
            begin = first[rows.number]
            fitting = (n for n, slot in enumerate(slots) if slot == size and free_from[n] <= begin)
            place = next(fitting, len(slots))
            if place == len(slots):
                slots.append(size)
                free_from.append(0)
            places[rows.number - 1], free_from[place] = place, last[rows.number] + 1
        return places, slots

    def _add(
        self,
        kind: int,
        map_number: int,
        num_in: int,
        num_out: int,
        is_bf16: bool,
        keep: bool,
        source: Rows | None,
        weight: int,
        bias: int,
        sums: Rows | None,
        terms: Sequence[tuple[Rows, Array]],
        outputs: Sequence[Output],
    ) -> None:
        """Add a layer in the order of the kernel's fields."""
        layer = [kind, map_number, num_in, num_out, int(is_bf16), int(keep)]
        layer += [source.number if source else 0, weight, bias, sums.number if sums else 0]
        for rows, weight_CC in terms:
            layer += [rows.number, self._hold(weight_CC), rows.width]
        layer += [0] * 3 * (2 - len(terms))
        for out in outputs:
            scale, shift = self._hold(out.scale_C), self._hold(out.shift_C)
            layer += [out.rows.number, scale, shift, out.rows.width, out.column]
        layer += [0] * 5 * (2 - len(outputs))
        self._layers.append(layer)

    def _hold(self, values: Array) -> int:
        """Keep a copy of numbers for the kernel, and return its address."""
        held = aligned(values.size * 4).view(np.float32)
        held[:] = values.ravel()
        self._held.append(held)
        return int(held.ctypes.data)

    def _packed(self, weight_KCC: Array) -> int:
        """Keep weights in bf16, as the kernel wants them, and return their address."""
        weight_KCC = np.ascontiguousarray(weight_KCC, np.float32)
        # the matrix unit takes blocks of 32 channels: where these end in half a block it reads beyond them
        held = aligned(2 * (weight_KCC.size + 16 * weight_KCC.shape[2]))
        held[2 * weight_KCC.size :] = 0
        build.call("pack_avx512", weight_KCC, held, *weight_KCC.shape, 1)
        self._held.append(held)
        return int(held.ctypes.data)


def whole(num_channels: int) -> int:
    """Return the width of rows in whole vectors of the processor."""
    lanes = int(build.load().vector_bytes()) // 4
    return -(-num_channels // lanes) * lanes


def aligned(num_bytes: int) -> NDArray[np.uint8]:
    """Return bytes that begin where a vector does."""
    found = np.empty(num_bytes + ALIGNMENT, np.uint8)
    start = -found.ctypes.data % ALIGNMENT
    return found[start : start + num_bytes]


def _maps(level: Level) -> list[list[int]]:
    """Return the maps of a level in the order of the kernel's fields."""
    maps = (level.neighbours, level.down, level.up)
    return [
        [
            tiles.pairs_P2.ctypes.data,
            tiles.starts_TK1.ctypes.data,
            tiles.num_target,
            tiles.starts_TK1.shape[1] - 1,
        ]
        if tiles
        else [0] * 4
        for tiles in maps
    ]
