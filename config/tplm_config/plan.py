"""The scan plan: a frozen value that says what to measure and iterates over its own visits."""

import random
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from tplm_config._model import WHOLE, Model, NonNegativeFloat, PositiveFloat, PositiveInt
from tplm_config.goal import Goal, parse_goal
from tplm_config.visit import Place, Visit, VisitKind

Order = Literal["one-way", "bidirectional", "interleaved", "random"]
Dwell = Annotated[float, Field(gt=0, le=86_400)]
Micrometres = Annotated[float, Field(ge=-10_000, le=10_000)]

MAX_VISITS = 1_000_000
MAX_BINS = 65_536
MAX_CELLS = 100_000_000


class CardSettings(Model):
    """How the TCSPC card counts."""

    mode: Literal["histogram", "t3"] = "histogram"
    """``histogram``: the card fills the decay; ``t3``: it streams time-tagged photons."""
    raw: Literal["none", "scan", "position"] = "none"
    """Keep the T3 records beside the scan file: in one .ptu, or in one for each position."""
    time_bin_ps: PositiveFloat = 25.0
    """Width of a time bin; the card's base resolution times a power of two."""
    range_ns: PositiveFloat = 25.6
    """Length of the recorded decay; time bin times number of bins."""
    sync_divider: Annotated[Literal[1, 2, 4, 8, 16], WHOLE] = 1
    """Divider of the sync input."""
    offset_ns: Annotated[float, Field(ge=0, le=100_000)] = 0.0
    """Time between sync and the first bin."""

    @property
    def bins(self) -> int:
        """Number of time bins."""
        return round(self.range_ns * 1e3 / self.time_bin_ps)

    @model_validator(mode="after")
    def _records_to_keep(self) -> Self:
        if self.raw != "none" and self.mode != "t3":
            raise ValueError(f'raw = "{self.raw}" keeps T3 records, which needs mode = "t3"')
        return self

    @model_validator(mode="after")
    def _whole_bins(self) -> Self:
        if not 2 <= self.range_ns * 1e3 / self.time_bin_ps <= MAX_BINS + 0.5:
            raise ValueError(
                f"range_ns = {self.range_ns:g} in bins of {self.time_bin_ps:g} ps gives "
                f"{self.range_ns * 1e3 / self.time_bin_ps:.4g} bins; 2 to {MAX_BINS} are allowed"
            )
        return self


class Excitation(Model):
    """How the sample is excited; what is left out stays as it is on the instrument."""

    power_nw: PositiveFloat | None = None
    """Nominal power, before the microscope."""
    repetition_rate_hz: PositiveFloat | None = None
    """Pulses per second."""


class Temperature(Model):
    """A set point, and what counts as being there."""

    set_point_k: PositiveFloat
    band_k: PositiveFloat = 0.1
    """The temperature stays this close to the set point …"""
    time_s: PositiveFloat = 60.0
    """… for this long …"""
    slope_k_per_min: PositiveFloat = 0.05
    """… and drifts no faster than this."""
    timeout_s: PositiveFloat = 7200.0
    """Longest time to wait for it, in the dark."""


class Detection(Model):
    """How much light reaches the detector; what is left out stays as it is."""

    transmission: Annotated[float, Field(gt=0, le=1)] | None = None
    """Transmission of the wheel before the detector."""
    count_rate_hz: PositiveFloat | None = None
    """The wheel is turned until the detector, looking at (x, y), counts this rate."""
    x_um: Micrometres = 0.0
    y_um: Micrometres = 0.0

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.transmission is not None and self.count_rate_hz is not None:
            raise ValueError("transmission and count_rate_hz cannot both be given")
        return self

    @property
    def is_set(self) -> bool:
        """Whether the wheel is to be turned at all."""
        return self.transmission is not None or self.count_rate_hz is not None


class Background(Model):
    """Dark dwells with the laser blocked, before and after the passes."""

    dwell_s: Dwell = 10.0
    when: Literal["before", "after", "both"] = "both"
    x_um: Micrometres = 0.0
    y_um: Micrometres = 0.0


class Irf(Model):
    """A dwell on something that scatters the laser, for the instrument response."""

    dwell_s: Dwell = 5.0
    sample_x_um: Micrometres
    """Where the sample stage finds the scatterer, such as bare glass beside the film."""
    sample_y_um: Micrometres = 0.0


