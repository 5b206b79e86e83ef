"""The base is light: tables, event files and help need no extra, and a verb that needs one says which."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import REPOSITORY
from handmade import write_shard
from packaging.requirements import Requirement

from lartpc.extras import EXTRAS, missing
from lartpc.run.collect import collect
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.summarize import summarize

MODULE = {
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "import-linter": "importlinter",
    "pytest-xdist": "xdist",
    "geant4-pybind": "geant4_pybind",
    "xrootd": "XRootD",
}
"""Modules that are not called as their distribution is."""

NOT_IMPORTED = {
    "cumm": "spconv's own, of one build with it",
    "awkward": "what uproot gives",
    "tensorboard": "torch.utils.tensorboard writes through it",
    "mpich": "the library and launcher that mpi4py takes",
    "snakemake-executor-plugin-slurm": "Snakemake finds it",
    "snakemake-executor-plugin-slurm-jobstep": "Snakemake finds it",
    "snakemake-storage-plugin-http": "Snakemake finds it",
    "snakemake-storage-plugin-s3": "Snakemake finds it",
    "snakemake-storage-plugin-xrootd": "Snakemake finds it",
    "moto": "a server that tests start",
    "snakemake-logger-plugin-rich": "Snakemake finds it",
    "duckdb": "for analyses",
    "hist": "for analyses",
    "polars": "for analyses",
}
PROGRAM = "achilles"
"""An extra that is run as a process, and not for all: its licence is another."""
FAR = "remote"
"""An extra that is not for all: packages of servers of files."""
WITH_OTHERS = {"triton": "torch brings the version that it needs, where it is built for GPUs"}
NOT_MODULES = {"mpich", *(name for name in NOT_IMPORTED if name.startswith("snakemake-"))}
OTHERS = {"ROOT", "spine"}
"""What scripts beside the tests' data take from an environment of its own."""

WITHOUT = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted({name for names in EXTRAS.values() for name in names})}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""
"""What makes a Python of the whole environment one of the base."""


def declared() -> dict[str, set[str]]:
    """Return the distributions of the base ("") and of each extra, extras that they name included."""
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    texts = {"": project["dependencies"], **project["optional-dependencies"]}

    def of(extra: str) -> set[str]:
        found: set[str] = set()
        for one in map(Requirement, texts[extra]):
            found |= (
                set().union(*map(of, one.extras)) if one.name == "lartpc" else {one.name.replace("_", "-")}
            )
        return found

    return {extra: of(extra) for extra in texts}


def modules(distributions: set[str]) -> set[str]:
    return {MODULE.get(name, name) for name in distributions - NOT_MODULES}


