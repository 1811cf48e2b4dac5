"""The motorised stages."""

import math

import numpy as np

from tplm_config.simulation import StageSettings
from tplm_simulators.device import Bench, Device
from tplm_simulators.motion import Travel


class Stage(Device):
    """Axes that move independently and report the position they were sent to.

    Parameters
    ----------
    name, bench
        As for every device.
    settings
        Limits, speed and repeatability, the same for all axes.
    axes
        Number of axes.
    step_um
        Motion below which the light may be taken as constant, µm.
    rng
        Gives the error of each arrival.
    """

    def __init__(
        self,
        name: str,
        bench: Bench,
        settings: StageSettings,
        axes: int,
        step_um: float,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(name, bench)
        self._settings = settings
        self._step_um = step_um
        self._speeds_um_per_s = [settings.speed_um_per_s] * axes
        self._rng = rng
        self._travels = [Travel.rest(0.0)] * axes
        self._errors_um = [0.0] * axes
        self._stalled = False

    @property
    def limits_um(self) -> tuple[float, float]:
        """Lower and upper end of the travel of each axis, µm."""
        return self._settings.lower_limit_um, self._settings.upper_limit_um

    def is_moving(self) -> bool:
        """Whether any axis still moves."""
        with self._answering():
            return self._stalled or self._is_moving_at(self._now_s())

    def set_axis_speed_um_per_s(self, axis: int, speed_um_per_s: float | None) -> None:
        """Speed of the moves of one axis that follow; None = that of the settings."""
        with self._answering():
            fastest = self._settings.speed_um_per_s
            speed = fastest if speed_um_per_s is None else speed_um_per_s
            if not 0 < speed <= fastest:
                raise self._fault(
                    f"refuses a speed of {speed:g} µm/s: allowed are up to {fastest:g} µm/s"
                )
            self._speeds_um_per_s[axis] = speed

    def stop(self) -> None:
        """Stop where it is, at once."""
        with self._changing():
            self._freeze()

    def stall(self) -> None:
        """Break it: it stands still and reports that it is moving, for ever."""
        with self._bench.lock:
            self._bench.settle()
            self._freeze()
            self._stalled = True

    def release(self) -> None:
        """Undo `stall`; it needs a new command to move."""
        with self._bench.lock:
            self._stalled = False

    def steady_until_s(self, time_s: float) -> float:
        """Give a small step while it moves, for ever at rest."""
        if not self._is_moving_at(time_s):
            return math.inf
        moving = [travel for travel in self._travels if travel.is_moving_at(time_s)]
        step_s = self._step_um / max(travel.speed for travel in moving)
        return min(time_s + step_s, *(travel.end_s for travel in moving))

    def _move(self, target_um: tuple[float, ...]) -> None:
        with self._changing():
            lower, upper = self.limits_um
            for place_um in target_um:
                if not lower <= place_um <= upper:
                    raise self._fault(
                        f"refuses {place_um:g} µm: its limits are {lower:g} to {upper:g} µm"
                    )
            if self._stalled:
                return
            self._travels = [
                self._travel(travel, place_um, speed)
                for travel, place_um, speed in zip(
                    self._travels, target_um, self._speeds_um_per_s, strict=True
                )
            ]
            errors = self._rng.normal(0.0, self._settings.repeatability_um, len(target_um))
            self._errors_um = errors.tolist()

    def _travel(self, before: Travel, target_um: float, speed_um_per_s: float) -> Travel:
        now_s = self._now_s()
        if before.is_moving_at(now_s) and (before.target, before.speed) == (
            target_um,
            speed_um_per_s,
        ):
            return before  # controllers command one axis and leave the other on its way
        return Travel(
            start=before.place_at(now_s),
            target=target_um,
            begin_s=now_s,
            speed=speed_um_per_s,
            acceleration=self._settings.acceleration_um_per_s2,
        )

    def _freeze(self) -> None:
        now_s = self._now_s()
        self._travels = [Travel.rest(travel.place_at(now_s)) for travel in self._travels]

    def _is_moving_at(self, time_s: float) -> bool:
        return any(travel.is_moving_at(time_s) for travel in self._travels)

    def _reported_um(self) -> tuple[float, ...]:
        with self._answering():
            now_s = self._now_s()
            return tuple(travel.place_at(now_s) for travel in self._travels)

    def _place_um_at(self, time_s: float) -> tuple[float, ...]:
        return tuple(
            travel.place_at(time_s) + error
            for travel, error in zip(self._travels, self._errors_um, strict=True)
        )


class DetectorStage(Stage):
    """The two axes that carry the detector through the image plane.

    Parameters
    ----------
    name, bench, settings, step_um, rng
        As for `Stage`.
    """

    def __init__(
        self,
        name: str,
        bench: Bench,
        settings: StageSettings,
        step_um: float,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(name, bench, settings, 2, step_um, rng)

    def position_um(self) -> tuple[float, float]:
        """Position as the step counters have it, image plane, µm."""
        x, y = self._reported_um()
        return x, y

    def move_to(self, x_um: float, y_um: float) -> None:
        """Start moving; returns at once."""
        self._move((x_um, y_um))

    def set_speed_um_per_s(self, speed_um_per_s: float | None) -> None:
        """Speed of the moves that follow, for each axis; None = that of the settings."""
        for axis in range(len(self._travels)):
            self.set_axis_speed_um_per_s(axis, speed_um_per_s)

    def trigger_times_s(self, from_s: float, to_s: float) -> list[float]:
        """When a moving axis gave a pulse, after `from_s` and not after `to_s`, in order (truth).

        The step counters give them, which know nothing of the error of the arrival.
        """
        spacing_um, zero_um = self._settings.trigger_um, self._settings.trigger_zero_um
        if spacing_um == 0:
            return []
        return sorted(
            time_s
            for travel in self._travels
            for time_s in travel.times_at_marks(zero_um, spacing_um, from_s, to_s)
        )

    def place_um_at(self, time_s: float) -> tuple[float, float]:
        """Where it really is at a time, µm (truth)."""
        x, y = self._place_um_at(time_s)
        return x, y


class SampleStage(Stage):
    """The three axes that carry the sample; z = 0 is in focus.

    Parameters
    ----------
    name, bench, settings, step_um, rng
        As for `Stage`.
    """

    def __init__(
        self,
        name: str,
        bench: Bench,
        settings: StageSettings,
        step_um: float,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(name, bench, settings, 3, step_um, rng)

    def position_um(self) -> tuple[float, float, float]:
        """Position as the controller reports it, µm."""
        x, y, z = self._reported_um()
        return x, y, z

    def move_to(self, x_um: float, y_um: float, z_um: float) -> None:
        """Start moving; returns at once."""
        self._move((x_um, y_um, z_um))

    def place_um_at(self, time_s: float) -> tuple[float, float, float]:
        """Where it really is at a time, µm (truth)."""
        x, y, z = self._place_um_at(time_s)
        return x, y, z
