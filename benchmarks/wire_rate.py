"""Images of wire planes a second through segmentation and points.

python benchmarks/wire_rate.py IMAGES.h5 --weights W.pt

Images are cut to 768 pixels a side around their charge (published for PPN: 60 of 756² a second). Processor time
of one thread, the median of some passes over the same images. `--batch` images are segmented at a time: `lartpc infer`
takes as many as have 50,000 pixels together, some twenty.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from lartpc import config
from lartpc.event import Event
from lartpc.geometry import Box
from lartpc.run.infer import load_network
from lartpc.run.weights_file import read_content
from lartpc.stages import points, segment, stage
from lartpc.store import open_events

SIDE = 768


def cut(event: Event) -> Event:
    """Return the part of an image of SIDE pixels around the median of its charge."""
    coord = event["voxel"]["coord"]
    low = np.clip(
        np.median(coord[:, :2], axis=0).astype(np.int64) - SIDE // 2, 0, event.box.num_voxels - SIDE
    )
    kept = ((coord[:, :2] >= low) & (coord[:, :2] < low + SIDE)).all(axis=1)
    moved = coord[kept] - np.append(low, 0).astype(coord.dtype)
    box = Box.flat(0.0, event.box.pitch_cm[0], event.box.voxel_size_cm, SIDE)
    return Event(
        event.file_uid,
        event.entry,
        box,
        {"voxel": {"coord": moved, "energy": event["voxel"]["energy"][kept]}},
    )


def main() -> None:
    """Print images and pixels a second."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--events", type=int, default=60)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--batch", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    content = read_content(given.weights)
    section = config.Segment.model_validate(json.loads(content["settings"]))
    net = load_network(stage("segment"), section, given.weights, content)
    with open_events(given.images) as events:
        images = [cut(event) for event in events.block(0, min(given.events, len(events)), ["voxel"])]
    images = [image for image in images if image.num_voxels]
    batches = [images[first : first + given.batch] for first in range(0, len(images), given.batch)]
    times = {"segment": [], "points": []}
    for _ in range(given.passes):
        start = time.process_time()
        found = [one for part in batches for one in segment.infer(net, part, section)]
        middle = time.process_time()
        points.infer(
            None,
            [image.with_products(one) for image, one in zip(images, found, strict=True)],
            config.Points(),
        )
        times["segment"].append(middle - start)
        times["points"].append(time.process_time() - middle)
    pixels = sum(image.num_voxels for image in images)
    segmented, both = (
        float(np.median(times["segment"])),
        float(np.median(np.sum(list(times.values()), axis=0))),
    )
    print(
        f"{len(images)} images of {SIDE}², {pixels / len(images):.0f} pixels each, {given.batch} at a time: "
        f"segment and PPN "
        f"{len(images) / segmented:.1f} images/s ({pixels / segmented:.0f} pixels/s), "
        f"with points {len(images) / both:.1f}"
    )


if __name__ == "__main__":
    main()
