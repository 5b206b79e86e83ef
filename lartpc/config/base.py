"""What all sections of the configuration share."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from lartpc.paths import usable

Part = Literal["train", "infer"]
"""What a slice is for: training a stage, or running it."""

Range = tuple[float, float]
Counts = tuple[int, int]
Vector = tuple[float, float, float]
Weight = Annotated[float, Field(ge=0)]


class NamesFile:
    """Mark of a setting that is the path of a file, relative to the working folder or to the workflow."""


File = Annotated[str, AfterValidator(usable), NamesFile()]


class Section(BaseModel):
    """Base of all sections: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
