"""Uncertainty of the voxel classes: dropout, Dirichlet output, and whether they are calibrated."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import digamma
from test_segment import SMALL, make_empty, make_event, total

from lartpc import calibration
from lartpc.config import Segment, completed, shared_slice
from lartpc.dist import Ranks
from lartpc.nets import uncertainty
from lartpc.nets.inputs import stack
from lartpc.run.training.checkpoint import Checkpoints
from lartpc.run.weights import load_weights, read_weights, save_weights, write_weights
from lartpc.stages import segment, stage
from lartpc.stages.segment import learn

DROPOUT = {"heads": {"dropout": 0.3}, "infer": {"num_passes": 4}}


def settings(**changed: Any) -> Segment:
    return Segment.model_validate({**SMALL.model_dump(), **changed})


def evidence_logits(evidence: list[list[float]]) -> torch.Tensor:
    """The logits whose softplus is this evidence."""
    return torch.log(torch.expm1(torch.tensor(evidence, dtype=torch.float64)))


# -- dropout -----------------------------------------------------------------------------------


def test_without_the_setting_there_is_no_dropout() -> None:
    torch.manual_seed(0)
    net, event = segment.network(SMALL), make_event()
    thin = segment.network(settings(heads={"dropout": 0.3}))
    assert net.state_dict().keys() == thin.state_dict().keys()
    thin.load_state_dict(net.state_dict())
    inputs = stack([event], torch.device("cpu"), 3, "segment")
    with torch.no_grad():
        one, other = net.train()(*inputs)[0], net(*inputs)[0]
        torch.testing.assert_close(one, other)
        assert not torch.allclose(thin.train()(*inputs)[0], thin(*inputs)[0])
        torch.testing.assert_close(thin.eval()(*inputs)[0], thin(*inputs)[0])


def test_passes_of_dropout_average_thinned_networks() -> None:
    torch.manual_seed(0)
    cfg = settings(**DROPOUT)
    net = segment.network(cfg).eval()
    events = [make_event(1), make_empty(), make_event(3, num_voxels=1), make_event(2)]
    found = segment.infer(net, events, cfg)
    for index in (0, 2, 3):
        alone = segment.infer(net, [events[index]], cfg)[0]["semantic"]
        for name, value in found[index]["semantic"].items():
            np.testing.assert_allclose(value, alone[name], atol=1e-5, err_msg=name)
    column = found[0]["semantic"]
    assert (column["uncertainty"] > 0).all() and (column["uncertainty"] <= 1).all()
    assert np.isnan(column["ghost_score"]).all()
    np.testing.assert_allclose(column["score"].sum(1), 1, atol=1e-5)
    plain = segment.infer(net, events[:1], settings(heads={"dropout": 0.3}))[0]["semantic"]
    assert np.isnan(plain["uncertainty"]).all()
    assert not np.allclose(plain["score"], column["score"], atol=1e-4)


def test_disagreement_by_hand() -> None:
    sure, other = torch.tensor([[1.0, 0, 0, 0, 0]]), torch.tensor([[0.0, 1, 0, 0, 0]])
    mean, unsure = uncertainty.mean_and_disagreement([sure, other])
    assert mean[0].tolist() == [0.5, 0.5, 0, 0, 0]
    assert float(unsure) == pytest.approx(math.log(2) / math.log(5))
    even = torch.full((1, 5), 0.2)
    assert float(uncertainty.mean_and_disagreement([even, even])[1]) == pytest.approx(0, abs=1e-6)
    assert float(uncertainty.entropy(even)) == pytest.approx(1)


# -- evidence ----------------------------------------------------------------------------------


def test_the_dirichlet_output_by_hand() -> None:
    # Evidence 3 for class 0, 1 for class 1: parameters 4, 2, 1, 1, 1, sum 9.
    logit = evidence_logits([[3, 1, 1e-12, 1e-12, 1e-12]])
    mean, vacuity = uncertainty.mean_and_vacuity(logit)
    np.testing.assert_allclose(mean[0], np.array([4, 2, 1, 1, 1]) / 9, atol=1e-9)
    assert float(vacuity) == pytest.approx(5 / 9)
    nothing = torch.full((1, 5), -1000.0)
    assert float(uncertainty.mean_and_vacuity(nothing)[1]) == 1


def test_the_evidential_loss_by_hand() -> None:
    logit = evidence_logits([[3, 1, 1e-12, 1e-12, 1e-12]])
    p = np.array([4, 2, 1, 1, 1]) / 9
    true = np.array([1, 0, 0, 0, 0])
    squared = ((true - p) ** 2).sum() + (p * (1 - p)).sum() / 10
    # Wrong evidence: parameters 1, 2, 1, 1, 1 against all 1.
    wrong = np.array([1, 2, 1, 1, 1])
    divergence = math.lgamma(6) - math.lgamma(5) - math.lgamma(2) + (digamma(2) - digamma(6))
    found = uncertainty.evidential_loss(logit, torch.tensor([0]), 0.5)
    assert float(found) == pytest.approx(squared + 0.5 * divergence)
    dirichlet = torch.distributions.Dirichlet
    expected = torch.distributions.kl_divergence(
        dirichlet(torch.tensor(wrong, dtype=torch.float64)), dirichlet(torch.ones(5, dtype=torch.float64))
    )
    assert divergence == pytest.approx(float(expected))


@pytest.mark.parametrize("loss", ["ce", "inverse"])
def test_evidential_training_learns_an_event(loss: str) -> None:
    torch.manual_seed(1)
    train = {**SMALL.train.model_dump(), "loss": loss}
    cfg = settings(heads={"evidential": True}, train=train)
    event, net = make_event(), segment.network(cfg)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        loss_value = total(segment.loss(net, [event, make_empty()], cfg))
        loss_value.backward()
        optimizer.step()
    found = segment.infer(net.eval(), [event], cfg)[0]["semantic"]
    assert (found["label"] == event["truth_voxel"]["semantic"]).mean() > 0.9
    assert 0 < found["uncertainty"].mean() < 0.7
    np.testing.assert_allclose(found["score"].sum(1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"infer": {"num_passes": 5}}, "with heads.dropout"),
        ({"infer": {"num_passes": 1}, "heads": {"dropout": 0.1}}, "2 and more"),
        ({"infer": {"num_passes": 5}, "heads": {"dropout": 0.1, "evidential": True}}, "choose one"),
        ({"heads": {"evidential": True}, "train": {"loss": "lovasz"}}, "loss of its own"),
        ({"infer": {"ghost_threshold": 0.9}}, "needs heads.ghost"),
    ],
)
def test_heads_that_do_not_fit_together(wrong: dict[str, Any], said: str) -> None:
    if "train" in wrong:
        wrong = {**wrong, "train": {**Segment().train.model_dump(), **wrong["train"]}}
    with pytest.raises(ValueError, match=said):
        Segment.model_validate(wrong)


# -- weights of before -------------------------------------------------------------------------


def test_weights_made_before_a_setting_existed_count_as_its_default(tmp_path: Path) -> None:
    net, row, path = segment.network(SMALL), stage("segment"), tmp_path / "weights.pt"
    save_weights(path, row, SMALL, net.state_dict(), {})
    content = read_weights(path)
    content["settings"] = content["settings"].replace(
        '"heads": {"dropout": 0.0, "evidential": false, "ghost": false}, ', ""
    )
    assert "heads" not in content["settings"]
    write_weights(path, content)
    assert isinstance(load_weights(path, row, SMALL), learn.Segmenter)
    with pytest.raises(ValueError, match=r"segment.heads: .*'evidential': False.*there, .*True"):
        load_weights(path, row, settings(heads={"evidential": True}))


def test_only_missing_settings_are_completed() -> None:
    shared = shared_slice(SMALL)
    assert completed("segment", shared) == shared
    assert completed("segment", {"unet": {"depth": 3}})["unet"] == {
        **shared_slice(Segment())["unet"],
        "depth": 3,
    }
    assert completed("segment", {"of a later version": 1}) == {"of a later version": 1}


def test_checkpoints_made_before_a_setting_existed_are_gone_on_from(tmp_path: Path) -> None:
    ranks = Ranks(0, 1, 0, torch.device("cpu"), "none")
    Checkpoints(tmp_path / "resume", {"seed": 1}, ranks).save(3, {"step": 3})

    def load(new: int) -> Any:
        key = {"seed": 1, "new": new}
        return Checkpoints(tmp_path / "resume", key, ranks, {"seed": 0, "new": 2, "other": 0}).load()

    assert load(2)["step"] == 3
    assert load(5) is None  # and it is set aside


# -- calibration -------------------------------------------------------------------------------


def test_calibration_error_by_hand() -> None:
    score = np.array([[0.9, 0.1], [0.95, 0.05], [0.6, 0.4], [0.45, 0.55]])
    bins = calibration.reliability(score, np.array([0, 1, 0, 1]))  # the second is wrong
    assert bins[:, 0].sum() == 4 and bins[:, 1].sum() == 3
    # 0.9 is in bin 13 of 15, 0.95 in bin 14, 0.6 in bin 8 (0.533 to 0.6), as is 0.55.
    assert bins[13].tolist() == [1, 1, 0.9] and bins[14].tolist() == [1, 0, 0.95]
    assert bins[8].tolist() == [2, 2, pytest.approx(1.15)]
    assert calibration.calibration_error(bins) == pytest.approx((0.1 + 0.95 + 0.85) / 4)
    assert math.isnan(calibration.calibration_error(calibration.reliability(score[:0], np.zeros(0, int))))


def test_errors_by_uncertainty_by_hand() -> None:
    unsure = np.array([0.0, 1e-4, 0.5, 1.0, np.nan])
    right = np.array([True, True, False, True, False])
    bins = calibration.errors_by_uncertainty(unsure, right)
    assert bins.sum(axis=0).tolist() == [4, 1]
    assert calibration.error_among_surest(bins, 0.5) == 0
    assert calibration.error_among_surest(bins, 1.0) == pytest.approx(0.25)
    assert math.isnan(calibration.error_among_surest(np.zeros_like(bins), 0.5))
