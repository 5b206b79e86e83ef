"""Each verb imports what it needs and no more: most jobs are short, and every cluster job parses the Snakefile."""

import subprocess
import sys
from pathlib import Path

import pytest
from checkout import REPOSITORY
from handmade import write_shard

from lartpc.config import GraphNet
from lartpc.graphs import has_kernel

MODELS = REPOSITORY / "models"
HEAVY = (
    "torch",
    "pandas",
    "scipy",
    "scipy.integrate",
    "scipy.optimize",
    "scipy.spatial",
    "scipy.linalg",
    "numpy.f2py",
    "numpy.testing",
    "pyarrow",
    "h5py",
    "dask",
    "plotly",
    "uproot",
    "awkward",
    "mpi4py",
    "rich",
)


@pytest.mark.parametrize(
    ("modules", "needed"),
    [
        (("lartpc.config", "lartpc.plan", "lartpc.stages"), set()),
        (("lartpc.cli",), set()),
        (("lartpc.run.simulate",), set()),
        (("lartpc.run.ingest",), {"h5py"}),
        (("lartpc.run.infer", "lartpc.stages.segment"), {"h5py"}),
        (("lartpc.run.infer", "lartpc.stages.points"), {"h5py", "scipy"}),
        (("lartpc.run.summarize", "lartpc.run.quality.evaluate"), {"h5py", "pyarrow", "scipy"}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_nothing_heavy_is_imported_without_need(modules: tuple[str, ...], needed: set[str]) -> None:
    code = f"import sys, {', '.join(modules)}; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(found.stdout.split()) <= needed


JOBS = {
    "infer segment": ((0,), {"h5py"}),
    "infer points": ((0, 1), {"h5py", "scipy"}),
    "infer cluster": ((0, 1, 2), {"h5py", "scipy"}),
    "infer interact": ((0, 2, 3), {"h5py", "scipy"}),
    "summarize": (range(5), {"h5py", "pyarrow", "scipy"}),
    "evaluate": (range(5), {"h5py", "pyarrow", "scipy"}),
}
"""Of each verb the files of a shard that it reads, and what it may import."""


@pytest.mark.parametrize("verb", JOBS)
def test_a_whole_job_imports_nothing_heavy_without_need(verb: str, tmp_path: Path) -> None:
    """From its start to its end, with events: what is imported on the way counts, too."""
    which, needed = JOBS[verb]
    files = write_shard(tmp_path, "beam/0000")
    arguments = [*verb.split(), *(str(files[number]) for number in which), "--out", str(tmp_path / "out")]
    weights = MODELS / f"{verb.partition(' ')[2]}.pt"
    if weights.is_file():
        if not has_kernel(GraphNet()):
            pytest.skip("there is no compiler for the kernel")
        arguments += ["--weights", str(weights)]
    code = (
        "import sys; from lartpc.cli import app; app(sys.argv[1:], standalone_mode=False); "
        f"print(*(m for m in {HEAVY!r} if m in sys.modules))"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and (tmp_path / "out").exists(), done.stderr
    assert set(done.stdout.split()) <= needed


@pytest.mark.parametrize("first", ["lartpc.lean", "scipy.spatial, scipy.sparse.csgraph"])
def test_trees_and_graphs_are_scipys_own_whoever_imports_them_first(first: str) -> None:
    code = f"""if True:
        import sys, {first}
        from lartpc.lean import cKDTree, connected_components, dijkstra
        assert ("scipy.spatial" in sys.modules) == ({first!r} != "lartpc.lean")
        assert ("scipy.sparse.csgraph" in sys.modules) == ({first!r} != "lartpc.lean")
        import numpy, scipy.spatial
        from scipy.sparse import csgraph
        assert csgraph.dijkstra is dijkstra and csgraph.connected_components is connected_components
        assert csgraph.laplacian(numpy.eye(2)).shape == (2, 2)
        assert scipy.spatial.cKDTree is cKDTree and issubclass(scipy.spatial.KDTree, cKDTree)
        assert cKDTree([[0.0], [2.0]]).query([1.5]) == (0.5, 1)
        assert numpy.f2py.__name__ == "numpy.f2py" and numpy.testing.assert_allclose
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_cycles_are_not_looked_for_while_torch_is_imported() -> None:
    """Of half a million objects that stay; afterwards they are, among what came later."""
    code = """if True:
        import gc
        from lartpc.run.infer import _uncollected
        before = gc.get_freeze_count()
        try:
            with _uncollected():
                assert not gc.isenabled()
                import torch
                raise KeyError
        except KeyError:
            assert gc.isenabled() and gc.get_freeze_count() > before + 100_000
        with _uncollected():
            assert gc.isenabled()
    """
    subprocess.run([sys.executable, "-c", code], check=True)
