"""The power meter."""

from collections.abc import Callable

import numpy as np

from tplm_config.simulation import PowerMeterSettings
from tplm_simulators.device import Bench, Device


class PowerMeter(Device):
    """A meter behind a beam sampler, after the attenuator and *before* the shutter.

    It reads the nominal power (outside the microscope), whether the shutter is open or not.

    Parameters
    ----------
    name, bench
        As for every device.
    settings
        Its zero offset and noise.
    power_nw_at
        Gives the true power at a time.
    rng
        Gives the noise of each reading.
    """

    def __init__(
        self,
        name: str,
        bench: Bench,
        settings: PowerMeterSettings,
        power_nw_at: Callable[[float], float],
        rng: np.random.Generator,
    ) -> None:
        super().__init__(name, bench)
        self._settings = settings
        self._power_nw_at = power_nw_at
        self._rng = rng
        self._stray_nw = 0.0

    def power_nw(self) -> float:
        """One reading, with zero offset and noise, nW."""
        with self._answering():
            true_nw = self._power_nw_at(self._now_s()) + self._stray_nw
            relative, absolute = self._rng.normal(size=2)
            noise_nw = self._settings.noise_rms * true_nw * relative
            noise_nw += self._settings.noise_nw * absolute
            return float(true_nw + self._settings.zero_offset_nw + noise_nw)

    def flood(self, stray_nw: float) -> None:
        """Break it: let stray light of so many nW fall on the sensor; 0 undoes it."""
        with self._bench.lock:
            self._stray_nw = stray_nw
