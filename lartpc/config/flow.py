"""Pixel flow between planes of wires: an optional stage beside the chain."""

from pydantic import Field

from lartpc.config.base import File, Section
from lartpc.config.learned import Inference, Training


class FlowInfer(Inference):
    """Settings of `flow` that need no new training."""

    max_voxels: int = Field(100_000, ge=1, description="points packed into one batch")


class Flow(Section):
    """Which pixels of the planes of wires belong together, at the 3D points made of them."""

    num_hidden: int = Field(64, ge=1, description="features of a point")
    leakiness: float = Field(0.1, ge=0, lt=1, description="negative slope of LeakyReLU")
    infer: FlowInfer = FlowInfer.model_construct()
    train: Training = Training.model_construct(num_steps=600, batch_size=4, learning_rate=3e-3)
    weights: File | None = Field(None, description="released weights; null: train")
