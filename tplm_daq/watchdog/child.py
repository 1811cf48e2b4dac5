"""The watchdog's own process, run by its path: it loads the drivers and nothing of the engine.

It reads lines of JSON: first its orders, then ``[seconds, "doing"]`` for the time until the next
line is due (null: none is), in the end ``"done"``, or ``"block"`` if the engine has let go of the
instrument and does not know whether it is dark. Each line is answered by one. If a line is late,
or the engine is gone, the laser is blocked.
"""

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import import_module
from io import RawIOBase
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal

from tplm_config import InstrumentProfile, parse_profile
from tplm_drivers.clock import WallClock
from tplm_drivers.connect import MODULES, open_device
from tplm_drivers.instrument import SafeState, let_go

LOOK_S = 0.2
"""Real time between two looks at the engine; also what a late line is given once more."""
DEATH_S = 5.0
"""Longest wait for the system to end the engine and give its ports back."""
PAUSE_S = 0.2
"""Between two attempts to block the laser."""
CALL_S = 10.0
"""How much longer than the attempts may last their last call may take."""
WRITE_S = 2.0
"""Longest wait for the log in the end."""
Role = Literal["shutter", "laser"]
Tell = Callable[[str, str], None]


class Engine:
    """The process that is watched; another one that gets its number later is never touched."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        if sys.platform == "win32":
            import ctypes
            from ctypes import wintypes

            self._kernel = ctypes.WinDLL("kernel32", use_last_error=True)
            self._kernel.OpenProcess.argtypes = (wintypes.DWORD, wintypes.BOOL, wintypes.DWORD)
            self._kernel.OpenProcess.restype = wintypes.HANDLE
            self._kernel.WaitForSingleObject.argtypes = (wintypes.HANDLE, wintypes.DWORD)
            self._kernel.WaitForSingleObject.restype = wintypes.DWORD
            self._kernel.TerminateProcess.argtypes = (wintypes.HANDLE, wintypes.UINT)
            synchronize, terminate = 0x00100000, 0x0001
            # as long as it is held, the system gives the number to nobody else
            self._handle = self._kernel.OpenProcess(synchronize | terminate, False, pid)
            if not self._handle:
                raise OSError(ctypes.get_last_error(), "the engine's process cannot be watched")

    def is_running(self) -> bool:
        """Whether any thread of it is left, and its files and ports with it."""
        if sys.platform == "win32":
            wait_timeout = 0x102
            return bool(self._kernel.WaitForSingleObject(self._handle, 0) == wait_timeout)
        # a child has the same parent for as long as that has a thread left
        return os.getppid() == self._pid

    def is_stopped(self) -> bool:
        """Whether it is held by SIGSTOP, which Linux tells; elsewhere its next sign is late."""
        try:
            stat = Path(f"/proc/{self._pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] == "T"

    def end(self) -> bool:
        """End it for sure, stopped or not; gives whether the system has done so in time."""
        until_s = time.monotonic() + DEATH_S
        if self.is_running():
            if sys.platform == "win32":
                self._kernel.TerminateProcess(self._handle, 1)
            else:
                with suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)
        while self.is_running():
            if time.monotonic() > until_s:
                return False
            time.sleep(0.005)
        return True


class Log:
    """Tells what happens in a file and on the terminal; neither may hold up what is done."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pairs = [self._start(self._write), self._start(self._print)]

    def __call__(self, event: str, message: str) -> None:
        """Tell; returns at once."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        for lines, _ in self._pairs:
            lines.put({"at": at, "event": event, "message": message})

    def close(self) -> None:
        """Give what was told a moment to be written."""
        for lines, thread in self._pairs:
            lines.put(None)
            thread.join(WRITE_S)

    @staticmethod
    def _start(
        write: Callable[[dict[str, str]], None],
    ) -> tuple[SimpleQueue[dict[str, str] | None], threading.Thread]:
        lines: SimpleQueue[dict[str, str] | None] = SimpleQueue()

        def work() -> None:
            while (line := lines.get()) is not None:
                with suppress(OSError, ValueError):  # a full disk or a closed terminal
                    write(line)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return lines, thread

    def _write(self, line: dict[str, str]) -> None:
        with self._path.open("ab", buffering=0) as file:
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")

    def _print(self, line: dict[str, str]) -> None:
        if sys.stderr is not None:  # as in a program without a console on Windows
            sys.stderr.write(f"watchdog: {line['message']}\n")
            sys.stderr.flush()


def watch(messages: SimpleQueue[Any], engine: Engine) -> tuple[str, str] | None:
    """Wait until the engine says that it is done, or something is wrong.

    Returns
    -------
    tuple of str or None
        What is wrong, as a word and a sentence; None if nothing is.
    """
    due_s, doing, late = math.inf, "starting", False
    while True:
        left_s = max(due_s - time.monotonic(), 0.0)
        try:
            message = messages.get(timeout=LOOK_S if late else min(left_s, LOOK_S))
        except Empty:
            if not engine.is_running():
                return "died", f"the engine's process has died ({doing})"
            stopped = math.isfinite(due_s) and engine.is_stopped()
            if late and stopped:
                return "stopped", f"the engine was stopped in mid-run ({doing}) and is ended"
            if late:
                return "stuck", f"the engine gives no sign any more ({doing}) and is ended"
            # what was sent while this process itself was held up is still to be read
            late = stopped or time.monotonic() >= due_s
            continue
        late = False
        match message:
            case None:
                return "died", f"the engine's process has died ({doing})"
            case "done":
                return None
            case "block":
                return "unsure", "the run ended and did not read back that it is dark"
            case [seconds, doing]:
                due_s = math.inf if seconds is None else time.monotonic() + seconds
        _answer("heard")


@dataclass
class _Found:
    """How far the blocking has come."""

    state: SafeState
    lock: threading.Lock


def block(profile: InstrumentProfile, retry_s: float, tell: Tell) -> SafeState:
    """Close the shutter and switch the laser off, at the same time, and read both back.

    Parameters
    ----------
    profile : InstrumentProfile
        Their drivers.
    retry_s : float
        How long to try; a device that does not answer does not hold up the other.
    tell : callable
        Gets an event and a sentence.

    Returns
    -------
    SafeState
        What reads back in the end.
    """
    found = _Found(SafeState(laser_off=None, shutter_closed=None), threading.Lock())
    until_s = time.monotonic() + retry_s
    threads = [
        threading.Thread(target=_block, args=(profile, role, until_s, found, tell), daemon=True)
        for role in roles(profile)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(until_s + CALL_S - time.monotonic(), 0.0))
    with found.lock:
        return found.state


def _block(
    profile: InstrumentProfile, role: Role, until_s: float, found: _Found, tell: Tell
) -> None:
    told = ""
    while True:
        try:
            device = open_device(role, getattr(profile, role).driver, profile, WallClock())
            state = let_go({role: device})
            problem = str(state)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt may do it
            state = SafeState(laser_off=None, shutter_closed=None)
            problem = f"{error}"
        with found.lock:
            if role == "laser":
                found.state = replace(found.state, laser_off=state.laser_off)
            else:
                found.state = replace(found.state, shutter_closed=state.shutter_closed)
        if state.verified:
            words = "the laser reads back as off" if role == "laser" else "the shutter is closed"
            tell(f"{role}-safe", words)
            return
        if problem != told:
            told = problem
            tell(f"{role}-failed", f"{problem}; trying again")
        if time.monotonic() > until_s:
            return
        time.sleep(PAUSE_S)


def roles(profile: InstrumentProfile) -> list[Role]:
    """What stops the light and does not live in the engine's process."""
    both: tuple[Role, ...] = ("shutter", "laser")
    present = [role for role in both if getattr(profile, role) is not None]
    return [role for role in present if getattr(profile, role).driver.name != "simulated"]


