"""The configuration: one frozen section per step, each field with its unit, bounds and meaning.

A job never sees the whole configuration but the slice of its own step (`Config.slice_for`), so that
a changed setting reruns that step and what is downstream of it, and nothing else.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lartpc.detectors import PRESETS

Part = Literal["train", "infer"]
"""What a slice is for: training a stage, or running it."""

Range = tuple[float, float]
Counts = tuple[int, int]
Vector = tuple[float, float, float]
Weight = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """Base of all sections: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# -- simulation --------------------------------------------------------------------------------


class ParticleGroup(Section):
    """One kind of particle that a generator draws from."""

    pdg: tuple[int, ...] = Field(description="Monte-Carlo particle numbers, drawn with equal chance")
    weight: float = Field(gt=0, description="relative chance of the group")
    max_count: int = Field(ge=1, description="most particles of the group in one vertex")
    kinetic_energy_mev: Range = Field(description="uniform range of the kinetic energy [MeV]")


VERTEX_GROUPS = (
    ParticleGroup(pdg=(11, -11, 13, -13), weight=3, max_count=1, kinetic_energy_mev=(10, 2750)),
    ParticleGroup(pdg=(111,), weight=1, max_count=2, kinetic_energy_mev=(10, 400)),
    ParticleGroup(pdg=(211, -211), weight=1, max_count=2, kinetic_energy_mev=(10, 400)),
    ParticleGroup(pdg=(2212,), weight=3, max_count=4, kinetic_energy_mev=(10, 400)),
    ParticleGroup(pdg=(22,), weight=1, max_count=2, kinetic_energy_mev=(10, 400)),
)
RAIN_GROUPS = (
    ParticleGroup(pdg=(13, -13), weight=5, max_count=5, kinetic_energy_mev=(10, 10_000)),
    ParticleGroup(pdg=(13, -13), weight=5, max_count=5, kinetic_energy_mev=(10, 500)),
    ParticleGroup(pdg=(11, -11), weight=1, max_count=2, kinetic_energy_mev=(10, 400)),
    ParticleGroup(pdg=(22,), weight=2, max_count=3, kinetic_energy_mev=(10, 400)),
    ParticleGroup(pdg=(2212,), weight=1, max_count=5, kinetic_energy_mev=(10, 400)),
)
# Groups and weights are those of the MPV and MPR generators of SBND and ICARUS (LArSoft), numbers and
# energies lie between theirs, such that each class has about as many voxels as in PILArNet-M
# (docs/simulation.md, "The class mix").


class Generator(Section):
    """A generator: how many particles, of which kinds."""

    num_particles: Counts = Field(description="fewest and most particles, uniform")
    groups: tuple[ParticleGroup, ...] = Field(description="kinds of particles")


class Gun(Section):
    """One particle an event."""

    pdg: tuple[int, ...] = Field((13,), description="Monte-Carlo particle numbers, drawn with equal chance")
    kinetic_energy_mev: Range = Field((1000, 1000), description="uniform range of the kinetic energy [MeV]")
    position_cm: Vector | None = Field(
        None,
        description="start from the centre of the box [cm]; null: anywhere `wall_margin_cm` off the walls",
    )
    direction: Vector | None = Field(None, description="direction, of any length; null: isotropic")


class Cosmic(Section):
    """Cosmic muons that come from above (along y) over the particles of the vertex."""

    window_us: float = Field(
        2800,
        ge=0,
        description="time during which muons cross the box; 2800: a drift before and one after [us]",
    )


GENERATORS: dict[str, tuple[str, ...]] = {
    "mpvmpr": ("vertex", "rain"),
    "gun": ("gun",),
    "cosmic": ("vertex", "cosmic"),
}
"""The sections that each generator reads."""


