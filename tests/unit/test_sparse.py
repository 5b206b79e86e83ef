"""Kernel maps against brute force, and the backends against each other."""

import itertools

import numpy as np
import pytest
import torch

from lartpc import sparse
from lartpc.sparse import Lattice


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


@pytest.mark.parametrize("backend", ["torch", "spconv"])
@pytest.mark.parametrize("num_voxels", [0, 1])
def test_no_voxel_and_one_voxel_pass_forward_and_back(backend: sparse.Backend, num_voxels: int) -> None:
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


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("dimension", [2, 3])
def test_backends_agree_on_many_voxels(num_threads: int, dimension: int) -> None:
    rng = np.random.default_rng(5)
    side = {2: 160, 3: 36}[dimension]
    coord = torch.from_numpy(random_coord(rng, 20_000, 2, side, dimension))
    lattice = Lattice(coord, 2, (side,) * dimension)
    coarse = lattice.coarser.lattice
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        found = {}
        for backend in ("torch", "spconv"):
            torch.manual_seed(1)
            conv, down, up, last = (
                sparse.SubmanifoldConv(3, 4, 3, dimension, backend).double(),
                sparse.Downsample(4, 5, dimension, backend).double(),
                sparse.Upsample(5, 4, dimension, backend).double(),
                sparse.SubmanifoldConv(5, 5, 3, dimension, backend).double(),
            )
            feat = torch.randn(len(lattice), 3, dtype=torch.float64, requires_grad=True)
            grad = torch.randn(len(lattice), 4, dtype=torch.float64)
            out = up(last(down(conv(feat, lattice), lattice), coarse), lattice)
            weights = [layer.weight for layer in (conv, down, up, last)]
            found[backend] = [out, *torch.autograd.grad(out, [feat, *weights], grad)]
            assert torch.get_num_threads() == num_threads
    finally:
        torch.set_num_threads(before)
    for ours, theirs in zip(found["torch"], found["spconv"], strict=True):
        assert (ours - theirs).abs().max() <= 1e-12 * theirs.abs().max()


def test_gradients_are_those_of_finite_differences() -> None:
    coord = torch.from_numpy(random_coord(np.random.default_rng(6), 12, 1, 3, 3))
    lattice = Lattice(coord, 1, (3, 3, 3))
    for kernel_map in (lattice.neighbours(3), lattice.coarser.down, lattice.coarser.up):
        feat = torch.randn(kernel_map.num_source, 2, dtype=torch.float64, requires_grad=True)
        weight = torch.randn(len(kernel_map.counts), 2, 2, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x, w, m=kernel_map: sparse.convolve(x, w, m), (feat, weight))


def test_self_test_passes_in_inference_mode_too() -> None:
    assert sparse.self_test("torch") is None
    with torch.inference_mode():
        assert sparse.self_test("spconv") is None


def test_spconv_that_fails_falls_back_to_torch_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lartpc.sparse.convolution.self_test", lambda *_: "output is wrong")
    sparse.resolve.cache_clear()
    with pytest.warns(RuntimeWarning, match="falls back from spconv to torch: output is wrong"):
        assert sparse.resolve("spconv") == "torch"
    sparse.resolve.cache_clear()


def test_batch_norm_of_one_row_uses_running_statistics_and_keeps_them() -> None:
    norm = sparse.BatchNorm(2)
    norm(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    mean = norm.running_mean.clone()
    row = torch.tensor([[5.0, 5.0]])
    assert torch.equal(norm(row), norm.eval()(row))
    assert torch.equal(norm.running_mean, mean)
