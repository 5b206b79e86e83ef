"""Pixel flow: which pixels of the planes of wires belong together, and so which of the points made of them are real.

Each hit (a wire of one plane with charge at one time) has the points that share it to choose from; a point is a pixel
of each other plane. Tensor suffixes: V points, P planes, F features, C channels, H hits.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lartpc import config
from lartpc.event import Columns, Event, conform
from lartpc.nets.rowwise import rowwise, whole
from lartpc.nets.wire_pairs import NUM_FEATURES, hit_numbers, pair_features
from lartpc.truth import is_far_ghost

METRIC_SCORE = 0.5
"""Score from which a point counts as real during training."""


class PixelFlow(nn.Module):
    """How much of each hit a point is of, and whether it is real.

    A first score of each point is shared out among the points of each of its hits. What share of its hits a point gets
    then is a part of what tells whether it is real: one charge can explain another point only once.

    Parameters
    ----------
    num_hidden
        Features of a point.
    leakiness
        Negative slope of LeakyReLU.
    """

    def __init__(self, num_hidden: int, leakiness: float) -> None:
        super().__init__()
        self.first = nn.Linear(NUM_FEATURES, num_hidden)
        self.second = nn.Linear(num_hidden, num_hidden)
        self.pairing = nn.Linear(num_hidden, 1)
        self.third = nn.Linear(num_hidden + 3, num_hidden)
        self.real = nn.Linear(num_hidden, 1)
        self.act = nn.LeakyReLU(leakiness)

    def forward(self, feat_VF: Tensor, hit_VP: Tensor, seen_VP: Tensor) -> tuple[Tensor, Tensor]:
        """Return the share of each point in its hits (V, P), 0 where there is none, and its logit (V,) of being real.

        Parameters
        ----------
        feat_VF
            `wire_pairs.pair_features`.
        hit_VP, seen_VP
            `wire_pairs.hit_numbers`.
        """
        feat_VC = self.act(rowwise(self.second, self.act(rowwise(self.first, feat_VF))))
        score_V = rowwise(self.pairing, feat_VC)[:, 0]
        share_VP = torch.stack([_shares(score_V, hit_V) for hit_V in hit_VP.unbind(1)], 1) * seen_VP
        count_V = seen_VP.sum(1).clamp(min=1)
        least_V = torch.where(seen_VP, share_VP, 1.0).amin(1)
        pooled_V3 = torch.stack([least_V, share_VP.sum(1) / count_V, share_VP.amax(1)], 1)
        feat_VC = self.act(rowwise(self.third, torch.cat([feat_VC, pooled_V3], 1)))
        return share_VP, rowwise(self.real, feat_VC)[:, 0]


def _shares(score_V: Tensor, hit_V: Tensor) -> Tensor:
    """Return the softmax (V,) of scores over the points of each one's hit."""
    num = int(hit_V.max()) + 1 if len(hit_V) else 0
    most_H = score_V.new_full((num,), -torch.inf).scatter_reduce(0, hit_V, score_V.detach(), "amax")
    weight_V = whole(torch.exp, score_V - most_H[hit_V])
    return weight_V / score_V.new_zeros(num).index_add(0, hit_V, weight_V)[hit_V]


def network(cfg: config.Flow) -> nn.Module:
    """Build the network with fresh weights."""
    return PixelFlow(cfg.num_hidden, cfg.leakiness)


def bytes_per_voxel(cfg: config.Flow) -> float:
    """Return the memory [B] that inference takes for each voxel of a batch on a CPU."""
    return 16.0 * (cfg.num_hidden + NUM_FEATURES) + 2000.0


