"""When the next sign of an engine is due, by what its run tells; in real seconds."""

import math
import time
from collections.abc import Callable
from typing import Any

from tplm_config import InstrumentProfile, ScanPlan, legs
from tplm_daq.events import (
    Centred,
    Event,
    Notice,
    Rates,
    RunEnded,
    RunStarted,
    RunState,
    StateChanged,
    VisitMeasured,
    VisitStarted,
    VisitStored,
)
from tplm_daq.power import MAX_STEPS
from tplm_daq.visiting import PROGRESS_S
from tplm_drivers.roles import ROLE_NAMES

CALL_MARGIN_S = 2.0
"""Real time on top of the timeouts of calls to devices: for a busy computer."""
CALLS = 2
"""How many calls in a row may take the whole timeout of their device."""


class Limits:
    """The deadline of the engine's next sign, moved on by each event of a run.

    Parameters
    ----------
    profile : InstrumentProfile
        For the timeouts of its devices, and its ``[watchdog]``.
    now_s : callable
        Real time.

    Attributes
    ----------
    call_s : float
        Time from one look at the requests to the next when only devices are spoken to.
    grace_s : float
        Time for everything else, on top of what a step may take; the longest timeout of a device
        is in it, since one call may take it.
    due_s : float
        Moment of `now_s` by which the next sign must come; infinite in the dark.
    doing : str
        What the engine is doing, in words.
    is_lit : bool
        Whether light may be on: false before a run, and after one that read back dark.
    is_measuring : bool
        Whether the run can still be ended, because it is not yet on its way out.
    """

    def __init__(
        self,
        profile: InstrumentProfile,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        longest_s = max(getattr(driver, "timeout_s", 0.0) for driver in _drivers(profile))
        settings = profile.watchdog
        self.call_s = settings.call_s or CALL_MARGIN_S + CALLS * longest_s
        self.grace_s = settings.grace_s + longest_s
        self.due_s = math.inf
        self.doing = "not measuring yet"
        self.is_lit = self.is_measuring = False
        self._profile = profile
        self._now_s = now_s
        self._real_s_per_s = _real_s_per_s(profile)
        self._flies, self._longest_leg_s, self._poll_s = True, 0.0, 0.0
        self._only_calls = self._is_in_visit = False
        self._visit, self._visit_s = "", 0.0
        self._step_due_s = math.inf
        self._span_s = math.inf
        self._is_paused = False

    def expect(self, plan: ScanPlan) -> None:
        """Take in the next plan: a line that is flown over gives no sign before its end."""
        self._poll_s = plan.conditions.poll_s
        self._flies = plan.fly is not None
        # records are written during a visit, and a line that was flown over is cut up in it
        self._only_calls = not self._flies and plan.card.raw == "none"
        lines = legs(plan, plan.visits()) if self._flies else ()
        dwells_s = (sum(visit.dwell_s for visit in line) for line in lines)
        self._longest_leg_s = max(dwells_s, default=0.0)

    def take(self, event: Event) -> None:
        """Move the deadline on by what an event tells."""
        match event:
            case StateChanged(state=RunState.PREPARING):
                self.is_lit = self.is_measuring = True
                self._set(self._prepare_s, "preparing")
            case StateChanged(state=RunState.PAUSED):
                self._set(math.inf, "paused in the dark")
                self._is_paused = True
            case StateChanged(state=RunState.MOVING):
                self._visit_step(self._move_s, "moving")
            case StateChanged(state=RunState.COUNTING):
                multiple = self._profile.watchdog.visit_multiple
                self._visit_step(multiple * self._visit_s, "counting")
                if not self._flies:
                    self.tick()  # the card's meters are told from now on
            case StateChanged(state=RunState.FINISHING):
                self.is_measuring = False
                self._set(self._move_s, "finishing")
            case VisitStarted(visit=visit):
                self._visit = f"visit {visit.index}"
                self._visit_s = max(visit.dwell_s, self._longest_leg_s)
                self._visit_step(self._move_s, "moving")
            case RunStarted() | VisitMeasured() | VisitStored():
                self._set(self._move_s, "between visits")
            case RunEnded(safe_state=safe):
                self.is_lit = not safe.verified
                self._set(0.0 if self.is_lit else math.inf, "the run has ended")
            case Rates() if self._is_in_visit:
                self.tick()
            case Rates() if self._is_paused:
                self._set(self._poll_s + self._prepare_s, "paused, looking with light")
            case Rates() | Notice() | Centred():
                self.due_s = min(self._now_s() + self._span_s, self._step_due_s)
            case _:
                return

    def outside_a_run(self, is_lit: bool, *, ends: bool = False) -> None:
        """Take in whether light is made by hand or to align, or whether that ends now.

        A sign is due in the grace time, in which every device may be read back; in the end the
        stages may have a way to go without one.
        """
        lit_s = self._move_s if ends else 0.0
        self._set(lit_s if is_lit else math.inf, "light outside a run" if is_lit else "dark")
        self.is_lit = self.is_measuring = is_lit

    def tick(self) -> None:
        """The loop of the engine came round: it must do so again soon."""
        if math.isfinite(self.due_s):
            limit_s = self.call_s if self._is_in_visit and self._only_calls else self.grace_s
            self.due_s = min(self._now_s() + limit_s, self._step_due_s)

    def _visit_step(self, device_s: float, doing: str) -> None:
        """A step of a visit, which no sign can prolong."""
        self._set(device_s, f"{self._visit}, {doing}")
        self._step_due_s, self._is_in_visit = self.due_s, True

    def _set(self, device_s: float, doing: str) -> None:
        """The step that begins now may take a time of the devices, and the grace time."""
        self._span_s = device_s * self._real_s_per_s + self.grace_s
        self.due_s = self._now_s() + self._span_s
        self.doing = doing
        self._step_due_s, self._is_in_visit = math.inf, False
        self._is_paused = False

    @property
    def _move_s(self) -> float:
        at = self._profile
        sample_s = 0.0 if at.sample_stage is None else at.sample_stage.timeout_s
        return sample_s + at.detector_stage.timeout_s + at.detector_stage.settle_s

    @property
    def _prepare_s(self) -> float:
        """A temperature tells of itself; a wheel may take its timeout for each of its steps."""
        at = self._profile
        wheels = [role for role in (at.attenuator, at.detection_attenuator) if role is not None]
        turning_s = MAX_STEPS * sum(role.timeout_s for role in wheels)
        warming_s = at.laser.warm_up_s + at.card.sync_warm_up_s
        return PROGRESS_S + warming_s + turning_s + self._move_s


def _real_s_per_s(profile: InstrumentProfile) -> float:
    """How long a second of the devices takes: simulated ones may have a clock of their own."""
    speed = profile.simulation.speed
    has_simulated = any(driver.name == "simulated" for driver in _drivers(profile))
    # an unnamed speed is faster than real time
    return 1 / speed if has_simulated and speed is not None else 1.0


def _drivers(profile: InstrumentProfile) -> list[Any]:
    roles = [getattr(profile, role) for role in ROLE_NAMES]
    return [role.driver for role in roles if role is not None]
