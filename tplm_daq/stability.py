"""What it means that the temperature is there, and waiting for it."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tplm_drivers import DeviceError
from tplm_drivers.clock import Clock
from tplm_drivers.roles import TemperatureController

_READINGS = 10
"""Least number of readings in the window."""


@dataclass(frozen=True, slots=True)
class Stability:
    """The temperature is there when it has been close to its target for long enough, and level.

    Parameters
    ----------
    band_k
        Every reading within this of the target, K …
    time_s
        … for this long without interruption, s …
    slope_k_per_min
        … and a straight line through the readings of that time no steeper than this, K/min.
    """

    band_k: float = 0.1
    time_s: float = 60.0
    slope_k_per_min: float = 0.05

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive, not {value!r}")


@dataclass(frozen=True, slots=True)
class StabilityProgress:
    """How far the waiting is.

    Attributes
    ----------
    temperature_k, set_point_k
        The last reading, and the set point the controller reports (on its way, if it ramps).
    in_band_s
        For how long every reading has been within the band.
    slope_k_per_min
        Slope of the readings of the last ``time_s``; NaN while there are fewer than two.
    elapsed_s
        Since the waiting began.
    """

    temperature_k: float
    set_point_k: float
    in_band_s: float
    slope_k_per_min: float
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class StableReading:
    """The temperature once it is there.

    Attributes
    ----------
    temperature_k, spread_k
        Mean and standard deviation of the readings of the last ``time_s``.
    slope_k_per_min
        Their slope.
    waited_s
        How long it took.
    """

    temperature_k: float
    spread_k: float
    slope_k_per_min: float
    waited_s: float


def wait_until_stable(
    controller: TemperatureController,
    clock: Clock,
    target_k: float,
    stability: Stability,
    timeout_s: float,
    wait: Callable[[float], None],
    on_progress: Callable[[StabilityProgress], None] = lambda _: None,
) -> StableReading:
    """Wait until the temperature is there; the set point is given beforehand by the caller.

    Parameters
    ----------
    controller : TemperatureController
        What is read.
    clock : Clock
        Device time.
    target_k : float
        Where the temperature is to be, K.
    stability : Stability
        What counts as being there.
    timeout_s : float
        Longest time to wait, s.
    wait : callable
        Lets seconds of device time pass; what it raises ends the waiting.
    on_progress : callable
        Told after each reading.

    Raises
    ------
    DeviceError
        If the temperature is not there in time, or the controller fails.
    """
    watch = _Watch(target_k, stability)
    began_s = clock.now_s()
    every_s = min(1.0, stability.time_s / (2 * _READINGS))
    while True:
        temperature_k, set_point_k = controller.temperature_k(), controller.set_point_k()
        now_s = clock.now_s()
        watch.see(now_s, temperature_k)
        elapsed_s = now_s - began_s
        slope = watch.slope_k_per_min()
        on_progress(
            StabilityProgress(temperature_k, set_point_k, watch.in_band_s, slope, elapsed_s)
        )
        if watch.is_stable():
            return StableReading(watch.mean_k(), watch.spread_k(), slope, elapsed_s)
        left_s = timeout_s - elapsed_s
        if left_s <= 0:
            raise DeviceError(
                "temperature",
                f"did not settle at {target_k:g} K within {timeout_s:g} s: {watch.complaint()}",
                "wait for longer, ask for less, or see whether heater and cooler work",
            )
        wait(min(every_s, left_s))


class _Watch:
    """The readings of the last ``time_s``, and since when all are in the band."""

    def __init__(self, target_k: float, stability: Stability) -> None:
        self._target_k = target_k
        self._asked = stability
        self._readings: deque[tuple[float, float]] = deque()
        self._in_band_since_s: float | None = None

    def see(self, now_s: float, temperature_k: float) -> None:
        """Take in a reading."""
        if self._readings and now_s - self._readings[-1][0] > self._asked.time_s / 2:
            # Nobody looked for so long (a sleeping computer, say) that it counts for nothing.
            self._readings.clear()
            self._in_band_since_s = None
        self._readings.append((now_s, temperature_k))
        # One reading from before the window stays, so that the window is covered to its edge.
        while len(self._readings) > 1 and self._readings[1][0] <= now_s - self._asked.time_s:
            self._readings.popleft()
        if not abs(temperature_k - self._target_k) <= self._asked.band_k:
            self._in_band_since_s = None
        elif self._in_band_since_s is None:
            self._in_band_since_s = now_s

    @property
    def in_band_s(self) -> float:
        since_s = self._in_band_since_s
        return 0.0 if since_s is None else self._readings[-1][0] - since_s

    def slope_k_per_min(self) -> float:
        if len(self._readings) < 2:
            return math.nan
        times_s, kelvins = np.array(self._readings).T
        times_s -= times_s.mean()
        spread = float(times_s @ times_s)
        return 60 * float(times_s @ (kelvins - kelvins.mean())) / spread if spread else math.nan

    def mean_k(self) -> float:
        return float(np.mean([kelvin for _, kelvin in self._readings]))

    def spread_k(self) -> float:
        return float(np.std([kelvin for _, kelvin in self._readings]))

    def is_stable(self) -> bool:
        return (
            self.in_band_s >= self._asked.time_s
            and len(self._readings) >= _READINGS
            and abs(self.slope_k_per_min()) <= self._asked.slope_k_per_min
        )

    def complaint(self) -> str:
        """Why the temperature is not there."""
        asked, now_k = self._asked, self._readings[-1][1]
        slope = f"changing by {self.slope_k_per_min():+.3g} K/min"
        if self._in_band_since_s is None:
            off_k = now_k - self._target_k
            return f"it is {now_k:.3f} K, {abs(off_k):.3g} K off, {slope}"
        if self.in_band_s < asked.time_s:
            return (
                f"it has been within {asked.band_k:g} K for {self.in_band_s:.3g} s only, "
                f"of {asked.time_s:g} s asked for, {slope}"
            )
        return f"it is {slope}, more than the {asked.slope_k_per_min:g} K/min allowed"
