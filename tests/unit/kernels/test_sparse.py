"""Kernel maps against brute force, and the backends against each other."""

import gc
import itertools
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from lartpc import sparse
from lartpc.sparse import Lattice, build, fused


def brute_force(coord: np.ndarray, kernel: int) -> set[tuple[int, int, int]]:
    """(offset, input row, output row) of all neighbours, by comparing every voxel with every other."""
    radius = kernel // 2
    steps = itertools.product(range(-radius, radius + 1), repeat=coord.shape[1] - 1)
    found = set()
    for offset, step in enumerate(steps):
        wanted = coord + np.array([0, *step])
        equal = (coord[None, :, :] == wanted[:, None, :]).all(2)
        found |= {(offset, int(source), int(target)) for target, source in np.argwhere(equal)}
    return found


def as_set(kernel_map: sparse.KernelMap) -> set[tuple[int, int, int]]:
    rows = [
        (k, int(source), int(target))
        for k, sources, targets in kernel_map.pairs
        for source, target in zip(sources, targets, strict=True)
    ]
    assert len(rows) == len(set(rows))
    return set(rows)


def need(backend: sparse.Backend) -> None:
    """Skip where the compiled kernel cannot be had: no compiler is no fault."""
    if backend == "fused":
        try:
            build.load()
        except RuntimeError as error:
            pytest.skip(f"the compiled kernel cannot be built: {error}")


def random_coord(
    rng: np.random.Generator, num: int, batch_size: int, side: int, dimension: int
) -> np.ndarray:
    cells = rng.choice(batch_size * side**dimension, num, replace=False)
    return np.stack(np.unravel_index(cells, (batch_size, *[side] * dimension)), 1)


@pytest.mark.parametrize(("dimension", "kernel"), [(2, 3), (2, 5), (3, 3), (3, 5)])
@pytest.mark.parametrize("ordered", [True, False])
def test_neighbours_are_those_of_brute_force(dimension: int, kernel: int, ordered: bool) -> None:
    rng = np.random.default_rng(1)
    coord = random_coord(rng, 60, 3, 5, dimension)
    coord = np.array(sorted(map(tuple, coord))) if ordered else coord
    kernel_map = Lattice(torch.from_numpy(coord), 3, (5,) * dimension).neighbours(kernel)
    assert as_set(kernel_map) == brute_force(coord, kernel)


def test_nothing_wraps_around_an_edge_or_into_the_next_event() -> None:
    corners = [(b, x, y, z) for b in (0, 1) for x in (0, 7) for y in (0, 7) for z in (0, 7)]
    lattice = Lattice(torch.tensor(corners), 2, (8, 8, 8))
    for kernel in (3, 5):
        kernel_map = lattice.neighbours(kernel)
        assert len(kernel_map.source_P) == len(corners)
        assert torch.equal(kernel_map.source_P, kernel_map.target_P)


def test_many_large_grids_have_no_false_neighbours() -> None:
    # 32 grids of 768^3 overflow 32-bit keys, which gives spconv neighbours that do not exist.
    rng = np.random.default_rng(2)
    coord = np.concatenate([rng.integers(0, 32, (400, 1)), rng.integers(0, 768, (400, 3))], 1)
    coord = np.concatenate([coord, coord + np.array([0, 0, 0, 1])])
    coord = np.unique(coord[coord[:, 3] < 768], axis=0)
    kernel_map = Lattice(torch.from_numpy(coord), 32, (768,) * 3).neighbours(3)
    assert as_set(kernel_map) == brute_force(coord, 3)


