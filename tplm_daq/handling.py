"""Light, detector stage and waiting: always open to an abort, with an eye on the detector."""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Protocol

from tplm_daq.events import Event, Notice, Rates, RunState
from tplm_drivers import Clock, DeviceError, Instrument

POLL_S = 0.1
"""Device time between two looks at the requests and at the detector: neither waits longer."""


SIMULATION_POLL_S = 0.02
"""Real time between two looks at the requests while the light of a model is computed."""


GO_ON_ADVICE = (
    "let the run go on with the light it had; to measure with less, end it and begin a new scan"
)


class DetectorTooBrightError(Exception):
    """The detector saw more light than the profile allows; the light is blocked.

    Parameters
    ----------
    rate_hz, limit_hz : float
        What it saw, and what is allowed.
    then : str
        What to do when the cause is found.
    """

    def __init__(self, rate_hz: float, limit_hz: float, then: str) -> None:
        self.rate_hz = rate_hz
        super().__init__(
            f"{rate_hz:.3g} counts/s on the detector, more than the profile's limit of "
            f"{limit_hz:.3g}; the light was blocked. Look for room light, or for a filter or a "
            f"wheel that moved, then {then}"
        )


class Director(Protocol):
    """What the devices' side asks of the run it belongs to."""

    def check_abort(self) -> None:
        """Raise if the run is to end now."""

    def check_stop(self) -> None:
        """Raise if the run is to end after this visit: for what takes long without measuring."""

    def enter(self, state: RunState, why: str = "") -> None:
        """Tell what is being done now."""

    def emit(self, event: Event) -> None:
        """Tell every observer."""


