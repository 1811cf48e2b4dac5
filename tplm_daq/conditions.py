"""Conditions that pause a run until they are good again."""

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tplm_config import Conditions, VisitKind
from tplm_config.plan import Waiting
from tplm_drivers import DeviceError
from tplm_drivers.clock import Clock

ConditionName = Literal["temperature", "count_rate", "sync", "power", "disk"]
SYNC_LOST = 0.5
"""Share of the sync rate of the beginning below which the signal counts as lost."""
MB = 1e6

DEVICES: dict[ConditionName, str] = {
    "temperature": "temperature",
    "count_rate": "detector",
    "sync": "card",
    "power": "laser",
    "disk": "disk",
}
ADVICE: dict[ConditionName, str] = {
    "temperature": "look at the heater, the cooler and the set point",
    "count_rate": "look at focus, alignment and the detector",
    "sync": "check the laser's trigger output and its cable",
    "power": "check the laser, the attenuator and the beam path",
    "disk": "make room",
}


class ConditionBadError(Exception):
    """A condition of the plan is not met; the run waits for it, and measures again.

    Parameters
    ----------
    name : str
        Which one.
    words : str
        What it is and what was asked for.
    """

    def __init__(self, name: ConditionName, words: str) -> None:
        self.name = name
        super().__init__(words)


@dataclass(frozen=True, slots=True)
class Readings:
    """What was read; NaN where nothing was, which no condition judges."""

    temperature_k: float = math.nan
    sync_rate_hz: float = math.nan
    power_nw: float = math.nan
    count_rate_hz: float = math.nan
    free_bytes: float = math.nan


class ConditionWatch:
    """Judges readings by the conditions of a plan.

    Parameters
    ----------
    asked : Conditions
        Of the plan.
    """

    def __init__(self, asked: Conditions) -> None:
        self._asked = asked
        self._good: Readings | None = None
        self._waited_s: dict[ConditionName, float] = {}

    def begin(self, good: Readings) -> None:
        """What temperature, sync rate and power should be; of several the first counts."""
        self._good = self._good or good

    def judge(self, now: Readings) -> None:
        """Raise if a condition is bad.

        Raises
        ------
        ConditionBadError
            For the first one.
        """
        asked, good = self._asked, self._good or Readings()
        if asked.temperature is not None and (
            abs(now.temperature_k - good.temperature_k) > asked.temperature.band_k
        ):
            words = (
                f"the temperature is {now.temperature_k:.2f} K, more than "
                f"{asked.temperature.band_k:g} K from {good.temperature_k:.2f} K"
            )
            raise ConditionBadError("temperature", words)
        if asked.sync is not None and now.sync_rate_hz < SYNC_LOST * good.sync_rate_hz:
            raise sync_lost(now.sync_rate_hz, good.sync_rate_hz)
        if asked.power is not None and (
            abs(now.power_nw - good.power_nw) > asked.power.tolerance * good.power_nw
        ):
            words = (
                f"the power meter reads {now.power_nw:.3g} nW, more than "
                f"{asked.power.tolerance:.0%} from {good.power_nw:.3g} nW"
            )
            raise ConditionBadError("power", words)
        if asked.count_rate is not None:
            low_hz, high_hz = asked.count_rate.low_hz, asked.count_rate.high_hz
            if low_hz is not None and now.count_rate_hz < low_hz:
                words = f"{now.count_rate_hz:.3g} counts/s are fewer than {low_hz:.3g}"
                raise ConditionBadError("count_rate", words)
            if high_hz is not None and now.count_rate_hz > high_hz:
                words = f"{now.count_rate_hz:.3g} counts/s are more than {high_hz:.3g}"
                raise ConditionBadError("count_rate", words)
        if asked.disk is not None and now.free_bytes < asked.disk.free_mb * MB:
            words = (
                f"the disk of the scan file has {now.free_bytes / MB:.0f} MB left, fewer than "
                f"{asked.disk.free_mb:g}"
            )
            raise ConditionBadError("disk", words)

    def judges_rate_of(self, kind: VisitKind) -> bool:
        """Whether the count rate of such a visit is judged."""
        asked = self._asked.count_rate
        if asked is None:
            return False
        return kind is VisitKind.REFERENCE or (asked.at == "any" and kind is VisitKind.MAP)

    def has(self, name: ConditionName) -> bool:
        """Whether a condition is asked for."""
        return self._setting(name) is not None

    @property
    def poll_s(self) -> float:
        """Time between two looks."""
        return self._asked.poll_s

    def measured(self) -> None:
        """A visit was measured under good conditions: what comes has all its time again."""
        self._waited_s.clear()

    def wait_until_good(
        self,
        bad: ConditionBadError,
        look: Callable[[ConditionName], None],
        clock: Clock,
        wait: Callable[[float], None],
    ) -> float:
        """Wait until a condition was good for as long as the plan asks.

        Parameters
        ----------
        bad : ConditionBadError
            What was found.
        look : callable
            Looks at one condition, and raises `ConditionBadError` if it is still bad.
        clock : Clock
            Device time.
        wait : callable
            Lets device time pass; what it raises ends the waiting.

        Returns
        -------
        float
            How long it took, s.

        Raises
        ------
        DeviceError
            If it has been waited for long enough, counting all waits for the same visit: one
            that is good in the dark and bad in every measurement must not wait for ever.
        """
        name, setting = bad.name, self._setting(bad.name)
        assert setting is not None, "only what is asked for can be bad"
        began_s = clock.now_s()
        before_s = self._waited_s.get(name, 0.0)
        good_since_s: float | None = None
        while True:
            if before_s + clock.now_s() - began_s >= setting.give_up_s:
                raise DeviceError(
                    DEVICES[name],
                    f"{bad}, and waiting for {setting.give_up_s:g} s did not help",
                    f"{ADVICE[name]}, then resume the scan",
                )
            wait(self.poll_s)
            looked_s = clock.now_s()
            try:
                look(name)
            except ConditionBadError as still:
                bad, good_since_s = still, None
            else:
                good_since_s = looked_s if good_since_s is None else good_since_s
                if clock.now_s() - good_since_s >= setting.good_for_s:
                    waited_s = clock.now_s() - began_s
                    self._waited_s[name] = before_s + waited_s
                    return waited_s

    def _setting(self, name: ConditionName) -> Waiting | None:
        setting: Waiting | None = getattr(self._asked, name)
        return setting


def sync_lost(rate_hz: float, good_hz: float) -> ConditionBadError:
    """The sync signal went away."""
    words = f"the sync signal is lost: {rate_hz:.3g} pulses/s, and {good_hz:.3g} when it began"
    return ConditionBadError("sync", words)


def free_bytes(scan_path: Path) -> float:
    """Room on the disk of a scan file."""
    return float(shutil.disk_usage(scan_path.parent).free)