def main() -> int:
    """Get ready, watch, and act if it must be; 0 if it is dark in the end."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTSTP", "SIGBREAK"):
        if hasattr(signal, name):  # it ends with the engine, not before
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    # without a buffer, whose lock a thread that still reads would hold in the end
    lines = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 - it stays open
    try:
        orders = json.loads(lines.readline())
        profile = parse_profile(orders["profile"], "the watchdog's profile")
        for role in roles(profile):  # now, because later there is no time
            import_module(f"tplm_drivers.{MODULES[getattr(profile, role).driver.name]}")
        engine = Engine(orders["engine_pid"])
    except (ImportError, OSError, ValueError) as error:
        _answer(f"{type(error).__name__}: {error}".replace("\n", " "))
        return 2
    messages: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_listen, args=(lines, messages), daemon=True).start()
    _answer("ready")
    trouble = watch(messages, engine)
    if trouble is None:
        return 0
    return _act(profile, engine, trouble, orders)


def _act(
    profile: InstrumentProfile, engine: Engine, trouble: tuple[str, str], orders: dict[str, Any]
) -> int:
    log = Log(Path(orders["log"]))
    log(*trouble)
    if trouble[0] != "unsure" and not engine.end():
        words = f"the engine's process does not end within {DEATH_S:g} s; its ports are tried"
        log("not-ended", words)
    state = block(profile, orders["retry_s"], log)
    log("dark" if state.verified else "NOT-DARK", str(state))
    log.close()
    return 0 if state.verified else 1


def _listen(lines: RawIOBase, messages: SimpleQueue[Any]) -> None:
    for line in lines:
        try:
            messages.put(json.loads(line))
        except ValueError:  # the last line of an engine that died while it wrote
            break
    messages.put(None)


def _answer(word: str) -> None:
    with suppress(OSError):  # nobody listens any more
        sys.stdout.buffer.write(f"{word}\n".encode())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
