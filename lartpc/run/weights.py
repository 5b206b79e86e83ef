"""Weights files: a network's parameters with everything needed to refuse them where they do not fit."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lartpc.atomic import replacing
from lartpc.config import completed, shared_slice
from lartpc.event import SCHEMA_VERSION
from lartpc.stages import Stage


def save_weights(
    path: Path, stage: Stage, section: Any, state: Mapping[str, Tensor], provenance: dict[str, Any]
) -> None:
    """Write a network's state, its settings and its origin; the file appears when it is whole."""
    content = {
        "stage": stage.name,
        "stage_version": stage.version,
        "schema_version": SCHEMA_VERSION,
        "settings": json.dumps(shared_slice(section), sort_keys=True),
        "provenance": json.dumps(provenance, sort_keys=True),
        "state": {name: tensor.cpu() for name, tensor in state.items()},
    }
    write_weights(path, content)


def write_weights(path: Path, content: Mapping[str, Any]) -> None:
    """Write what `read_weights` returns; the file appears when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        torch.save(dict(content), part)


def load_weights(path: Path, stage: Stage, section: Any) -> nn.Module:
    """Build the stage's network with the weights of a file, in evaluation mode, on the best device.

    Raises
    ------
    ValueError
        The file is missing or unreadable, or was made for another stage, version or network; the
        message says which settings differ. A setting that the file does not have yet counts as its default.
    """
    content = read_weights(path, f"train them with 'lartpc train {stage.name}'")
    if (content["stage"], content["stage_version"]) != (stage.name, stage.version):
        raise ValueError(
            f"{path} holds weights of stage '{content['stage']}' version {content['stage_version']}, "
            f"not of '{stage.name}' version {stage.version}; train them again"
        )
    trained = completed(stage.name, json.loads(content["settings"]))
    wanted = shared_slice(section)
    if trained != wanted:
        differing = [
            key for key in sorted(trained.keys() | wanted.keys()) if trained.get(key) != wanted.get(key)
        ]
        detail = "; ".join(
            f"{stage.name}.{key}: {trained.get(key)} there, {wanted.get(key)} here" for key in differing
        )
        raise ValueError(
            f"{path} was trained with other settings ({detail}); set them so, or "
            f"train anew ({stage.name}.weights: null)"
        )
    bad = [name for name, tensor in content["state"].items() if not torch.isfinite(tensor).all()]
    if bad:
        raise ValueError(f"{path}: {', '.join(bad)} hold numbers that are not finite; train them again")
    net: nn.Module = stage.module().network(section)
    net.load_state_dict(content["state"])
    net.eval()
    return net.to("cuda" if torch.cuda.is_available() else "cpu")


def read_weights(path: Path, remedy: str = "name a file that 'lartpc train' wrote") -> dict[str, Any]:
    """Return the content of a weights file: stage, versions, settings and provenance (JSON), and state.

    Raises
    ------
    ValueError
        The file is missing or is no weights file; `remedy` ends the message.
    """
    if not path.is_file():
        raise ValueError(f"weights {path} do not exist; {remedy}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is not a weights file of lartpc ({error})") from error
    if not isinstance(content, dict) or "stage" not in content:
        raise ValueError(f"{path} is not a weights file of lartpc")
    return content


def warm_start(net: nn.Module, path: Path) -> str:
    """Take over all tensors of a weights file that fit by name and shape, and return which did and which not.

    Raises
    ------
    ValueError
        The file is missing or unreadable, or none of its parameters fits.
    """
    there: dict[str, Tensor] = read_weights(path, "train.init_from must name a weights file")["state"]
    here = net.state_dict()
    taken = {
        name: tensor for name, tensor in there.items() if name in here and here[name].shape == tensor.shape
    }
    trained = {name for name, _ in net.named_parameters()}
    if not trained & taken.keys():
        raise ValueError(f"train.init_from: no parameter of {path} fits this network by name and shape")
    net.load_state_dict(taken, strict=False)
    other_shape = sorted(there.keys() & here.keys() - taken.keys())
    lines = [
        f"starts from {path}: {len(trained & taken.keys())} of {len(trained)} parameters taken",
        *_listed("of another shape there", other_shape),
        *_listed("not there", sorted(trained - there.keys())),
        *_listed("not used here", sorted(there.keys() - here.keys())),
    ]
    return "\n  ".join(lines)


def _listed(what: str, names: list[str]) -> list[str]:
    return [f"{what}: {', '.join(names)}"] if names else []
