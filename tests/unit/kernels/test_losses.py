"""Losses of the voxel classes, against sums made by hand and brute force."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.nn import functional

from lartpc.config import SegmentTraining
from lartpc.nets import losses
from lartpc.nets.losses import focal, lovasz_softmax, semantic_terms

LOSSES = ("ce", "inverse", "weighted", "focal", "lovasz", "ce_lovasz")


def settings(loss: str, **more: Any) -> SegmentTraining:
    if loss == "weighted":
        more.setdefault("class_weights", (2, 1, 1, 1, 0.5))
    return SegmentTraining(num_steps=1, batch_size=1, learning_rate=1, loss=loss, **more)


def some_voxels(num_voxels: int = 40, num_events: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    logit = 2 * torch.randn(num_voxels, 5, dtype=torch.float64)
    # Class 3 never occurs, and not every event has the others.
    label = torch.tensor([0, 1, 2, 4])[torch.randint(4, (num_voxels,))]
    return logit, label, torch.arange(num_voxels) * num_events // num_voxels


def jaccard_loss(mistakes: set[int], wanted: set[int]) -> float:
    """1 - IoU of a class whose voxels are `wanted` and of which these were mistaken (equation 5)."""
    right = wanted - mistakes
    return 1 - len(right) / len(wanted | mistakes)


def lovasz_by_hand(probability: torch.Tensor, label: torch.Tensor) -> float:
    """The Lovász extension by its definition: thresholds between the errors, each set's Jaccard loss."""
    losses = []
    for kind in label.unique().tolist():
        wanted = {row for row, of in enumerate(label.tolist()) if of == kind}
        error = [
            1 - p if row in wanted else p
            for row, p in ((row, float(probability[row, kind])) for row in range(len(label)))
        ]
        levels = sorted({*error, 0.0}, reverse=True)
        losses.append(
            sum(
                (upper - lower) * jaccard_loss({row for row, e in enumerate(error) if e >= upper}, wanted)
                for upper, lower in pairwise(levels)
            )
        )
    return sum(losses) / len(losses)


def test_class_weights() -> None:
    torch.manual_seed(0)
    logit = torch.randn(7, 5, dtype=torch.float64)
    label = torch.tensor([0, 0, 0, 1, 1, 1, 4])
    event = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    loss = functional.cross_entropy(logit, label, reduction="none")

    def term(name: str) -> torch.Tensor:
        total, count = semantic_terms(logit, label, event, 2, settings(name))["semantic"]
        return total / count

    torch.testing.assert_close(term("ce"), loss.mean())
    # Event 0: three voxels of class 0, one of 1; event 1: two of 1, one of 4. Classes count alike, then events.
    first = (loss[:3].mean() + loss[3]) / 2
    second = (loss[4:6].mean() + loss[6]) / 2
    torch.testing.assert_close(term("inverse"), (first + second) / 2)
    torch.testing.assert_close(term("weighted"), (2 * loss[:3].sum() + loss[3:6].sum() + loss[6] / 2) / 9.5)


def test_focal_by_hand_and_as_cross_entropy() -> None:
    logit, label, event = some_voxels()
    plain = functional.cross_entropy(logit, label, reduction="none")
    torch.testing.assert_close(focal(logit, label, 0.0), plain)
    torch.testing.assert_close(focal(logit, label, 2.0), (1 - torch.exp(-plain)) ** 2 * plain)
    total, count = semantic_terms(logit, label, event, 3, settings("focal", focal_gamma=0.0))["semantic"]
    torch.testing.assert_close(total / count, plain.mean())


def test_focal_has_a_gradient_where_the_network_is_sure() -> None:
    logit = torch.tensor([[500.0, 0, 0, 0, 0], [-500.0, 0, 0, 0, 0]], requires_grad=True)
    focal(logit, torch.tensor([0, 0]), 0.5).sum().backward()
    assert torch.isfinite(logit.grad).all()
    assert logit.grad[1, 0] < 0


def test_lovasz_of_two_voxels() -> None:
    # Class 0: voxel 0 is it, with p = 0.6 (error 0.4); voxel 1 is not, with 0.3. Largest first: J({0}) = 1,
    # J({0, 1}) = 1, so the loss is 0.4 * 1 + 0.3 * 0. Class 1: errors 0.3 (is it), 0.4 (is not):
    # J({0}) = 1/2, J({0, 1}) = 1, so 0.4 * 1/2 + 0.3 * 1/2.
    probability = torch.tensor([[0.6, 0.4], [0.3, 0.7]], dtype=torch.float64)
    total, count = lovasz_softmax(probability.log(), torch.tensor([0, 1]), torch.tensor([0, 0]), 1)
    assert float(total) == pytest.approx((0.4 + 0.35) / 2) and float(count) == 1