@pytest.mark.parametrize("dimension", [2, 3])
def test_coarsening_gives_each_voxel_its_parent_and_corner(dimension: int) -> None:
    coord = random_coord(np.random.default_rng(3), 60, 2, 7, dimension)  # an odd side loses nothing
    coarse, parent, down = Lattice(torch.from_numpy(coord), 2, (7,) * dimension).coarser
    wanted = np.concatenate([coord[:, :1], coord[:, 1:] // 2], 1)
    assert np.array_equal(coarse.coord_VD1[parent].numpy(), wanted)
    assert len(coarse) == len(np.unique(wanted, axis=0))
    assert coarse.shape == (4,) * dimension
    corner = (coord[:, 1:] % 2) @ [2**axis for axis in reversed(range(dimension))]
    assert as_set(down) == {(int(k), v, int(p)) for v, (k, p) in enumerate(zip(corner, parent, strict=True))}
    assert as_set(coarse.neighbours(3)) == brute_force(coarse.coord_VD1.numpy(), 3)


@pytest.mark.parametrize(
    ("coord", "message"),
    [
        ([[0, 1, 1, 1], [0, 2, 2, 2], [0, 1, 1, 1]], "rows 0 and 2 are the same voxel"),
        ([[0, 1, 1, 1], [0, 1, 1, -1]], r"row 1: voxel \[1, 1, -1\]"),
        ([[0, 1, 1, 8]], r"row 0: voxel \[1, 1, 8\]"),
        ([[2, 1, 1, 1]], "of event 2"),
        ([[-1, 1, 1, 1]], "of event -1"),
        ([[0, 1, 1]], "must have the shape"),
    ],
)
def test_wrong_coordinates_are_refused(coord: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Lattice(torch.tensor(coord), 2, (8, 8, 8))


def test_wrong_dtype_and_rows_are_refused() -> None:
    coord = torch.tensor([[0, 1, 1, 1]])
    with pytest.raises(ValueError, match="integers"):
        Lattice(coord.float(), 1, (8, 8, 8))
    with pytest.raises(ValueError, match="2 rows of features do not fit 1 voxels"):
        sparse.SubmanifoldConv(1, 1, 3)(torch.zeros(2, 1), Lattice(coord, 1, (8, 8, 8)))


@pytest.mark.parametrize("backend", ["torch", "spconv", "fused"])
@pytest.mark.parametrize("num_voxels", [0, 1])
def test_no_voxel_and_one_voxel_pass_forward_and_back(backend: sparse.Backend, num_voxels: int) -> None:
    need(backend)
    lattice = Lattice(torch.full((num_voxels, 4), 3), 4, (8, 8, 8))
    layers = torch.nn.ModuleList(
        [sparse.SubmanifoldConv(2, 4, 3, backend=backend), sparse.Downsample(4, 3, backend=backend)]
    )
    up, norm = sparse.Upsample(3, 2, backend=backend), sparse.BatchNorm(2)
    feat = torch.ones(num_voxels, 2, requires_grad=True)
    out = feat
    for layer in layers:
        out = layer(out, lattice)
    out = norm(up(out, lattice))
    assert out.shape == (num_voxels, 2)
    out.sum().backward()
    assert all(p.grad is not None for p in [*layers.parameters(), *up.parameters(), *norm.parameters()])
    assert torch.isfinite(out).all()
    if num_voxels:
        middle = layers[0](feat, lattice)
        assert torch.allclose(middle, feat @ layers[0].weight[13])
        assert torch.allclose(
            up(layers[1](middle, lattice), lattice), middle @ layers[1].weight[7] @ up.weight[7]
        )


def test_convolution_is_a_cross_correlation() -> None:
    rng = np.random.default_rng(4)
    coord = torch.from_numpy(random_coord(rng, 40, 1, 6, 3))
    conv = sparse.SubmanifoldConv(2, 3, 3).double()
    feat = torch.from_numpy(rng.normal(size=(40, 2)))
    dense = torch.zeros(1, 2, 6, 6, 6, dtype=torch.float64)
    dense[0][(slice(None), *coord[:, 1:].unbind(1))] = feat.t()
    kernel = conv.weight.view(3, 3, 3, 2, 3).permute(4, 3, 0, 1, 2)
    wanted = torch.nn.functional.conv3d(dense, kernel, padding=1)[0][
        (slice(None), *coord[:, 1:].unbind(1))
    ].t()
    found = conv(feat, Lattice(coord, 1, (6, 6, 6)))
    assert torch.allclose(found, wanted, rtol=0, atol=1e-12)


@contextmanager
def threads(num_threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
        assert torch.get_num_threads() == num_threads
    finally:
        torch.set_num_threads(before)


def results(
    backend: sparse.Backend, coord: torch.Tensor, side: int, widths: tuple[int, int, int], dtype: torch.dtype
) -> list[torch.Tensor]:
    """Output and all gradients of one layer of each kind."""
    first, fine, coarse = widths
    dimension = coord.shape[1] - 1
    lattice = Lattice(coord, 2, (side,) * dimension)
    torch.manual_seed(1)
    layers = (
        sparse.SubmanifoldConv(first, fine, 3, dimension, backend).to(dtype),
        sparse.Downsample(fine, coarse, dimension, backend).to(dtype),
        sparse.SubmanifoldConv(coarse, coarse, 3, dimension, backend).to(dtype),
        sparse.Upsample(coarse, fine, dimension, backend).to(dtype),
    )
    conv, down, middle, up = layers
    feat = torch.randn(len(lattice), first, dtype=dtype, requires_grad=True)
    grad = torch.randn(len(lattice), fine, dtype=dtype)
    out = up(middle(down(conv(feat, lattice), lattice), lattice.coarser.lattice), lattice)
    return [out.detach(), *torch.autograd.grad(out, [feat, *(layer.weight for layer in layers)], grad)]


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("backend", ["spconv", "fused"])
def test_backends_agree_on_many_voxels(backend: sparse.Backend, num_threads: int, dimension: int) -> None:
    need(backend)
    side = {2: 160, 3: 36}[dimension]
    coord = torch.from_numpy(random_coord(np.random.default_rng(5), 20_000, 2, side, dimension))
    with threads(num_threads):
        found = results(backend, coord, side, (3, 4, 5), torch.float64)
        wanted = results("torch", coord, side, (3, 4, 5), torch.float64)
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours - theirs).abs().max() <= 1e-12 * theirs.abs().max()


@pytest.mark.parametrize(
    "widths", [(1, 8, 16), (2, 16, 32), (5, 48, 7), (16, 80, 96), (33, 17, 40), (64, 24, 1)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_kernel_takes_any_number_of_channels(
    widths: tuple[int, int, int], dtype: torch.dtype
) -> None:
    need("fused")
    coord = torch.from_numpy(random_coord(np.random.default_rng(6), 1500, 2, 14, 3))
    found = results("fused", coord, 14, widths, dtype)
    wanted = results("torch", coord, 14, widths, torch.float64)
    # Weights and features are drawn in their own precision: compare with what torch makes of it.
    if dtype == torch.float32:
        wanted = results("torch", coord, 14, widths, dtype)
    for ours, theirs in zip(found, wanted, strict=True):
        tolerance = 1e-12 if dtype == torch.float64 else 2e-5
        assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


def test_compiled_kernel_gives_the_same_bits_again_and_on_any_number_of_threads() -> None:
    need("fused")
    coord = torch.from_numpy(random_coord(np.random.default_rng(7), 20_000, 2, 36, 3))
    found = []
    for num_threads in (1, 2, 3, 2, 1):
        with threads(num_threads):
            found.append(results("fused", coord, 36, (2, 16, 20), torch.float32))
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(("dimension", "kernel"), [(2, 5), (3, 3), (3, 5)])
def test_tiles_hold_the_pairs_of_the_map(dimension: int, kernel: int, ordered: bool) -> None:
    need("fused")
    coord = random_coord(np.random.default_rng(8), 1300, 3, {2: 40, 3: 14}[dimension], dimension)
    coord = coord[np.lexsort(coord.T[::-1])] if ordered else coord
    lattice = Lattice(torch.from_numpy(coord), 3, (40,) * dimension)
    maps = (lattice.neighbours(kernel), lattice.coarser.down, lattice.coarser.up)
    for kernel_map in maps:
        pairs, starts, rows, _ = kernel_map.tiles
        rows = torch.arange(kernel_map.num_target) if rows is None else rows
        found = set()
        for tile, bounds in enumerate(starts.tolist()):
            own = set(rows[tile * fused.ROWS_PER_TILE : (tile + 1) * fused.ROWS_PER_TILE].tolist())
            for k, (begin, end) in enumerate(itertools.pairwise(bounds)):
                found |= {(k, int(s), int(t)) for s, t in pairs[begin:end] if int(t) in own}
        assert found == as_set(kernel_map)


def test_a_lattice_and_its_maps_go_with_their_last_name() -> None:
    """None waits for Python to look for cycles, which it hardly does: memory would grow with the batches."""
    gc.collect()
    gc.disable()
    try:
        lattice = Lattice(torch.cartesian_prod(*[torch.arange(1), *[torch.arange(4)] * 3]), 1, (4, 4, 4))
        down, up = lattice.coarser.down, lattice.coarser.up
        maps = [down, up, up.transposed, lattice.neighbours(3)]
        for one in maps:
            assert len(one.source_P) == len(one.target_P) and one.pairs and one.blocks
        np.testing.assert_array_equal(down.source_P, up.target_P)
        np.testing.assert_array_equal(up.transposed.target_P, down.target_P)
        there = [weakref.ref(one) for one in (lattice, lattice.coarser.lattice, *maps)]
        del lattice, down, up, maps, one
        assert [one() for one in there] == [None] * len(there)
    finally:
        gc.enable()


def test_gradients_are_those_of_finite_differences() -> None:
    coord = torch.from_numpy(random_coord(np.random.default_rng(6), 12, 1, 3, 3))
    lattice = Lattice(coord, 1, (3, 3, 3))
    for kernel_map in (lattice.neighbours(3), lattice.coarser.down, lattice.coarser.up):
        feat = torch.randn(kernel_map.num_source, 2, dtype=torch.float64, requires_grad=True)
        weight = torch.randn(len(kernel_map.counts), 2, 2, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x, w, m=kernel_map: sparse.convolve(x, w, m), (feat, weight))


@pytest.mark.parametrize("backend", ["torch", "spconv", "fused"])
def test_self_test_passes_in_inference_mode_too(backend: sparse.Backend) -> None:
    need(backend)
    with torch.inference_mode():
        assert sparse.self_test(backend) is None


@pytest.mark.parametrize("name", ["convolve", "convolve_weight", "turn", "normalise_backward"])
def test_self_test_sees_a_kernel_that_is_wrong(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    need("fused")
    right = getattr(fused, name)

    def wrong(*args: Any, **kwargs: Any) -> Any:
        found = right(*args, **kwargs)
        return found * (1 + 1e-9) if isinstance(found, torch.Tensor) else (found[0] * (1 + 1e-9), *found[1:])

    monkeypatch.setattr(fused, name, wrong)
    assert "is wrong by" in (sparse.self_test("fused") or "")


def test_spconv_that_fails_falls_back_to_torch_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lartpc.sparse.convolution.self_test", lambda *_: "output is wrong")
    sparse.resolve.cache_clear()
    with pytest.warns(RuntimeWarning, match="falls back to torch.*spconv: output is wrong"):
        assert sparse.resolve("spconv") == "torch"
    sparse.resolve.cache_clear()


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize(("num_rows", "width"), [(2, 3), (64, 16), (65, 20), (20_000, 37), (20_000, 48)])
def test_compiled_normalisation_is_that_of_torch(num_rows: int, width: int, num_threads: int) -> None:
    need("fused")
    random = torch.Generator().manual_seed(num_rows)
    feat = 3 + 2 * torch.randn(num_rows, width, generator=random, dtype=torch.float64)
    grad = torch.randn(num_rows, width, generator=random, dtype=torch.float64)
    weight = torch.randn(width, generator=random, dtype=torch.float64)
    found = {}
    for backend in ("fused", "torch"):
        layer = sparse.NormActivation(width, 0.33, 1e-4, 0.05, backend).double()
        norm = layer.norm
        with torch.no_grad():
            norm.weight.copy_(weight)
            norm.bias.copy_(weight.flip(0))
        with threads(num_threads):
            out = layer(feat.requires_grad_())
            grads = torch.autograd.grad(out, (feat, norm.weight, norm.bias), grad)
            layer.eval()
            frozen = layer(feat)  # with gradients
            assert frozen.requires_grad
            with torch.no_grad():
                inferred = layer(feat)
        assert int(norm.num_batches_tracked) == 1
        found[backend] = [out, *grads, frozen, inferred, norm.running_mean, norm.running_var]
    for ours, theirs in zip(found["fused"], found["torch"], strict=True):
        assert (ours - theirs).abs().max() <= 1e-11 * theirs.abs().max()


def test_compiled_normalisation_keeps_its_precision_far_from_zero() -> None:
    # In single precision, the sum of squares of such values would leave nothing of the variance.
    need("fused")
    feat = 1000 + torch.randn(30_000, 16, generator=torch.Generator().manual_seed(1))
    layer = sparse.NormActivation(16, 1.0, 1e-4, 1.0, "fused")
    layer(feat)
    assert torch.allclose(layer.norm.running_var, feat.double().var(0).float(), rtol=1e-3)


def test_half_precision_goes_to_torch() -> None:
    need("fused")
    lattice = Lattice(torch.tensor([[0, 1, 1, 1], [0, 1, 1, 2]]), 1, (4, 4, 4))
    conv = sparse.SubmanifoldConv(2, 2, 3, backend="fused").bfloat16()
    assert conv(torch.ones(2, 2, dtype=torch.bfloat16), lattice).dtype == torch.bfloat16


def test_batch_norm_of_one_row_uses_running_statistics_and_keeps_them() -> None:
    norm = sparse.BatchNorm(2)
    norm(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    mean = norm.running_mean.clone()
    row = torch.tensor([[5.0, 5.0]])
    assert torch.equal(norm(row), norm.eval()(row))
    assert torch.equal(norm.running_mean, mean)