class Fly(Model):
    """Measure while the detector moves at constant speed, one pass over a line in one go.

    The speed is one step of the map per dwell; the counts of a position are those from half a
    step before it to half a step behind it.
    """

    cut: Literal["time", "markers"] = "time"
    """What tells where a position begins: the stage's read-backs during the pass, or pulses of
    the stage at the card's marker inputs, one at each border between two positions."""


class Reference(Model):
    """One place measured again and again, to see drift of position and intensity."""

    every_visits: PositiveInt = 41
    dwell_s: Dwell = 1.0
    x_um: Micrometres = 0.0
    y_um: Micrometres = 0.0


class Focus(Model):
    """Refocusing: the sample stage's z at which the emission peak is highest or narrowest."""

    by: Literal["peak", "width"] = "peak"
    """``peak``: a dwell on the peak at each z; ``width``: a line along x and one along y at each
    z, as in the search for the peak. That takes longer, but knows fading light from blur."""
    half_range_um: Annotated[float, Field(gt=0, le=1000)] = 1.5
    """Searched to both sides of where z stands."""
    steps: Annotated[int, Field(ge=5, le=101)] = 7


class Centring(Model):
    """The emission peak is found before the first visit of every run; places are relative to it."""

    every_visits: PositiveInt | None = None
    """And again after so many visits."""
    drift_nm: PositiveFloat | None = None
    """And again when the reference's count rate changed as much as by a drift this long."""
    half_range_um: Annotated[float, Field(gt=0, le=1000)] = 1.5
    """Searched to both sides of where the peak was last, sample plane."""
    positions: Annotated[int, Field(ge=7, le=1001)] = 15
    """Places on each line."""
    dwell_s: Dwell = 0.1
    """At each of them."""
    focus: Focus | None = None
    """None leaves the focus as it is."""


class Adaptive(Model):
    """The time goes where it tells most about D, decided anew before each pass.

    The first passes count everywhere alike, ``dwell_s`` at each place. Every later one has as
    much counting time in all, shared out by the Fisher information of the light seen so far.
    """

    mode: Literal["precision", "robust"] = "precision"
    """``precision``: D of one Gaussian that spreads normally is known best; ``robust``: D, the
    exponent α and the share of wings are all to be known."""
    first_passes: Annotated[int, Field(ge=2, le=1000)] = 2
    """Even passes before the first decision."""
    floor: Annotated[float, Field(ge=0.05, le=1)] = 0.2
    """Share of the time that all places get alike, so that shape and background stay checked."""


class Waiting(Model):
    """What all conditions share."""

    good_for_s: PositiveFloat = 10.0
    """A paused run goes on when the condition was good for this long …"""
    give_up_s: PositiveFloat = 3600.0
    """… and fails when it has waited this long for one visit."""

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        if self.good_for_s > self.give_up_s:
            raise ValueError(
                f"good_for_s = {self.good_for_s:g} is longer than give_up_s = {self.give_up_s:g}"
            )
        return self


class TemperatureCondition(Waiting):
    """The temperature stays near the set point of the plan, or where it was at the beginning."""

    band_k: PositiveFloat = 1.0


class CountRateCondition(Waiting):
    """The counts per second of a visit's histogram stay within limits."""

    low_hz: NonNegativeFloat | None = None
    high_hz: PositiveFloat | None = None
    at: Literal["reference", "any"] = "reference"
    """Judged at the reference, or at every visit of map and reference."""

    @model_validator(mode="after")
    def _has_limits(self) -> Self:
        if self.low_hz is None and self.high_hz is None:
            raise ValueError("give low_hz, high_hz or both")
        if self.low_hz is not None and self.high_hz is not None and self.low_hz >= self.high_hz:
            raise ValueError(f"low_hz = {self.low_hz:g} is not below high_hz = {self.high_hz:g}")
        return self


class SyncCondition(Waiting):
    """The sync signal is there: at least half as many pulses per second as at the beginning."""


