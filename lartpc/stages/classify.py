"""Classify: what an image is as a whole, and what each of its interactions is, by its own image.

Shape suffixes: V voxels, D dimensions, I images that are convolved (views), B images that are classified, K classes,
N interactions.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lartpc import config
from lartpc.event import MAX_COUNT, Columns, Event, conform, empty, num_rows
from lartpc.images import Image, image_of, voxels_per_side
from lartpc.nets.classifier import ImageClassifier
from lartpc.nets.graph import cross_entropy
from lartpc.nets.inputs import side_by_side
from lartpc.truth import compositions
from lartpc.vocab import NONE, Current, Flavour

SIZES = {
    "flavour": len(Flavour),
    "num_protons": MAX_COUNT + 1,
    "num_pions": MAX_COUNT + 1,
    "num_pi_zeros": MAX_COUNT + 1,
    "num_neutrons": MAX_COUNT + 1,
    "antineutrino": 2,
}
"""Classes of each head (`config.Classify.heads`)."""

COUNT_WEIGHT = 0.25
"""Weight of each loss but that of the flavour and of one's own classes, as in `interact`."""

CLASS = "class"
FLAVOURS = {14: Flavour.NUMU_LIKE, 12: Flavour.NUE_LIKE}
NEUTRON = 2112


def network(cfg: config.Classify) -> nn.Module:
    """Build the network with fresh weights."""
    return ImageClassifier(
        cfg.unet,
        sizes(cfg),
        num_hidden=cfg.num_hidden,
        num_views=len(cfg.views_deg) or 1,
        dimension=cfg.encoder_dimension,
        backend=cfg.backend,
    )


def sizes(cfg: config.Classify) -> dict[str, int]:
    """Return the heads and their numbers of classes."""
    own = {CLASS: len(cfg.classes)} if cfg.classes else {}
    return {name: SIZES[name] for name in cfg.heads} | own


def bytes_per_voxel(cfg: config.Classify) -> float:
    """Return the memory [B] that inference takes for each voxel of a batch on a CPU, in all views."""
    return cfg.unet.memory_per_voxel * max(1, len(cfg.views_deg))


def loss(net: nn.Module, batch: list[Event], cfg: config.Classify) -> dict[str, tuple[Tensor, Tensor]]:
    """Return sum and count of the cross entropies of all heads; images without a target do not count."""
    device = next(net.parameters()).device
    num_cells = voxels_per_side(batch, cfg.dimension, "classify")
    logits = net(*_inputs([image_of(event) for event in batch], num_cells, cfg, device))
    targets = [targets_of(event, cfg) for event in batch]
    terms = {}
    for name in sizes(cfg):
        target_B = torch.tensor([target[name] for target in targets], device=device)
        total, count = cross_entropy(logits[name], target_B)
        terms[name] = (total * (1.0 if name in ("flavour", CLASS) else COUNT_WEIGHT), count)
    return terms


@torch.inference_mode()
def infer(net: nn.Module, batch: list[Event], cfg: config.Classify) -> list[dict[str, Columns]]:
    """Return `image` and `interaction_image` of each event.

    The image of an interaction is that of the event without the voxels of other interactions; where there is but one,
    it is the image of the event.
    """
    device = next(net.parameters()).device
    images, first = [image_of(event) for event in batch], []
    for event in batch:
        first.append(len(images))
        images += _images_of_interactions(event)
    first.append(len(images))
    num_cells = voxels_per_side(batch, cfg.dimension, "classify")
    logits = net(*_inputs(images, num_cells, cfg, device))
    score = {name: values.softmax(1).cpu().numpy() for name, values in logits.items()}
    for (
        name,
        values,
    ) in score.items():  # nan is a head that there is not, and its highest score the first class
        if not np.isfinite(values).all():
            raise ValueError(f"the scores of {name} are not finite")
    found = []
    for row, event in enumerate(batch):
        num = num_rows(event["interaction"]) if "interaction" in event else 0
        rows_N = np.arange(first[row], first[row + 1]) if num != 1 else np.array([row])
        found.append(
            {
                "image": _columns("image", {name: values[[row]] for name, values in score.items()}, cfg),
                "interaction_image": _columns(
                    "interaction_image", {name: values[rows_N] for name, values in score.items()}, cfg
                ),
            }
        )
    return found


