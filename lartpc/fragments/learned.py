"""Learned fragments: the networks of the methods, in training and inference.

Shape suffixes: V voxels, E links, F fragments.
"""

from itertools import pairwise
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from lartpc import config, fragments
from lartpc.event import Event
from lartpc.fragments import embedding, graph_spice
from lartpc.fragments.classes import Found, found
from lartpc.fragments.images import Images, stack
from lartpc.fragments.targets import instances
from lartpc.links import lengths, pieces, renumber, spread
from lartpc.vocab import NONE

Terms = dict[str, tuple[Tensor, Tensor]]

METHODS: dict[str, ModuleType] = {"graph_spice": graph_spice, "embedding": embedding}
"""The learned methods, by the value of `cluster.fragments.method`."""


def network(cfg: config.Fragments) -> nn.Module | None:
    """Build the network of the method with fresh weights; None if the method learns nothing."""
    if isinstance(cfg, config.RuleFragments):
        return None
    net: nn.Module = METHODS[cfg.method].network(cfg)
    return net


@torch.inference_mode()
def find(net: nn.Module, batch: list[Event], cfg: config.GraphSpice | config.Embedding) -> list[Found]:
    """Return the fragments of each event, as `lartpc.fragments.find` does."""
    images = stack(batch, cfg.radius, _device(net))
    return _group(net(images), images, batch, cfg)


def learn(net: nn.Module, batch: list[Event], cfg: config.Fragments) -> tuple[Terms, list[Found]]:
    """Return the terms of the method's loss, each as sum and count, and the fragments found meanwhile."""
    if isinstance(cfg, config.RuleFragments):
        return {}, fragments.find(net, batch, cfg)
    device = _device(net)
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
        found(label_V[rows], event["semantic"]["label"], cfg.min_voxels)
        for event, rows in zip(batch, _rows(batch), strict=True)
    ]


def _rows(batch: list[Event]) -> list[slice]:
    """Return the rows of each event's voxels in those of the batch."""
    bounds = np.cumsum([0, *(event.num_voxels for event in batch)]).tolist()
    return [slice(first, last) for first, last in pairwise(bounds)]


def _device(net: nn.Module) -> torch.device:
    """Return where a network is; what is none, but is called like one, is here."""
    return next(net.parameters()).device if isinstance(net, nn.Module) else torch.device("cpu")
