"""Which host this window belongs to: one that is running, or a new one that outlives the window.

Nothing here is for the thread of the window: it reads files, connects and waits.
"""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tplm_config import InputError, InstrumentProfile, load_profile
from tplm_daq.host import HostEntry, find_hosts
from tplm_daq.host.entries import runtime_folder
from tplm_gui.host.wire import Lost, Wire

START_S = 60.0
"""Longest wait for a new host; loading everything anew takes some seconds on a cold disk."""
LOOK_S = 0.05
LINGER_S = 600
"""How long a host that nobody watches stays."""
SIMULATED_SPEED = 10.0
"""Of a virtual microscope that nobody gave a speed, times real time."""
LAST_WORDS = 2000
"""Bytes of a dead host's output that may hold its reason."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the person asked for.

    Attributes
    ----------
    profile : str
        TOML file or bundled name.
    overrides : tuple of str
        ``key=value`` for the profile.
    simulated : bool
        The profile's own drivers on simulators of their instruments.
    speed : float or None
        Of simulated time.
    attach : int or None
        Process of the one host that is meant.
    lesson : str
        Name of a lesson that a new station is to have; empty: none.
    seed : int
        Which one of its kind.
    """

    profile: str = "simulated"
    overrides: tuple[str, ...] = ()
    simulated: bool = False
    speed: float | None = None
    attach: int | None = None
    lesson: str = ""
    seed: int = 0

    def load(self) -> InstrumentProfile:
        """The profile.

        Raises
        ------
        InputError
            With what is wrong with it.
        """
        return load_profile(self.profile, self.overrides)


@dataclass(frozen=True, slots=True)
class Found:
    """A host to belong to.

    Attributes
    ----------
    entry : HostEntry
        How to reach it.
    is_own : bool
        Whether this window had it started.
    words : str
        What it is, in a sentence.
    """

    entry: HostEntry
    is_own: bool
    words: str


def reach(wanted: Wanted) -> Found:
    """Find a host, or start one.

    Raises
    ------
    InputError
        If the one that is meant is not there, or a new one does not start.
    """
    return find(wanted) or start(wanted)


def find(wanted: Wanted) -> Found | None:
    """A station with the same profile, else a scan or a series from a terminal, the newest.

    Raises
    ------
    InputError
        If a certain process is meant and is not there.
    """
    hosts = find_hosts()
    if wanted.attach is not None:
        for entry in hosts:
            if entry.pid == wanted.attach:
                is_station = _station(entry) is not None
                return Found(entry, is_own=False, words=_words(entry, is_station=is_station))
        listed = ", ".join(f"{entry.pid} ({entry.doing})" for entry in hosts) or "none at all"
        raise InputError("--attach", f"no run of yours has the process {wanted.attach}", listed)
    profile = wanted.load()
    wired = wanted.simulated and not is_virtual(profile)
    runs = []
    for entry in reversed(hosts):
        station = _station(entry)
        if station is None:
            if entry.doing != "station":  # and not one that is stuck
                runs.append(entry)
        elif station.get("profile") == profile.name and station.get("wired") is wired:
            return Found(entry, is_own=False, words=_words(entry, is_station=True))
    if not runs:
        return None
    return Found(runs[0], is_own=False, words=_words(runs[0], is_station=False))


def start(wanted: Wanted) -> Found:
    """Start a station that outlives this process.

    Raises
    ------
    InputError
        If it does not come up; the text has its own reason.
    """
    log = _log_file()
    with log.open("wb") as out:
        child = _detached(command(wanted), out.fileno())
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        pid = _first_pid(log)
        if pid is not None:
            for entry in find_hosts():
                if entry.pid == pid:
                    _let_go(child)
                    return Found(entry, is_own=True, words=_words(entry, is_station=True))
        code = child.poll()
        if code is not None:
            raise InputError(
                "station",
                f"it ended while starting (exit code {code}): {_reason(log)}",
                "nothing was switched on by this window",
            )
        time.sleep(LOOK_S)  # not the thread of the window
    _let_go(child)
    raise InputError(
        "station",
        f"its process {child.pid} was not ready within {START_S:g} s",
        f"what it says is in {log}",
    )


def command(wanted: Wanted) -> list[str]:
    """The command line of a new station."""
    words = [sys.executable, "-m", "tplm_daq", "host", "--profile", wanted.profile]
    for override in wanted.overrides:
        words += ["--set-profile", override]
    if wanted.simulated:
        words.append("--simulated")
    speed = wanted.speed
    if speed is None and not wanted.simulated and is_virtual(wanted.load()):
        speed = SIMULATED_SPEED
    if speed is not None:
        words += ["--speed", f"{speed:g}"]
    if wanted.lesson:
        words += ["--lesson", wanted.lesson, "--seed", str(wanted.seed)]
    return [*words, "--linger-s", str(LINGER_S), "--json"]


def is_virtual(profile: InstrumentProfile) -> bool:
    """Whether every device is a part of the virtual microscope."""
    roles = (getattr(profile, name) for name in type(profile).model_fields)
    return {role.driver.name for role in roles if hasattr(role, "driver")} == {"simulated"}


def _words(entry: HostEntry, *, is_station: bool) -> str:
    if is_station:
        return f"station, process {entry.pid}"
    return f"{entry.doing} {Path(entry.path).name} from a terminal, process {entry.pid}"


def _station(entry: HostEntry) -> dict[str, Any] | None:
    """What a station says of itself; None for a plain run, and for one that does not answer."""
    try:
        wire = Wire(entry, timeout_s=1.0)
    except Lost:
        return None
    try:
        status = wire.request("status").get("status") or {}
    except Lost:
        return None
    finally:
        wire.close()
    return status.get("station")


def _log_file() -> Path:
    """Where a new station's own words go; those of former ones are removed after a while."""
    folder = runtime_folder() / "windows"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in sorted(folder.glob("station-*.out"))[:-9]:
        with suppress(OSError):  # of one that still runs, on Windows
            old.unlink()
    return folder / f"station-{time.time_ns()}-{os.getpid()}.out"


def _detached(words: list[str], out: int) -> "subprocess.Popen[bytes]":
    """Start a process that has no part in the life of this one: no console, no pipe, no group."""
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            creationflags=flags,
        )
    except OSError as error:
        raise InputError("station", f"it could not be started ({error.strerror})") from error


def _let_go(child: "subprocess.Popen[bytes]") -> None:
    """Reap it when it ends, while this process is there; it may end long after."""
    threading.Thread(target=child.wait, name="station's end", daemon=True).start()


def _first_pid(log: Path) -> int | None:
    """The process that a new station's JSON line names, once it is whole."""
    for line in log.read_bytes().splitlines(keepends=True):
        if line.startswith(b"{") and line.endswith(b"\n"):
            with suppress(ValueError):
                pid = json.loads(line).get("pid")
                return pid if isinstance(pid, int) else None
    return None


def _reason(log: Path) -> str:
    """What a process said before it ended, in one line."""
    text = log.read_bytes()[-LAST_WORDS:].decode(errors="replace").strip()
    last = text.splitlines()[-1] if text else "it said nothing"
    with suppress(ValueError, AttributeError):
        last = str(json.loads(last).get("error", last))
    return last
