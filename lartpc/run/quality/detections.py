"""`lartpc detections`: boxes of neutrinos and origins of pixels against the truth, and beside the chain's interactions.

Shape suffixes: T true boxes, R boxes that were found, V voxels or pixels, K origins.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lartpc import config
from lartpc.atomic import replacing
from lartpc.event import Event
from lartpc.ingest.detector.project import Plane
from lartpc.nets.detector import overlaps
from lartpc.stages.detect import RIGHT_OVERLAP
from lartpc.store import NUM_PLANES, Events, open_events
from lartpc.truth import neutrino_boxes, origins
from lartpc.vocab import NONE, Current, Origin, Semantic

Floats = NDArray[np.float64]

SCORES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Least scores at which efficiency and purity are stated."""

TITLE = "# Neutrinos found in images"

READS = ("event", "voxel", "truth_voxel", "truth_interaction", "truth_neutrino", "origin", "detection")
CHAIN_READS = ("voxel", "semantic", "group", "identity", "interaction")
MANY = 2
"""Primary particles that a cosmic muon does not have."""

FLAVOURS = {12: "νe", 14: "νμ", 16: "ντ"}
NO_NEUTRINO, SEVERAL, UNKNOWN = "no neutrino", "several", "unknown"
"""Kinds of images beside those with one neutrino, by its flavour and current."""

TARGETS = {"accuracy": "> 95 %", "iou_cosmic": "> 90 %", "iou_neutrino": "> 70 %"}
"""What SBND's CosmicTagger is asked for (Front. Artif. Intell. 4 (2021) 649917)."""


WORDS = {
    "accuracy": "of the right origin, but for background",
    "iou_cosmic": "cosmic: IoU of all pixels",
    "iou_cosmic_of_images": "— mean of images",
    "iou_neutrino": "neutrino: IoU of all pixels",
    "iou_neutrino_of_images": "— mean of images",
}

RIGHT_SCORE = 0.5
"""Score at which boxes are counted by kind of image, beside the least one of SCORES."""


@dataclass
class Found:
    """Boxes that were found in images, against the true ones: one row each, the best first in each image.

    `overlap` and `away` are the IoU with the true box that each is right about, and the distance of the vertices
    [voxel], nan where it is right about none.
    """

    score: list[float] = field(default_factory=list)
    overlap: list[float] = field(default_factory=list)
    away: list[float] = field(default_factory=list)
    num_true: int = 0

    def add(self, boxes: tuple[Floats, Floats, Floats, Floats], true: tuple[Floats, Floats, Floats]) -> None:
        """Add the boxes of an image, corners, vertices (R, 3) and scores (R,), and its true ones."""
        low, high, vertex, score = boxes
        left = list(range(len(true[0])))
        iou_RT = overlaps(*map(torch.from_numpy, (low, high, true[0], true[1]))).numpy()
        for row in np.argsort(-score, kind="stable"):
            iou = iou_RT[row, left]
            best = int(iou.argmax()) if len(left) else NONE
            is_right = best != NONE and iou[best] >= RIGHT_OVERLAP
            self.score.append(float(score[row]))
            self.overlap.append(float(iou[best]) if is_right else np.nan)
            away = np.linalg.norm(vertex[row] - true[2][left[best]]) if is_right else np.nan
            self.away.append(float(away))
            if is_right:
                del left[best]
        self.num_true += len(true[0])

    def at(self, least: float) -> dict[str, float]:
        """Return efficiency, purity, mean IoU and median distance of vertices of the boxes with a least score."""
        kept = np.asarray(self.score) >= least
        right, away = np.asarray(self.overlap)[kept], np.asarray(self.away)[kept]
        is_right = np.isfinite(right)
        return {
            "num": int(kept.sum()),
            "efficiency": _share(is_right.sum(), self.num_true),
            "purity": _share(is_right.sum(), kept.sum()),
            "iou": float(right[is_right].mean()) if is_right.any() else np.nan,
            "vertex": float(np.median(away[is_right])) if is_right.any() else np.nan,
        }

    def average_precision(self) -> float:
        """Return the area below the curve of purity over efficiency, purity being the largest at no less efficiency."""
        order = np.argsort(-np.asarray(self.score), kind="stable")
        right = np.isfinite(np.asarray(self.overlap, np.float64)[order])
        purity = np.cumsum(right) / np.arange(1, len(right) + 1)
        best = np.maximum.accumulate(purity[::-1])[::-1]
        return _share(float(best[right].sum()), self.num_true)


