"""Voxels to fragments: by distance, by affinities, by a learned graph (Graph-SPICE), or in a learned embedding space.

A learned method is a module with a `network` that is called on `Images`, and with `loss` and `linked`, which
start from what the network returned: `linked` tells which links between near voxels hold. Fragments are the
voxels that are connected by those. `learned` has what goes around them, and alone imports torch.
"""

from typing import Any

from lartpc import config
from lartpc.event import Event
from lartpc.fragments import affinity, dbscan
from lartpc.fragments.classes import CLASSES, Found, found

__all__ = ["CLASSES", "Found", "find"]


def find(net: Any, batch: list[Event], cfg: config.Fragments) -> list[Found]:
    """Return the fragments of each event, numbered in order of their first voxels.

    A fragment is of one class, and has at least `min_voxels`. `net` is called on the images of the batch
    where the method has a network.
    """
    if isinstance(cfg, config.Affinity):
        return [found(*affinity.find(event, cfg), cfg.min_voxels) for event in batch]
    if isinstance(cfg, config.Dbscan):
        return [found(*dbscan.find(event, cfg), cfg.min_voxels) for event in batch]
    from lartpc.fragments import learned

    return learned.find(net, batch, cfg)
