"""`lartpc release`: trained weights in half precision, with a card that says what they are and how good.

The card is written from what the weights files carry and from the figures of a production that was
reconstructed with them; nothing on it is typed by hand.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lartpc.atomic import replacing
from lartpc.config import SECTIONS
from lartpc.provenance import fingerprint
from lartpc.run.collect import read_summary
from lartpc.run.domain import domain_of, in_words
from lartpc.run.report import sections
from lartpc.run.weights import load_weights, read_weights, write_weights
from lartpc.stages import CHAIN, OPTIONAL, Stage, stage
from lartpc.store import open_events
from lartpc.text import text_of

CARD = "README.md"
FIGURES = "## Figures"


def release(
    sources: Sequence[Path], out: Path, *, events: Sequence[Path] = (), generator: str = ""
) -> dict[Path, bool]:
    """Write weights in half precision, one file `<stage>.pt` for each stage.

    Parameters and moving averages of the network are rounded to 16 bits, which halves the file; computing
    goes on in single precision. Weights that are released already, also those that older versions wrote
    without a seal, keep their numbers and their date.

    Parameters
    ----------
    events
        Event files like those that the weights were trained on: what their domain is measured from where the
        weights do not state it, or state another.
    generator
        What made these events, where their files do not state it.

    Returns
    -------
    For each file whether it holds the numbers that stood in it before.

    Raises
    ------
    ValueError
        A file is not a weights file, a stage is given twice, or a value does not fit in half precision.
    """
    shards: dict[str, list[Path]] = {}
    for path in events:
        with open_events(path) as opened:
            shards.setdefault(opened.file_uid, []).append(path)
    domain = domain_of(list(shards.values()), generator) if shards else None
    written: dict[Path, bool] = {}
    contents: dict[Path, dict[str, Any]] = {}
    for source in sources:
        content = read_weights(source, unsealed=True)
        path = out / f"{content['stage']}.pt"
        if path in written:
            raise ValueError(
                f"{source}: weights of '{content['stage']}' are given twice; give one file a stage"
            )
        content["state"] = {key: _half(source, key, value) for key, value in content["state"].items()}
        content["provenance"] = _without_own_paths(content["provenance"])
        content["released"] = content.get("released") or f"{datetime.now(UTC):%Y-%m-%d}"
        content["domain"] = json.dumps(domain, sort_keys=True) if domain else content.get("domain", "")
        before = read_weights(path, unsealed=True)["state"] if path.is_file() else {}
        written[path] = before.keys() == content["state"].keys() and all(
            torch.equal(before[name], tensor) for name, tensor in content["state"].items()
        )
        contents[path] = content
    for path, content in contents.items():  # only now: all of them can be
        write_weights(path, content)
    return written


def write_card(
    folder: Path, dataset: Path | None, *, same_numbers: bool = False, detections: Path | None = None
) -> Path:
    """Write the card of the weights in a folder, with the figures of a dataset that was made with them.

    Those of `detect` are on a page of `lartpc detections`.

    `same_numbers` says that the weights are those that the card was of: without a dataset it keeps its figures.

    Raises
    ------
    ValueError
        The folder holds no weights, one of them does not load with its settings, or the dataset was made
        with other weights.
    """
    files = {row.name: folder / f"{row.name}.pt" for row in (*CHAIN, *OPTIONAL)}
    found = {name: path for name, path in files.items() if path.is_file()}
    if not found:
        raise ValueError(
            f"{folder} holds no weights; write them with 'lartpc release WEIGHTS --out {folder}'"
        )
    lines = [
        "# Released weights",
        "",
        "Written by `lartpc release`, from what the files carry. A configuration takes them by name; with",
        "`<stage>: {weights: null}` the stage is trained instead.",
        "",
    ]
    for name, path in found.items():
        lines += _about(stage(name), path)
    card = folder / CARD
    if dataset:
        digests = {name: fingerprint(path)[1] for name, path in found.items()}
        lines += _figures(dataset, digests, list(found.values()))
    elif detections:
        lines += _figures_of_detect(detections, found.get("detect"))
    elif same_numbers and card.is_file():
        _, heading, figures = text_of(card).partition(FIGURES)
        lines += (heading + figures).splitlines() if heading else []
    with replacing(card) as part:
        part.write_text("\n".join(lines) + "\n")
    return card


def _figures_of_detect(page: Path, weights: Path | None) -> list[str]:
    """Return a page of `lartpc detections` as a section of the card.

    Raises
    ------
    ValueError
        It is not of these weights.
    """
    from lartpc.run.quality.detections import TITLE, weights_line

    title, _, text = text_of(page).partition("\n")
    if title != TITLE or not weights:
        raise ValueError(f"{page} must be a page of 'lartpc detections', and the folder must have detect.pt")
    if weights_line([fingerprint(weights)[1]]) not in text:
        raise ValueError(
            f"{page} was not made with {weights}; run detect on its images with the released weights first"
        )
    return [FIGURES, "", *text.strip().splitlines()]


def _without_own_paths(provenance: str) -> str:
    """Return the origin (JSON) of weights, an absolute path of the file that they started from cut to its name.

    Such a path means nothing on other machines; the digest of that file is in the origin, too.
    """
    origin = json.loads(provenance)
    config = json.loads(origin.get("config", "{}"))
    start = config.get("train", {}).get("init_from")
    if not start or not Path(start).is_absolute():
        return provenance
    config["train"]["init_from"] = Path(start).name
    return json.dumps({**origin, "config": json.dumps(config, sort_keys=True)}, sort_keys=True)


def _is_planar(path: Path) -> bool:
    """Return whether weights are of images of planes."""
    return bool(json.loads(read_weights(path)["settings"]).get("dimension", 3) == 2)


def _half(path: Path, key: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    if not torch.isfinite(half).all():
        raise ValueError(f"{path}: {key} does not fit in half precision (largest {tensor.abs().max():g})")
    return half


def _about(row: Stage, path: Path) -> list[str]:
    """Return what a weights file says of itself, as a section of the card."""
    content = read_weights(path)
    settings = json.loads(content["settings"])
    net = load_weights(path, row, SECTIONS[row.name].model_validate(settings))
    origin = json.loads(content["provenance"])
    trained = json.loads(origin["config"])["train"]
    (sample, sample_digest), *_ = json.loads(origin["inputs"]).items()
    passes = origin["final"]["step"] * trained["batch_size"]
    if _is_planar(path):
        sample = sample.replace(" events", " images of planes")
    size_b, content_digest = path.stat().st_size, fingerprint(path)[1]
    size = f"{size_b / 1e6:.1f} MB" if size_b >= 1e5 else f"{size_b / 1e3:.0f} kB"
    rows = {
        "file": f"`{path.name}`, {size}, BLAKE2b-128 of its content `{content_digest}`",
        "released": content["released"],
        "network": f"{sum(p.numel() for p in net.parameters()):,} parameters; " + _inline(settings),
        "trained on": f"{sample} (content digest `{sample_digest}`), {passes:,} passes",
        "domain": in_words(json.loads(content["domain"])) if content.get("domain") else "not stated",
        "training": _inline({key: value for key, value in trained.items() if value is not None}),
        "started from": f"weights with digest `{origin['start']}`" if origin.get("start") else "nothing",
        "seed": origin["seed"],
        "code": f"lartpc {origin['package_version']}, revision {_revision(origin)}",
        "upstream": json.loads(origin["config"]).get("upstream", "—"),
        **({"mean of weights": _inline_digests(origin["averaged"])} if "averaged" in origin else {}),
        **({"warning": origin["warning"]} if "warning" in origin else {}),
    }
    return [
        f"## {row.name}",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {key} | {value} |" for key, value in rows.items()),
        "",
    ]


def _inline_digests(digests: Sequence[str]) -> str:
    return ", ".join(f"`{digest}`" for digest in digests)


def _revision(origin: Mapping[str, Any]) -> str:
    """Return the commit of the code; a copy of it that is not in git has none."""
    return f"`{origin['git_revision'][:12]}`" if origin["git_revision"] else "not known"


def _inline(values: Mapping[str, Any], prefix: str = "") -> str:
    """Return nested settings as one line of `name=value`."""
    parts = [
        _inline(value, f"{prefix}{key}.") if isinstance(value, Mapping) else f"`{prefix}{key}={value}`"
        for key, value in values.items()
    ]
    return ", ".join(part for part in parts if part)


def _varied(path: Path) -> str:
    """Return what was drawn for each file that weights learned from: detector, read-out of wires, or nothing."""
    varied = json.loads(read_weights(path).get("domain") or "{}").get("varied", {})
    return "readout" if "readout" in varied else "detector" if varied else ""


def _figures(dataset: Path, digests: Mapping[str, str], files: Sequence[Path]) -> list[str]:
    """Return the figures of a production with the weights `files` as a section of the card."""
    summary = read_summary(dataset)
    for name, here in digests.items():
        there = summary["throughput"].get(name, {}).get("weights", [])
        if there != [here]:
            raise ValueError(
                f"{dataset} was made with weights {', '.join(there) or 'unknown'} of '{name}', not with {here}; "
                "reconstruct its events with the released weights first"
            )
    samples = ", ".join(f"{name} ({row['events']:,} events)" for name, row in summary["samples"].items())
    configuration = "config/quality.yaml"
    note: list[str] = []
    varied = set(map(_varied, files))
    if "detector" in varied:
        configuration += " config/detector.yaml config/quality_detector.yaml"
        note += [
            "They are of images of one kind; the same command makes those of others, as scenarios, which are in",
            "docs/reference/results.md, too.",
            "",
        ]
    if any(map(_is_planar, files)):
        configuration += (
            " config/wire.yaml config/readout.yaml" if "readout" in varied else " config/wire.yaml"
        )
        note += [
            "Figures are of the images of planes, a voxel being a pixel. Published ones of voxels and points are of 3D",
            "images, those of voxels per image of MicroBooNE's collection plane.",
            "",
        ]
    lines = [
        FIGURES,
        "",
        f"On {samples}, of which no training saw an event:",
        f"`snakemake --profile profiles/local --configfile {configuration}` makes them again, with",
        "`--config seed=N` on other events.",
        "",
        *note,
    ]
    for title, rows in sections(summary).items():
        if title in {row.name for row in CHAIN}:
            lines += [f"| {title} | chain | on true input | published |", "| --- | --- | --- | --- |"]
            lines += [f"| {row.label} | {row.chain} | {row.on_truth} | {row.published} |" for row in rows]
            lines.append("")
    return lines[:-1]
