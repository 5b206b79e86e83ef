"""The options of a training, each by what it does to real trainings on one rank."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkout import REPOSITORY
from conftest import typical
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional
from training import assert_same_bits, section, train_here, weights, write_events

from lartpc import dist, sparse
from lartpc.config import Segment
from lartpc.provenance import fingerprint
from lartpc.run.training.curve import MAX_SKIPPED, Curve
from lartpc.run.training.optimize import Optimization
from lartpc.run.weights import load_weights, read_weights, warm_start, write_weights
from lartpc.sparse import bf16
from lartpc.sparse.messages import can_multiply_in_bf16
from lartpc.stages import segment, stage

ALONE = dist.Ranks(0, 1, 0, torch.device("cpu"), "none")


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_events(tmp_path_factory.mktemp("events") / "ingest.h5")


def optimization(name: str = "segment", **settings: Any) -> Optimization:
    torch.manual_seed(1)
    module, chosen = stage(name).module(), section(name, **settings)
    return Optimization(module.network(chosen), module.loss, chosen, ALONE)


def gradients(run: Optimization) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in run.net.parameters() if p.grad is not None])


def test_two_deterministic_runs_give_the_same_bits(tmp_path: Path, events: Path) -> None:
    for name in ("one", "two"):
        train_here(tmp_path / name, events, "segment", deterministic=True)
    train_here(tmp_path / "other", events, "segment", deterministic=True, seed=2)
    assert not torch.are_deterministic_algorithms_enabled()
    assert_same_bits(weights(tmp_path / "one"), weights(tmp_path / "two"))
    assert not torch.equal(
        weights(tmp_path / "one")["unet.stem.weight"], weights(tmp_path / "other")["unet.stem.weight"]
    )


def test_reading_ahead_changes_no_bit_and_the_training_can_be_watched(
    tmp_path: Path, events: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for num_workers in (0, 1):
        train_here(tmp_path / str(num_workers), events, "segment", num_workers=num_workers, shift=9)
    assert_same_bits(weights(tmp_path / "0"), weights(tmp_path / "1"))
    board = EventAccumulator(str(tmp_path / "1" / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("loss/loss")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in board.Scalars("held out/loss")] == [3, 6]
    assert "6/6 steps" in capfd.readouterr().err


def test_mixed_precision_is_near_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bf16, "takes", lambda weight: True)  # the network of these tests is small
    found, products = {}, {}
    batch = [upstream("segment", entry) for entry in range(3)]
    for precision in ("fp32", "bf16"):
        run = optimization("segment", precision=precision, clip_norm=1e9)
        loss, _ = run.update([batch], 0, [])
        assert all(p.dtype == torch.float32 for p in run.net.parameters())
        found[precision], products[precision] = loss, gradients(run)
    in_bf16 = sparse.bf16_fault() is None
    for term, value in found["fp32"].items():
        assert found["bf16"][term] == pytest.approx(value, rel=0.03), term
        if in_bf16:
            assert found["bf16"][term] != value or value == 0, "a term that no event has is 0"
        else:
            assert found["bf16"][term] == value
    alike = functional.cosine_similarity(products["fp32"], products["bf16"], dim=0)
    assert alike > 0.97


def test_mixed_precision_says_where_it_changes_nothing_on_a_cpu(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bf16, "unit", lambda: None)  # as on most processors
    batch = [upstream("interact", entry) for entry in range(3)]
    found = [
        optimization("interact", precision=precision).update([batch], 0, [])[0]
        for precision in ("fp32", "bf16")
    ]
    assert found[0] == found[1]
    assert "changes nothing on this CPU" in caplog.text


def test_graph_networks_learn_in_bf16(caplog: pytest.LogCaptureFixture) -> None:
    if not can_multiply_in_bf16():
        pytest.skip("this processor passes no messages in bf16")
    batch = [upstream("interact", entry) for entry in range(3)]
    runs = {name: optimization("interact", precision=name) for name in ("fp32", "bf16")}
    found = {name: [run.update([batch], step, [])[0] for step in range(8)] for name, run in runs.items()}
    assert not caplog.text
    for term, value in found["fp32"][0].items():
        if term != "gradient_norm":
            assert found["bf16"][0][term] == pytest.approx(value, rel=0.03), term
    assert found["bf16"][0] != found["fp32"][0]
    assert found["bf16"][-1]["loss"] < found["bf16"][0]["loss"]


def upstream(name: str, entry: int) -> Any:
    from lartpc.truth import upstream_from_truth

    return upstream_from_truth(typical(entry), [p for p in stage(name).reads if p != "voxel"])


def test_pieces_of_a_batch_give_the_mean_of_their_gradients() -> None:
    batch = [typical(entry) for entry in range(4)]
    found = []
    for pieces in ([batch[:2], batch[2:]], [batch[:2]], [batch[2:]]):
        run = optimization(clip_norm=1e9)
        loss, _ = run.update(pieces, 0, [])
        found.append((loss["loss"], gradients(run)))
    both, one, two = found
    assert both[0] == pytest.approx((one[0] + two[0]) / 2)
    torch.testing.assert_close(both[1], (one[1] + two[1]) / 2, rtol=1e-4, atol=1e-6)


def test_a_gradient_that_is_not_finite_leaves_the_network_as_it_was() -> None:
    run = optimization()
    run.update([[typical(0)]], 0, [])
    before = {name: value.clone() for name, value in run.net.state_dict().items()}
    bad = typical(1)
    energy = bad["voxel"]["energy"].copy()
    energy[0] = np.nan
    bad = bad.with_products({"voxel": {**bad["voxel"], "energy": energy}})
    loss, _ = run.update([[bad]], 1, [])
    assert not math.isfinite(loss["gradient_norm"])
    assert_same_bits(before, run.net.state_dict())


def test_spikes_and_skipped_steps_are_counted(capfd: pytest.CaptureFixture[str]) -> None:
    curve = Curve("train x", quiet=False)
    for step in range(1, 61):
        value = {40: 9.0, 45: math.nan}.get(step, 1.0)
        curve.record(step, {"loss": value, "gradient_norm": value}, {"num_voxels": 10.0, "step_s": 2.0})
        if step % 30 == 0:
            curve.add_line(step, {}, 0.1)
    assert [line["num_spikes"] for line in curve.lines] == [0, 1]
    assert curve.lines[1]["spikes"] == [40]
    assert [line["num_skipped"] for line in curve.lines] == [0, 1]
    assert curve.lines[1]["loss"] == pytest.approx((28 + 9) / 29)
    assert curve.lines[1]["largest_gradient_norm"] == 9.0
    assert curve.lines[1]["voxels_per_s"] == pytest.approx(5.0)
    assert curve.voxels_per_s == pytest.approx(5.0)
    json.dumps(curve.lines, allow_nan=False)
    said = capfd.readouterr().err
    assert "step 40: the loss 9 spikes, 9.0 times the usual" in said
    assert "step 45: loss or gradient is not finite" in said
    copy = Curve("train x", quiet=True)
    copy.restore(curve.state())
    assert copy.state() == curve.state()
    with pytest.raises(ValueError, match=r"lower train\.learning_rate"):
        for step in range(100, 101 + MAX_SKIPPED):
            copy.record(step, {"loss": math.inf, "gradient_norm": 1.0}, {})


def test_early_stopping_gives_the_best_weights(
    tmp_path: Path, events: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = train_here(
        tmp_path, events, num_steps=40, learning_rate=0.3, warmup_fraction=0, validate_every=1, patience=2
    )
    lines = [json.loads(one) for one in (tmp_path / "training.jsonl").read_text().splitlines()]
    losses = [one["validation_loss"] for one in lines]
    best = int(np.argmin(losses))
    assert len(losses) == best + 3 < 40
    assert line["step"] == lines[-1]["step"]
    said = capfd.readouterr().err
    assert f"ends at step {len(losses)}" in said and f"of step {best + 1}" in said
    about = torch.load(tmp_path / "weights.pt", weights_only=True)["provenance"]
    assert json.loads(about)["final"]["step"] == best + 1
    assert_same_bits(weights(tmp_path), weights(tmp_path, "weights.best.pt"))
    last = weights(tmp_path, "weights.last.pt")
    assert any(not torch.equal(value, last[name]) for name, value in weights(tmp_path).items())
    load_weights(tmp_path / "weights.last.pt", stage("interact"), section("interact"))


def test_the_last_weights_are_the_output_without_patience(tmp_path: Path, events: Path) -> None:
    train_here(tmp_path, events)
    assert_same_bits(weights(tmp_path), weights(tmp_path, "weights.last.pt"))


def test_a_warm_start_takes_what_fits_and_frozen_parts_stay(
    tmp_path: Path, events: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train_here(tmp_path / "first", events, "segment")
    file = tmp_path / "first" / "weights.pt"
    content = read_weights(file)
    state = content["state"]
    state["classes.weight"] = torch.zeros(7, 4)
    state["old.weight"] = torch.zeros(2)
    state |= {f"older.{i}.weight": torch.zeros(2) for i in range(6)}
    del state["classes.bias"]
    write_weights(file, content)
    capfd.readouterr()
    train_here(tmp_path / "second", events, "segment", init_from=str(file), freeze=["unet."])
    said = capfd.readouterr().err
    num = len(list(segment.network(section("segment")).parameters()))
    assert f"starts from {file}: {num - 2} of {num} parameters taken" in said
    assert "of another shape there: classes.weight" in said
    assert "not there: classes.bias" in said
    assert "not used here: old (1), older (6)" in said
    origin = json.loads(torch.load(tmp_path / "second" / "weights.pt", weights_only=True)["provenance"])
    assert origin["start"] == fingerprint(file)[1]
    after = weights(tmp_path / "second")
    for name, value in after.items():
        if name.startswith("unet."):  # running statistics included
            assert torch.equal(value, state[name]), name
    assert not torch.equal(after["ppn.head.weight"], state["ppn.head.weight"])
    with pytest.raises(ValueError, match=r"no parameter of .* fits"):
        train_here(tmp_path / "third", events, "interact", init_from=str(file))
    with pytest.raises(ValueError, match="no parameter begins with 'decoder'; the network has unet, classes"):
        optimization(freeze=["decoder"])
    with pytest.raises(ValueError, match="leaves no parameter"):
        optimization(freeze=["unet.", "classes.", "ppn.", "affinity."])


@pytest.mark.parametrize(
    ("heads", "fresh"),
    [({"dropout": 0.2}, []), ({"evidential": True}, []), ({"ghost": True}, ["ghost.bias", "ghost.weight"])],
)
def test_heads_are_trained_on_from_the_released_weights(heads: dict[str, Any], fresh: list[str]) -> None:
    torch.manual_seed(1)
    net = segment.network(Segment.model_validate({"heads": heads}))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    file = REPOSITORY / "models" / "segment.pt"
    said = warm_start(net, file)
    num = len(list(net.parameters()))
    assert f"{num - len(fresh)} of {num} parameters taken" in said
    released = read_weights(file)["state"]
    for name, value in net.state_dict().items():
        start = before[name] if name in fresh else released[name].to(value.dtype)
        assert torch.equal(value, start), name


@pytest.mark.parametrize("loss", ["ce", "inverse", "border", "weighted", "focal", "lovasz", "ce_lovasz"])
def test_every_loss_takes_odd_events(loss: str) -> None:
    from conftest import ODD_EVENTS

    chosen = {"class_weights": (1, 1, 5, 5, 0.5)} if loss == "weighted" else {}
    run = optimization(loss=loss, **chosen)
    odd = [make(number) for number, make in enumerate(ODD_EVENTS.values())]
    for batch in ([typical(0), *odd], *([one] for one in odd)):
        value, _ = run.update([batch], 0, [])
        assert math.isfinite(value["loss"])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"accumulate": 3}, "cannot be cut"),
        ({"patience": 1, "num_validation_events": 0}, "need num_validation_events"),
        ({"class_weights": (1, 1, 1, 1, 1)}, "go together"),
        ({"loss": "weighted"}, "go together"),
        ({"focal_gamma": 1.0}, "needs loss: focal"),
        ({"lovasz_share": 0.05}, "needs loss: ce_lovasz"),
        ({"loss": "weighted", "class_weights": (0, 0, 0, 0, 0)}, "all zero"),
    ],
)
def test_settings_without_effect_are_errors(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Segment.model_validate({"train": {**Segment().train.model_dump(), **wrong}})
