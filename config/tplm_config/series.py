"""The series plan: one scan again and again, with something else set each time."""

import itertools
import math
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


class Share(Model):
    """The time of a night, shared between the points so that what they tell together is best known.

    Before each point it is decided anew how long it counts, from the results so far.
    """

    time_s: Annotated[float, Field(gt=0, le=10_000_000)]
    """In all: counting, travel, and what it takes to set up each point."""
    so_that: Literal["tau", "slope"]
    """``tau``: the relaxation time of D against the time between excitations is known best;
    ``slope``: the slope of D against the one quantity that is swept."""
    floor: Annotated[float, Field(ge=0.1, le=1)] = 0.3
    """Share of the counting time that all points get alike, whatever is expected of the curve."""
    d_slow_cm2_per_s: NonNegativeFloat = 0.01
    """Guesses of the relaxation curve, used until there is a fit: D long after an excitation, …"""
    d_memory_cm2_per_s: PositiveFloat = 0.14
    """… what closely spaced excitations add to it, …"""
    tau_us: PositiveFloat = 6.0
    """… and the relaxation time."""


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
    share: Share | None = None
    """None measures every point as the scan says; else ``scan.passes`` is the most it may take."""
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

    @property
    def varied(self) -> tuple[str, ...]:
        """Quantities that are not the same at every point."""
        settings = {point.settings for point in self.walk()}
        return tuple(name for name in _WORDS if len({getattr(s, name) for s in settings}) > 1)

    @model_validator(mode="after")
    def _can_be_shared(self) -> Self:
        share = self.share
        if share is None:
            return self
        if self.scan.fly is not None or self.scan.time_limit_s is not None:
            raise ValueError(
                "[share] decides how long each scan counts; leave [scan.fly] and "
                "scan.time_limit_s out"
            )
        varied = set(self.varied)
        if share.so_that == "slope":
            (name, *more) = varied or {""}
            fewest = {getattr(point.settings, name, None) for point in self.walk()} - {None}
            if more or name not in STRAIGHT or len(fewest) < 3:
                raise ValueError(
                    f'so_that = "slope" needs one swept quantity of {", ".join(STRAIGHT)} with '
                    f"three values or more, not {', '.join(sorted(varied)) or 'none'}"
                )
        elif not varied & EXCITING or varied - EXCITING:
            raise ValueError(
                f'so_that = "tau" needs points that differ in {", ".join(sorted(EXCITING))}, and '
                f"in nothing else; they differ in {', '.join(sorted(varied)) or 'nothing'}"
            )
        longest_s = share.time_s * (1 - share.floor * (1 - 1 / self.count))
        pass_s = self.scan.dwell_s * self.scan.place_count
        if self.scan.passes * pass_s < longest_s:
            raise ValueError(
                f"a point may get up to {longest_s:.4g} s of the {share.time_s:g} s, but its scan "
                f"ends after {self.scan.passes} passes of {pass_s:.4g} s; at least "
                f"passes = {math.ceil(longest_s / pass_s)} is needed"
            )
        return self

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
STRAIGHT = ("power_nw", "fluence_uj_per_cm2", "repetition_rate_hz", "temperature_k")
"""Quantities of which D has a slope."""
EXCITING = frozenset(STRAIGHT[:3])
"""Quantities that change the time between excitations."""


def _one_of_two(value: T) -> T:
    for one, other in (("power_nw", "fluence_uj_per_cm2"), ("count_rate_hz", "transmission")):
        if getattr(value, one) and getattr(value, other):
            raise ValueError(f"{one} and {other} cannot both be given")
    return value


SERIES: TypeAdapter[SeriesPlan] = TypeAdapter(SeriesPlan)
