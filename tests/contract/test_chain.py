"""What every stage promises, whatever it computes: one suite over CHAIN and OPTIONAL."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ODD_EVENTS, typical, with_hits

from lartpc.config import SECTIONS, Section
from lartpc.event import PRODUCTS, Event, conform, empty, num_rows
from lartpc.run.weights import load_weights, refuse_not_finite, save_weights, warm_start
from lartpc.stages import CHAIN, OPTIONAL, Stage, needs_weights
from lartpc.truth import upstream_from_truth
from lartpc.vocab import GHOST

TINY = {"filters": 4, "depth": 3, "repetitions": 1}
SMALL: dict[str, dict[str, Any]] = {
    "segment": {"unet": TINY, "infer": {"proposal_floor": 0.0}},
    "points": {"score_threshold": 0.0, "start_threshold": 0.0, "class_threshold": 0.0},
    "cluster": {"graph": {"num_hidden": 16}},
    "interact": {"graph": {"num_hidden": 16}},
    "classify": {"unet": TINY, "num_hidden": 16},
    "flow": {"num_hidden": 8},
    "detect": {"dimension": 3, "unet": TINY, "level": 1, "min_voxels": 3, "infer": {"score_floor": 0.0}},
}

OTHERS: list[tuple[str, str, dict[str, Any]]] = [
    *(
        ("cluster", method, {**SMALL["cluster"], "fragments": {"method": method, "unet": TINY}})
        for method in ("graph_spice", "embedding")
    ),
    ("interact", "rules", {"infer": {"interactions": "rules"}}),
    ("classify", "views", {**SMALL["classify"], "views_deg": [35.7, -35.7, 0.0]}),
    ("segment", "heads", {**SMALL["segment"], "heads": {"ghost": True, "evidential": True}}),
    (
        "classify",
        "own_classes",
        {**SMALL["classify"], "heads": [], "classes": {"muon": [13, -13], "other": [11, 22]}},
    ),
]
"""Stages that have several methods: name of the stage, of the method, and its settings."""


@dataclass(frozen=True)
class Case(Stage):
    """A stage with the settings that it is tested with."""

    settings: dict[str, Any] = field(default_factory=dict)
    method: str = ""


ROWS = {row.name: row for row in (*CHAIN, *OPTIONAL)}
CASES = [Case(**vars(row), settings=SMALL[row.name]) for row in ROWS.values()]
CASES += [
    Case(
        **(
            vars(ROWS[name]) | {"learned": needs_weights(ROWS[name], SECTIONS[name].model_validate(settings))}
        ),
        settings=settings,
        method=method,
    )
    for name, method, settings in OTHERS
]

stages = pytest.mark.parametrize("stage", CASES, ids=lambda case: case.method or case.name)
learned = pytest.mark.parametrize(
    "stage", [case for case in CASES if case.learned], ids=lambda case: case.method or case.name
)


def small(stage: Case) -> Any:
    section: type[Section] = SECTIONS[stage.name]
    return section.model_validate(stage.settings)


def network(stage: Case) -> Any:
    if not stage.learned:
        return None
    torch.manual_seed(0)
    net = stage.module().network(small(stage))
    return net.eval()


def inputs(stage: Case, entry: int = 0, kind: str = "typical") -> Event:
    """Return an event with what the stage reads, made from the truth, and the truth itself."""
    event = typical(entry) if kind == "typical" else ODD_EVENTS[kind](entry)
    derived = [name for name in stage.reads if name not in ("voxel", "proposal", "plane_hit")]
    event = upstream_from_truth(event, derived)
    if "plane_hit" in stage.reads:
        event = with_hits(event)
    if "truth_neutrino" in stage.learns:
        neutrino = empty("truth_neutrino", min(1, num_rows(event["truth_interaction"])))
        event = event.with_products(
            {"truth_neutrino": {**neutrino, "interaction": neutrino["interaction"] + 1}}
        )
    if "proposal" in stage.reads:
        event = event.with_products({"proposal": proposals(event)})
    return event


def proposals(event: Event) -> dict[str, Any]:
    points = event["truth_point"]
    one_hot = np.eye(5, dtype=np.float32)[points["semantic"]]
    num = len(points["kind"])
    return {
        "position": points["position"],
        "score": np.full(num, 0.9),
        "class_score": one_hot.reshape(-1, 5),
        "end_score": points["kind"],
    }


@stages
@pytest.mark.parametrize("kind", ["typical", *ODD_EVENTS])
def test_writes_what_it_declares(stage: Case, kind: str) -> None:
    event = inputs(stage, kind=kind)
    (products,) = stage.module().infer(network(stage), [event], small(stage))
    assert set(products) == set(stage.writes)
    for name, columns in products.items():
        conform(name, columns)
        per = PRODUCTS[name].per
        if per and per in (event if per not in products else products):
            aligned = products[per] if per in products else event[per]
            assert num_rows(columns) == num_rows(aligned)
        for column, spec in PRODUCTS[name].columns.items():
            finite = np.isfinite(columns[column])
            # What a network says only when asked is unknown for all rows, or for none.
            is_optional = np.isnan(spec.none)
            assert finite.all() or (is_optional and not finite.any()), f"{name}.{column}"
            if spec.codes:
                ghost = {GHOST} if stage.method == "heads" else set()
                assert set(np.unique(columns[column])) <= {-1, *map(int, spec.codes)} | ghost


@stages
def test_reads_only_what_it_declares(stage: Case) -> None:
    event = inputs(stage)
    bare = Event(event.file_uid, event.entry, event.box, {name: event[name] for name in stage.reads})
    net = network(stage)
    (full,) = stage.module().infer(net, [event], small(stage))
    (declared,) = stage.module().infer(net, [bare], small(stage))
    assert_same(full, declared)


@stages
def test_does_not_depend_on_order_or_batch(stage: Case) -> None:
    events = [inputs(stage, 0), inputs(stage, 1, "empty"), inputs(stage, 2), inputs(stage, 3, "one_voxel")]
    net, cfg, infer = network(stage), small(stage), stage.module().infer
    together = infer(net, events, cfg)
    backwards = infer(net, events[::-1], cfg)[::-1]
    alone = [infer(net, [event], cfg)[0] for event in events]
    for one, other, third in zip(together, backwards, alone, strict=True):
        assert_same(one, other)
        assert_same(one, third)


@stages
def test_does_not_change_its_input(stage: Case) -> None:
    event, untouched = inputs(stage), inputs(stage)
    stage.module().infer(network(stage), [event], small(stage))
    for name in stage.reads:
        for column, values in event[name].items():
            np.testing.assert_array_equal(values, untouched[name][column])


@stages
def test_metrics_are_fractions(stage: Case) -> None:
    event = inputs(stage)
    (products,) = stage.module().infer(network(stage), [event], small(stage))
    found = stage.module().metrics(event.with_products(products), event, small(stage))
    assert found
    for name, (part, whole) in found.items():
        assert np.isfinite([part, whole]).all(), name


@learned
def test_losses_of_odd_batches_are_finite_and_have_gradients(stage: Case) -> None:
    net = network(stage).train()
    batches = [
        [inputs(stage, 0)],
        [inputs(stage, 1, "empty")],
        [inputs(stage, 2, "one_voxel")],
        [inputs(stage, 3, "low_energy_only"), inputs(stage, 4)],
    ]
    for batch in batches:
        terms = stage.module().loss(net, batch, small(stage))
        total = sum(part / count.clamp(min=1) for part, count in terms.values())
        assert torch.isfinite(total)
        if total.requires_grad:
            total.backward()
    for name, parameter in net.named_parameters():
        if parameter.grad is not None:
            assert torch.isfinite(parameter.grad).all(), name


@learned
def test_refuses_foreign_weights(stage: Case, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    save_weights(path, stage, small(stage), network(stage).state_dict(), {})
    net = load_weights(path, stage, small(stage))
    for name, tensor in network(stage).state_dict().items():
        assert torch.equal(net.state_dict()[name], tensor)
    with pytest.raises(ValueError, match="other settings"):
        load_weights(path, stage, SECTIONS[stage.name]())
    other = next(case for case in CASES if case.learned and case.name != stage.name)
    with pytest.raises(ValueError, match=f"holds weights of stage '{stage.name}'"):
        load_weights(path, other, small(other))
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a weights file"):
        load_weights(path, stage, small(stage))


@learned
def test_numbers_that_are_not_finite_are_refused(stage: Case, tmp_path: Path) -> None:
    """In weights, and in what weights make that are finite themselves: as nan they could pass for "none"."""
    state = network(stage).state_dict()
    name = next(name for name, tensor in state.items() if tensor.is_floating_point() and tensor.numel() > 1)
    spoilt = {**state, name: state[name].clone()}
    spoilt[name].view(-1)[1] = np.nan
    save_weights(tmp_path / "weights.pt", stage, small(stage), spoilt, {})
    with pytest.raises(ValueError, match=rf"weights\.pt: {name} hold numbers that are not finite"):
        load_weights(tmp_path / "weights.pt", stage, small(stage))
    with pytest.raises(ValueError, match=rf"weights\.pt: {name} hold numbers that are not finite"):
        warm_start(network(stage), tmp_path / "weights.pt")
    net = network(stage)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(1e30)
    refuse_not_finite(net)
    with pytest.raises(ValueError, match="the network gives numbers that are not finite"):
        stage.module().infer(net, [inputs(stage)], small(stage))


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    for product, columns in one.items():
        for name, values in columns.items():
            np.testing.assert_allclose(
                values, other[product][name], rtol=2e-4, atol=2e-4, err_msg=f"{product}.{name}"
            )