class Handling:
    """Moves the detector, lets light through or blocks it, and waits.

    Parameters
    ----------
    runner : Director
        Asked at least every `POLL_S` of device time whether to go on.
    instrument : Instrument
        Open devices.
    while_counting : callable
        Called at every pause of a dwell.
    afterwards : str
        What to do when the cause of a failure is mended.
    after_too_much : str
        What to do when the cause of too much light is found.

    Attributes
    ----------
    watching : bool
        Whether the count rate can be looked at; not before the card is set up.
    is_counting : bool
        Whether a visit's dwell is under way.
    rate_hz, sync_hz : float
        Highest count rate seen since it was last set to 0, and pulses per second.
    """

    def __init__(
        self,
        runner: Director,
        instrument: Instrument,
        while_counting: Callable[[], None],
        afterwards: str = "resume the scan",
        after_too_much: str = GO_ON_ADVICE,
    ) -> None:
        self._runner = runner
        self._instrument = instrument
        self._while_counting = while_counting
        self.afterwards = afterwards
        self._after_too_much = after_too_much
        self._looked_s = -math.inf
        self.watching = self.is_counting = False
        self.rate_hz = self.sync_hz = 0.0
        self._truth: str | None = None

    @property
    def clock(self) -> Clock:
        """Device time."""
        return self._instrument.clock

    # -- light ----------------------------------------------------------------------------

    def switch_on(self) -> None:
        """Switch the laser on and see that it is; the shutter is opened visit by visit."""
        laser = self._instrument.laser
        laser.set_emission(True)
        self.wait(self._instrument.profile.laser.warm_up_s)
        if not laser.emission():
            raise DeviceError(
                "laser", "the emission was switched on but reads back as off", "check the interlock"
            )

    def light_again(self) -> None:
        """After waiting in the dark: a laser that was switched off on purpose is on again.

        One that went off by itself stays off: whoever closes an interlock may be in the beam.
        """
        if self._instrument.shutter is None:
            self.switch_on()
        elif not self._instrument.laser.emission():
            raise DeviceError(
                "laser",
                "the emission went off while the run waited",
                "check the interlock and the laser, then resume the scan",
            )

    def set_shutter(self, open_: bool) -> None:
        """Open or close the shutter, if there is one, and see that it did."""
        if open_:
            self._await_simulation()
        shutter = self._instrument.shutter
        if shutter is None or shutter.is_open() == open_:
            return
        shutter.set_open(open_)
        if shutter.is_open() != open_:
            raise DeviceError(
                "shutter",
                f"was told to {'open' if open_ else 'close'} but reads back as "
                f"{'closed' if open_ else 'open'}",
            )

    def _await_simulation(self) -> None:
        """Have the light of a simulated sample computed where it can be stopped; device time rests.

        What is true of the sample is told, and so kept with the scan.
        """
        bench = self._instrument.bench
        if bench is None:
            return
        told = -1.0
        while (share := bench.pending()) is not None:
            self._runner.check_abort()
            self._runner.check_stop()
            if share >= told + 0.1:
                told = share
                words = f"computing the light of the simulated sample: {share:.0%}"
                self._runner.emit(Notice("info", "waiting", words))
            time.sleep(SIMULATION_POLL_S)
        truth = bench.truth()
        if truth is not None and truth != self._truth:
            self._truth = truth
            self._runner.emit(Notice("info", "simulated-sample", truth))

    def block_light(self) -> None:
        """Keep light off the sample while nothing is measured."""
        if self._instrument.shutter is not None:
            self.set_shutter(False)
        else:
            self._instrument.laser.set_emission(False)

    def darken(self) -> None:
        """Block the light at once; that it worked is seen to when everything is made safe."""
        with suppress(DeviceError):
            self.block_light()

    # -- detector -------------------------------------------------------------------------

    def go_to_reading(self, target: tuple[float, float]) -> tuple[float, float]:
        """Move the detector stage; gives its read-back."""
        stage, role = self._instrument.detector_stage, self._instrument.profile.detector_stage
        at_x_um, at_y_um = stage.position_um()[:2]
        if math.dist((at_x_um, at_y_um), target) > role.tolerance_um / 2:
            stage.move_to(target)
            self.wait_until(
                lambda: not stage.is_moving(), role.timeout_s, "detector_stage", "moving"
            )
            self.wait(role.settle_s)
            at_x_um, at_y_um = stage.position_um()[:2]
        if max(abs(at_x_um - target[0]), abs(at_y_um - target[1])) > role.tolerance_um:
            raise DeviceError(
                "detector_stage",
                f"stopped at ({at_x_um:.1f}, {at_y_um:.1f}) µm instead of "
                f"({target[0]:.1f}, {target[1]:.1f}) µm",
                f"look for an obstacle or a lost reference, home the stage, then {self.afterwards}",
            )
        return at_x_um, at_y_um

    def look(self, *, now: bool = False) -> None:
        """Look at the count rate, and block the light if it endangers the detector."""
        clock = self._instrument.clock
        if not self.watching or (not now and clock.now_s() - self._looked_s < POLL_S - 1e-6):
            return
        self._looked_s = clock.now_s()
        rate_hz = self._instrument.card.count_rate_hz()
        self.rate_hz = max(self.rate_hz, rate_hz)
        limit_hz = self._instrument.profile.limits.detector_count_rate_hz
        if rate_hz > limit_hz:
            self.block_light()
            self._instrument.card.stop()
            raise DetectorTooBrightError(rate_hz, limit_hz, self._after_too_much)

    def tell_rates(self, brightest_bin: int | None) -> None:
        """Tell what the detector sees."""
        self._runner.emit(Rates(self.sync_hz, self.rate_hz, brightest_bin))

    # -- waiting --------------------------------------------------------------------------

    def pause(self, seconds: float) -> bool:
        """Let at most `POLL_S` pass, open to an abort and with an eye on the detector.

        Returns
        -------
        bool
            Whether the detector was looked at.
        """
        clock = self._instrument.clock
        before_s = self._looked_s
        left_s = seconds
        due_s = self._looked_s + POLL_S - clock.now_s()
        if self.watching and 0 < due_s < left_s:
            clock.wait(due_s)
            self.look()
            left_s -= due_s
        self._runner.check_abort()
        clock.wait(left_s)
        self._runner.check_abort()
        self.look()
        if self.is_counting:
            self._while_counting()
        return self._looked_s > before_s

    def wait(self, seconds: float) -> None:
        """Let device time pass, open to an abort."""
        edges = [i * POLL_S for i in range(math.ceil(seconds / POLL_S))] + [seconds]
        for start, end in pairwise(edges):
            self.pause(end - start)

    def wait_until(
        self, reached: Callable[[], bool], timeout_s: float, device: str, doing: str
    ) -> None:
        """Wait until a device is there; a device that never gets there is an error."""
        clock = self._instrument.clock
        deadline_s = clock.now_s() + timeout_s
        step_s = 0.002
        while not reached():
            if clock.now_s() >= deadline_s:
                raise DeviceError(
                    device,
                    f"is still {doing} after {timeout_s:g} s",
                    "look whether it is blocked or has lost its connection",
                )
            self.pause(step_s)
            step_s = min(step_s * 1.5, POLL_S / 2)
