"""The thread that owns the instrument: every call to a device is made in it, one job after another.

Only `Owner.emergency` speaks to a device from elsewhere, through `tplm_daq.light.Light`.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from tplm_config import InputError, InstrumentProfile
from tplm_daq.control import Controls
from tplm_daq.doctor import examine
from tplm_daq.events import Event, Notice
from tplm_daq.handling import DetectorTooBrightError
from tplm_daq.light import Light
from tplm_daq.runner import sentence
from tplm_daq.station.aligning import Aligner
from tplm_daq.station.manual import recentred
from tplm_daq.station.progress import Progress
from tplm_daq.station.readings import identify, not_open, read_back
from tplm_daq.station.steering import Interrupted, Steering
from tplm_daq.watchdog import Watchdog
from tplm_drivers import DeviceError, Instrument, Opener, RoleName, SafeState, let_go
from tplm_drivers.roles import ROLE_NAMES

READ_S = 0.5
"""Real time from one reading of all devices to the next."""
ROUND_S = 0.05
"""Real time of a round in which nothing is to be done, and least time of one with light."""
MOST_WAITING = 8
"""How many settings and moves may wait for the one that is carried out."""
QUICK = frozenset({"set", "move"})
RUNS = frozenset({"scan", "series", "resume"})
FIXED = frozenset({"connect", "disconnect", "doctor", "emergency", "dark", "halt"})
"""What is not interrupted."""
ENDS_ALIGNING = RUNS | {"dark", "disconnect"}
Act = Callable[[], tuple[str, dict[str, Any] | None]]


@dataclass(frozen=True, slots=True)
class Job:
    """Something that takes its time in the thread of the instrument.

    Attributes
    ----------
    id : int
        From 1.
    kind : str
        The command.
    words : str
        What it does, for people: "moving the detector".
    act : callable
        Does it; gives what came out as a sentence, and as plain values.
    """

    id: int
    kind: str
    words: str
    act: Act = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"id": self.id, "kind": self.kind, "words": self.words}


class Front(Protocol):
    """Where the owner tells what happens; called from the thread of the instrument."""

    @property
    def has_clients(self) -> bool:
        """Whether anybody is there."""

    def tell(self, event: Event) -> None:
        """Take an event."""

    def publish(self, news: Mapping[str, Any]) -> None:
        """Take news that is no event of a run."""

    def changed(self) -> None:
        """Something of the status is different now."""

    def made_safe(self, state: SafeState) -> None:
        """Everything was made safe and read back."""


class Owner:
    """Owns the instrument of a profile.

    Parameters
    ----------
    profile : InstrumentProfile
        Of the instrument.
    front : Front
        Told of everything.
    opener : callable
        Opens the instrument of a profile.
    simulated : bool
        Whether real drivers are connected to simulators.
    unattended_s : float
        How long light outside a run stays on when nobody is there any more.
    linger_s : float or None
        How long there may be nobody and nothing to do before everything ends; None: for ever.
    watchdog_log : Path
        Beside which the watchdog over light outside a run keeps its log.

    Attributes
    ----------
    profile : InstrumentProfile
        With the zero that was set last.
    instrument : Instrument or None
        The open devices, laser and shutter behind their doors; None: not connected.
    card_ready : bool
        Whether the card has been set up, so that its rate meters tell the truth.
    controls : Controls or None
        The run that goes on.
    progress : Progress or None
        Of the search that goes on.
    aligner : Aligner or None
        Of the open devices.
    """

    def __init__(
        self,
        profile: InstrumentProfile,
        front: Front,
        opener: Callable[[InstrumentProfile], Instrument],
        *,
        simulated: bool,
        unattended_s: float,
        linger_s: float | None,
        watchdog_log: Path,
    ) -> None:
        self.profile = profile
        self.simulated = simulated
        self.instrument: Instrument | None = None
        self.controls: Controls | None = None
        self.progress: Progress | None = None
        self.aligner: Aligner | None = None
        self.steering = Steering(self._sign, front.tell)
        self.is_ending = False
        self.ended_because = ""
        self._front = front
        self._opener = opener
        self._unattended_s, self._linger_s = unattended_s, linger_s
        self._watchdog_log = watchdog_log
        self._raw: Instrument | None = None
        self._light: Light | None = None
        self._dog: Watchdog | None = None
        self._openings = 0
        self._may_emit = self.card_ready = False
        self._models: dict[RoleName, str] = {}
        self._news = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._running: Job | None = None
        self._is_emergency = False
        self._ids = 0
        self._read_s = float("-inf")
        self._attended_s = time.monotonic()

    # -- from any thread -------------------------------------------------------------------

    @property
    def is_aligning(self) -> bool:
        """Whether light is counted live."""
        return self.aligner is not None and self.aligner.is_aligning

    @property
    def job(self) -> Job | None:
        """What is being done, or is next."""
        with self._news:
            return self._running or (self._jobs[0] if self._jobs else None)

    def awaited_controls(self, patience_s: float) -> Controls | None:
        """The run that goes on; one that is just beginning is waited for."""
        with self._news:
            self._news.wait_for(
                lambda: (
                    self.controls is not None
                    or not any(job.kind in RUNS for job in (self._running, *self._jobs) if job)
                ),
                patience_s,
            )
            return self.controls

    def put(self, kind: str, words: str, act: Act, *, urgent: bool = False) -> Job:
        """Have something done.

        Parameters
        ----------
        kind : str
            The command.
        words : str
            What it does, for people.
        act : callable
            Does it, in the thread of the instrument.
        urgent : bool
            It takes the place of what is being done by hand and of what waits.

        Raises
        ------
        InputError
            If something else is being done that it cannot wait for, or take the place of.
        """
        with self._news:
            self._check_free(kind, urgent)
            why = f"given up for: {words}"
            given_up = self._give_up(why, counting=False) if urgent else []
            if kind in ENDS_ALIGNING and self._running is None:
                self.steering.interrupt(why)  # a long dwell too
            self._ids += 1
            job = Job(self._ids, kind, words, act)
            self._jobs.append(job)
            self._news.notify_all()
        self._tell_given_up(given_up, why)
        return job

    def _check_free(self, kind: str, urgent: bool) -> None:
        if self.is_ending:
            raise InputError(kind, "the station is ending")
        if self._is_emergency:
            raise InputError(kind, "the light is being blocked", "ask again when that is done")
        at_work = ([self._running] if self._running else []) + list(self._jobs)
        if not at_work:
            return
        kinds = {job.kind for job in at_work}
        if urgent and not kinds & (RUNS | FIXED):
            return
        if kind in QUICK and kinds <= QUICK and len(at_work) < MOST_WAITING:
            return
        busy = at_work[0]
        how = "wait for its end, or stop it" if busy.kind in RUNS else "wait for its end"
        raise InputError(kind, f"it goes on: {busy.words}", how)

    def _give_up(self, why: str, *, counting: bool = True) -> list[Job]:
        """Interrupt what is being done and forget what waits; the caller holds the lock."""
        given_up = list(self._jobs)
        self._jobs.clear()
        running = self._running
        if counting if running is None else running.kind not in RUNS | FIXED:
            self.steering.interrupt(why)
        return given_up

    def _tell_given_up(self, jobs: list[Job], why: str) -> None:
        for job in jobs:
            self._tell_end(job, False, why, None)

    def emergency(self) -> SafeState | None:
        """Block the light at once, in the thread that calls; the rest follows by itself.

        Returns
        -------
        SafeState or None
            What was read back; None if nothing is connected, or a run has the light.
        """
        why = "given up for an emergency"
        with self._news:
            if self._raw is None and self.controls is None and self._running is None:
                return None  # nothing is open
            self._is_emergency = True
            given_up = self._give_up(why)
            light, controls = self._light, self.controls
        if controls is not None:
            controls.emergency("asked for over the channel")
        state = None if light is None else light.put_out()
        with self._news:
            self._ids += 1
            words = "blocking the light, reading it back"
            self._jobs.appendleft(Job(self._ids, "emergency", words, self._after_emergency))
            self._news.notify_all()
        self._tell_given_up(given_up, why)
        return state

    def end(self, why: str) -> None:
        """Have everything end, in the dark; from any thread or a signal handler's."""
        with self._news:
            if self.is_ending:
                return
            self.is_ending, self.ended_because = True, why
            given_up = self._give_up(why)
            controls = self.controls
            self._news.notify_all()
        if controls is not None:
            controls.abort(why)
        self._tell_given_up(given_up, why)

    # -- the thread of the instrument ------------------------------------------------------

    def work(self) -> None:
        """Do one job after another until the end; light is off and read back on every way out."""
        try:
            while True:
                job = self._next_job()
                if job is not None:
                    self._carry_out(job)
                elif self.is_ending:
                    return
                else:
                    self._round()
        finally:
            self.let_go()

    def _next_job(self) -> Job | None:
        with self._news:
            if self._jobs:
                self.steering.clear()
                self._running = self._jobs.popleft()
                return self._running
            return None

    def _carry_out(self, job: Job) -> None:
        self._front.publish({"event": "job-started", "job": job.to_dict()})
        self._front.changed()
        ok, result, is_given_up = False, None, False
        try:
            if job.kind not in RUNS | FIXED:
                self._watch_over(True)
            message, result = job.act()
            ok = True
        except Interrupted as error:
            message, is_given_up = str(error), True
        except (InputError, DeviceError, OSError, DetectorTooBrightError) as error:
            message = sentence(error)
        except Exception as error:  # noqa: BLE001 - a defect ends the job, in the dark
            message = f"{job.kind} failed: {type(error).__name__}: {error}"
            if self.instrument is not None:
                message += f" ({self.darken()})"
        with self._news:
            self._running = self.progress = None
            self.steering.clear()
        self._attended_s = time.monotonic()
        self._tell_end(job, ok, message, result)
        if not (ok or is_given_up):
            self._front.tell(Notice("error", f"job-{job.kind}", message))
        self._read_s = float("-inf")
        self._front.changed()

    def _show(self, news: Mapping[str, Any]) -> None:
        """Tell what aligning shows, and how far that brings a search."""
        self._front.publish(news)
        job, progress = self._running, self.progress
        found = None if job is None or progress is None else progress.take(news)
        if job is not None and found is not None:
            share, words = found
            self._front.publish({
                "event": "job-progress", "job": job.to_dict(), "share": share, "words": words,
            })  # fmt: skip

    def _tell_end(self, job: Job, ok: bool, message: str, result: dict[str, Any] | None) -> None:
        self._front.publish({
            "event": "job-ended", "job": job.to_dict(), "ok": ok, "message": message,
            "result": result,
        })  # fmt: skip

    # -- rounds without a job --------------------------------------------------------------

    def _round(self) -> None:
        try:
            if self.is_aligning:
                self._count()
            else:
                self._let_time_pass()
            self._sign()
            self._look_after()
        except Interrupted:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not come again at once
            words = sentence(error) if isinstance(error, DeviceError) else repr(error)
            self.let_go()
            self._front.tell(Notice("error", "station", f"{words}; every device was let go"))
            self._front.changed()

    def _let_time_pass(self) -> None:
        """Wait for a job; simulated time, which passes only by waiting, passes too."""
        instrument = self.instrument
        # how long a simulated second takes; it takes none where no speed is named
        pace = 1.0 if instrument is None else getattr(instrument.clock, "real_s_per_s", 1.0)
        if instrument is None or instrument.bench is None or pace == 0:
            self._await_job(ROUND_S)
            if pace == 0 and instrument is not None:
                instrument.clock.wait(ROUND_S)
        else:
            instrument.clock.wait(ROUND_S / pace)

    def _await_job(self, seconds: float) -> None:
        with self._news:
            if not (self._jobs or self.is_ending):
                self._news.wait(seconds)

    def _count(self) -> None:
        """Count once in the light, and be ready for what is asked between two dwells."""
        assert self.aligner is not None
        began_s = time.monotonic()
        try:
            self.aligner.count_once()
        except (DeviceError, OSError, DetectorTooBrightError) as error:
            words = f"counting live ended: {sentence(error)} ({self.darken()})"
            self._front.tell(Notice("error", "aligning", words))
            self._front.changed()
            return
        self._await_job(max(began_s + ROUND_S - time.monotonic(), 0.0))

    def _read(self) -> None:
        """Read every device back and tell."""
        self._read_s = time.monotonic()
        instrument = self.instrument
        if instrument is None:
            closed = not_open(self.profile)
            news: dict[str, Any] = {"device_s": None, "devices": closed, "values": {}}
        else:
            found = read_back(instrument, self.card_ready, self._models)
            news = {"device_s": instrument.clock.now_s(), **found}
            self._may_emit = news["values"].get("emission") is not False
            self._watch_over(self._may_emit or self.is_aligning)
        self._front.publish({"event": "readings", **news})

    def busy_readings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The readings event while a run has the devices: what it told of them."""
        devices = not_open(self.profile)
        for role in ROLE_NAMES:
            if devices[role]["state"] == "closed":
                devices[role] |= {"state": "busy", "model": self._models.get(role)}
        known = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in values.items()
        }
        return {"event": "readings", "device_s": None, "devices": devices, "values": known}

    def _look_after(self) -> None:
        """What is nobody's business any more ends."""
        if self._front.has_clients:
            self._attended_s = time.monotonic()
        alone_s = time.monotonic() - self._attended_s
        is_lit = self.instrument is not None and (self._may_emit or self.is_aligning)
        if is_lit and alone_s > self._unattended_s:
            words = (
                f"nobody has been there for {self._unattended_s:g} s, so the light was switched "
                f"off: {self.darken()}"
            )
            self._front.tell(Notice("warning", "unattended", words))
            self._read()
            self._front.changed()
        if self._linger_s is not None and alone_s > self._linger_s:
            self.end(f"nobody has been there for {self._linger_s:g} s and nothing was to be done")

    # -- the instrument --------------------------------------------------------------------

    def need(self) -> Instrument:
        """The open instrument.

        Raises
        ------
        InputError
            If it is not connected.
        """
        if self.instrument is None:
            raise InputError(self.profile.name, "the instrument is not connected", "connect it")
        return self.instrument

    @property
    def hand(self) -> Aligner:
        """What aligns, and waits for what is done by hand.

        Raises
        ------
        InputError
            If the instrument is not connected.
        """
        self.need()
        assert self.aligner is not None
        return self.aligner

    def connect(self) -> Instrument:
        """Open the instrument, if it is not open."""
        if self.instrument is None:
            self.take_back(self.open(self.profile))
            self._models = identify(self.need())
            self.card_ready = False
        return self.need()

    def open(self, profile: InstrumentProfile) -> Instrument:
        """Open the instrument of a profile; a simulation never draws the same photons again."""
        settings = profile.simulation
        fresh = settings.model_copy(update={"seed": settings.seed + self._openings})
        self._openings += 1
        return self._opener(profile.model_copy(update={"simulation": fresh}))

    def _take(self, instrument: Instrument) -> None:
        light = Light(instrument)
        self.aligner = Aligner(light.instrument, self.steering, self._show)
        with self._news:
            self._raw, self._light, self.instrument = instrument, light, light.instrument

    def let_go(self) -> SafeState | None:
        """Close every device, in the dark; None if none is open."""
        raw = self._part()
        if raw is None:
            return None
        state = raw.close()
        self._front.made_safe(state)
        if not state.verified:
            self._front.tell(Notice("error", "safe-state", str(state)))
        self._release(is_lit=not state.verified)
        return state

    def hand_over(self) -> Instrument | None:
        """Give the open instrument, dark, to a run that will close it; None if none is open."""
        raw = self._part()
        self._release()
        return raw

    def _part(self) -> Instrument | None:
        """Part with the open instrument, dark."""
        if self._raw is not None:
            with suppress(Exception):  # whoever gets the devices makes them safe once more
                self.darken()
        with self._news:
            raw, self._raw, self._light, self.instrument = self._raw, None, None, None
            self.aligner = None
        return raw

    @contextmanager
    def lent(self) -> Iterator[Instrument]:
        """The open instrument for a run, dark, and without its doors: each run has its own."""
        self.connect()
        self.darken()
        self._release()
        with self._news:
            raw, self._light = self._raw, None
        assert raw is not None
        try:
            yield raw
        finally:
            self.take_back(raw)

    def take_back(self, instrument: Instrument) -> None:
        """Have an instrument that is open, watched over."""
        self._take(instrument)
        try:
            self._guard()
        except DeviceError:
            self.let_go()  # light outside a run does not go unwatched
            raise

    @contextmanager
    def obeying(self, controls: Controls) -> Iterator[None]:
        """Requests reach a run; one to end that came just before it is not lost."""
        with self._news:
            self.controls = controls
            self._news.notify_all()
            is_emergency, is_ending = self._is_emergency, self.is_ending
        if is_emergency or is_ending:
            controls.abort("an emergency" if is_emergency else self.ended_because)
        self._front.changed()
        try:
            yield
        finally:
            with self._news:
                self.controls = None

    def recentre(self, x_um: float | None, y_um: float | None) -> tuple[float, float]:
        """Make a place the zero of the map, for what is measured from now on.

        Returns
        -------
        tuple of float
            Reading of the detector stage there, image plane.
        """
        moved = recentred(self.need(), x_um, y_um)
        stage = moved.profile.detector_stage
        self.profile = self.profile.model_copy(update={"detector_stage": stage})
        assert self._raw is not None and self._light is not None
        with self._news:
            self._raw = replace(self._raw, profile=moved.profile)
            self.instrument = self._light.instrument = moved
        self.hand.recentre(moved)
        return stage.x.zero_um, stage.y.zero_um

    def darken(self) -> SafeState:
        """End aligning, block all light, stop all motion, and read back."""
        self.steering.clear()
        with suppress(DeviceError):  # a watchdog that is lost is told at the next sign
            self._watch_over(True, ends=True)
        state = self.hand.end()
        self._may_emit = state.laser_off is not True
        self._watch_over(self._may_emit)
        self._front.made_safe(state)
        if not state.verified:
            self._front.tell(Notice("error", "safe-state", str(state)))
        return state

    def _after_emergency(self) -> tuple[str, dict[str, Any] | None]:
        state = None
        try:
            if self._raw is not None:
                state = self.darken()
                self._take(self._raw)  # from now on whoever asks for light gets it
        finally:
            with self._news:
                self._is_emergency = False
        if state is None:
            return "the instrument is not connected; nothing was asked of it", None
        return f"emergency: {state}", {
            "laser_off": state.laser_off, "shutter_closed": state.shutter_closed,
        }  # fmt: skip

    def doctor(self) -> tuple[str, dict[str, Any]]:
        """Look at every device; those that are not open are opened for it, one by one."""
        opened: dict[RoleName, Any] = {}
        roles = [role for role in ROLE_NAMES if getattr(self.profile, role) is not None]
        if self.instrument is not None:
            devices = self.instrument.devices()
            rows = [examine(self.profile, role, devices.__getitem__, opened) for role in roles]
        else:
            opener = Opener(self.profile, simulated=self.simulated)
            try:
                rows = [examine(self.profile, role, opener.open, opened) for role in roles]
            finally:
                state = let_go(opened)
                opener.close()
            if "laser" in opened and not state.verified:
                self._front.tell(Notice("error", "safe-state", str(state)))
        failed = [row["role"] for row in rows if row["error"] is not None]
        message = f"{', '.join(failed)} failed" if failed else f"all {len(rows)} devices answer"
        absent = [role for role in ROLE_NAMES if role not in roles]
        return message, {"rows": rows, "none": absent}

    # -- the watchdog over light outside a run ---------------------------------------------

    def _guard(self) -> None:
        """Have the watchdog watch over light outside a run."""
        dog = Watchdog(self.profile, self._watchdog_log, self._front.tell, simulated=self.simulated)
        self._dog = dog.__enter__()

    def _release(self, *, is_lit: bool = False) -> None:
        """Let the watchdog go."""
        dog, self._dog = self._dog, None
        if dog is not None:
            try:
                dog.watch_light(is_lit)
            finally:
                dog.__exit__()

    def _watch_over(self, is_lit: bool, *, ends: bool = False) -> None:
        if self._dog is not None:
            self._dog.watch_light(is_lit, ends=ends)

    def _sign(self) -> None:
        """Called in every round, and at every look while something is waited for."""
        if self._dog is not None:
            self._dog.tick()
        # also in a long dwell; but what is done by hand, or searched for, is not held up
        if self._running is None and time.monotonic() - self._read_s >= READ_S:
            self._read()


__all__ = ["RUNS", "Act", "Front", "Interrupted", "Job", "Owner"]