def loss(net: nn.Module, batch: list[Event], cfg: config.Flow) -> dict[str, tuple[Tensor, Tensor]]:
    """Return each term of the loss as its sum and the count that it is to be divided by.

    `pair` is minus the logarithm of the share of a hit that goes to its real points, for hits that have some and ghosts
    too; `real` is the cross entropy of points being real. Ghosts that share a corner with a real point count as real.
    """
    feat_VF, hit_VP, seen_VP = _inputs(net, batch)
    share_VP, logit_V = net(feat_VF, hit_VP, seen_VP)
    real_V = torch.from_numpy(np.concatenate([~is_far_ghost(event) for event in batch])).to(logit_V.device)
    parts, count = [logit_V.sum() * 0.0], logit_V.new_zeros(())
    for plane in range(hit_VP.shape[1]):
        hit_V, seen_V = hit_VP[:, plane], seen_VP[:, plane]
        num = int(hit_V.max()) + 1 if len(hit_V) else 0
        right_H = share_VP.new_zeros(num).index_add(0, hit_V, share_VP[:, plane] * real_V)
        num_H, num_real_H = (
            torch.bincount(hit_V, weights=mine_V.to(logit_V.dtype), minlength=num)
            for mine_V in (seen_V, seen_V & real_V)
        )
        asked_H = (num_real_H > 0) & (num_real_H < num_H)
        parts.append(-torch.log(right_H[asked_H].clamp(min=1e-6)).sum())
        count += asked_H.sum()
    entropy = functional.binary_cross_entropy_with_logits(logit_V, real_V.to(logit_V.dtype), reduction="sum")
    return {
        "pair": (torch.stack(parts).sum(), count),
        "real": (entropy, logit_V.new_tensor(float(len(logit_V)))),
    }


@torch.inference_mode()
def infer(net: PixelFlow, batch: list[Event], cfg: config.Flow) -> list[dict[str, Columns]]:
    """Return the product `pairing` of each event."""
    share_VP, logit_V = net(*_inputs(net, batch))
    share, score = share_VP.cpu().numpy(), whole(torch.sigmoid, logit_V).cpu().numpy()
    ends = np.cumsum([event.num_voxels for event in batch])[:-1]
    return [
        {"pairing": conform("pairing", {"share": one, "score": other})}
        for one, other in zip(np.split(share, ends), np.split(score, ends), strict=True)
    ]


def metrics(pred: Event, truth: Event, cfg: config.Flow) -> dict[str, tuple[float, float]]:
    """Return figures of one event as (numerator, denominator).

    `pairs_right` is the share of hits with a real point whose point of the largest share is real; `real_kept`,
    `ghosts_removed` and `purity` are of points, a score of 0.5 being one of a real point.
    """
    real = ~is_far_ghost(truth)
    hit_VP, seen_VP = hit_numbers([truth])
    right, asked = 0.0, 0.0
    for plane in range(hit_VP.shape[1]):
        row = np.flatnonzero(seen_VP[:, plane])
        order = row[np.lexsort((-pred["pairing"]["share"][row, plane], hit_VP[row, plane]))]
        hit, first = np.unique(hit_VP[order, plane], return_index=True)
        has_real = np.isin(hit, hit_VP[row[real[row]], plane])
        asked += float(has_real.sum())
        right += float(real[order[first]][has_real].sum())
    kept = pred["pairing"]["score"] >= METRIC_SCORE
    return {
        "pairs_right": (right, asked),
        "real_kept": (float((kept & real).sum()), float(real.sum())),
        "ghosts_removed": (float((~kept & ~real).sum()), float((~real).sum())),
        "purity": (float((kept & real).sum()), float(kept.sum())),
    }


def _inputs(net: nn.Module, batch: list[Event]) -> tuple[Tensor, Tensor, Tensor]:
    """Return features (V, F), numbers of hits (V, P) and where there are some (V, P), of all points of a batch."""
    device = next(net.parameters()).device
    if missing := [event for event in batch if "plane_hit" not in event]:
        raise ValueError(
            f"flow pairs the pixels of wire planes, and {missing[0].file_uid} has no hits of planes: its points are to "
            "be made by ingest.tomography or ingest.wires.space_points, and by this version"
        )
    hit_VP, seen_VP = hit_numbers(batch)
    feat_VF = np.concatenate([pair_features(event) for event in batch])
    return tuple(torch.from_numpy(one).to(device) for one in (feat_VF, hit_VP, seen_VP))  # type: ignore[return-value]
