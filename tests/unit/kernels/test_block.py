"""Residual blocks in training as one function: as by their layers, and with the gradients of finite differences."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lartpc import sparse
from lartpc.config import UResNet as Settings
from lartpc.nets.unet import ResidualBlock, UResNet
from lartpc.sparse import bf16, block, build, fused, passes

try:
    VECTOR = int(build.load().vector_bytes())
except RuntimeError as error:
    pytest.skip(f"the compiled kernel cannot be built: {error}", allow_module_level=True)

needs_avx512 = pytest.mark.skipif(
    bf16.unit() is not bf16.AVX512, reason="only AVX512-BF16 rounds rows for these kernels"
)


def lattice_of(num_voxels: int, *, ordered: bool = True, seed: int = 1) -> sparse.Lattice:
    rng = np.random.default_rng(seed)
    cells = rng.choice(2 * 24**3, num_voxels, replace=False)
    cells = np.sort(cells) if ordered else cells
    return sparse.Lattice(
        torch.from_numpy(np.stack(np.unravel_index(cells, (2, 24, 24, 24)), 1)), 2, (24,) * 3
    )


@contextmanager
def by_layers() -> Iterator[None]:
    """Let blocks be computed layer by layer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block, "form_of", lambda *_: None)
        yield


def outcome(net: nn.Module, inputs: list[Tensor], lattice: sparse.Lattice) -> dict[str, Tensor]:
    """Return output, gradients and buffers after a pass in training."""
    net.train()
    inputs = [value.clone().requires_grad_() for value in inputs]
    found = net(inputs[0], lattice, *inputs[1:])
    outputs = found if isinstance(found, list) else [found]
    random = torch.Generator().manual_seed(5)
    weighted = sum(
        (out * torch.randn(out.shape, generator=random, dtype=torch.float64).to(out.dtype)).sum()
        for out in outputs
    )
    named = dict(net.named_parameters())
    grads = torch.autograd.grad(weighted, [*inputs, *named.values()])
    names = [f"input {place}" for place in range(len(inputs))] + [f"gradient of {name}" for name in named]
    of_outputs = {f"output {place}": out.detach() for place, out in enumerate(outputs)}
    return of_outputs | dict(zip(names, grads, strict=True)) | dict(net.named_buffers())


def assert_near(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].shape == value.shape and found[name].dtype == value.dtype
        error = float((found[name].double() - value.double()).abs().max())
        assert error <= tolerance * max(1e-3, float(value.double().abs().max())), f"{name}: {error:.1e}"


def new_block(num_in: int, num_out: int, dtype: torch.dtype) -> ResidualBlock:
    torch.manual_seed(3)
    net = ResidualBlock(num_in, num_out, kernel=3, leakiness=0.1, dimension=3, backend="fused")
    for act in (net.first_act, net.second_act):
        nn.init.uniform_(act.norm.weight, 0.5, 2)
        nn.init.normal_(act.norm.bias)
    return net.to(dtype)


def features(lattice: sparse.Lattice, widths: list[int], dtype: torch.dtype) -> list[Tensor]:
    random = torch.Generator().manual_seed(7)
    drawn = [3 + torch.randn(len(lattice), width, generator=random, dtype=torch.float64) for width in widths]
    return [value.to(dtype) for value in drawn]


WIDTHS = [([16], 16), ([32], 16), ([16, 32], 16), ([16, 16], 32)]


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(("widths", "num_out"), WIDTHS)
def test_a_block_is_that_of_its_layers(
    widths: list[int], num_out: int, ordered: bool, num_threads: int
) -> None:
    lattice = lattice_of(1500, ordered=ordered)
    inputs = features(lattice, widths, torch.float64)
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        found = outcome(new_block(sum(widths), num_out, torch.float64), inputs, lattice)
    finally:
        torch.set_num_threads(before)
    with by_layers():
        wanted = outcome(new_block(sum(widths), num_out, torch.float64), inputs, lattice)
    assert_near(found, wanted, 1e-12)


@pytest.mark.parametrize("num_voxels", [2, 63, 65, 513])
def test_a_block_of_few_voxels(num_voxels: int) -> None:
    lattice = lattice_of(num_voxels)
    inputs = features(lattice, [16, 16], torch.float64)
    found = outcome(new_block(32, 16, torch.float64), inputs, lattice)
    with by_layers():
        wanted = outcome(new_block(32, 16, torch.float64), inputs, lattice)
    assert_near(found, wanted, 1e-9)  # of two voxels the differences are small


@pytest.mark.parametrize(("widths", "num_out"), WIDTHS)
def test_gradients_are_those_of_finite_differences(widths: list[int], num_out: int) -> None:
    lattice = lattice_of(40)
    net = new_block(sum(widths), num_out, torch.float64)
    inputs = [value.requires_grad_() for value in features(lattice, widths, torch.float64)]
    some = [net.first_conv.weight, net.second_act.norm.weight, net.first_act.norm.bias]
    if isinstance(net.shortcut, nn.Linear):
        some.append(net.shortcut.weight)

    def along(*steps: Tensor) -> Tensor:
        """Move inputs and parameters along a direction: a gradient of each would take minutes."""
        moved = [value + step * way for value, step, way in zip(given, steps, ways, strict=True)]
        weights = dict(zip(names, moved[len(inputs) :], strict=True))
        found = torch.func.functional_call(net, weights, (moved[0], lattice, *moved[1 : len(inputs)]))
        return (found * aim).sum()

    given = [value.detach() for value in [*inputs, *some]]
    names = [name for name, value in net.named_parameters() if any(value is one for one in some)]
    by_name = dict(net.named_parameters())
    given[len(inputs) :] = [by_name[name].detach() for name in names]
    ways = [torch.randn_like(value) for value in given]
    aim = torch.randn(len(lattice), num_out, dtype=torch.float64)
    steps = [torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in given]
    net.train()
    assert torch.autograd.gradcheck(along, steps, eps=1e-7, atol=1e-4, rtol=1e-5)


