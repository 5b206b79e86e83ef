"""The figures that a reader looks at first, beside the published ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isnan
from typing import Any

from rich.table import Table

from lartpc.run.quality.errors import in_bin, num_objects
from lartpc.run.quality.matching import CLASSES, size_words
from lartpc.stages import CHAIN, chain_in
from lartpc.tables.fields import names_of
from lartpc.vocab import Semantic, Species


@dataclass(frozen=True)
class Figure:
    """One figure: its stage, its name in `evaluate.pool`, what it is called, and a published value.

    `source` says where the published value is from and on what input it was measured.
    """

    stage: str
    key: str
    label: str
    published: float | None = None
    source: str = ""
    unit: str = "%"
    optional: bool = False
    """Shown only where there is a value."""


_SPINE = "SPINE U-ResNet, its validation log at 22,000 steps"
_SSNET = "MicroBooNE's network on its test sample, 2D collection plane, arXiv:1808.07269"
_PPN = "PPN paper, arXiv:2006.14745; it does not say from which side"
_BREAK = "PPN paper, arXiv:2006.14745: tracks broken at points"
_ICARUS = "whole chain on simulated ICARUS data, 2022 (DeepLearnPhysics tutorials)"
_SHOWERS = "GrapPA, arXiv:2007.01335: showers only, from true fragments"
_NODES = f"{_ICARUS}, events with an ARI of 0 or less left out there"
_INTERACTIONS = "GrapPA, arXiv:2007.01335: from true particles"

_MICHEL = f"{_ICARUS}, on 216 Michels"


def _voxels(word: str) -> str:
    low, _, high = word.removeprefix("from_").partition("_to_")
    return f"{low} to {high}" if high else f"{low} and more"


FIGURES = (
    Figure("segment", "semantic_accuracy", "voxels correctly classified", 0.989, _SPINE),
    Figure("segment", "semantic_recall_shower", "— of shower voxels", 0.992, _SPINE),
    Figure("segment", "semantic_recall_track", "— of track voxels", 0.998, _SPINE),
    Figure("segment", "semantic_recall_michel", "— of Michel voxels", 0.959, _SPINE),
    Figure("segment", "semantic_recall_delta", "— of delta voxels", 0.901, _SPINE),
    Figure("segment", "semantic_recall_low_energy", "— of low-energy voxels", 0.954, _SPINE),
    Figure(
        "segment",
        "semantic_mean_f1",
        "mean F1 of the classes",
        0.934,
        "Panda, arXiv:2512.01324: linear head on frozen features, official notebook",
    ),
    Figure("segment", "icpf_mean", "misclassified voxels per image, track against shower", 0.019, _SSNET),
    Figure("segment", "icpf_quantile_90", "— 90 % quantile of the images", 0.046, _SSNET),
    Figure("segment", "icpf_shower", "— of shower voxels", 0.041, _SSNET),
    Figure("segment", "icpf_track", "— of track voxels", 0.026, _SSNET),
    Figure("segment", "icpf_five_mean", "misclassified voxels per image, of five classes"),
    Figure("segment", "icpf_five_quantile_90", "— 90 % quantile of the images"),
    Figure("segment", "semantic_calibration_error", "calibration error of the scores"),
    Figure("segment", "semantic_error_surest_90", "wrong among the most certain 90 %", optional=True),
    Figure("segment", "ghost_removed", "ghosts removed", 0.9918, _ICARUS, optional=True),
    Figure(
        "segment",
        "ghost_far_removed",
        "— of those that share no corner with a real voxel",
        optional=True,
    ),
    Figure("segment", "ghost_real_kept", "real voxels kept", 0.9376, _ICARUS, optional=True),
    *(
        Figure(
            "segment",
            f"semantic_recall_{word}_of_all",
            f"{word.replace('_', ' ')} voxels kept and correctly classified",
            published,
            _ICARUS,
            optional=True,
        )
        for word, published in zip(names_of(Semantic), (0.862, 0.949, 0.859, 0.655, 0.526), strict=True)
    ),
    Figure("points", "truth_point_within_3", "true points found within 3 voxels", 0.968, _PPN),
    Figure("points", "truth_point_within_10", "— within 10 voxels", 0.978, _PPN),
    Figure("points", "point_within_3", "predicted points true within 3 voxels"),
    Figure("points", "point_within_10", "— within 10 voxels", 0.880, _ICARUS),
    Figure(
        "points",
        "truth_point_median_within_3_voxel",
        "median distance of those within 3 voxels",
        0.25,
        _PPN,
        "voxel",
    ),
    Figure(
        "points",
        "truth_point_large_within_3",
        "the PPN paper's points (particles ≥ 7 voxels, ≥ 10 MeV) found within 3 voxels",
        0.968,
        f"{_PPN}; the cut is in its code",
    ),
    Figure("points", "truth_point_large_within_10", "— within 10 voxels", 0.978, f"{_PPN}; as above"),
    Figure(
        "points",
        "truth_point_large_median_within_3_voxel",
        "— median distance of those within 3 voxels",
        0.25,
        f"{_PPN}; as above",
        "voxel",
    ),
    Figure("cluster", "fragment_purity", "purity of fragments", 0.93, _BREAK),
    Figure("cluster", "fragment_efficiency", "efficiency of fragments", 0.96, _BREAK),
    Figure("cluster", "fragment_ari", "ARI of fragments", 0.91, _BREAK),
    Figure("cluster", "particle_purity", "purity of particles", 0.994, _SHOWERS),
    Figure("cluster", "particle_efficiency", "efficiency of particles", 0.996, _SHOWERS),
    Figure("cluster", "particle_ari", "ARI of particles", 0.978, _SHOWERS),
    Figure("cluster", "particle_ari_shower", "— of true showers"),
    Figure("cluster", "particle_ari_track", "— of true tracks"),
    Figure("cluster", "particle_ari_nodes", "ARI of particles on voxels of fragments only"),
    Figure("cluster", "particle_ari_nodes_shower", "— of fragments called shower", 0.978, _NODES),
    Figure("cluster", "particle_ari_nodes_track", "— of fragments called track", 0.998, _NODES),
    Figure("interact", "interaction_purity", "purity of interactions", 0.998, _INTERACTIONS),
    Figure("interact", "interaction_efficiency", "efficiency of interactions", 0.995, _INTERACTIONS),
    Figure("interact", "interaction_ari", "ARI of interactions", 0.992, _INTERACTIONS),
    Figure("interact", "matched_share", "true particles matched (IoU ≥ 0.5)"),
    Figure("interact", "matched_primary", "— of primaries"),
    Figure("interact", "matched_energy", "— weighted by energy"),
    *(Figure("interact", f"matched_class_{word}", f"— {word}s") for word in CLASSES),
    *(Figure("interact", f"matched_size_{word}", f"— {_voxels(word)} voxels") for word in size_words()),
    Figure("interact", "michel_id_purity", "reconstructed Michels that are real", 0.995, _MICHEL),
    Figure("interact", "michel_id_efficiency", "true Michels identified", 0.968, _MICHEL),
    Figure("interact", "species_mean_recall", "species recall, mean of species", 0.883, _ICARUS),
    *(
        Figure("interact", f"species_recall_{word}", f"— of {word}s", optional=True)
        for word in names_of(Species)
    ),
    Figure("interact", "primary_accuracy", "primary flag correct"),
    Figure("interact", "parent_right", "parent correct, or correctly none"),
    Figure("interact", "parent_right_michel", "— of Michels"),
    Figure("interact", "parent_right_delta", "— of deltas"),
    Figure("interact", "parent_right_other", "— of others with a parent"),
    Figure("interact", "pi_zero_found", "π⁰ found with both photons"),
    Figure("interact", "pi_zero_real", "reconstructed π⁰ that are true"),
    Figure("interact", "orientation_right", "direction of tracks correct"),
    Figure("interact", "start_within_3", "starts of particles within 3 voxels"),
    Figure("interact", "interaction_matched_share", "true interactions matched (IoU ≥ 0.5)"),
    Figure("interact", "flavour_accuracy", "flavour-like class correct"),
    *(
        Figure("interact", f"{name}_count_right", f"— number of {what}")
        for name, what in (("proton", "protons"), ("pion", "charged pions"), ("pi_zero", "π⁰"))
    ),
    Figure("interact", "topology_right", "true interactions with all primaries correct"),
    Figure("interact", "vertex_within_3", "vertices within 3 voxels"),
    Figure(
        "interact",
        "vertex_within_20",
        "— within 20 voxels",
        0.827,
        f"{_ICARUS}, from 2.5 % without vertex and 14.8 % farther away",
    ),
)
"""In the order of the chain. Published values are measured on other simulations: a scale, not a contest."""


FEW = 20
"""A figure of fewer objects is shown grey."""


@dataclass(frozen=True)
class Row:
    """A line of a section: what it is, the chain's value, the value on true input, the published one.

    Values stand with their statistical error, and with the number of objects that they are measured on.
    """

    label: str
    chain: str
    on_truth: str = ""
    published: str = ""
    source: str = ""
    is_bin: bool = field(default=False, kw_only=True)
    """One of several bins of the line above."""
    num: int | None = field(default=None, kw_only=True)
    """Objects that the chain's value is measured on."""
    num_on_truth: int | None = field(default=None, kw_only=True)

    @property
    def is_few(self) -> bool:
        """Tell whether the chain's value is measured on too few objects to say much."""
        return self.num is not None and self.num < FEW

    @property
    def is_few_on_truth(self) -> bool:
        """Tell the same of the value on true input."""
        return self.num_on_truth is not None and self.num_on_truth < FEW


