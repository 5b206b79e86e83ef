"""The numbers on the page of the report, computed again from the tables by other means."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from handmade import good_event, write_shard

from lartpc import config
from lartpc.run.collect import collect
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.report import report
from lartpc.run.summarize import summarize

SPECIES = ["photon", "electron", "muon", "pion", "proton", "kaon"]


class Page(HTMLParser):
    """Collects the rows of the tables as texts of their cells, and what the scripts draw."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.data = ""
        self._in = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
        self._in = "data" if ("id", "data") in attrs else "cell" if tag in ("td", "th") else self._in

    def handle_endtag(self, tag: str) -> None:
        self._in = "" if tag in ("td", "th", "script", "table") else self._in

    def handle_data(self, data: str) -> None:
        if self._in == "data":
            self.data += data
        elif self._in == "cell":
            self.rows[-1][-1] += data.strip()


def wrong(entry: int) -> dict[str, Any]:
    """Return the good event with some voxels of another class, and in some events without its vertex."""
    event = good_event()
    label = event["semantic"]["label"].copy()
    label[: 3 * (entry % 4)] = 1
    return {**event, "semantic": {**event["semantic"], "label": label}}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("numbers")
    paths = write_shard(root, "beam/0000", [wrong(entry) for entry in range(8)])
    summarize(paths, root / "tables")
    evaluate(paths, root / "metrics.parquet")
    collect([root / "tables"], [root / "metrics.parquet"], [paths[0]], root / "dataset")
    report(root / "dataset", [], [], root / "report.html", config.Report())
    return root


def figures_again(dataset: Path) -> dict[tuple[str, str], float]:
    """Compute figures [%] from the tables, by the section and the name that the page gives them."""
    rows = pd.read_parquet(dataset / "metrics")
    rows = rows[rows["input"] == "predicted"]

    def flat(name: str) -> Any:
        return np.concatenate([one for one in rows[name] if one is not None])

    confusion = flat("semantic_confusion").reshape(-1, 5, 5).sum(axis=0)
    again = {("segment", "voxels correctly classified"): np.trace(confusion) / confusion.sum()}
    for number, name in enumerate(("shower", "track", "Michel", "delta", "low-energy")):
        if whole := confusion[number].sum():
            again["segment", f"— of {name} voxels"] = confusion[number, number] / whole
    again["points", "true points found within 3 voxels"] = np.mean(flat("truth_point_distance") <= 3)
    again["points", "predicted points true within 3 voxels"] = np.mean(flat("point_distance") <= 3)
    species = flat("species_confusion").reshape(-1, len(SPECIES), len(SPECIES)).sum(axis=0)
    matched = species.sum() / rows["num_matchable_particles"].sum()
    again["interact", "true particles matched (IoU ≥ 0.5)"] = matched
    for stage, level in (("cluster", "fragment"), ("cluster", "particle"), ("interact", "interaction")):
        for name, label in (("purity", "purity"), ("efficiency", "efficiency"), ("ari", "ARI")):
            again[stage, f"{label} of {level}s"] = rows[f"{level}_{name}"].mean()
    return {name: 100 * value for name, value in again.items()}


def check_figures(root: Path) -> int:
    """Compare, and return how many were there to be compared."""
    on_page: dict[tuple[str, str], str] = {}
    section = ""
    for cells in Page(root / "report.html").rows:
        if len(cells) == 1:
            section = cells[0]
        elif len(cells) > 2:
            on_page.setdefault((section, cells[0]), cells[1])
    again = figures_again(root / "dataset")
    for name in again.keys() & on_page.keys():
        shown = on_page[name].split()[0]
        rounding = 0.5 * 10.0 ** -len(shown.partition(".")[2])
        assert float(shown) == pytest.approx(again[name], abs=1.001 * rounding), name
    return len(again.keys() & on_page.keys())


def check_charts(root: Path) -> int:
    """Compare efficiencies, purities and standard candles with the tables; return how many points there were."""
    true, reco = (pd.read_parquet(root / "dataset" / name) for name in ("truth_particles", "particles"))
    true = true[true["species"].notna() & (true["semantic"] != "low_energy") & (true["num_voxels"] > 0)]
    judged = reco[reco["truth_iou"].notna()]
    charts = {chart["title"]: chart for chart in json.loads(Page(root / "report.html").data)["charts"]}
    num = 0
    energies, lengths = np.geomspace(3, 3000, 16), np.geomspace(0.5, 500, 16)
    for title, frame, iou, column, edges in (
        ("Efficiency against true kinetic energy", true, "iou", "kinetic_energy_initial_mev", energies),
        ("Efficiency against true length", true, "iou", "length_cm", lengths),
        ("Purity against reconstructed kinetic energy", judged, "truth_iou", "kinetic_energy_mev", energies),
        ("Purity against reconstructed length", judged, "truth_iou", "length_cm", lengths),
    ):
        if title not in charts:  # nothing has that column
            continue
        for series in charts[title]["series"]:
            objects = frame[frame["semantic"] == series["name"]]
            place = np.digitize(objects[column].astype(float), edges) - 1
            expected = [
                ((objects[iou] >= 0.5)[place == at].mean(), int((place == at).sum())) for at in range(15)
            ]
            expected = [(share, count) for share, count in expected if count]
            found = [(y, n) for y, n in zip(series["y"], series["num"], strict=True) if n]
            assert [count for _, count in found] == [count for _, count in expected], (title, series["name"])
            for (share, _), (again, _) in zip(found, expected, strict=True):
                assert share == pytest.approx(again, abs=1e-4)
            num += len(found)
    spectra = charts["Michel spectrum"]["series"]
    counted = sum(series["total"] for series in spectra if series["name"].startswith("reconstructed"))
    assert counted == (reco["semantic"] == "michel").sum()
    if "Mass of the π⁰" in charts:
        pairs = reco[(reco["pi_zero_id"] >= 0) & reco["pi_zero_mass_mev"].notna()]
        expected_pairs = len(pairs.drop_duplicates(["file_uid", "entry", "pi_zero_id"]))
        assert charts["Mass of the π⁰"]["series"][0]["total"] == expected_pairs
    return num


def test_the_figures_are_those_of_the_tables(results: Path) -> None:
    assert check_figures(results) >= 15


def test_the_charts_are_those_of_the_tables(results: Path) -> None:
    assert check_charts(results) > 5


def test_what_is_said_of_events_is_so(results: Path) -> None:
    events = pd.read_parquet(results / "dataset" / "events")
    text = (results / "report.html").read_text()
    summary = json.loads((results / "dataset" / "summary.json").read_text())
    assert summary["num_events"] == len(events) == 8
    assert summary["num_quarantined"] == (events["status"] == "quarantined").sum()
    assert summary["num_voxels"] == events["num_voxels"].sum()
    assert f"{events['num_voxels'].sum():,}" in text
