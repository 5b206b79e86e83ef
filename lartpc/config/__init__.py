"""The configuration: one frozen section per step, each field with its unit, bounds and meaning.

A job never sees the whole configuration but the slice of its own step (`Config.slice_for`), so that
a changed setting reruns that step and what is downstream of it, and nothing else.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import AfterValidator, Field, ValidationError, model_validator

from lartpc.config import mistakes
from lartpc.config.base import File, Part, Section, Vector
from lartpc.config.classify import Classify
from lartpc.config.flow import Flow
from lartpc.config.graphs import (
    Affinity,
    Cluster,
    ClusterInfer,
    Cones,
    Dbscan,
    Embedding,
    Fragments,
    GraphNet,
    GraphSpice,
    Interact,
    InteractionRules,
    LearnedFragments,
    PairLengths,
    RuleFragments,
)
from lartpc.config.ingestion import Ingest, Readout, Response, Tomography, Variations, Volume, Wires
from lartpc.config.learned import (
    Detect,
    DetectInfer,
    GraphTraining,
    Heads,
    Points,
    Ppn,
    Segment,
    SegmentTraining,
    Training,
    UResNet,
)
from lartpc.config.simulation import (
    GENERATORS,
    MPR_GROUPS,
    VERTEX_GROUPS,
    Cosmic,
    Generator,
    GeneratorFiles,
    Gun,
    ParticleGroup,
    Placement,
    Simulate,
)
from lartpc.config.summarize import Summarize, Thresholds
from lartpc.paths import at_home, usable
from lartpc.text import json_of

__all__ = [
    "GENERATORS",
    "MPR_GROUPS",
    "SCENARIO_SECTIONS",
    "SECTIONS",
    "VERTEX_GROUPS",
    "Affinity",
    "Classify",
    "Cluster",
    "ClusterInfer",
    "Cones",
    "Config",
    "Cosmic",
    "Dbscan",
    "Detect",
    "DetectInfer",
    "Embedding",
    "File",
    "Flow",
    "Fragments",
    "Generator",
    "GeneratorFiles",
    "GraphNet",
    "GraphSpice",
    "GraphTraining",
    "Gun",
    "Heads",
    "Ingest",
    "Interact",
    "InteractionRules",
    "LearnedFragments",
    "PairLengths",
    "Part",
    "ParticleGroup",
    "Placement",
    "Points",
    "Ppn",
    "Readout",
    "Report",
    "Response",
    "RuleFragments",
    "Section",
    "Segment",
    "SegmentTraining",
    "Simulate",
    "Summarize",
    "Thresholds",
    "Tomography",
    "Training",
    "UResNet",
    "Variations",
    "Vector",
    "Volume",
    "Wires",
    "completed",
    "explain",
    "json_schema",
    "load_section",
    "markdown_table",
    "shared_slice",
    "slice_of",
]


class Report(Section):
    """The page of figures and pictures."""

    num_events: int = Field(4, ge=0, le=50, description="event displays")
    max_voxels: int = Field(15_000, ge=100, description="voxels drawn per display; larger events are thinned")
    num_worst: int = Field(
        6, ge=0, le=50, description="worst events that are listed and drawn: so many by voxels, and by points"
    )
    worst_min_voxels: int = Field(
        200, ge=1, description="events with fewer voxels are not among the worst [voxel]"
    )


class Config(Section):
    """A whole production."""

    results: Annotated[str, AfterValidator(usable), AfterValidator(at_home)] = Field(
        "results", pattern="^[^-@]", description="folder of the results, one for each production"
    )
    samples: tuple[File, ...] = Field(
        ("config/samples.tsv",), description="sample sheets, read one after another"
    )
    seed: int = Field(1, ge=0, description="seed of the simulation; each shard derives its own from it")
    max_shards: int = Field(
        500, ge=1, description="most shards of a sample; more files than that share shards"
    )
    scenarios: dict[str, dict[str, Any]] = Field(
        {},
        description="variations of the production: name of each, and the settings that it changes "
        "([docs/how-to/scenarios.md](../docs/how-to/scenarios.md))",
    )
    publish: str = Field(
        "",
        pattern=r"^$|^(https?|s3|roots?|xroot)://[^\s/]+/\S",
        description="URL of a folder on a server that the results are copied to when they pass the audit "
        "([docs/how-to/remote.md](../docs/how-to/remote.md))",
    )
    publish_events: bool = Field(False, description="publish event files, scenarios and weights, too")
    environment: str = Field(
        "envs/cpu.yaml",
        pattern=r"^[^-].*\.ya?ml$",
        description="conda environment of the jobs, with `snakemake --sdm conda`",
    )
    image: str = Field(
        "lartpc.sif",
        pattern="^[^-]",
        description="container image of the jobs, with `snakemake --sdm apptainer`: a file, or an address such as "
        "`oras://...`",
    )
    simulate: Simulate = Simulate.model_construct()
    ingest: Ingest = Ingest.model_construct()
    segment: Segment = Segment.model_construct()
    points: Points = Points.model_construct()
    cluster: Cluster = Cluster.model_construct()
    interact: Interact = Interact.model_construct()
    classify: Classify = Classify.model_construct()
    summarize: Summarize = Summarize.model_construct()
    detect: Detect = Detect.model_construct()
    flow: Flow = Flow.model_construct()
    report: Report = Report.model_construct()

    @model_validator(mode="after")
    def _networks_fit_the_images(self) -> Self:
        wires, dimension = self.ingest.wires, self.segment.dimension
        makes_views = wires.make_views
        if (dimension == 2) != makes_views:
            images = "3D images; set ingest.wires.angles_deg, or in_source"
            is_set = bool(wires.angles_deg) or wires.in_source
            if is_set:
                images = "3D points of wire planes" if wires.space_points else "views of wire planes"
            raise ValueError(
                f"segment.dimension is {dimension}, and ingest makes {images}"
                f"{f'; set segment.dimension: {2 if makes_views else 3}' if is_set else ''}"
            )
        # not asked of the section: the jobs of a stage are given its settings without the paths of weights
        if self.segment.infer.point_classes != "planes" and not self.segment.ghost_weights:
            raise ValueError(
                f"segment.infer.point_classes: {self.segment.infer.point_classes} needs segment.ghost_weights"
            )
        side, key = self.ingest.num_voxels, "num_voxels"
        depths = {"segment.unet": self.segment.unet.depth}
        if self.classify.enabled:
            self._require_classified_images()
            depths["classify.unet"] = self.classify.unet.depth
        if dimension == 2:
            side, key = wires.num_pixels, "wires.num_pixels"
        elif isinstance(self.cluster.fragments, LearnedFragments):
            depths["cluster.fragments.unet"] = self.cluster.fragments.unet.depth
        for name, depth in depths.items():
            if side % 2 ** (depth - 1):
                raise ValueError(
                    f"ingest.{key} ({side}) must be divisible by 2^({name}.depth - 1) = {2 ** (depth - 1)}"
                )
        return self

    def _require_classified_images(self) -> None:
        # 3D points of wire planes are 3D images of the stages that follow `segment`
        dimension = 3 if self.ingest.wires.make_points else self.segment.dimension
        if self.classify.dimension != dimension:
            raise ValueError(
                f"classify.dimension is {self.classify.dimension}, and the images have {dimension}; set it to that"
            )

    def slice_for(self, step: str, part: Part = "infer") -> dict[str, Any]:
        """Return the settings that one step's job depends on, as plain values."""
        return slice_of(getattr(self, step), part)


