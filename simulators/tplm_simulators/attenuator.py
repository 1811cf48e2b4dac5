"""The motorised neutral-density wheel."""

import math

from tplm_config.simulation import AttenuatorSettings
from tplm_simulators.device import Bench, Device
from tplm_simulators.motion import Travel

_STEP_DENSITY = 0.02


class Attenuator(Device):
    """A wheel whose optical density grows evenly with the angle, turning at constant speed.

    Parameters
    ----------
    name, bench
        As for every device.
    settings
        Its range and speed.
    """

    def __init__(self, name: str, bench: Bench, settings: AttenuatorSettings) -> None:
        super().__init__(name, bench)
        self._settings = settings
        self._density = Travel.rest(-math.log10(settings.start_transmission))

    @property
    def min_transmission(self) -> float:
        """Transmission of the darkest place."""
        return self._settings.min_transmission

    def transmission(self) -> float:
        """Transmission at present."""
        with self._answering():
            return self.transmission_at(self._now_s())

    def set_transmission(self, transmission: float) -> None:
        """Start turning towards a transmission; returns at once."""
        with self._changing():
            darkest = self._settings.min_transmission
            if not darkest <= transmission <= 1:
                raise self._fault(
                    f"refuses transmission {transmission:g}: allowed are {darkest:g} to 1"
                )
            now_s = self._now_s()
            self._density = Travel(
                start=self._density.place_at(now_s),
                target=-math.log10(transmission),
                begin_s=now_s,
                speed=self._settings.density_per_s,
            )

    def is_moving(self) -> bool:
        """Whether the wheel still turns."""
        with self._answering():
            return self._density.is_moving_at(self._now_s())

    def transmission_at(self, time_s: float) -> float:
        """Transmission at a time (truth)."""
        return float(10 ** -self._density.place_at(time_s))

    def steady_until_s(self, time_s: float) -> float:
        """Give a small step while the wheel turns, for ever at rest."""
        if not self._density.is_moving_at(time_s):
            return math.inf
        return min(self._density.end_s, time_s + _STEP_DENSITY / self._settings.density_per_s)
