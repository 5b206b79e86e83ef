"""How many wrong pixels of a 2D segmentation see more than one class: what a plane cannot tell.

python benchmarks/pixel_overlap.py STEPS.h5 IMAGES.h5 SEGMENTED.h5 --events 100

IMAGES.h5 are views of the first events of STEPS.h5 (`lartpc ingest --config`, `ingest.wires`), SEGMENTED.h5 what
`segment` makes of them. Each event is projected again, and the energy of each class in each pixel added up. A pixel
overlaps where the second class has at least a given share of its energy. Classes in 3D are those of voxels.

The best that labels of single pixels could say of the objects in 3D is counted, too: the share of the voxels of a
class whose pixels (by their centre) have that class in truth.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.geometry import Box
from lartpc.ingest import open_sources
from lartpc.ingest.detector.project import Plane, _deposits, flat_box
from lartpc.ingest.detector.response import detect
from lartpc.ingest.labels.labels import label
from lartpc.store import open_events
from lartpc.vocab import Semantic

CLASSES = tuple(Semantic)
SHARES = (0.5, 0.25, 0.1, 0.01)
"""Of the energy of a pixel, what is not of its class."""
THRESHOLDS_MEV = (0.0, 0.15)
"""Pixels with less are left out of the two-class figures; SparseSSNet takes pixels of 10 ADC counts and more."""
SHOWER_SIDE = {
    "deltas are track": (Semantic.SHOWER, Semantic.MICHEL),
    "deltas are shower": (Semantic.SHOWER, Semantic.MICHEL, Semantic.DELTA),
}


def classes_of_pixels(
    key_U: NDArray[np.int64],
    key_Q: NDArray[np.int64],
    class_Q: NDArray[np.int8],
    energy_Q: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the energy of each class in each pixel (U, classes); `key_U` are the pixels, in order."""
    place_Q = np.searchsorted(key_U, key_Q).clip(max=len(key_U) - 1)
    kept_Q = key_U[place_Q] == key_Q
    cell_Q = place_Q[kept_Q] * len(CLASSES) + class_Q[kept_Q]
    return np.bincount(cell_Q, energy_Q[kept_Q], len(key_U) * len(CLASSES)).reshape(-1, len(CLASSES))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("steps", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("segmented", type=Path)
    parser.add_argument("--events", type=int, default=100)
    given = parser.parse_args()
    source = open_sources([given.steps])
    num_classes = len(CLASSES)
    # of each class: pixels, wrong ones, and both again of those that overlap by a share
    pixels = np.zeros((num_classes, len(SHARES) + 1, 2))
    in_space = np.zeros((num_classes, 2))
    two = {(name, least): np.zeros(3) for name in SHOWER_SIDE for least in THRESHOLDS_MEV}
    with open_events(given.images, given.segmented) as events:
        cfg = config.Ingest.model_validate(json.loads(events.attributes()["ingest"]["config"]))
        box = Box.centred(source.centre_cm or (0.0, 0.0, 0.0), cfg.voxel_size_cm, cfg.num_voxels)
        planes = [Plane(angle, box, flat_box(box, cfg)) for angle in cfg.wires.angles_deg]
        num_planes, side = len(planes), planes[0].flat.num_voxels
        views = events.stream(["voxel", "truth_voxel", "semantic"])
        for entry in range(min(given.events, len(events) // num_planes)):
            steps, image = detect(source.read(entry), box, cfg, np.zeros((0, 2, 3)), ("overlap", entry))
            class_V = label(steps, image, box, cfg)["truth_voxel"]["semantic"]
            for plane in planes:
                view = next(views)
                if not view.num_voxels:
                    continue
                voxel_Q, energy_Q, place_2Q = _deposits(image, plane, 1)
                index_2Q = np.floor(place_2Q).astype(np.int64)
                key_U = view["voxel"]["coord"][:, 0].astype(np.int64) * side + view["voxel"]["coord"][:, 1]
                key_Q = index_2Q[0] * side + index_2Q[1]
                order_U = np.argsort(key_U)
                energy_UK = np.empty((len(key_U), num_classes))
                energy_UK[order_U] = classes_of_pixels(key_U[order_U], key_Q, class_V[voxel_Q], energy_Q)
                true_U, label_U = view["truth_voxel"]["semantic"], view["semantic"]["label"]
                wrong_U = true_U != label_U
                total_U = energy_UK.sum(1)
                other_U = 1 - energy_UK[np.arange(len(key_U)), true_U] / np.where(total_U > 0, total_U, 1)
                for column, share in enumerate((0.0, *SHARES)):
                    for kind in CLASSES:
                        of_U = (true_U == kind) & (other_U >= share)
                        pixels[kind, column] += (of_U.sum(), (of_U & wrong_U).sum())
                centre_V3 = np.floor(plane.see(image.coord + 0.5)).astype(np.int64)
                key_V = centre_V3[:, 0] * side + centre_V3[:, 1]
                place_V = np.searchsorted(key_U[order_U], key_V).clip(max=len(key_U) - 1)
                seen_V = key_U[order_U][place_V] == key_V
                of_pixel_V = true_U[order_U][place_V]
                for kind in CLASSES:
                    of_V = seen_V & (class_V == kind)
                    in_space[kind] += (of_V.sum(), (of_V & (of_pixel_V == kind)).sum())
                for (name, least), sums in two.items():
                    counted_U = (true_U != Semantic.LOW_ENERGY) & (label_U != Semantic.LOW_ENERGY)
                    counted_U &= view["voxel"]["energy"] >= least
                    is_true_U, is_found_U = (np.isin(one, SHOWER_SIDE[name]) for one in (true_U, label_U))
                    bad_U = counted_U & (is_true_U != is_found_U)
                    sums += (counted_U.sum(), bad_U.sum(), (bad_U & (other_U >= SHARES[2])).sum())
    print_tables(pixels, in_space, two)


def print_tables(
    pixels: NDArray[np.float64],
    in_space: NDArray[np.float64],
    two: dict[tuple[str, float], NDArray[np.float64]],
) -> None:
    """Print what was counted."""
    head = [f"≥ {100 * share:g} % of other classes: pixels, of the wrong" for share in SHARES]
    print(
        "| class | pixels | wrong |",
        " | ".join(head),
        "| wrong of pure (< 1 %) | voxels in pixels of their class |",
    )
    print("|" + "---|" * (len(head) + 5))
    rows = [(kind.name.lower(), pixels[kind], in_space[kind]) for kind in CLASSES]
    for name, counts, space in [*rows, ("all", pixels.sum(0), in_space.sum(0))]:
        num, bad = counts[0]
        cells = [
            f"{counts[i + 1, 0] / num:.1%}, {counts[i + 1, 1] / max(bad, 1):.1%}" for i in range(len(SHARES))
        ]
        pure = (bad - counts[-1, 1]) / max(num - counts[-1, 0], 1)
        print(
            f"| {name} | {num:.0f} | {bad / num:.2%} |",
            " | ".join(cells),
            f"| {pure:.2%} | {space[1] / space[0]:.1%} |",
        )
    print()
    for (name, least), (num, bad, mixed) in two.items():
        print(
            f"two classes, {name}, pixels of {least} MeV and more: {1 - bad / num:.2%} of {num:.0f} right; "
            f"{mixed / max(bad, 1):.1%} of the wrong ones hold 10 % or more of another class"
        )


if __name__ == "__main__":
    main()
