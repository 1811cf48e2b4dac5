"""A motion from one place to another as a function of time."""

import math
from dataclasses import dataclass

_TOUCHING = 1e-9
"""Two places are the same if they are closer than this share of the distance of the marks."""


@dataclass(frozen=True, slots=True)
class Travel:
    """Trapezoidal motion along one axis; the units of length are the caller's.

    Parameters
    ----------
    start, target
        Where it begins and ends.
    begin_s
        When it begins, device time, s.
    speed
        Largest speed, per second.
    acceleration
        Acceleration, per second squared; infinite = constant speed.
    """

    start: float
    target: float
    begin_s: float
    speed: float
    acceleration: float = math.inf

    @classmethod
    def rest(cls, place: float) -> "Travel":
        """No motion, at `place`, since ever."""
        return cls(place, place, -math.inf, 1.0)

    @property
    def _ramp_s(self) -> float:
        distance = abs(self.target - self.start)
        return min(self.speed / self.acceleration, math.sqrt(distance / self.acceleration))

    @property
    def duration_s(self) -> float:
        """How long it takes, s."""
        distance = abs(self.target - self.start)
        if distance == 0:
            return 0.0
        if math.isinf(self.acceleration):
            return distance / self.speed
        ramp_s = self._ramp_s
        return distance / (self.acceleration * ramp_s) + ramp_s

    @property
    def end_s(self) -> float:
        """When it arrives, device time, s."""
        return self.begin_s + self.duration_s

    def is_moving_at(self, time_s: float) -> bool:
        """Whether it has not yet arrived at `time_s`."""
        return time_s < self.end_s

    def place_at(self, time_s: float) -> float:
        """Where it is at `time_s`."""
        if not self.is_moving_at(time_s):
            return self.target
        passed_s = max(time_s - self.begin_s, 0.0)
        left_s = self.end_s - time_s
        if math.isinf(self.acceleration):
            travelled = self.speed * passed_s
        else:
            ramp_s = self._ramp_s
            distance = abs(self.target - self.start)
            if passed_s < ramp_s:
                travelled = 0.5 * self.acceleration * passed_s**2
            elif left_s < ramp_s:
                travelled = distance - 0.5 * self.acceleration * left_s**2
            else:
                travelled = self.acceleration * ramp_s * (passed_s - 0.5 * ramp_s)
        return self.start + math.copysign(travelled, self.target - self.start)

    def time_at(self, place: float) -> float:
        """When it is at a place between start and target, device time, s."""
        distance = abs(self.target - self.start)
        travelled = min(abs(place - self.start), distance)
        left = distance - travelled
        if math.isinf(self.acceleration):
            return self.begin_s + travelled / self.speed
        ramp_s = self._ramp_s
        ramp = 0.5 * self.acceleration * ramp_s**2
        if travelled <= ramp:
            return self.begin_s + math.sqrt(2 * travelled / self.acceleration)
        if left < ramp:
            return self.end_s - math.sqrt(2 * left / self.acceleration)
        return self.begin_s + travelled / (self.acceleration * ramp_s) + 0.5 * ramp_s

    def times_at_marks(
        self, zero: float, spacing: float, from_s: float, to_s: float
    ) -> list[float]:
        """When it comes to evenly spaced marks, after `from_s` and not after `to_s`, in order.

        It does not come to a mark at the start, but to one at the target.

        Parameters
        ----------
        zero, spacing
            Place of one mark, and the distance between two.
        from_s, to_s
            Device time, s.
        """
        ahead = math.copysign(1 / spacing, self.target - self.start)

        def passed(place: float) -> int:
            return math.floor((place - zero) * ahead + _TOUCHING)

        first = max(passed(self.start) + 1, passed(self.place_at(from_s)))
        last = min(passed(self.target), passed(self.place_at(to_s)) + 1)
        times_s = (self.time_at(zero + mark / ahead) for mark in range(first, last + 1))
        return [time_s for time_s in times_s if from_s < time_s <= to_s]
