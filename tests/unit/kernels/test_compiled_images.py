"""The U-ResNet in inference without torch: it says what the network of torch says."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from checkout import REPOSITORY
from test_segment import make_empty, make_event

from lartpc import config
from lartpc.event import Event
from lartpc.geometry import Box
from lartpc.images import Images, has_kernel, kernel, stack
from lartpc.images.answer import Answer
from lartpc.run.weights import load_weights
from lartpc.run.weights_file import read_content
from lartpc.sparse import build
from lartpc.stages import segment, stage

MODELS = REPOSITORY / "models"
SIDE = 40
SHAPES = {
    "3D": {},
    "2D": {"dimension": 2, "unet": {"depth": 4}},
    "side 5, 12 filters, ghosts": {
        "unet": {"kernel": 5, "filters": 12, "depth": 2},
        "heads": {"ghost": True},
    },
    "one level": {"unet": {"depth": 1, "repetitions": 1}},
    "one block": {"unet": {"repetitions": 1, "depth": 3, "leakiness": 0.0}},
}


@pytest.fixture(autouse=True)
def _need_kernel() -> None:
    if not has_kernel():
        pytest.skip("there is no compiler for the kernel")


def settings(name: str) -> config.Segment:
    return config.Segment.model_validate(SHAPES[name])


def network(cfg: config.Segment) -> torch.nn.Module:
    """A network of random weights, whose norms have the statistics of random images."""
    torch.manual_seed(3)
    net = segment.network(cfg)
    for name, values in net.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(values, 0.5, 1)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.momentum = 1.0
    net.train().answer([], random_images(cfg.dimension, 1700, seed=5), 0)
    return net.eval()


def compiled(net: torch.nn.Module, cfg: config.Segment) -> segment.CompiledSegmenter:
    state = {name: values.numpy() for name, values in net.state_dict().items()}
    found = segment.compiled(cfg, state)
    assert found is not None
    return found


def random_images(dimension: int, num_voxels: int, *, is_sorted: bool = True, seed: int = 1) -> Images:
    rng = np.random.default_rng(seed)
    cells = rng.permutation(2 * SIDE**dimension)[:num_voxels]
    cells = np.sort(cells) if is_sorted else cells
    axes = [cells // SIDE**power % SIDE for power in reversed(range(dimension))]
    coord_VD1 = np.stack([cells // SIDE**dimension, *axes], axis=1)
    return Images(coord_VD1, rng.exponential(0.5, num_voxels).astype("f4"), 2, SIDE)


def parts(answer: Answer) -> list[np.ndarray]:
    others = [values for values in (answer.ghost_V, answer.side_VS) if values is not None]
    return [answer.logit_VK, answer.offset_VD, answer.class_VK, answer.end_V, *answer.masks, *others]


def assert_same(one: Answer, other: Answer, tolerance: float) -> None:
    pairs = [*zip(parts(one), parts(other), strict=True)]
    assert len(pairs) >= 5
    for ours, theirs in pairs:
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max(initial=0) <= tolerance * np.abs(theirs).max(initial=1)
    for ours, theirs in zip(one.parents, other.parents, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("is_sorted", [True, False])
def test_it_says_what_the_network_of_torch_says(shape: str, is_sorted: bool) -> None:
    cfg = settings(shape)
    net = network(cfg)
    images = random_images(cfg.dimension, 1700, is_sorted=is_sorted)
    # random weights magnify what is rounded: 2e-6 with those of the release
    assert_same(compiled(net, cfg).answer([], images, 0), net.answer([], images, 0), 1e-4)


def test_released_weights_say_the_same() -> None:
    content = read_content(MODELS / "segment.pt")
    cfg = config.Segment.model_validate(json.loads(content["settings"]))
    net, ours = (
        load_weights(MODELS / "segment.pt", stage("segment"), cfg, content),
        segment.compiled(cfg, content["state"]),
    )
    images = stack([make_event(1), make_event(2), make_event(3)], 3, "segment")
    one, other = ours.answer([], images, 0), net.answer([], images, 0)
    assert_same(one, other, 1e-5)
    np.testing.assert_array_equal(one.logit_VK.argmax(1), other.logit_VK.argmax(1))


def only(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing but one unit multiply in bf16; skip where the processor lacks it."""
    monkeypatch.setattr(kernel, "BF16_UNITS", (unit,))
    if fault := kernel._fault(unit):
        assert "the processor has no" in fault
        pytest.skip(fault)


def with_precision(cfg: config.Segment, precision: str) -> config.Segment:
    return cfg.model_copy(update={"infer": cfg.infer.model_copy(update={"precision": precision})})


