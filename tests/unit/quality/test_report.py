"""The page: its data, its figures, and that it needs no network."""

import base64
import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from handmade import good_event, write_shard
from rich.console import Console

from lartpc import config
from lartpc.run.collect import collect, read_summary
from lartpc.run.display.data import displays, open_shards
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.report import figures_table, report, sections, show
from lartpc.run.report.charts import training_charts
from lartpc.run.report.outcome import activation, outcome
from lartpc.run.summarize import summarize


class Page(HTMLParser):
    """Collects the addresses that a page loads, its visible text and its data."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.words, self.data, self._in = [], [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._in = "data" if ("id", "data") in attrs else tag
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action", "srcset")]

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        if self._in == "data":
            self.data += data
        elif self._in not in ("script", "style"):
            self.words.append(data.strip())


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    with_truth = write_shard(root, "beam/0000")
    without = write_shard(root, "real/<a>", [good_event()], truth=())
    for uid, paths in (("beam/0000", with_truth), ("real/<a>", without)):
        summarize(paths, root / "tables" / uid)
        evaluate(paths, root / "metrics" / f"{uid}.parquet")
    folders = [root / "tables" / uid for uid in ("beam/0000", "real/<a>")]
    metrics = [root / "metrics" / f"{uid}.parquet" for uid in ("beam/0000", "real/<a>")]
    collect(folders, metrics, [with_truth[0], without[0]], root / "dataset")
    curve = root / "models" / "segment" / "training.jsonl"
    curve.parent.mkdir(parents=True)
    lines = [
        {"step": step, "loss": 1 / step, "validation": {"accuracy": 0.5, "recall": None}, "voxels_per_s": 9.0}
        for step in (10, 20)
    ]
    curve.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 30, "lo')
    report(
        root / "dataset", [*with_truth, *without], [curve], root / "report.html", config.Report(num_events=4)
    )
    return root


@pytest.fixture(scope="module")
def page(results):
    return Page((results / "report.html").read_text())


def test_the_page_loads_nothing(page, results):
    assert [address for address in page.addresses if not address.startswith(("#", "data:"))] == []
    style = re.search(r"<style>(.*?)</style>", (results / "report.html").read_text(), re.DOTALL)
    assert style and "url(" not in style[1] and "@import" not in style[1]


def test_the_page_holds_the_figures(page):
    assert {"98.9 %", "voxels correctly classified", "N"} <= set(page.words)
    assert any(re.fullmatch(r"72\.5 ± \d+\.\d+ %", word) for word in page.words)
    assert "ValueError: drawn to fail" in page.words


def test_the_page_holds_the_events(page):
    data = json.loads(page.data)
    titles = [event["title"] for event in data["displays"]]
    assert titles == ["beam/0000, entry 0", "real/<a>, entry 0", "beam/0000, entry 3", "beam/0000, entry 4"]
    first, second = data["displays"][:2]
    assert set(first["sides"]) == {"truth", "prediction"} and set(second["sides"]) == {"prediction"}
    coord = np.frombuffer(base64.b64decode(first["coord"]), "<i2").reshape(3, 47)
    assert coord[0].tolist() == sorted(good_event()["voxel"]["coord"][:, 0].tolist())
    labels = np.frombuffer(base64.b64decode(first["sides"]["prediction"]["particle"]), "<i2")
    assert np.bincount(labels + 1).tolist() == [7, 18, 2, 10, 10]
    assert first["sides"]["truth"]["vertices"][0] == [-6.45, 2.55]


def test_matched_objects_have_one_colour(page):
    first = json.loads(page.data)["displays"][0]
    colours = [particle["colour"] for particle in first["sides"]["prediction"]["particles"]]
    assert colours == [0, 5, 1, 3], "the second is a broken-off piece and gets a new one"
    assert first["sides"]["prediction"]["particles"][0]["name"] == "0 muon, primary, 36 MeV"


def test_charts_have_numbers(page):
    charts = {chart["title"]: chart for chart in json.loads(page.data)["charts"]}
    energy = {series["name"]: sum(series["y"][:-1]) for series in charts["Particle energy"]["series"]}
    assert energy == {"prediction": 4, "truth": 8, "prediction, samples without truth": 4}
    assert charts["segment: loss"]["series"][0]["y"] == [0.1, 0.05]
    assert [s["name"] for s in charts["segment: on held-out events"]["series"]] == ["accuracy"]
    points = {s["name"]: s["y"][-1] for s in charts["Points found up to a distance"]["series"]}
    assert points["predicted to nearest true"] == 1.0
    assert points["true to nearest predicted"] == pytest.approx(4 / 6, rel=1e-4)


def test_large_events_are_thinned_and_say_so(tmp_path):
    event = good_event()
    paths = write_shard(tmp_path, "beam/0000", [event])
    shards = open_shards(paths)
    (drawn,) = displays(shards, config.Report(num_events=1, max_voxels=100))
    assert (drawn["num_voxels"], drawn["num_drawn"]) == (47, 47)
    section = config.Report.model_construct(num_events=1, max_voxels=20)
    (drawn,) = displays(shards, section)
    shards[0].close()
    assert (drawn["num_voxels"], drawn["num_drawn"]) == (47, 20)
    assert len(base64.b64decode(drawn["coord"])) == 3 * 20 * 2


def test_figures_in_the_terminal(results, capsys):
    console = Console(width=120, record=True, file=None)
    with console.capture() as capture:
        console.print(figures_table(read_summary(results / "dataset")))
    text = capture.get()
    assert "72.5 ±" in text and "on true input" in text and "segment" in text
    show(results)
    printed = capsys.readouterr().out
    assert str(results / "dataset") in printed.replace("\n", "")
    assert "report.html" in printed


def test_a_run_ends_with_one_screen(results, monkeypatch):
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    lines = outcome(results)
    assert len(lines) <= 24 and all(len(line) <= 160 for line in lines)
    said = dict(line.split(maxsplit=1) for line in lines if not line.startswith(" "))
    summary = read_summary(results / "dataset")
    assert said["events"].startswith(f"{summary['num_events']} of ")
    assert f"{summary['rows']['particles']} particles" in said["found"]
    accuracy = summary["figures"]["predicted"]["semantic_accuracy"]
    assert said["quality"].startswith(f"voxels correctly classified: {100 * accuracy:.1f} ± ")
    assert said["tables"] == f"{results}/dataset/<table>"
    assert (said["next"].startswith("source ") and "bin/activate" in said["next"]) == bool(activation())
    code = next(line.split("python -c ")[1].strip("'") for line in lines if "python -c" in line)
    exec(code)  # what it says to do works
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    assert activation() == ""


def test_energies_in_bins_are_on_the_page_only(results):
    summary = read_summary(results / "dataset")
    spread = {"bias": 0.01, "resolution": 0.02}
    summary["figures"]["truth"] = {
        **{f"muon_range_{key}": value for key, value in spread.items()},
        "energies": [{"what": "muon_range", "low_mev": 50, "high_mev": 100, **spread}],
    }
    (lines,) = (lines for title, lines in sections(summary).items() if title.startswith("Energy"))
    assert [line.label for line in lines] == ["contained muons, by range", "— 50 to 100 MeV"]
    console = Console(width=120)
    with console.capture() as capture:
        console.print(figures_table(summary))
    assert "by range" in capture.get() and "50 to 100" not in capture.get()


def test_nothing_to_report_makes_a_page(tmp_path):
    collect([], [], [], tmp_path / "dataset")
    report(tmp_path / "dataset", [], [], tmp_path / "report.html", config.Report())
    page = Page((tmp_path / "report.html").read_text())
    assert json.loads(page.data)["displays"] == [] and "no sample" in " ".join(page.words)


def test_a_folder_without_summary_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"summary.json does not exist"):
        report(tmp_path, [], [], tmp_path / "report.html", config.Report())


def test_no_curve_no_chart(tmp_path):
    curve = tmp_path / "segment" / "training.jsonl"
    curve.parent.mkdir()
    curve.write_text("")
    assert training_charts([curve]) == []


def test_a_curve_has_charts_of_loss_optimizer_and_speed(tmp_path):
    curve = tmp_path / "segment" / "training.jsonl"
    curve.parent.mkdir()
    lines = [
        {
            **{"step": step, "loss": 2.0, "loss_points": 0.5, "validation_loss": 2.5, "num_skipped": skipped},
            **{"gradient_norm": 1.0, "largest_gradient_norm": 4.0, "learning_rate": 1e-3, "spikes": []},
            **{"voxels_per_s": 5e4, "read_share": 0.01, "num_voxels": 3e4, "num_spikes": 0},
            "validation": {"accuracy": 0.9},
        }
        for step, skipped in ((10, 0), (20, 3))
    ]
    curve.write_text("".join(json.dumps(line) + "\n" for line in lines))
    charts = {chart["title"]: chart for chart in training_charts([curve])}
    names = {title: [series["name"] for series in chart["series"]] for title, chart in charts.items()}
    assert names == {
        "segment: loss": ["loss", "loss points", "loss on held-out events"],
        "segment: on held-out events": ["accuracy"],
        "segment: learning rate": ["learning rate"],
        "segment: gradient": ["mean before clipping", "largest"],
        "segment: speed of rank 0": ["voxels per s"],
        "segment: waiting for input": ["read share"],
        "segment: steps skipped, and spikes of the loss": ["skipped", "spikes"],
    }
    assert charts["segment: gradient"]["series"][1]["y"] == [4.0, 4.0]
    assert charts["segment: steps skipped, and spikes of the loss"]["series"][0]["y"] == [0, 3]
    lines[1]["num_skipped"] = 0
    curve.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert len(training_charts([curve])) == 6
