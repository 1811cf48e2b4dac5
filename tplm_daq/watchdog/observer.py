"""The engine's side of the watchdog: starts its process and gives it a sign of each progress."""

import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tplm_config import InstrumentProfile, ScanPlan, to_toml
from tplm_daq.events import Event, Notice, StateChanged
from tplm_daq.runner import Runner
from tplm_daq.watchdog.limits import Limits
from tplm_drivers import DeviceError

CHILD = Path(__file__).with_name("child.py")
"""Run by its path: as a module it would load the whole engine first."""
RETRY_S = 60.0
"""How long the watchdog tries to block the laser."""
START_S = 30.0
"""Longest time until the watchdog must be ready."""
ANSWER_S = 5.0
"""A watchdog that has not answered for so long is as good as dead."""
LEAVE_S = 15.0
"""Longest time to go, beside that for blocking: a last call to a device, the log."""
RESTARTS = 3
"""How many may be lost in one run."""
STEP_S = 0.1
"""A deadline that moves by less is not worth a message."""
ADVICE = "look at its log, or measure without a watchdog and stay in the room"


class Watchdog:
    """Watches a run from another process, which blocks the laser if this one fails.

    A context manager around the instrument, and an observer of what is measured with it. Left
    with the instrument dark it goes in silence; otherwise it first makes sure of the dark.
    Subscribe it as an essential observer: a run that cannot be watched any more must end.

    Parameters
    ----------
    profile : InstrumentProfile
        Whose laser and shutter to block, and when: its ``[watchdog]``.
    out : str or Path
        Scan file or folder of a series, beside or in which the watchdog keeps its log.
    tell : callable
        Takes notices: `Runner.emit`.
    simulated : bool
        Whether all instruments are simulated in this process.
    retry_s : float
        As `RETRY_S`.

    Attributes
    ----------
    words : str
        Whether the watchdog runs, and if not, why.

    Raises
    ------
    DeviceError
        On entering, if the process does not start.
    """

    def __init__(
        self,
        profile: InstrumentProfile,
        out: str | Path,
        tell: Callable[[Notice], None],
        *,
        simulated: bool = False,
        retry_s: float = RETRY_S,
    ) -> None:
        self.words = "not started"
        self._tell = tell
        self._limits = Limits(profile)
        self._orders = {
            "profile": to_toml(profile),
            "engine_pid": os.getpid(),
            "log": str(log_beside(out)),
            "retry_s": retry_s,
        }
        self._retry_s = retry_s
        self._is_needed = not simulated and profile.laser.driver.name != "simulated"
        self._process: _Process | None = None
        self._restarts = 0
        self._sent: tuple[float, str] = (math.inf, "")
        self._thread = 0

    @property
    def pid(self) -> int | None:
        """Its process, if it runs."""
        return None if self._process is None else self._process.pid

    def expect(self, plan: ScanPlan) -> None:
        """Tell which plan is measured next."""
        self._limits.expect(plan)

    def watch(self, runner: Runner, plan: ScanPlan) -> None:
        """Watch over a run that is about to begin."""
        self.expect(plan)
        runner.subscribe(self, essential=True)
        runner.each_round(self.tick)

    def __enter__(self) -> Self:
        if self._is_needed:
            self._process = _Process(self._orders)
            self.words = f"process {self._process.pid} watches over the laser"
        else:
            self.words = "none: the laser is simulated in this process and ends with it"
        return self

    def __call__(self, event: Event) -> None:
        """Take an event as a sign of life, if it comes from the thread that measures."""
        if not self._is_needed:
            return
        if isinstance(event, StateChanged):
            self._thread = threading.get_ident()
        if threading.get_ident() == self._thread:
            self._limits.take(event)
            self._send()

    def watch_light(self, is_lit: bool, *, ends: bool = False) -> None:
        """Take in whether there may be light outside a run, from the thread that makes it.

        While there is, it must `tick` at each of its rounds; when it ends, everything may take
        longer once more.
        """
        if self._is_needed:
            self._thread = threading.get_ident()
            self._limits.outside_a_run(is_lit, ends=ends)
            self._send()

    def tick(self) -> None:
        """Take a round of the engine's loop as a sign of life, likewise."""
        if self._is_needed and threading.get_ident() == self._thread:
            self._limits.tick()
            self._send()

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.dismiss(self._retry_s if self._limits.is_lit else None)

    def _send(self) -> None:
        limits = self._limits
        due_s, doing = self._sent
        stays = limits.due_s == due_s or abs(limits.due_s - due_s) < STEP_S
        if self._process is None or not self._process.is_well():
            self._restart()
        elif stays and limits.doing == doing:
            return
        self._sent = limits.due_s, limits.doing
        if self._process is not None:
            left_s = limits.due_s - time.monotonic()
            self._process.send([left_s if math.isfinite(left_s) else None, limits.doing])

    def _restart(self) -> None:
        """Have a new watchdog take the place of one that died; without one the run ends."""
        problem = "was missing"
        if self._process is not None:
            problem = self._process.end()
            self._process = None
        self._restarts += 1
        try:
            if self._restarts > RESTARTS:
                words = f"{problem}, after {RESTARTS} new ones in one run"
                raise DeviceError("watchdog", words, ADVICE)
            self._process = _Process(self._orders)
        except DeviceError:
            if self._limits.is_measuring and math.isfinite(self._limits.due_s):
                raise
            return  # it is dark: the next step that needs light ends the run
        self.words = f"process {self._process.pid} watches over the laser"
        self._tell(Notice("warning", "watchdog", f"the watchdog {problem}; {self.words} now"))


