"""Each verb imports what it needs and no more: most jobs are short, and every cluster job parses the Snakefile."""

import subprocess
import sys
from pathlib import Path

import pytest
from handmade import write_shard

HEAVY = (
    "torch",
    "pandas",
    "scipy",
    "scipy.integrate",
    "scipy.optimize",
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


JOBS = {
    "infer points": (slice(0, 2), {"h5py", "rich", "scipy"}),
    "summarize": (slice(None), {"h5py", "pyarrow", "rich", "scipy"}),
    "evaluate": (slice(None), {"h5py", "pyarrow", "rich", "scipy"}),
}


@pytest.mark.parametrize("verb", JOBS)
def test_a_whole_job_imports_nothing_heavy_without_need(verb: str, tmp_path: Path) -> None:
    """From its start to its end, with events: what is imported on the way counts, too."""
    which, needed = JOBS[verb]
    files = write_shard(tmp_path, "beam/0000")[which]
    arguments = [*verb.split(), *map(str, files), "--out", str(tmp_path / "out")]
    code = (
        "import sys; from lartpc.cli import app; app(sys.argv[1:], standalone_mode=False); "
        f"print(*(m for m in {HEAVY!r} if m in sys.modules))"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and (tmp_path / "out").exists(), done.stderr
    assert set(done.stdout.split()) <= needed


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
