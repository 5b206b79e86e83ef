"""Lattices of occupied voxels, and the kernel maps between them.

Maps are found by searching sorted 64-bit keys. Tensor suffixes: V voxels (rows of a lattice),
D dimensions, P pairs, K kernel offsets.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lartpc.sparse import implicit, tiles
from lartpc.sparse.keys import MAX_RADIUS, check_different, check_form, check_range, keys, line_shifts
from lartpc.sparse.tiles import Tiles

ROWS_PER_BLOCK = 16_384
"""Output rows computed at a time: the products before their sum then stay in the cache."""


class Pairs(NamedTuple):
    """Input and output row of each pair, sorted by offset, and the number of pairs of each offset."""

    source_P: Tensor
    target_P: Tensor
    counts: list[int]


class KernelMap:
    """Which input row contributes to which output row through which kernel offset.

    Found when first asked for, in the form in which a backend wants it. Pairs are sorted by offset:
    offset `k` owns the next `counts[k]` rows of `source_P` (input) and `target_P` (output). Through one
    offset, an output row has at most one input row. `symmetric`: offsets `k` and `K - 1 - k` hold the
    same pairs, swapped.
    """

    def __init__(
        self,
        num_offsets: int,
        num_source: int,
        num_target: int,
        find_pairs: Callable[[], Pairs],
        find_tiles: Callable[[], Tiles],
        find_transposed_tiles: Callable[[], Tiles] | None = None,
        *,
        symmetric: bool = False,
    ) -> None:
        self.num_offsets = num_offsets
        self.num_source = num_source
        self.num_target = num_target
        self.symmetric = symmetric
        self._find_pairs = cache(find_pairs)
        self._find_tiles = find_tiles
        self._find_transposed_tiles = find_transposed_tiles

    @property
    def _pairs(self) -> Pairs:
        return self._find_pairs()

    @property
    def source_P(self) -> Tensor:
        """Input row of each pair."""
        return self._pairs.source_P

    @property
    def target_P(self) -> Tensor:
        """Output row of each pair."""
        return self._pairs.target_P

    @property
    def counts(self) -> list[int]:
        """Number of pairs of each offset."""
        return self._pairs.counts

    @cached_property
    def transposed(self) -> "KernelMap":
        """The map with input and output exchanged."""
        # Not this map itself: a map and its transposed one would hold each other, and their tensors, until Python
        # looks for cycles.
        find_pairs = self._find_pairs

        def find() -> Pairs:
            source_P, target_P, counts = find_pairs()
            return Pairs(target_P, source_P, counts)

        find_tiles = self._find_transposed_tiles
        assert find_tiles is not None, "a symmetric map is turned round by reversing its offsets"
        return KernelMap(
            *(self.num_offsets, self.num_target, self.num_source, find), find_tiles, self._find_tiles
        )

    @cached_property
    def tiles(self) -> Tiles:
        """The map as the compiled kernel wants it."""
        return self._find_tiles()

    @cached_property
    def rows(self) -> implicit.Rows:
        """The map as the GPU's kernels want it, by output rows."""
        return implicit.arrange(*self._pairs, self.num_target)

    @cached_property
    def chunks(self) -> implicit.Chunks:
        """The map as the GPU's kernels want it for the gradient of the weights."""
        return implicit.split(*self._pairs)

    @cached_property
    def pairs(self) -> list[tuple[int, Tensor, Tensor]]:
        """Offset, input rows and output rows, for each offset that has pairs."""
        split = zip(
            torch.split(self.source_P, self.counts), torch.split(self.target_P, self.counts), strict=True
        )
        return [(k, source, target) for k, (source, target) in enumerate(split) if len(source)]

    @cached_property
    def blocks(self) -> list["Block"]:
        """The pairs in blocks of at most `ROWS_PER_BLOCK` output rows."""
        num_offsets = self.num_offsets
        identity = num_offsets // 2 if self.symmetric else None
        bounds = [*range(0, self.num_target, ROWS_PER_BLOCK), self.num_target]
        rows = [slice(first, last) for first, last in itertools.pairwise(bounds)]
        if len(rows) <= 1:
            return [Block.build(self.source_P, self.target_P, self.counts, row, identity) for row in rows]
        offset_P = torch.repeat_interleave(torch.tensor(self.counts, device=self.source_P.device))
        cell_P = (self.target_P // ROWS_PER_BLOCK) * num_offsets + offset_P
        order_P = torch.sort(cell_P, stable=True).indices
        counts = torch.bincount(cell_P, minlength=len(rows) * num_offsets).view(len(rows), -1).tolist()
        sizes = [sum(row) for row in counts]
        sources = torch.split(self.source_P[order_P], sizes)
        targets = torch.split(self.target_P[order_P], sizes)
        return [Block.build(*block, identity) for block in zip(sources, targets, counts, rows, strict=True)]

    @cached_property
    def indice_pairs(self) -> tuple[Tensor, Tensor]:
        """The map as spconv wants it: pairs (2, K, most pairs of an offset) and counts (K,), int32."""
        pairs = self.source_P.new_full((2, len(self.counts), max(self.counts)), -1, dtype=torch.int32)
        for k, source, target in self.pairs:
            pairs[0, k, : len(source)] = source
            pairs[1, k, : len(target)] = target
        return pairs, torch.tensor(self.counts, dtype=torch.int32, device=pairs.device)


class Chunk(NamedTuple):
    """The pairs of one offset in a block: rows to gather, or slices where the rows follow one another."""

    offset: int
    source: Tensor | slice
    target: Tensor | slice


@dataclass(frozen=True)
class Block:
    """Pairs of the output rows `rows`, chunk by chunk.

    `order_P` brings the pairs of each row together, `bags` says where those of a row begin.
    """

    rows: slice
    chunks: list[Chunk]
    sizes: list[int]
    order_P: Tensor
    bags: Tensor

    @property
    def num_pairs(self) -> int:
        """Number of pairs."""
        return len(self.order_P)

    @classmethod
    def build(
        cls, source_P: Tensor, target_P: Tensor, counts: list[int], rows: slice, identity: int | None
    ) -> "Block":
        """Prepare pairs sorted by offset; offset `identity` has the pair (row, row) for each row."""
        split = zip(torch.split(source_P, counts), torch.split(target_P, counts), strict=True)
        chunks = [
            Chunk(offset, rows, rows) if offset == identity else Chunk(offset, source, target)
            for offset, (source, target) in enumerate(split)
            if len(source)
        ]
        local_P = target_P - rows.start
        bags = torch.bincount(local_P, minlength=rows.stop - rows.start).cumsum(0)
        # int16 halves the time of the sort; rows within a block fit.
        order_P = torch.sort(local_P.to(torch.int16), stable=True).indices
        sizes = [count for count in counts if count]
        return cls(rows, chunks, sizes, order_P, functional.pad(bags, (1, 0)))


class Coarsening(NamedTuple):
    """A lattice at half the resolution, the row of each voxel's parent in it, and the maps."""

    lattice: "Lattice"
    parent_V: Tensor
    down: KernelMap

    @property
    def up(self) -> KernelMap:
        """The map from the parents back to the voxels."""
        return self.down.transposed


class Lattice:
    """Occupied voxels of a batch of grids, with the kernel maps between them, each built once.

    Attributes
    ----------
    coord_VD1
        Batch index and voxel indices (V, 1 + D), int64.
    batch_size
        Number of grids.
    shape
        Voxels per axis, the same for all grids.
    """

    def __init__(self, coord_VD1: Tensor, batch_size: int, shape: tuple[int, ...]) -> None:
        check_form(coord_VD1, batch_size, shape)
        coord_VD1 = coord_VD1.to(torch.int64)
        check_range(coord_VD1, batch_size, shape)
        keys_V = keys(coord_VD1, shape)
        rows_V: Tensor | None = None
        if len(keys_V) > 1 and bool((keys_V[1:] <= keys_V[:-1]).any()):
            keys_V, rows_V = torch.sort(keys_V)
            check_different(keys_V, rows_V, coord_VD1)
        self._set(coord_VD1, batch_size, shape, keys_V, rows_V)

    def _set(
        self,
        coord_VD1: Tensor,
        batch_size: int,
        shape: tuple[int, ...],
        keys_V: Tensor,
        rows_V: Tensor | None,
    ) -> None:
        self.coord_VD1 = coord_VD1
        self.batch_size = batch_size
        self.shape = shape
        self._keys_V = keys_V
        self._rows_V = rows_V
        self._neighbours: dict[int, KernelMap] = {}

    def __len__(self) -> int:
        return len(self.coord_VD1)

    @property
    def dimension(self) -> int:
        """Number of spatial dimensions D."""
        return len(self.shape)

    def neighbours(self, kernel: int) -> KernelMap:
        """Return the submanifold map of a kernel of odd side: to each voxel from its neighbours.

        Offsets are row-major, the last axis fastest, as in a cross-correlation: the input of
        offset `d` at voxel `v` is voxel `v + d`.
        """
        if kernel not in self._neighbours:
            self._neighbours[kernel] = self._find_neighbours(kernel)
        return self._neighbours[kernel]

    def _find_neighbours(self, kernel: int) -> KernelMap:
        radius = kernel // 2
        assert kernel == 2 * radius + 1 and radius <= MAX_RADIUS
        find_pairs = partial(_find_neighbours, self._keys_V, self._rows_V, self.shape, radius)
        shifts = [shift - radius for shift in line_shifts(self.shape, radius)]
        find_tiles = partial(tiles.find_neighbours, self._keys_V, self._rows_V, shifts, kernel)
        num_voxels, num_offsets = len(self), kernel**self.dimension
        return KernelMap(num_offsets, num_voxels, num_voxels, find_pairs, find_tiles, symmetric=True)

    @cached_property
    def coarser(self) -> Coarsening:
        """The lattice of 2^D-cubes of voxels, and the maps to it: offset 0 is the lowest corner."""
        num_voxels, shape = len(self), tuple((side + 1) // 2 for side in self.shape)
        spatial_VD = self.coord_VD1[:, 1:]
        coord_VD1 = torch.cat([self.coord_VD1[:, :1], spatial_VD >> 1], 1)
        weights = torch.tensor([2**axis for axis in reversed(range(self.dimension))]).to(coord_VD1.device)
        offset_V = ((spatial_VD & 1) * weights).sum(1)
        keys_V, parent_V = torch.unique(keys(coord_VD1, shape), return_inverse=True)
        coarse = Lattice.__new__(Lattice)
        coord = coord_VD1.new_empty((len(keys_V), coord_VD1.shape[1]))
        coord[parent_V] = coord_VD1
        coarse._set(coord, self.batch_size, shape, keys_V, None)
        num_offsets = 2**self.dimension
        rows_V = torch.arange(num_voxels, device=keys_V.device)

        def find_pairs() -> Pairs:
            order_V = torch.sort(offset_V, stable=True).indices
            counts = torch.bincount(offset_V, minlength=num_offsets).tolist()
            return Pairs(order_V, parent_V[order_V], counts)

        def find_tiles(source_P: Tensor, target_P: Tensor, num_target: int) -> Tiles:
            return tiles.arrange(source_P, target_P, offset_V, num_offsets, num_target)

        down = KernelMap(
            *(num_offsets, num_voxels, len(keys_V), find_pairs),
            partial(find_tiles, rows_V, parent_V, len(keys_V)),
            partial(find_tiles, parent_V, rows_V, num_voxels),
        )
        return Coarsening(coarse, parent_V, down)


def _find_neighbours(keys_V: Tensor, rows_V: Tensor | None, shape: tuple[int, ...], radius: int) -> Pairs:
    kernel = 2 * radius + 1
    num_voxels, num_offsets = len(keys_V), kernel ** len(shape)
    place0_V = torch.arange(num_voxels, device=keys_V.device)
    guarded = functional.pad(keys_V, (0, 1), value=torch.iinfo(torch.int64).max)
    empty = place0_V[:0]
    pairs = [(empty, empty)] * num_offsets
    # The map is symmetric, so half of it is enough. Voxels along the last axis have consecutive
    # keys: one search finds the first of a run of `kernel` neighbours, the rest follow it.
    for line, shift in enumerate(line_shifts(shape, radius)):
        if shift < 0:
            continue
        first = 1 if shift == 0 else -radius
        place_V = place0_V + 1 if shift == 0 else torch.searchsorted(keys_V, keys_V + (shift - radius))
        for step in range(first, radius + 1):
            found_V = guarded[place_V] == keys_V + (shift + step)
            target = found_V.nonzero()[:, 0]
            source = place_V[target]
            offset = line * kernel + step + radius
            pairs[offset] = (source, target)
            pairs[num_offsets - 1 - offset] = (target, source)
            place_V = place_V + found_V
    if rows_V is not None:
        pairs = [(rows_V[source], rows_V[target]) for source, target in pairs]
    pairs[num_offsets // 2] = (place0_V, place0_V)
    source_P = torch.cat([source for source, _ in pairs])
    target_P = torch.cat([target for _, target in pairs])
    return Pairs(source_P, target_P, [len(source) for source, _ in pairs])
