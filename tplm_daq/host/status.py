"""What a run is doing at this moment, kept from its events."""

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tplm_config import Visit
from tplm_daq.events import (
    Decided,
    Ending,
    Event,
    Notice,
    PointEnded,
    PointStarted,
    Rates,
    RunEnded,
    RunStarted,
    RunState,
    SeriesEnded,
    SeriesStarted,
    StateChanged,
    TimeShared,
    VisitStarted,
    VisitStored,
)
from tplm_daq.wall import utc_now
from tplm_drivers import SafeState

if TYPE_CHECKING:  # it takes a second to load, and `tplm emergency` must not wait
    from tplm_analysis import MapSoFar

MESSAGES = 20
"""How many of the last messages are kept."""
LONGEST_MESSAGE = 500


@dataclass(frozen=True, slots=True)
class Message:
    """Something worth a sentence, and when it was said."""

    at: str
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Status:
    """A run at one moment; `StatusBoard.snapshot` has the same with times and D as plain values.

    Attributes
    ----------
    doing : str
        ``scan`` or ``series``; ``station`` where none goes on.
    plan : str
        Kind of plan.
    path : str
        The file or folder written; empty where there is none.
    state, why
        What the run does, and the reason if it gave one.
    requested : str or None
        Pause, stop, abort or emergency, from when it was asked for over the channel.
    visits_done, visits_planned
        Of this scan.
    points_done, points_planned
        Of the series; None where there is none.
    point, visit, rates
        The newest.
    ending, ended_because
        None and empty while it runs.
    safe_state : SafeState or None
        What was read back when the last scan ended, or everything was made safe outside one.
    refused : int
        Commands that changed nothing.
    messages : tuple of Message
        The last ones, oldest first.
    """

    doing: str
    plan: str
    path: str
    state: RunState = RunState.IDLE
    why: str = ""
    requested: str | None = None
    visits_done: int = 0
    visits_planned: int | None = None
    points_done: int | None = None
    points_planned: int | None = None
    point: PointStarted | None = None
    visit: Visit | None = None
    rates: Rates | None = None
    ending: Ending | None = None
    ended_because: str = ""
    safe_state: SafeState | None = None
    refused: int = 0
    messages: tuple[Message, ...] = ()