@dataclass
class Pixels:
    """Pixels by true and predicted origin, of all images (K, K), and the IoU of each image that has the origin."""

    confusion_KK: NDArray[np.int64] = field(default_factory=lambda: np.zeros((len(Origin),) * 2, np.int64))
    of_images: dict[str, list[float]] = field(default_factory=lambda: {kind.name: [] for kind in Origin})
    num_images: int = 0

    def add(self, true_V: NDArray[np.int64], label_V: NDArray[np.int64]) -> None:
        """Add the pixels of an image; those whose origin is not known do not count."""
        known = true_V != NONE
        cell = true_V[known] * len(Origin) + label_V[known]
        own_KK = np.bincount(cell, minlength=len(Origin) ** 2).reshape(len(Origin), len(Origin))
        self.confusion_KK += own_KK
        self.num_images += 1
        for kind in Origin:
            if own_KK[kind].sum():
                self.of_images[kind.name].append(_iou(own_KK, kind))

    def figures(self) -> dict[str, float]:
        """Return accuracy of what is not background, and IoU, of all pixels and as means over images."""
        real_KK = self.confusion_KK[Origin.COSMIC :]
        right = real_KK[:, Origin.COSMIC :].trace()
        found = {"accuracy": _share(right, real_KK.sum())}
        for kind in (Origin.COSMIC, Origin.NEUTRINO):
            of_images = self.of_images[kind.name]
            found[f"iou_{kind.name.lower()}"] = _iou(self.confusion_KK, kind)
            found[f"iou_{kind.name.lower()}_of_images"] = float(np.mean(of_images)) if of_images else np.nan
        return found


def detections(
    files: Sequence[Path], out: Path, chain: Sequence[Path] = (), *, curve: Path | None = None
) -> str:
    """Write the table of boxes and pixels (Markdown), and return it.

    Parameters
    ----------
    files
        Files of `ingest` and `detect`, of any shards.
    chain
        Files of the chain, `ingest` to `interact`, on 3D images or points of the same events, whose interactions
        are put beside them, as the planes see them.
    curve
        Where purity is drawn over efficiency (PNG), for each least score of a box; None: nowhere.

    Raises
    ------
    ValueError
        There is no image with the truth of neutrinos and detections, or the chain's files are of other events.
    """
    found: dict[int, Found] = {}
    pixels: dict[int, Pixels] = {}
    of_kind: dict[str, tuple[Found, Pixels]] = {}
    beside = {"interactions of the chain": Found(), f"— with {MANY} primaries and more": Found()}
    num_images = 0
    others = _by_shard(chain)
    weights: set[str] = set()
    sizes: set[int] = set()
    for uid, paths in _by_shard(files).items():
        with open_events(*paths) as images:
            images.require(READS)
            about = images.attributes()["detect"]
            weights.add(str(about["weights"]))
            min_voxels = int(json.loads(str(about["config"]))["min_voxels"])
            sizes.add(min_voxels)
            set_aside = images.quarantined()
            chains = _boxes_of_chain(images, others[uid]) if uid in others else None
            if chain and chains is None:
                raise ValueError(f"--chain has no files of the shard {uid}")
            for event in images.stream(READS):
                theirs = next(chains) if chains else None
                if event.entry in set_aside:
                    continue
                num_images += 1
                plane = int(event["event"]["plane"][0])
                true = neutrino_boxes(event, min_voxels)
                wanted, label = origins(event), np.asarray(event["origin"]["label"], np.int64)
                mine = of_kind.setdefault(kind_of(event), (Found(), Pixels()))
                for boxes in (found.setdefault(plane, Found()), mine[0]):
                    boxes.add(_boxes(event), true)
                for one_kind in (pixels.setdefault(plane, Pixels()), mine[1]):
                    one_kind.add(wanted, label)
                if theirs:
                    for one, of_chain in zip(beside.values(), theirs, strict=True):
                        one.add(of_chain, true)
    if not num_images:
        raise ValueError("there is no image to judge")
    if len(sizes) > 1:
        raise ValueError(f"the files of detect have several detect.min_voxels: {sorted(sizes)}")
    lines = _lines(found, pixels, beside if chain else {}, num_images, sizes.pop())
    lines += _lines_of_kinds(of_kind)
    text = "\n".join([TITLE, "", *lines, f"Made with {weights_line(weights)}.", ""])
    with replacing(out) as part:
        part.write_text(text)
    if curve:
        from lartpc.run.quality.detection_curve import draw

        shown = {f"plane {plane}": one for plane, one in sorted(found.items())}
        shown |= {kind: of_kind[kind][0] for kind in _kinds(of_kind) if of_kind[kind][0].num_true}
        draw(shown, beside if chain else {}, curve)
    return text


