"""The convolution with products in bf16, on processors that have them."""

import itertools
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from lartpc import sparse
from lartpc.sparse import bf16, build, convolution, fused


@pytest.fixture(params=[bf16.AMX, bf16.AVX512], ids=lambda unit: unit.name)
def unit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bf16.Unit:
    """Let one after another multiply, of those that this machine has."""
    try:
        library = build.load()
    except RuntimeError as error:
        pytest.skip(f"the compiled kernel cannot be built: {error}")
    has = {bf16.AMX: library.has_amx, bf16.AVX512: library.has_avx512_bf16}
    if not has[request.param]():
        pytest.skip(f"this processor has no {request.param.name} for bf16")
    monkeypatch.setattr(bf16, "unit", lambda: request.param)
    return cast(bf16.Unit, request.param)


@pytest.fixture(params=[1, 2])
def num_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def maps(num_voxels: int, kernel: int = 3) -> list[sparse.KernelMap]:
    cells = np.random.default_rng(num_voxels).choice(2 * 24**3, num_voxels, replace=False)
    coord = torch.from_numpy(np.stack(np.unravel_index(cells, (2, 24, 24, 24)), 1))
    lattice = sparse.Lattice(coord, 2, (24, 24, 24))
    return [lattice.neighbours(kernel), lattice.coarser.down, lattice.coarser.up]


def values(kernel_map: sparse.KernelMap, num_in: int, num_out: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(num_in + num_out)
    shapes = (
        (kernel_map.num_source, num_in),
        (kernel_map.num_offsets, num_in, num_out),
        (kernel_map.num_target, num_out),
    )
    return [torch.randn(shape, generator=random) for shape in shapes]


def outputs(
    function: Any, feat: Tensor, weight: Tensor, grad: Tensor, kernel_map: sparse.KernelMap
) -> list[Tensor]:
    feat, weight = feat.clone().requires_grad_(), weight.clone().requires_grad_()
    out = function.apply(feat, weight, kernel_map)
    return [out.detach(), *torch.autograd.grad(out, (feat, weight), grad)]


@pytest.mark.usefixtures("unit")
@pytest.mark.parametrize("num_voxels", [0, 1, 1200])
@pytest.mark.parametrize(
    "widths", [(1, 1), (16, 16), (5, 7), (17, 40), (33, 64), (64, 33), (100, 48), (130, 16)]
)
def test_sums_of_products_are_exact_to_fp32(
    num_voxels: int, widths: tuple[int, int], num_threads: int
) -> None:
    # Of numbers that bf16 holds, products are exact in fp32.
    for kernel_map in maps(num_voxels):
        tensors = [tensor.bfloat16().float() for tensor in values(kernel_map, *widths)]
        found = outputs(bf16.Bf16Convolution, *tensors, kernel_map)
        wanted = outputs(fused.FusedConvolution, *(tensor.double() for tensor in tensors), kernel_map)
        for ours, theirs in zip(found, wanted, strict=True):
            assert ours.dtype == torch.float32 and ours.shape == theirs.shape
            if ours.numel():
                assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.usefixtures("unit")
@pytest.mark.parametrize("kernel", [3, 5])
def test_rounding_is_that_of_bf16(kernel: int) -> None:
    kernel_map = maps(3000, kernel)[0]
    feat, weight, grad = values(kernel_map, 32, 48)
    wanted = outputs(fused.FusedConvolution, feat, weight, grad, kernel_map)
    found = outputs(bf16.Bf16Convolution, feat, weight, grad, kernel_map)
    for ours, theirs in zip(found, wanted, strict=True):
        error = (ours - theirs).norm() / theirs.norm()
        assert 1e-4 < error < 1e-2


@pytest.mark.usefixtures("unit")
def test_bits_are_the_same_again_and_on_any_number_of_threads() -> None:
    kernel_map = maps(4000)[0]
    tensors = values(kernel_map, 48, 20)
    before, found = torch.get_num_threads(), []
    for count in (1, 2, 3, 1):
        torch.set_num_threads(count)
        found.append(outputs(bf16.Bf16Convolution, *tensors, kernel_map))
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@pytest.mark.usefixtures("unit")
def test_the_matrix_unit_is_left_fit_for_torch() -> None:
    kernel_map = maps(1000)[0]
    tensors = values(kernel_map, 32, 32)
    matrix = torch.randn(96, 96, generator=torch.Generator().manual_seed(1)).bfloat16()
    first = (matrix @ matrix, outputs(bf16.Bf16Convolution, *tensors, kernel_map))
    second = (matrix @ matrix, outputs(bf16.Bf16Convolution, *tensors, kernel_map))
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))