def imported(source: str) -> Iterator[str]:
    """Yield the packages, neither Python's own nor ours, that a source imports anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and top != "lartpc":
                yield top


def sources(*folders: str) -> set[str]:
    paths = [path for folder in folders for path in (REPOSITORY / folder).rglob("*.py")]
    assert paths
    return {name for path in paths for name in imported(path.read_text())}


def workflow() -> set[str]:
    """Return what the rules import, whose own syntax Python does not parse."""
    paths = [REPOSITORY / "workflow/Snakefile", *(REPOSITORY / "workflow/rules").glob("*.smk")]
    text = "\n".join(path.read_text() for path in paths)
    lines = re.findall(r"^(?:from [\w.]+ import \(?|import [\w., ]+)", text, re.M)
    return set(
        imported(
            "\n".join(line.removesuffix("(").strip() + (" _" if "from" in line else "") for line in lines)
        )
    )


def test_imports_are_declared() -> None:
    found = declared()
    declared_ones = modules(found[""] | (found["all"] | found[FAR]) - set(NOT_IMPORTED)) | set(WITH_OTHERS)
    assert sources("lartpc") | workflow() == declared_ones
    ours = {path.stem for folder in ("tests", "benchmarks") for path in (REPOSITORY / folder).rglob("*")}
    assert sources("tests", "benchmarks") - ours - OTHERS <= modules(found[""] | found["dev"])


def test_extras_are_those_of_pyproject() -> None:
    found = declared()
    wanted = {name: modules(found[name]) for name in found if name not in ("", "all", "dev", PROGRAM)}
    assert {name: set(modules) for name, modules in EXTRAS.items()} == wanted
    assert set().union(*(found[name] for name in EXTRAS if name != FAR)) == found["all"]


def test_the_extra_of_the_verb_is_proposed() -> None:
    """Also if another error came of the one that a module is missing."""
    try:
        try:
            raise ModuleNotFoundError("No module named 'torch._C'", name="torch._C")
        except ModuleNotFoundError as error:
            raise RuntimeError("cannot go on") from error
    except RuntimeError as error:
        assert missing(error, "train") == 'needs torch, which is not installed: pip install "lartpc[train]"'
        assert missing(error, "release") == 'needs torch, which is not installed: pip install "lartpc[infer]"'
    assert missing(ModuleNotFoundError("No module named 'ours'", name="ours")) is None
    assert missing(ValueError("other")) is None


def base(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in a Python without the packages of the extras."""
    command = [sys.executable, "-c", WITHOUT + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


VERB = "import sys; sys.argv[0] = 'lartpc'; from lartpc.cli import app; app()"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of results with a dataset."""
    folder = tmp_path_factory.mktemp("results")
    events = write_shard(folder, "beam/0000")
    summarize(events, folder / "tables")
    evaluate(events, folder / "metrics.parquet")
    collect([folder / "tables"], [folder / "metrics.parquet"], [events[0]], folder / "dataset")
    return folder


OPEN = """
import sys, pandas, pyarrow.dataset, lartpc.tables
found = pandas.read_parquet(sys.argv[1] + "/dataset/particles")
assert list(found) == lartpc.tables.schema("particles").names
print(len(found), pyarrow.dataset.dataset(sys.argv[1] + "/dataset/events").count_rows())
"""


def test_the_base_opens_a_dataset(results: Path) -> None:
    done = base(OPEN, results)
    assert done.returncode == 0, done.stderr
    assert all(int(number) > 0 for number in done.stdout.split())
    done = base(VERB, "show", results)
    assert done.returncode == 0, done.stderr
    assert "within 3 voxels" in done.stdout


@pytest.mark.slow
def test_the_base_installs_alone(results: Path, tmp_path: Path) -> None:
    """As an analyst does it, in an environment that has nothing else; it needs an index of packages."""
    python = tmp_path / "analysis/bin/python"
    subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    if subprocess.run(
        [*pip, "download", "--quiet", "--no-deps", "--dest", tmp_path, "mdurl"], check=False
    ).returncode:
        pytest.skip("pip reaches no index")
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "lartpc"):
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(REPOSITORY / name, checkout / name)
    subprocess.run([*pip, "install", "--quiet", checkout], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command: object) -> str:
        done = subprocess.run(
            list(map(str, command)),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(*pip, "check")
    there = {line.partition("==")[0].lower() for line in run(*pip, "list", "--format", "freeze").splitlines()}
    found = declared()
    assert found[""] <= there
    assert not there & (found["all"] - found[""])
    assert run(python, "-c", OPEN, results) == base(OPEN, results).stdout
    assert "within 3 voxels" in run(python.with_name("lartpc"), "show", results)
    assert "summarize" in run(python.with_name("lartpc"), "--help")


def test_the_base_reads_tables_and_shows_all_help() -> None:
    code = """
import importlib, pkgutil
import lartpc.tables, lartpc.run.report, lartpc.run.collect, lartpc.store, lartpc.ingest
import pandas, pyarrow.dataset
from typer.main import get_command
from typer.testing import CliRunner
from lartpc.cli import app

def verbs(command, path):
    yield path
    for name, one in getattr(command, "commands", {}).items():
        yield from verbs(one, [*path, name])

runner = CliRunner()
found = [path for path in verbs(get_command(app), [])]
for path in found:
    result = runner.invoke(app, [*path, "--help"])
    assert result.exit_code == 0 and "Usage" in result.output, (path, result.output)
print(len(found))
"""
    done = base(code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("train segment x.h5 --validation x.h5 --log c.jsonl --out w.pt", "torch"),
        (f"ingest {REPOSITORY}/tests/data/edepsim_5ev.root --out e.h5", "uproot"),
        ("simulate --out s.h5", "pyhepmc"),
        ("collect x --metrics m --ingested x.h5 --out d", "dask"),
        ("compare d e --out r", "jinja2"),
    ],
)
def test_a_verb_names_the_extra_that_it_needs(arguments: str, said: str, tmp_path: Path) -> None:
    extra = {
        "torch": "train" if "train" in arguments else "infer",
        "uproot": "ingest",
        "pyhepmc": "simulate",
    }.get(said, "report")
    done = base(f"import os; os.chdir({str(tmp_path)!r})\n{VERB}", *arguments.split())
    assert done.returncode == 2, done.stderr
    verb = arguments.partition(" ")[0]
    assert (
        done.stderr == f'lartpc {verb}: needs {said}, which is not installed: pip install "lartpc[{extra}]"\n'
    )
    assert not list(tmp_path.iterdir())
