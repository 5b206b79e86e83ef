"""pyproject.toml asks for versions, the locks pin them, and the recipes in envs/ pin what the locks do."""

import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from checkout import REPOSITORY
from packaging.requirements import Requirement

PIN = re.compile(r"([A-Za-z0-9_.-]+)==([0-9][\w.]*)")
CUDA = "-cu126"
"""Ending of the names of packages that have a build of their own for CUDA."""


def pins(text: str) -> dict[str, str]:
    return dict(PIN.findall(re.sub(r"\[\w+\]", "", text)))


def lock(python: str) -> dict[str, str]:
    lines = [
        line for line in (REPOSITORY / f"envs/lock-{python}.txt").read_text().splitlines() if line[0] != "#"
    ]
    found = pins("\n".join(lines))
    assert len(found) == len(lines), "a line without a pin"
    return found


def asked(*extras: str) -> list[Requirement]:
    """Return what pyproject.toml asks for: the base, with the extras, and those that they name."""
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    texts = list(project["dependencies"])
    for extra in extras:
        texts += project["optional-dependencies"][extra]
    found: list[Requirement] = []
    for one in map(Requirement, texts):
        found += asked(*one.extras) if one.name == "lartpc" else [one]
    return found


@pytest.fixture(scope="module")
def pinned() -> dict[str, str]:
    """Return the pins of what everything but the tests needs, by the names of pyproject.toml."""
    pins = lock("3.11")
    return {one.name: pins[one.name.replace("_", "-")] for one in asked("all")}


def conda(name: str) -> dict[str, str]:
    with (REPOSITORY / "envs" / name).open() as file:
        dependencies = yaml.safe_load(file)["dependencies"]
    assert dependencies[0] == "python=3.11"
    return pins("\n".join(dependencies[-1]["pip"]))


def test_cpu_has_all_pins(pinned: dict[str, str]) -> None:
    assert conda("cpu.yaml") == pinned


def test_gpu_has_all_pins_with_cuda_builds(pinned: dict[str, str]) -> None:
    found = conda("gpu.yaml")
    assert {name for name in found if name.endswith(CUDA)} == {f"spconv{CUDA}", f"cumm{CUDA}"}
    assert {name.removesuffix(CUDA): version for name, version in found.items()} == pinned


def test_driver_has_some_pins_and_no_torch(pinned: dict[str, str]) -> None:
    found = conda("driver.yaml")
    assert found.items() <= pinned.items()
    assert "snakemake" in found
    assert "torch" not in found


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_locks_pin_the_same_and_everything_else(python: str, pinned: dict[str, str]) -> None:
    """One lock is for both builds: `spconv` and `cumm` stand in it with and without CUDA."""
    found = lock(python)
    wanted = {name.replace("_", "-"): version for name, version in (pinned | conda("gpu.yaml")).items()}
    assert {name: found.get(name) for name in wanted} == wanted
    for one in asked("dev"):
        assert one.specifier.contains(found[one.name.replace("_", "-")]), one


def test_others_can_install_beside_us() -> None:
    """Exact versions are the locks' only, and everything has a least version."""
    for one in asked("dev"):
        operators = {part.operator for part in one.specifier}
        assert ">=" in operators, one
        assert operators <= {">=", "!="}, one


def test_installation_takes_the_lock() -> None:
    """`make install` of a Python takes its lock, and nothing is installed without it."""
    said = subprocess.run(
        [
            "make",
            "--dry-run",
            "--always-make",
            "VENV=other",
            f"PYTHON={sys.executable}",
            "other/.installed-dev",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    installs = [line for line in said.splitlines() if "pip install" in line]
    assert len(installs) == 3
    for line in installs:
        assert f"envs/lock-{python}.txt" in line
    assert "grep '^torch=='" in installs[0]
    assert "torch" in lock(python)


@pytest.mark.parametrize("name", ["envs/Dockerfile", "envs/lartpc.def", "docs/how-to/slurm.md"])
def test_other_recipes_pin_the_same(name: str, pinned: dict[str, str]) -> None:
    found = PIN.findall((REPOSITORY / name).read_text())
    assert found
    for package, version in found:
        assert pinned[package.removesuffix(CUDA)] == version, package


def test_containers_copy_what_the_build_reads() -> None:
    for name in ("Dockerfile", "lartpc.def"):
        text = (REPOSITORY / "envs" / name).read_text()
        for needed in ("pyproject.toml", "README.md", "LICENSE", "envs/lock-3.11.txt", "lartpc"):
            assert re.search(rf"^(COPY.*|\s+){re.escape(needed)}\s", text, re.M), (name, needed)