@pytest.mark.usefixtures("unit")
def test_autocast_takes_and_gives_fp32_and_multiplies_in_bf16_where_that_is_faster() -> None:
    kernel_map = maps(1000)[0]
    for num_channels, rounded in ((4, False), (32, True)):
        feat, weight, _ = values(kernel_map, num_channels, num_channels)
        wanted = sparse.convolve(feat, weight, kernel_map, "fused")
        with torch.autocast("cpu", torch.bfloat16):
            found = sparse.convolve(feat.bfloat16().float(), weight, kernel_map, "fused")
            half = sparse.convolve(feat.bfloat16(), weight, kernel_map, "fused")
        assert found.dtype == torch.float32 and torch.equal(found, half)
        exact = sparse.convolve(feat.bfloat16().float(), weight, kernel_map, "fused")
        assert torch.equal(found, exact) != rounded
        torch.testing.assert_close(found, wanted, rtol=0.0, atol=0.02 * float(wanted.abs().max()))


@pytest.mark.usefixtures("unit")
def test_only_convolutions_multiply_in_bf16_when_asked_to() -> None:
    kernel_map = maps(1000)[0]
    feat, weight, _ = values(kernel_map, 32, 32)
    with sparse.multiply_in_bf16():
        found = sparse.convolve(feat, weight, kernel_map, "fused")
        product = feat @ weight[0]
        doubles = sparse.convolve(feat.double(), weight.double(), kernel_map, "fused")
    assert torch.equal(found, bf16.Bf16Convolution.apply(feat, weight, kernel_map))
    assert torch.equal(product, feat @ weight[0])
    assert torch.equal(doubles, sparse.convolve(feat.double(), weight.double(), kernel_map, "fused"))
    assert not torch.equal(found, sparse.convolve(feat, weight, kernel_map, "fused"))


def test_another_backend_stays_in_fp32_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    kernel_map = maps(300)[0]
    feat, weight, _ = values(kernel_map, 32, 32)
    convolution.is_right_in_bf16.cache_clear()
    with sparse.multiply_in_bf16():
        found = sparse.convolve(feat, weight, kernel_map, "torch")
    convolution.is_right_in_bf16.cache_clear()
    assert torch.equal(found, sparse.convolve(feat, weight, kernel_map, "torch"))
    assert "backend torch" in caplog.text


@pytest.mark.usefixtures("unit")
@pytest.mark.parametrize("name", ["convolve", "convolve_weight", "_round"])
def test_a_kernel_that_is_wrong_is_not_used_and_one_line_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right = getattr(bf16, name)
    convolution.is_right_in_bf16.cache_clear()
    monkeypatch.setattr(bf16, name, lambda *args: right(*args) * 1.02)
    kernel_map = maps(300)[0]
    feat, weight, _ = values(kernel_map, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        found = [sparse.convolve(feat, weight, kernel_map, "fused") for _ in range(2)]
    convolution.is_right_in_bf16.cache_clear()
    wanted = sparse.convolve(feat, weight, kernel_map, "fused")
    assert all(torch.equal(one, wanted) for one in found)
    (record,) = caplog.records
    assert "computes in fp32 instead of bf16" in record.getMessage() and "is wrong by" in record.getMessage()


def test_a_machine_without_bf16_computes_in_fp32(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if sparse.resolve("auto") != "fused":
        pytest.skip("the compiled kernel cannot be built")
    monkeypatch.setattr(bf16, "unit", lambda: None)
    convolution.is_right_in_bf16.cache_clear()
    kernel_map = maps(300)[0]
    feat, weight, _ = values(kernel_map, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        found = sparse.convolve(feat, weight, kernel_map)
    convolution.is_right_in_bf16.cache_clear()
    assert torch.equal(found, sparse.convolve(feat, weight, kernel_map))
    assert "AVX512-BF16" in caplog.text


@pytest.mark.usefixtures("unit")
def test_the_self_test_passes_under_autocast_and_in_inference_mode() -> None:
    for autocast, inference in itertools.product((False, True), repeat=2):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast), torch.inference_mode(inference):
            assert sparse.bf16_fault() is None
