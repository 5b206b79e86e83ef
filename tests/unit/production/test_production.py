"""The configuration of a workflow: over its own defaults, with files found and checked."""

from pathlib import Path

import pytest

from lartpc.config import Config
from lartpc.config.production import FILES, digest_of_file, files_of, production


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a workflow's folder, the working folder being another one beside it."""
    for name in ("workflow", "work"):
        (tmp_path / name / "config").mkdir(parents=True)
        (tmp_path / name / "config/samples.tsv").write_text(name)
    (tmp_path / "workflow/released.pt").write_text("weights")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "workflow"


OWN = {"samples": ["config/samples.tsv"], "segment": {"weights": "released.pt", "unet": {"filters": 8}}}
TRAIN = {"num_steps": 1, "batch_size": 1, "learning_rate": 0.1}


def test_given_values_win_key_by_key(own: Path) -> None:
    config, notes, _ = production(OWN, {"segment": {"unet": {"depth": 3}}}, lambda path: str(own / path))
    assert (config.segment.unet.filters, config.segment.unet.depth) == (8, 3)
    assert config.samples == (str(own / "config/samples.tsv"),), (
        "not the file of that name in the working folder"
    )
    assert config.segment.weights == str(own / "released.pt")
    assert not notes


def test_given_files_are_of_the_working_folder_first(own: Path) -> None:
    given = {"samples": ["config/samples.tsv"], "cluster": {"train": {**TRAIN, "init_from": "released.pt"}}}
    config, notes, _ = production(OWN, given, lambda path: str(own / path))
    assert config.samples == ("config/samples.tsv",)
    assert config.cluster.train.init_from == str(own / "released.pt")
    assert len(notes) == 1 and "cluster.train.init_from: released.pt" in notes[0]


def test_the_home_folder_may_be_given_as_a_tilde(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(own))
    given = {
        "results": "~/results",
        "segment": {"weights": "~/released.pt"},
        "scenarios": {"other": {"segment": {"weights": "~/released.pt"}}},
    }
    config, _, scenarios = production(OWN, given, lambda path: str(own / path))
    assert config.segment.weights == scenarios["other"].segment.weights == str(own / "released.pt")
    assert config.results == str(own / "results")
    with pytest.raises(ValueError, match=r"segment\.weights: the file ~nobody\.here/a\.pt does not exist"):
        production(OWN, {"segment": {"weights": "~nobody.here/a.pt"}}, lambda path: str(own / path))


def test_each_file_of_a_list_is_found_and_looked_at(own: Path) -> None:
    segment = {"dimension": 2, "weights": "released.pt", "ghost_weights": ["released.pt", "~/x.pt"]}
    given = {"ingest": {"wires": {"angles_deg": [0, 60, -60]}}, "segment": segment}
    with pytest.raises(ValueError, match=r"segment\.ghost_weights: the file .*/x\.pt does not exist"):
        production(OWN, given, lambda path: str(own / path))
    segment["ghost_weights"] = ["released.pt", "released.pt"]
    config, *_ = production(OWN, given, lambda path: str(own / path))
    assert config.segment.ghost_weights == [str(own / "released.pt")] * 2
    segment["ghost_weights"] = []
    with pytest.raises(ValueError, match=r"at least 1 item"):
        production(OWN, given, lambda path: str(own / path))


def test_null_takes_the_released_weights_away(own: Path) -> None:
    config, *_ = production(OWN, {"segment": {"weights": None}}, lambda path: str(own / path))
    assert config.segment.weights is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"segment": {"weights": "no/such.pt"}}, r"segment\.weights: the file no/such\.pt does not exist"),
        (
            {"cluster": {"train": {**TRAIN, "init_from": "no.pt"}}},
            r"cluster\.train\.init_from: the file no\.pt does not",
        ),
        ({"samples": ["no.tsv"]}, r"samples: the file no\.tsv does not exist"),
        ({"interact": {"weights": "config"}}, r"interact\.weights: config is a folder"),
        ({"segment": {"weights": "a{b}.pt"}}, r"cannot have '\{' '\}' in it"),
        ({"segment": {"weights": ""}}, "cannot be empty"),
        ({"results": "a\nb"}, "cannot have"),
        ({"results": "-x"}, "results"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_key(own: Path, given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        production(OWN, given, lambda path: str(own / path))


def test_every_setting_that_names_a_file_is_known(own: Path) -> None:
    stages = ("segment", "cluster", "interact", "classify", "detect", "flow")
    wanted = {(stage, *keys) for stage in stages for keys in (("weights",), ("train", "init_from"))}
    assert set(FILES) == {("samples",), ("segment", "ghost_weights"), *wanted}
    assert [*files_of(Config())] == [("samples", "config/samples.tsv")]


def test_a_digest_is_of_what_a_file_holds(own: Path) -> None:
    (own / "copy.pt").write_text("weights")
    assert digest_of_file(str(own / "copy.pt")) == digest_of_file(str(own / "released.pt"))
    assert digest_of_file("config/samples.tsv") != digest_of_file(str(own / "released.pt"))
