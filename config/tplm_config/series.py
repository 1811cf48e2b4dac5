"""The series plan: one scan again and again, with something else set each time."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, TypeAdapter, field_validator, model_validator

from tplm_config._model import Model, NonNegativeFloat, PositiveFloat
from tplm_config.plan import AnyScanPlan, Micrometres

MAX_POINTS = 10_000
Transmission = Annotated[float, Field(gt=0, le=1)]
Spot = tuple[Micrometres, Micrometres]
T = TypeVar("T", bound=Model)
V = TypeVar("V")
Values = Annotated[tuple[V, ...], Field(min_length=1)] | None


class Settings(Model):
    """What is set for one point; what is left out stays as the scan has it."""

    power_nw: PositiveFloat | None = None
    """Nominal power, before the microscope."""
    fluence_uj_per_cm2: PositiveFloat | None = None
    """Energy per pulse and area at the sample; the power follows from it."""
    repetition_rate_hz: PositiveFloat | None = None
    """Pulses per second; at a fixed power the fluence follows, at a fixed fluence the power."""
    temperature_k: PositiveFloat | None = None
    """Set point, waited for as the scan's [temperature] says."""
    count_rate_hz: PositiveFloat | None = None
    """The wheel before the detector is turned until it counts this."""
    transmission: Transmission | None = None
    """Transmission of the wheel before the detector."""
    sample_xy_um: Spot | None = None
    """Spot on the sample, as the sample stage reads."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        return _one_of_two(self)

    def __str__(self) -> str:
        """In words, for people."""
        parts = (
            write(value)
            for name, write in _WORDS.items()
            if (value := getattr(self, name)) is not None
        )
        return ", ".join(parts) or "as the scan"


class Axis(Model):
    """Values that follow each other; quantities of one axis step together."""

    power_nw: Values[PositiveFloat] = None
    fluence_uj_per_cm2: Values[PositiveFloat] = None
    repetition_rate_hz: Values[PositiveFloat] = None
    temperature_k: Values[PositiveFloat] = None
    count_rate_hz: Values[PositiveFloat] = None
    transmission: Values[Transmission] = None
    sample_xy_um: Values[Spot] = None

    @field_validator("sample_xy_um", mode="before")
    @classmethod
    def _pairs(cls, spots: Any) -> Any:
        whole = isinstance(spots, list | tuple)
        return tuple(tuple(s) if isinstance(s, list) else s for s in spots) if whole else spots

    @model_validator(mode="after")
    def _walked_together(self) -> Self:
        lengths = {name: len(values) for name, values in self.columns().items()}
        if not lengths:
            raise ValueError(f"the axis has no values; give one of {', '.join(_WORDS)}")
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise ValueError(
                f"quantities of one axis step together, but their lengths are {listed}"
            )
        return _one_of_two(self)

    def columns(self) -> dict[str, tuple[Any, ...]]:
        """The quantities that have values."""
        return {name: values for name in _WORDS if (values := getattr(self, name))}

    def steps(self) -> list[dict[str, Any]]:
        """What is set at each step."""
        columns = self.columns()
        return [
            dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        ]


class OnFailure(Model):
    """What becomes of a point when a device fails."""

    retries: Annotated[int, Field(ge=0, le=1000)] = 2
    """How often in a row it is tried again without a single new visit."""
    wait_s: NonNegativeFloat = 10.0
    """Before the instrument is opened again, by the wall's clock."""
    then: Literal["skip", "stop"] = "skip"
    """Go on with the next point, or end the series."""


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a series.

    Attributes
    ----------
    index : int
        From 0, in the order of measurement.
    label : str
        What is set, in words: "2.5 nW, 150 K, repeat 1".
    settings : Settings
        What is set.
    repeat : int
        Which walk through the whole list, from 0.
    """

    index: int
    label: str
    settings: Settings
    repeat: int = 0


class SeriesPlan(Model):
    """A series of scans; ``for point in plan.walk()`` is the series.

    What stands in one [[axes]] table steps together; several tables are multiplied, the first
    one changing slowest. [[points]] lists the points one by one instead. The order is the one
    written, and a value written twice is measured twice.
    """

    kind: Literal["series"] = "series"
    scan: AnyScanPlan
    """The scan at each point."""
    axes: tuple[Axis, ...] = ()
    points: tuple[Settings, ...] = ()
    repeats: Annotated[int, Field(ge=1, le=MAX_POINTS)] = 1
    """How often the whole list is walked."""
    on_failure: OnFailure = OnFailure()
    notify: Annotated[tuple[str, ...], Field(max_length=100)] = ()
    """A command, called with a JSON object on its standard input when a point failed and at the
    end."""
    edge_nm: PositiveFloat = 8.3
    """Edge length of the nanocrystals, for the number of excitons."""

    @model_validator(mode="after")
    def _can_be_walked(self) -> Self:
        if bool(self.axes) == bool(self.points):
            raise ValueError("give [[axes]], or [[points]] one by one")
        names = [name for axis in self.axes for name in axis.columns()]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"{', '.join(sorted(twice))} stands in two axes")
        if self.count > MAX_POINTS:
            raise ValueError(f"the series has {self.count} points; at most {MAX_POINTS} can be run")
        if self.axes:
            # what excludes each other may come from two axes, the same in every point
            Settings.model_validate(next(self._listed()))
        return self

    @property
    def count(self) -> int:
        """Number of points."""
        listed = len(self.points)
        if self.axes:
            listed = 1
            for axis in self.axes:
                listed *= len(next(iter(axis.columns().values())))
        return listed * self.repeats

    def walk(self) -> Iterator[Point]:
        """Every point, in order."""
        listed = [*self.points] or [Settings.model_validate(each) for each in self._listed()]
        for index, (repeat, settings) in enumerate(itertools.product(range(self.repeats), listed)):
            label = str(settings)
            if self.repeats > 1:
                label += f", repeat {repeat + 1}"
            yield Point(index, label, settings, repeat)

    def _listed(self) -> Iterator[dict[str, Any]]:
        for chosen in itertools.product(*(axis.steps() for axis in self.axes)):
            yield {name: value for step in chosen for name, value in step.items()}


_WORDS: dict[str, Callable[[Any], str]] = {
    "power_nw": lambda nw: f"{nw:g} nW",
    "fluence_uj_per_cm2": lambda fluence: f"{fluence:g} µJ/cm²",
    "repetition_rate_hz": lambda hz: f"{hz / 1e6:g} MHz",
    "temperature_k": lambda k: f"{k:g} K",
    "count_rate_hz": lambda hz: f"{hz:g} counts/s",
    "transmission": lambda share: f"detection × {share:g}",
    "sample_xy_um": lambda xy: f"spot ({xy[0]:g}, {xy[1]:g}) µm",
}
"""Every quantity, and how its value is said."""


def _one_of_two(value: T) -> T:
    for one, other in (("power_nw", "fluence_uj_per_cm2"), ("count_rate_hz", "transmission")):
        if getattr(value, one) and getattr(value, other):
            raise ValueError(f"{one} and {other} cannot both be given")
    return value


SERIES: TypeAdapter[SeriesPlan] = TypeAdapter(SeriesPlan)
