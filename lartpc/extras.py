"""Extras of the package: which modules each brings, and what to install when one of them is missing.

The base is enough for tables, event files and all help texts. Each module of an extra is imported where a verb first
needs it, and the verb then says which extra that is.
"""

EXTRAS = {
    "ingest": ("awkward", "uproot"),
    "simulate": ("geant4_pybind", "pyhepmc", "xraydb", "awkward", "uproot"),
    "infer": ("torch", "spconv", "cumm"),
    "train": ("mpi4py", "tensorboard", "torch", "spconv", "cumm"),
    "report": ("dask", "jinja2", "markupsafe", "plotly", "rocrate"),
    "export": ("onnx", "onnxruntime", "onnxscript", "torch", "spconv", "cumm"),
    "workflow": ("snakemake",),
    "remote": ("boto3", "botocore", "requests", "XRootD", "snakemake"),
    "analysis": (
        "duckdb",
        "hist",
        "matplotlib",
        "polars",
        "dask",
        "jinja2",
        "markupsafe",
        "plotly",
        "rocrate",
    ),
}
"""Modules of each extra of pyproject.toml, of those that it includes too; the first extra with a module is proposed."""


def missing(error: BaseException | None, verb: str = "") -> str | None:
    """Return what to install if an error, or one that it came of, is that a module of an extra is missing.

    Parameters
    ----------
    verb
        Verb at work: of several extras with the module, the one of its name is proposed.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ModuleNotFoundError) and error.name:
            module = error.name.partition(".")[0]
            if extras := [extra for extra, modules in EXTRAS.items() if module in modules]:
                extra = verb if verb in extras else extras[0]
                return f'needs {module}, which is not installed: pip install "lartpc[{extra}]"'
        error = error.__cause__ or error.__context__
    return None
