"""What class a particle is of, and its species, on the evidence of all its voxels.

Shape suffixes: V voxels, F particles, K classes, S species.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lartpc.event import Event
from lartpc.kinematics.clusters import Floats, Ints
from lartpc.vocab import ELECTROMAGNETIC, NONE, Semantic, Species

ALLOWED = np.zeros((len(Semantic), len(Species)), bool)
"""Species that a class allows."""
ALLOWED[Semantic.SHOWER, [Species.PHOTON, Species.ELECTRON]] = True
ALLOWED[Semantic.TRACK, [Species.MUON, Species.PION, Species.PROTON, Species.KAON]] = True
ALLOWED[[Semantic.MICHEL, Semantic.DELTA], Species.ELECTRON] = True
LEAST_SHARE = 0.1
"""Share of a particle's class scores that the class of its first piece needs to be the class of the whole. Michels
and deltas are followed by photons of shower class, often of more voxels (docs/explanation/clustering.md)."""
TRACK_SHARE = 0.4
"""Share of its class scores above which a particle of several pieces is a track. Between 0.4 and 0.5 24 of 38 such are
truly tracks, on 1,500 events; tracks in pieces are those that scores see worst."""
SHARE_POWER = 0.5
"""Power of the share of the voxels' scores beside the score of the network over particles."""
SURE_SCORE = 0.8
"""Score by the network over particles from which a class needs no share of the scores of voxels: of 2,500 validation
events 38,560 instead of 38,494 classes of matched particles are right with it (docs/explanation/clustering.md)."""
SHARE_FLOOR = 0.02
"""A share counts as at least this much beside the score of the network over particles."""
PARTICLE_CLASSES = (Semantic.SHOWER, Semantic.TRACK, Semantic.MICHEL, Semantic.DELTA)
"""Classes that a particle can be of, by their numbers."""


def class_scores(label_V: NDArray[Any], score_VK: NDArray[Any], num: int) -> Floats:
    """Return the mean score (F, K) of each voxel class over the voxels of each particle; 0 without voxels.

    `label_V` is the particle of each voxel, negative for none.
    """
    row = np.flatnonzero(label_V >= 0)
    label, total = label_V[row], np.zeros((num, score_VK.shape[1]))
    for column in range(score_VK.shape[1]):
        total[:, column] = np.bincount(label, score_VK[row, column], num)
    mean: Floats = total / np.maximum(np.bincount(label, minlength=num), 1)[:, None]
    return mean


def class_shares(score_FK: NDArray[Any], semantic_F: NDArray[Any]) -> Floats:
    """Return the shares (F, K) of the classes that particles have, 1 in all; all of the own class where unknown.

    The same where the particle was told from a track against the scores of most of its voxels, as small deltas are.
    """
    share = shares(score_FK, semantic_F)
    is_told = np.isin(semantic_F, ELECTROMAGNETIC) & (share[:, Semantic.TRACK] > 0.5)
    own: Floats = np.where(is_told[:, None], _own(semantic_F, share.shape[1]), share)
    return own


def shares(score_FK: NDArray[Any], semantic_F: NDArray[Any]) -> Floats:
    """Return the shares (F, K) of the classes that particles have, 1 in all; all of the own class where unknown."""
    share = np.where(
        np.isin(np.arange(score_FK.shape[1]), PARTICLE_CLASSES), score_FK.astype(np.float64), 0.0
    )
    total = share.sum(axis=1, keepdims=True)
    known = np.isfinite(total) & (total > 0)
    own = _own(semantic_F, score_FK.shape[1])
    out: Floats = np.where(known, np.divide(share, total, out=np.zeros_like(share), where=known), own)
    return out


def _own(semantic_F: NDArray[Any], num: int) -> NDArray[np.bool_]:
    own: NDArray[np.bool_] = np.asarray(semantic_F)[:, None] == np.arange(num)
    return own