class Simulate(Section):
    """Geant4: what is shot into a box of liquid argon, and how it is transported."""

    generator: Literal["mpvmpr", "gun", "cosmic"] = Field(
        "mpvmpr", description="mpvmpr: vertex and rain; gun: one particle; cosmic: vertex and cosmic muons"
    )
    box_cm: float = Field(230.4, gt=0, description="side of the liquid-argon box [cm]")
    wall_margin_cm: float = Field(30.0, ge=0, description="least distance of the vertex to a wall [cm]")
    production_cut_mm: float = Field(0.3, gt=0, description="Geant4 production cut [mm]")
    max_step_mm: float = Field(3.0, gt=0, description="longest step of a charged particle [mm]")
    vertex: Generator = Field(
        Generator(num_particles=(2, 6), groups=VERTEX_GROUPS),
        description="particles that share one vertex (MPV)",
    )
    rain: Generator = Field(
        Generator(num_particles=(2, 4), groups=RAIN_GROUPS),
        description="particles at independent positions (MPR)",
    )
    gun: Gun = Gun()
    cosmic: Cosmic = Cosmic()

    @model_validator(mode="after")
    def _no_setting_without_effect(self) -> Self:
        read = GENERATORS[self.generator]
        for name in sorted({name for names in GENERATORS.values() for name in names} - set(read)):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} has no effect with generator '{self.generator}', which reads {', '.join(read)}; "
                    "remove it or choose another generator"
                )
        return self


# -- ingestion ---------------------------------------------------------------------------------


class Volume(Section):
    """A box of active argon."""

    low_cm: tuple[float, float, float] = Field(description="lower corner [cm]")
    high_cm: tuple[float, float, float] = Field(description="upper corner [cm]")

    @model_validator(mode="after")
    def _has_a_size(self) -> Self:
        if not all(low < high for low, high in zip(self.low_cm, self.high_cm, strict=True)):
            raise ValueError("low_cm must lie below high_cm along each axis")
        return self


class Response(Section):
    """The detector: recombination, drift along x, read-out; off by default, as images of true energy are.

    An image is then of collected charge, in MeV of a minimum ionising particle.
    """

    recombination: Literal["none", "birks", "box"] = Field(
        "none", description="electrons that recombine; birks (ICARUS), box: modified Box model (ArgoNeuT)"
    )
    field_kv_cm: float = Field(0.5, gt=0, le=2, description="electric field [kV/cm]")
    temperature_k: float = Field(87.17, gt=83, lt=100, description="temperature of the argon [K]")
    anode_x_cm: tuple[float, ...] | None = Field(
        None,
        min_length=1,
        description="planes along x that electrons drift to, each to the nearest [cm]; null: the lower "
        "face of the imaged box",
    )
    lifetime_us: float | None = Field(
        None, gt=0, description="lifetime of drifting electrons; null: infinite [us]"
    )
    diffusion_longitudinal_cm2_s: float = Field(
        0.0, ge=0, description="diffusion along the drift; in argon about 4.0 [cm²/s]"
    )
    diffusion_transverse_cm2_s: float = Field(
        0.0, ge=0, description="diffusion across the drift; in argon about 8.8 [cm²/s]"
    )
    electrons_per_cluster: float = Field(600, gt=0, description="electrons that diffuse as one")
    shift_by_time: bool = Field(
        False, description="deposits appear displaced by the way that electrons drift in the deposit's time"
    )
    noise_electrons: float = Field(
        0.0, ge=0, description="Gaussian noise of each voxel with charge [electrons]"
    )
    voxel_threshold_electrons: float = Field(
        0.0, ge=0, description="voxels with less charge are dropped [electrons]"
    )
    pixel_threshold_electrons: float = Field(
        0.0, ge=0, description="columns along x with less charge in all are dropped [electrons]"
    )


