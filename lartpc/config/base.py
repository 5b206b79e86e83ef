"""What all sections of the configuration share."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Part = Literal["train", "infer"]
"""What a slice is for: training a stage, or running it."""

Range = tuple[float, float]
Counts = tuple[int, int]
Vector = tuple[float, float, float]
Weight = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """Base of all sections: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
