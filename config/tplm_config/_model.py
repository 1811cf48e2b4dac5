"""The base of every configuration value: frozen, strict about names, types and finite numbers."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticKnownError


def _whole(value: object) -> object:
    if isinstance(value, bool | float):
        raise PydanticKnownError("int_type")
    return value


def _ascending(limits: tuple[float, float]) -> tuple[float, float]:
    if not limits[0] < limits[1]:
        raise ValueError(f"found [{limits[0]:g}, {limits[1]:g}]; [lowest, highest] is needed")
    return limits


def _own(value: Any) -> Any:
    """Take lists for tuples, and numpy's numbers and arrays for Python's own."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return tuple(value) if isinstance(value, list) else value


PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
ASCENDING = AfterValidator(_ascending)
Interval = Annotated[tuple[float, float], ASCENDING]
WHOLE = BeforeValidator(_whole)
"""For a `Literal` of integers, which alone would take ``true`` and ``1.0`` for 1."""


class Model(BaseModel):
    """A frozen value: equal by content, hashable, and refusing unknown keys, NaN and infinity.

    Numbers are never made from text or from true and false.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        strict=True,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: object) -> object:
        return {key: _own(value) for key, value in data.items()} if isinstance(data, dict) else data