class Ingest(Section):
    """Steps to voxels and truth labels (SuperaAtomic rules)."""

    detector: Literal["generic", "2x2", "icarus"] = Field(
        "generic",
        description="sets voxel_size_cm, num_voxels, centre_cm and volumes, where these are not given: "
        "see docs/geometry.md",
    )
    voxel_size_cm: float = Field(0.3, gt=0, description="voxel pitch [cm]")
    num_voxels: int = Field(768, ge=1, le=8192, description="voxels per side of the imaged box")
    centre_cm: tuple[float, float, float] | None = Field(
        None,
        description="centre of the imaged box [cm]; null: the centre of the source's volume, or of "
        "its steps where it states none",
    )
    volumes: tuple[Volume, ...] = Field(
        (), description="active volumes; what is outside all of them is not imaged; none: the whole box"
    )
    voxel_threshold_mev: float = Field(0.0, ge=0, description="voxels with less energy are dropped [MeV]")
    shower_min_voxels: int = Field(10, ge=1, description="smaller showers are low-energy deposits")
    track_min_voxels: int = Field(3, ge=1, description="smaller tracks are low-energy deposits")
    delta_min_voxels: int = Field(3, ge=1, description="smaller deltas belong to their parent track")
    michel_min_energy_mev: float = Field(
        2.5, ge=0, description="electrons of a captured muon below it are not Michels but Auger [MeV]"
    )
    point_min_voxels: int = Field(
        5, ge=1, description="smaller shower fragments have no true point (arXiv:2006.14745)"
    )
    touch_distance: int = Field(1, ge=1, description="largest step between touching voxels, per axis")
    precedence: tuple[int, int, int, int, int] = Field(
        (1, 2, 0, 3, 4), description="classes (vocab.Semantic) that win a shared voxel, strongest first"
    )
    response: Response = Response()

    @model_validator(mode="before")
    @classmethod
    def _fill_from_the_detector(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return PRESETS.get(str(values.get("detector", "generic")), {}) | values

    @model_validator(mode="after")
    def _each_class_once(self) -> Self:
        if sorted(self.precedence) != list(range(len(self.precedence))):
            raise ValueError("precedence must name each class 0 to 4 once")
        return self


# -- learned stages ----------------------------------------------------------------------------


class Training(Section):
    """How a stage is trained."""

    num_steps: int = Field(gt=0, description="optimizer steps")
    batch_size: int = Field(ge=1, description="events per step, over all ranks")
    accumulate: int = Field(
        1, ge=1, description="pieces that a batch is computed in, one after another, to save memory"
    )
    learning_rate: float = Field(gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay of AdamW")
    warmup_fraction: float = Field(0.05, ge=0, lt=1, description="share of the steps with rising rate")
    clip_norm: float = Field(5.0, gt=0, description="largest norm of the gradient")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="arithmetic of the network; bf16: mixed, weights and losses stay in fp32"
    )
    validate_every: int = Field(100, ge=1, description="steps between validations and checkpoints")
    checkpoint_minutes: float = Field(
        10.0, ge=0, description="longest time between two checkpoints [min]; 0: one after each step"
    )
    num_validation_events: int = Field(32, ge=0, description="events of the validation split used each time")
    patience: int | None = Field(
        None, ge=1, description="validations without a lower loss that end the training; null: never"
    )
    output: Literal["auto", "best", "last"] = Field(
        "auto", description="which weights go on to inference; auto: best with patience, else last"
    )
    init_from: str | None = Field(
        None, description="weights file to start from: what fits by name and shape is taken"
    )
    freeze: tuple[str, ...] = Field(
        (), description="beginnings of names of parameters that keep their first values"
    )
    max_voxels: int | None = Field(
        None, ge=1, description="events with more voxels are not trained on; null: all are [voxel]"
    )
    num_workers: int = Field(1, ge=0, le=64, description="processes of each rank that read ahead; 0: none")
    augment: bool = Field(True, description="flip and rotate the events by 90° at random")
    shift: int = Field(
        0, ge=0, description="longest random shift along each axis, the event staying in its box [voxel]"
    )
    charge_scale: float = Field(
        0.0, ge=0, le=1, description="relative spread of a random factor on the energies of an event"
    )
    charge_jitter: float = Field(
        0.0, ge=0, le=1, description="relative spread of a random factor on the energy of each voxel"
    )
    seed: int = Field(1, ge=0, description="seed of weights, order and augmentation")
    deterministic: bool = Field(
        False, description="only operations that give the same bits each time; slower on GPUs"
    )
    backend: Literal["mpi", "gloo", "nccl", "auto"] = Field(
        "auto", description="gradient reduction; auto: nccl on GPUs, mpi on CPUs"
    )

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} cannot be cut in accumulate = {self.accumulate}")
        if self.num_validation_events == 0 and (self.patience or self.output == "best"):
            raise ValueError("patience and output: best need num_validation_events above 0")
        return self


class SegmentTraining(Training):
    """How the segmentation is trained."""

    loss: Literal["ce", "inverse", "weighted"] = Field(
        "ce",
        description="weights of the voxels: equal; inverse to the voxels of their class in their event "
        "(arXiv:1808.07269); or class_weights",
    )
    class_weights: tuple[Weight, Weight, Weight, Weight, Weight] | None = Field(
        None, description="weight of shower, track, Michel, delta and low-energy voxels, with loss: weighted"
    )
    sync_batch_norm: bool = Field(
        False, description="batch statistics over all ranks; else each rank has its own"
    )

    @model_validator(mode="after")
    def _weights_are_used(self) -> Self:
        if (self.loss == "weighted") != (self.class_weights is not None):
            raise ValueError("loss: weighted and class_weights go together")
        if self.class_weights and not any(self.class_weights):
            raise ValueError("class_weights are all zero")
        return self


