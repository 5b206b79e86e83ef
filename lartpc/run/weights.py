"""Weights files: a network's parameters with everything needed to refuse them where they do not fit."""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lartpc import sealed
from lartpc.atomic import replacing
from lartpc.config import shared_slice
from lartpc.event import SCHEMA_VERSION
from lartpc.run.weights_file import check_finite, check_fits, read_content
from lartpc.stages import Stage
from lartpc.store import VERSIONS

UNSAID = ("schema_version", "released")
"""Keys of a weights file that do not count for the digest of its content, and likewise the versions of its code."""


def save_weights(
    path: Path,
    stage: Stage,
    section: Any,
    state: Mapping[str, Tensor],
    provenance: dict[str, Any],
    domain: Mapping[str, Any] | None = None,
) -> None:
    """Write a network's state, its settings, its origin and its domain; the file appears when it is whole.

    The bytes are the same for equal trainings: `provenance` must not have times, rates or hosts in it.
    """
    content = {
        "stage": stage.name,
        "stage_version": stage.network,
        "schema_version": SCHEMA_VERSION,
        "settings": json.dumps(shared_slice(section), sort_keys=True),
        "provenance": json.dumps(provenance, sort_keys=True),
        "domain": json.dumps(domain, sort_keys=True) if domain else "",
        "state": {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()},
    }
    write_weights(path, content)


def write_weights(path: Path, content: Mapping[str, Any]) -> None:
    """Write what `read_weights` returns, with a seal (`lartpc.sealed`); the file appears when it is whole."""
    # Into memory: torch writes the name of a file into it.
    archive = io.BytesIO()
    torch.save(dict(content), archive)
    with replacing(path) as part:
        part.write_bytes(sealed.seal(archive.getvalue(), content_digest(content)))


def content_digest(content: Mapping[str, Any]) -> str:
    """Return the digest (BLAKE2b-128, hex) of what a weights file says: of all but `UNSAID` and versions."""
    found = hashlib.blake2b(digest_size=16)
    said = {name: value for name, value in content.items() if name not in ("state", *UNSAID)}
    origin = json.loads(str(said.get("provenance") or "{}"))
    said["provenance"] = {name: value for name, value in origin.items() if name not in VERSIONS}
    found.update(json.dumps(said, sort_keys=True, default=str).encode())
    for name, tensor in sorted(content["state"].items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # bfloat16 is unknown to numpy: the bytes as they are
        found.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def load_weights(
    path: Path, stage: Stage, section: Any, content: Mapping[str, Any] | None = None
) -> nn.Module:
    """Build the stage's network with the weights of a file, in evaluation mode, on the best device.

    `content` is what `read_weights` or `read_content` returned of the file, if it was read before.

    Raises
    ------
    ValueError
        The file is missing or unreadable, or was made for another stage, version or network.
    """
    content = content or read_content(path, f"train them with 'lartpc train {stage.name}'")
    check_fits(path, stage, section, content)
    net: nn.Module = stage.module().network(section)
    net.load_state_dict({name: torch.as_tensor(values) for name, values in content["state"].items()})
    net.eval()
    return net.to("cuda" if torch.cuda.is_available() else "cpu")


def refuse_not_finite(net: nn.Module) -> None:
    """Let a network raise ValueError where it would give numbers that are not finite.

    Some columns of products have nan as their word for "none", for which a network's nan would pass.
    """
    net.register_forward_hook(lambda net, given, outputs: _check_outputs(outputs))


def _check_outputs(outputs: Any) -> None:
    if isinstance(outputs, Tensor):
        if outputs.is_floating_point() and not torch.isfinite(outputs).all():
            raise ValueError("the network gives numbers that are not finite; train its weights again")
    elif isinstance(outputs, Mapping):
        _check_outputs(list(outputs.values()))
    elif isinstance(outputs, (list, tuple)):
        for one in outputs:
            _check_outputs(one)
    elif is_dataclass(outputs):
        _check_outputs(list(vars(outputs).values()))


def read_weights(
    path: Path, remedy: str = "name a file that 'lartpc train' wrote", *, unsealed: bool = False
) -> dict[str, Any]:
    """Return what `weights_file.read_content` does, with tensors in the state."""
    content = read_content(path, remedy, unsealed=unsealed)
    return content | {"state": {name: torch.from_numpy(values) for name, values in content["state"].items()}}


def warm_start(net: nn.Module, path: Path) -> str:
    """Take over all tensors of a weights file that fit by name and shape, and return which did and which not.

    Raises
    ------
    ValueError
        The file is missing or unreadable, or none of its parameters fits.
    """
    there: dict[str, Tensor] = read_weights(path, "train.init_from must name a weights file")["state"]
    check_finite(path, there)
    if callable(completed := getattr(net, "with_all_features", None)):
        there = completed(there)
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
    """Return a line that lists a few names in full, and of many the parts of the network that they are of."""
    if len(names) > 6:
        parts = Counter(name.split(".", 1)[0] for name in names)
        names = [f"{part} ({num})" for part, num in parts.items()]
    return [f"{what}: {', '.join(names)}"] if names else []
