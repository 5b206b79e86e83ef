"""Training of `interact`: its network and the losses.

Shape suffixes: F particles, E edges, K classes, N interactions.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lartpc import config
from lartpc.event import Event
from lartpc.graphs import side_by_side
from lartpc.kinematics.relations import SWAPPED
from lartpc.nets.graph import as_tensors, cross_entropy
from lartpc.nets.interaction import InteractionNetwork, parent_cross_entropy
from lartpc.nets.portable_graph import PortableInteractionNetwork
from lartpc.stages.interact import CLASS_HEAD, GROUP_HEADS, NODE_HEADS, shifted
from lartpc.stages.interact.example import Turned
from lartpc.stages.interact.graph import NUM_NODE_FEATURES, particle_graph
from lartpc.stages.interact.targets import allowed_species, parent_edges, targets_of
from lartpc.vocab import NONE

GROUP_WEIGHT = 0.25
"""Weight of each of the four losses of interactions: together they count as one of the others."""


def network(cfg: config.Interact) -> nn.Module:
    """Return the graph network over particles, with all its heads."""
    return InteractionNetwork(
        NUM_NODE_FEATURES,
        cfg.graph,
        NODE_HEADS,
        GROUP_HEADS,
        SWAPPED,
        optional=(CLASS_HEAD,),
    )


def portable(net: nn.Module) -> PortableInteractionNetwork:
    """Return the graph network over particles in plain tensor operations."""
    assert isinstance(net, InteractionNetwork)
    return PortableInteractionNetwork(net).eval()


def loss(
    net: nn.Module, batch: list[Event] | list[Turned], cfg: config.Interact
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return sum and count of the cross entropies of all heads.

    An edge is true if both particles belong to one true interaction. Particles of low purity have no
    target; the species is trained among those that the particle's class allows. Flavour and counts are those
    of true interactions, from the particles that belong to them.
    """
    device = next(net.parameters()).device
    found = [one if isinstance(one, Turned) else _seen(one, cfg) for one in batch]
    targets = [one.targets for one in found]
    graph = as_tensors(side_by_side([one.graph for one in found]), device)
    group_F = shifted([t.group_F for t in targets], [len(t.groups["flavour"]) for t in targets], NONE)
    logits = net(graph, torch.from_numpy(group_F).to(device))

    def of(name: str) -> Tensor:
        return torch.from_numpy(np.concatenate([getattr(t, name) for t in targets])).to(device)

    parent_F = torch.from_numpy(parent_edges(targets)).to(device)
    semantic = np.concatenate([one.semantic_F for one in found])
    terms = {
        "edge": cross_entropy(logits["edge"], of("edge_E")),
        CLASS_HEAD: cross_entropy(logits[CLASS_HEAD], of("semantic_F")),
        "species": cross_entropy(_allowed(logits["species"], semantic, cfg), of("species_F")),
        "primary": cross_entropy(logits["primary"], of("primary_F")),
        "start": cross_entropy(logits["start"], of("start_F")),
        "parent": parent_cross_entropy(logits["parent"], logits["orphan"], graph.pair_2E, parent_F),
        "pi_zero": cross_entropy(logits["pi_zero"], of("pi_zero_E")),
    }
    for name in GROUP_HEADS:
        target_N = torch.from_numpy(np.concatenate([t.groups[name] for t in targets])).to(device)
        total, count = cross_entropy(logits[name], target_N)
        terms[name] = (GROUP_WEIGHT * total, count)
    return terms


def _seen(event: Event, cfg: config.Interact) -> Turned:
    """Return what the network learns of an event."""
    nodes = particle_graph(event, cfg)
    semantic_F = event["particle"]["semantic"][nodes.row_F]
    return Turned(semantic_F, nodes.graph, targets_of(event, nodes, cfg), event.num_voxels)


def _allowed(species_FK: Tensor, semantic_F: NDArray[np.int8], cfg: config.Interact) -> Tensor:
    """Lower the logits of species that the class does not allow to nothing."""
    mask = torch.from_numpy(allowed_species(cfg)[semantic_F.astype(np.int64)]).to(species_FK.device)
    return species_FK.masked_fill(~mask, -30.0)
