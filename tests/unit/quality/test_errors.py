"""Statistical errors: of pooled figures, of shares, of medians in bins; and how they are written."""

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from handmade import good_event, quiet_event, write_shard

from lartpc.run.quality.errors import bootstrap, in_bin, num_objects
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.quality.pool import pool
from lartpc.run.report.figures import FEW, FIGURES, _text, quality
from lartpc.run.report.statistics import bootstrapped, median, shares, wilson
from lartpc.vocab import Semantic


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("errors")
    plain = [good_event(), quiet_event([[3, 3, 3], [3, 3, 4]], Semantic.TRACK)]
    paths = write_shard(folder, "beam/0000", [event for event in plain for _ in range(6)])
    evaluate(paths, folder / "metrics.parquet")
    return ds.dataset(folder / "metrics.parquet")


def test_errors_are_the_spread_over_events(measured):
    pooled = pool(measured)
    found = bootstrap(measured, pooled, num_replicas=400)["predicted"]
    # the accuracy is the ratio of sums over events that are drawn with replacement
    table = measured.to_table(columns=["semantic_confusion"])["semantic_confusion"].combine_chunks()
    confusion = table.flatten().to_numpy().reshape(-1, 5, 5)
    total, right = confusion.sum((1, 2)), np.trace(confusion, axis1=1, axis2=2)
    drawn = np.random.default_rng(2).integers(0, len(total), (4000, len(total)))
    wanted = (right[drawn].sum(axis=1) / total[drawn].sum(axis=1)).std()
    assert found["semantic_accuracy"] == pytest.approx(wanted, rel=0.2)
    again = bootstrap(measured, pooled, num_replicas=400)["predicted"]
    assert [again[key] for key in again] == pytest.approx(list(found.values()), nan_ok=True), "no chance"
    lines = pooled["predicted"]["energies"]
    assert (
        all(in_bin(line, "bias") in found for line in lines)
        and in_bin({"what": "muon_range", "low_mev": 50}, "bias") == "muon_range_from_50_bias"
    )


def test_a_share_of_one_has_an_error(measured):
    pooled = pool(measured)
    found = bootstrap(measured, pooled, num_replicas=5)["predicted"]
    certain = [key for key, value in pooled["predicted"].items() if value == 1.0 and key in found]
    known = [key for key in certain if num_objects(pooled["predicted"], key)]
    assert known and all(found[key] == 1 / (num_objects(pooled["predicted"], key) + 1) for key in known)


def test_every_figure_that_is_shown_says_what_it_is_measured_on(measured):
    figures = pool(measured)["predicted"]
    shown = [figure.key for figure in FIGURES if isinstance(figures.get(figure.key), float)]
    assert [key for key in shown if num_objects(figures, key) is None] == []
    assert num_objects(figures, "semantic_accuracy") == sum(map(sum, figures["semantic_confusion"]))
    assert num_objects(figures, "truth_point_within_3") == figures["truth_point_num"]
    assert num_objects(figures, "species_recall_muon") == sum(figures["species_confusion"][2])


def test_rows_with_few_objects_say_so(measured):
    pooled = pool(measured)
    rows = quality(pooled, bootstrap(measured, pooled, num_replicas=5))
    row = next(row for row in rows["interact"] if row.label.startswith("true particles matched"))
    assert row.num == pooled["predicted"]["num_matchable_particles"] and row.is_few == (row.num < FEW)
    assert " ± " in row.chain


def test_no_event_no_error():
    assert bootstrap(pa.table({"file_uid": pa.array([], "string"), "entry": pa.array([], "int64"),
                               "input": pa.array([], "string")}), {}) == {}  # fmt: skip


def test_wilson():
    share, below, above = wilson([0, 5, 10], [10, 10, 10])
    assert share == pytest.approx([0, 0.5, 1])
    assert below == pytest.approx([0, 0.150756, 1 / 11], abs=1e-6) and above[::-1] == pytest.approx(below)
    assert np.isnan(wilson(0, 0)[0])


def test_medians_in_bins_have_errors_over_events():
    random = np.random.default_rng(3)
    event = np.repeat(np.arange(200), 5)
    shift = random.normal(size=200)[event]  # all objects of an event are off together
    found = bootstrapped(np.ones(1000), shift, event, np.array([0.0, 2.0]), median, num_replicas=200)
    assert found.num.tolist() == [1000] and found.centre.tolist() == [1.0]
    assert found.error[0] == pytest.approx(1.2533 / 200**0.5, rel=0.25), "as of 200 events, not of 1,000"
    assert not len(bootstrapped(np.ones(1), np.ones(1), np.zeros(1, int), np.array([0.0, 2.0]), median).num)


def test_shares_leave_out_empty_bins():
    found, below = shares(np.array([1.0, 1.5, 5.0]), np.array([True, False, True]), np.array([0.0, 2, 4, 6]))
    assert found.value.tolist() == [0.5, 1.0] and found.num.tolist() == [2, 1] and below[1] == 0.5


@pytest.mark.parametrize(
    ("value", "unit", "error", "text"),
    [
        (0.98578, "%", 0.00139, "98.6 ± 0.1 %"),
        (0.99566, "%", 0.00042, "99.57 ± 0.04 %"),
        (0.25, "voxel", None, "0.25 voxel"),
        (float("nan"), "%", 0.1, ""),
    ],
)
def test_values_are_written_with_their_errors(value, unit, error, text):
    assert _text(value, unit, error) == text
