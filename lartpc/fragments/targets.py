"""What a fragment network is to find: the true particles, as far as the classes that it is given show them.

Shape suffixes: V voxels, E links.
"""

import numpy as np

from lartpc.event import Event
from lartpc.fragments.classes import CLASSES
from lartpc.links import Ints, lengths, links, pieces, renumber, spread
from lartpc.vocab import NONE


def instances(event: Event, radius: float, min_voxels: int) -> Ints:
    """Return the number (V,) of the connected piece that each voxel belongs to, -1: not known.

    A piece is of one class, as the stage sees it, and of one true particle. On predicted classes a particle
    may be in pieces that its true class does not have: those of at least `min_voxels` are targets of their
    own; voxels in smaller ones, and those of no particle, belong to the piece of their class that they
    reach first along links. On true classes the pieces are the true fragments.
    """
    coord, semantic = event["voxel"]["coord"], event["semantic"]["label"]
    truth = event["truth_voxel"]
    row = np.flatnonzero(np.isin(semantic, CLASSES))
    link = links(coord[row], radius)
    link = link[semantic[row[link[:, 0]]] == semantic[row[link[:, 1]]]]
    particle = truth["particle"][row]
    same = particle[link[:, 0]] == particle[link[:, 1]]
    piece = pieces(len(row), link[same])
    size = np.bincount(piece, minlength=1)[piece]
    is_right = (truth["semantic"][row] == semantic[row]) & (particle >= 0)
    piece = np.where(is_right | ((particle >= 0) & (size >= min_voxels)), piece, NONE)
    piece = spread(piece, link, lengths(coord[row], link))
    out_V = np.full(len(coord), NONE, np.int64)
    out_V[row] = renumber(piece, 1)
    return out_V