class PowerCondition(Waiting):
    """The power meter reads what was set, or what it read at the beginning."""

    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Relative."""


class DiskCondition(Waiting):
    """The disk of the scan file keeps some room."""

    free_mb: PositiveFloat = 1000.0


class Conditions(Model):
    """What pauses the run, in the dark, until it is good again; what is left out is not asked."""

    poll_s: Annotated[float, Field(ge=0.1, le=600)] = 1.0
    """Time between two looks."""
    temperature: TemperatureCondition | None = None
    count_rate: CountRateCondition | None = None
    sync: SyncCondition | None = None
    power: PowerCondition | None = None
    disk: DiskCondition | None = None


class ScanPlan(Model):
    """What every scan plan has in common.

    A plan is a value: it compares equal by content, round-trips through TOML, and
    ``for visit in plan.visits()`` is the scan.
    """

    kind: str
    dwell_s: Dwell = 1.0
    """Counting time of one visit; a position is counted ``passes`` times as long."""
    passes: Annotated[int, Field(ge=1, le=100_000)] = 10
    """How often the whole path is walked; many short passes are proof against drift."""
    order: Order = "bidirectional"
    """``bidirectional``: forth and back by turns; ``one-way``: always forth; ``interleaved``:
    every other place forth, the others on the way back; ``random``: shuffled for each pass."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the random order."""
    card: CardSettings = CardSettings()
    excitation: Excitation = Excitation()
    detection: Detection = Detection()
    sample_xy_um: tuple[Micrometres, Micrometres] | None = None
    """Where the sample stage stands during the scan; None: where it is."""
    temperature: Temperature | None = None
    """None measures at the temperature as it is."""
    background: Background | None = None
    irf: Irf | None = None
    reference: Reference | None = None
    fly: Fly | None = None
    """None stops at every position; needs card.mode = "t3"."""
    centring: Centring | None = None
    """None takes the centre from the profile."""
    conditions: Conditions = Conditions()
    stop_when: Annotated[str, Field(max_length=100)] | None = None
    """The scan ends when D is known this well: "5 % on D" or "0.001 cm2/s on D"; ``passes`` is
    then the most it may take."""
    time_limit_s: Annotated[float, Field(gt=0, le=10_000_000)] | None = None
    """The scan ends after this time since it began, whatever is known by then."""
    adaptive: Adaptive | None = None
    """None counts everywhere alike."""
    operator: Annotated[str, Field(max_length=500)] = ""
    """Who measures."""
    sample: Annotated[str, Field(max_length=2000)] = ""
    """What is measured, in words."""
    notes: Annotated[str, Field(max_length=10_000)] = ""

    @model_validator(mode="after")
    def _can_fly(self) -> Self:
        if self.fly is not None:
            if self.card.mode != "t3":
                raise ValueError('[fly] cuts a stream of photons, which needs card.mode = "t3"')
            if self.kind == "positions" or self.order not in ("bidirectional", "one-way"):
                raise ValueError(
                    f"[fly] needs evenly spaced lines walked end to end, not kind = "
                    f'"{self.kind}" with order = "{self.order}"'
                )
            if self.card.raw == "position":
                raise ValueError(
                    'the records of a flown line are one stream; with [fly] use raw = "scan"'
                )
            if self.reference is not None:
                raise ValueError("[reference] would interrupt the passes of [fly]; leave one out")
        return self

    @model_validator(mode="after")
    def _can_decide(self) -> Self:
        if self.stop_when is not None:
            parse_goal(self.stop_when)
        if self.adaptive is None and self.goal is None and self.time_limit_s is None:
            return self
        if self.fly is not None:
            raise ValueError("[fly] walks whole lines at one speed; leave adaptive, stop_when out")
        if self.adaptive is not None and (self.kind != "line" or self.order != "bidirectional"):
            raise ValueError(
                "[adaptive] decides for a line walked forth and back: it needs "
                'kind = "line" and order = "bidirectional"'
            )
        return self

    @property
    def goal(self) -> Goal | None:
        """The precision asked for, if any."""
        return None if self.stop_when is None else parse_goal(self.stop_when)

    @property
    def decides(self) -> bool:
        """Whether the run decides on the way what to measure, or when to end."""
        return not (self.adaptive is None and self.stop_when is None and self.time_limit_s is None)

    @model_validator(mode="after")
    def _has_its_reference(self) -> Self:
        if self.reference is None:
            if self.centring is not None and self.centring.drift_nm is not None:
                raise ValueError("centring.drift_nm follows the reference: add [reference]")
            rate = self.conditions.count_rate
            if rate is not None and rate.at == "reference":
                raise ValueError(
                    "conditions.count_rate is judged at the reference: add [reference], or "
                    'at = "any"'
                )
        return self

    @abstractmethod
    def places(self) -> tuple[Place, ...]:
        """Places of the map in path order, shape ``(positions,)``."""

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        if self.visit_count > MAX_VISITS:
            raise ValueError(
                f"the plan has {self.visit_count} visits; at most {MAX_VISITS} are allowed"
            )
        cells = self.place_count * self.card.bins
        if cells > MAX_CELLS:
            raise ValueError(
                f"the map has {self.place_count} positions of {self.card.bins} bins, {cells} "
                f"numbers in all; at most {MAX_CELLS} fit the memory: use longer bins"
            )
        return self

    @property
    @abstractmethod
    def place_count(self) -> int:
        """Number of places in the map."""

    @property
    def visit_count(self) -> int:
        """Number of visits in the whole plan."""
        in_passes = self.place_count * self.passes
        extra = 0
        if self.background is not None:
            extra += 2 if self.background.when == "both" else 1
        if self.irf is not None:
            extra += 1
        if self.reference is not None:
            extra += -(-in_passes // self.reference.every_visits) + 1
        return in_passes + extra

    def visits(self) -> Iterator[Visit]:
        """Every visit of the scan, in order; ``visit.index`` counts them from 0."""
        for index, (kind, pass_index, position, place, dwell_s, extra) in enumerate(self._steps()):
            yield Visit(
                index,
                kind,
                pass_index,
                position,
                place.x_um,
                place.y_um,
                dwell_s,
                shutter_open=kind is not VisitKind.BACKGROUND,
                sample_xy_um=extra,
            )

    def _steps(
        self,
    ) -> Iterator[tuple[VisitKind, int, int, Place, float, tuple[float, float] | None]]:
        if self.irf is not None:
            scatterer = (self.irf.sample_x_um, self.irf.sample_y_um)
            yield VisitKind.IRF, -1, -1, Place(0.0, 0.0), self.irf.dwell_s, scatterer
        dark = self.background
        if dark is not None and dark.when in ("before", "both"):
            yield VisitKind.BACKGROUND, -1, -1, Place(dark.x_um, dark.y_um), dark.dwell_s, None
        places = self.places()
        done = 0
        for pass_index in range(self.passes):
            for position in path_order(len(places), pass_index, self.order, self.seed):
                if self.reference is not None and done % self.reference.every_visits == 0:
                    yield self._reference_step(self.reference, pass_index)
                yield VisitKind.MAP, pass_index, position, places[position], self.dwell_s, None
                done += 1
        if self.reference is not None:
            yield self._reference_step(self.reference, self.passes - 1)
        if dark is not None and dark.when in ("after", "both"):
            yield VisitKind.BACKGROUND, -1, -1, Place(dark.x_um, dark.y_um), dark.dwell_s, None

    @staticmethod
    def _reference_step(
        reference: Reference, pass_index: int
    ) -> tuple[VisitKind, int, int, Place, float, tuple[float, float] | None]:
        place = Place(reference.x_um, reference.y_um)
        return VisitKind.REFERENCE, pass_index, -1, place, reference.dwell_s, None


def path_order(count: int, pass_index: int, order: Order, seed: int) -> Sequence[int]:
    """Order in which one pass visits its places.

    Parameters
    ----------
    count : int
        Number of places.
    pass_index : int
        Which pass, from 0.
    order : {"one-way", "bidirectional", "interleaved", "random"}
        How passes follow each other.
    seed : int
        Seed of the random order; each pass has its own shuffle.

    Returns
    -------
    sequence of int
        A permutation of ``range(count)``.
    """
    if order == "bidirectional":
        return range(count) if pass_index % 2 == 0 else range(count - 1, -1, -1)
    if order == "interleaved":
        back = range(count - 1 - count % 2, 0, -2) if count > 1 else range(0)
        return [*range(0, count, 2), *back]
    if order == "random":
        shuffled = list(range(count))
        random.Random(f"{seed}:{pass_index}").shuffle(shuffled)
        return shuffled
    return range(count)


def _spread(center_um: float, half_range_um: float, positions: int) -> list[float]:
    if positions == 1:
        return [center_um]
    step = 2 * half_range_um / (positions - 1)
    # symmetric by construction: the middle of an odd line is exactly the centre
    return [center_um + step * (i - (positions - 1) / 2) for i in range(positions)]


Positions = Annotated[int, Field(ge=1, le=100_000)]
HalfRange = Annotated[float, Field(gt=0, le=10_000)]


class LineScan(ScanPlan):
    """Equidistant places along x or y."""

    kind: Literal["line"] = "line"
    axis: Literal["x", "y"] = "x"
    half_range_um: HalfRange = 2.0
    """The line reaches this far to both sides of its centre, sample plane."""
    positions: Positions = 41
    x_center_um: Micrometres = 0.0
    y_center_um: Micrometres = 0.0

    @property
    def place_count(self) -> int:
        """Number of places in the map."""
        return self.positions

    def places(self) -> tuple[Place, ...]:
        """Places of the line from its negative to its positive end."""
        if self.axis == "x":
            along = _spread(self.x_center_um, self.half_range_um, self.positions)
            return tuple(Place(x, self.y_center_um) for x in along)
        along = _spread(self.y_center_um, self.half_range_um, self.positions)
        return tuple(Place(self.x_center_um, y) for y in along)


class CrossScan(ScanPlan):
    """A line along x, then a line along y, through one centre."""

    kind: Literal["cross"] = "cross"
    half_range_um: HalfRange = 2.0
    positions: Positions = 41
    """Places on each of the two lines."""
    x_center_um: Micrometres = 0.0
    y_center_um: Micrometres = 0.0

    @property
    def place_count(self) -> int:
        """Number of places in the map."""
        return 2 * self.positions

    def places(self) -> tuple[Place, ...]:
        """Places of the x line, then of the y line."""
        xs = _spread(self.x_center_um, self.half_range_um, self.positions)
        ys = _spread(self.y_center_um, self.half_range_um, self.positions)
        return (
            *(Place(x, self.y_center_um) for x in xs),
            *(Place(self.x_center_um, y) for y in ys),
        )


class RasterScan(ScanPlan):
    """A rectangular grid, walked row by row along x."""

    kind: Literal["raster"] = "raster"
    x_half_range_um: HalfRange = 2.0
    y_half_range_um: HalfRange = 2.0
    x_positions: Positions = 21
    y_positions: Positions = 21
    x_center_um: Micrometres = 0.0
    y_center_um: Micrometres = 0.0
    passes: Annotated[int, Field(ge=1, le=100_000)] = 2

    @property
    def place_count(self) -> int:
        """Number of places in the map."""
        return self.x_positions * self.y_positions

    def axes_um(self) -> tuple[list[float], list[float]]:
        """Coordinates of the columns (x) and rows (y)."""
        return (
            _spread(self.x_center_um, self.x_half_range_um, self.x_positions),
            _spread(self.y_center_um, self.y_half_range_um, self.y_positions),
        )

    def places(self) -> tuple[Place, ...]:
        """Row by row; unless the order is one-way, every other row runs backwards."""
        xs, ys = self.axes_um()
        snake = self.order != "one-way"
        return tuple(
            Place(x, y)
            for row, y in enumerate(ys)
            for x in (reversed(xs) if snake and row % 2 else xs)
        )


class PositionScan(ScanPlan):
    """Places listed one by one."""

    kind: Literal["positions"] = "positions"
    x_um: Annotated[tuple[Micrometres, ...], Field(min_length=1, max_length=100_000)]
    y_um: tuple[Micrometres, ...] = ()
    """As long as ``x_um``; empty means 0 throughout."""

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if self.y_um and len(self.y_um) != len(self.x_um):
            raise ValueError(
                f"y_um is {len(self.y_um)} long and x_um {len(self.x_um)}; as many are needed"
            )
        return self

    @property
    def place_count(self) -> int:
        """Number of places in the map."""
        return len(self.x_um)

    def places(self) -> tuple[Place, ...]:
        """Places in the order listed."""
        ys = self.y_um or (0.0,) * len(self.x_um)
        return tuple(Place(x, y) for x, y in zip(self.x_um, ys, strict=True))


AnyScanPlan = Annotated[
    LineScan | CrossScan | RasterScan | PositionScan, Field(discriminator="kind")
]
ANY_SCAN_PLAN: TypeAdapter[ScanPlan] = TypeAdapter(AnyScanPlan)