def sections(summary: Mapping[str, Any]) -> dict[str, list[Row]]:
    """Return the figures as lines by section: the events, the speed of each step, the quality of each."""
    measured = quality(summary["figures"], summary.get("errors", {}))
    found = {"Events": _events(summary), "Voxels per second": _speed(summary)} | measured
    return {title: lines for title, lines in found.items() if lines}


def quality(
    pooled: Mapping[str, Any], errors: Mapping[str, Mapping[str, float | None]] | None = None
) -> dict[str, list[Row]]:
    """Return the figures of quality as lines by section: the stages of the chain, and the energies.

    Parameters
    ----------
    pooled
        What `evaluate.pool` returns.
    errors
        What `errors.bootstrap` returns; without it the values stand alone.
    """
    errors = errors or {}

    def value(label: str, figure: Figure) -> tuple[str, int | None]:
        found, key = pooled.get(label, {}), figure.key
        text = _text(found.get(key), figure.unit, errors.get(label, {}).get(key))
        return text, num_objects(found, key) if text else None

    found: dict[str, list[Row]] = {}
    for stage in CHAIN:
        lines = []
        for figure in FIGURES:
            if figure.stage == stage.name and (not figure.optional or _is_known(pooled, figure.key)):
                (chain, num), (on_truth, num_on_truth) = value("predicted", figure), value("truth", figure)
                published = _text(figure.published, figure.unit)
                line = Row(figure.label, chain, on_truth, published, figure.source)
                lines.append(replace(line, num=num, num_on_truth=num_on_truth))
        if any(line.chain or line.on_truth for line in lines):
            found[stage.name] = lines
    if "planes" in pooled:
        found[PLANES] = [
            Row(figure.label, text, "", _text(figure.published, figure.unit), figure.source, num=num)
            for figure in FIGURES
            if figure.stage in (row.name for row in chain_in(2))
            for text, num in [value("planes", figure)]
            if text
        ]
    if lines := _energies(pooled, errors):
        found[ENERGIES] = lines
    return found


