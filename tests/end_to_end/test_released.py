"""The default production with the released weights: tables without training, of the quality that they have."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from checkout import REPOSITORY, copy_checkout
from tutorials import follow
from workflow.test_dag import jobs, snakemake

from lartpc.config import Config
from lartpc.provenance import fingerprint
from lartpc.run.view.picture import BROWSERS
from lartpc.run.weights import load_weights
from lartpc.stages import CHAIN

NUM_EVENTS = 16
FLOORS = {
    ("predicted", "semantic_accuracy"): 0.96,
    ("predicted", "truth_point_within_10"): 0.8,
    ("predicted", "particle_ari"): 0.8,
    ("truth", "particle_ari"): 0.9,
    ("truth", "interaction_ari"): 0.85,
    ("truth", "species_mean_recall"): 0.7,
}
"""Well below what models/README.md says: few events scatter. What is broken falls far deeper."""


@pytest.mark.parametrize("name", ["config", "graph_spice", "embedding"])
def test_the_weights_fit_the_configuration(name: str) -> None:
    settings = Config.model_validate(yaml.safe_load((REPOSITORY / f"config/{name}.yaml").read_text()))
    for row in CHAIN:
        section = getattr(settings, row.name)
        if row.learned and section.weights:
            path = REPOSITORY / section.weights
            load_weights(path, row, section)
            card = (path.parent / "README.md").read_text()
            assert fingerprint(path)[1] in card, (
                f"the card is of other weights: lartpc release of {path.name}"
            )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_checkout(tmp_path_factory.mktemp("released"))
    (folder / "config/samples.tsv").write_text(
        f"sample\tsplit\tsource\tnum_events\tnum_shards\nfew\ttest\tgeant4\t{NUM_EVENTS}\t1\n"
    )
    found = snakemake(folder, "--profile", "profiles/local")
    assert found.returncode == 0, found.stdout[-5000:] + found.stderr[-5000:]
    return folder


def test_tables_need_no_training(folder: Path) -> None:
    summary = json.loads((folder / "results/dataset/summary.json").read_text())
    assert summary["num_ok"] == NUM_EVENTS
    assert not (folder / "results/models").exists()


def test_what_weights_hold_decides_and_not_their_time(folder: Path) -> None:
    weights = folder / "models/cluster.pt"
    kept = weights.read_bytes()
    weights.touch()
    assert not jobs(folder)
    weights.write_bytes(kept + b"0")
    try:
        found = jobs(folder)
    finally:
        weights.write_bytes(kept)
    assert found["cluster"] == found["interact"] == 1 and not found["segment"]


@pytest.mark.parametrize(("label", "name"), FLOORS)
def test_figures_are_those_of_trained_networks(folder: Path, label: str, name: str) -> None:
    summary = json.loads((folder / "results/dataset/summary.json").read_text())
    assert summary["figures"][label][name] > FLOORS[label, name]


def test_the_first_tutorial(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    if not any(shutil.which(name) for name in BROWSERS):
        pytest.skip("no Chromium: apt-get install chromium")
    assert follow("tutorials/first.md", folder, monkeypatch) > 8
    for name in ("pi_zero", "michel"):
        drawn = plt.imread(folder / f"{name}.png")
        there = plt.imread(REPOSITORY / f"docs/tutorials/{name}.png")
        assert drawn.shape == there.shape
    assert (folder / "event.png").is_file()
    plt.close("all")


def test_the_questions_of_an_analysis(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert follow("tutorials/questions.md", folder, monkeypatch) == 6
    said = capsys.readouterr().out
    assert "resolution" in said and "pairs" in said and "Michel electrons" in said
    right = re.search(r"right in ([\d.]+) ±", said)
    assert right and float(right[1]) > 70


def test_the_figures_of_the_card_need_no_training_either() -> None:
    found = jobs(REPOSITORY, "--configfile", "config/quality.yaml")
    assert found["segment"] == found["evaluate_chain"] == 4
    assert found["train"] == 0
