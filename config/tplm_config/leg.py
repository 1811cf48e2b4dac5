"""Legs of a scan: what the detector measures in one go, a single place or a line flown over."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from tplm_config.plan import ScanPlan
from tplm_config.profile import InstrumentProfile
from tplm_config.visit import Visit, VisitKind

RUN_UP_S = 0.4
"""Time at constant speed before the first position: long enough to see where the stage is."""
RUN_OUT_S = 0.1
"""Time at constant speed behind the last position."""

Leg = tuple[Visit, ...]
"""Visits made in one go; more than one are flown over."""


def legs(plan: ScanPlan, visits: Iterable[Visit]) -> Iterator[Leg]:
    """Group visits of a plan into legs: single ones, unless the plan flies.

    Parameters
    ----------
    plan : ScanPlan
        Its lines are flown over.
    visits : iterable of Visit
        What is to be measured, in the order of the plan; a line with gaps makes several legs.
    """
    if plan.fly is None:
        yield from ((visit,) for visit in visits)
        return
    wanted = {visit.index for visit in visits}
    # from the whole plan, so that what is left of a line is never taken for part of another
    for line in _lines(plan):
        for asked, leg in groupby(line, lambda visit: visit.index in wanted):
            if asked:
                yield tuple(leg)


def _lines(plan: ScanPlan) -> Iterator[Leg]:
    """Every line of a plan, and every visit beside the lines."""
    line: list[Visit] = []
    for visit in plan.visits():
        if line and not _goes_on(line, visit):
            yield tuple(line)
            line = []
        line.append(visit)
    if line:
        yield tuple(line)


def _goes_on(leg: list[Visit], visit: Visit) -> bool:
    """Whether a visit continues the line of a leg at the same step."""
    last = leg[-1]
    if visit.kind is not VisitKind.MAP or last.kind is not VisitKind.MAP:
        return False
    if visit.index != last.index + 1 or visit.pass_index != last.pass_index:
        return False
    step = _step_um(last, visit)
    if len(leg) == 1:
        return (step[0] == 0) != (step[1] == 0)
    return math.dist(step, _step_um(leg[-2], last)) < 1e-6 * math.hypot(*step)


def _step_um(one: Visit, other: Visit) -> tuple[float, float]:
    return other.x_um - one.x_um, other.y_um - one.y_um


@dataclass(frozen=True, slots=True)
class Flight:
    """How the detector stage flies over a leg; lengths are the stage's own, image plane.

    Attributes
    ----------
    axis : int
        Which axis moves: 0 is x, 1 is y.
    start_um, end_um : tuple of float
        Where the move begins and ends, acceleration and run-up included.
    speed_um_per_s : float
        Speed over the positions: one step per dwell.
    borders_um : tuple of float
        Reading of the moving axis at the borders of the positions, one more than positions.
    constant_from_um : float
        From this reading of the moving axis on the speed is constant.
    """

    axis: int
    start_um: tuple[float, float]
    end_um: tuple[float, float]
    speed_um_per_s: float
    borders_um: tuple[float, ...]
    constant_from_um: float

    @property
    def direction(self) -> float:
        """+1 if the reading grows during the flight, else −1."""
        return math.copysign(1.0, self.borders_um[-1] - self.borders_um[0])

    @property
    def step_um(self) -> float:
        """Distance of two positions."""
        return abs(self.borders_um[1] - self.borders_um[0])


def flight(leg: Leg, profile: InstrumentProfile) -> Flight:
    """Plan the move over a leg of at least two visits."""
    places = [profile.stage_position_um(visit.x_um, visit.y_um) for visit in leg]
    first, second, last = places[0], places[1], places[-1]
    axis = 0 if first[0] != second[0] else 1
    step = second[axis] - first[axis]
    speed = abs(step) / leg[0].dwell_s
    ramp = speed**2 / (2 * profile.detector_stage.acceleration_um_per_s2)
    sign = math.copysign(1.0, step)
    borders = (
        *(place[axis] - step / 2 for place in places),
        last[axis] + step / 2,
    )
    constant_from = borders[0] - sign * speed * RUN_UP_S
    ends = (constant_from - sign * ramp, borders[-1] + sign * (speed * RUN_OUT_S + ramp))
    start, end = ((e, first[1]) if axis == 0 else (first[0], e) for e in ends)
    return Flight(axis, start, end, speed, borders, constant_from)


__all__ = ["Flight", "Leg", "flight", "legs"]
