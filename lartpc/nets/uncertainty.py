"""What a network does not know of the class of a voxel: by Monte-Carlo dropout, and by a Dirichlet output.

Tensor suffixes: V voxels, K classes.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

KL_WEIGHT = 0.1
"""Weight of the divergence in the evidential loss. The paper raises it from 0 to 1 over ten epochs."""


def entropy(score_VK: Tensor) -> Tensor:
    """Return the entropy (V,) of scores in units of that of equal ones, between 0 and 1."""
    found_V: Tensor = torch.special.entr(score_VK).sum(1) / math.log(score_VK.shape[1])
    return found_V


def mean_and_disagreement(scores: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the mean (V, K) of the scores of several thinned networks, and how far these disagree (V,).

    Disagreement is the mutual information of the class and the network, entropy of the mean less mean of
    the entropies, over log K (arXiv:1703.02910, equation 7): 0 where all say the same, 1 where each is
    sure of another class.
    """
    mean_VK, own_V, count = torch.zeros(()), torch.zeros(()), 0
    for score_VK in scores:
        mean_VK, own_V, count = mean_VK + score_VK, own_V + entropy(score_VK), count + 1
    mean_VK = mean_VK / count
    return mean_VK, (entropy(mean_VK) - own_V / count).clamp(min=0)


def dirichlet(logit_VK: Tensor) -> Tensor:
    """Return the parameters (V, K) of a Dirichlet distribution over the classes: evidence plus 1.

    Evidence is the softplus of the logit, where the paper (arXiv:1806.01768) has max(0, logit): it has a
    gradient everywhere.
    """
    return functional.softplus(logit_VK) + 1


def mean_and_vacuity(logit_VK: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (V, K) of the Dirichlet distribution, and the uncertainty mass K / S (V,).

    S is the sum of its parameters: without any evidence the mass is 1 (arXiv:1806.01768, equation 1).
    """
    alpha_VK = dirichlet(logit_VK)
    total_V1 = alpha_VK.sum(1, keepdim=True)
    return alpha_VK / total_V1, logit_VK.shape[1] / total_V1[:, 0]


def evidential_loss(logit_VK: Tensor, label_V: Tensor, kl_weight: float = KL_WEIGHT) -> Tensor:
    """Return the evidential loss of each voxel (V,), arXiv:1806.01768.

    The expected squared error of the class probabilities (equation 5), and `kl_weight` times the divergence
    from no evidence of what there is for wrong classes.
    """
    num_classes = logit_VK.shape[1]
    alpha_VK = dirichlet(logit_VK)
    total_V1 = alpha_VK.sum(1, keepdim=True)
    mean_VK = alpha_VK / total_V1
    true_VK = functional.one_hot(label_V, num_classes).to(alpha_VK.dtype)
    squared_V = ((true_VK - mean_VK) ** 2 + mean_VK * (1 - mean_VK) / (total_V1 + 1)).sum(1)
    wrong_VK = true_VK + (1 - true_VK) * alpha_VK
    wrong_V1 = wrong_VK.sum(1, keepdim=True)
    spread_VK = (wrong_VK - 1) * (torch.digamma(wrong_VK) - torch.digamma(wrong_V1))
    constant_V = torch.lgamma(wrong_V1[:, 0]) - math.lgamma(num_classes) - torch.lgamma(wrong_VK).sum(1)
    return squared_V + kl_weight * (constant_V + spread_VK.sum(1))
