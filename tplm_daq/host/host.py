"""The host of a run: what makes it visible and obedient to other processes of this user."""

import gc
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from tplm_daq.control import Controls
from tplm_daq.events import Event, Notice, Observer, Rates, RunStarted, RunState, to_json
from tplm_daq.host.channel import IDLE_S, LONGEST_COMMAND, Channel, Refused
from tplm_daq.host.entries import HostEntry, write_entry
from tplm_daq.host.status import Status, StatusBoard
from tplm_daq.wall import utc_now

if TYPE_CHECKING:  # it takes a second to load, and `tplm emergency` must not wait
    from tplm_analysis import MapSoFar

OBEY_S = 0.05
"""How long an answer waits for what was asked to be done."""
RATES_EVERY_S = 0.1
"""Least time between two readings of the meters that subscribers are told."""
REFUSALS_EVERY_S = 5.0
"""Least time between two sentences about refused commands, so that nobody can fill a log."""

Level = Literal["info", "warning", "error"]
_ASKED = {
    "pause": "pause after this visit",
    "continue": "go on",
    "stop": "stop after this visit",
    "abort": "abort at once",
    "emergency": "block the laser and end",
}


class Host:
    """An observer that keeps the status of a run and opens a channel to it.

    A channel that cannot be opened is no reason not to measure: `problem` tells, and `tell` is
    told.

    While it is open, Python's search for cyclic garbage leaves out what was there before, and at
    the first start of a run: over all that numba, scipy and the drivers have loaded it holds up
    every thread for 0.1 s.

    Parameters
    ----------
    controls : Controls or None
        The run or series, called from threads of the channel; None while there is none.
    path : str or Path
        The file or folder it writes.
    doing : str
        ``scan`` or ``series``.
    plan : str
        Kind of plan, for people.
    fit : callable
        Gives the newest fit, or None; called from the channel's thread.
    clock : callable
        Time of the instrument, s; called from any thread.
    tell : callable, optional
        Told of commands that were taken, refused ones and dropped clients, as `Notice`, from the
        channel's thread: the log of the run.
    idle_s : float
        How long a silent connection is kept.
    longest : int
        Bytes of a command.
    """

    def __init__(
        self,
        controls: Controls | None,
        path: str | Path,
        *,
        doing: str = "scan",
        plan: str = "",
        fit: "Callable[[], MapSoFar | None]" = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        tell: Observer | None = None,
        idle_s: float = IDLE_S,
        longest: int = LONGEST_COMMAND,
    ) -> None:
        self.board = StatusBoard(Status(doing, plan, str(Path(path).resolve())), fit, clock)
        self.entry: HostEntry | None = None
        self.problem: str | None = None
        self._tell = tell
        self._idle_s, self._longest = idle_s, longest
        self._channel: Channel | None = None
        self._file: Path | None = None
        self._rates_s = self._refusal_s = float("-inf")
        self._untold = 0
        self._has_run = False
        self._actions = {} if controls is None else requests(controls)

    def __enter__(self) -> Self:
        gc.freeze()
        token = secrets.token_hex(32)
        status = self.board.status
        try:
            self._channel = Channel(
                token, self._answer, self._refused, self._warn, self._idle_s, self._longest
            )
            self.entry = HostEntry(
                os.getpid(), self._channel.port, token, utc_now(), status.doing, status.path
            )
            self._file = write_entry(self.entry)
        except OSError as error:
            self._close()
            self.problem = (
                "no other terminal can watch or stop this run, because its channel could not be "
                f"opened ({error.strerror or error})"
            )
            self._warn(self.problem)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._close()
        gc.unfreeze()

    def __call__(self, event: Event) -> None:
        """Take in what happened, and tell whoever listens."""
        if not (isinstance(event, Notice) and event.code == "channel"):  # it was noted when said
            self.board(event)
        if isinstance(event, RunStarted) and not self._has_run:
            self._has_run = True
            gc.freeze()  # the drivers of a series are loaded while it is open
        if self._channel is None or not self._channel.has_listeners:
            return
        if isinstance(event, Rates):
            now_s = time.monotonic()
            if now_s - self._rates_s < RATES_EVERY_S:
                return
            self._rates_s = now_s
        self._channel.publish(to_json(event))

    def snapshot(self) -> dict[str, Any]:
        """The status as plain values for JSON."""
        return self.board.snapshot()

    def _close(self) -> None:
        if self._file is not None:
            self._file.unlink(missing_ok=True)
            self._file = None
        if self._channel is not None:
            self._channel.close({"event": "host-closed", "status": self.snapshot()})
            self._channel = None
        if self._untold:
            self._say("warning", f"{self._untold} more commands were refused")
            self._untold = 0

    # -- in the channel's thread -----------------------------------------------------------

    def _answer(self, command: str, arguments: dict[str, Any] | None) -> dict[str, Any]:
        if arguments:
            raise Refused("what this run understands takes no arguments")
        if command in ("status", "subscribe"):
            return {"ok": True, "status": self.snapshot()}
        if command not in self._actions:
            raise Refused(f"there are: status, subscribe, {', '.join(self._actions)}")
        status = self.board.status
        if status.ending is not None:
            words = f"the run is over: {status.ended_because}"
            return {"ok": False, "error": words, "status": self.snapshot()}
        words = _promise(command, status)
        self.board.request(None if command == "continue" else command)
        self._say("info", f"asked over the channel to {_ASKED[command]}")
        failure = self._obey(command, self._actions[command])
        if failure is not None:
            self._say("error", failure)
            return {"ok": False, "error": failure, "status": self.snapshot()}
        return {"ok": True, "message": words, "status": self.snapshot()}

    def _obey(self, command: str, action: Callable[[], None]) -> str | None:
        """Do what was asked, in a thread of its own: a device may be stuck, the channel may not."""
        failures: list[str] = []

        def act() -> None:
            try:
                action()
            except Exception as error:  # noqa: BLE001 - told to whoever asked
                failures.append(f"{command} failed: {error}")
                if late.is_set():
                    self._say("error", failures[0])

        late = threading.Event()
        thread = threading.Thread(target=act, name=f"channel: {command}", daemon=True)
        thread.start()
        thread.join(OBEY_S)
        late.set()
        return failures[0] if failures else None

    def _refused(self, why: str) -> None:
        self.board.refuse()
        self._untold += 1
        now_s = time.monotonic()
        if now_s - self._refusal_s >= REFUSALS_EVERY_S:
            self._refusal_s = now_s
            others = f" (and {self._untold - 1} more before)" if self._untold > 1 else ""
            self._untold = 0
            self._warn(f"a command over the channel was refused: {why}{others}")

    def _warn(self, text: str) -> None:
        self._say("warning", text)

    def _say(self, level: Level, text: str) -> None:
        self.board.note(level, text)
        if self._tell is None:
            return
        try:
            self._tell(Notice(level, "channel", text))
        except Exception as error:  # noqa: BLE001 - a full disk must not close the channel
            self._tell = None
            self.board.note("error", f"the channel's log failed: {error}")