def metrics(pred: Event, truth: Event, cfg: config.Classify) -> dict[str, tuple[float, float]]:
    """Return figures of an image as numerator and denominator, to be summed over events.

    `<head>_accuracy` is whether a head is right; `recall_<class>` and `class_accuracy` are whether an image is of the
    class of one's own that has the highest score, of each class and of all.
    """
    image, known = pred["image"], _known_targets(truth)
    found = {}
    for name, target in known.items():
        score = image[f"{name}_score"]
        if np.isfinite(score).all():
            best = int(score[0] >= 0.5) if name == "antineutrino" else int(score[0].argmax())
            found[f"{name}_accuracy"] = (float(target >= 0 and best == target), float(target >= 0))
    if cfg.classes:
        target, best = class_of(truth, cfg), int(image["class_score"][0].argmax())
        for row, name in enumerate(cfg.classes):
            found[f"recall_{name}"] = (float(row == target == best), float(row == target))
        found["class_accuracy"] = (float(best == target), float(target >= 0))
    return found


def targets_of(event: Event, cfg: config.Classify) -> dict[str, int]:
    """Return the target of each head for an image; -1: none.

    The neutrino is the only one of the event; the flavour is that of its charged current, `nc_like` of neutral ones.
    Protons, pions and π⁰ are those that leave voxels, as in `interact`, and neutrons all that leave the vertex. Without
    the record of a neutrino, the only interaction of an image counts, and its flavour is that of its leading lepton.
    """
    known = _known_targets(event) | {CLASS: class_of(event, cfg)}
    return {name: known[name] for name in sizes(cfg)}


def class_of(event: Event, cfg: config.Classify) -> int:
    """Return the number of the class of one's own (`classify.classes`) that an image is of; -1: of none."""
    code = _neutrino_pdg(event) if cfg.classes_of == "neutrino" else _leading_pdg(event)
    of_code = {pdg: row for row, members in enumerate(cfg.classes.values()) for pdg in members}
    return of_code.get(code, NONE)


def _known_targets(event: Event) -> dict[str, int]:
    found = dict.fromkeys(SIZES, NONE)
    neutrino = event["truth_neutrino"] if "truth_neutrino" in event else empty("truth_neutrino")
    num_neutrinos = num_rows(neutrino)
    interaction = event["truth_voxel"]["interaction"]
    there = np.unique(interaction[interaction >= 0])
    if num_neutrinos > 1 or (not num_neutrinos and len(there) != 1):
        return found
    seen = int(neutrino["interaction"][0]) if num_neutrinos else int(there[0])
    counted = compositions(event, int(there.max(initial=NONE)) + 1)
    for name in ("flavour", "num_protons", "num_pions", "num_pi_zeros"):
        values = counted[name]
        found[name] = int(values[seen]) if 0 <= seen < len(values) else 0
    if num_neutrinos:
        found["flavour"] = _flavour(neutrino)
        found["num_neutrons"] = _num_neutrons(event)
        pdg = int(neutrino["pdg"][0])
        found["antineutrino"] = int(pdg < 0) if pdg else NONE
    return found


def _flavour(neutrino: Columns) -> int:
    if neutrino["current"][0] == Current.NC:
        return int(Flavour.NC_LIKE)
    return (
        int(FLAVOURS.get(abs(int(neutrino["pdg"][0])), NONE))
        if neutrino["current"][0] == Current.CC
        else NONE
    )


