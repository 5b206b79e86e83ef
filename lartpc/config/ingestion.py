"""Sections of ingestion: detectors, their response, voxels and truth labels."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from lartpc.config.base import Section
from lartpc.detectors import PRESETS


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
    birks_a: float = Field(0.800, gt=0, le=1.2, description="A of Birks' law; ICARUS: 0.800 ± 0.003")
    birks_k: float = Field(
        0.0486,
        gt=0,
        le=0.5,
        description="k of Birks' law; ICARUS: 0.0486 ± 0.0006 [(kV/cm) (g/cm²)/MeV]",
    )
    box_alpha: float = Field(
        0.93, gt=0, le=1.2, description="α of the modified Box model; ArgoNeuT: 0.93 ± 0.02"
    )
    box_beta: float = Field(
        0.212,
        gt=0,
        le=2,
        description="β of the modified Box model; ArgoNeuT: 0.212 ± 0.002 [(kV/cm) (g/cm²)/MeV]",
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
        False, description="deposits are displaced by the drift distance of their time"
    )
    noise_electrons: float = Field(
        0.0, ge=0, description="Gaussian noise of each voxel with charge [electrons]"
    )
    voxel_threshold_electrons: float = Field(
        0.0, ge=0, description="voxels with less charge are dropped [electrons]"
    )
    pixel_threshold_electrons: float = Field(
        0.0, ge=0, description="columns along x with less total charge are dropped [electrons]"
    )


class Readout(Section):
    """Wires and their electronics: induced signals, shaping, noise, dead wires, and the charge deconvolved from them.

    Off by default, as images are of the charge that arrives; docs/explanation/response.md has the formulas.
    """

    shaping_us: float | None = Field(
        None,
        ge=0.5,
        le=10,
        description="peaking time of the shaper, in MicroBooNE 2.0; null: no waveforms are made, and images are of the "
        "charge that arrives [us]",
    )
    collection_deg: float = Field(
        0.0, description="angle of the plane that collects the charge; the others are induction planes [deg]"
    )
    gap_us: float = Field(
        1.9, gt=0, le=20, description="time in which electrons drift from one plane to the next [us]"
    )
    noise_electrons: float = Field(
        0.0,
        ge=0,
        description="equivalent noise charge of a wire (RMS), of the spectrum of the shaper [electrons]",
    )
    adc_electrons: float = Field(
        0.0,
        ge=0,
        description="charge of one count of the digitizer, at the peak; 0: not digitized [electrons]",
    )
    low_pass_mhz: float | None = Field(
        0.12, gt=0, description="σ of the Gaussian low-pass filter of the deconvolution; null: none [MHz]"
    )
    high_pass_mhz: float = Field(
        0.002, gt=0, description="scale of its high-pass filter, for induction planes only [MHz]"
    )
    threshold_sigma: float = Field(
        4.0, ge=0, description="pixels with less than so many standard deviations of the noise are dropped"
    )
    dead_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the wires of each plane that see nothing; works without waveforms",
    )
    dead_seed: int = Field(1, ge=0, description="seed of the choice of dead wires, the same for all events")

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        fields = type(self).model_fields
        idle = [
            name
            for name in fields
            if not name.startswith("dead_") and getattr(self, name) != fields[name].default
        ]
        if idle and self.shaping_us is None:
            raise ValueError(f"readout: {', '.join(idle)} without effect: shaping_us is not set")
        return self


class Wires(Section):
    """Read-out by planes of wires: an image is then the 2D view of an event by one plane.

    Defaults are those of MicroBooNE (JINST 12 (2017) P02017): wires 3 mm apart and ticks of 0.5 µs, of which
    six make a pixel, as in its images for networks (arXiv:1611.05531).
    """

    angles_deg: tuple[float, ...] = Field(
        (),
        description="angle of each plane's wires to the vertical (y), 0 measures z: 2D images, one an event "
        "and plane; none: 3D images [deg]",
    )
    in_source: bool = Field(
        False,
        description="the images of planes are those that the files hold (LArCV), pixels and their size "
        "included, and not made of events in 3D",
    )
    pitch_cm: float = Field(0.3, gt=0, description="distance between wires, the width of a pixel [cm]")
    tick_us: float = Field(0.5, gt=0, description="time between samples of a wire [us]")
    ticks_per_pixel: int = Field(6, ge=1, description="samples that are added up to a pixel")
    drift_velocity_cm_us: float | None = Field(
        None,
        gt=0,
        description="drift velocity, which makes lengths of ticks; null: that of argon in "
        "response.field_kv_cm and temperature_k [cm/us]",
    )
    num_pixels: int = Field(
        1152, ge=1, le=16_384, description="pixels per side of the image, around the centre of the imaged box"
    )
    pixel_threshold_mev: float = Field(0.0, ge=0, description="pixels with less energy are dropped [MeV]")
    value_mev: float = Field(
        1.0,
        gt=0,
        description="energy that a value of 1 of a pixel stands for in files that hold images (in_source) [MeV]",
    )
    readout: Readout = Readout.model_construct()
    space_points: bool = Field(
        False, description="3D points made of the images of all planes, in the place of the images"
    )
    point_tolerance: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description="a voxel is a point if in each plane its centre lies within half a pitch, and this, of a wire with "
        "charge [pitch]",
    )
    charge_iterations: int = Field(
        10, ge=1, le=1000, description="iterations that share the charge of pixels among points"
    )

    @model_validator(mode="after")
    def _planes_make_sense(self) -> Self:
        if any(not -90 < angle <= 90 for angle in self.angles_deg):
            raise ValueError("angles_deg must lie above -90 and up to 90: wires have no direction")
        if len(set(self.angles_deg)) != len(self.angles_deg):
            raise ValueError("angles_deg names a plane twice")
        fields = type(self).model_fields
        if self.in_source and self.angles_deg:
            raise ValueError("in_source takes the images of the files; take angles_deg out")
        if self.value_mev != 1.0 and not self.in_source:
            raise ValueError("value_mev without effect: images are not those of the files (in_source)")
        used = {"in_source", "num_pixels", "pixel_threshold_mev", "value_mev"} if self.in_source else set()
        idle = [name for name in fields if getattr(self, name) != fields[name].default and name not in used]
        if idle and not self.angles_deg:
            raise ValueError(f"{', '.join(idle)} without effect: there are no angles_deg")
        if self.readout.shaping_us and self.readout.collection_deg not in self.angles_deg:
            raise ValueError("readout.collection_deg is not one of angles_deg")
        if self.space_points and (self.num_pixels % 2 or not self.make_points):
            raise ValueError(
                "space_points needs two or more planes, none parallel to another, and an even num_pixels"
            )
        return self

    @property
    def make_views(self) -> bool:
        """Tell whether the images are views of planes, in 2D."""
        return self.in_source or (bool(self.angles_deg) and not self.space_points)

    @property
    def make_points(self) -> bool:
        """Tell whether 3D points can be made of the planes: two or more, none parallel to another."""
        return 1 < len(self.angles_deg) == len({angle % 180.0 for angle in self.angles_deg})


class Tomography(Section):
    """3D points made from planes of wires, ghosts included; off by default, as images are of deposits.

    A point is where wires of all planes within half a pitch have charge at the same time.
    """

    angles_deg: tuple[float, ...] = Field(
        (),
        description="angle of each plane's wires to the vertical (y), 0 measures z, as [60, -60, 0]; none: off "
        "[deg]",
    )
    pitch_cm: float = Field(0.3, gt=0, description="distance between wires [cm]")
    charge_iterations: int = Field(
        10, ge=1, le=1000, description="iterations that share the charge of wires among points"
    )

    @model_validator(mode="after")
    def _planes_cross(self) -> Self:
        if len(self.angles_deg) == 1:
            raise ValueError("tomography.angles_deg: one plane makes no points; give two or more")
        if len({angle % 180.0 for angle in self.angles_deg}) != len(self.angles_deg):
            raise ValueError("tomography.angles_deg: two planes have parallel wires")
        return self


READOUT_RANGES = ("readout_share", "readout_shaping_us", "readout_noise_electrons", "readout_dead_share")
"""Settings of `Variations` that are of wires."""


class Variations(Section):
    """Detectors that differ from file to file, so that weights trained on the events hold for all of them.

    Of each file's uid a detector is drawn, and all its events are of this one; off by default.
    """

    voxel_size_cm: tuple[float, float] | None = Field(
        None, description="least and largest voxel pitch, drawn evenly; null: as voxel_size_cm [cm]"
    )
    response_share: float = Field(
        1.0, ge=0, le=1, description="share of the files with a response; the others are of true energy"
    )
    recombination: tuple[Literal["none", "birks", "box"], ...] = Field(
        (), description="models of recombination, one of which is drawn; none: as response"
    )
    field_kv_cm: tuple[float, float] | None = Field(
        None, description="least and largest electric field; null: as response [kV/cm]"
    )
    lifetime_us: tuple[float, float] | None = Field(
        None, description="least and largest lifetime of drifting electrons; null: as response [us]"
    )
    diffusion_longitudinal_cm2_s: tuple[float, float] | None = Field(
        None, description="least and largest diffusion along the drift; null: as response [cm²/s]"
    )
    diffusion_transverse_cm2_s: tuple[float, float] | None = Field(
        None, description="least and largest diffusion across the drift; null: as response [cm²/s]"
    )
    noise_electrons: tuple[float, float] | None = Field(
        None, description="least and largest noise of a voxel; null: as response [electrons]"
    )
    voxel_threshold_electrons: tuple[float, float] | None = Field(
        None, description="least and largest threshold of a voxel; null: as response [electrons]"
    )
    readout_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="share of the files whose wires are read out; images of the others are of the charge that arrives",
    )
    readout_shaping_us: tuple[float, float] | None = Field(
        None, description="least and largest peaking time of the shaper; null: as wires.readout [us]"
    )
    readout_noise_electrons: tuple[float, float] | None = Field(
        None, description="least and largest noise of a wire; null: as wires.readout [electrons]"
    )
    readout_dead_share: tuple[float, float] | None = Field(
        None,
        description="least and largest share of dead wires, others in each file; null: as wires.readout, "
        "the same in all",
    )

    @property
    def vary_wires(self) -> bool:
        """Tell whether the read-out of wires differs from file to file."""
        return any(getattr(self, name) != Variations.model_fields[name].default for name in READOUT_RANGES)

    @property
    def vary_events(self) -> bool:
        """Tell whether voxels or the response differ from file to file."""
        plain = {name: Variations.model_fields[name].default for name in READOUT_RANGES}
        return self.model_copy(update=plain) != Variations()

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, tuple) and name != "recombination" and not 0 <= value[0] <= value[1]:
                raise ValueError(f"{name}: give the least and the largest, neither below 0")
        if self.voxel_size_cm and not self.voxel_size_cm[0]:
            raise ValueError("voxel_size_cm: the least must lie above 0")
        return self


class Ingest(Section):
    """Steps to voxels and truth labels (SuperaAtomic rules)."""

    detector: Literal["generic", "2x2", "icarus"] = Field(
        "generic",
        description="sets voxel_size_cm, num_voxels, centre_cm and volumes, where these are not given: "
        "see docs/reference/geometry.md",
    )
    voxel_size_cm: float = Field(0.3, gt=0, description="voxel pitch [cm]")
    num_voxels: int = Field(768, ge=1, le=8192, description="voxels per side of the imaged box")
    centre_cm: tuple[float, float, float] | None = Field(
        None,
        description="centre of the imaged box [cm]; null: the centre of the source's volume, or the "
        "origin where it states none",
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
        (1, 2, 0, 3, 4), description="classes (vocab.Semantic) in the order of precedence in a shared voxel"
    )
    response: Response = Response.model_construct()
    variations: Variations = Variations.model_construct()
    wires: Wires = Wires.model_construct()
    tomography: Tomography = Tomography.model_construct()

    @model_validator(mode="before")
    @classmethod
    def _fill_from_the_detector(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return PRESETS.get(str(values.get("detector", "generic")), {}) | values

    @model_validator(mode="after")
    def _one_kind_of_image(self) -> Self:
        if (self.wires.angles_deg or self.wires.in_source) and self.tomography.angles_deg:
            raise ValueError("wires make 2D images, tomography 3D ones; give angles_deg to one of them")
        return self

    @model_validator(mode="after")
    def _variations_are_of_3d_images(self) -> Self:
        if self.variations.vary_events and (self.wires.angles_deg or self.wires.in_source):
            raise ValueError(
                "variations: of wire planes only the read-out is varied (readout_*); take out the others"
            )
        if self.variations.vary_wires and not self.wires.readout.shaping_us:
            raise ValueError("variations: readout_* without effect: wires.readout.shaping_us is not set")
        return self

    @model_validator(mode="after")
    def _constants_are_of_a_model(self) -> Self:
        models = {self.response.recombination, *self.variations.recombination}
        fields = Response.model_fields
        for name in ("birks_a", "birks_k", "box_alpha", "box_beta"):
            model = name.split("_")[0]
            if model not in models and getattr(self.response, name) != fields[name].default:
                raise ValueError(f"response.{name} without effect: response.recombination is not {model}")
        return self

    @model_validator(mode="after")
    def _each_class_once(self) -> Self:
        if sorted(self.precedence) != list(range(len(self.precedence))):
            raise ValueError("precedence must name each class 0 to 4 once")
        return self
