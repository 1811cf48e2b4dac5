"""The station: the host that owns an instrument between runs, and carries runs out."""

import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import tomli_w

from tplm_config import InputError, InstrumentProfile, check, parse_plan, parse_series
from tplm_daq.control import Controls
from tplm_daq.events import (
    Ending,
    Event,
    Notice,
    Observer,
    Rates,
    RunEnded,
    RunState,
    StateChanged,
    VisitMeasured,
    VisitStarted,
    to_json,
)
from tplm_daq.host.channel import Refused
from tplm_daq.host.entries import runtime_folder, write_entry
from tplm_daq.host.host import OBEY_S, Host, requests
from tplm_daq.host.status import Status, StatusBoard
from tplm_daq.runner import RunOutcome, sentence
from tplm_daq.series import Series, SeriesOutcome
from tplm_daq.station import manual
from tplm_daq.station.asked import ARGUMENTS, read_arguments
from tplm_daq.station.owner import RUNS, Act, Owner
from tplm_daq.station.progress import Progress
from tplm_daq.station.readings import Heard
from tplm_daq.station.record import Record
from tplm_daq.station.runs import Runs
from tplm_daq.wall import utc_now
from tplm_drivers import DeviceError, Instrument, SafeState, connect
from tplm_drivers.roles import ROLE_NAMES

if TYPE_CHECKING:
    from tplm_analysis import MapSoFar
    from tplm_daq.training import Lesson

LONGEST = 1 << 20
"""Bytes of a command."""
IDLE_S = 3600.0
"""How long a silent connection is kept."""
STATUS_EVERY_S = 0.5
"""Least time between two statuses, or two readings, that are told while a run goes on."""
UNATTENDED_S = 60.0
HUNG_S = 60.0
"""How long the thread of the instrument may take to end everything."""
REQUESTS = ("pause", "continue", "stop", "abort", "emergency")
NO_RUN = "no run goes on"