@pytest.mark.parametrize("unit", kernel.BF16_UNITS)
@pytest.mark.parametrize("shape", ["3D", "2D", "side 5, 12 filters, ghosts"])
def test_bf16_changes_little(shape: str, unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    only(unit, monkeypatch)
    cfg = settings(shape)
    net = network(cfg)
    rounding = compiled(net, with_precision(cfg, "bf16"))
    assert unit.upper() in rounding.arithmetic
    images = random_images(cfg.dimension, 1700)
    ours, theirs = rounding.answer([], images, 0), net.answer([], images, 0)
    assert_same(ours, theirs, 0.06)
    assert (ours.logit_VK != theirs.logit_VK).any()
    assert (
        ours.logit_VK.argmax(1) == theirs.logit_VK.argmax(1)
    ).mean() > 0.98  # random weights hardly tell them apart


def test_units_of_bf16_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = with_precision(settings("3D"), "bf16")
    net, answers = network(cfg), []
    for unit in ("avx512", "amx"):
        only(unit, monkeypatch)
        answers.append(compiled(net, cfg).answer([], random_images(3, 1700), 0))
    # the order of sums alone differs, and with it what is rounded
    assert_same(*answers, 0.02)


@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_without_bf16_it_computes_in_fp32(
    precision: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fault = kernel._fault
    monkeypatch.setattr(kernel, "_fault", lambda unit: f"no {unit}" if unit != "fp32" else fault(unit))
    cfg = with_precision(settings("one level"), precision)
    assert compiled(network(cfg), cfg).arithmetic == "fp32"
    warned = "segment computes in fp32 instead of bf16: no amx; no avx512" in caplog.text
    assert warned == (precision == "bf16")


@pytest.mark.parametrize("unit", kernel.BF16_UNITS)
def test_a_unit_that_multiplies_wrongly_is_not_used(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    only(unit, monkeypatch)
    product = kernel._product
    monkeypatch.setattr(kernel, "_product", lambda *given: 1.05 * product(*given))
    kernel._fault.cache_clear()
    try:
        assert kernel.arithmetic("auto") == "fp32"
    finally:
        kernel._fault.cache_clear()


@pytest.mark.parametrize("unit", kernel.UNITS)
def test_bits_depend_neither_on_threads_nor_on_the_batch(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if unit != "fp32":
        only(unit, monkeypatch)
    cfg = with_precision(settings("3D"), "fp32" if unit == "fp32" else "auto")
    net = compiled(network(cfg), cfg)
    images = random_images(3, 3000)
    together = net.answer([], images, 0)
    monkeypatch.setattr(build, "num_threads", lambda: 3)
    for ours, theirs in zip(parts(net.answer([], images, 0)), parts(together), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    second = images.coord_VD1[:, 0] == 1
    alone = replace(
        images, coord_VD1=images.coord_VD1[second] - [1, 0, 0, 0], energy_V=images.energy_V[second]
    )
    answer = net.answer([], replace(alone, num_images=1), 0)
    np.testing.assert_array_equal(answer.logit_VK, together.logit_VK[second])
    np.testing.assert_array_equal(answer.offset_VD, together.offset_VD[second])


@pytest.mark.parametrize("symmetries", [1, 2])
def test_products_are_those_of_torch(symmetries: int) -> None:
    cfg = config.Segment.model_validate({"unet": {"depth": 3}, "infer": {"symmetries": symmetries}})
    net, events = network(cfg), [make_event(1), make_empty(), make_event(2, num_voxels=1), make_event(3)]
    ours, theirs = (segment.infer(one, events, cfg) for one in (compiled(net, cfg), net))
    for one, other in zip(ours, theirs, strict=True):
        for product, columns in one.items():
            for name, values in columns.items():
                np.testing.assert_allclose(values, other[product][name], atol=5e-3, err_msg=name)
    assert segment.infer(compiled(net, cfg), [make_empty()], cfg)[0]["semantic"]["label"].shape == (0,)


@pytest.mark.parametrize(
    "wrong",
    [
        {"backend": "torch"},
        {"plane_hits": True, "heads": {"ghost": True}},
        {"infer": {"num_passes": 3}, "heads": {"dropout": 0.1}},
    ],
)
def test_what_the_kernel_does_not_know_is_left_to_torch(wrong: dict) -> None:
    assert segment.compiled(config.Segment.model_validate(wrong), {}) is None


def test_a_gpu_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "has_gpu", lambda: True)
    assert segment.compiled(config.Segment(), {}) is None
    monkeypatch.setattr(kernel, "GPU_FILES", ("/",))
    kernel.has_gpu.cache_clear()
    assert kernel.has_gpu() == torch.cuda.is_available()
    kernel.has_gpu.cache_clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not kernel.has_gpu()
    kernel.has_gpu.cache_clear()


def test_a_kernel_that_computes_wrongly_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    product = kernel._product
    monkeypatch.setattr(kernel, "_product", lambda *given: 1.001 * product(*given))
    kernel._fault.cache_clear()
    try:
        assert not has_kernel() and "wrong by" in caplog.text
    finally:
        kernel._fault.cache_clear()


def test_weights_that_do_not_fit_are_refused() -> None:
    cfg = settings("one level")
    state = {name: values.numpy() for name, values in network(cfg).state_dict().items()}
    with pytest.raises(ValueError, match=r"classes.bias of the network of segment is no there"):
        segment.compiled(cfg, {name: values for name, values in state.items() if name != "classes.bias"})
    with pytest.raises(ValueError, match=r"no parameters more"):
        segment.compiled(cfg, state | {"more": np.zeros(1)})
    state["classes.bias"] = np.full_like(state["classes.bias"], np.inf)
    found = segment.compiled(cfg, state)
    with pytest.raises(ValueError, match="not finite"):
        found.answer([], random_images(3, 50), 0)


def test_voxels_outside_and_twice_are_refused() -> None:
    cfg = settings("one level")
    net, images = compiled(network(cfg), cfg), random_images(3, 50)
    outside, twice = images.coord_VD1.copy(), images.coord_VD1.copy()
    outside[7, 2] = SIDE
    twice[8] = twice[30]
    with pytest.raises(ValueError, match=r"row 7: voxel .* lies outside"):
        net.answer([], replace(images, coord_VD1=outside), 0)
    with pytest.raises(ValueError, match=r"rows 8 and 30 are the same voxel"):
        net.answer([], replace(images, coord_VD1=twice), 0)


def test_images_of_another_kind_are_refused() -> None:
    flat = Event("file", 0, Box.flat(0.0, 0.3, 0.3, 64), make_empty().products)
    with pytest.raises(ValueError, match=r"segment.dimension is 3"):
        stack([flat], 3, "segment")