PLANES = "Images of wire planes"
ENERGIES = "Energy of matched particles: bias; resolution"
_ENERGIES = {
    "muon_range": "contained muons, by range",
    "proton_range": "contained protons, by range",
    "pion_range": "contained charged pions, by range",
    "shower_calorimetric": "contained showers, by calorimetry",
    "michel_calorimetric": "contained Michels, by calorimetry",
    **{f"{word}_best": f"{word}s, best energy" for word in names_of(Species)},
}
"""The energies that are shown, by the stem of their figures."""


def _energies(pooled: Mapping[str, Any], errors: Mapping[str, Any]) -> list[Row]:
    """Return bias and resolution of the energies, in all and in bins of the true energy."""

    def part(value: float | None, error: float | None) -> str:
        return f"{100 * value:+.1f}" + (f" ± {100 * error:.1f}" if error else "") if value is not None else ""

    def spread(values: Mapping[str, Any], error_of: Mapping[str, float | None]) -> str:
        bias, resolution = values.get("bias"), values.get("resolution")
        if bias is None or resolution is None or isnan(bias) or isnan(resolution):
            return ""
        width = part(resolution, error_of.get("resolution")).lstrip("+")
        return f"{part(bias, error_of.get('bias'))} %; {width} %"

    inputs = [(pooled.get(label, {}), errors.get(label, {})) for label in ("predicted", "truth")]
    lines = []
    for stem, label in _ENERGIES.items():
        cells, nums = [], []
        for found, error in inputs:
            values = {key: found.get(f"{stem}_{key}") for key in _SPREAD}
            cells.append(spread(values, {key: error.get(f"{stem}_{key}") for key in _SPREAD}))
            nums.append(found.get(f"{stem}_num"))
        lines.append(Row(label, *cells, num=nums[0], num_on_truth=nums[1]))
        bins = [
            {line["low_mev"]: line for line in found.get("energies", []) if line["what"] == stem}
            for found, _ in inputs
        ]
        for low in sorted(set().union(*bins)):
            known = [of.get(low, {}) for of in bins]
            high = next(line["high_mev"] for line in known if line)
            words = f"{low:.0f} to {high:.0f} MeV" if high is not None else f"from {low:.0f} MeV"
            cells = [
                spread(line, {key: error.get(in_bin(line, key)) for key in _SPREAD} if line else {})
                for line, (_, error) in zip(known, inputs, strict=True)
            ]
            num, num_on_truth = (line.get("num") for line in known)
            lines.append(Row(f"— {words}", *cells, is_bin=True, num=num, num_on_truth=num_on_truth))
    return [line for line in lines if line.chain or line.on_truth]


