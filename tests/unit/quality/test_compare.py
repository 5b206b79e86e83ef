"""Two productions of the same events: differences and their errors, against what is known of made-up ones."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from handmade import QUARANTINED, good_event, write_shard

from lartpc.event import Columns
from lartpc.run.collect import collect
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.report.compare import Difference, compare
from lartpc.run.summarize import summarize
from lartpc.vocab import Semantic

NUM = 40
NUM_WRONG = np.random.default_rng(1).integers(0, 12, NUM)
"""How many of the low-energy and track voxels of each event the second production has wrong besides."""


def worse(entry: int) -> dict[str, Columns]:
    """Return the good event with some more voxels wrong."""
    event = good_event()
    label = event["semantic"]["label"].copy()
    right = np.flatnonzero(label == event["truth_voxel"]["semantic"])[: NUM_WRONG[entry]]
    label[right] = (label[right] + 1) % len(Semantic)
    return {**event, "semantic": {**event["semantic"], "label": label}}


def dataset(root: Path, events: list[dict[str, Columns]]) -> Path:
    paths = write_shard(root, "beam/0000", events)
    summarize(paths, root / "tables")
    evaluate(paths, root / "metrics.parquet")
    metrics = [root / "metrics.parquet"]
    for path in (
        paths[1],
        paths[3],
    ):  # segment and cluster: each stage on true input has a file of figures of its own
        metrics.append(root / f"{path.parts[-3]}.parquet")
        evaluate([paths[0], path], metrics[-1], input_label="truth")
    collect([root / "tables"], metrics, [paths[0]], root / "dataset")
    return root / "dataset"


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[str, str], Difference]]:
    root = tmp_path_factory.mktemp("compare")
    first = dataset(root / "first", [good_event() for _ in range(NUM)])
    second = dataset(root / "second", [worse(entry) for entry in range(NUM)])
    found = compare(first, second, root / "out", num_replicas=150)
    return root, {(one.figure, one.input): one for one in found}


def test_a_difference_and_its_error_are_those_of_the_events(
    compared: tuple[Path, dict[tuple[str, str], Difference]],
) -> None:
    kept = np.delete(NUM_WRONG, QUARANTINED) / 47
    one = compared[1]["semantic_accuracy", "chain"]
    assert one.difference == pytest.approx(-kept.mean(), abs=1e-6) == one.second - one.first
    assert one.error == pytest.approx(kept.std(ddof=1) / np.sqrt(len(kept)), rel=0.2)
    assert one.is_beyond


def test_what_is_the_same_has_no_difference(
    compared: tuple[Path, dict[tuple[str, str], Difference]],
) -> None:
    found = compared[1]
    means, chain, on_truth = "mean per event", "chain", "on true input"
    same = [
        ("num_voxels", means),
        ("particle_ari", chain),
        ("vertex_within_3", chain),
        ("particle_ari", on_truth),
    ]
    for key in same:
        assert (found[key].difference, found[key].error, found[key].is_beyond) == (0, 0, False), key
    assert found["num_voxels", means].first == 47
    # where the truth is put in for the stages before, no event is set aside by them
    wrong = found["semantic_accuracy", on_truth].difference
    assert wrong == pytest.approx(-NUM_WRONG.mean() / 47, abs=1e-6)


def test_table_json_and_page_say_the_same(
    compared: tuple[Path, dict[tuple[str, str], Difference]], capsys: pytest.CaptureFixture[str]
) -> None:
    root, found = compared
    read = json.loads((root / "out/compare.json").read_text())
    assert read["names"] == ["first", "second"]
    assert read["events"] == {"common": NUM - 1, "only_first": 1, "only_second": 1, "same_voxels": NUM - 1}
    assert len(read["figures"]) == len(found)
    text = (root / "out/compare.md").read_text()
    one = found["semantic_accuracy", "chain"]
    line = f"{100 * one.difference:+.2f} ± {100 * one.error:.2f} % | * |"
    assert line in text
    page = (root / "out/compare.html").read_text()
    assert f"{100 * one.difference:+.2f} ± {100 * one.error:.2f} %" in page
    charts = json.loads(page.split('id="data">')[1].split("</script>")[0])["charts"]
    names = {series["name"] for chart in charts for series in chart["series"]}
    assert {"first: prediction", "second: prediction", "first: truth"} <= names
    assert "second: truth" not in names


def test_datasets_without_common_events_are_refused(
    compared: tuple[Path, dict[tuple[str, str], Difference]], tmp_path: Path
) -> None:
    first = compared[0] / "first/dataset"
    paths = write_shard(tmp_path, "other/0000")
    summarize(paths, tmp_path / "tables")
    evaluate(paths, tmp_path / "metrics.parquet")
    collect([tmp_path / "tables"], [tmp_path / "metrics.parquet"], [paths[0]], tmp_path / "dataset")
    with pytest.raises(ValueError, match="no event in common"):
        compare(first, tmp_path / "dataset", tmp_path / "out", num_replicas=2)
    shutil.rmtree(tmp_path / "dataset")
    with pytest.raises(ValueError, match=r"summary\.json does not exist"):
        compare(first, tmp_path / "dataset", tmp_path / "out")