def kind_of(event: Event) -> str:
    """Return what an image holds beside cosmic muons: the flavour and current of its neutrino, or none or several."""
    neutrino = event["truth_neutrino"]
    if len(neutrino["pdg"]) != 1:
        return SEVERAL if len(neutrino["pdg"]) else NO_NEUTRINO
    if neutrino["current"][0] == Current.NC:
        return "NC"
    flavour = FLAVOURS.get(abs(int(neutrino["pdg"][0])))
    return f"{flavour} CC" if flavour and neutrino["current"][0] == Current.CC else UNKNOWN


def _kinds(of_kind: Mapping[str, object]) -> list[str]:
    """Return the kinds of images that there are, in the order of the page."""
    order = [*(f"{flavour} CC" for flavour in FLAVOURS.values()), "NC", SEVERAL, NO_NEUTRINO, UNKNOWN]
    return [kind for kind in order if kind in of_kind]


def weights_line(weights: Iterable[str]) -> str:
    """Return how a page names the weights that it is of, by their digests."""
    return f"weights of `detect` {', '.join(f'`{digest}`' for digest in sorted(weights))}"


def _boxes(event: Event) -> tuple[Floats, Floats, Floats, Floats]:
    columns = event["detection"]
    low, high, vertex, score = (
        np.asarray(columns[name], np.float64) for name in ("low", "high", "vertex", "score")
    )
    return low, high, vertex, score


def _by_shard(files: Iterable[Path]) -> dict[str, list[Path]]:
    shards: dict[str, list[Path]] = {}
    for path in files:
        with open_events(path) as events:
            shards.setdefault(events.file_uid, []).append(path)
    return shards


def _boxes_of_chain(
    images: Events, paths: Sequence[Path]
) -> Iterator[list[tuple[Floats, Floats, Floats, Floats]]]:
    """Yield of each image the boxes of the chain's interactions in its plane: of all, and with many primaries."""
    about = images.attributes()["ingest"]
    angles = config.Ingest.model_validate(json.loads(str(about["config"]))).wires.angles_deg
    num = int(about.get(NUM_PLANES, 0))
    with open_events(*paths) as events:
        events.require(CHAIN_READS)
        if (
            len(angles) != num
            or not num
            or [entry * num for entry in events.entries] != images.entries[::num].tolist()
        ):
            raise ValueError(f"{paths[0]} and the images of planes are not of the same events")
        planes = [Plane(angle, events.box, images.box) for angle in angles]
        for event in events.stream(CHAIN_READS):
            many = np.asarray(event["interaction"]["num_primaries"]) >= MANY
            for plane in planes:
                own, boxes = _seen(event, plane)
                kept = many[own]
                low, high, vertex, score = boxes
                yield [boxes, (low[kept], high[kept], vertex[kept], score[kept])]


def _seen(event: Event, plane: Plane) -> tuple[NDArray[np.int64], tuple[Floats, Floats, Floats, Floats]]:
    """Return the interactions of an event that a plane sees something of, and their boxes."""
    owner = np.append(np.asarray(event["identity"]["interaction"], np.int64), NONE)
    of_V = owner[np.asarray(event["group"]["particle"], np.int64)]
    of_V = np.where(event["semantic"]["label"] == Semantic.LOW_ENERGY, NONE, of_V)
    pixel_V3 = np.floor(plane.see(np.asarray(event["voxel"]["coord"], np.float64) + 0.5))
    vertex = plane.see(event["interaction"]["vertex"])
    own = np.unique(of_V[of_V != NONE])
    low = np.array([pixel_V3[of_V == row].min(0) for row in own]).reshape(-1, 3)
    high = np.array([pixel_V3[of_V == row].max(0) + 1 for row in own]).reshape(-1, 3)
    return own, (low, high, vertex[own], np.ones(len(own)))


