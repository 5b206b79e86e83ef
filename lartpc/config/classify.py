"""The classification of whole images: an optional stage beside the chain."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from lartpc.config.base import File, Section
from lartpc.config.learned import Inference, Training, UResNet
from lartpc.vocab import MAX_CLASSES

Head = Literal["flavour", "num_protons", "num_pions", "num_pi_zeros", "num_neutrons", "antineutrino"]
"""What the network may say of a neutrino's image, as the DUNE CVN (arXiv:2006.15052)."""

ClassName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class ClassifyInfer(Inference):
    """Settings of `classify` that need no new training."""

    max_voxels: int = Field(50_000, ge=1, description="voxels packed into one batch")


class Classify(Section):
    """Classes of whole images, and of each interaction's image: a sparse residual network."""

    enabled: bool = Field(
        False, description="run this stage in a production; its scores go into `events` and `interactions`"
    )
    backend: Literal["auto", "fused", "triton", "spconv", "torch"] = Field(
        "auto", description="sparse convolution; auto: fused on CPUs, triton on GPUs"
    )
    dimension: Literal[2, 3] = Field(
        3,
        description="of the images: 3, or 2 for views of wire planes (ingest.wires), each classified by itself",
    )
    views_deg: tuple[float, ...] = Field(
        (),
        max_length=6,
        description="look at 3D images through planes of wires at these angles to y, all views at once, as the DUNE "
        "CVN does with three; empty: in 3D [deg]",
    )
    unet: UResNet = Field(
        UResNet.model_construct(),
        description="the encoder: that of `segment` of the same sizes, from which and for which weights can be taken",
    )
    num_hidden: int = Field(128, ge=1, description="features of an image before the heads")
    heads: tuple[Head, ...] = Field(
        ("flavour", "num_protons", "num_pions", "num_pi_zeros", "num_neutrons", "antineutrino"),
        description="what is said of the neutrino of an image",
    )
    classes: dict[ClassName, tuple[int, ...]] = Field(
        {},
        max_length=MAX_CLASSES,
        description="classes of one's own beside, or instead of, `heads`: the name of each and its PDG codes, such as "
        "`{electron: [11, -11], photon: [22]}` for images of single particles (arXiv:1611.05531); scores are in the "
        "order of the names",
    )
    classes_of: Literal["primary", "neutrino"] = Field(
        "primary",
        description="whose PDG code that is: of the primary of the highest kinetic energy, or of the neutrino",
    )
    infer: ClassifyInfer = ClassifyInfer.model_construct()
    train: Training = Training.model_construct(num_steps=1500, batch_size=32, learning_rate=1e-3)
    weights: File | None = Field(None, description="released weights; null: train")

    @field_validator("classes")
    @classmethod
    def _in_order(cls, classes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        # Files keep settings without the order of their keys, and scores have that of the classes.
        return dict(sorted(classes.items()))

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.heads and not self.classes:
            raise ValueError("classify needs heads or classes")
        if len(set(self.heads)) < len(self.heads):
            raise ValueError("classify.heads names one twice")
        codes = [code for members in self.classes.values() for code in members]
        if len(set(codes)) < len(codes) or not all(self.classes.values()) or len(self.classes) == 1:
            raise ValueError(
                "classify.classes must be two or more, each with PDG codes, and no code in two of them"
            )
        if self.classes_of == "neutrino" and not self.classes:
            raise ValueError("classify.classes_of needs classes")
        if self.views_deg and self.dimension == 2:
            raise ValueError("classify.views_deg are of 3D images; images of dimension 2 are views already")
        return self

    @property
    def encoder_dimension(self) -> int:
        """Dimension of what the network convolves: 2 or 3."""
        return 2 if self.views_deg else self.dimension