class StatusBoard:
    """An observer that keeps the newest status; any thread may read it.

    Parameters
    ----------
    status : Status
        Where it begins.
    fit : callable
        Gives the newest fit, or None.
    clock : callable
        Time of the instrument, s.
    """

    def __init__(
        self,
        status: Status,
        fit: "Callable[[], MapSoFar | None]" = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._status = status
        self._fit = fit
        self._lock = threading.Lock()
        self._time = _TimeLeft(clock)

    @property
    def status(self) -> Status:
        """The newest status."""
        return self._status

    def __call__(self, event: Event) -> None:
        """Take in what happened."""
        with self._lock:
            self._time(event)
            self._status = _after(self._status, event)

    def note(self, level: str, text: str) -> None:
        """Add a message."""
        with self._lock:
            self._status = replace(self._status, messages=_said(self._status, level, text))

    def request(self, command: str | None) -> None:
        """Keep what was asked for over the channel."""
        with self._lock:
            self._status = replace(self._status, requested=command)

    def safe(self, state: SafeState | None) -> None:
        """Keep what was read back when everything was made safe outside a run, until it is not."""
        with self._lock:
            self._status = replace(self._status, safe_state=state)

    def refuse(self) -> None:
        """Count a command that changed nothing."""
        with self._lock:
            self._status = replace(self._status, refused=self._status.refused + 1)

    def snapshot(self) -> dict[str, Any]:
        """Everything as plain values for JSON; unknown is None."""
        with self._lock:
            now = self._status
            elapsed_s, left_s = self._time.elapsed_and_left_s(now)
        fit, visit, rates, safe = self._fit(), now.visit, now.rates, now.safe_state
        point = now.point
        return {
            "doing": now.doing,
            "plan": now.plan,
            "path": now.path,
            "state": now.state,
            "why": now.why,
            "requested": now.requested,
            "visits_done": now.visits_done,
            "visits_planned": now.visits_planned,
            "points_done": now.points_done,
            "points_planned": now.points_planned,
            "point": None
            if point is None
            else {"index": point.index, "label": point.label, "attempt": point.attempt},
            "visit": None
            if visit is None
            else {
                "index": visit.index,
                "kind": visit.kind,
                "pass_index": visit.pass_index,
                "x_um": visit.x_um,
                "y_um": visit.y_um,
                "dwell_s": visit.dwell_s,
            },
            "sync_rate_hz": None if rates is None else _finite(rates.sync_rate_hz),
            "count_rate_hz": None if rates is None else _finite(rates.count_rate_hz),
            "share": None if rates is None else _finite(rates.share),
            "brightest_bin": None if rates is None else rates.brightest_bin,
            "d_cm2_per_s": None if fit is None else _finite(fit.d_cm2_per_s),
            "d_stderr_cm2_per_s": None if fit is None else _finite(fit.d_stderr_cm2_per_s),
            "elapsed_s": elapsed_s,
            "left_s": left_s,
            "ending": now.ending,
            "ended_because": now.ended_because,
            "laser_off": None if safe is None else safe.laser_off,
            "shutter_closed": None if safe is None else safe.shutter_closed,
            "safe_state": None if safe is None else str(safe),
            "station": None,
            "refused_commands": now.refused,
            "messages": [{"at": m.at, "level": m.level, "text": m.text} for m in now.messages],
        }


class _TimeLeft:
    """Estimates from what is done how long the rest takes; a pause does not count."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._zero_s = clock()
        self._paused_s = 0.0
        self._paused_from_s: float | None = None
        self._run_from_s = self._stored_s = self._point_from_s = 0.0
        self._done = self._to_do = 0
        self._points_s: list[float] = []
        self._goal: tuple[float, float] | None = None
        """When it was last foretold how long the goal of the scan takes, and how long."""
        self._shared: tuple[float, float] | None = None
        """When the time of a series was last shared, and how much of it was left."""
        self._pace = 1.0
        """Seconds of the instrument in one of the clock: a simulation may run faster."""

    def __call__(self, event: Event) -> None:
        match event:
            case StateChanged(RunState.PAUSED):
                if self._paused_from_s is None:
                    self._paused_from_s = self._clock()
            case StateChanged() if self._paused_from_s is not None:
                self._paused_s += self._clock() - self._paused_from_s
                self._paused_from_s = None
            case Decided():
                self._goal = None if event.needed_s is None else (self._busy_s(), event.needed_s)
            case TimeShared():
                busy_s = self._busy_s()
                if self._shared is not None and busy_s > self._shared[0]:
                    took_s = self._shared[1] - event.left_s
                    self._pace = max(took_s / (busy_s - self._shared[0]), 1e-6)
                self._shared = busy_s, event.left_s
            case RunStarted():
                self._goal = None
                self._run_from_s = self._stored_s = self._busy_s()
                self._done, self._to_do = 0, event.visits_to_do
            case VisitStored():
                self._stored_s = self._busy_s()
                self._done, self._to_do = event.done, event.to_do
            case PointStarted():
                self._point_from_s = self._busy_s()
                self._done = self._to_do = 0
            case PointEnded(ending=Ending.COMPLETED):
                self._points_s.append(self._busy_s() - self._point_from_s)

    def _busy_s(self) -> float:
        """Time since the beginning, pauses left out."""
        now_s = self._clock()
        since_s = now_s if self._paused_from_s is None else self._paused_from_s
        return since_s - self._zero_s - self._paused_s

    def elapsed_and_left_s(self, status: Status) -> tuple[float, float | None]:
        """Time since the beginning with its pauses, and what is still needed, if one can tell."""
        elapsed_s = self._clock() - self._zero_s
        if status.ending is not None:
            return elapsed_s, 0.0
        busy_s = self._busy_s()
        here_s = busy_s - self._point_from_s
        left_s: float | None = None
        if self._done:
            visit_s = (self._stored_s - self._run_from_s) / self._done
            left_s = max(visit_s * self._to_do - (busy_s - self._stored_s), 0.0)
        if self._goal is not None and left_s is not None:
            foretold_s, needed_s = self._goal
            left_s = min(left_s, max(needed_s - (busy_s - foretold_s), 0.0))
        if status.points_planned is None or status.points_done is None:
            return elapsed_s, left_s
        if self._shared is not None:
            shared_s, rest_s = self._shared
            return elapsed_s, max(rest_s / self._pace - (busy_s - shared_s), 0.0)
        if self._points_s:
            point_s = sum(self._points_s) / len(self._points_s)
            left_s = max(point_s - here_s, 0.0) if left_s is None else left_s
        elif left_s is not None:
            point_s = here_s + left_s
        else:
            return elapsed_s, None
        return elapsed_s, left_s + point_s * max(status.points_planned - status.points_done - 1, 0)


def _after(now: Status, event: Event) -> Status:
    """The status once an event has happened."""
    match event:
        case Rates():
            return replace(now, rates=event)
        case VisitStarted(visit):
            return replace(now, visit=visit)
        case VisitStored():
            planned = now.visits_planned
            done = event.done if planned is None else planned - event.to_do
            return replace(now, visits_done=done)
        case StateChanged(state, why):
            went_on = now.state is RunState.PAUSED and now.requested == "pause"
            messages = _said(now, "info", f"{state}: {why}") if why else now.messages
            requested = None if went_on and state is not RunState.PAUSED else now.requested
            return replace(now, state=state, why=why, requested=requested, messages=messages)
        case Notice(level, _, message):
            return replace(now, messages=_said(now, level, message))
        case RunStarted(planned, to_do):
            return replace(now, visits_planned=planned, visits_done=planned - to_do)
        case RunEnded(ending, message, _, safe):
            level = "error" if ending is Ending.FAILED else "info"
            now = replace(now, safe_state=safe, messages=_said(now, level, f"{ending}: {message}"))
            if now.doing == "series":
                return now
            return replace(now, ending=ending, ended_because=message)
        case SeriesStarted(_, planned, to_do):
            return replace(now, doing="series", points_planned=planned, points_done=planned - to_do)
        case PointStarted():
            return replace(
                now, point=event, visit=None, rates=None, visits_done=0, visits_planned=None
            )
        case TimeShared(why=why):
            return replace(now, messages=_said(now, "info", why))
        case PointEnded(index, ending, message):
            done = (now.points_done or 0) + (ending is Ending.COMPLETED)
            text = f"point {index} {ending}: {message}"
            if event.d_cm2_per_s is not None and event.d_stderr_cm2_per_s is not None:
                text += f" (D {event.d_cm2_per_s:.4f} ± {event.d_stderr_cm2_per_s:.4f} cm²/s)"
            return replace(now, points_done=done, messages=_said(now, "info", text))
        case SeriesEnded(ending, message):
            text = f"series {ending}: {message}"
            return replace(
                now, ending=ending, ended_because=message, messages=_said(now, "info", text)
            )
    return now


def _said(now: Status, level: str, text: str) -> tuple[Message, ...]:
    message = Message(utc_now(), level, text[:LONGEST_MESSAGE])
    return (*now.messages, message)[-MESSAGES:]


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def describe(status: Mapping[str, Any]) -> str:
    """A snapshot in words, one line for each thing."""
    if status["doing"] == "station":
        return _describe_station(status)
    rows = [("run", f"{status['doing']} {status['plan']}".strip() + f", {status['path']}")]
    state = status["ending"] or status["state"]
    why = status["ended_because"] or status["why"]
    asked = status["requested"]
    if asked and not status["ending"] and status["state"] != RunState.PAUSED:
        state += f", {asked} asked for"
    rows.append(("state", state + (f": {why}" if why else "")))
    if status["points_planned"] is not None:
        rows.append(("points", f"{status['points_done']} of {status['points_planned']}"))
    point = status["point"]
    if point is not None and not status["ending"]:
        again = f", attempt {point['attempt']}" if point["attempt"] > 1 else ""
        rows.append(("point", f"{point['index']}: {point['label']}{again}"))
    if status["visits_planned"] is not None:
        rows.append(("visits", f"{status['visits_done']} of {status['visits_planned']}"))
    visit = status["visit"]
    if visit is not None and not status["ending"]:
        where = f"x {visit['x_um']:+.2f} y {visit['y_um']:+.2f} µm, {visit['dwell_s']:g} s"
        rows.append(("visit", f"{visit['index']}: {visit['kind']} {where}"))
    if status["count_rate_hz"] is not None and status["sync_rate_hz"] is not None:
        text = f"{status['count_rate_hz']:.3g}/s"
        if status["share"] is not None:
            text += f", {status['share']:.2%}"
        text += f" of {status['sync_rate_hz'] / 1e6:.4g} MHz"
        if status["brightest_bin"] is not None:
            text += f", brightest bin {status['brightest_bin']:,}"
        rows.append(("rates", text))
    if status["d_cm2_per_s"] is not None and status["d_stderr_cm2_per_s"] is not None:
        text = f"{status['d_cm2_per_s']:.4f} ± {status['d_stderr_cm2_per_s']:.4f} cm²/s"
        rows.append(("D", text))
    left = "unknown" if status["left_s"] is None else _duration(status["left_s"])
    rows.append(("time", f"{_duration(status['elapsed_s'])} gone, {left} left"))
    if status["safe_state"] is not None:
        rows.append(("light", f"when the last scan ended: {status['safe_state']}"))
    if status["refused_commands"]:
        rows.append(("refused", f"{status['refused_commands']} commands that were not in order"))
    return _lines(rows, status)


def _describe_station(status: Mapping[str, Any]) -> str:
    """A station that measures nothing, in words."""
    station = status["station"]
    text = f"'{station['profile']}', {'connected' if station['connected'] else 'not connected'}"
    rows = [("station", text + (", aligning" if station["aligning"] else ""))]
    if station["job"] is not None:
        rows.append(("job", station["job"]["words"]))
    if station["last"] is not None:
        last = station["last"]
        rows.append(("last", f"{last['kind']} {last['ending'] or 'not begun'}, {last['path']}"))
    if status["safe_state"] is not None:
        rows.append(("light", f"when it was last blocked: {status['safe_state']}"))
    return _lines(rows, status)


def _lines(rows: list[tuple[str, str]], status: Mapping[str, Any]) -> str:
    lines = [f"{name:8}{text}" for name, text in rows]
    lines += [f"  {m['at'][11:19]} {m['level']}: {m['text']}" for m in status["messages"]]
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"