def _lines(
    found: Mapping[int, Found],
    pixels: Mapping[int, Pixels],
    beside: Mapping[str, Found],
    num_images: int,
    min_voxels: int,
) -> list[str]:
    """Return the lines of the page."""
    planes = sorted(found)
    everything, all_pixels = Found(), Pixels()
    for plane in planes:
        for name in ("score", "overlap", "away"):
            getattr(everything, name).extend(getattr(found[plane], name))
        everything.num_true += found[plane].num_true
        all_pixels.confusion_KK += pixels[plane].confusion_KK
        for name, values in pixels[plane].of_images.items():
            all_pixels.of_images[name] += values
    lines = [
        f"{num_images:,} images with {everything.num_true:,} neutrinos of {min_voxels} voxels and more. A box is",
        f"right if it overlaps a true one by {RIGHT_OVERLAP:g} (IoU), each true one once.",
        "",
        "| boxes | number | efficiency | purity | IoU of the right ones, mean | their vertices away, median [voxel] |",
        "|---|---|---|---|---|---|",
        *(_row(f"score ≥ {least:g}", everything.at(least)) for least in SCORES),
        *(_row(name, one.at(0.0)) for name, one in beside.items()),
        "",
        f"Average precision {_percent(everything.average_precision())}; "
        + ", ".join(f"plane {plane} {_percent(found[plane].average_precision())}" for plane in planes),
        "",
        "| pixels | all | " + " | ".join(f"plane {plane}" for plane in planes) + " | CosmicTagger's target |",
        "|---|---|" + "---|" * len(planes) + "---|",
    ]
    columns = [all_pixels.figures(), *(pixels[plane].figures() for plane in planes)]
    lines += [
        f"| {text} | {' | '.join(_percent(one[name]) for one in columns)} | {TARGETS.get(name, '')} |"
        for name, text in WORDS.items()
    ]
    return [*lines, ""]


def _lines_of_kinds(of_kind: Mapping[str, tuple[Found, Pixels]]) -> list[str]:
    """Return the lines of the table by what the images hold beside cosmic muons."""
    kinds = _kinds(of_kind)
    boxes, figures = ([of_kind[kind][0] for kind in kinds], [of_kind[kind][1].figures() for kind in kinds])
    rows = {
        "boxes: average precision": [one.average_precision() for one in boxes],
        **{
            f"— {name}, score ≥ {least:g}": [one.at(least)[name] for one in boxes]
            for least in (SCORES[0], RIGHT_SCORE)
            for name in ("efficiency", "purity")
        },
        **{
            f"pixels {text}" if name == "accuracy" else text: [one[name] for one in figures]
            for name, text in WORDS.items()
            if not name.endswith("of_images")
        },
        **{
            f"{text.split(':')[0]}: mean of images": [one[f"{name}_of_images"] for one in figures]
            for name, text in WORDS.items()
            if f"{name}_of_images" in WORDS
        },
    }
    return [
        "| images with | " + " | ".join(f"{kind} ({of_kind[kind][1].num_images})" for kind in kinds) + " |",
        "|---|" + "---|" * len(kinds),
        *(f"| {text} | {' | '.join(map(_percent, values))} |" for text, values in rows.items()),
        "",
    ]


def _row(name: str, at: Mapping[str, float]) -> str:
    vertex = f"{at['vertex']:.1f}" if np.isfinite(at["vertex"]) else ""
    return (
        f"| {name} | {at['num']:,} | {_percent(at['efficiency'])} | {_percent(at['purity'])} | "
        f"{_percent(at['iou'])} | {vertex} |"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if np.isfinite(share) else ""


def _iou(confusion_KK: NDArray[np.int64], kind: Origin) -> float:
    both = confusion_KK[kind, kind]
    return _share(both, confusion_KK[kind].sum() + confusion_KK[:, kind].sum() - both)


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