def decide(score_FK: NDArray[Any], first_F: NDArray[Any]) -> NDArray[np.int64]:
    """Return the class (F,) of particles from the mean scores of their voxels and the class of their first piece.

    A track, where the share of its scores for track is above `TRACK_SHARE`. Else the class of the first piece, if at
    least `LEAST_SHARE` of the scores are for it; else the electromagnetic class that scores most.
    """
    share = shares(score_FK, first_F)
    light = np.where(np.isin(np.arange(share.shape[1]), ELECTROMAGNETIC), share, NONE)
    own = np.take_along_axis(light, np.asarray(first_F, np.int64)[:, None], axis=1)[:, 0]
    electromagnetic = np.where(own >= LEAST_SHARE, first_F, light.argmax(axis=1))
    return np.where(share[:, Semantic.TRACK] > TRACK_SHARE, int(Semantic.TRACK), electromagnetic).astype(
        np.int64
    )


def final_classes(event: Event) -> NDArray[np.integer]:
    """Return the class (A,) of particles: that of `identity`, and where none is said there, that of `particle`."""
    first, last = event["particle"]["semantic"], event["identity"]["semantic"]
    found: NDArray[np.integer] = np.where(last >= 0, last, first)
    return found


def decide_again(
    semantic_A: NDArray[Any], score_AK: NDArray[Any], share_AK: Floats, can_be_michel_A: NDArray[np.bool_]
) -> Ints:
    """Return the class (A,) of particles when it is known what is around them.

    A shower, Michel or delta may be of another of these classes that has at least `LEAST_SHARE` of the scores of its
    voxels, or a score by the network over particles of at least `SURE_SCORE`. Of those it is the one with the largest
    product of its score by that network, which knows the neighbours but sees a class at most once, and the square root
    of its share of the scores of voxels, which counts as at least `SHARE_FLOOR`.

    Parameters
    ----------
    semantic_A
        Class so far.
    score_AK
        Scores by the network over particles; nan: not known, and the class stays.
    share_AK
        Shares of the scores of the voxels, as of `shares`.
    can_be_michel_A
        Whether a Michel can be like this, see `michels.can_be`.
    """
    num = len(PARTICLE_CLASSES)
    own_AK = np.asarray(semantic_A)[:, None] == np.arange(num)
    share_AK = share_AK[:, :num]
    is_known_AK = (share_AK >= LEAST_SHARE) | (score_AK >= SURE_SCORE)
    may_AK = own_AK | (np.isin(np.arange(num), ELECTROMAGNETIC) & is_known_AK)
    may_AK[:, Semantic.MICHEL] &= can_be_michel_A
    worth_AK = np.where(may_AK, score_AK * np.maximum(share_AK, SHARE_FLOOR) ** SHARE_POWER, NONE)
    asked_A = np.isin(semantic_A, ELECTROMAGNETIC) & np.isfinite(score_AK).all(axis=1)
    found: Ints = np.where(asked_A, worth_AK.argmax(axis=1), semantic_A).astype(np.int64)
    return found


def species_scores(
    score_FKS: NDArray[Any], share_FK: Floats, semantic_F: NDArray[Any]
) -> NDArray[np.float32]:
    """Return the score of each species (F, S): those under each class, weighted by the shares of the classes.

    Species that the class of a particle does not allow have none, so that class and species never contradict.
    `score_FKS` are scores of species among those that a class allows, 1 in all, 0 for a class that allows none.
    """
    mixed = np.einsum("fk,fks->fs", share_FK, score_FKS)
    own = np.take_along_axis(score_FKS, np.asarray(semantic_F, np.int64)[:, None, None], axis=1)[:, 0]
    mixed = np.where(own > 0, mixed, 0.0)
    # where no voxel is of the class, what the network says of it as such
    total = mixed.sum(axis=1, keepdims=True)
    found: NDArray[np.float32] = np.where(total > 1e-6, mixed / np.maximum(total, 1e-6), own).astype(
        np.float32
    )
    return found
