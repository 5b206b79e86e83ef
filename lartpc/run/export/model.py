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
from lartpc.run.export.programs import FEWEST, MOST, Program, program_of
from lartpc.run.weights import content_digest, load_weights, read_weights
from lartpc.stages import stage

STAGES = ("segment", "cluster", "interact")
"""Stages whose networks are programs."""

SUFFIXES = {".ts": "TorchScript", ".pt2": "ExportedProgram", ".onnx": "ONNX"}
DESCRIPTION = "lartpc.json"
"""Name of what the file says of itself: an extra file of TorchScript and ExportedProgram, a property of ONNX."""

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
    """Write the network of a weights file as a program, and run it once on inputs of another size.

    Parameters
    ----------
    weights
        File of `lartpc train`, of one of `STAGES`.
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
    if row.name not in STAGES:
        raise ValueError(
            f"{weights} holds weights of '{row.name}', of which no program can be written; those of "
            f"{', '.join(STAGES)} can"
        )
    cfg = config.SECTIONS[row.name].model_validate(
        config.completed(row.name, json.loads(content["settings"]))
    )
    net = load_weights(weights, row, cfg, content).cpu()
    program = program_of(row, net, cfg, by_gathers=kind == "ONNX")
    said = _describe(program, row.name, content)
    with replacing(out) as part:
        need_room(out)  # torch's own writers say nothing of the disk
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, of its exporters
            {"TorchScript": _torchscript, "ExportedProgram": _exported, "ONNX": _onnx}[kind](
                program, part, said
            )
            deviation = _try(kind, part, program)
        if not deviation <= TOLERANCE:
            raise ValueError(f"{out}: the program is off by {deviation:.1g} (relative), so it is not written")
    return Written(kind, deviation)


def _describe(program: Program, name: str, content: Mapping[str, Any]) -> dict[str, str]:
    said = {
        "writer": f"lartpc {__version__}",
        "stage": name,
        "weights_digest": content_digest(content),
        "inputs": program.inputs,
        "outputs": list(program.module.outputs),
        **program.notes,
        "settings": json.loads(content["settings"]),
        "domain": json.loads(content.get("domain") or "null"),
    }
    return {DESCRIPTION: json.dumps(said)}  # inputs and outputs in their order


def _torchscript(program: Program, part: Path, said: dict[str, str]) -> None:
    jit: Any = torch.jit
    traced = jit.trace(program.module, program.example(NUM_TRACED, 1), check_trace=False)
    jit.save(traced, part, _extra_files=said)


def _exported(program: Program, part: Path, said: dict[str, str]) -> None:
    with part.open("wb") as file:
        torch.export.save(_program(program), file, extra_files=said)


def _program(program: Program) -> torch.export.ExportedProgram:
    named = {name for axes in program.sizes for name in axes.values()}
    size = {name: torch.export.Dim(name, min=FEWEST, max=MOST) for name in named}
    shapes = tuple({axis: size[name] for axis, name in axes.items()} for axes in program.sizes)
    return torch.export.export(program.module, program.example(NUM_TRACED, 1), dynamic_shapes=shapes)


def _onnx(program: Program, part: Path, said: dict[str, str]) -> None:
    import onnx
    import onnxscript  # noqa: F401  torch needs it, and says so less plainly

    written: Any = torch.onnx.export(
        _program(program),
        input_names=list(program.inputs),
        output_names=list(program.module.outputs),
        opset_version=OPSET,
        dynamo=True,
        optimize=False,  # takes minutes, and runtimes do it when they load
        verbose=False,
    )
    model = written.model_proto
    onnx.helper.set_model_props(model, said)
    part.write_bytes(model.SerializeToString())


def _try(kind: str, part: Path, program: Program) -> float:
    """Run a program on inputs of another size, and return its largest relative deviation."""
    given = program.example(NUM_TRIED, 2)
    wanted: tuple[Tensor, ...] = program.module(*given)
    found: Any
    if kind == "TorchScript":
        jit: Any = torch.jit
        found = jit.load(part)(*given)
    elif kind == "ExportedProgram":
        with part.open("rb") as file:
            found = torch.export.load(file).module()(*given)
    else:
        import onnxruntime

        run = onnxruntime.InferenceSession(part.read_bytes(), providers=["CPUExecutionProvider"])
        values = run.run(
            None, {name: value.numpy() for name, value in zip(program.inputs, given, strict=True)}
        )
        found = [torch.from_numpy(value) for value in values]
    return max(
        float(((theirs - ours).abs() / ours.abs().clamp(min=1)).max())
        for ours, theirs in zip(wanted, found, strict=True)
    )
