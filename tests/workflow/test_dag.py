"""The DAG as Snakemake resolves it: the right jobs, and clear words for a wrong configuration."""

import os
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from checkout import copy_checkout, environment


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a folder and return what it said."""
    return subprocess.run(
        ["snakemake", "--cores", "2", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def jobs(folder: Path, *arguments: str) -> Counter[str]:
    """Count the jobs of a dry run by rule."""
    found = snakemake(folder, *arguments, "--dry-run", "--quiet", "rules")
    assert found.returncode == 0, found.stdout + found.stderr
    return Counter(
        dict(
            (name, int(num)) for name, num in re.findall(r"^(\w+) +(\d+)$", found.stdout + found.stderr, re.M)
        )
    )


jobs_of_a_shard = (
    *("simulate", "ingest", "segment", "points", "cluster", "interact"),
    *("summarize", "evaluate_chain", "stage_on_truth"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("workflow"))


def test_the_default_production(folder: Path) -> None:
    found = jobs(folder)
    assert found["train"] == 0
    assert found["simulate"] == found["ingest"] == 2
    assert found["audit"] == found["collect_tables"] == 1
    for stage in ("segment", "points", "cluster", "interact", "summarize"):
        assert found[stage] == 2, stage


def test_a_stage_alone_needs_only_what_is_before_it(folder: Path) -> None:
    found = jobs(folder, "results/events/points/mpvmpr_test/0001.h5")
    assert found["points"] == found["segment"] == 1
    assert not found["train"] and not found["cluster"]


def test_the_clustering_is_measured_on_demand(folder: Path) -> None:
    assert "measure_clustering" not in jobs(folder)
    found = jobs(folder, "clustering_quality", "--config", "seed=7")
    assert found["clustering_quality"] == 1
    assert found["measure_clustering"] == found["measure_clustering_on_truth"] > 0
    assert found["interact"] == found["report"] == 0


def test_interactions_are_measured_on_demand(folder: Path) -> None:
    found = jobs(folder, "interaction_quality", "--config", "seed=7")
    assert found["interaction_quality"] == 1 and not found["train"] and not found["interact"]
    # two ways, two shards
    assert found["measure_interactions"] == found["measure_interactions_on_truth"] == 4


def test_images_of_wire_planes_go_on_as_points_in_3d(folder: Path) -> None:
    found = jobs(folder, "--configfile", "config/wire.yaml")
    assert not found["train"] and found["ingest_images"] == 2
    for name in ("ingest", "segment_images", "backproject", "points", "cluster", "interact", "summarize"):
        assert found[name] == 2, name
    assert found["evaluate_images"] == found["evaluate_chain"] == 2 and not found["segment"]
    assert found["collect_tables"] == found["report"] == found["audit"] == 1


def test_points_of_planes_are_judged_by_both_networks_of_ghosts(folder: Path) -> None:
    wanted = "results/events/segment/mpvmpr_test/0001.h5"
    found = snakemake(folder, wanted, "--configfile", "config/wire.yaml", "--dry-run", "--printshellcmds")
    commands = re.findall(r"^ *(lartpc .*)$", found.stdout + found.stderr, re.M)
    both = "--ghosts=models/ghost/segment.pt --ghosts=models/flow/flow.pt"
    assert any("backproject" in one and both in one for one in commands)
    # a device in the place of a file is refused by each verb
    assert not [one for one in commands if f"{os.devnull} " in one]


def test_images_of_one_plane_end_with_points(folder: Path) -> None:
    found = jobs(folder, "--configfile", "config/wire.yaml", "--config", "ingest={wires: {angles_deg: [0]}}")
    assert found["segment"] == found["points"] == found["evaluate_chain"] == found["summarize"] == 2
    assert not found["cluster"] and not found["interact"] and not found["stage_on_truth"]


def test_the_simulation_is_validated_on_demand(folder: Path) -> None:
    assert "validate_simulation" not in jobs(folder)
    found = jobs(folder, "validate_simulation")
    assert found["validate_simulation"] == found["settings"] == 1
    assert not found["simulate"]


def test_training_on_predicted_input_shows_in_the_dag(folder: Path) -> None:
    target = "results/models/cluster/weights.pt"
    assert not jobs(folder, target)["segment"]
    predicted = jobs(folder, target, "--config", "cluster={upstream: predicted}")
    assert predicted["segment"] == predicted["points"] == 5


def test_networks_are_trained_where_no_weights_are_named(folder: Path) -> None:
    found = jobs(folder, "--configfile", "config/train_demo.yaml")
    assert found["train"] == 3
    assert found["simulate"] == found["ingest"] == 7
    assert found["segment"] == 2


def test_images_are_classified_where_that_is_asked_for(folder: Path) -> None:
    assert "classify" not in jobs(folder)
    demo, asked = ("--configfile", "config/train_demo.yaml"), ("--config", "classify={enabled: true}")
    found = jobs(folder, *demo, *asked)
    assert found["train"] == 4 and found["classify"] == found["summarize"] == 2
    # it learns from images and truth alone
    found = jobs(folder, "results/models/classify/weights.pt", *demo, *asked)
    assert found["train"] == 1 and found["ingest"] == 5 and not found["segment"]


def test_interactions_by_rules_need_no_weights(folder: Path) -> None:
    demo = ("--configfile", "config/train_demo.yaml")
    by_rules = "interact={infer: {interactions: rules}}"
    found = jobs(folder, *demo, "--config", by_rules)
    assert found["train"] == 2 and found["interact"] == 2 and found["stage_on_truth"] == 4
    assert jobs(folder, "models", *demo, "--config", by_rules)["train"] == 2


def test_jobs_per_shard_whatever_the_number_of_files(folder: Path) -> None:
    """A dry run takes milliseconds a job: these numbers, times `max_shards`, are what a production costs."""
    (folder / "raw").mkdir()
    for index in range(30):
        (folder / "raw" / f"run{index}.h5").touch()
    (folder / "large.tsv").write_text(
        "sample\tsplit\tsource\tnum_events\tnum_shards\n"
        "simulated\ttest\tgeant4\t20000\t10000\n"
        "measured\treconstruct\traw/*.h5\t-\t-\n"
    )
    found = jobs(folder, "--config", "samples=[large.tsv]", "max_shards=3")
    both, simulated = 6, 3
    assert {rule: num for rule, num in found.items() if num >= simulated and rule != "total"} == {
        **dict.fromkeys(("ingest", "segment", "points", "cluster", "interact", "summarize"), both),
        **{"simulate": simulated, "stage_on_truth": 2 * simulated, "evaluate_chain": simulated},
        **{"gather_list": 3, "settings": 8},
    }


def test_a_scenario_runs_what_it_changes_and_what_follows(folder: Path) -> None:
    (folder / "scenarios.yaml").write_text(
        "scenarios:\n"
        "  lifetime: {ingest: {response: {recombination: birks, lifetime_us: 2000}}}\n"
        "  score: {points: {score_threshold: 0.5}}\n"
    )
    found = jobs(folder, "--configfile", "scenarios.yaml")
    shards = 2
    assert {rule: num for rule, num in found.items() if rule in ("train", *jobs_of_a_shard)} == {
        **{"simulate": shards, "ingest": 2 * shards, "segment": 2 * shards, "stage_on_truth": 4 * shards},
        **dict.fromkeys(("points", "cluster", "interact", "summarize", "evaluate_chain"), 3 * shards),
    }
    alone = jobs(folder, "results/scenarios/score/tables/mpvmpr_test/0000", "--configfile", "scenarios.yaml")
    assert {rule: num for rule, num in alone.items() if rule in jobs_of_a_shard} == dict.fromkeys(
        ("simulate", "ingest", "segment", "points", "cluster", "interact", "summarize"), 1
    )


def test_a_wrong_setting_is_named(folder: Path) -> None:
    found = snakemake(folder, "--dry-run", "--config", "points={score_treshold: 0.4}")
    assert found.returncode != 0
    assert (
        "points.score_treshold: there is no such setting; did you mean 'score_threshold'?"
        in found.stdout + found.stderr
    )


def test_weights_that_do_not_exist_are_named(folder: Path) -> None:
    """Also where all outputs are there already, so that there seems to be nothing to do."""
    found = snakemake(folder, "--config", "segment={weights: models/no.pt}", "--", "results/no")
    assert found.returncode != 0
    assert "segment.weights: the file models/no.pt does not exist" in found.stdout + found.stderr


def test_lint_is_content(folder: Path) -> None:
    found = snakemake(folder, "--lint")
    assert "your workflow is in a good condition" in found.stdout + found.stderr


def test_a_wrong_sheet_is_named(folder: Path) -> None:
    sheet = folder / "wrong.tsv"
    sheet.write_text("sample\tsplit\tsource\tnum_events\tnum_shards\nmc\tholdout\tgeant4\t4\t2\n")
    found = snakemake(folder, "--dry-run", "--config", "samples=[wrong.tsv]")
    assert found.returncode != 0
    assert "wrong.tsv, line 2: split 'holdout'" in found.stdout + found.stderr
