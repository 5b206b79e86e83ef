"""The graphs that the networks over clusters see, and those networks in inference, without torch.

They are trained by `lartpc.nets`, from where they also run where there is no compiler.
"""

from lartpc.graphs.compiled import CompiledGraphNetwork, CompiledInteractionNetwork, Logits, has_kernel
from lartpc.graphs.graph import (
    EDGE_TENSORS,
    EDGE_VECTORS,
    NUM_EDGE_FEATURES,
    Graph,
    edge_features,
    make_graph,
    side_by_side,
    turned,
)
from lartpc.graphs.grouping import groups_of
from lartpc.scores import parent_log_scores, softmax

__all__ = [
    "EDGE_TENSORS",
    "EDGE_VECTORS",
    "NUM_EDGE_FEATURES",
    "CompiledGraphNetwork",
    "CompiledInteractionNetwork",
    "Graph",
    "Logits",
    "edge_features",
    "groups_of",
    "has_kernel",
    "make_graph",
    "parent_log_scores",
    "side_by_side",
    "softmax",
    "turned",
]
