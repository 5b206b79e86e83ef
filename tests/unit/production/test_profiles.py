"""Profiles of schedulers ask for the same memory and time, and differ in the scheduler's own words only."""

import pytest
import yaml
from checkout import REPOSITORY
from yte import process_yaml


def profile(name, **values):
    """Return a profile with some of its site's values changed, as Snakemake reads it."""
    text = (REPOSITORY / f"profiles/{name}/profile.yaml").read_text()
    for key, value in values.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"  {key}: ")]
        text = text.replace(line, f"  {key}: {value}")
    return process_yaml(text, require_use_yte=True)


def asked(found, attempt):
    """Return what each rule asks for with an attempt, in MB and minutes."""
    return {
        rule: {key: eval(str(needs[key]), {"attempt": attempt}) for key in ("mem_mb", "runtime")}
        for rule, needs in found["set-resources"].items()
    }


@pytest.mark.parametrize("attempt", [1, 3])
def test_htcondor_asks_for_what_slurm_does(attempt):
    slurm, htcondor = profile("slurm"), profile("htcondor")
    assert htcondor["executor"] == "htcondor"
    assert asked(htcondor, attempt) == asked(slurm, attempt)
    for rule, needs in htcondor["set-resources"].items():
        names = {"attempt": attempt}
        assert eval(needs["htcondor_request_mem_mb"], names) == eval(needs["mem_mb"], names), rule
        assert eval(needs["allowed_execute_duration"], names) == 60 * eval(needs["runtime"], names), rule
    holds = {rule for rule, needs in htcondor["set-resources"].items() if "request_gpus" in needs}
    assert holds == {"segment", "train"}
    assert htcondor["set-resources"]["train"]["mpi"] == "'mpiexec'"


@pytest.mark.parametrize("name", ["slurm", "htcondor"])
def test_a_profile_takes_what_was_learned(tmp_path, name):
    path = tmp_path / "profile.yaml"
    learned = {"segment": {"mem_mb": "2100 * attempt", "runtime": "9 * attempt"}}
    path.write_text(yaml.safe_dump({"set-resources": learned}))
    found, before = (asked(profile(name, **more), 2) for more in ({"learned": path}, {}))
    assert found["segment"] == {"mem_mb": 4200, "runtime": 18}
    assert {rule: needs for rule, needs in found.items() if rule != "segment"} == {
        rule: needs for rule, needs in before.items() if rule != "segment"
    }


def test_a_pool_without_gpus_is_asked_for_none():
    found = profile("htcondor", gpu="false", requirements="OpSysMajorVer == 9")
    assert not any("request_gpus" in needs for needs in found["set-resources"].values())
    assert found["default-resources"]["requirements"] == "'OpSysMajorVer == 9'"
