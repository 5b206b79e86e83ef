"""Training of any stage; the stages on images: voxel classes, and points from their proposals."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from lartpc.config.base import File, Section, Weight


def _require_nothing(schema: dict[str, Any]) -> None:
    # What has no default here has one from each stage.
    schema.pop("required", None)


class Training(Section):
    """How a stage is trained."""

    model_config = ConfigDict(json_schema_extra=_require_nothing)

    num_steps: int = Field(gt=0, description="optimizer steps")
    batch_size: int = Field(ge=1, description="events per step, over all ranks")
    accumulate: int = Field(
        1, ge=1, description="pieces that a batch is computed in, one after another, to save memory"
    )
    learning_rate: float = Field(gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay of AdamW")
    warmup_fraction: float = Field(
        0.05, ge=0, lt=1, description="share of the steps in which the learning rate rises (warm-up)"
    )
    clip_norm: float = Field(5.0, gt=0, description="norm to which gradients are clipped")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="arithmetic of the network; bf16: mixed, weights and losses stay in fp32"
    )
    validate_every: int = Field(100, ge=1, description="steps between validations and checkpoints")
    checkpoint_minutes: float = Field(
        10.0, ge=0, description="longest time between two checkpoints [min]; 0: one after each step"
    )
    num_validation_events: int = Field(32, ge=0, description="events of the validation split used each time")
    patience: int | None = Field(
        None, ge=1, description="early stopping after so many validations without a lower loss; null: never"
    )
    output: Literal["auto", "best", "last"] = Field(
        "auto", description="which weights go on to inference; auto: best with patience, else last"
    )
    init_from: File | None = Field(
        None, description="weights file to start from: what fits by name and shape is taken"
    )
    freeze: tuple[str, ...] = Field(
        (), description="parameters that are frozen, by the beginnings of their names"
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


class GraphTraining(Training):
    """How a graph network is trained."""

    keep_gb: float = Field(
        0.5,
        ge=0,
        description="memory of each process that reads for the graphs and targets of cluster and interact, which are "
        "found once for an event, and turned with it; 0: found in each pass anew, in the event as it is turned [GB]",
    )


class SegmentTraining(Training):
    """How the segmentation is trained."""

    loss: Literal["ce", "inverse", "border", "weighted", "focal", "lovasz", "ce_lovasz"] = Field(
        "ce",
        description="ce: cross entropy; inverse: voxels weigh as the inverse of the number of their class in "
        "their event; border: likewise, with voxels that have another class within 2 as a class of their "
        "own (both arXiv:1808.07269); weighted: by class_weights; focal: arXiv:1708.02002; lovasz: "
        "Lovász-softmax per event (arXiv:1705.08790); ce_lovasz: ce and lovasz_share of lovasz",
    )
    lovasz_share: float = Field(
        1.0, gt=0, description="weight of lovasz beside ce in loss: ce_lovasz; Panda has 0.05"
    )
    focal_gamma: float = Field(
        2.0, ge=0, le=10, description="exponent of loss: focal; 0 is the cross entropy, its authors take 2"
    )
    class_weights: tuple[Weight, Weight, Weight, Weight, Weight] | None = Field(
        None, description="weight of shower, track, Michel, delta and low-energy voxels, with loss: weighted"
    )
    affinity_weight: float = Field(
        2.0,
        ge=0,
        description="weight of the loss of affinities, which say whether neighbouring voxels are of one particle; 0: "
        "the network has none, and fragments are found by distance",
    )
    only_far_ghosts: bool = Field(
        False,
        description="of ghosts ask for those alone that share no corner with a real voxel, with heads.ghost; the "
        "others have the class and particle of the nearest real voxel",
    )
    sync_batch_norm: bool = Field(
        False, description="batch norm synchronised over all ranks; else each rank has its own statistics"
    )

    @model_validator(mode="after")
    def _weights_are_used(self) -> Self:
        if (self.loss == "weighted") != (self.class_weights is not None):
            raise ValueError("loss: weighted and class_weights go together")
        if self.class_weights and not any(self.class_weights):
            raise ValueError("class_weights are all zero")
        if self.loss != "focal" and self.focal_gamma != 2.0:
            raise ValueError("focal_gamma needs loss: focal")
        if self.loss != "ce_lovasz" and self.lovasz_share != 1.0:
            raise ValueError("lovasz_share needs loss: ce_lovasz")
        return self


class UResNet(Section):
    """Sparse U-ResNet (arXiv:1903.05663)."""

    filters: int = Field(
        16, ge=1, description="features at full resolution; level l has (l + 1) times as many"
    )
    depth: int = Field(5, ge=1, le=9, description="levels of resolution, each half of the one above")
    repetitions: int = Field(2, ge=1, description="residual blocks per level")
    kernel: Literal[3, 5] = Field(3, description="side of the convolution kernels [voxel]")
    leakiness: float = Field(0.33, ge=0, lt=1, description="negative slope of LeakyReLU")

    @property
    def memory_per_voxel(self) -> float:
        """The memory [B] that inference takes for each voxel on a CPU.

        Measured with 16 filters: 1,400 to 2,320 (`benchmarks/large_event.py`). Kernel maps take some 300 of it,
        and the rest are features.
        """
        return 300 + 150 * self.filters


class Ppn(Section):
    """Point proposal network on the decoder (arXiv:2006.14745)."""

    radius: float = Field(
        5.0, gt=0, description="voxels nearer than this to a true point are positive [voxel]"
    )
    mask_threshold: float = Field(0.5, gt=0, lt=1, description="score above which a coarse voxel is refined")
    loss_weight: float = Field(
        1.0, ge=0, description="weight of the point losses beside the segmentation loss"
    )
    offset_scale: float = Field(
        0.1,
        gt=0,
        description="errors of an offset below this count by their square in training, larger ones by their size, "
        "so that most are small and few large [voxel]",
    )


class Heads(Section):
    """Optional outputs of the segmentation, off by default: docs/explanation has uncertainty.md and ghosts.md."""

    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="dropout rate of the decoder's features, in training and with infer.num_passes",
    )
    evidential: bool = Field(
        False, description="scores with an uncertainty: a Dirichlet output with its loss (arXiv:1806.01768)"
    )
    ghost: bool = Field(False, description="tell ghost points from real ones, where training has such labels")


class Inference(Section):
    """What all inference with weights shares."""

    outside_domain: Literal["warn", "refuse", "ignore"] = Field(
        "warn",
        description="events of another voxel size, response, energy scale or number of voxels than the weights were "
        "trained on: warn in all that is made of them, refuse them, or say nothing",
    )


class SegmentInfer(Inference):
    """Settings of `segment` that need no new training."""

    precision: Literal["auto", "fp32", "bf16"] = Field(
        "fp32",
        description="arithmetic of the convolutions on CPUs; bf16: inputs and weights are rounded, where the "
        "processor has AMX-BF16 or AVX512-BF16, and sums are in fp32; auto: the same, without a warning where it has "
        "neither",
    )
    num_passes: int = Field(
        0,
        ge=0,
        le=1000,
        description="passes with dropout whose scores are averaged, for an uncertainty (arXiv:1506.02142); "
        "0: one pass without",
    )
    symmetries: Literal[1, 2, 4, 8] = Field(
        1,
        description="reflections of each image over which scores are averaged, at as many times the cost: 1, 2, or all "
        "(8 in 3D, 4 in 2D)",
    )
    label_weights: tuple[Weight, Weight, Weight, Weight, Weight] = Field(
        (1.0, 1.0, 1.0, 1.8, 0.5),
        description="of the scores of shower, track, Michel, delta and low energy where the class of a voxel is "
        "chosen: that whose score times its weight is the largest; chosen on validation events of the released weights",
    )
    ghost_threshold: float = Field(
        0.5, gt=0, le=1, description="ghost score from which a voxel is left out of all that follows"
    )
    point_charge_mev: float = Field(
        0.03,
        ge=0,
        description="3D points of wire planes with less charge are taken for ghosts where the planes' images are "
        "segmented (dimension: 2) [MeV]",
    )
    point_ghost_score: float = Field(
        0.7,
        gt=0,
        le=1,
        description="3D points of wire planes are ghosts from this score on, which ghost_weights give (dimension: 2)",
    )
    point_classes: Literal["planes", "points", "both"] = Field(
        "planes",
        description="what tells the classes of 3D points of wire planes, their end points and which are of one "
        "particle: planes: their images, which say nothing of the last; points: the segment of 3D points among "
        "ghost_weights; both: that, with scores of classes multiplied by those of the images, and the images' "
        "end points (dimension: 2)",
    )
    proposal_floor: float = Field(0.1, ge=0, lt=1, description="least score of a proposal that is stored")
    max_voxels: int = Field(50_000, ge=1, description="voxels packed into one batch")
    max_event_voxels: int | None = Field(
        None,
        ge=1,
        description="events with more voxels are set aside; null: none is, and a job without the memory for one fails "
        "[voxel]",
    )

    @model_validator(mode="after")
    def _a_class_can_be_chosen(self) -> Self:
        if not any(self.label_weights):
            raise ValueError("label_weights are all zero")
        return self


class Segment(Section):
    """Voxel classes and raw point proposals."""

    backend: Literal["auto", "fused", "triton", "spconv", "torch"] = Field(
        "auto", description="sparse convolution; auto: fused on CPUs, triton on GPUs"
    )
    dimension: Literal[2, 3] = Field(
        3, description="of the images: 3, or 2 for views of wire planes (ingest.wires)"
    )
    plane_hits: bool = Field(
        False,
        description="see the hits of the wire planes that points are made of, too (ingest.tomography, "
        "ingest.wires.space_points)",
    )
    unet: UResNet = UResNet.model_construct()
    ppn: Ppn = Ppn.model_construct()
    heads: Heads = Heads.model_construct()
    infer: SegmentInfer = SegmentInfer.model_construct()
    train: SegmentTraining = SegmentTraining.model_construct(num_steps=450, batch_size=8, learning_rate=4e-3)
    weights: File | None = Field(None, description="released weights; null: train")
    ghost_weights: File | Annotated[list[File], Field(min_length=1)] | None = Field(
        None,
        description="released weights that tell the ghosts of 3D points made of the planes (dimension: 2), of segment "
        "with heads.ghost or of flow, or a list of such, the logits of whose scores are added; null: their charge "
        "tells them (infer.point_charge_mev)",
    )

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.infer.num_passes and (self.infer.num_passes < 2 or not self.heads.dropout):
            raise ValueError("infer.num_passes must be 0, or 2 and more with heads.dropout above 0")
        if self.infer.symmetries not in (1, 2, 2**self.dimension):
            raise ValueError(
                f"infer.symmetries must be 1, 2 or {2**self.dimension} with dimension: {self.dimension}"
            )
        if self.infer.num_passes and self.heads.evidential:
            raise ValueError("infer.num_passes and heads.evidential are two kinds of uncertainty; choose one")
        if self.heads.evidential and self.train.loss in ("focal", "lovasz", "ce_lovasz"):
            raise ValueError(
                f"heads.evidential has a loss of its own; train.loss: {self.train.loss} does not fit"
            )
        if self.infer.ghost_threshold != 0.5 and not self.heads.ghost:
            raise ValueError("infer.ghost_threshold needs heads.ghost")
        if self.ghost_weights and self.dimension != 2:
            raise ValueError("ghost_weights are for points made of images of planes (dimension: 2)")
        if self.plane_hits and self.dimension != 3:
            raise ValueError("plane_hits are of 3D points; dimension: 2 has images of single planes")
        return self


class Points(Section):
    """Proposals to points: threshold, agreement with the voxel classes, merging (PPN paper)."""

    score_threshold: float = Field(
        0.85,
        ge=0,
        le=1,
        description="least score of a point of a track; chosen on validation events of the released weights",
    )
    start_threshold: float = Field(
        0.75, ge=0, le=1, description="least score of the start of a shower, Michel or delta; chosen likewise"
    )
    candidate_threshold: float = Field(
        0.2,
        ge=0,
        le=1,
        description="least score of another place for it, which `interact` may choose when it knows the vertex",
    )
    class_threshold: float = Field(0.5, ge=0, le=1, description="least class score that must agree")
    class_distance: float = Field(
        1.999, ge=0, description="a voxel of the point's class must lie nearer than this [voxel]"
    )
    merge_distance: float = Field(
        2.0, gt=0, description="weaker proposals this near to a stronger one are merged with it [voxel]"
    )
    mean_distance: float = Field(
        0.5,
        ge=0,
        description="a point is at the mean, weighed by score, of its proposals this near to where they are densest "
        "[voxel]",
    )
    end_distance: float = Field(
        2.0, ge=0, description="a start and an end of tracks no farther apart than this are one point [voxel]"
    )
    piece_distance: float = Field(
        1.8,
        ge=0,
        description="voxels of a shower, Michel or delta linked within this are a piece, which has one start; "
        "0: it has as many as are proposed [voxel]",
    )
    min_piece_voxels: int = Field(5, ge=1, description="smaller pieces of a shower have no start")


class DetectInfer(Inference):
    """Settings of `detect` that need no new training."""

    score_floor: float = Field(0.05, ge=0, le=1, description="least score of a box that is kept")
    overlap: float = Field(
        0.5, gt=0, le=1, description="of boxes that overlap more than this (IoU) the best one is kept"
    )
    max_voxels: int = Field(50_000, ge=1, description="voxels packed into one batch")
    max_event_voxels: int | None = Field(
        None, ge=1, description="events with more voxels are set aside; null: none is [voxel]"
    )


class Detect(Section):
    """Boxes of neutrino interactions, and the origin of each voxel, in images with cosmic muons."""

    backend: Literal["auto", "fused", "triton", "spconv", "torch"] = Field(
        "auto", description="sparse convolution; auto: fused on CPUs, triton on GPUs"
    )
    dimension: Literal[2, 3] = Field(2, description="of the images: 2 for views of wire planes, or 3")
    unet: UResNet = UResNet.model_construct(depth=7)
    level: int = Field(
        3, ge=0, description="level of resolution of the heatmap: its cells are 2^level voxels wide"
    )
    num_proposals: int = Field(12, ge=1, description="peaks of the heatmap that give a box")
    num_bins: int = Field(4, ge=1, description="parts of each side of a box whose features are pooled")
    min_voxels: int = Field(
        10, ge=1, description="neutrinos with fewer voxels in an image, low-energy ones aside, have no box"
    )
    infer: DetectInfer = DetectInfer.model_construct()
    train: Training = Training.model_construct(num_steps=2000, batch_size=12, learning_rate=2.5e-3)
    weights: File | None = Field(None, description="released weights; null: train")

    @model_validator(mode="after")
    def _level_exists(self) -> Self:
        if self.level >= self.unet.depth:
            raise ValueError(f"level must be less than unet.depth ({self.unet.depth})")
        return self
