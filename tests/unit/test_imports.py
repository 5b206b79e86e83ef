"""Each verb imports what it needs and no more: most jobs are short, and every cluster job parses the Snakefile."""

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "pandas",
    "scipy",
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
        (("lartpc.run.simulate",), {"rich"}),
        (("lartpc.run.ingest",), {"h5py", "rich"}),
        (("lartpc.run.infer", "lartpc.stages.segment"), {"h5py", "rich", "torch"}),
        (("lartpc.run.infer", "lartpc.stages.points"), {"h5py", "rich", "scipy"}),
        (("lartpc.run.summarize", "lartpc.run.quality.evaluate"), {"h5py", "pyarrow", "scipy"}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_nothing_heavy_is_imported_without_need(modules: tuple[str, ...], needed: set[str]) -> None:
    code = f"import sys, {', '.join(modules)}; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(found.stdout.split()) <= needed
