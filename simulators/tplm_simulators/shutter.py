"""The shutter before the sample."""

import math

from tplm_config.simulation import ShutterSettings
from tplm_simulators.device import Bench, Device


class Shutter(Device):
    """A shutter that passes or blocks the light a few milliseconds after it is told to.

    Parameters
    ----------
    name, bench
        As for every device.
    settings
        Its travel time.
    """

    def __init__(self, name: str, bench: Bench, settings: ShutterSettings) -> None:
        super().__init__(name, bench)
        self._settings = settings
        self._before = False
        self._after = False
        self._switch_s = -math.inf
        self._jammed = False

    def is_open(self) -> bool:
        """Whether light passes; until the blade has arrived, what held before still holds."""
        with self._answering():
            return self.passes_at(self._now_s())

    def set_open(self, is_open: bool) -> None:
        """Start opening or closing; returns at once."""
        with self._changing():
            if self._jammed or is_open == self._after:
                return
            now_s = self._now_s()
            self._before = self.passes_at(now_s)
            self._after = is_open
            self._switch_s = now_s + self._settings.travel_s

    def jam(self) -> None:
        """Break it: the blade stays where it is and ignores every command."""
        with self._bench.lock:
            self._bench.settle()
            self._before = self._after = self.passes_at(self._now_s())
            self._jammed = True

    def free(self) -> None:
        """Undo `jam`."""
        with self._bench.lock:
            self._jammed = False

    def passes_at(self, time_s: float) -> bool:
        """Whether light passes at a time (truth)."""
        return self._after if time_s >= self._switch_s else self._before

    def steady_until_s(self, time_s: float) -> float:
        """Until the blade arrives, or for ever."""
        return self._switch_s if time_s < self._switch_s else math.inf
