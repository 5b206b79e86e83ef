"""Voxels to fragments: by distance, by a learned graph (Graph-SPICE), or in a learned embedding space.

A learned method is a module with a `network` that is called on `Images`, and with `loss` and `linked`, which
start from what the network returned: `linked` tells which links between near voxels hold. Fragments are the
voxels that are connected by those.
"""

from itertools import pairwise
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lartpc import config
from lartpc.event import Event
from lartpc.fragments import dbscan, embedding, graph_spice
from lartpc.fragments.images import Images, stack
from lartpc.fragments.targets import instances
from lartpc.links import Ints, lengths, pieces, renumber, spread
from lartpc.vocab import NONE

Terms = dict[str, tuple[Tensor, Tensor]]
Found = tuple[Ints, NDArray[np.int8]]
"""The fragments of an event: that of each voxel (V,), -1 for none, and the class of each (F,)."""

METHODS: dict[str, ModuleType] = {"graph_spice": graph_spice, "embedding": embedding}
"""The learned methods, by the value of `cluster.fragments.method`."""


def network(cfg: config.Fragments) -> nn.Module | None:
    """Build the network of the method with fresh weights; None if the method learns nothing."""
    if isinstance(cfg, config.Dbscan):
        return None
    net: nn.Module = METHODS[cfg.method].network(cfg)
    return net


def find(net: nn.Module, batch: list[Event], cfg: config.Fragments, device: torch.device) -> list[Found]:
    """Return the fragments of each event, numbered in order of their first voxels.

    A fragment is of one class, and has at least `min_voxels`. `net` is called on the images of the batch
    where the method has a network.
    """
    if isinstance(cfg, config.Dbscan):
        return [_found(*dbscan.find(event, cfg), cfg.min_voxels) for event in batch]
    images = stack(batch, cfg.radius, device)
    return _group(net(images), images, batch, cfg)


def learn(
    net: nn.Module, batch: list[Event], cfg: config.Fragments, device: torch.device
) -> tuple[Terms, list[Found]]:
    """Return the terms of the method's loss, each as sum and count, and the fragments found meanwhile."""
    if isinstance(cfg, config.Dbscan):
        return {}, find(net, batch, cfg, device)
    images = stack(batch, cfg.radius, device)
    output = net(images)
    target_V, num = np.full(len(images.class_V), NONE, np.int64), 0
    for event, rows in zip(batch, _rows(batch), strict=True):
        own_V = instances(event, cfg.radius, cfg.min_voxels)
        target_V[rows] = np.where(own_V >= 0, own_V + num, NONE)
        num += int(own_V.max(initial=NONE)) + 1
    terms: Terms = METHODS[cfg.method].loss(output, images, torch.from_numpy(target_V).to(device), cfg)
    return terms, _group(output, images, batch, cfg)


def _group(
    output: Tensor, images: Images, batch: list[Event], cfg: config.GraphSpice | config.Embedding
) -> list[Found]:
    """Join the voxels whose links hold; of pieces below `min_voxels`, voxels go to the nearest large one."""
    link_E2, class_V = images.link_E2.cpu().numpy(), images.class_V.cpu().numpy()
    linked_E = METHODS[cfg.method].linked(output.detach(), images, cfg)
    piece_V = np.where(class_V >= 0, pieces(len(class_V), link_E2[linked_E]), NONE)
    large_V = renumber(piece_V, cfg.min_voxels)
    coord = images.coord_VD1[:, 1:].cpu().numpy()
    label_V = spread(large_V, link_E2, lengths(coord, link_E2))
    return [
        _found(label_V[rows], event["semantic"]["label"], cfg.min_voxels)
        for event, rows in zip(batch, _rows(batch), strict=True)
    ]


def _rows(batch: list[Event]) -> list[slice]:
    """Return the rows of each event's voxels in those of the batch."""
    bounds = np.cumsum([0, *(event.num_voxels for event in batch)]).tolist()
    return [slice(first, last) for first, last in pairwise(bounds)]


def _found(label_V: Ints, class_V: NDArray[np.integer], min_voxels: int) -> Found:
    """Return the labels numbered in order of their first voxels, and their classes, given those of voxels (V,)."""
    label_V = renumber(label_V, min_voxels)
    row = np.flatnonzero(label_V >= 0)
    _, first = np.unique(label_V[row], return_index=True)
    return label_V, class_V[row[first]].astype(np.int8)
