"""Distributions and training curves as data for the page's charts, read with bounded memory."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from lartpc.calibration import UNCERTAINTY_EDGES
from lartpc.run.report.statistics import wilson
from lartpc.tables.fields import names_of
from lartpc.tables.metric_fields import INPUT
from lartpc.tables.written import written_table
from lartpc.text import text_of
from lartpc.vocab import Species

Chart = dict[str, Any]

TRUTH, RECO, ALONE = "truth", "prediction", "prediction, samples without truth"
_RATES = (
    *("step", "num_voxels", "num_skipped", "num_spikes", "voxels_per_s", "read_share", "learning_rate"),
    *("gradient_norm", "largest_gradient_norm", "validation", "validation_loss"),
)
"""What a line of a training curve holds besides the terms of the loss."""


def distributions(dataset: Path) -> list[Chart]:
    """Return histograms of the dataset's columns, reconstructed and true side by side."""
    pairs = [
        ("Particle energy", "deposited energy [MeV]", "particles", "energy_mev", np.geomspace(0.1, 3000, 61)),
        ("Particle length", "start to end [cm]", "particles", "length_cm", np.geomspace(0.3, 500, 61)),
        ("Voxels per particle", "voxels", "particles", "num_voxels", np.geomspace(1, 1e5, 61)),
        ("Particles per interaction", "particles", "interactions", "num_particles", np.arange(-0.5, 21)),
    ]
    charts = [_voxels_per_event(dataset)]
    has_truth = ds.field("truth_iou").is_valid()
    for title, label, table, column, edges in pairs:
        counts = {
            RECO: _histogram(dataset, table, column, edges, has_truth),
            TRUTH: _histogram(dataset, f"truth_{table}", column, edges),
            ALONE: _histogram(dataset, table, column, edges, ~has_truth),
        }
        charts.append(_steps(title, label, f"{table} per bin", edges, counts))
    charts += [_species(dataset), _point_distance(dataset)]
    shares = np.linspace(0, 1, 26)
    of_chain, on_truth = (ds.field("input") == label for label in INPUT[:2])
    counts = {
        name: _histogram(dataset, "metrics", f"particle_{name}", shares, of_chain)
        for name in ("purity", "efficiency", "ari")
    }
    title = "Clustering of particles, event by event"
    charts.append(_steps(title, "figure of the event", "events per bin", shares, counts))
    counts = {RECO: _histogram(dataset, "particles", "truth_iou", shares)}
    charts.append(_steps("Best match of each particle", "IoU", "particles per bin", shares, counts))
    edges = np.geomspace(0.03, 300, 41)
    counts = {
        name: _histogram(dataset, "metrics", "vertex_distance_cm", edges, where)
        for name, where in (("chain", of_chain), ("on true input", on_truth))
    }
    label = "distance to the true vertex [cm]"
    charts.append(_steps("Distance of the vertex", label, "vertices per bin", edges, counts))
    return [chart for chart in charts if chart["series"]]


def calibration_charts(figures: Mapping[str, Any]) -> list[Chart]:
    """Return the reliability of the scores, and errors against the uncertainty where there is one.

    Parameters
    ----------
    figures
        Pooled figures by kind of input, as `evaluate.pool` returns them.
    """
    found = figures.get("predicted", {})
    charts = []
    num, right, confidence = np.reshape(found.get("reliability", []), (-1, 3)).T
    if (used := num > 0).any():
        x = (confidence[used] / num[used]).tolist()
        series = [
            _binomial(x, right[used], num[used]),
            {**_line("perfect calibration", [0.0, 1.0], [0.0, 1.0]), "quiet": True},
        ]
        title = f"Reliability of the voxel classes (ECE {found['semantic_calibration_error']:.4f})"
        charts.append(_chart(title, "score of the chosen class", "fraction correct", series))
    num, wrong = np.reshape(found.get("uncertainty_errors", []), (-1, 2)).T
    if (used := num > 0).any():
        x = UNCERTAINTY_EDGES[1:][used].tolist()
        series = [_binomial(x, wrong[used], num[used])]
        charts.append(
            {**_chart("Errors by uncertainty", "uncertainty", "fraction wrong", series), "log_x": True}
        )
        kept = num[used].cumsum()
        series = [_binomial((kept / kept[-1]).tolist(), wrong[used].cumsum(), kept)]
        title = "Errors without the most uncertain voxels"
        charts.append(_chart(title, "fraction of the voxels kept", "fraction of these wrong", series))
    return charts