SECTIONS: dict[str, type[Section]] = {
    name: annotation
    for name, item in Config.model_fields.items()
    if isinstance(annotation := item.annotation, type) and issubclass(annotation, Section)
}
"""The sections by the name of their step."""

SCENARIO_SECTIONS = tuple(name for name in SECTIONS if name not in ("detect", "flow", "report"))
"""Sections that a scenario may change, in the order of the data: what stands beside the chain is none."""


def listed(given: str | Sequence[str] | None) -> list[str]:
    """Return the files that a setting names which takes one, a list of them, or none."""
    return [given] if isinstance(given, str) else [*(given or ())]


def slice_of(section: Section, part: Part) -> dict[str, Any]:
    """Return a section without what `part` does not depend on: the other part, and the paths of weights."""
    other = "infer" if part == "train" else "train"
    return section.model_dump(mode="json", exclude={other, "weights", "ghost_weights"})


def shared_slice(section: Section) -> dict[str, Any]:
    """Return what training and inference of a stage must agree on; weights carry it."""
    return section.model_dump(
        mode="json", exclude={"infer", "train", "weights", "ghost_weights", "backend", "upstream", "enabled"}
    )


def completed(step: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the shared slice that an older version wrote, with defaults for settings that it did not have.

    What is not understood stays as it is.
    """
    try:
        return shared_slice(SECTIONS[step].model_validate(settings))
    except ValidationError:
        return dict(settings)


def load_section(step: str, path: Path | None) -> Any:
    """Read the slice of one step from a JSON file; without a path, its defaults.

    Raises
    ------
    ValueError
        The file is not JSON, or a key in it is unknown or out of bounds; the message names both.
    """
    try:
        values = json_of(path, f"write it with 'lartpc config slice {step}'") if path else {}
        return SECTIONS[step].model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{path}: {explain(error, prefix=step)}") from error


def explain(error: ValidationError, prefix: str = "") -> str:
    """Turn pydantic's report into one clause per wrong key, with the setting that may have been meant."""
    roots: dict[str, type[Section]] = {"Config": Config} | {kind.__name__: kind for kind in SECTIONS.values()}
    return mistakes.explain(error, roots.get(error.title), prefix)


def json_schema() -> str:
    """Return the JSON Schema of the configuration, as kept in workflow/schemas/."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"


def markdown_table() -> str:
    """Return config/README.md: every setting with its default and meaning."""
    rows = [
        "# Configuration",
        "",
        "This page lists the settings of a production, and describes the sample sheets. `config.yaml` names the",
        "samples and the weights; every other setting has the default given below, which the verbs use too when run",
        "by hand. The page is written by `make schema`.",
        "",
        "Several configuration files can be given: `snakemake --configfile config/config.yaml mine.yaml`.",
        "",
        "## Sample sheets",
        "",
        "A sample sheet is a table with tab-separated columns and one sample per row:",
        "",
        "| column | meaning |",
        "| --- | --- |",
        "| `sample` | unique name: letters, digits, `_` and `-` |",
        "| `split` | `train`, `validation`, `test` (compared with its truth) or `reconstruct` (no truth needed) |",
        "| `source` | `geant4`; or `nuhepmc:`, `gst:` or `rootracker:` followed by files of a neutrino generator, "
        "which are simulated with Geant4; or files of events. Files are given as a path, a pattern, or `@` followed by "
        "a text file with one path per line; `$VARIABLES` are replaced. For files on servers, give a URL (`root://`, "
        "`s3://`, `https://`), or `@` followed by a catalogue |",
        "| `num_events` | number of events of a `geant4` sample; `-` for files; `-` for generator files means all "
        "events |",
        "| `num_shards` | number of shards of the sample, at most `max_shards`; `-` means one per file (at most "
        "`max_shards`), for generator files a single one |",
        "| `events` | optional column: which events of the files are read, `-` for all. Entries of each file from 0 "
        "(`0-99`, `7`, `first 100`) or `run/subrun/event` (`1/0/7`, `1/0/5-9`, `1/*/*`), several separated by commas, "
        "or `@` followed by a list of them |",
        "",
        "Each stage runs one job per shard. Files are assigned to shards by their path, so adding or removing a file",
        "changes one shard only. For a sample that grows, give `num_shards`: if the number of shards changes, all of",
        "them change.",
        "",
        "## Settings",
        "",
        "| setting | default | meaning |",
        "| --- | --- | --- |",
        *_setting_rows("", Config()),
    ]
    return "\n".join(rows) + "\n"


def _setting_rows(prefix: str, section: Section) -> list[str]:
    rows: list[str] = []
    for name, item in type(section).model_fields.items():
        value = getattr(section, name)
        if choices := _choices(item.annotation):
            for choice in (kind() for kind in choices):
                of = f"` with `method: {choice.model_dump()['method']}` |"
                rows += [row.replace("` |", of, 1) for row in _setting_rows(f"{prefix}{name}.", choice)]
        elif kind := _section_instead(item.annotation, value):
            rows.append(f"| `{prefix}{name}` | `{json.dumps(value)}` | {item.description} |")
            rows += _setting_rows(f"{prefix}{name}.", kind())
        elif isinstance(value, Section) and not isinstance(value, Generator):
            rows += _setting_rows(f"{prefix}{name}.", value)
        else:
            plain = section.model_dump(mode="json")[name]
            shown = (
                "see `lartpc config slice simulate`"
                if isinstance(value, Generator)
                else f"`{json.dumps(plain)}`"
            )
            rows.append(f"| `{prefix}{name}` | {shown} | {item.description} |")
    return rows


def _section_instead(annotation: Any, value: Any) -> type[Section] | None:
    """Return the section that may stand in the place of a word, None where there is none."""
    kinds = [kind for kind in get_args(annotation) if isinstance(kind, type) and issubclass(kind, Section)]
    return kinds[0] if isinstance(value, str) and len(kinds) == 1 else None


def _choices(annotation: Any) -> list[type[Section]]:
    """Return the sections that a setting is one of; none where it is nothing of the kind."""
    kinds = [get_args(choice)[0] if get_args(choice) else choice for choice in get_args(annotation)]
    found = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)]
    return found if len(found) > 1 else []
