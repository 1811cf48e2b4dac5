"""The cryostat with its temperature controller."""

import math

import numpy as np

from tplm_config.simulation import ThermostatSettings
from tplm_simulators.device import Bench, Device
from tplm_simulators.motion import Travel

_STEP_K = 0.5


class Thermostat(Device):
    """A sample that follows a ramped set point with a first-order lag.

    Parameters
    ----------
    name, bench
        As for every device.
    settings
        Range, rates and noise.
    rng
        Gives the noise of each reading.
    """

    def __init__(
        self, name: str, bench: Bench, settings: ThermostatSettings, rng: np.random.Generator
    ) -> None:
        super().__init__(name, bench)
        self._settings = settings
        self._rng = rng
        self._set_point_k = settings.start_temperature_k
        self._ramp_k_per_min = settings.ramp_k_per_min
        self._heater_works = True
        self._lag_s = settings.lag_s
        self._start_k = settings.start_temperature_k
        self._ramp = Travel.rest(settings.start_temperature_k)

    def temperature_k(self) -> float:
        """Temperature of the sample as measured, K."""
        with self._answering():
            noise_k = self._rng.normal(0.0, self._settings.noise_k)
            return self.kelvin_at(self._now_s()) + noise_k

    @property
    def set_point_k(self) -> float:
        """Where the ramp ends, K."""
        with self._answering():
            return self._set_point_k

    def set_set_point_k(self, kelvin: float) -> None:
        """Start a ramp from where the last one is now; returns at once."""
        with self._changing():
            lower, upper = self.limits_k
            if not lower <= kelvin <= upper:
                raise self._fault(f"refuses {kelvin:g} K: its limits are {lower:g} to {upper:g} K")
            self._set_point_k = kelvin
            self._begin()

    @property
    def ramp_k_per_min(self) -> float:
        """Rate of the set point, K/min."""
        with self._answering():
            return self._ramp_k_per_min

    def set_ramp_k_per_min(self, rate: float) -> None:
        """Set the rate of the set point, K/min; a ramp under way goes on at the new rate."""
        with self._changing():
            if not (math.isfinite(rate) and rate > 0):
                raise self._fault(f"refuses a ramp of {rate:g} K/min: it must be positive")
            self._ramp_k_per_min = rate
            self._begin()

    @property
    def limits_k(self) -> tuple[float, float]:
        """Lowest and highest set point, K."""
        return self._settings.base_temperature_k, self._settings.max_temperature_k

    @property
    def heater_works(self) -> bool:
        """Whether the controller finds its heater in order."""
        with self._answering():
            return self._heater_works

    def fail_heater(self) -> None:
        """Break it: without its heater the sample cools to the base temperature."""
        self._switch_heater(works=False)

    def repair_heater(self) -> None:
        """Undo `fail_heater`; the ramp starts from where the sample is."""
        self._switch_heater(works=True)

    def kelvin_at(self, time_s: float) -> float:
        """Temperature of the sample at a time, K (truth)."""
        # The answer of a first-order lag to a ramp, then to a constant.
        if self._ramp.is_moving_at(time_s):
            passed_s = max(time_s - self._ramp.begin_s, 0.0)
            behind_k = self._slope_k_per_s() * self._lag_s
            steady_k = self._ramp.place_at(time_s) - behind_k
            begin_k = self._start_k - self._ramp.start + behind_k
            return steady_k + begin_k * math.exp(-passed_s / self._lag_s)
        arrived_k = self._arrived_k()
        if math.isinf(self._ramp.end_s):
            return arrived_k
        left = math.exp(-(time_s - self._ramp.end_s) / self._lag_s)
        return self._ramp.target + (arrived_k - self._ramp.target) * left

    def steady_until_s(self, time_s: float) -> float:
        """Give a step of half a kelvin while the temperature changes."""
        if self._ramp.is_moving_at(time_s):
            fastest = max(abs(self._slope_k_per_s()), self._lagging_k_per_s(time_s))
            return min(self._ramp.end_s, time_s + _STEP_K / fastest)
        lagging = self._lagging_k_per_s(time_s)
        return time_s + _STEP_K / lagging if lagging > 0 else math.inf

    def _arrived_k(self) -> float:
        if math.isinf(self._ramp.end_s):
            return self._start_k
        behind_k = self._slope_k_per_s() * self._lag_s
        begin_k = self._start_k - self._ramp.start + behind_k
        left = math.exp(-self._ramp.duration_s / self._lag_s)
        return self._ramp.target - behind_k + begin_k * left

    def _slope_k_per_s(self) -> float:
        return math.copysign(self._ramp.speed, self._ramp.target - self._ramp.start)

    def _lagging_k_per_s(self, time_s: float) -> float:
        return abs(self._ramp.place_at(time_s) - self.kelvin_at(time_s)) / self._lag_s

    def _switch_heater(self, *, works: bool) -> None:
        with self._bench.lock:
            self._bench.settle()
            if works and not self._heater_works:
                self._start_k = self.kelvin_at(self._now_s())
                self._ramp = Travel.rest(self._start_k)
            self._heater_works = works
            self._begin()

    def _begin(self) -> None:
        now_s = self._now_s()
        at_k, ramp_k = self.kelvin_at(now_s), self._ramp.place_at(now_s)
        if self._heater_works:
            self._lag_s = self._settings.lag_s
            self._ramp = Travel(ramp_k, self._set_point_k, now_s, self._ramp_k_per_min / 60)
        else:
            base_k = self._settings.base_temperature_k
            self._lag_s = self._settings.cooling_s
            self._ramp = Travel(base_k, base_k, now_s, 1.0)
        self._start_k = at_k