def requests(controls: Controls) -> dict[str, Callable[[], None]]:
    """What may be asked of a run over the channel, and how it is done."""
    return {
        "pause": controls.pause,
        "continue": controls.resume,
        "stop": lambda: controls.stop("stopped over the channel after this visit"),
        "abort": lambda: controls.abort("stopped over the channel at once"),
        "emergency": lambda: controls.emergency("asked for over the channel"),
    }


def _promise(command: str, status: Status) -> str:
    """What the run does now that it has been asked."""
    counting = status.visit is not None and status.state in (RunState.MOVING, RunState.COUNTING)
    soon = "after what it is doing now"
    if counting and status.visit is not None:
        soon = f"after this visit, whose dwell is {status.visit.dwell_s:g} s"
    paused = status.state is RunState.PAUSED
    match command:
        case "pause":
            if paused:
                return "it is paused, and stays so until it is told to continue"
            return f"the run pauses {soon}, in the dark"
        case "continue" if status.requested == "pause":
            return "the run goes on"
        case "continue" if paused:
            return f"asked to go on; it had paused for a reason: {status.why}"
        case "continue":
            return "it was not paused, and goes on"
        case "stop":
            return f"the run ends {'now' if paused else soon}; everything measured is kept"
        case "abort":
            return "the run ends now; the running dwell is given up, finished visits are kept"
        case _:
            return "the laser is blocked before anything else; then the run ends"