def _num_neutrons(event: Event) -> int:
    if "truth_primary" not in event or not num_rows(event["truth_primary"]):
        return NONE
    return min(int(np.count_nonzero(event["truth_primary"]["pdg"] == NEUTRON)), MAX_COUNT)


def _neutrino_pdg(event: Event) -> int:
    if "truth_neutrino" not in event or num_rows(event["truth_neutrino"]) != 1:
        return 0
    return int(event["truth_neutrino"]["pdg"][0])


def _leading_pdg(event: Event) -> int:
    """Return the PDG code of the primary of the highest kinetic energy, seen or not; 0: not known."""
    if "truth_primary" in event and num_rows(event["truth_primary"]):
        primary = event["truth_primary"]
        energy, pdg = primary["energy_init"], primary["pdg"]
    else:
        particle = event["truth_particle"]
        is_primary = particle["is_primary"] == 1
        energy, pdg = particle["energy_init"][is_primary], particle["pdg"][is_primary]
    return int(pdg[np.nan_to_num(energy, nan=-1.0).argmax()]) if len(pdg) else 0


def _columns(product: str, score: dict[str, NDArray[np.float32]], cfg: config.Classify) -> Columns:
    """Return the columns of a product from the scores (B, K) of the heads; nan for heads that there are not."""
    num = len(next(iter(score.values())))
    found = empty(product, num)
    for name, values in score.items():
        column = f"{name}_score"
        if name == "antineutrino":
            found[column] = values[:, 1]
            continue
        # classes of one's own may be fewer than there is room for
        found[column] = np.zeros_like(found[column])
        found[column][:, : values.shape[1]] = values
        if name == "flavour":
            found["flavour"] = values.argmax(1)
        if name == CLASS:
            found["pdg"] = np.array([members[0] for members in cfg.classes.values()])[values.argmax(1)]
    return conform(product, found)


def _images_of_interactions(event: Event) -> list[Image]:
    """Return the image of each interaction of an event with several; none for others."""
    num = num_rows(event["interaction"]) if "interaction" in event else 0
    if num < 2:
        return []
    coord_VD, energy_V = image_of(event)
    owner_V = np.append(event["identity"]["interaction"], NONE)[event["group"]["particle"]]
    kept = [(owner_V == number) | (owner_V < 0) for number in range(num)]
    return [(coord_VD[mine], energy_V[mine]) for mine in kept]


def _inputs(
    images: list[Image], num_cells: int, cfg: config.Classify, device: torch.device
) -> tuple[Tensor, Tensor, int, int]:
    """Put the voxels of images, or of their views, one after another, with the number of the image in front."""
    if cfg.views_deg:
        coarsest = 2 ** (cfg.unet.depth - 1)
        side = -(-3 * num_cells // (2 * coarsest)) * coarsest
        images = [seen(image, angle, num_cells, side) for image in images for angle in cfg.views_deg]
        num_cells = side
    return *side_by_side(images, device), len(images), num_cells


def seen(image: Image, angle_deg: float, num_cells: int, side: int) -> Image:
    """Return what a plane of wires sees of a 3D image: drift and wire (U, 2), sorted, and energies (U,).

    The wires are as far apart as voxels are long, at an angle to y, towards z; the wire through the centre of the box
    is in the middle of the view, which has `side` pixels and shows all of the box if that is √2 times its side.
    """
    coord, energy = image
    angle = np.deg2rad(angle_deg)
    across = (coord[:, 1:] + 0.5 - 0.5 * num_cells) @ np.array([-np.sin(angle), np.cos(angle)])
    # no rounding between two wires: an angle of 0 or 90 degrees has all voxels in the middle of a wire
    wire = np.clip(np.floor(np.round(across, 6) + 0.5 * side), 0, side - 1).astype(np.int64)
    pixel, of_V = np.unique(coord[:, 0].astype(np.int64) * side + wire, return_inverse=True)
    total = np.bincount(of_V, energy, minlength=len(pixel)).astype(np.float32)
    return np.stack([pixel // side, pixel % side], axis=1), total