def test_lovasz_against_its_definition() -> None:
    logit, label, event = some_voxels()
    total, count = lovasz_softmax(logit, label, event, 4)  # event 3 has no voxels
    probability = torch.softmax(logit, 1)
    by_hand = sum(lovasz_by_hand(probability[event == one], label[event == one]) for one in range(3))
    assert float(count) == 3
    assert float(total) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_lovasz_by_the_compiled_kernel(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against torch: many voxels, equal errors, scores of 0 and 1, and events whose voxels are mixed."""
    logit = 3 * torch.randn(5000, 5, dtype=dtype, generator=torch.Generator().manual_seed(1))
    logit[::7] = logit[0]
    logit[::11] *= 1000
    label, event = torch.arange(5000) * 3 % 4, torch.arange(5000) * 13 % 6
    logit.requires_grad_()

    def found() -> tuple[float, torch.Tensor]:
        total, _ = losses.lovasz_softmax(logit, label, event, 7)
        return float(total.detach()), torch.autograd.grad(3 * total, logit)[0]

    ours = found()
    num_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    again = found()
    torch.set_num_threads(num_threads)
    monkeypatch.setattr(losses, "resolve", lambda _: "torch")
    total, grad = found()
    assert ours[0] == again[0] and torch.equal(ours[1], again[1])
    assert ours[0] == pytest.approx(total, rel=1e-12 if dtype == torch.float64 else 1e-5)
    torch.testing.assert_close(ours[1], grad)


def test_lovasz_of_a_decided_network_is_one_minus_the_jaccard_index() -> None:
    _, label, _ = some_voxels()
    called = label.roll(1)
    logit = 1000.0 * functional.one_hot(called, 5).double()
    total, _ = lovasz_softmax(logit, label, torch.zeros_like(label), 1)
    jaccard = [
        float(((label == kind) & (called == kind)).sum() / ((label == kind) | (called == kind)).sum())
        for kind in label.unique()
    ]
    assert float(total) == pytest.approx(1 - sum(jaccard) / len(jaccard))


def test_ce_lovasz_is_ce_and_a_share_of_lovasz() -> None:
    logit, label, event = some_voxels()
    terms = semantic_terms(logit, label, event, 3, settings("ce_lovasz", lovasz_share=0.05))
    total, count = lovasz_softmax(logit, label, event, 3)
    assert float(terms["lovasz"][0] / terms["lovasz"][1]) == pytest.approx(0.05 * float(total / count))
    plain = functional.cross_entropy(logit, label)
    assert float(terms["semantic"][0] / terms["semantic"][1]) == pytest.approx(float(plain))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_of_a_batch_is_that_of_its_events(loss: str) -> None:
    logit, label, event = some_voxels()
    logit.requires_grad_()
    together = semantic_terms(logit, label, event, 3, settings(loss))
    (gradient,) = torch.autograd.grad(sum(total for total, _ in together.values()), logit)
    totals, counts = dict.fromkeys(together, 0.0), dict.fromkeys(together, 0.0)
    for one in range(3):
        rows = event == one
        terms = semantic_terms(logit[rows], label[rows], torch.zeros_like(label[rows]), 1, settings(loss))
        for name, (total, count) in terms.items():
            totals[name] += total.item()
            counts[name] += count.item()
        (own,) = torch.autograd.grad(sum(total for total, _ in terms.values()), logit)
        torch.testing.assert_close(own[rows], gradient[rows])
    for name, (total, count) in together.items():
        assert total.item() == pytest.approx(totals[name]) and count.item() == pytest.approx(counts[name])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("num_voxels", [0, 1])
def test_no_voxel_and_one_voxel(loss: str, num_voxels: int) -> None:
    logit, label, event = (part[:num_voxels] for part in some_voxels())
    logit.requires_grad_()
    terms = semantic_terms(logit, label, event, 2, settings(loss))
    sum(total for total, _ in terms.values()).backward()
    assert torch.isfinite(logit.grad).all()
    assert all((count.item() > 0) == (num_voxels > 0) for _, count in terms.values())