class UResNet(Section):
    """Sparse U-ResNet (arXiv:1903.05663)."""

    filters: int = Field(
        16, ge=1, description="features at full resolution; level l has (l + 1) times as many"
    )
    depth: int = Field(5, ge=1, le=9, description="resolutions, each half the one above")
    repetitions: int = Field(2, ge=1, description="residual blocks per level")
    kernel: Literal[3, 5] = Field(3, description="side of the convolution kernels [voxel]")
    leakiness: float = Field(0.33, ge=0, lt=1, description="slope of LeakyReLU below zero")


class Ppn(Section):
    """Point proposal network on the decoder (arXiv:2006.14745)."""

    radius: float = Field(
        5.0, gt=0, description="voxels nearer than this to a true point are positive [voxel]"
    )
    mask_threshold: float = Field(
        0.5, gt=0, lt=1, description="score above which a coarse voxel is looked into"
    )
    loss_weight: float = Field(
        1.0, ge=0, description="weight of the point losses beside the segmentation loss"
    )


class SegmentInfer(Section):
    """Settings of `segment` that need no new training."""

    proposal_floor: float = Field(0.1, ge=0, lt=1, description="least score of a proposal that is stored")
    max_voxels: int = Field(50_000, ge=1, description="voxels packed into one batch")


class Segment(Section):
    """Voxel classes and raw point proposals."""

    backend: Literal["auto", "fused", "spconv", "torch"] = Field(
        "auto", description="sparse convolution; auto: fused on CPUs, spconv on GPUs"
    )
    unet: UResNet = UResNet()
    ppn: Ppn = Ppn()
    infer: SegmentInfer = SegmentInfer()
    train: SegmentTraining = SegmentTraining(num_steps=450, batch_size=8, learning_rate=4e-3)
    weights: str | None = Field(None, description="released weights; null: train")


class Points(Section):
    """Proposals to points: threshold, agreement with the voxel classes, merging (PPN paper)."""

    score_threshold: float = Field(0.5, ge=0, le=1, description="least score of a point")
    class_threshold: float = Field(0.5, ge=0, le=1, description="least class score that must agree")
    class_distance: float = Field(
        1.999, ge=0, description="a voxel of the point's class must lie nearer than this [voxel]"
    )
    merge_distance: float = Field(
        5.0, gt=0, description="weaker proposals this near to a stronger one are merged with it [voxel]"
    )


class Fragments(Section):
    """Voxels to fragments: DBSCAN per class, tracks broken at points."""

    eps: tuple[float, float, float, float] = Field(
        (1.8, 1.8, 1.8, 1.8), description="link distance for shower, track, Michel, delta [voxel]"
    )
    min_voxels: int = Field(3, ge=1, description="smaller fragments are left ungrouped")
    break_radius: float = Field(5.0, ge=0, description="tracks are cut inside this radius of a point [voxel]")


class GraphNet(Section):
    """GrapPA-like graph network (arXiv:2007.01335)."""

    num_hidden: int = Field(64, ge=1, description="width of nodes, edges and messages")
    num_message_passing: int = Field(3, ge=1, description="message-passing steps")
    leakiness: float = Field(0.1, ge=0, lt=1, description="slope of LeakyReLU below zero")
    max_edges: int = Field(200_000, ge=1, description="nearest edges kept in one event")


class EdgeInfer(Section):
    """Settings of a grouping stage that need no new training."""

    edge_threshold: float = Field(0.5, gt=0, lt=1, description="edges with a lower score never join")
    max_voxels: int = Field(200_000, ge=1, description="voxels packed into one batch")


class Cluster(Section):
    """Fragments, and their grouping into particles by a graph network."""

    fragments: Fragments = Fragments()
    graph: GraphNet = GraphNet()
    edge_length: tuple[float, float, float, float] = Field(
        (500.0, 100.0, 25.0, 25.0),
        description="longest edge between two showers, tracks, Michels, deltas [voxel]",
    )
    upstream: Literal["predicted", "truth"] = Field(
        "truth", description="train on the output of the stages before, or on their truth"
    )
    infer: EdgeInfer = EdgeInfer()
    train: Training = Training(num_steps=400, batch_size=16, learning_rate=2.5e-3)
    weights: str | None = Field(None, description="released weights; null: train")


