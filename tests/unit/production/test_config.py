"""The configuration: checked, sliced per step, and in step with its generated pages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from checkout import REPOSITORY
from pydantic import ValidationError

from lartpc.cli.options import settings_of
from lartpc.config import (
    SECTIONS,
    Config,
    explain,
    json_schema,
    load_section,
    markdown_table,
    shared_slice,
    slice_of,
)
from lartpc.config.production import production


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(ValidationError, match=r"segment\.lrr"):
        Config.model_validate({"segment": {"lrr": 1}})


def test_what_is_left_out_of_a_section_is_as_its_stage_has_it() -> None:
    found = Config.model_validate(
        {"cluster": {"train": {"num_steps": 7}, "graph": {"num_hidden": 8}}}
    ).cluster
    default = Config().cluster
    assert found.train == default.train.model_copy(update={"num_steps": 7})
    assert found.graph == default.graph.model_copy(update={"num_hidden": 8})
    with pytest.raises(ValidationError, match="num_step"):
        Config.model_validate({"segment": {"train": {"num_step": 7}}})


def test_levels_must_fit_the_grid() -> None:
    with pytest.raises(ValidationError, match="divisible"):
        Config.model_validate({"ingest": {"num_voxels": 100}, "segment": {"unet": {"depth": 5}}})


def test_a_slice_holds_what_its_part_depends_on() -> None:
    config = Config()
    assert "train" in config.slice_for("segment", "train")
    assert "infer" not in config.slice_for("segment", "train")
    assert "train" not in config.slice_for("segment", "infer")
    assert "weights" not in config.slice_for("segment", "infer")


def test_defaults_are_valid() -> None:
    """Those of sections within sections are constructed without a look at them."""
    assert Config.model_validate(Config().model_dump()) == Config()
    for name, kind in SECTIONS.items():
        assert kind.model_validate(kind().model_dump()) == kind() == getattr(Config(), name)
        assert kind().model_dump_json() == kind.model_construct().model_dump_json()


def test_changing_a_threshold_changes_no_training_slice() -> None:
    changed = Config.model_validate({"cluster": {"infer": {"edge_threshold": 0.7}}})
    assert changed.slice_for("cluster", "train") == Config().slice_for("cluster", "train")
    assert changed.slice_for("cluster", "infer") != Config().slice_for("cluster", "infer")


def test_a_slice_reads_back(tmp_path: Path) -> None:
    for step in SECTIONS:
        for part in ("train", "infer"):
            path = tmp_path / f"{step}.json"
            path.write_text(json.dumps(Config().slice_for(step, part)))
            assert load_section(step, path) == getattr(Config(), step)


def test_verbs_by_hand_have_the_settings_of_the_production() -> None:
    """`config.yaml` says what is reconstructed, with which weights; a setting in it would be a second default."""
    own = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    produced, *_ = production(own, {}, lambda path: str(REPOSITORY / path))
    for step in SECTIONS:
        for part in ("train", "infer"):
            assert produced.slice_for(step, part) == slice_of(load_section(step, None), part), step
    assert all(getattr(produced, step).weights for step in ("segment", "cluster", "interact"))


def test_a_verb_by_hand_says_where_the_settings_of_a_production_are(tmp_path, capsys) -> None:
    (tmp_path / "config").mkdir()
    file, own = tmp_path / "events/ingest/beam/0000.h5", tmp_path / "config/points.infer.json"
    own.write_text(json.dumps(Config().slice_for("points")))
    assert settings_of("points", None, [file]) == Config().points
    assert capsys.readouterr().err == ""
    own.write_text('{"score_threshold": 0.3}')
    assert settings_of("points", None, [file]) == Config().points
    assert f"--config {own}" in capsys.readouterr().err
    assert settings_of("points", own, [file]).score_threshold == 0.3
    assert capsys.readouterr().err == ""


def test_a_wrong_slice_names_file_and_key(tmp_path: Path) -> None:
    path = tmp_path / "points.json"
    path.write_text('{"score_threshold": 2}')
    with pytest.raises(ValueError, match=r"points\.json.*points\.score_threshold"):
        load_section("points", path)
    path.write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        load_section("points", path)


def test_weights_carry_the_network_and_not_the_training() -> None:
    assert set(shared_slice(Config().segment)) == {"dimension", "plane_hits", "unet", "ppn", "heads"}


def test_generated_pages_are_in_step() -> None:
    schema = REPOSITORY / "workflow/schemas/config.schema.json"
    assert schema.read_text() == json_schema(), "run 'make schema'"
    assert (REPOSITORY / "config/README.md").read_text() == markdown_table(), "run 'make schema'"


def test_what_snakemake_parses_imports_nothing_heavy() -> None:
    code = (
        "import lartpc.config, lartpc.plan, lartpc.stages, sys; "
        "sys.exit(bool({'torch', 'pandas', 'h5py', 'scipy', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"segmnt": {"weights": None}}, "segmnt: there is no such setting; did you mean 'segment'?"),
        (
            {"segment": {"unet": {"filter": 4}}},
            "segment.unet.filter: there is no such setting; did you mean 'filters",
        ),
        (
            {"points": {"edge_threshold": 0.3}},
            "points.edge_threshold: there is no such setting; there is cluster",
        ),
        ({"cluster": {"fragments": {"method": "dbscan", "radius": 2}}}, "radius: there is no such setting"),
        ({"points": {"score_threshold": 7}}, "points.score_threshold: Input should be less than"),
        ({"segment": {"infer": {"label_weights": [0] * 5}}}, "label_weights are all zero"),
    ],
)
def test_a_mistyped_setting_is_answered_with_the_nearest(values: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(values)
    assert said in explain(caught.value)
