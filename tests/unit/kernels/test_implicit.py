"""The GPU's kernels in Triton's interpreter, against plain loops; on a GPU itself where there is one."""

import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lartpc import sparse
from lartpc.sparse import Lattice, implicit
from lartpc.sparse.convolution import _apply

KERNELS = "lartpc.sparse.implicit_kernels"

if importlib.util.find_spec("triton") is not None:
    # Whether functions of Triton's own are interpreted is settled when it is first imported; torch does
    # that late, if at all.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        importlib.import_module("triton.language")


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    # For ours, when they are defined.
    sys.modules.pop(KERNELS, None)
    implicit._kernels.cache_clear()
    yield
    sys.modules.pop(KERNELS, None)
    implicit._kernels.cache_clear()


def random_lattice(num_voxels: int, dimension: int, side: int) -> Lattice:
    cells = np.random.default_rng(num_voxels).choice(2 * side**dimension, num_voxels, replace=False)
    coord = np.stack(np.unravel_index(cells, (2, *[side] * dimension)), 1)
    return Lattice(torch.from_numpy(coord), 2, (side,) * dimension)


def results(
    backend: sparse.convolution.Resolved,
    kernel_map: sparse.KernelMap,
    num_in: int,
    num_out: int,
    dtype: torch.dtype,
) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    feat = torch.randn(kernel_map.num_source, num_in, generator=random).to(dtype).requires_grad_()
    weight = torch.randn(kernel_map.num_offsets, num_in, num_out, generator=random).to(dtype).requires_grad_()
    grad = torch.randn(kernel_map.num_target, num_out, generator=random).to(dtype)
    out = _apply(backend, feat, weight, kernel_map)
    return [out.detach(), *torch.autograd.grad((out * grad).sum(), (feat, weight))]


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(
    ("num_voxels", "dimension", "kernel", "num_in", "num_out", "dtype", "tolerance"),
    [
        (150, 3, 3, 1, 20, torch.float64, 1e-12),
        (60, 2, 5, 70, 66, torch.float64, 1e-12),
        (20, 3, 5, 16, 16, torch.float32, 1e-5),
        (70, 3, 3, 24, 16, torch.bfloat16, 2e-2),
    ],
)
def test_convolutions_and_gradients_are_those_of_plain_loops(
    num_voxels: int,
    dimension: int,
    kernel: int,
    num_in: int,
    num_out: int,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    lattice = random_lattice(num_voxels, dimension, {2: 10, 3: 6}[dimension])
    for kernel_map in (lattice.neighbours(kernel), lattice.coarser.down, lattice.coarser.up):
        found = results("triton", kernel_map, num_in, num_out, dtype)
        wanted = results("torch", kernel_map, num_in, num_out, torch.float64)
        for ours, theirs in zip(found, wanted, strict=True):
            assert ours.dtype == dtype
            assert (ours.double() - theirs).abs().max() <= tolerance * theirs.abs().max()


@pytest.mark.usefixtures("interpreted")
def test_a_lattice_without_voxels_has_no_output_and_no_gradient() -> None:
    kernel_map = Lattice(torch.zeros((0, 4), dtype=torch.int64), 1, (4, 4, 4)).neighbours(3)
    out, grad_feat, grad_weight = results("triton", kernel_map, 3, 5, torch.float32)
    assert out.shape == (0, 5)
    assert grad_feat.shape == (0, 3)
    assert not grad_weight.any()


@pytest.mark.usefixtures("interpreted")
def test_sums_over_several_chunks_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = results("triton", random_lattice(90, 3, 5).neighbours(3), 4, 6, torch.float64)
    monkeypatch.setattr(implicit, "PAIRS_PER_CHUNK", 7)
    split = results("triton", random_lattice(90, 3, 5).neighbours(3), 4, 6, torch.float64)
    for ours, theirs in zip(split, whole, strict=True):
        assert (ours - theirs).abs().max() <= 1e-12 * theirs.abs().max()


@pytest.mark.parametrize("kernel", [3, 5])
def test_rows_hold_the_pairs_of_the_map(kernel: int) -> None:
    lattice = random_lattice(400, 3, 9)
    for kernel_map in (lattice.neighbours(kernel), lattice.coarser.down, lattice.coarser.up):
        wanted = {
            (k, int(source), int(target))
            for k, sources, targets in kernel_map.pairs
            for source, target in zip(sources, targets, strict=True)
        }
        source_KV, rows_V, offsets_BK, counts_B = kernel_map.rows
        found = set()
        for block, count in enumerate(counts_B.tolist()):
            for place in range(block * implicit.ROWS_PER_BLOCK, (block + 1) * implicit.ROWS_PER_BLOCK):
                if place >= len(rows_V):
                    break
                for k in offsets_BK[block, :count].tolist():
                    if source_KV[k, place] >= 0:
                        found.add((k, int(source_KV[k, place]), int(rows_V[place])))
        assert found == wanted
        assert sorted(rows_V.tolist()) == list(range(kernel_map.num_target))


def test_without_gpu_and_interpreter_the_backend_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert "computes on GPUs" in (sparse.self_test("triton") or "")


def test_auto_on_gpus_takes_spconv_where_triton_is_at_fault(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults = {"triton": "output is wrong", "spconv": None}
    monkeypatch.setattr("lartpc.sparse.convolution.self_test", lambda backend, _: faults[backend])
    sparse.resolve.cache_clear()
    assert sparse.resolve("auto", "cuda") == "spconv"
    assert "falls back to spconv; triton: output is wrong" in caplog.text
    sparse.resolve.cache_clear()
    faults["spconv"] = "cannot be imported"
    with pytest.warns(RuntimeWarning, match="falls back to torch, which is slower; triton: .*spconv: cannot"):
        assert sparse.resolve("auto", "cuda") == "torch"
    sparse.resolve.cache_clear()


COMPILE = """
import triton, warnings
from triton import language
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from lartpc.sparse import implicit_kernels

TYPES = {"sums": "*fp32", "feat": "*bf16", "grad": "*bf16", "weight": "*bf16", "out": "*bf16"}
SETTINGS = dict(
    WIDE=False, FACTOR=language.bfloat16, PRECISION="ieee", ROWS=64, PAIRS=32, TILE_IN=64, TILE_OUT=64, SIZE=1024
)
warnings.simplefilter("ignore")
for name in ("convolve", "convolve_weight", "add_chunks"):
    kernel = getattr(implicit_kernels, name)
    signature, constants = {}, {}
    for place, argument in enumerate(kernel.arg_names):
        number = "i32" if argument.startswith("num_") else "*i32"
        signature[argument] = "constexpr" if argument in SETTINGS else TYPES.get(argument, number)
        if argument in SETTINGS:
            constants[place,] = SETTINGS[argument]
    made = triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 80, 32))
    print(name, "mma.sync" in made.asm["ptx"], len(made.asm["cubin"]) > 0)
"""


def test_kernels_compile_for_a_gpu_and_use_its_units_for_matrices(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    script = tmp_path / "compile.py"
    script.write_text(COMPILE)
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    found = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, env=environment
    )
    assert found.stdout.splitlines() == [
        "convolve True True",
        "convolve_weight True True",
        "add_chunks False True",
    ]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_the_self_test_passes() -> None:
    code = "import torch; from lartpc import sparse; print(sparse.self_test('triton', torch.device('cuda')))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["None"]