class _Process:
    """The watchdog's process, ready.

    Parameters
    ----------
    orders : dict
        What it needs to know.

    Raises
    ------
    DeviceError
        If it does not start.
    """

    def __init__(self, orders: dict[str, Any]) -> None:
        self._heard = threading.Event()
        self._first_line = b""
        self._sent_s: float | None = None
        flags = 0
        if sys.platform == "win32":
            # no console to close, and Ctrl-C in that of the engine does not reach it
            flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-P", str(CHILD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                creationflags=flags,
            )
        except OSError as error:
            raise DeviceError("watchdog", f"could not start ({error.strerror})", ADVICE) from error
        self.pid = self._child.pid
        self._reader = threading.Thread(target=self._listen, name="watchdog's answers", daemon=True)
        self._reader.start()
        self.send(orders)
        self._heard.wait(START_S)
        if self._first_line != b"ready\n":
            words = self._first_line.decode(errors="replace").strip() or "does not answer"
            self.end()
            raise DeviceError("watchdog", f"could not start: {words}", ADVICE)

    def is_well(self) -> bool:
        """Whether it lives and answers."""
        if self._heard.is_set():
            self._sent_s = None
        silent = self._sent_s is not None and time.monotonic() - self._sent_s > ANSWER_S
        return self._child.poll() is None and not silent

    def send(self, message: Any) -> None:
        """Send a line; one that does not arrive is noticed by `is_well`."""
        assert self._child.stdin is not None
        if self._sent_s is None:
            self._heard.clear()
            self._sent_s = time.monotonic()
        try:
            self._child.stdin.write(json.dumps(message).encode() + b"\n")
            self._child.stdin.flush()
        except OSError:
            return

    def dismiss(self, block_s: float | None) -> None:
        """Let it go; with a time, only after it has made sure that it is dark."""
        self.send("done" if block_s is None else "block")
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(LEAVE_S + (block_s or 0.0))
        self.end()

    def end(self) -> str:
        """See that it is gone; gives how it was found."""
        code = self._child.poll()
        self._child.kill()
        self._child.wait()
        self._reader.join()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe is not None
            with suppress(OSError):  # of what could not be sent
                pipe.close()
        return "no longer answered" if code is None else f"ended by itself (code {code})"

    def _listen(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._first_line = self._first_line or line
            self._heard.set()
        self._heard.set()


def log_beside(out: str | Path) -> Path:
    """Where a watchdog writes what it did: beside a scan file, or in the folder of a series.

    The folder of a series that begins is not there yet; a scan file ends in .h5.
    """
    path = Path(out).resolve()
    if path.is_dir() or path.suffix.lower() != ".h5":
        return path / "watchdog.jsonl"
    return path.with_suffix(".watchdog.jsonl")