@needs_avx512
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(("widths", "num_out"), WIDTHS)
def test_in_bf16_a_block_is_as_near_to_fp32_as_its_layers(
    widths: list[int], num_out: int, ordered: bool
) -> None:
    lattice = lattice_of(1500, ordered=ordered)
    inputs = features(lattice, widths, torch.float32)
    with sparse.multiply_in_bf16():
        found = outcome(new_block(sum(widths), num_out, torch.float32), inputs, lattice)
        again = outcome(new_block(sum(widths), num_out, torch.float32), inputs, lattice)
    with by_layers():
        wanted = outcome(new_block(sum(widths), num_out, torch.float32), inputs, lattice)
        with sparse.multiply_in_bf16():
            layers = outcome(new_block(sum(widths), num_out, torch.float32), inputs, lattice)
    assert all(torch.equal(value, again[name]) for name, value in found.items())
    for name, value in wanted.items():
        scale = value.double().norm().clamp(min=1e-9)
        ours, theirs = (float((one[name].double() - value).norm() / scale) for one in (found, layers))
        # the layer beside is in fp32 where the others round their rows
        assert ours <= max(1.5 * theirs, 0.005), f"{name}: {ours:.1e}, by layers {theirs:.1e}"


@pytest.mark.parametrize("in_bf16", [False, pytest.param(True, marks=needs_avx512)])
def test_a_whole_network_takes_the_function_wherever_it_trains(
    in_bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, so that no part of the network goes back to layers unseen."""
    assert (
        block.fault_of(passes.AVX512 if in_bf16 else passes.Form("f32", rounds=False)) is None
    )  # it makes a block too
    taken: list[str] = []
    for name in ("residual", "activated_convolution"):
        plain = getattr(block, name)

        def counted(*given: Any, name: str = name, plain: Any = plain) -> Tensor:
            taken.append(name)
            found: Tensor = plain(*given)
            return found

        monkeypatch.setattr(block, name, counted)
    cfg = Settings(filters=16, depth=3, repetitions=2)
    lattice = lattice_of(900)
    (feat,) = features(lattice, [2], torch.float32)

    def made() -> dict[str, Tensor]:
        torch.manual_seed(2)
        net = UResNet(cfg, 2, backend="fused")
        with sparse.multiply_in_bf16() if in_bf16 else nullcontext():
            return outcome(net, [feat], lattice)

    found = made()
    assert (taken.count("residual"), taken.count("activated_convolution")) == (10, 4)
    with by_layers():
        wanted = made()
    assert len(taken) == 14
    if not in_bf16:
        assert_near(found, wanted, 2e-3)
    net = UResNet(cfg, 2, backend="fused").eval()
    with torch.no_grad():
        net(feat, lattice)
    net(feat, lattice)  # with frozen statistics
    assert len(taken) == 14


def test_widths_that_are_no_whole_vectors_go_by_layers() -> None:
    lattice = lattice_of(100)
    net = new_block(5, 7, torch.float32)
    (feat,) = features(lattice, [5], torch.float32)
    acts, weights = (net.first_act, net.second_act), (net.first_conv.weight, net.second_conv.weight)
    net.train()
    assert block.form_of(feat, acts, weights, "fused") is None
    assert outcome(net, [feat], lattice)["output 0"].shape == (100, 7)
    wide = new_block(VECTOR // 4, VECTOR // 4, torch.float32).train()
    (feat,) = features(lattice, [VECTOR // 4], torch.float32)
    acts, weights = (wide.first_act, wide.second_act), (wide.first_conv.weight, wide.second_conv.weight)
    assert block.form_of(feat, acts, weights, "fused") == passes.Form(
        fused.SUFFIXES[torch.float32], rounds=False
    )
    assert block.form_of(feat, acts, weights, "torch") is None


@pytest.mark.parametrize("name", ["sweep", "spread", "activate", "measure"])
def test_kernels_that_are_wrong_are_not_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = passes.call

    def wrong(kernel: str, *given: Any) -> None:
        plain(kernel, *given)
        if kernel.startswith(name):
            outputs = [one for one in given if isinstance(one, Tensor) and one.dtype == torch.float64]
            outputs[-5 if name == "measure" else -1].mul_(
                1.01
            )  # after the statistics come weight, bias and running ones

    form = passes.Form("f64", rounds=False)
    assert block.fault_of(form) is None
    block.fault_of.cache_clear()
    monkeypatch.setattr(passes, "call", wrong)
    try:
        assert "wrong by" in (block.fault_of(form) or "")
    finally:
        block.fault_of.cache_clear()
