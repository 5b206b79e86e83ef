"""What all sections of the configuration share."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

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
    """Base of all sections: immutable, an unknown key is an error, and what is left out has its default.

    That of a section within another is what the outer one gives it: `train: {num_steps: 10}` of a stage leaves
    that stage's other settings of training as they are.

    Defaults that are sections are constructed, not validated: to make a validator for each takes a job 20 ms. A test
    validates them.
    """

    # built when it is first needed: a job needs one or two of some forty
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = dict(values)
        for name, field in cls.model_fields.items():
            given, default = values.get(name), field.default
            if isinstance(given, dict) and isinstance(default, Section) and field.annotation is type(default):
                values[name] = {key: getattr(default, key) for key in type(default).model_fields} | given
        return values