_SPREAD = ("bias", "resolution", "num")


def _is_known(pooled: Mapping[str, Any], key: str) -> bool:
    return any(_text(found.get(key), "") for found in pooled.values())


def figures_table(summary: Mapping[str, Any]) -> Table:
    """Return the figures as a table for the terminal, without bins, which are on the page."""
    table = Table(title="Figures", title_justify="left", show_edge=False)
    for name, style in (
        ("", ""),
        ("chain", "bold"),
        ("of", "dim"),
        ("on true input", ""),
        ("published", "dim"),
    ):
        table.add_column(name, style=style, justify="left" if not name else "right")
    for title, lines in sections(summary).items():
        table.add_row(f"[bold]{title}[/bold]")
        for line in lines:
            if not line.is_bin:
                chain = f"[dim]{line.chain}[/dim]" if line.is_few else line.chain
                num = "" if line.num is None else f"{line.num:,}"
                table.add_row(f"  {line.label}", chain, num, line.on_truth, line.published)
        table.add_section()
    return table


def outside_domain(summary: Mapping[str, Any]) -> list[str]:
    """Return what the steps of a production warn of, as of events outside the domain of their weights."""
    return [
        f"{one['sample']}, {one['step']}: {one['warning']} ({one['num_shards']} shard{'s' * (one['num_shards'] != 1)})"
        for one in summary.get("warnings", [])
    ]


def flagged(summary: Mapping[str, Any]) -> str:
    """Return how many particles have which flag, in one line."""
    found = {name.removeprefix("flag_"): num for name, num in summary.get("flags", {}).items() if num}
    what = ", ".join(f"{num} {name}" for name, num in found.items())
    return f"{what or 'none'} of {summary['rows']['particles']} particles"


def _events(summary: Mapping[str, Any]) -> list[Row]:
    lines = [
        Row("events", f"{summary['num_events']:,}"),
        Row("— of them quarantined", f"{summary['num_quarantined']:,}"),
        Row("voxels", f"{summary['num_voxels']:,}"),
        Row("particles", f"{summary['rows']['particles']:,}"),
        Row("interactions", f"{summary['rows']['interactions']:,}"),
    ]
    measured = summary["figures"].get("predicted", {}).get("num_events")
    return [*lines, Row("events compared with truth", f"{measured:,}")] if measured else lines


def _speed(summary: Mapping[str, Any]) -> list[Row]:
    return [
        Row(step, f"{values['voxels_per_s']:,.0f}")
        for step, values in summary["throughput"].items()
        if values["voxels_per_s"]
    ]


def _text(value: float | None, unit: str, error: float | None = None) -> str:
    """Return a figure with its error, both with the decimals that the error asks for."""
    if value is None or isnan(value):
        return ""
    scale = 100 if unit == "%" else 1
    decimals = 1 if unit == "%" else 2
    if error is None or isnan(error):
        return f"{scale * value:.{decimals}f} {unit}"
    decimals += 0 < scale * error < 0.5 * 10**-decimals
    return f"{scale * value:.{decimals}f} ± {scale * error:.{decimals}f} {unit}"