class Station(Host):
    """Owns an instrument, and does what clients ask: connect, align, scan, series.

    A context manager that serves in threads of its own. On every way out the laser is off, and
    read back.

    Parameters
    ----------
    profile : InstrumentProfile
        Of the instrument.
    simulated : bool
        Connect the profile's own drivers to simulators of their instruments.
    connected : bool
        Connect at once.
    opener : callable, optional
        How to open the instrument of a profile; `tplm_drivers.connect` if not given.
    unattended_s : float
        How long light outside a run stays on when the last client has gone.
    linger_s : float, optional
        How long there may be no client and nothing to do before it ends; None: for ever.
    lesson : Lesson, optional
        What a trainee is to find; its profile is the one given.
    """

    def __init__(
        self,
        profile: InstrumentProfile,
        *,
        simulated: bool = False,
        connected: bool = False,
        opener: Callable[[InstrumentProfile], Instrument] | None = None,
        unattended_s: float = UNATTENDED_S,
        linger_s: float | None = None,
        lesson: "Lesson | None" = None,
    ) -> None:
        name = f"station-{os.getpid()}-{time.time_ns() // 1_000_000}"
        self.record = Record(runtime_folder() / "logs", name)
        super().__init__(None, "", doing="station", tell=self._log, idle_s=IDLE_S, longest=LONGEST)
        self.board = _idle_board(())
        self._owner = Owner(
            profile, self, opener or (lambda found: connect(found, simulated=simulated)),
            simulated=simulated, unattended_s=unattended_s, linger_s=linger_s,
            watchdog_log=self.record.path.with_suffix(".h5"),
        )  # fmt: skip
        self._runs = Runs(self._owner, self._showing)
        self._connected = connected
        self._lesson = lesson
        self._lesson_began = utc_now()
        self._last: dict[str, Any] | None = None
        self._told_s = float("-inf")
        self._heard = Heard(profile)
        self._thread = threading.Thread(target=self._work, name="instrument", daemon=True)
        drivers = {getattr(profile, role).driver.name for role in ROLE_NAMES
                   if getattr(profile, role) is not None}  # fmt: skip
        self._is_wired = simulated and drivers != {"simulated"}
        self._is_simulated = simulated or drivers == {"simulated"}
        self._ask: dict[str, Callable[[Any], tuple[str, Any]]] = {
            "connect": lambda _: self._put("connect", "connecting every device", self._connect),
            "disconnect": lambda _: self._put("disconnect", "letting go of every device",
                                              self._disconnect),
            "doctor": lambda _: self._put("doctor", "looking at every device", self._owner.doctor),
            "set": self._set,
            "move": self._move,
            "halt": self._halt,
            "align": self._align,
            "dark": self._dark,
            "cross": lambda asked: self._search("cross", "measuring a cross", asked),
            "raster": lambda asked: self._search("raster", "measuring an image", asked),
            "find": lambda asked: self._search("find", "finding the peak", asked),
            "centre": self._centre,
            "focus": lambda asked: self._search("focus", "finding the focus", asked),
            "irf": lambda asked: self._search("irf", "measuring the response", asked),
            "background": lambda asked: self._search("background", "measuring the background",
                                                     asked),
            "scan": self._scan,
            "series": self._series,
            "resume": self._resume,
            "reorder": self._reorder,
            "judge": self._judge,
            "quit": self._quit,
        }  # fmt: skip

    # -- beginning and end -----------------------------------------------------------------

    def __enter__(self) -> Self:
        super().__enter__()
        if self.entry is not None:
            self._write_entry("station", self._name)
        if self._connected:
            self._put("connect", "connecting every device", self._connect)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end("the station was closed")
        has_ended = self.wait(HUNG_S)
        if not has_ended:
            self._owner.emergency()
        super().__exit__(kind, error, trace)
        if not has_ended:
            raise DeviceError(
                "station", f"a device has not answered for {HUNG_S:g} s; not all could be let go",
                "see that the laser is off; the watchdog, if there is one, blocks it now",
            ) from error  # fmt: skip

    @property
    def is_ending(self) -> bool:
        """Whether it ends, or has ended."""
        return self._owner.is_ending

    @property
    def ended_because(self) -> str:
        """Why it ends; empty while it does not."""
        return self._owner.ended_because

    def end(self, why: str) -> None:
        """Have everything end, in the dark; from any thread or a signal's handler."""
        self._owner.end(why)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the thread of the instrument has ended; gives whether it has."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            self._owner.work()
        except Exception as error:  # noqa: BLE001 - a defect; everything is safe by now
            words = f"the station ends by a defect: {type(error).__name__}: {error}"
            self.end(words)
            self.tell(Notice("error", "station", words))
            self.record.write({"event": "defect", "trace": traceback.format_exc()})

    @property
    def _name(self) -> str:
        return f"station '{self._owner.profile.name}'"

    # -- what the owner tells, in the thread of the instrument ------------------------------

    @property
    def has_clients(self) -> bool:
        """Whether anybody is there."""
        return self._channel is not None and self._channel.has_clients

    def tell(self, event: Event) -> None:
        """Take an event: the status, the log, every subscriber."""
        self._log(event)
        self(event)

    def publish(self, news: Mapping[str, Any]) -> None:
        """Tell every subscriber; jobs are logged too."""
        if news["event"] in ("job-started", "job-ended"):
            self.record.write(dict(news))
        if self._channel is not None:
            self._channel.publish(news)

    def changed(self) -> None:
        """Tell every subscriber the status."""
        if self._owner.controls is None:
            self.board.request(None)
        self._told_s = time.monotonic()
        if self._channel is not None and self._channel.has_listeners:
            self._channel.publish({"event": "status", "status": self.snapshot()})

    def made_safe(self, state: SafeState) -> None:
        """Keep what was read back."""
        self.board.safe(state)

    def _log(self, event: Event) -> None:
        small = isinstance(event, VisitMeasured | VisitStarted | Rates)
        if not (small or (isinstance(event, StateChanged) and not event.why)):
            self.record.write(to_json(event))

    def _during_a_run(self, event: Event) -> None:
        """Take an event of a run, with the read-backs it brings, and the status now and then."""
        self.tell(event)
        is_due = self._heard.take(event)
        if isinstance(event, RunEnded):
            self.changed()
        now_s = time.monotonic()
        if now_s - self._told_s >= STATUS_EVERY_S:
            self.changed()
            is_due = True
        if is_due:
            self.publish(self._owner.busy_readings(self._heard.values))

    @contextmanager
    def _showing(
        self,
        kind: str,
        path: Path,
        plan: str,
        controls: Controls,
        fit: "Callable[[], MapSoFar | None]",
        clock: Callable[[], float],
    ) -> Iterator[Observer]:
        """Show a run for as long as it goes on."""
        before = self.board.status
        path = path.resolve()
        status = Status(
            kind,
            plan,
            str(path),
            requested=before.requested,
            messages=before.messages,
            refused=before.refused,
        )
        self.board = StatusBoard(status, fit, clock)
        self._write_entry(kind, str(path))
        self._heard = Heard(self._owner.profile)
        self.changed()
        try:
            yield self._during_a_run
        finally:
            ended = self.board.status
            self._last = {"kind": kind, "path": str(path), "ending": ended.ending}
            self.board = _idle_board(ended.messages, ended.refused)
            if ended.safe_state is not None:
                self.board.safe(ended.safe_state)
            self._write_entry("station", self._name)
            self.changed()

    def _write_entry(self, doing: str, path: str) -> None:
        if self.entry is not None:
            self.entry = replace(self.entry, doing=doing, path=path)
            with suppress(OSError):  # it is only what others see of it in a list
                write_entry(self.entry)

    # -- the status ------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """The status, with the part of the station."""
        owner, lesson = self._owner, self._lesson
        job = owner.job
        simulation = owner.profile.simulation
        part = {
            "profile": owner.profile.name,
            "profile_toml": _without_truth(owner.profile),
            "simulated": self._is_simulated,
            "wired": self._is_wired,
            "speed": simulation.speed if self._is_simulated else None,
            "connected": owner.instrument is not None or owner.controls is not None,
            "aligning": owner.is_aligning,
            "job": None if job is None else job.to_dict(),
            "folder": str(Path.cwd()),
            "log": str(self.record.path),
            "lesson": None
            if lesson is None
            else {
                "id": lesson.id,
                "title": lesson.title,
                "task": lesson.task,
                "started": self._lesson_began,
            },
            "last": self._last,
        }
        return {**self.board.snapshot(), "station": part}

    # -- commands, in the channel's thread --------------------------------------------------

    def _answer(self, command: str, arguments: dict[str, Any] | None) -> dict[str, Any]:
        if command in ("status", "subscribe"):
            return {"ok": True, "status": self.snapshot()}
        if command in REQUESTS:
            return self._request(command)
        if command not in ARGUMENTS:
            there_are = ", ".join(["status", "subscribe", *REQUESTS, *ARGUMENTS])
            raise Refused(f"there are: {there_are}")
        try:
            message, result = self._ask[command](read_arguments(command, arguments))
        except (InputError, OSError) as error:
            return {"ok": False, "error": sentence(error), "status": self.snapshot()}
        return {"ok": True, "message": message, "result": result, "status": self.snapshot()}

    def _request(self, command: str) -> dict[str, Any]:
        """Pause, continue, stop, abort, emergency: of a run, or of what is done by hand."""
        owner = self._owner
        is_urgent = command == "emergency"
        controls = owner.controls if is_urgent else owner.awaited_controls(OBEY_S)
        if controls is not None and not is_urgent:
            self._actions = requests(controls)
            return super()._answer(command, None)
        failure: str | None = None
        if is_urgent:
            is_run = controls is not None
            if is_run:
                self.board.request(command)
            self._say("warning", "asked over the channel to block the laser")
            states: list[SafeState | None] = []
            failure = self._obey(
                command, lambda: states.append(self._tell_emergency(owner.emergency()))
            )
            if states and states[0] is not None and not states[0].verified:
                failure = str(states[0])  # nobody is told that it is dark who cannot know it
            then = "then the run ends" if is_run else "what reads back is told"
            message = f"the laser is blocked before anything else; {then}"
            if owner.instrument is None and not is_run:
                message = "the instrument is not connected; nothing was asked of it"
        elif command in ("stop", "abort") and (owner.is_aligning or owner.job is not None):
            try:
                message, _ = self._dark(None)
            except InputError as error:
                failure = str(error)
        else:
            failure = NO_RUN
        if failure is not None:
            return {"ok": False, "error": failure, "status": self.snapshot()}
        return {"ok": True, "message": message, "status": self.snapshot()}

    def _tell_emergency(self, state: SafeState | None) -> SafeState | None:
        if state is not None:
            words = f"emergency: {state}"
            self.tell(Notice("info" if state.verified else "error", "emergency", words))
        return state

    def _put(
        self, kind: str, words: str, act: Act, *, urgent: bool = False
    ) -> tuple[str, dict[str, Any]]:
        job = self._owner.put(kind, words, act, urgent=urgent)
        return f"asked: {words}", {"job": job.to_dict()}

    def _connect(self) -> tuple[str, None]:
        instrument = self._owner.connect()
        return f"{len(instrument.devices())} devices of '{instrument.profile.name}' are open", None

    def _disconnect(self) -> tuple[str, dict[str, Any] | None]:
        state = self._owner.let_go()
        return ("nothing was open", None) if state is None else (str(state), _safe(state))

    def _set(self, asked: Any) -> tuple[str, Any]:
        owner = self._owner
        owner.need()

        def act() -> tuple[str, None]:
            self.board.safe(None)
            by_hand = manual.Manual(owner.need(), owner.hand.handling)
            return by_hand.set(asked.what, asked.value), None

        return self._put("set", asked.words, act)

    def _move(self, asked: Any) -> tuple[str, Any]:
        owner = self._owner
        owner.need()

        def act() -> tuple[str, None]:
            return manual.Manual(owner.need(), owner.hand.handling).move(asked), None

        return self._put("move", f"moving the {asked.stage} stage", act)

    def _halt(self, _: Any) -> tuple[str, Any]:
        owner = self._owner
        owner.need()
        return self._put(
            "halt", "stopping all motion", lambda: (manual.halt(owner.need()), None), urgent=True
        )

    def _align(self, asked: Any) -> tuple[str, Any]:
        owner = self._owner
        owner.need()

        def act() -> tuple[str, dict[str, Any]]:
            self.board.safe(None)
            owner.card_ready = True
            found = owner.hand.begin(asked)
            return found.words, dict(found.values)

        return self._put("align", "making light to align", act)

    def _dark(self, _: Any) -> tuple[str, Any]:
        owner = self._owner
        owner.need()

        def act() -> tuple[str, dict[str, Any]]:
            state = owner.darken()
            return str(state), _safe(state)

        return self._put("dark", "blocking the light", act, urgent=True)

    def _search(self, kind: str, words: str, asked: Any) -> tuple[str, Any]:
        owner = self._owner
        if not owner.is_aligning:
            owner.need()
            raise InputError(kind, "the card is not set up and the light is off", "align first")

        def act() -> tuple[str, dict[str, Any]]:
            owner.progress = Progress(kind, asked)
            found = getattr(owner.hand, kind)(asked)
            return found.words, dict(found.values)

        return self._put(kind, words, act)

    def _centre(self, asked: Any) -> tuple[str, Any]:
        owner = self._owner
        owner.need()

        def act() -> tuple[str, dict[str, Any]]:
            x_um, y_um = owner.recentre(asked.x_um, asked.y_um)
            message = (
                f"the zero of the map is where the detector stage reads ({x_um:.1f}, {y_um:.1f}) "
                "µm; to keep it, write it into the profile"
            )
            return message, {"zero_x_um": x_um, "zero_y_um": y_um}

        return self._put("centre", "setting the zero of the map", act)

    # -- runs ------------------------------------------------------------------------------

    def _scan(self, asked: Any) -> tuple[str, Any]:
        plan, out = parse_plan(asked.plan, "plan"), Path(asked.out)
        check(plan, self._owner.profile, "plan")
        if out.exists():
            raise InputError(out, "there is such a file already", "choose another name")
        return self._put(
            "scan", f"scanning into {out}",
            lambda: self._ended(self._runs.scan(plan, out, asked.watchdog), out),
        )  # fmt: skip

    def _series(self, asked: Any) -> tuple[str, Any]:
        plan, out = parse_series(asked.plan, "plan"), Path(asked.out)
        return self._put(
            "series", f"measuring the series in {out}",
            lambda: self._ended(self._runs.series(plan, out, asked.watchdog), out),
        )  # fmt: skip

    def _resume(self, asked: Any) -> tuple[str, Any]:
        path = Path(asked.path)
        if not path.exists():
            raise InputError(path, "there is no such file or folder")
        plan = None if asked.plan is None else parse_series(asked.plan, "plan")
        if plan is not None and not path.is_dir():
            raise InputError(path, "a scan goes on by the plan in its file", "leave the plan out")

        def go_on() -> RunOutcome | SeriesOutcome | str:
            if path.is_dir():
                return self._runs.resume_series(path, asked.watchdog, plan)
            return self._runs.resume_scan(path, asked.watchdog)

        return self._put(
            "resume", f"going on with {path}", lambda: self._ended(go_on(), path)
        )  # fmt: skip

    def _ended(
        self, outcome: RunOutcome | SeriesOutcome | str, path: Path
    ) -> tuple[str, dict[str, Any]]:
        """What a run came to; one that failed fails its job."""
        self._owner.card_ready = True
        if isinstance(outcome, str):
            self._last = {
                "kind": "scan", "path": str(path.resolve()), "ending": Ending.COMPLETED,
            }  # fmt: skip
            return outcome, {"ending": Ending.COMPLETED, "path": str(path.resolve())}
        words = f"{outcome.ending}: {outcome.message}"
        if outcome.ending is Ending.FAILED:
            raise InputError(path, words, f"what was measured is kept; resume {path}")
        return words, {"ending": outcome.ending, "path": str(path.resolve())}

    def _reorder(self, asked: Any) -> tuple[str, Any]:
        series = self._owner.controls
        if not isinstance(series, Series):
            raise InputError("reorder", "no series goes on")
        order = series.reorder(asked.order)
        return "the points that have not begun are measured in this order", {"order": list(order)}

    # -- the rest --------------------------------------------------------------------------

    def _judge(self, asked: Any) -> tuple[str, Any]:
        lesson = self._lesson
        if lesson is None:
            raise InputError("judge", "no lesson goes on", "begin one in Training")
        verdict = lesson.judge(asked.found, asked.d_found, asked.d_stderr)
        self._lesson = None
        self.changed()
        return verdict.words, verdict.to_dict()

    def _quit(self, _: Any) -> tuple[str, Any]:
        job = self._owner.job
        if self._owner.controls is not None or (job is not None and job.kind in RUNS):
            raise InputError("quit", "a run goes on", "stop it first")
        self.end("asked over the channel to end")
        return "the light is switched off, every device let go, and the station ends", None


def _idle_board(messages: tuple[Any, ...], refused: int = 0) -> StatusBoard:
    status = Status("station", "", "", RunState.IDLE, messages=messages, refused=refused)
    return StatusBoard(status)


def _without_truth(profile: InstrumentProfile) -> str:
    """A profile as TOML, without what is true of a simulated sample."""
    return tomli_w.dumps(profile.model_dump(mode="json", exclude_none=True, exclude={"simulation"}))


def _safe(state: SafeState) -> dict[str, Any]:
    return {"laser_off": state.laser_off, "shutter_closed": state.shutter_closed}


__all__ = ["Station"]
