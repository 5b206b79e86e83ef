"""Voxels at the borders between classes, and their weight in the loss, by hand."""

import pytest
import torch
from torch.nn import functional

from lartpc import config
from lartpc.nets.border import at_border
from lartpc.nets.losses import semantic_terms
from lartpc.sparse import Lattice
from lartpc.vocab import Semantic


def row_of(coord: list[list[int]], num_events: int = 1) -> Lattice:
    return Lattice(torch.tensor(coord), num_events, (16,) * (len(coord[0]) - 1))


@pytest.mark.parametrize("rest", [[7], [7, 7]], ids=["2D", "3D"])
def test_a_border_reaches_two_voxels_to_either_side(rest: list[int]) -> None:
    lattice = row_of([[0, x, *rest] for x in range(10)])
    label = torch.tensor([1] * 5 + [0] * 5)
    assert at_border(label, lattice).nonzero()[:, 0].tolist() == [3, 4, 5, 6]


def test_a_border_crosses_gaps_and_corners_but_neither_events_nor_unknown_labels() -> None:
    lattice = row_of([[0, 4, 4], [0, 6, 6], [0, 9, 4], [1, 4, 4], [1, 5, 4], [1, 6, 4], [1, 8, 8]], 2)
    label = torch.tensor([0, 1, 0, 0, -1, 0, 2])
    assert at_border(label, lattice).tolist() == [True, True, False, False, False, False, False]


def test_no_voxels_are_at_no_border() -> None:
    empty = Lattice(torch.zeros(0, 4, dtype=torch.int64), 1, (16, 16, 16))
    assert at_border(torch.zeros(0, dtype=torch.int64), empty).tolist() == []


def test_the_border_weighs_as_a_class_of_its_own() -> None:
    # Ten voxels in a row, half of them track, half shower: three of each class off the border, four on it.
    section = config.Segment.model_validate(
        {"train": {"num_steps": 1, "batch_size": 1, "learning_rate": 1e-3, "loss": "border"}}
    )
    label = torch.tensor([int(Semantic.TRACK)] * 5 + [int(Semantic.SHOWER)] * 5)
    border = at_border(label, row_of([[0, x, 7, 7] for x in range(10)]))
    logit = torch.randn(10, len(Semantic), generator=torch.Generator().manual_seed(1))
    loss = functional.cross_entropy(logit, label, reduction="none")
    event = torch.zeros(10, dtype=torch.int64)
    total, count = semantic_terms(logit, label, event, 1, section.train, border)["semantic"]
    expected = (loss[:3].mean() + loss[7:].mean() + loss[3:7].mean()) / 3
    torch.testing.assert_close(total / count, expected)
    torch.testing.assert_close(count, torch.tensor(1.0))
