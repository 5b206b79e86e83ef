"""The verb `export-model`: a network as a program that other frameworks run without this package."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lartpc import __version__, config
from lartpc.atomic import need_room, replacing
from lartpc.nets.portable import SIDE, PortableSegmenter
from lartpc.run.weights import content_digest, load_weights, read_weights
from lartpc.stages import stage
from lartpc.vocab import Semantic

INPUTS = ("coord", "energy")
SUFFIXES = {".ts": "TorchScript", ".pt2": "ExportedProgram", ".onnx": "ONNX"}
DESCRIPTION = "lartpc.json"
"""Name of what the file says of itself: an extra file of TorchScript and ExportedProgram, a property of ONNX."""

FEWEST = 3
"""Voxels that a batch must have at least: torch takes sizes of 0, 1 and 2 for constants."""

OPSET = 18
NUM_TRACED, NUM_TRIED = 700, 400
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Written:
    """What was written: the kind of program, and how far its results lie from the network's, relative."""

    kind: str
    deviation: float

    def __str__(self) -> str:
        return f"{self.kind}; run again, its results are within {self.deviation:.1g} of the network's"


def export_model(weights: Path, out: Path) -> Written:
    """Write the network of a weights file as a program, and run it once on an image of another size.

    Parameters
    ----------
    weights
        File of `lartpc train segment`.
    out
        File to write; its suffix, of `SUFFIXES`, says the kind.

    Raises
    ------
    ValueError
        The suffix is none of those, the weights are of another stage, or the program says something else than the
        network.
    """
    kind = SUFFIXES.get(out.suffix)
    if kind is None:
        known = ", ".join(f"{suffix} ({name})" for suffix, name in SUFFIXES.items())
        raise ValueError(f"{out}: the name must end with one of {known}")
    content = read_weights(weights)
    row = stage(str(content["stage"]))
    if row.name != "segment":
        raise ValueError(
            f"{weights} holds weights of '{row.name}', of which no program can be written: its network sees features "
            "of clusters that are computed outside of it; only 'segment' goes from voxels to its results"
        )
    cfg = config.Segment.model_validate(config.completed(row.name, json.loads(content["settings"])))
    net = load_weights(weights, row, cfg, content).cpu()
    module = row.module().portable(net, cfg, by_gathers=kind == "ONNX").requires_grad_(False)
    said = _describe(module, cfg, content)
    with replacing(out) as part:
        need_room(out)  # torch's own writers say nothing of the disk
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, of its exporters
            {"TorchScript": _torchscript, "ExportedProgram": _exported, "ONNX": _onnx}[kind](
                module, part, said
            )
            deviation = _try(kind, part, module)
        if not deviation <= TOLERANCE:
            raise ValueError(f"{out}: the program is off by {deviation:.1g} (relative), so it is not written")
    return Written(kind, deviation)


def _describe(module: PortableSegmenter, cfg: config.Segment, content: Mapping[str, Any]) -> dict[str, str]:
    said = {
        "writer": f"lartpc {__version__}",
        "stage": "segment",
        "weights_digest": content_digest(content),
        "inputs": {
            "coord": f"int64 (V, {1 + cfg.dimension}): event in the batch, then voxel indices, 0 to {SIDE - 1}; "
            "each voxel once, in any order",
            "energy": "float32 (V,) [MeV]",
        },
        "outputs": list(module.outputs),
        "classes": [kind.name.lower() for kind in Semantic],
        "fewest_voxels": FEWEST,
        "settings": json.loads(content["settings"]),
        "domain": json.loads(content.get("domain") or "null"),
    }
    return {DESCRIPTION: json.dumps(said, sort_keys=True)}


def _image(num: int, dimension: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the voxels of tracks of two events, some hundreds, to trace a program with or to try it."""
    random = torch.Generator().manual_seed(seed)
    steps = torch.randint(-1, 2, (num, dimension), generator=random)
    line_VD = 300 + steps.cumsum(0)
    event_V1 = (torch.arange(num) % 2)[:, None]
    coord_VD1 = torch.unique(torch.cat([event_V1, line_VD], 1), dim=0)
    coord_VD1 = coord_VD1[torch.randperm(len(coord_VD1), generator=random)]
    return coord_VD1, torch.rand(len(coord_VD1), generator=random) * 2


def _torchscript(module: PortableSegmenter, part: Path, said: dict[str, str]) -> None:
    jit: Any = torch.jit
    traced = jit.trace(module, _image(NUM_TRACED, module.dimension, 1), check_trace=False)
    jit.save(traced, part, _extra_files=said)


def _exported(module: PortableSegmenter, part: Path, said: dict[str, str]) -> None:
    with part.open("wb") as file:
        torch.export.save(_program(module), file, extra_files=said)


def _program(module: PortableSegmenter) -> torch.export.ExportedProgram:
    size = torch.export.Dim("V", min=FEWEST)
    example = _image(NUM_TRACED, module.dimension, 1)
    return torch.export.export(module, example, dynamic_shapes=({0: size}, {0: size}))


def _onnx(module: PortableSegmenter, part: Path, said: dict[str, str]) -> None:
    import onnx
    import onnxscript  # noqa: F401  torch needs it, and says so less plainly

    program: Any = torch.onnx.export(
        _program(module),
        input_names=list(INPUTS),
        output_names=list(module.outputs),
        opset_version=OPSET,
        dynamo=True,
        optimize=False,  # takes minutes, and runtimes do it when they load
        verbose=False,
    )
    model = program.model_proto
    onnx.helper.set_model_props(model, said)
    part.write_bytes(model.SerializeToString())


def _try(kind: str, part: Path, module: PortableSegmenter) -> float:
    """Run a program on an image of another size, and return its largest relative deviation."""
    coord, energy = _image(NUM_TRIED, module.dimension, 2)
    wanted = module(coord, energy)
    found: Any
    if kind == "TorchScript":
        jit: Any = torch.jit
        found = jit.load(part)(coord, energy)
    elif kind == "ExportedProgram":
        with part.open("rb") as file:
            found = torch.export.load(file).module()(coord, energy)
    else:
        import onnxruntime

        run = onnxruntime.InferenceSession(part.read_bytes(), providers=["CPUExecutionProvider"])
        values = run.run(None, {"coord": coord.numpy(), "energy": energy.numpy()})
        found = [torch.from_numpy(value) for value in values]
    return max(
        float(((theirs - ours).abs() / ours.abs().clamp(min=1)).max())
        for ours, theirs in zip(wanted, found, strict=True)
    )