def _line(name: str, x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    return {"name": name, "x": [_short(value) for value in x], "y": [_short(value) for value in y]}


def _binomial(x: Sequence[float], part: NDArray[Any], whole: NDArray[Any]) -> dict[str, Any]:
    share, below, above = wilson(part, whole)
    return {
        **_line("voxels", x, share.tolist()),
        "error": [_short(value) for value in above],
        "error_low": [_short(value) for value in below],
        "num": whole.astype(int).tolist(),
        "total": int(whole.max() if len(whole) else 0),
    }


def _chart(title: str, x: str, y: str, series: list[dict[str, Any]]) -> Chart:
    return {"group": "Calibration", "title": title, "x": x, "y": y, "series": series}


def training_charts(curves: Sequence[Path]) -> list[Chart]:
    """Return the charts of each training curve: loss, held-out figures, optimizer and speed.

    A curve has one JSON object a line. A line may stop in the middle, where a training was cut off; what
    can be read is drawn.

    Raises
    ------
    ValueError
        A file has no line of a curve, and is not empty.
    """
    charts = []
    for path in curves:
        lines = list(_lines(path))
        if not lines and path.stat().st_size:
            raise ValueError(f"{path} is no training curve: name what 'lartpc train' writes with --log")
        stage = path.parent.name
        losses = {key for line in lines for key in line if key not in _RATES and _is_number(line[key])}
        terms = sorted(losses, key=lambda key: (key != "loss", key))
        checks = sorted({key for line in lines for key in line.get("validation", {})})
        held_out = [{"step": line["step"], **line.get("validation", {})} for line in lines]
        norms = ("gradient_norm", "largest_gradient_norm")
        found = [
            _curves(f"{stage}: loss", "loss", [*terms, "validation_loss"], lines, log_y=True),
            _curves(f"{stage}: on held-out events", "figure", checks, held_out),
            _curves(f"{stage}: learning rate", "learning rate", ["learning_rate"], lines),
            _curves(f"{stage}: gradient", "norm", norms, lines, log_y=True),
            _curves(f"{stage}: speed of rank 0", "voxels / s", ["voxels_per_s"], lines),
            _curves(f"{stage}: waiting for input", "share of time", ["read_share"], lines),
        ]
        if any(line.get(key) for line in lines for key in ("num_skipped", "num_spikes")):
            title = f"{stage}: steps skipped, and spikes of the loss"
            found.append(_curves(title, "steps", ["num_skipped", "num_spikes"], lines))
        charts += found
    return [chart for chart in charts if chart["series"]]


def _curves(
    title: str, label: str, keys: Sequence[str], lines: Sequence[Mapping[str, Any]], *, log_y: bool = False
) -> Chart:
    series: list[dict[str, Any]] = []
    for key in keys:
        known = [(line["step"], line[key]) for line in lines if _is_number(line.get(key))]
        if known:
            x, y = zip(*known, strict=True)
            series.append({"name": _name(key), "x": x, "y": [_short(v) for v in y]})
    return {"group": "Training", "title": title, "x": "step", "y": label, "log_y": log_y, "series": series}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for text in text_of(path).splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict) and "step" in line:
            yield line


def _name(key: str) -> str:
    """Return a key of a curve as a reader calls it."""
    return {
        "gradient_norm": "mean before clipping",
        "largest_gradient_norm": "largest",
        "validation_loss": "loss on held-out events",
    }.get(key, key.removeprefix("num_").replace("_", " "))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _batches(
    dataset: Path, table: str, columns: Sequence[str], where: Any = None
) -> Iterator[pa.RecordBatch]:
    yield from ds.dataset(written_table(dataset, table)).to_batches(columns=list(columns), filter=where)