class Interact(Section):
    """Particles to interactions, with species, primaries and a vertex."""

    graph: GraphNet = GraphNet()
    edge_length: float = Field(500.0, gt=0, description="longest edge between two particles [voxel]")
    vertex_radius: float = Field(7.0, gt=0, description="starts nearer than this share a vertex [voxel]")
    upstream: Literal["predicted", "truth"] = Field(
        "truth", description="train on the output of the stages before, or on their truth"
    )
    infer: EdgeInfer = EdgeInfer()
    train: Training = Training(num_steps=600, batch_size=16, learning_rate=2.5e-3)
    weights: str | None = Field(None, description="released weights; null: train")


class Report(Section):
    """The page of figures and pictures."""

    num_events: int = Field(4, ge=0, le=50, description="event displays")
    max_voxels: int = Field(15_000, ge=100, description="voxels drawn per display; larger events are thinned")


class Config(Section):
    """A whole production."""

    samples: tuple[str, ...] = Field(
        ("config/samples.tsv",), description="sample sheets, read one after another"
    )
    seed: int = Field(1, ge=0, description="seed of the simulation; each shard derives its own from it")
    simulate: Simulate = Simulate()
    ingest: Ingest = Ingest()
    segment: Segment = Segment()
    points: Points = Points()
    cluster: Cluster = Cluster()
    interact: Interact = Interact()
    report: Report = Report()

    @model_validator(mode="after")
    def _levels_fit_the_grid(self) -> Self:
        if self.ingest.num_voxels % 2 ** (self.segment.unet.depth - 1):
            raise ValueError(
                f"ingest.num_voxels ({self.ingest.num_voxels}) must be divisible by "
                f"2^(segment.unet.depth - 1) = {2 ** (self.segment.unet.depth - 1)}"
            )
        return self

    def slice_for(self, step: str, part: Part = "infer") -> dict[str, Any]:
        """Return the settings that one step's job depends on, as plain values."""
        return slice_of(getattr(self, step), part)


SECTIONS: dict[str, type[Section]] = {
    name: annotation
    for name, item in Config.model_fields.items()
    if isinstance(annotation := item.annotation, type) and issubclass(annotation, Section)
}
"""The sections by the name of their step."""


def slice_of(section: Section, part: Part) -> dict[str, Any]:
    """Return a section without what `part` does not depend on: the other part, and the weights' path."""
    other = "infer" if part == "train" else "train"
    return section.model_dump(mode="json", exclude={other, "weights"})


def shared_slice(section: Section) -> dict[str, Any]:
    """Return what training and inference of a stage must agree on; weights carry it."""
    return section.model_dump(mode="json", exclude={"infer", "train", "weights", "backend", "upstream"})


def load_section(step: str, path: Path | None) -> Any:
    """Read the slice of one step from a JSON file; without a path, its defaults.

    Raises
    ------
    ValueError
        The file is not JSON, or a key in it is unknown or out of bounds; the message names both.
    """
    try:
        values = json.loads(path.read_text()) if path else {}
        return SECTIONS[step].model_validate(values)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error}); write it with 'lartpc config slice {step}'") from error
    except ValidationError as error:
        raise ValueError(f"{path}: {explain(error, prefix=step)}") from error


def explain(error: ValidationError, prefix: str = "") -> str:
    """Turn pydantic's report into one line per wrong key."""
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in (*filter(None, [prefix]), *item["loc"]))
        lines.append(f"{key}: {item['msg']} (got {item['input']!r})")
    return "; ".join(lines)


def json_schema() -> str:
    """Return the JSON Schema of the configuration, as kept in workflow/schemas/."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"


def markdown_table() -> str:
    """Return config/README.md: every setting with its default and meaning."""
    rows = [
        "# Configuration",
        "",
        "`config.yaml` names only what differs from the defaults below (`make schema` writes this page).",
        "Several files can be given: `snakemake --configfile config/config.yaml mine.yaml`.",
        "",
        "## Sample sheets",
        "",
        "Tab-separated, one sample a row:",
        "",
        "| column | meaning |",
        "| --- | --- |",
        "| `sample` | unique name: letters, digits, `_` and `-` |",
        "| `split` | `train`, `validation`, `test` (compared with its truth) or `reconstruct` (no truth needed) |",
        "| `source` | `geant4`, or files: a path or a pattern; `$VARIABLES` are replaced |",
        "| `num_events`, `num_shards` | of a `geant4` sample; `-` for files, each of which is a shard |",
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
        if isinstance(value, Section) and not isinstance(value, Generator):
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
