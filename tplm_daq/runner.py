"""The runner: carries out the visits of a plan, and leaves the instrument safe."""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from tplm_config import ScanPlan
from tplm_daq.conditions import ConditionBadError
from tplm_daq.events import (
    Ending,
    Event,
    Notice,
    Observer,
    RunEnded,
    RunStarted,
    RunState,
    StateChanged,
    VisitMeasured,
    VisitStored,
)
from tplm_daq.handling import DetectorTooBrightError
from tplm_daq.light import Light
from tplm_daq.route import Route
from tplm_daq.visiting import Visiting
from tplm_drivers import DeviceError, Instrument, SafeState

T = TypeVar("T")


class RunAborted(Exception):  # noqa: N818 - a request that was obeyed, not an error
    """Unwinds the run to its safe end after `Runner.abort`."""


class RunStopped(Exception):  # noqa: N818 - likewise
    """Unwinds a run that was held up when `Runner.stop` was called."""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended."""

    ending: Ending
    message: str
    visits_done: int
    safe_state: SafeState
    error: Exception | None = None


def sentence(error: Exception) -> str:
    """What an error says to a person, without its number."""
    return str(getattr(error, "strerror", None) or error)


class Runner:
    """Carries out one run on one instrument; the next run takes a new runner.

    ::

                             ┌─ centring ─┐
                             ▼            │
        idle ── run() ──► preparing ──► moving ──► counting ──┐
          ▲                   ▲            ▲          │       │
          │                   │            └── next ──┤   pause(), a bad condition
          │                   └─────── resume() ── paused ◄───┤
          │                            or good again          │
          └────────── finishing ◄── last visit, stop(), abort(), emergency(), error

    * ``pause()``: finish this visit, close the shutter, wait for ``resume()``.
    * too much light for the detector: block it at once and wait for ``resume()``, for as long as
      the profile says; the visit is measured again.
    * a condition of the plan is bad: block the light, go on when it is good again, fail when that
      takes too long; the visit is measured again.
    * ``stop()``: finish this visit, keep everything; a success.
    * ``abort()``: now; the running dwell is given up, finished visits are kept.
    * ``emergency()``: block the light from the thread that calls, then as ``abort()``.
    * an error of a device or an essential observer ends the run like ``abort()``.

    On every way out the shutter is closed, the laser switched off, and both are read back.
    The requests may come from any thread or from a signal handler; ``run`` itself belongs to
    one thread and calls its observers there, in the order they were subscribed.
    """

    def __init__(self) -> None:
        self._observers: list[tuple[Observer, bool]] = []
        self._signs: list[Callable[[], None]] = []
        self._state = RunState.IDLE
        self._abort = threading.Event()
        self._stop = threading.Event()
        self._paused = threading.Event()
        self._emergency = threading.Event()
        self._light: Light | None = None
        self._put_out: SafeState | None = None
        self._thread: int | None = None
        self._used = False
        self._why = ""

    @property
    def state(self) -> RunState:
        """What the run is doing."""
        return self._state

    @property
    def finishing(self) -> bool:
        """Whether the instrument is being made safe, which nothing may interrupt."""
        return self._state is RunState.FINISHING

    def subscribe(self, observer: Observer, *, essential: bool = False) -> None:
        """Have an observer called for each event.

        An essential observer (the store) that raises ends the run. Any other one is dropped
        when it raises, and the run goes on and says so.
        """
        self._observers.append((observer, essential))

    def each_round(self, sign: Callable[[], None]) -> None:
        """Have something called whenever the run looks at its requests, ten times a second."""
        self._signs.append(sign)

    def pause(self) -> None:
        """Pause after this visit."""
        self._paused.set()

    def resume(self) -> None:
        """Go on after a pause."""
        self._paused.clear()

    def stop(self, why: str = "stopped by the user after this visit") -> None:
        """End after this visit and keep everything."""
        self._why = self._why or why
        self._stop.set()

    def abort(self, why: str = "stopped by the user at once") -> None:
        """End now; only the running dwell is lost."""
        self._why = self._why or why
        self._abort.set()

    def emergency(self, why: str = "asked for by the user") -> None:
        """Block the light before anything else, then end like `abort`; never raises.

        The calling thread itself closes the shutter and switches the laser off, whatever the
        measuring thread is doing. Called in the measuring thread (by an observer, or a signal
        that interrupts it) it takes effect at the next look at the requests, as `abort` does: a
        call that was interrupted half way must not be followed by another one.
        """
        self._why = f"emergency stop: {why}"
        self._emergency.set()
        self._abort.set()
        light = self._light
        if light is not None and threading.get_ident() != self._thread:
            self._put_out = light.put_out()

    @property
    def put_out(self) -> SafeState | None:
        """What an emergency read back when it had blocked the light; None if it has not."""
        return self._put_out

    def run(
        self,
        instrument: Instrument,
        plan: ScanPlan,
        route: Route,
        started_s: float = 0.0,
        sample_home_um: tuple[float, ...] | None = None,
        scan_path: Path | None = None,
    ) -> RunOutcome:
        """Carry out visits of a plan.

        Parameters
        ----------
        instrument : Instrument
            Open devices.
        plan : ScanPlan
            The plan, for excitation and card settings.
        route : Route
            Says what to measure next.
        started_s : float
            Time of the scan that has already gone by, when it is resumed.
        sample_home_um : tuple of float, optional
            Where the sample stage stood when a resumed scan began; None: where it stands now.
        scan_path : Path, optional
            The scan file, beside which records are kept if the plan says so.

        Returns
        -------
        RunOutcome
            Also when a device failed; nothing but a defect of the program is raised.

        Raises
        ------
        RuntimeError
            If this runner has run already: it still holds the requests and observers of then.
        """
        if self._used:
            raise RuntimeError("a Runner carries out one run; make a new one for the next")
        self._used = True
        self._thread = threading.get_ident()
        self._light = Light(instrument)
        instrument = self._light.instrument
        done = 0
        error: Exception | None = None
        run = Visiting(self, instrument, plan, started_s, sample_home_um, scan_path)
        try:
            self.enter(RunState.PREPARING)
            settings = self._protected(run, run.prepare)
            self.emit(RunStarted(plan.visit_count, route.left, settings))
            while route.left:
                self._between_visits(run)
                if self._stop.is_set():
                    break
                leg = route.next_leg(run.elapsed_s)
                if leg is None:
                    break
                for record in self._protected(run, partial(run.measure, leg)):
                    self.emit(VisitMeasured(record))
                    route.take(record)
                    done += 1
                    total = int(record.counts.sum())
                    self.emit(VisitStored(record.visit.index, total, done, route.left))
            complete = not route.left
            if complete:
                route.next_leg(run.elapsed_s)  # a route that decides has a last word
            ending = Ending.COMPLETED if complete else Ending.STOPPED
            message = route.reached if complete else self._why
        except RunAborted:
            ending, message = Ending.ABORTED, self._why
        except RunStopped:
            ending, message = Ending.STOPPED, self._why
        except (DeviceError, OSError) as failure:
            ending, message, error = Ending.FAILED, sentence(failure), failure
            if self._emergency.is_set():  # which is what the device failed by
                ending, message = Ending.ABORTED, f"{self._why} ({message})"
        finally:
            # also for a defect of the program or a second Ctrl-C: the laser comes first
            self._state = RunState.FINISHING
            safe_state = instrument.make_safe()
            self._light = None
        if not safe_state.verified or safe_state.laser_off is False:
            # a laser that does not obey has failed, even where a shutter stands in its way
            ending = Ending.FAILED
            message = f"{safe_state} ({message})"
            error = error or DeviceError("laser", str(safe_state))
        try:
            self.emit(StateChanged(RunState.FINISHING))
            run.close()
            if safe_state.problems or not safe_state.laser_off:
                self.emit(Notice("warning", "safe-state", str(safe_state)))
            left = run.bring_sample_back()
            if left is not None:
                self.emit(Notice("warning", "sample-stage", left))
            self.emit(RunEnded(ending, message, done, safe_state))
        except OSError as failure:  # the disk that failed the run takes no last word either
            if error is None:
                ending, message, error = Ending.FAILED, sentence(failure), failure
        self.enter(RunState.IDLE)
        return RunOutcome(ending, message, done, safe_state, error)

    def emit(self, event: Event) -> None:
        """Tell every observer."""
        for entry in list(self._observers):
            observer, essential = entry
            try:
                observer(event)
            except Exception as error:
                if essential:
                    raise
                self._observers.remove(entry)
                name = getattr(observer, "__qualname__", type(observer).__qualname__)
                self.emit(
                    Notice(
                        "error",
                        "observer",
                        f"{name} failed and is no longer "
                        f"told of events: {error}; the measurement goes on",
                    )
                )

    def check_abort(self) -> None:
        """Raise `RunAborted` if the run is to end now."""
        for sign in self._signs:
            sign()
        if self._abort.is_set():
            raise RunAborted

    def check_stop(self) -> None:
        """Raise `RunStopped` if the run is to end after this visit: for waits without a visit."""
        if self._stop.is_set():
            raise RunStopped

    def enter(self, state: RunState, why: str = "") -> None:
        """Change the state, and tell."""
        if state is not self._state or why:
            self._state = state
            self.emit(StateChanged(state, why))

    def _between_visits(self, run: Visiting) -> None:
        self.check_abort()
        if not self._paused.is_set() or self._stop.is_set():
            return
        run.block_light()
        self._hold(run, "paused by the user; no light reaches the sample")

    def _protected(self, run: Visiting, step: Callable[[], T]) -> T:
        """Take a step, again and again while detector or conditions do not allow it."""
        while True:
            try:
                return step()
            except DetectorTooBrightError as danger:
                self._paused.set()
                limit_s = run.pause_timeout_s
                self._hold(run, f"{danger}; it ends by itself after {limit_s:g} s", limit_s)
            except ConditionBadError as bad:
                self._protected(run, partial(self._sit_out, run, bad))
                self._between_visits(run)

    def _sit_out(self, run: Visiting, bad: ConditionBadError) -> None:
        """Wait in the dark until a condition is good again."""
        run.block_light()
        self.enter(RunState.PAUSED, f"{bad}; no light reaches the sample until it is good again")

        def wait(seconds: float) -> None:
            run.wait(seconds)
            self.check_stop()

        waited_s = run.watch.wait_until_good(bad, run.look_at, run.clock, wait)
        self.enter(RunState.PREPARING, f"good again, {waited_s:.0f} s after: {bad}")
        run.light_again()

    def _hold(self, run: Visiting, why: str, timeout_s: float = math.inf) -> None:
        """Wait in the dark until somebody lets the run go on."""
        self.enter(RunState.PAUSED, why)
        deadline_s = run.clock.now_s() + timeout_s
        while self._paused.is_set():
            self.check_abort()
            self.check_stop()
            if run.clock.now_s() >= deadline_s:
                raise DeviceError("card", why, "nobody came, so the run has ended; resume it later")
            # paused time is the user's own, so it passes on the wall clock too
            self._abort.wait(0.02)
            run.clock.wait(0.02)
        self.enter(RunState.PREPARING, "resumed")
        run.switch_on()