def _values(batch: pa.RecordBatch, column: str) -> NDArray[Any]:
    values = batch[column]
    if pa.types.is_list(values.type):
        values = values.drop_null().flatten()
    found: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return found


def _histogram(
    dataset: Path, table: str, column: str, edges: NDArray[Any], where: Any = None
) -> NDArray[np.int64]:
    """Count the values of a column in bins; what lies beyond the ends counts in the outermost bins."""
    # numpy's counts and not boost-histogram's: the error of a bin is the root of its count, and bins are all we need
    counts = np.zeros(len(edges) - 1, np.int64)
    for batch in _batches(dataset, table, [column], where):
        values = _values(batch, column).astype(np.float64)
        values = np.clip(values[~np.isnan(values)], edges[0], edges[-1])
        counts += np.histogram(values, edges)[0]
    return counts


def _steps(title: str, x: str, y: str, edges: NDArray[Any], counts: Mapping[str, NDArray[Any]]) -> Chart:
    is_log = bool(edges[0] > 0 and edges[-1] / edges[0] > 50)
    return {
        "group": "Distributions",
        "title": title,
        "x": x,
        "y": y,
        "log_x": is_log,
        "series": [
            {
                "name": name,
                "x": [_short(edge) for edge in edges],
                "y": [*count.tolist(), int(count[-1])],
                "shape": "hv",
                "counts": True,
                "log": is_log,
                "total": int(count.sum()),
            }
            for name, count in counts.items()
            if count.any()
        ],
    }


def _voxels_per_event(dataset: Path) -> Chart:
    edges = np.geomspace(1, 1e6, 61)
    samples: dict[str, NDArray[np.int64]] = {}
    for batch in _batches(dataset, "events", ["sample", "num_voxels"]):
        names = _values(batch, "sample")
        for name in dict.fromkeys(names.tolist()):
            count = np.histogram(_values(batch, "num_voxels")[names == name], edges)[0]
            samples[name] = samples.get(name, np.zeros(len(edges) - 1, np.int64)) + count
    return _steps("Voxels per event", "voxels", "events per bin", edges, samples)


def _species(dataset: Path) -> Chart:
    words = names_of(Species)
    series = []
    has_truth = ds.field("truth_iou").is_valid()
    for name, table, where in (
        (RECO, "particles", ds.field("is_primary") & has_truth),
        (TRUTH, "truth_particles", ds.field("is_primary")),
        (ALONE, "particles", ds.field("is_primary") & ~has_truth),
    ):
        counts = dict.fromkeys(words, 0)
        for batch in _batches(dataset, table, ["species"], where):
            for word in batch["species"].value_counts():
                if word["values"].as_py():
                    counts[word["values"].as_py()] += word["counts"].as_py()
        if any(counts.values()):
            y = list(counts.values())
            error = [_short(num**0.5) for num in y]
            series.append(
                {"name": name, "x": words, "y": y, "error": error, "num": y, "bar": True, "total": sum(y)}
            )
    return {
        "group": "Distributions",
        "title": "Species of primaries",
        "x": "",
        "y": "primary particles",
        "series": series,
    }


def _point_distance(dataset: Path) -> Chart:
    """Return the share of points up to each distance, from either side; lost ones never count as found."""
    edges = np.linspace(0, 20, 81)
    series = []
    for name, column in (
        ("true to nearest predicted", "truth_point_distance"),
        ("predicted to nearest true", "point_distance"),
    ):
        found, total = np.zeros(len(edges) - 1, np.int64), 0
        for batch in _batches(dataset, "metrics", [column], ds.field("input") == INPUT[0]):
            values = _values(batch, column)
            found += np.histogram(values[np.isfinite(values)], edges)[0]
            total += len(values)
        if total:
            share, below, above = wilson(np.cumsum(found), np.full(len(found), total))
            series.append(
                {
                    **_line(name, edges[1:].tolist(), share.tolist()),
                    "low": [_short(v) for v in share - below],
                    "high": [_short(v) for v in share + above],
                    "total": total,
                }
            )
    return {
        "group": "Distributions",
        "title": "Points found up to a distance",
        "x": "distance [voxel]",
        "y": "fraction of points",
        "series": series,
    }
